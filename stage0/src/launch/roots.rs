//! Mounts on the host, for a stage1 that wants its roots handed over ready.

use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, symlinkat};
use rustix::io::Errno;
use stage1_abi::{AppRoots, PodDir, PodDirError, Stage1Interface, pod_dir};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use sys::beneath::{self, Make};
use sys::mount::{Overlay, attach};
use sys::path::{At as _, PathError};

/// Mounts the root of the stage1, and of each app below it, as far as they are stacked. The working directory is the pod
/// folder, so that no character in its path matters.
pub(super) fn mount(
    dir: &PodDir,
    interface: &Stage1Interface,
    apps: &[String],
) -> Result<(), PodDirError> {
    let Some(layers) = dir.stage1_layers()? else { return Ok(()) };
    let stacked = dir.modified(pod_dir::OVERLAY_PREPARED)?.is_some();
    if stacked {
        let tree = tree_id(dir, pod_dir::STAGE1_TREE)?;
        let own = Path::new(pod_dir::OVERLAY).join(tree);
        overlay(dir, &layers, (&own.join("upper"), &own.join("work")), pod_dir::STAGE1_ROOT)?;
    }
    if interface.app_roots != AppRoots::Mounted {
        return Ok(());
    }
    for app in apps {
        let target = pod_dir::mounted_root(app);
        if let Some(layers) = dir.app_layers(app)? {
            let tree = tree_id(dir, &PodDir::app_file(app, "treeStoreID"))?;
            let own = Path::new(pod_dir::OVERLAY).join(tree);
            let (upper, work) = (own.join("upper").join(app), own.join("work").join(app));
            overlay(dir, &layers, (&upper, &work), &target)?;
        }
        link_mounts(dir, &target)?;
    }
    Ok(())
}

fn tree_id(dir: &PodDir, file: &str) -> Result<String, PodDirError> {
    let id = dir.read_text(file)?.filter(|id| !id.is_empty() && !id.contains('/'));
    id.ok_or_else(|| PodDirError::Content { path: file.to_owned(), problem: "names no tree" })
}

fn overlay(
    dir: &PodDir,
    lower: &[PathBuf],
    (upper, work): (&Path, &Path),
    target: &str,
) -> Result<(), PathError> {
    let make = |path: &Path| {
        beneath::ensure(dir.as_fd(), path, Make::Folder).at("mkdir", dir.path().join(path))
    };
    let fresh = make(upper)?;
    make(work)?;
    if let Some(top) = lower.last() {
        let found = rustix::fs::stat(top).at("stat", top)?;
        let (owner, group) =
            (rustix::fs::Uid::from_raw(found.st_uid), rustix::fs::Gid::from_raw(found.st_gid));
        rustix::fs::chownat(&fresh, "", Some(owner), Some(group), AtFlags::EMPTY_PATH)
            .at("chown", upper)?;
        let mode = Mode::from_raw_mode(found.st_mode & 0o7777);
        rustix::fs::chmodat(dir, upper, mode, AtFlags::empty()).at("chmod", upper)?;
    }
    let mount = Overlay { lower, upper, work }.mount().at("mount", dir.path().join(target))?;
    let target = Path::new(target);
    let place = make(target)?;
    attach(mount.as_fd(), place.as_fd()).at("mount", dir.path().join(target))
}

/// `/etc/mtab`, where an image has an `/etc` and no such file.
fn link_mounts(dir: &PodDir, root: &str) -> Result<(), PathError> {
    let path = dir.path().join(root);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = openat(CWD, &path, flags, Mode::empty()).at("open", &path)?;
    let Ok(etc) = beneath::open(open.as_fd(), Path::new("/etc"), OFlags::PATH | OFlags::DIRECTORY)
    else {
        return Ok(());
    };
    match symlinkat("../proc/self/mounts", &etc, "mtab") {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error).at("symlink", path.join("etc/mtab")),
    }
}
