//! `gc`: removes the control group that a dead pod recorded. Mounts ended with the app's namespace.

use crate::error::FlyError;
use stage1_abi::{GcArgs, PodDir, pod_dir};
use sys::cgroup::Record;

/// Cleans up after the pod whose folder is the working directory.
///
/// # Errors
/// The group is still in use.
pub fn gc() -> Result<u8, FlyError> {
    let args = GcArgs::decode(std::env::args_os().skip(1))?;
    stage1_abi::entry::start_log(args.debug);
    recorded(&PodDir::current()?)?.of_pod(&args.uuid.to_string()).remove()?;
    Ok(0)
}

/// The control group of the pod, as recorded before it was made.
///
/// # Errors
/// The record cannot be read.
pub fn recorded(dir: &PodDir) -> Result<Record, FlyError> {
    let text = dir.read_text(pod_dir::SUBCGROUP)?.unwrap_or_default();
    Ok(Record::parse(&text))
}
