//! `stop`: asks the process that a pod's `pid` names to end it in order, or ends it at once.

use crate::error::{Doing, RunError};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};
use stage1_abi::{PodDir, StopArgs};
use std::os::fd::{AsFd, BorrowedFd};
use sys::signal::number;

/// Stops the pod whose folder is the working directory. Returns when it was asked to, not when it is over; but who kills it
/// waits for that, and cleans up what it would have itself.
///
/// The process is held by descriptor. Its number alone proves nothing: it may have been given to another process since.
/// It is the pod's as long as the pod's lock is held and `is_its` says so of the number.
///
/// # Errors
/// The pod does not run.
pub fn stop(
    is_its: impl FnOnce(&PodDir, Pid) -> Result<bool, RunError>,
    clean_up: impl FnOnce(&PodDir, &str),
) -> Result<u8, RunError> {
    let args = StopArgs::decode(std::env::args_os().skip(1))?;
    let dir = PodDir::current()?;
    let pid = dir.pid()?.and_then(Pid::from_raw).ok_or(RunError::Gone)?;
    let pidfd =
        rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(|_| RunError::Gone)?;
    let its = is_its(&dir, pid)?;
    let held = sys::lock::held_exclusively(dir.as_fd()).doing("cannot look at the pod's lock")?;
    if !(held && its) {
        return Err(RunError::Gone);
    }
    let signal = if args.force { number::KILL } else { number::TERMINATE };
    match sys::process::signal_to(pidfd.as_fd(), signal) {
        Ok(()) if args.force => {
            wait_for(pidfd.as_fd())?;
            clean_up(&dir, &args.uuid.to_string());
            Ok(0)
        }
        Ok(()) => Ok(0),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {
            Err(RunError::Gone)
        }
        Err(error) => Err(error).doing("cannot signal the pod"),
    }
}

fn wait_for(process: BorrowedFd<'_>) -> Result<(), RunError> {
    let mut ends = [PollFd::from_borrowed_fd(process, PollFlags::IN)];
    loop {
        match rustix::event::poll(&mut ends, None) {
            Err(Errno::INTR) => {}
            other => return other.map(drop).doing("cannot wait for the pod"),
        }
    }
}
