//! Deleting one pod. May be interrupted anywhere and begun again.

use super::folders::{Folder, PodsDir};
use super::mounts::Mounts;
use super::sighting::Sighting;
use appc::PodUuid;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use stage1_abi::{PodDir, pod_dir};
use std::os::fd::AsFd as _;
use sys::lock::exclusively_if_free;
use sys::path::{At as _, PathError};

/// Why a pod is still there.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// It cannot be locked.
    #[error("cannot lock pod")]
    Lock(#[source] PathError),
    /// Something is still mounted below it.
    #[error("GC of leftover mounts failed")]
    Unmount(#[source] PathError),
    /// Its files cannot be deleted.
    #[error("unable to remove pod")]
    Remove(#[source] PathError),
}

/// What became of an attempt to delete a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// It is gone.
    Done,
    /// Somebody else is at it.
    Busy,
    /// Somebody else has done it.
    Gone,
}

/// Deletes a pod that is marked or was never run. `teardown` undoes outside of the folder what a pod that ran may have
/// left; it is called with the lock held.
pub fn delete(
    pods: &PodsDir,
    sighting: &Sighting,
    teardown: &dyn Fn(&PodDir, PodUuid),
) -> Result<Deleted, CollectError> {
    let path = sighting.dir.path();
    let lock =
        exclusively_if_free(sighting.dir.as_fd()).at("flock", path).map_err(CollectError::Lock)?;
    let Some(_lock) = lock else { return Ok(Deleted::Busy) };
    if !sighting.is_there() {
        return Ok(Deleted::Gone);
    }
    if sighting.folder == Folder::ExitedGarbage {
        teardown(&sighting.dir, sighting.uuid);
    }
    delete_locked(pods, sighting.folder, sighting.uuid, &sighting.dir)?;
    Ok(Deleted::Done)
}

/// The part of [`delete`] behind the lock. The stage1 and what apps wrote go before the manifest, so that what is left of
/// a pod whose deletion was interrupted is still known for one.
pub(super) fn delete_locked(
    pods: &PodsDir,
    folder: Folder,
    uuid: PodUuid,
    dir: &PodDir,
) -> Result<(), CollectError> {
    let path = pods.pod_path(folder, uuid);
    let mounts = Mounts::read(pods).map_err(CollectError::Unmount)?;
    mounts.unmount_below(&path).map_err(CollectError::Unmount)?;
    let remove = |error, path| CollectError::Remove(PathError::new("remove", path, error));
    for name in [pod_dir::STAGE1, pod_dir::OVERLAY, pod_dir::APPS] {
        match archive::remove::tree(dir.as_fd(), name) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(remove(error, path.join(name))),
        }
    }
    let parent = pods.path().join(folder.name());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = openat(CWD, &parent, flags, Mode::empty())
        .at("open", &parent)
        .map_err(CollectError::Remove)?;
    match archive::remove::tree(parent.as_fd(), uuid.to_string()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(remove(error, path)),
    }
}
