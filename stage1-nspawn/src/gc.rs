//! `gc`: undoes on the host what a dead pod recorded. May be interrupted and repeated.

use crate::error::RunError;
use crate::pod::Pod;
use stage1_abi::{GcArgs, PodDir, pod_dir};
use std::path::PathBuf;
use sys::cgroup;

/// Removes the control groups of the pod whose folder is the working directory.
///
/// # Errors
/// A group is still in use.
pub fn gc() -> Result<u8, RunError> {
    let args = GcArgs::decode(std::env::args_os().skip(1))?;
    stage1_abi::entry::start_log(args.debug);
    let name = Pod::group_name(&args.uuid.to_string());
    let dir = PodDir::current()?;
    for folder in recorded(&dir)? {
        // A record that names something else is not ours to act on.
        if folder.file_name().is_some_and(|last| last == name.as_str()) {
            cgroup::remove(&folder)?;
        }
    }
    Ok(0)
}

/// The folders of the pod's control group, as recorded before they were made.
///
/// # Errors
/// The record cannot be read.
pub fn recorded(dir: &PodDir) -> Result<Vec<PathBuf>, RunError> {
    let text = dir.read_text(pod_dir::SUBCGROUP)?.unwrap_or_default();
    Ok(text.lines().skip(1).map(PathBuf::from).filter(|path| path.is_absolute()).collect())
}
