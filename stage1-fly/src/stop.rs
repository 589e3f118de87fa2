//! `stop`: asks the app to end, or ends all that it started.

use crate::error::{Doing, FlyError};
use crate::gc::recorded;
use rustix::process::{Pid, PidfdFlags};
use stage1_abi::{PodDir, StopArgs, pod_dir};
use std::os::fd::AsFd;
use sys::signal::number;

/// Stops the pod whose folder is the working directory. Returns when it was asked to, not when it is over.
///
/// # Errors
/// The pod does not run.
pub fn stop() -> Result<u8, FlyError> {
    let args = StopArgs::decode(std::env::args_os().skip(1))?;
    let dir = PodDir::current()?;
    if !sys::lock::held_exclusively(dir.as_fd()).doing("cannot look at the pod's lock")? {
        return Err(FlyError::Gone);
    }
    let signal = if args.force { number::KILL } else { number::TERMINATE };
    // What the app started ends with it, as far as it stays in the app's group.
    let group = signal_group(&dir, signal)?;
    let main = if args.force || !group { signal_main(&dir, signal)? } else { false };
    let rest = args.force && recorded(&dir)?.kill()?;
    if main || group || rest { Ok(0) } else { Err(FlyError::Gone) }
}

/// Signals the app's process; false if it is gone, and perhaps its number given to another since.
fn signal_main(dir: &PodDir, signal: i32) -> Result<bool, FlyError> {
    let Some(pid) = dir.pid()?.and_then(Pid::from_raw) else { return Ok(false) };
    let Ok(pidfd) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { return Ok(false) };
    if !is_ours(dir, pid)? {
        return Ok(false);
    }
    Ok(sys::process::signal_to(pidfd.as_fd(), signal).is_ok())
}

/// Signals the process group that the app leads.
fn signal_group(dir: &PodDir, signal: i32) -> Result<bool, FlyError> {
    let Some(group) = dir.number(pod_dir::PGID)?.and_then(Pid::from_raw) else { return Ok(false) };
    // The group's number stays taken while any member lives; a member must be in the pod's control group.
    let members = recorded(dir)?.members();
    let lives = members.iter().any(|pid| sys::process::group_of(Some(*pid)) == Some(group));
    Ok(lives && sys::process::kill_group(group, signal).is_ok())
}

/// Whether a process is in the pod's control group; where there is none, its number has to do.
fn is_ours(dir: &PodDir, pid: Pid) -> Result<bool, FlyError> {
    Ok(recorded(dir)?.holds(pid))
}
