//! The entrypoints of a pod's stage1 that other commands call. They are executed from the trees in the store: what a pod
//! may have written is not run on the host.

use appc::PodUuid;
use stage1_abi::{EnterArgs, GcArgs, PodDir, PodDirError, Stage1Interface, StopArgs, pod_dir};
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use sys::path::{At as _, PathError};

use super::run::{LaunchError, RunRequest, interface_of};

/// Why an entrypoint did not do what it is for.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// The pod does not say what it runs with.
    #[error(transparent)]
    Stage1(#[from] LaunchError),
    /// A file of the pod.
    #[error(transparent)]
    Dir(#[from] PodDirError),
    /// The flavour cannot do this.
    #[error("{0} is not supported by this pod's stage1")]
    Unsupported(&'static str),
    /// The program is not where the image says.
    #[error("stage1 has no program {0:?}")]
    Missing(String),
    /// It does not start.
    #[error("cannot execute {}", path.display())]
    Execute {
        /// The program.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It does not do it, and says why.
    #[error("{0}")]
    Refused(String),
    /// It failed, and has said why.
    #[error("stage1 {what} failed ({status})")]
    Failed {
        /// Which one.
        what: &'static str,
        /// How.
        status: ExitStatus,
    },
}

impl From<PathError> for EntryError {
    fn from(error: PathError) -> Self {
        Self::Dir(error.into())
    }
}

/// Becomes a command in an app of a running pod; returns only if that fails.
pub fn enter(dir: &PodDir, args: &EnterArgs) -> EntryError {
    let command = || -> Result<Command, EntryError> {
        let interface = interface_of(dir)?;
        let entry = interface.enter.as_deref().ok_or(EntryError::Unsupported("enter"))?;
        command(dir, entry, args.encode())
    };
    match command() {
        Ok(mut command) => {
            let path = PathBuf::from(command.get_program());
            EntryError::Execute { path, source: command.exec() }
        }
        Err(error) => error,
    }
}

/// Asks a running pod to end, or ends it.
pub fn stop(dir: &PodDir, args: &StopArgs) -> Result<(), EntryError> {
    let interface = interface_of(dir)?;
    let entry = interface.stop.as_deref().ok_or(EntryError::Unsupported("stop"))?;
    call("stop", command(dir, entry, args.encode())?)
}

/// Undoes what a dead pod left outside of its folder; a flavour that leaves nothing has no such entrypoint.
pub fn gc(
    dir: &PodDir,
    uuid: PodUuid,
    debug: bool,
    local: Option<String>,
) -> Result<(), EntryError> {
    let Some(interface) = known(dir)? else { return Ok(()) };
    let Some(entry) = interface.gc.as_deref() else { return Ok(()) };
    let args = GcArgs { debug, local_config: local, uuid };
    call("gc", command(dir, entry, args.encode(interface.version))?)
}

/// Asks the stage1 of a running pod whether its networks are as they were left.
///
/// # Errors
/// They are not, or it does not know.
pub fn check_networks(
    dir: &PodDir,
    uuid: PodUuid,
    debug: bool,
    local: Option<String>,
) -> Result<(), EntryError> {
    let interface = interface_of(dir)?;
    let entry = interface.check_networks.as_deref();
    let entry = entry.ok_or(EntryError::Unsupported("checking networks"))?;
    let args = GcArgs { debug, local_config: local, uuid };
    let mut command = command(dir, entry, args.encode(interface.version))?;
    let done = command.stdin(Stdio::null()).output().map_err(|source| EntryError::Execute {
        path: PathBuf::from(command.get_program()),
        source,
    })?;
    if done.status.success() {
        return Ok(());
    }
    Err(failed("check-networks", done.status, &done.stderr))
}

/// The pod's stage1; `None` if its collection has begun before.
fn known(dir: &PodDir) -> Result<Option<Stage1Interface>, EntryError> {
    if dir.modified(pod_dir::STAGE1_MANIFEST)?.is_none() {
        return Ok(None);
    }
    Ok(Some(interface_of(dir)?))
}

/// Asks the stage1 of these trees whether a pod could be run like this, before there is one. Most need not be asked.
pub fn check(
    interface: &Stage1Interface,
    trees: &[PathBuf],
    request: &RunRequest,
) -> Result<(), EntryError> {
    let Some(entry) = interface.check.as_deref() else { return Ok(()) };
    let path = program_in(trees, entry)?;
    // No pod has it.
    let nobody = PodUuid::from_random([0; 16]);
    let (argv, _) = request.args(nobody).encode(interface.version);
    let done = Command::new(&path).args(argv).stdin(Stdio::null()).output();
    let done = done.map_err(|source| EntryError::Execute { path, source })?;
    if done.status.success() {
        return Ok(());
    }
    Err(failed("check", done.status, &done.stderr))
}

/// What an entrypoint failed with that was heard.
pub(super) fn failed(what: &'static str, status: ExitStatus, said: &[u8]) -> EntryError {
    let said = String::from_utf8_lossy(said);
    let said = said.trim();
    match said.strip_prefix("stage1: ").unwrap_or(said) {
        "" => EntryError::Failed { what, status },
        reason => EntryError::Refused(reason.to_owned()),
    }
}

/// The same for a pod that is prepared.
pub fn check_prepared(
    dir: &PodDir,
    interface: &Stage1Interface,
    request: &RunRequest,
) -> Result<(), EntryError> {
    if interface.check.is_none() {
        return Ok(());
    }
    check(interface, &trees(dir)?, request)
}

pub(super) fn command(
    dir: &PodDir,
    entry: &str,
    args: Vec<OsString>,
) -> Result<Command, EntryError> {
    let mut command = Command::new(program(dir, entry)?);
    command.args(args).current_dir(dir.path());
    Ok(command)
}

fn call(what: &'static str, mut command: Command) -> Result<(), EntryError> {
    let path = PathBuf::from(command.get_program());
    let status = command.status().map_err(|source| EntryError::Execute { path, source })?;
    if status.success() { Ok(()) } else { Err(EntryError::Failed { what, status }) }
}

/// An entrypoint in the trees that the pod's stage1 was made of.
fn program(dir: &PodDir, entry: &str) -> Result<PathBuf, EntryError> {
    program_in(&trees(dir)?, entry)
}

/// The trees that the pod's stage1 was made of.
fn trees(dir: &PodDir) -> Result<Vec<PathBuf>, EntryError> {
    Ok(match dir.stage1_layers()? {
        Some(layers) => layers,
        None => vec![shared_root(dir)?],
    })
}

fn program_in(trees: &[PathBuf], entry: &str) -> Result<PathBuf, EntryError> {
    // The topmost tree that has the file; where that was a mark of removal it is not executable.
    let paths = trees.iter().rev().map(|tree| tree.join(entry));
    let found = paths.into_iter().find(|path| std::fs::symlink_metadata(path).is_ok());
    found.ok_or_else(|| EntryError::Missing(entry.to_owned()))
}

/// Where the link to a shared stage1 root leads.
pub(super) fn shared_root(dir: &PodDir) -> Result<PathBuf, PathError> {
    let link = pod_dir::STAGE1_ROOT;
    let target =
        rustix::fs::readlinkat(dir, link, Vec::new()).at("readlink", dir.path().join(link))?;
    Ok(OsString::from_vec(target.into_bytes()).into())
}
