//! `run`: starts the app and sees to it that its end is recorded.

use crate::error::{Doing, FlyError};
use crate::pod::FlyApp;
use crate::{root, watch};
use rustix::process::Pid;
use stage1_abi::{PodDir, RunArgs, RuntimeConfig, Switch, pod_dir};
use stage2::launch::{Rights, Session, Standard};
use stage2::{Identity, Launch, Step, identity, program};
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use sys::capability::Capabilities;
use sys::cgroup::{self, Doors, Place, Record};
use sys::lock::LockFd;
use sys::process::{ChildFailure, End};
use sys::signal::{self, Set, number};

/// Whoever waits for a service to say that it is ready listens here, and to its main process only.
const NOTIFY: &str = "NOTIFY_SOCKET";
/// What is passed on to the app.
const PASSED: [i32; 7] = [
    number::TERMINATE,
    number::INTERRUPT,
    number::QUIT,
    number::HANGUP,
    number::USER1,
    number::USER2,
    number::WINDOW,
];

/// Runs the app; its exit code.
///
/// # Errors
/// The app did not start.
pub fn run() -> Result<u8, FlyError> {
    let args = RunArgs::decode(std::env::args_os().skip(1))?;
    stage1_abi::entry::start_log(args.switches.contains(&Switch::Debug));
    sys::descriptor::seal_inherited().doing("cannot seal inherited descriptors")?;
    let lock = stage1_abi::lock::inherited().map_err(FlyError::Lock)?;
    let dir = PodDir::current()?;
    let app = FlyApp::read(&dir)?;
    warn(&args, &app);
    dir.ensure_state()?;
    app.files.make_folders(dir.as_fd())?;
    let group = Group::make(&dir, &args)?;
    let result = root::assemble(&app, &dir, &args)
        .and_then(|root| start(&app, &dir, &args, &Held { root, lock, doors: &group.doors }));
    group.remove();
    result
}

/// What this flavour cannot give is said, where it could matter.
fn warn(args: &RunArgs, app: &FlyApp) {
    if args.mds_token.is_some() {
        log::warn!("--mds-register is ignored: this flavour does not isolate the app");
    }
    if args.hostname.is_some() {
        log::warn!("--hostname is ignored: the app has the host's name");
    }
    if args.ipc.as_deref().is_some_and(|mode| mode != "parent" && !mode.is_empty()) {
        log::warn!("--ipc is ignored: the app has the host's IPC namespace");
    }
    let named = !matches!(args.net.as_str(), "" | "default" | "host");
    let net = format!("--net={}", args.net);
    let ignored: Vec<&str> = [(named, &*net), (app.forwards, "--port")]
        .into_iter()
        .filter_map(|(given, flag)| given.then_some(flag))
        .collect();
    if !ignored.is_empty() {
        let flags = ignored.join(" and ");
        log::warn!("the app has the host's network and its ports, whatever {flags} may say");
    }
    if args.private_users.is_some() {
        log::warn!("--private-users is ignored: the app has the host's users");
    }
}

/// A control group that limits nothing and holds all that the app starts.
struct Group {
    record: Record,
    doors: Doors,
}

impl Group {
    fn make(dir: &PodDir, args: &RunArgs) -> Result<Self, FlyError> {
        let name = cgroup::pod_group(&args.uuid.to_string());
        let place = Place::to_hold()?;
        let record = place.record(&name);
        dir.write(pod_dir::SUBCGROUP, record.text().as_bytes())?;
        let doors = place.make(&name)?.doors()?;
        Ok(Self { record, doors })
    }

    /// What the app left running keeps the group, and gc removes it later.
    fn remove(&self) {
        if let Err(error) = self.record.remove_now() {
            log::debug!("{error}");
        }
    }
}

struct Held<'a> {
    root: OwnedFd,
    lock: LockFd,
    doors: &'a Doors,
}

fn start(app: &FlyApp, dir: &PodDir, args: &RunArgs, held: &Held<'_>) -> Result<u8, FlyError> {
    let spec = &app.spec;
    let identity = identity::resolve(held.root.as_fd(), &spec.identity)?;
    dir.write_runtime_config(&RuntimeConfig::of(args))?;
    let name = spec.commands.main.first().map_or("", String::as_str);
    let program =
        match program::find(held.root.as_fd(), name, spec.variable("PATH"), &spec.directory) {
            Ok(program) => program,
            Err(unopenable) => {
                return refused(app, dir, &format!("Error: {unopenable}\n"), Step::Exec);
            }
        };
    let env = spec.env_words()?;
    let directory = directory(app)?;
    let has_terminal = rustix::termios::isatty(rustix::stdio::stdin());
    let becomes = std::env::var_os(NOTIFY).is_some_and(|path| !path.is_empty());
    let launch = Launch {
        program,
        argv: spec.words(spec.commands.main.iter().cloned())?,
        env: &env,
        identity: &identity,
        rights: Rights { capabilities: Capabilities::ALL, no_new_privileges: false },
        directory: &directory,
        standard: Standard {
            input: rustix::stdio::stdin(),
            output: rustix::stdio::stdout(),
            error: rustix::stdio::stderr(),
        },
        keep: Some(held.lock.as_fd()),
        dies_with: (!becomes).then(rustix::process::getpid),
        session: if has_terminal || becomes { Session::Inherited } else { Session::Own },
        doors: Some(held.doors),
        namespaces: &[],
        root: Some(held.root.as_fd()),
        oom_score_adj: None,
    };
    if becomes {
        return become_app(app, dir, &launch, &held.lock);
    }
    signal::set_default(number::CHILD);
    let signals = [&PASSED[..], &[number::CHILD]].concat();
    let signals = Set::of(&signals);
    signals.block_only().doing("cannot hold signals")?;
    let child = match launch.start().doing("cannot start the app")? {
        Ok(child) => child,
        Err(failure) => return refused(app, dir, &complaint(name, failure), failure.step),
    };
    let number = child.as_raw_nonzero().get();
    if !has_terminal {
        dir.write(pod_dir::PGID, number.to_string().as_bytes())?;
    }
    dir.write_pid(number)?;
    dir.write_supervisor_ready()?;
    let end = attend(child, &signals, has_terminal)?;
    dir.write_status(&spec.name, end.code(), end.signal())?;
    Ok(u8::try_from(end.code()).unwrap_or(u8::MAX))
}

/// The pod's files are written first: after the exec there is nobody of ours but the watcher.
fn become_app(
    app: &FlyApp,
    dir: &PodDir,
    launch: &Launch<'_>,
    lock: &LockFd,
) -> Result<u8, FlyError> {
    watch::leave_watcher(&app.spec.name, dir, lock)?;
    if let Some(group) = sys::process::group_of(None) {
        dir.write(pod_dir::PGID, group.as_raw_nonzero().get().to_string().as_bytes())?;
    }
    dir.write_pid(rustix::process::getpid().as_raw_nonzero().get())?;
    dir.write_supervisor_ready()?;
    let failure = launch.become_it();
    Err(FlyError::Start { what: failure.step.words(), reason: program::reason(failure.errno) })
}

fn directory(app: &FlyApp) -> Result<CString, FlyError> {
    let spec = &app.spec;
    let text = CString::new(spec.directory.as_str());
    Ok(text.map_err(|_| stage2::spec::SpecError::Nul(spec.name.clone()))?)
}

fn complaint(name: &str, failure: ChildFailure<Step>) -> String {
    format!(
        "Error: Unable to {} for {name:?}: {}\n",
        failure.step.words(),
        program::reason(failure.errno)
    )
}

/// An app whose program did not start has ended with the status of the step that failed.
fn refused(app: &FlyApp, dir: &PodDir, text: &str, step: Step) -> Result<u8, FlyError> {
    if let Err(error) = rustix::io::write(rustix::stdio::stdout(), text.as_bytes()) {
        log::warn!("{text} ({error})");
    }
    dir.write_pid(rustix::process::getpid().as_raw_nonzero().get())?;
    dir.write_status(&app.spec.name, step.status(), None)?;
    Ok(u8::try_from(step.status()).unwrap_or(u8::MAX))
}

/// Waits for the app, passing signals on.
fn attend(child: Pid, signals: &Set, has_terminal: bool) -> Result<End, FlyError> {
    loop {
        match signals.wait(None).doing("cannot wait for signals")? {
            Some(number::CHILD) => {
                while let Some((pid, end)) = sys::process::reap().doing("cannot reap")? {
                    if pid == child {
                        return Ok(end);
                    }
                }
            }
            // The terminal has sent these to the app, too.
            Some(number::INTERRUPT | number::QUIT | number::WINDOW) if has_terminal => {}
            Some(other) => {
                if let Err(error) = sys::process::kill(child, other) {
                    log::debug!("cannot pass signal {other} on: {error}");
                }
            }
            None => {}
        }
    }
}

/// The ids of an app that is being entered.
///
/// # Errors
/// They cannot be resolved.
pub fn identity_in(app: &FlyApp, root: &OwnedFd) -> Result<Identity, FlyError> {
    Ok(identity::resolve(root.as_fd(), &app.spec.identity)?)
}
