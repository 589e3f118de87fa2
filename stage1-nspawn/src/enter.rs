//! `enter`: a command inside a running app, as restricted as the app.
//!
//! Whoever enters is hidden (not dumpable) from the first moment, joins the app's control group and every namespace of
//! the pod in one call, and lets a child, born inside, execute the command: at no time can the pod see a process that
//! has left the host only half, or a descriptor of the host's.

use crate::run::NAMESPACES;
use pod_host::{Doing, RunError, pod};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags};
use stage1_abi::{EnterArgs, PodDir, Switch};
use stage2::launch::{Session, Standard};
use stage2::spec::{CapabilityRule, SeccompRule, Switches};
use stage2::{AppSpec, Identity, Launch, program, sources};
use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use sys::cgroup;
use sys::namespace::{self, Kinds};
use sys::path::At;
use sys::process::{End, Words};
use sys::signal::{self, Set, number};

/// How often the pod is looked at while it is not ready yet.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };

/// Runs the command; its exit code.
///
/// # Errors
/// The app cannot be entered.
pub fn enter() -> Result<u8, RunError> {
    let args = EnterArgs::decode(std::env::args_os().skip(1))?;
    sys::process::hide().doing("cannot hide")?;
    sys::descriptor::seal_inherited().doing("cannot seal inherited descriptors")?;
    let dir = PodDir::current()?;
    let pid = Pid::from_raw(args.pid).ok_or(RunError::Gone)?;
    let pidfd =
        rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(|_| RunError::Gone)?;
    wait_until_ready(&dir, &pidfd)?;

    let manifest = pod::manifest(&dir)?;
    let app = manifest.apps.iter().find(|app| app.name.as_str() == args.app);
    let app = app.ok_or_else(|| RunError::NoApp(args.app.clone()))?;
    let config = dir.runtime_config()?;
    let on = |switch, yes, no| if config.has(switch) { yes } else { no };
    let switches = Switches {
        capabilities: on(Switch::DisableCapabilities, CapabilityRule::All, CapabilityRule::Limited),
        seccomp: if config.has(Switch::DisableSeccomp) {
            SeccompRule::Off
        } else {
            SeccompRule::Wanted
        },
    };
    let spec = AppSpec::new(app, &pod::image(&dir, &args.app)?, switches)?;
    let env = spec.env_inside(std::env::var_os("TERM"))?;
    let doors = pod_host::gc::recorded(&dir)?.doors(Some(&args.app))?;
    let mounts = mount_namespace(&dir, &args)?;

    // Nothing that needs the host may come after this.
    let all = Kinds::UTS.and(Kinds::IPC).and(Kinds::NET).and(Kinds::PID).and(Kinds::MOUNT);
    namespace::join(pidfd.as_fd(), all).doing("cannot join the pod's namespaces")?;
    if let Some(mounts) = mounts {
        namespace::join(mounts.as_fd(), Kinds::MOUNT).doing("cannot join the app's mounts")?;
    }
    drop((pidfd, dir));
    let search = env.list().iter().find_map(|word| word.to_bytes().strip_prefix(b"PATH="));
    let search = search.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    run_inside(&args.command, &spec, &env, search.as_deref(), &doors)
}

fn run_inside(
    command: &[OsString],
    spec: &AppSpec,
    env: &Words,
    search: Option<&str>,
    doors: &cgroup::Doors,
) -> Result<u8, RunError> {
    let root = sources::own_root()?;
    let name = command.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
    let program = program::find(root.as_fd(), &name, search, "/")
        .map_err(|error| RunError::NotThere(error.to_string()))?;
    let argv: Result<Vec<CString>, _> =
        command.iter().map(|word| CString::new(word.as_bytes())).collect();
    let argv = argv.map_err(|_| stage2::spec::SpecError::Nul(spec.name.clone()))?;
    let identity = Identity::default();
    let proc = stage2::kernel_fs::procfs().ok();
    let launch = Launch {
        program,
        argv: Words::new(argv),
        env,
        identity: &identity,
        rights: spec.rights,
        directory: c"/",
        standard: Standard {
            input: rustix::stdio::stdin(),
            output: rustix::stdio::stdout(),
            error: rustix::stdio::stderr(),
        },
        keep: None,
        dies_with: None,
        session: Session::Inherited,
        doors: Some(doors),
        namespaces: &[],
        root: None,
        oom_score_adj: spec
            .oom_score_adj
            .zip(proc.as_ref())
            .map(|(score, proc)| (proc.as_fd(), score)),
    };
    // Keys of a terminal reach the command by themselves; what is sent to us is passed on.
    signal::set_default(number::CHILD);
    let signals = Set::of(&[
        number::CHILD,
        number::TERMINATE,
        number::HANGUP,
        number::INTERRUPT,
        number::QUIT,
        number::USER1,
        number::USER2,
    ]);
    signals.block_only().doing("cannot hold signals")?;
    let child = match launch.start().doing("cannot start a process")? {
        Ok(child) => child,
        Err(failure) => {
            let reason = program::reason(failure.errno);
            return Err(RunError::NotThere(format!(
                "unable to {} for {name:?}: {reason}",
                failure.step.words()
            )));
        }
    };
    loop {
        match signals.wait(None).doing("cannot wait for signals")? {
            Some(number::CHILD) => {
                while let Some((pid, end)) = sys::process::reap().doing("cannot reap")? {
                    if pid == child {
                        return Ok(code(end));
                    }
                }
            }
            // The terminal has sent these to the command, too.
            Some(number::INTERRUPT | number::QUIT) | None => {}
            Some(other) => {
                if let Err(error) = sys::process::kill(child, other) {
                    log::debug!("cannot pass signal {other} on: {error}");
                }
            }
        }
    }
}

fn code(end: End) -> u8 {
    match end {
        End::Exited(code) => u8::try_from(code).unwrap_or(u8::MAX),
        // As every shell says it.
        End::Killed(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
    }
}

/// Waits until the roots of the pod stand; before, PID 1 still sees the host.
fn wait_until_ready(dir: &PodDir, pidfd: &OwnedFd) -> Result<(), RunError> {
    while !dir.supervisor_ready()? {
        let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
        match rustix::event::poll(&mut fds, Some(&PAUSE)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Err(RunError::Gone),
            Err(error) => return Err(RunError::Kernel("cannot wait for the pod", error.into())),
        }
    }
    Ok(())
}

/// The mount namespace of one app of several: PID 1 holds it open.
fn mount_namespace(dir: &PodDir, args: &EnterArgs) -> Result<Option<OwnedFd>, RunError> {
    let Some(text) = dir.read_text(NAMESPACES)? else { return Ok(None) };
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    let (_, number) = lines
        .find(|(name, _)| *name == args.app)
        .ok_or_else(|| RunError::NoApp(args.app.clone()))?;
    let path = format!("/proc/{}/fd/{number}", args.pid);
    Ok(Some(
        rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .at("open", &path)?,
    ))
}
