//! Commands beside the apps: run inside an app, as restricted as the app, for somebody on the host.

use crate::call::Caller;
use crate::error::{Doing, InitError};
use crate::pod::{Owner, window};
use crate::relay::Relay;
use pod_proto::config::Dialogue;
use pod_proto::message::Exec;
use pod_proto::{Process, Token};
use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;
use stage2::launch::{Session, Standard};
use stage2::{Identity, Launch, Runner, program};
use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use sys::namespace::Kinds;
use sys::path::At;
use sys::process::Words;
use sys::terminal::Pair;

/// A command that runs.
#[derive(Debug)]
pub struct Running {
    /// Its number.
    pub id: u32,
    /// Its process.
    pub pid: Pid,
    /// The driving end of its terminal.
    pub master: Option<OwnedFd>,
}

/// What became of a command.
#[derive(Debug)]
pub struct Tried {
    /// It runs, or why not.
    pub result: Result<Running, String>,
    /// Its streams, which are there in both cases.
    pub relays: Vec<Relay>,
}

/// Runs a command inside an app.
///
/// # Errors
/// Its streams cannot be connected, or something is wrong with init itself.
pub fn run(
    exec: &Exec,
    app: &Runner<'_>,
    token: Token,
    caller: &Caller,
) -> Result<Tried, InitError> {
    let pair = match exec.dialogue {
        Dialogue::Terminal(size) => {
            let pair = terminal(app)?;
            rustix::termios::tcsetwinsize(&pair.master, window(size))
                .doing("cannot set the size of the terminal")?;
            Some(pair)
        }
        Dialogue::Silent | Dialogue::Streams => None,
    };
    let (master, slave) = pair.map(|Pair { master, slave }| (master, slave)).unzip();
    let owner = Owner { process: Process::Exec(exec.id), token, caller };
    let plumbed = owner.plumb(exec.dialogue, master.as_ref())?;
    let standard = match &slave {
        Some(slave) => {
            let slave = slave.as_fd();
            Standard { input: slave, output: slave, error: slave }
        }
        None => Standard {
            input: plumbed.input.as_fd(),
            output: plumbed.output.as_fd(),
            error: plumbed.error.as_fd(),
        },
    };
    let session = if slave.is_some() { Session::Terminal } else { Session::Own };
    let started = start(exec, app, standard, session)?;
    let result = started.map(|pid| Running { id: exec.id, pid, master });
    Ok(Tried { result, relays: plumbed.relays })
}

fn start(
    exec: &Exec,
    app: &Runner<'_>,
    standard: Standard<'_>,
    session: Session,
) -> Result<Result<Pid, String>, InitError> {
    let (spec, root) = (app.spec(), app.root());
    let words: Result<Vec<CString>, _> =
        exec.command.iter().map(|word| CString::new(word.0.clone())).collect();
    let Ok(words) = words else { return Ok(Err("a word with a NUL byte".to_owned())) };
    let term = exec.term.as_ref().map(|word| OsString::from_vec(word.0.clone()));
    let env = match spec.env_inside(term) {
        Ok(env) => env,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let search = env.list().iter().find_map(|word| word.to_bytes().strip_prefix(b"PATH="));
    let search = search.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let name = words.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
    let program = match program::find(root.fd.as_fd(), &name, search.as_deref(), "/") {
        Ok(program) => program,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let identity = Identity::default();
    let namespaces: Vec<(BorrowedFd<'_>, Kinds)> =
        root.namespace.iter().map(|fd| (fd.as_fd(), Kinds::MOUNT)).collect();
    let launch = Launch {
        program,
        argv: Words::new(words),
        env: &env,
        identity: &identity,
        rights: spec.rights,
        directory: c"/",
        standard,
        keep: None,
        dies_with: None,
        session,
        doors: Some(app.doors()),
        namespaces: &namespaces,
        root: None,
        oom_score_adj: spec.oom_score_adj.map(|score| (root.proc.as_fd(), score)),
    };
    Ok(launch.start().doing("cannot start a process")?.map_err(|failure| {
        let reason = program::reason(failure.errno);
        format!("unable to {} for {name:?}: {reason}", failure.step.words())
    }))
}

/// A terminal of the app's devpts, which only its mount namespace sees.
fn terminal(app: &Runner<'_>) -> Result<Pair, InitError> {
    inside(app, || sys::terminal::open(c"/dev/pts/ptmx"))?.doing("cannot open a terminal")
}

/// Does something in the mount namespace of an app.
///
/// # Errors
/// It cannot be joined, or left again.
pub fn inside<T>(app: &Runner<'_>, body: impl FnOnce() -> T) -> Result<T, InitError> {
    let path = "/proc/self/ns/mnt";
    let own = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let own = own.at("open", path)?;
    if let Some(namespace) = &app.root().namespace {
        sys::namespace::join(namespace.as_fd(), Kinds::MOUNT)
            .doing("cannot join the app's mounts")?;
    }
    let done = body();
    sys::namespace::join(own.as_fd(), Kinds::MOUNT).doing("cannot leave the app's mounts")?;
    Ok(done)
}
