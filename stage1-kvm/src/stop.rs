//! `stop`: signals the supervisor of a pod, with which the machine dies.

use crate::lent;
use pod_host::{Doing as _, RunError};
use rustix::process::Pid;
use stage1_abi::PodDir;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;

/// Stops the pod whose folder is the working directory. Returns when it was asked to, not when it is over. Who
/// kills the supervisor leaves the pod's networks in its place.
///
/// # Errors
/// The pod does not run.
pub fn stop() -> Result<u8, RunError> {
    pod_host::stop::stop(works_in, |dir, uuid| {
        pod_host::network::leave_as_started(uuid, dir);
        if let Err(error) = lent::put_back(dir) {
            log::warn!("networking: {}", sys::cause::chain(&error));
        }
    })
}

/// A supervisor works in the folder of its pod.
fn works_in(dir: &PodDir, pid: Pid) -> Result<bool, RunError> {
    let works_in = std::fs::metadata(format!("/proc/{}/cwd", pid.as_raw_nonzero()));
    let own = rustix::fs::fstat(dir.as_fd()).doing("cannot look at the pod")?;
    Ok(works_in.is_ok_and(|found| found.dev() == own.st_dev && found.ino() == own.st_ino))
}
