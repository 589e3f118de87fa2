//! The virtual file systems of an app's root: `/dev`, `/sys`, `/proc`, and which of their paths are hidden or read-only.
//!
//! All of it is mounted *after* the root was changed, so that whatever the image has at these paths (a link, a file, a
//! fifo) can only lead to another place inside the image. The order matters: procfs comes last, since its magic links
//! are the only way out of a root.

use crate::mounts::MountPlan;
use rustix::fs::{FileType, Mode, OFlags, mkdir, mknodat, symlink};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use sys::mount::{self, Restrict};
use sys::path::{At, PathError};

/// Whether kernel paths are hidden and read-only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KernelPaths {
    /// As the isolation rules say.
    Protected,
    /// Left alone, as somebody asked for.
    Open,
}

/// Paths under `/proc` that are read-only. `/sys` is, as a whole.
const READ_ONLY: [&CStr; 5] = [
    c"/proc/bus",
    c"/proc/sys/kernel/core_pattern",
    c"/proc/sys/kernel/modprobe",
    c"/proc/sys/vm/panic_on_oom",
    c"/proc/sysrq-trigger",
];
/// Folders that appear empty.
const HIDDEN_FOLDERS: [&CStr; 5] =
    [c"/sys/firmware", c"/sys/fs", c"/sys/hypervisor", c"/sys/module", c"/sys/power"];
/// Files that appear empty.
const HIDDEN_FILES: [&CStr; 6] = [
    c"/proc/config.gz",
    c"/proc/kallsyms",
    c"/proc/kcore",
    c"/proc/kmem",
    c"/proc/mem",
    c"/proc/sched_debug",
];
/// Devices that every app has.
const DEVICES: [(&CStr, u32, u32); 7] = [
    (c"null", 1, 3),
    (c"zero", 1, 5),
    (c"full", 1, 7),
    (c"random", 1, 8),
    (c"urandom", 1, 9),
    (c"tty", 5, 0),
    // What is written to a console nobody attached is dropped; a terminal is bound over it where there is one.
    (c"console", 1, 3),
];
const LINKS: [(&CStr, &CStr); 6] = [
    (c"pts/ptmx", c"/dev/ptmx"),
    (c"/proc/self/fd", c"/dev/fd"),
    (c"/proc/self/fd/0", c"/dev/stdin"),
    (c"/proc/self/fd/1", c"/dev/stdout"),
    (c"/proc/self/fd/2", c"/dev/stderr"),
    (c"/run/systemd/journal/dev-log", c"/dev/log"),
];

const INERT: Restrict = Restrict::NO_SUID.and(Restrict::NO_DEVICES).and(Restrict::NO_EXEC);

/// Mounts everything into the root of the calling process; `shared_memory` is a detached copy of the
/// tmpfs that the apps of a pod share, where there are several.
/// Returns a folder of the fresh procfs.
///
/// # Errors
/// A mount is refused, or a path of the image cannot carry it.
pub fn mount_all(
    plan: &MountPlan,
    paths: KernelPaths,
    shared_memory: Option<BorrowedFd<'_>>,
) -> Result<OwnedFd, PathError> {
    for folder in [c"/dev", c"/proc", c"/sys"] {
        ensure(folder, 0o755)?;
    }
    devices()?;
    let own_sys = !plan.covers("/sys");
    if own_sys {
        let rights =
            if paths == KernelPaths::Protected { INERT.and(Restrict::READ_ONLY) } else { INERT };
        mount::virtual_at(c"sysfs", c"/sys", rights, c"").at("mount", "/sys")?;
    }
    mount::virtual_at(c"proc", c"/proc", INERT, c"").at("mount", "/proc")?;
    let proc = procfs()?;
    if paths == KernelPaths::Protected {
        protect(own_sys)?;
    }
    // Last, over what `protect` left there.
    let mounted = match shared_memory {
        Some(tree) => mount::attach_at(tree, c"/dev/shm"),
        None => mount::virtual_at(c"tmpfs", c"/dev/shm", INERT, c"mode=1777"),
    };
    mounted.at("mount", "/dev/shm")?;
    Ok(proc)
}

/// Opens the procfs of the calling process' root, and makes sure that it is one.
///
/// # Errors
/// Something else is mounted there.
pub fn procfs() -> Result<OwnedFd, PathError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let proc = rustix::fs::open(c"/proc", flags, Mode::empty()).at("open", "/proc")?;
    if rustix::fs::fstatfs(&proc).at("statfs", "/proc")?.f_type != libc::PROC_SUPER_MAGIC {
        return Err(PathError::new("mount", "/proc", Errno::NOTDIR));
    }
    Ok(proc)
}

fn devices() -> Result<(), PathError> {
    mount::virtual_at(c"tmpfs", c"/dev", Restrict::NO_SUID, c"mode=755,size=65536k")
        .at("mount", "/dev")?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dev = rustix::fs::open(c"/dev", flags, Mode::empty()).at("open", "/dev")?;
    let node = |name: &CStr, major, minor| {
        let device = libc::makedev(major, minor);
        mknodat(&dev, name, FileType::CharacterDevice, Mode::from_raw_mode(0o666), device)
            .map_err(|e| PathError::new("mknod", format!("/dev/{}", name.to_string_lossy()), e))
    };
    for (name, major, minor) in DEVICES {
        node(name, major, minor)?;
    }
    ensure(c"/dev/net", 0o755)?;
    node(c"net/tun", 10, 200)?;
    for folder in [c"/dev/pts", c"/dev/shm"] {
        ensure(folder, 0o755)?;
    }
    let options = c"newinstance,ptmxmode=0666,mode=0620,gid=5";
    let pts = Restrict::NO_SUID.and(Restrict::NO_EXEC);
    mount::virtual_at(c"devpts", c"/dev/pts", pts, options).at("mount", "/dev/pts")?;
    for (target, at) in LINKS {
        symlink(target, at).at("symlink", name(at))?;
    }
    Ok(())
}

/// The tmpfs behind `/dev/shm`, for pods whose apps share it.
///
/// # Errors
/// As fsmount(2).
pub fn shared_memory() -> io::Result<OwnedFd> {
    mount::fresh(c"tmpfs", &[(c"mode", c"1777")], INERT)
}

/// Hides and write-protects what an app has no business with.
///
/// One empty, read-only tmpfs is mounted once and shown at all other places: a bind costs a third of a mount. It stays
/// where nobody can reach it, below the shared memory: an unmount would wait for a grace period of the kernel's.
fn protect(own_sys: bool) -> Result<(), PathError> {
    let store = c"/dev/shm";
    let rights = INERT.and(Restrict::READ_ONLY);
    let tree = mount::fresh(c"tmpfs", &[(c"mode", c"000"), (c"size", c"4k")], INERT)
        .at("mount", name(store))?;
    let empty = rustix::fs::openat(
        &tree,
        c"file",
        OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC,
        Mode::empty(),
    );
    drop(empty.at("open", "/dev/shm/file")?);
    rustix::fs::mkdirat(&tree, c"folder", Mode::empty()).at("mkdir", "/dev/shm/folder")?;
    mount::restrict(tree.as_fd(), rights, mount::Depth::Single).at("mount", name(store))?;
    mount::attach_at(tree.as_fd(), store).at("mount", name(store))?;
    if own_sys {
        for path in HIDDEN_FOLDERS {
            cover(c"/dev/shm/folder", path)?;
        }
    }
    for path in HIDDEN_FILES {
        cover(c"/dev/shm/file", path)?;
    }
    for path in READ_ONLY {
        if cover(path, path)? {
            mount::restrict_at(path, rights).at("mount", name(path))?;
        }
    }
    Ok(())
}

/// Shows `from` at `path`, if this kernel has `path`.
fn cover(from: &CStr, path: &CStr) -> Result<bool, PathError> {
    match mount::bind(from, path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(PathError::new("mount", name(path), error)),
    }
}

fn ensure(folder: &CStr, mode: u32) -> Result<(), PathError> {
    match mkdir(folder, Mode::from_raw_mode(mode)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(PathError::new("mkdir", name(folder), error)),
    }
}

fn name(path: &CStr) -> &str {
    path.to_str().unwrap_or_default()
}
