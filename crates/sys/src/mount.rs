//! Mounts by descriptor: detached trees that are made, changed and then put in place, so that no path is looked up twice.
#![expect(unsafe_code, reason = "mount_setattr(2) has no safe wrapper")]

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags,
};
use std::ffi::CStr;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Whether mounts below the top one are meant, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The one mount.
    Single,
    /// The mount and all below it.
    Recursive,
}

/// How a mount exchanges new mounts with its peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// Neither in nor out.
    Private,
    /// In, not out.
    Slave,
    /// Both ways.
    Shared,
}

/// `struct mount_attr` of the kernel.
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

/// What a mount allows less than its file system would.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restrict(u64);

impl Restrict {
    /// Nothing is taken away.
    pub const NONE: Self = Self(0);
    /// No writes.
    pub const READ_ONLY: Self = Self(libc::MOUNT_ATTR_RDONLY);
    /// No set-id bits.
    pub const NO_SUID: Self = Self(libc::MOUNT_ATTR_NOSUID);
    /// No device nodes.
    pub const NO_DEVICES: Self = Self(libc::MOUNT_ATTR_NODEV);
    /// No programs.
    pub const NO_EXEC: Self = Self(libc::MOUNT_ATTR_NOEXEC);

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A copy of the mount at a path (or of what `dir` is, for an empty path), attached nowhere.
pub fn copy_tree(
    dir: BorrowedFd<'_>,
    path: impl rustix::path::Arg,
    depth: Depth,
) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    if depth == Depth::Recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(rustix::mount::open_tree(dir, path, flags)?)
}

/// Takes rights away from a mount and, where asked, from all below it.
pub fn restrict(tree: BorrowedFd<'_>, what: Restrict, depth: Depth) -> io::Result<()> {
    set_attributes(tree, &MountAttr { set: what.0, clear: 0, propagation: 0, userns_fd: 0 }, depth)
}

/// Changes how the mount behind a descriptor exchanges mounts with its peers.
pub fn set_propagation(tree: BorrowedFd<'_>, how: Propagation, depth: Depth) -> io::Result<()> {
    let propagation = match how {
        Propagation::Private => libc::MS_PRIVATE,
        Propagation::Slave => libc::MS_SLAVE,
        Propagation::Shared => libc::MS_SHARED,
    };
    set_attributes(tree, &MountAttr { set: 0, clear: 0, propagation, userns_fd: 0 }, depth)
}

fn set_attributes(tree: BorrowedFd<'_>, attributes: &MountAttr, depth: Depth) -> io::Result<()> {
    let flags =
        libc::AT_EMPTY_PATH | if depth == Depth::Recursive { libc::AT_RECURSIVE } else { 0 };
    let attributes: *const MountAttr = attributes;
    let (fd, path, size) = (tree.as_raw_fd(), c"".as_ptr(), size_of::<MountAttr>());
    // SAFETY: the descriptor is borrowed for the whole call, the path is a literal, and the kernel reads `size` bytes
    // of a live structure laid out as its own.
    let rc = unsafe { libc::syscall(libc::SYS_mount_setattr, fd, path, flags, attributes, size) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Attaches a detached tree onto what `target` is.
pub fn attach(tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(tree, c"", target, c"", flags)?)
}

/// Attaches a detached tree onto a path of the calling process.
pub fn attach_at(tree: BorrowedFd<'_>, path: impl rustix::path::Arg) -> io::Result<()> {
    Ok(rustix::mount::move_mount(tree, c"", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

/// An overlay to be mounted: complete roots as layers, lowest first, and a writable folder pair.
#[derive(Debug)]
pub struct Overlay<'a> {
    /// The layers, lowest first.
    pub lower: &'a [PathBuf],
    /// Where changes go.
    pub upper: &'a Path,
    /// Scratch folder beside it.
    pub work: &'a Path,
}

impl Overlay<'_> {
    /// Makes the mount, attached nowhere.
    ///
    /// # Errors
    /// As the kernel says; its longer explanation, where it gives one, is the text of the error.
    pub fn mount(&self) -> io::Result<OwnedFd> {
        overlay(self.lower, Some((self.upper, self.work)), MountAttrFlags::empty())
    }
}

/// A view of several complete roots, lowest first, that nobody can write; attached nowhere.
///
/// # Errors
/// As [`Overlay::mount`]; a single root is no stack.
pub fn stack(lower: &[PathBuf]) -> io::Result<OwnedFd> {
    overlay(lower, None, MountAttrFlags::MOUNT_ATTR_RDONLY)
}

/// How the kernel is told of the layers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Telling {
    /// One by one, as kernels from 6.5 on want it.
    Each,
    /// In one string. Older kernels take a whole configuration as a string and judge it at the end.
    Joined,
}

fn overlay(
    lower: &[PathBuf],
    own: Option<(&Path, &Path)>,
    rights: MountAttrFlags,
) -> io::Result<OwnedFd> {
    let mut telling = Telling::Each;
    loop {
        let fs = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        match configure(fs.as_fd(), lower, own, telling) {
            Ok(()) => {
                let flags = FsMountFlags::FSMOUNT_CLOEXEC;
                return Ok(rustix::mount::fsmount(fs.as_fd(), flags, rights)?);
            }
            Err(Errno::INVAL) if telling == Telling::Each => telling = Telling::Joined,
            Err(cause) => return Err(explained(fs.as_fd(), cause.into())),
        }
    }
}

fn configure(
    fs: BorrowedFd<'_>,
    lower: &[PathBuf],
    own: Option<(&Path, &Path)>,
    telling: Telling,
) -> Result<(), Errno> {
    use rustix::mount::{fsconfig_create, fsconfig_set_flag, fsconfig_set_string};
    fsconfig_set_string(fs, c"source", c"overlay")?;
    // Held until the kernel has looked the layers up.
    let mut doors = Vec::new();
    match telling {
        Telling::Each => {
            for layer in lower.iter().rev() {
                fsconfig_set_string(fs, c"lowerdir+", layer.as_path())?;
            }
        }
        Telling::Joined => {
            fsconfig_set_string(fs, c"lowerdir", joined(lower, &mut doors)?.as_slice())?;
        }
    }
    if let Some((upper, work)) = own {
        fsconfig_set_string(fs, c"upperdir", upper)?;
        fsconfig_set_string(fs, c"workdir", work)?;
        // Nothing that runs survives a power cut, so nothing of it is synced, least of all the whole disk at unmount.
        fsconfig_set_flag(fs, c"volatile")?;
    }
    fsconfig_create(fs)
}

/// `TOP:…:LOWEST`, with what separates layers escaped. A comma cannot be: such a layer goes by its descriptor.
fn joined(lower: &[PathBuf], doors: &mut Vec<OwnedFd>) -> Result<Vec<u8>, Errno> {
    use std::os::unix::ffi::OsStrExt;
    let mut all = Vec::new();
    for layer in lower.iter().rev() {
        if !all.is_empty() {
            all.push(b':');
        }
        let bytes = layer.as_os_str().as_bytes();
        if bytes.contains(&b',') {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let door = rustix::fs::open(layer, flags, Mode::empty())?;
            all.extend(format!("/proc/self/fd/{}", door.as_raw_fd()).bytes());
            doors.push(door);
            continue;
        }
        for byte in bytes {
            if matches!(byte, b':' | b'\\') {
                all.push(b'\\');
            }
            all.push(*byte);
        }
    }
    Ok(all)
}

/// The kernel's own words for a failed configuration, if it left any.
fn explained(fs: BorrowedFd<'_>, cause: io::Error) -> io::Error {
    let mut text = [0_u8; 512];
    let Ok(length) = rustix::io::read(fs, &mut text) else { return cause };
    let words = String::from_utf8_lossy(&text[..length]);
    match words.trim().strip_prefix("e ") {
        Some(words) => io::Error::new(cause.kind(), format!("{words} ({cause})")),
        None => cause,
    }
}

/// A fresh virtual file system, attached nowhere.
pub fn fresh(kind: &CStr, options: &[(&CStr, &CStr)], rights: Restrict) -> io::Result<OwnedFd> {
    use rustix::mount::{fsconfig_create, fsconfig_set_string};
    let fs = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        fsconfig_set_string(fs.as_fd(), *key, *value)?;
    }
    fsconfig_create(fs.as_fd())?;
    let attributes = MountAttrFlags::from_bits_retain(u32::try_from(rights.0).unwrap_or_default());
    Ok(rustix::mount::fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// Mounts a virtual file system onto a path in one call.
pub fn virtual_at(kind: &CStr, path: &CStr, flags: Restrict, options: &CStr) -> io::Result<()> {
    Ok(rustix::mount::mount(kind, path, kind, classic(flags), options)?)
}

/// Mounts what a device (or, for a shared folder, a tag) holds onto a path.
pub fn device_at(source: &Path, kind: &CStr, path: &Path, rights: Restrict) -> io::Result<()> {
    Ok(rustix::mount::mount(source, path, kind, classic(rights), None)?)
}

/// Makes a mounted tree, which covers the root, the root and working directory of this process. The old root stays below
/// it: the one of an initramfs cannot be left in any other way.
pub fn cover_root(tree: BorrowedFd<'_>) -> io::Result<()> {
    attach_at(tree, c"/")?;
    rustix::process::fchdir(tree)?;
    Ok(rustix::process::chroot(c".")?)
}

/// Shows what is at one path at another, too.
pub fn bind(from: &CStr, at: &CStr) -> io::Result<()> {
    Ok(rustix::mount::mount_bind(from, at)?)
}

/// Takes rights away from the one mount whose root a path is.
pub fn restrict_at(path: &CStr, rights: Restrict) -> io::Result<()> {
    Ok(rustix::mount::mount_remount(path, MountFlags::BIND | classic(rights), c"")?)
}

fn classic(rights: Restrict) -> MountFlags {
    let mut flags = MountFlags::empty();
    for (right, flag) in [
        (Restrict::READ_ONLY, MountFlags::RDONLY),
        (Restrict::NO_SUID, MountFlags::NOSUID),
        (Restrict::NO_DEVICES, MountFlags::NODEV),
        (Restrict::NO_EXEC, MountFlags::NOEXEC),
    ] {
        if rights.0 & right.0 != 0 {
            flags |= flag;
        }
    }
    flags
}

/// Changes the exchange of mounts for everything the calling process sees.
pub fn isolate_all(how: Propagation) -> io::Result<()> {
    let flag = match how {
        Propagation::Private => MountPropagationFlags::PRIVATE,
        Propagation::Slave => MountPropagationFlags::DOWNSTREAM,
        Propagation::Shared => MountPropagationFlags::SHARED,
    };
    Ok(rustix::mount::mount_change(c"/", flag | MountPropagationFlags::REC)?)
}

/// Makes a mounted folder the root and working directory of this process and of its mount namespace, and drops the old
/// root with one lazy unmount.
pub fn become_root(new: BorrowedFd<'_>) -> io::Result<()> {
    rustix::process::fchdir(new)?;
    rustix::process::pivot_root(c".", c".")?;
    rustix::mount::unmount(c".", UnmountFlags::DETACH)?;
    Ok(rustix::process::chdir(c"/")?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_detached_read_only_copy_refuses_writes() {
        let folder = std::env::temp_dir().join(format!("sys-mount-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let tree = copy_tree(CWD, folder.as_path(), Depth::Recursive).unwrap();
        restrict(tree.as_fd(), Restrict::READ_ONLY, Depth::Recursive).unwrap();
        let refused = rustix::fs::mkdirat(&tree, "x", rustix::fs::Mode::RWXU);
        fs::create_dir(folder.join("y")).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(refused, Err(rustix::io::Errno::ROFS));
    }

    #[test]
    fn an_overlay_shows_its_layers_and_keeps_changes_apart() {
        let folder = std::env::temp_dir().join(format!("sys-overlay,:-{}", std::process::id()));
        for name in ["low", "top", "upper", "work"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        fs::write(folder.join("low/a"), "low").unwrap();
        fs::write(folder.join("top/a"), "top").unwrap();
        let lower = [folder.join("low"), folder.join("top")];
        let made =
            Overlay { lower: &lower, upper: &folder.join("upper"), work: &folder.join("work") }
                .mount()
                .unwrap();
        let mut text = [0_u8; 3];
        let open =
            |name, flags| rustix::fs::openat(&made, name, flags, rustix::fs::Mode::RWXU).unwrap();
        rustix::io::read(open("a", rustix::fs::OFlags::RDONLY), &mut text).unwrap();
        drop(open("new", rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY));
        let kept = folder.join("upper/new").exists() && !folder.join("top/new").exists();
        drop(made);
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!((&text, kept), (b"top", true));
    }
}
