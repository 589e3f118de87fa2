//! `stop`: signals PID 1 of a pod.

use pod_host::RunError;
use rustix::process::Pid;

/// Stops the pod whose folder is the working directory. Returns when it was asked to, not when it is over.
///
/// # Errors
/// The pod does not run.
pub fn stop() -> Result<u8, RunError> {
    // Who stays outside of the pod cleans up.
    pod_host::stop::stop(|_, pid| Ok(is_first(pid)), |_, _| {})
}

/// Whether it is PID 1 of a namespace below ours. While the pod's lock is held its owner has not reaped PID 1, so a process
/// of that number is PID 1.
fn is_first(pid: Pid) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero()));
    let status = status.unwrap_or_default();
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
    numbers.split_whitespace().count() > 1 && numbers.split_whitespace().last() == Some("1")
}
