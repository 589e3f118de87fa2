//! P0: what `rkt run` became. It prepares what lies on the host, clones PID 1, and stays outside: with the lock, the
//! caller's terminal and signals, the pod's files and its control groups.

use crate::control::{self, Control, Message};
use crate::isolation::{self, Isolation};
use crate::supervise::{self, SIGNALS};
use pod_host::network::Habitat;
use pod_host::{
    Dialogue, Doing, Groups, Keyboard, Later, Leases, Network, Outputs, Pod, Ready, RunError, Said,
    Stream,
};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Pid;
use stage1_abi::{PodDir, RunArgs, RuntimeConfig, Switch, pod_dir};
use stage2::{Ends, sources};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;
use sys::path::At;
use sys::process::{Cloned, End};
use sys::signal::{self, Set, number};
use sys::terminal::Raw;

/// The file with one line for each app of several: the descriptor of PID 1 that holds its mount namespace.
pub const NAMESPACES: &str = "rkt/namespaces";

/// Becomes the pod; the exit code of P0, or in the clone that of PID 1.
///
/// # Errors
/// The pod did not start.
pub fn run() -> Result<u8, RunError> {
    let args = RunArgs::decode(std::env::args_os().skip(1))?;
    stage1_abi::entry::start_log(args.switches.contains(&Switch::Debug));
    sys::descriptor::seal_inherited().doing("cannot seal inherited descriptors")?;
    let lock = stage1_abi::lock::inherited().map_err(RunError::Lock)?;
    let dir = PodDir::current()?;
    isolation::refuse(&args)?;
    let request = Network::request(&args)?;
    let mut pod = Pod::read(&dir, &args)?;
    folders(&pod, &dir)?;
    let parent = rustix::process::getpid();
    let pod_args = (&args, Habitat::Namespaces);
    let (mut network, later) = Network::make(&request, pod_args, &dir, &pod.forwards)?;
    let mut leases = network.leases();
    let result = network.resolv(pod.resolv, &dir).and_then(|resolv| {
        pod.resolv = resolv;
        grouped((&pod, Isolation::of(&args, &network)?), &dir, &args, (later, &mut leases))
    });
    // In the clone an error is all that comes back, to be told like any other; what is P0's stays.
    if rustix::process::getpid() == parent {
        drop(leases);
        network.leave(&args, &dir);
    }
    drop(lock);
    match result? {
        End::Exited(code) => Ok(u8::try_from(code).unwrap_or(u8::MAX)),
        // Somebody killed the pod: whoever waits for us shall see the same.
        End::Killed(signal) => {
            sys::process::die_by(signal).doing("cannot end as the pod did")?;
            Ok(stage1_abi::entry::FAILURE)
        }
    }
}

/// Runs the pod in control groups of its own.
fn grouped(
    (pod, isolation): (&Pod, Isolation<'_>),
    dir: &PodDir,
    args: &RunArgs,
    (later, leases): (Option<Later>, &mut Leases),
) -> Result<End, RunError> {
    let apps: Vec<_> =
        pod.apps.iter().map(|app| (app.spec.name.as_str(), app.spec.limits)).collect();
    let parent = rustix::process::getpid();
    let groups = Groups::make(&pod.uuid, &apps, dir)?;
    let result = start((pod, isolation), dir, args, &groups, (later, leases));
    if rustix::process::getpid() == parent {
        groups.remove();
    }
    result
}

/// Makes what lies in the pod folder before anything runs.
fn folders(pod: &Pod, dir: &PodDir) -> Result<(), RunError> {
    dir.ensure_state()?;
    dir.ensure_dir(pod_dir::STAGE1, 0o750)?;
    for app in &pod.apps {
        app.files.make_folders(dir.as_fd())?;
        let has_empty = app
            .plan
            .steps
            .iter()
            .any(|step| matches!(step.source, stage2::mounts::Source::Empty { .. }));
        if has_empty {
            dir.ensure_dir(pod_dir::VOLUMES, 0o755)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            let volumes = dir.open_at(pod_dir::VOLUMES, flags, Mode::empty())?;
            sources::make_empty(volumes.as_fd(), &app.plan)?;
        }
    }
    Ok(())
}

/// Clones PID 1 and stays with it until it is gone.
fn start(
    (pod, isolation): (&Pod, Isolation<'_>),
    dir: &PodDir,
    args: &RunArgs,
    groups: &Groups,
    (later, leases): (Option<Later>, &mut Leases),
) -> Result<End, RunError> {
    warn_about_scores(pod);
    let (outside, inside) = control::pair().doing("cannot make a socket pair")?;
    let (outputs, ends) = plumb(pod, dir, groups)?;
    supervise::hold_signals().doing("cannot hold signals")?;
    match sys::process::clone(isolation.namespaces).doing("cannot clone into new namespaces")? {
        Cloned::Child => {
            drop((outputs, outside, later));
            leases.forget();
            match supervise::supervise((pod, isolation), dir, &inside, ends) {
                // The kernel closes what is open, the lock among it, and ends what is left of the pod.
                Ok(code) => sys::process::leave(code.into()),
                Err(error) => Err(error),
            }
        }
        Cloned::Parent { pid, pidfd } => {
            drop((inside, ends));
            let mut outside =
                Outside { dir, control: outside, outputs, pidfd, keyboard: None, leases };
            // While PID 1 assembles roots, which it does for as long as joining takes.
            let joined = later.map_or(Ok(()), |later| later.finish(args, dir, &pod.forwards));
            let result = joined
                .and_then(|()| outside.write_files(args, pid))
                .and_then(|()| outside.attend());
            if result.is_err() {
                // PID 1 waits for a word that will not come.
                outside.kill();
            }
            let end = sys::process::wait_for(pid).doing("cannot wait for the pod")?;
            result?;
            Ok(end)
        }
    }
}

/// Only a lowered score needs a right; an app that cannot have it runs with the score of its caller.
fn warn_about_scores(pod: &Pod) {
    let wanted: Vec<i32> = pod.apps.iter().filter_map(|app| app.spec.oom_score_adj).collect();
    let Some(lowest) = wanted.iter().min() else { return };
    let own = std::fs::read_to_string("/proc/self/oom_score_adj")
        .ok()
        .and_then(|t| t.trim().parse::<i32>().ok());
    let may = rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(rustix::thread::CapabilitySet::SYS_RESOURCE));
    if !may && own.is_some_and(|own| *lowest < own) {
        log::warn!(
            "cannot lower oom_score_adj to {lowest} without CAP_SYS_RESOURCE: it stays as it is"
        );
    }
}

/// The pipes of all apps: what P0 reads, and what PID 1 hands to them.
fn plumb(pod: &Pod, dir: &PodDir, groups: &Groups) -> Result<(Outputs, Vec<Ends>), RunError> {
    let mut outputs = Outputs::of(pod, dir)?;
    let mut ends = Vec::with_capacity(pod.apps.len());
    for (index, group) in groups.apps.iter().enumerate() {
        let pipe = || pipe_with(PipeFlags::CLOEXEC).doing("cannot make a pipe");
        let ((out, output), (err, error)) = (pipe()?, pipe()?);
        outputs.add(index, Stream::Out, out);
        outputs.add(index, Stream::Err, err);
        let input = match pod.dialogue {
            Dialogue::Copied => sys::descriptor::null_device(false).at("open", "/dev/null")?,
            Dialogue::Interactive => rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)
                .doing("cannot pass the input on")?,
        };
        ends.push(Ends { input, output, error, doors: group.doors()? });
    }
    Ok((outputs, ends))
}

/// What P0 holds while the pod runs.
struct Outside<'a> {
    dir: &'a PodDir,
    control: Control,
    outputs: Outputs,
    pidfd: OwnedFd,
    keyboard: Option<Keyboard>,
    leases: &'a mut Leases,
}

/// What one descriptor of the poll is.
#[derive(Clone, Copy)]
enum Woken {
    Control,
    Signals,
    Keys,
    Terminal,
    Lease,
    Output(Ready),
}

impl Outside<'_> {
    /// What later entrypoints and monitors read; `pid` comes last, and then apps may start.
    fn write_files(&self, args: &RunArgs, pid: Pid) -> Result<(), RunError> {
        self.dir.write_runtime_config(&RuntimeConfig::of(args))?;
        self.dir.write_pid(pid.as_raw_nonzero().get())?;
        self.control.release().doing("cannot reach the pod")
    }

    fn kill(&self) {
        if let Err(error) = sys::process::signal_to(self.pidfd.as_fd(), number::KILL) {
            log::debug!("cannot kill the pod: {error}");
        }
    }

    /// Carries outputs, signals and reports until PID 1 is gone.
    fn attend(&mut self) -> Result<(), RunError> {
        let signals =
            Set::of(&SIGNALS.map(|s| if s == number::CHILD { number::TERMINATE } else { s }));
        let signals = signals.descriptor().doing("cannot wait for signals")?;
        let mut raw = None;
        let mut alive = true;
        while alive || !self.outputs.done() {
            self.leases.tend();
            for woken in self.wait(&signals, alive)? {
                match woken {
                    Woken::Output(ready) => self.outputs.carry(ready),
                    Woken::Control => {
                        match self.control.receive().doing("cannot hear from the pod")? {
                            None => alive = false,
                            Some((Message::Started { app, pid }, _)) => {
                                let app = usize::try_from(app).unwrap_or(usize::MAX);
                                self.outputs.started(app, pid);
                            }
                            Some((Message::Terminal, None)) => {}
                            Some((Message::Terminal, Some(master))) => {
                                self.connect(master)?;
                                raw = Raw::of(rustix::stdio::stdin())
                                    .doing("cannot set the terminal")?;
                            }
                        }
                    }
                    Woken::Signals => {
                        while let Some(signal) =
                            signal::next(&signals).doing("cannot read signals")?
                        {
                            self.pass_signal(signal, alive);
                        }
                    }
                    Woken::Keys => {
                        if self.keyboard.as_mut().map(Keyboard::read) == Some(Said::Kill) {
                            self.kill();
                        }
                    }
                    // It is tended before the next wait.
                    Woken::Lease => {}
                    Woken::Terminal => {
                        if let Some(keyboard) = &mut self.keyboard {
                            keyboard.write();
                        }
                    }
                }
            }
        }
        drop(raw);
        Ok(())
    }

    fn wait(&self, signals: &OwnedFd, alive: bool) -> Result<Vec<Woken>, RunError> {
        let mut outputs = Vec::new();
        self.outputs.interests(&mut outputs);
        let mut kinds = vec![Woken::Signals];
        let mut fds = vec![PollFd::new(signals, PollFlags::IN)];
        if alive {
            kinds.push(Woken::Control);
            fds.push(PollFd::new(&self.control, PollFlags::IN));
        }
        if let Some(keyboard) = &self.keyboard {
            if keyboard.wants_keys() {
                kinds.push(Woken::Keys);
                fds.push(PollFd::from_borrowed_fd(rustix::stdio::stdin(), PollFlags::IN));
            }
            if let Some(master) = keyboard.full() {
                kinds.push(Woken::Terminal);
                fds.push(PollFd::from_borrowed_fd(master, PollFlags::OUT));
            }
        }
        for (ready, fd) in outputs {
            kinds.push(Woken::Output(ready));
            fds.push(fd);
        }
        for fd in self.leases.interests() {
            kinds.push(Woken::Lease);
            fds.push(fd);
        }
        let left = self.leases.deadline().map(|at| at.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match rustix::event::poll(&mut fds, left.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Vec::new()),
            Err(error) => return Err(RunError::Kernel("cannot wait", error.into())),
        }
        let woken = kinds.into_iter().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty());
        Ok(woken.map(|(kind, _)| kind).collect())
    }

    fn connect(&mut self, master: OwnedFd) -> Result<(), RunError> {
        let copy =
            rustix::io::fcntl_dupfd_cloexec(&master, 3).doing("cannot share the terminal")?;
        self.outputs.add(0, Stream::Out, master);
        let keyboard = Keyboard::new(copy).doing("cannot connect the terminal")?;
        keyboard.resize();
        self.keyboard = Some(keyboard);
        Ok(())
    }

    fn pass_signal(&mut self, signal: i32, alive: bool) {
        if signal == number::WINDOW {
            if let Some(keyboard) = &self.keyboard {
                keyboard.resize();
            }
        } else if !alive {
            // The pod is over, and only somebody who does not read keeps us.
            self.outputs.abandon();
        } else if let Err(error) = sys::process::signal_to(self.pidfd.as_fd(), signal) {
            log::debug!("cannot pass signal {signal} on: {error}");
        }
    }
}
