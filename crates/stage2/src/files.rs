//! Default files of an app's root: names and addresses of the pod, the table of mounts.

use crate::identity::Identity;
use crate::mounts::MountPlan;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid, statat, symlinkat};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use sys::beneath::{self, Guard, Make};
use sys::mount::{self, Depth};
use sys::path::{At, PathError};

/// What the pod's hosts file says if nobody says anything else.
pub fn hosts(hostname: &str) -> String {
    format!("127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n")
}

/// Writes what is missing below `/etc` of an assembled root: `mtab` and, where nobody else provides it, `hosts`. What
/// the image has is left alone, but for a file with the host name, which the kernel tells.
///
/// # Errors
/// A file cannot be made. A read-only `/etc` is no error.
pub fn write_defaults(
    root: BorrowedFd<'_>,
    hostname: &str,
    plan: &MountPlan,
    own_hosts: bool,
) -> Result<(), PathError> {
    for (folder, mode) in [("etc", 0o755), ("tmp", 0o1777)] {
        match rustix::fs::mkdirat(root, folder, Mode::from_raw_mode(mode)) {
            Ok(()) | Err(Errno::EXIST | Errno::ROFS) => {}
            Err(error) => return Err(PathError::new("mkdir", Path::new("/").join(folder), error)),
        }
    }
    let Ok(etc) = beneath::open(root, c"/etc", OFlags::PATH | OFlags::DIRECTORY) else {
        return Ok(());
    };
    match symlinkat(c"../proc/self/mounts", &etc, c"mtab") {
        Ok(()) | Err(Errno::EXIST | Errno::ROFS) => {}
        Err(error) => return Err(PathError::new("symlink", "/etc/mtab", error)),
    }
    if own_hosts && !plan.has("/etc/hosts") {
        create(etc.as_fd(), "hosts", &hosts(hostname))?;
    }
    if !plan.has("/etc/hostname") && statat(&etc, c"hostname", AtFlags::SYMLINK_NOFOLLOW).is_ok() {
        show_hostname(root)?;
    }
    Ok(())
}

/// Makes a file below `/etc` that is not there; whether it was made.
///
/// # Errors
/// As open(2) and write(2); a read-only folder is no error.
pub fn create(etc: BorrowedFd<'_>, name: &str, text: &str) -> Result<bool, PathError> {
    let path = || Path::new("/etc").join(name);
    if statat(etc, name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
        return Ok(false);
    }
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW;
    let mode = Mode::from_raw_mode(0o644);
    match rustix::fs::openat(etc, name, flags | OFlags::CLOEXEC, mode) {
        Ok(fd) => File::from(fd).write_all(text.as_bytes()).at("write", path()).map(|()| true),
        Err(Errno::EXIST | Errno::ROFS) => Ok(false),
        Err(error) => Err(PathError::new("open", path(), error)),
    }
}

/// Makes the working directory of an app, and gives it to the app, where an image has none and its format promises one
/// ([`AppSpec::seeded`](crate::AppSpec)). `guard` may bar folders that are not the app's own.
///
/// # Errors
/// The path leads over something that is no folder or into something barred, or the root is read-only.
pub fn make_directory(
    root: BorrowedFd<'_>,
    path: &Path,
    identity: &Identity,
    guard: Guard<'_>,
) -> Result<(), PathError> {
    if beneath::open(root, path, OFlags::PATH).is_ok() {
        return Ok(());
    }
    let made = beneath::ensure_where(root, path, Make::Folder, guard).at("mkdir", path)?;
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    rustix::fs::chownat(&made, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH).at("chown", path)
}

/// The image's own file says what its builder was called: the kernel's answer is shown over it.
fn show_hostname(root: BorrowedFd<'_>) -> Result<(), PathError> {
    let path = "/etc/hostname";
    let show = || -> io::Result<()> {
        let name = beneath::open(root, c"/proc/sys/kernel/hostname", OFlags::PATH)?;
        let tree = mount::copy_tree(name.as_fd(), c"", Depth::Single)?;
        let target = beneath::ensure(root, Path::new(path), Make::File)?;
        mount::attach(tree.as_fd(), target.as_fd())
    };
    show().at("mount", path)
}
