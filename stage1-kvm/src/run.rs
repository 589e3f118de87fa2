//! The supervisor's start: reads the pod, refuses what a machine cannot give, opens everything, clones the monitor.

use crate::configure::{self, Configured, Shown};
use crate::error::MachineError;
use crate::host::line::{self, Teller};
use crate::lent;
use crate::machine::{self, GuestLog, Parts, Ties};
use crate::network;
use crate::shares::{self, Server, Shares};
use crate::size::Size;
use crate::supervise::{Monitor, SIGNALS, Supervisor};
use crate::vmm::Ending;
use jail::Parent;
use pod_host::network::Habitat;
use pod_host::{Doing as _, Groups, Leases, Outputs, Pod};
use pod_proto::config::Setting;
use rustix::process::Pid;
use stage1_abi::{PodDir, RunArgs, RuntimeConfig, Switch};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use sys::cgroup::{Doors, Group, Limits};
use sys::process::Cloned;
use sys::signal::{self, Set, number};

/// Becomes the pod's supervisor, or in the clone its monitor; the pod's exit code.
///
/// # Errors
/// The pod did not start, or did not come to its end by itself.
pub fn run() -> Result<u8, MachineError> {
    let args = RunArgs::decode(std::env::args_os().skip(1))?;
    stage1_abi::entry::start_log(args.switches.contains(&Switch::Debug));
    sys::descriptor::seal_inherited().doing("cannot seal inherited descriptors")?;
    let lock = stage1_abi::lock::inherited().map_err(pod_host::RunError::Lock)?;
    let dir = PodDir::current()?;
    let request = configure::refuse(&args)?;
    let mut pod = Pod::read(&dir, &args)?;
    dir.ensure_state()?;
    let parent = rustix::process::getpid();
    let (mut network, _) =
        pod_host::Network::make(&request, (&args, Habitat::Machine), &dir, &pod.forwards)?;
    let mut leases = network.leases();
    let resolv = network.resolv(pod.resolv, &dir).map_err(MachineError::from);
    let result = resolv.and_then(|resolv| {
        pod.resolv = resolv;
        machine_with((&pod, &mut leases), &network, (&dir, &args), lock.as_fd())
    });
    // In the clone nothing comes back.
    if rustix::process::getpid() == parent {
        drop(leases);
        if let Err(error) = lent::put_back(&dir) {
            log::warn!("networking: {}", sys::cause::chain(&error));
        }
        network.leave(&args, &dir);
    }
    drop(lock);
    result
}

/// Runs the pod in a machine whose interfaces are those of the pod's network namespace.
fn machine_with(
    (pod, leases): (&Pod, &mut Leases),
    network: &pod_host::Network,
    (dir, args): (&PodDir, &RunArgs),
    lock: BorrowedFd<'_>,
) -> Result<u8, MachineError> {
    let names = network.interfaces();
    let interfaces = match network.namespace() {
        Some(namespace) => network::look(namespace, names.iter().map(String::as_str))?,
        None => Vec::new(),
    };
    let log =
        if args.switches.contains(&Switch::Debug) { GuestLog::Shown } else { GuestLog::Silent };
    let plans: Vec<_> = pod.apps.iter().map(|app| app.plan.clone()).collect();
    let (volumes, plans) = Shares::take(&plans, shares::DEVICES)?;
    let shares = volumes.iter().flat_map(Shares::list).collect();
    let settings = network.settings().into_iter().map(|(path, value)| Setting { path, value });
    let settings = settings.collect();
    let shown = Shown { shares, plans, interfaces: interfaces.clone(), settings };
    let configured = configure::configure(pod, dir, shown, configure::dialogue(pod)?)?;
    let limits: Vec<Limits> = pod.apps.iter().map(|app| app.spec.limits).collect();
    let host = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut parts = Parts::open(Size::of(&limits, host), &configured.images, log)?;
    if let pod_host::Network::Given(namespace) = network {
        lent::note((namespace.as_fd(), namespace.path()), &interfaces, dir)?;
    }
    let nics = network.namespace().map(|namespace| network::attach(namespace, &interfaces));
    parts.connect(nics.transpose()?.unwrap_or_default());
    // Limits of apps hold in the guest. On the host there is one group, for all that the machine is made of.
    let groups = Groups::make(&pod.uuid, &[("machine", Limits::default())], dir)?;
    let doors = groups.apps.first().map(Group::doors).transpose()?;
    let server = volumes
        .map(|volumes| volumes.serve(&machine::root().join("fs-server"), lock, doors.as_ref()));
    let server = server.transpose().inspect_err(|_| groups.remove())?;
    let server = server.map(|Server { pid, pidfd, lines }| {
        parts.share(lines);
        (pid, pidfd)
    });
    let ties = Held { lock, doors };
    let result = start((pod, leases), dir, args, (configured, parts, ties));
    end(server);
    groups.remove();
    result
}

/// Ends the file server, which has nobody to serve any more and ends by itself.
fn end(server: Option<(Pid, OwnedFd)>) {
    let Some((pid, pidfd)) = server else { return };
    let killed = sys::process::signal_to(pidfd.as_fd(), number::KILL);
    if let Err(error) = killed.and_then(|()| sys::process::wait_for(pid).map(drop)) {
        log::debug!("cannot end the file server: {error}");
    }
}

/// `check`: says whether a pod could be run like this, before there is one.
///
/// # Errors
/// It could not, and why.
pub fn check() -> Result<u8, MachineError> {
    let args = RunArgs::decode(std::env::args_os().skip(1))?;
    configure::refuse(&args)?;
    Parts::check()?;
    Ok(0)
}

fn start(
    (pod, leases): (&Pod, &mut Leases),
    dir: &PodDir,
    args: &RunArgs,
    (configured, parts, held): (Configured, Parts, Held<'_>),
) -> Result<u8, MachineError> {
    let (listener, teller) = line::pair().doing("cannot make a socket pair")?;
    let outputs = Outputs::of(pod, dir)?;
    signal::set_default(number::CHILD);
    Set::of(&SIGNALS).block_only().doing("cannot hold signals")?;
    let parent = Parent::myself().doing("cannot make a descriptor of this process")?;
    match sys::process::clone(jail::CLONED_INTO).doing("cannot clone into new namespaces")? {
        Cloned::Child => {
            leases.forget();
            monitor(parts, parent, teller, &held)
        }
        Cloned::Parent { pid, pidfd } => {
            drop((parts, parent, teller, held));
            let written = dir.write_runtime_config(&RuntimeConfig::of(args));
            let supervisor = written.map_err(MachineError::from).and_then(|()| {
                let monitor = Monitor { pid, pidfd };
                Supervisor::new(dir, configured.config, (monitor, listener), (outputs, leases))
            });
            let result = match supervisor {
                Ok(mut supervisor) => {
                    let number = rustix::process::getpid().as_raw_nonzero().get();
                    let written = dir.write_pid(number).map_err(MachineError::from);
                    written.and_then(|()| supervisor.attend()).inspect_err(|_| supervisor.kill())
                }
                Err(error) => {
                    // Nobody has waited for it, so the number is still its own.
                    let killed = sys::process::kill(pid, number::KILL);
                    if let Err(error) = killed.and_then(|()| sys::process::wait_for(pid).map(drop))
                    {
                        log::debug!("cannot end the machine: {error}");
                    }
                    Err(error)
                }
            };
            if let Err(error) = &result {
                // The first cause is told, also where it cannot be kept.
                if let Err(error) = dir.write_failure(&sys::cause::chain(error)) {
                    log::warn!("cannot keep why the pod failed: {error}");
                }
            }
            result
        }
    }
}

/// What the monitor shares with the pod.
#[derive(Debug)]
struct Held<'a> {
    lock: BorrowedFd<'a>,
    doors: Option<Doors>,
}

/// The monitor's life, in the pod's group and in jail.
fn monitor(parts: Parts, parent: Parent, teller: Teller, held: &Held<'_>) -> ! {
    if let Some(Err(error)) = held.doors.as_ref().map(Doors::enter) {
        let why = format!("cannot enter the pod's control group: {error}");
        if let Err(error) = teller.ended(&Ending::Broken(why)) {
            log::debug!("nobody hears how the machine ended: {error}");
        }
        sys::process::leave(1)
    }
    machine::live(parts, Ties { parent, teller, lock: Some(held.lock) })
}
