//! `gc`: undoes on the host what a dead pod recorded. May be interrupted and repeated.

use crate::error::{Doing as _, RunError};
use crate::network;
use pod_net::teardown::Depth;
use stage1_abi::{GcArgs, PodDir, pod_dir};
use sys::cgroup::Record;

/// Removes the control groups of the pod whose folder is the working directory, and has it leave its networks.
///
/// # Errors
/// A group is still in use, or something of a network stays.
pub fn gc() -> Result<u8, RunError> {
    let args = GcArgs::decode(std::env::args_os().skip(1))?;
    stage1_abi::entry::start_log(args.debug);
    // Programs of others may be called.
    sys::descriptor::seal_inherited().doing("cannot seal inherited descriptors")?;
    let dir = PodDir::current()?;
    let uuid = args.uuid.to_string();
    let record = end(&dir, &uuid)?;
    // One failure does not keep the other from being cleaned up.
    let removed = record.remove();
    let left = network::leave(&uuid, args.local_config.as_deref(), &dir, Depth::Everything);
    network::collect(&uuid, args.local_config.as_deref(), &dir);
    removed?;
    if left > 0 {
        return Err(RunError::NotLeft);
    }
    Ok(0)
}

/// Ends what may still run of a pod whose lock is free: that is so as soon as its first process is dying, and the others
/// may still have to be told. Its control groups.
///
/// # Errors
/// The record cannot be read, or a process not be killed.
pub(crate) fn end(dir: &PodDir, uuid: &str) -> Result<Record, RunError> {
    let record = recorded(dir)?.of_pod(uuid);
    record.kill()?;
    Ok(record)
}

/// The control group of the pod, as recorded before it was made.
///
/// # Errors
/// The record cannot be read.
pub fn recorded(dir: &PodDir) -> Result<Record, RunError> {
    let text = dir.read_text(pod_dir::SUBCGROUP)?.unwrap_or_default();
    Ok(Record::parse(&text))
}
