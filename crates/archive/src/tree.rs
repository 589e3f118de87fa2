//! The digest of a tree: names, types, modes, owners, sizes, times, attributes, links and contents.
//!
//! What unpacking returns and what [`digest`] computes from the folder are the same, so that a tree can be checked at
//! any later time against the moment it was made.

use crate::catalogue::{Catalogue, Item, ItemKind, Meta, keeps_xattr, record, whiteout};
use crate::extract::join;
use crate::tar::Time;
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, Stat, fgetxattr, flistxattr, flistxattr_query, fstat,
    openat, readlinkat, statat,
};
use rustix::io::Errno;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use sys::path::{At, PathError};

/// The hash of a whole tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeDigest(pub(crate) [u8; 32]);

impl TreeDigest {
    /// Reads 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0_u8; 32];
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        for (slot, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *slot = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for TreeDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Reads a whole tree and hashes it.
///
/// # Errors
/// Something in it cannot be read.
pub fn digest(root: BorrowedFd<'_>) -> Result<TreeDigest, PathError> {
    let mut catalogue = Catalogue::default();
    let top =
        openat(root, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .at("open", ".")?;
    let stat = fstat(&top).at("stat", ".")?;
    catalogue.insert(Vec::new(), dir_item(&top, &stat, &[])?);
    let mut todo: Vec<Vec<u8>> = vec![Vec::new()];
    while let Some(path) = todo.pop() {
        let name = if path.is_empty() { b".".to_vec() } else { path.clone() };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = openat(&top, name.as_slice(), flags, Mode::empty()).at("open", shown(&path))?;
        for entry in Dir::read_from(&dir).at("readdir", shown(&path))? {
            let entry = entry.at("readdir", shown(&path))?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let child = join(&path, name);
            let item = item(dir.as_fd(), name, &child)?;
            if item.kind == ItemKind::Dir {
                todo.push(child.clone());
            }
            catalogue.insert(child, item);
        }
    }
    Ok(TreeDigest(catalogue.digest().0))
}

pub(crate) fn shown(path: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::OsStr::from_bytes(path).into()
}

fn item(dir: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<Item, PathError> {
    let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).at("stat", shown(path))?;
    let meta = Meta { xattrs: Vec::new(), ..meta(&stat) };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut found = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            let fd = openat(dir, name, flags | OFlags::DIRECTORY, Mode::empty())
                .at("open", shown(path))?;
            return dir_item(&fd, &stat, path);
        }
        FileType::RegularFile => {
            let fd = openat(dir, name, flags, Mode::empty()).at("open", shown(path))?;
            let (xattrs, _) = xattrs(&fd).at("getxattr", shown(path))?;
            let size = stat.st_size.unsigned_abs();
            let content = content(fd, size).at("read", shown(path))?;
            let rest = [&size.to_le_bytes()[..], &content].concat();
            Item::new(ItemKind::File, stat.st_ino, record(b'f', &Meta { xattrs, ..meta }, &rest))
        }
        FileType::Symlink => {
            let target = readlinkat(dir, name, Vec::new()).at("readlink", shown(path))?;
            let meta = Meta { mode: 0, ..meta };
            Item::new(ItemKind::Symlink, stat.st_ino, record(b'l', &meta, target.as_bytes()))
        }
        FileType::CharacterDevice if stat.st_rdev == 0 => {
            return Ok(Item::new(ItemKind::Whiteout, 0, whiteout()));
        }
        other => {
            let (kind, tag, device) = match other {
                FileType::Fifo => (ItemKind::Fifo, b'p', 0),
                FileType::CharacterDevice => (ItemKind::Device, b'c', stat.st_rdev),
                _ => (ItemKind::Device, b'b', stat.st_rdev),
            };
            let rest = [&[tag][..], &device.to_le_bytes()].concat();
            Item::new(kind, stat.st_ino, record(b'n', &meta, &rest))
        }
    };
    found.linked = stat.st_nlink > 1;
    Ok(found)
}

pub(crate) fn dir_item(fd: &OwnedFd, stat: &Stat, path: &[u8]) -> Result<Item, PathError> {
    let (xattrs, opaque) = xattrs(fd).at("getxattr", shown(path))?;
    let mut item = Item::dir(Meta { xattrs, ..meta(stat) });
    item.opaque = opaque;
    Ok(item)
}

/// Owner, mode and times of something, without its extended attributes.
pub(crate) fn meta(stat: &Stat) -> Meta {
    let mtime = Time {
        seconds: stat.st_mtime,
        nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
    };
    Meta {
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime,
        xattrs: Vec::new(),
    }
}

/// The extended attributes that images may carry, and whether this is an opaque folder.
#[expect(clippy::type_complexity, reason = "a list of names and values, and one fact beside it")]
pub(crate) fn xattrs(fd: &OwnedFd) -> Result<(Vec<(Vec<u8>, Vec<u8>)>, bool), Errno> {
    let mut names: Vec<u8> = Vec::new();
    loop {
        let size = match flistxattr_query(fd) {
            Ok(0) | Err(Errno::NOTSUP) => return Ok((Vec::new(), false)),
            Ok(size) => size,
            Err(other) => return Err(other),
        };
        names.resize(size, 0);
        match flistxattr(fd, &mut *names) {
            Ok(size) => {
                names.truncate(size);
                break;
            }
            Err(Errno::RANGE) => {}
            Err(other) => return Err(other),
        }
    }
    let (mut found, mut opaque) = (Vec::new(), false);
    for name in names.split(|b| *b == 0).filter(|n| !n.is_empty()) {
        let is_opaque = name == b"trusted.overlay.opaque";
        if !is_opaque && !keeps_xattr(name) {
            continue;
        }
        let mut value = vec![0_u8; 64 << 10];
        let size = match fgetxattr(fd, name, &mut *value) {
            // Somebody has removed it since.
            Err(Errno::NODATA) => continue,
            other => other?,
        };
        value.truncate(size);
        if is_opaque {
            opaque = value == b"y";
        } else {
            found.push((name.to_owned(), value));
        }
    }
    found.sort();
    Ok((found, opaque))
}

/// The hash of a file's bytes, of which there are about as many.
pub(crate) fn content(fd: OwnedFd, size: u64) -> std::io::Result<[u8; 32]> {
    use std::io::Read;
    let mut file = std::fs::File::from(fd);
    let mut hash = blake3::Hasher::new();
    let piece = usize::try_from(size.saturating_add(1)).unwrap_or(usize::MAX);
    let mut buffer = vec![0_u8; piece.clamp(1 << 9, 128 << 10)];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok(hash.finalize().into());
        }
        hash.update(buffer.get(..n).unwrap_or_default());
    }
}
