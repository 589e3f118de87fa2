//! `stop`: asks the supervisor of a pod to end it in order, or ends it at once.

use crate::error::MachineError;
use pod_host::{Doing as _, RunError};
use rustix::process::{Pid, PidfdFlags};
use stage1_abi::{PodDir, StopArgs};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use sys::signal::number;

/// Stops the pod whose folder is the working directory. Returns when it was asked to, not when it is over.
///
/// # Errors
/// The pod does not run.
pub fn stop() -> Result<u8, MachineError> {
    let args = StopArgs::decode(std::env::args_os().skip(1))?;
    let dir = PodDir::current()?;
    let pidfd = supervisor(&dir)?;
    // The machine dies with its supervisor.
    let signal = if args.force { number::KILL } else { number::TERMINATE };
    match sys::process::signal_to(pidfd.as_fd(), signal) {
        Ok(()) => Ok(0),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {
            Err(RunError::Gone.into())
        }
        Err(error) => Err(error).doing("cannot signal the pod").map_err(Into::into),
    }
}

/// The supervisor of the pod, held by descriptor. Its number alone proves nothing: it may have been given to another
/// process since. A supervisor works in the folder of its pod, whose lock is held.
fn supervisor(dir: &PodDir) -> Result<OwnedFd, MachineError> {
    let pid = dir.pid()?.and_then(Pid::from_raw).ok_or(RunError::Gone)?;
    let pidfd =
        rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(|_| RunError::Gone)?;
    let works_in = std::fs::metadata(format!("/proc/{}/cwd", pid.as_raw_nonzero()));
    let own = rustix::fs::fstat(dir.as_fd()).doing("cannot look at the pod")?;
    let same = works_in.is_ok_and(|found| found.dev() == own.st_dev && found.ino() == own.st_ino);
    let held = sys::lock::held_exclusively(dir.as_fd()).doing("cannot look at the pod's lock")?;
    if held && same { Ok(pidfd) } else { Err(RunError::Gone.into()) }
}
