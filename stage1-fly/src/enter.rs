//! `enter`: a command in the app's root, with the app's identity.

use crate::error::{Doing, FlyError};
use crate::gc;
use crate::pod::FlyApp;
use crate::run::identity_in;
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags};
use stage1_abi::{EnterArgs, PodDir};
use stage2::launch::{Rights, Session, Standard};
use stage2::{Launch, program};
use std::ffi::CString;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use sys::capability::Capabilities;
use sys::namespace::{self, Kinds};
use sys::path::At;
use sys::process::Words;

/// Becomes the command.
///
/// # Errors
/// The app cannot be entered, or the command cannot be executed.
pub fn enter() -> Result<u8, FlyError> {
    let args = EnterArgs::decode(std::env::args_os().skip(1))?;
    sys::descriptor::seal_inherited().doing("cannot seal inherited descriptors")?;
    let dir = PodDir::current()?;
    let pid = Pid::from_raw(args.pid).ok_or(FlyError::Gone)?;
    let pidfd =
        rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(|_| FlyError::Gone)?;
    let app = FlyApp::read(&dir)?;
    if app.spec.name != args.app {
        return Err(FlyError::NoApp(args.app));
    }
    let path = format!("/proc/{}/root", args.pid);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(&path, flags, Mode::empty()).at("open", &path)?;
    let env = app.spec.env_inside(std::env::var_os("TERM"))?;
    let doors = gc::recorded(&dir)?.doors(None)?;
    namespace::join(pidfd.as_fd(), Kinds::MOUNT).doing("cannot join the app's mounts")?;
    let identity = identity_in(&app, &root)?;
    let name =
        args.command.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
    let program = program::find(root.as_fd(), &name, app.spec.variable("PATH"), "/")?;
    let argv: Result<Vec<CString>, _> =
        args.command.iter().map(|word| CString::new(word.as_bytes())).collect();
    let launch = Launch {
        program,
        argv: Words::new(argv.map_err(|_| stage2::spec::SpecError::Nul(args.app.clone()))?),
        env: &env,
        identity: &identity,
        rights: Rights { capabilities: Capabilities::ALL, no_new_privileges: false },
        directory: c"/",
        standard: Standard {
            input: rustix::stdio::stdin(),
            output: rustix::stdio::stdout(),
            error: rustix::stdio::stderr(),
        },
        keep: None,
        dies_with: None,
        session: Session::Inherited,
        doors: Some(&doors),
        namespaces: &[],
        root: Some(root.as_fd()),
        oom_score_adj: None,
    };
    let failure = launch.become_it();
    Err(FlyError::Start { what: failure.step.words(), reason: program::reason(failure.errno) })
}
