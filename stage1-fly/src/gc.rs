//! `gc`: removes the control group that a dead pod recorded. Mounts ended with the app's namespace.

use crate::error::FlyError;
use crate::run::group_name;
use stage1_abi::{GcArgs, PodDir, pod_dir};
use std::path::PathBuf;
use sys::cgroup;

/// Cleans up after the pod whose folder is the working directory.
///
/// # Errors
/// The group is still in use.
pub fn gc() -> Result<u8, FlyError> {
    let args = GcArgs::decode(std::env::args_os().skip(1))?;
    stage1_abi::entry::start_log(args.debug);
    let name = group_name(&args.uuid.to_string());
    for folder in recorded(&PodDir::current()?)? {
        // A record that names something else is not ours to act on.
        if folder.file_name().is_some_and(|last| last == name.as_str()) {
            cgroup::remove(&folder)?;
        }
    }
    Ok(0)
}

/// The folder of the pod's control group, as recorded before it was made.
///
/// # Errors
/// The record cannot be read.
pub fn recorded(dir: &PodDir) -> Result<Vec<PathBuf>, FlyError> {
    let text = dir.read_text(pod_dir::SUBCGROUP)?.unwrap_or_default();
    Ok(text.lines().skip(1).map(PathBuf::from).filter(|path| path.is_absolute()).collect())
}
