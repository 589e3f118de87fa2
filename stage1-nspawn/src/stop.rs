//! `stop`: asks PID 1 of a pod to end it in order, or ends it at once.

use pod_host::{Doing, RunError};
use rustix::process::{Pid, PidfdFlags};
use stage1_abi::{PodDir, StopArgs};
use std::os::fd::{AsFd, OwnedFd};
use sys::signal::number;

/// Stops the pod whose folder is the working directory. Returns when it was asked to, not when it is over.
///
/// # Errors
/// The pod does not run.
pub fn stop() -> Result<u8, RunError> {
    let args = StopArgs::decode(std::env::args_os().skip(1))?;
    let dir = PodDir::current()?;
    let pidfd = supervisor(&dir)?;
    let signal = if args.force { number::KILL } else { number::TERMINATE };
    match sys::process::signal_to(pidfd.as_fd(), signal) {
        Ok(()) => Ok(0),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {
            Err(RunError::Gone)
        }
        Err(error) => Err(error).doing("cannot signal the pod"),
    }
}

/// PID 1 of the pod, held by descriptor. Its number alone proves nothing: it may have been given to another process
/// since. While the pod's lock is held its owner has not reaped PID 1, so a process of that number is PID 1.
fn supervisor(dir: &PodDir) -> Result<OwnedFd, RunError> {
    let pid = dir.pid()?.and_then(Pid::from_raw).ok_or(RunError::Gone)?;
    let pidfd =
        rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(|_| RunError::Gone)?;
    let innermost = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero()));
    let innermost = innermost.unwrap_or_default();
    let numbers =
        innermost.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
    let held = sys::lock::held_exclusively(dir.as_fd()).doing("cannot look at the pod's lock")?;
    // PID 1 of a namespace below ours, of a pod that lives.
    if held
        && numbers.split_whitespace().count() > 1
        && numbers.split_whitespace().last() == Some("1")
    {
        Ok(pidfd)
    } else {
        Err(RunError::Gone)
    }
}
