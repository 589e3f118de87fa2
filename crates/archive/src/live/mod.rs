//! The files of a tree that others change while it is read, as the part of an App Container Image that holds files.
//!
//! What is gone when its turn comes is left out, what has become shorter is filled with zeros, and what is mounted in the
//! tree is not part of it. Whoever can write there can make the archive wrong or have it fail, and nothing else: no link
//! is followed, nothing is opened that could do something when it is opened (where the caller has mounted the tree without
//! devices), and memory grows with the depth of the tree and with files of several names, within bounds.

use crate::extract::join;
use crate::limits::Limits;
use crate::tree::{shown, xattrs};
use crate::write::{AciWriter, Member};
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat2, readlinkat, statat,
};
use rustix::io::Errno;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use sys::path::{At, PathError};

/// Bytes of the names kept of files that have more names than were seen.
const NAMES: usize = 16 << 20;
/// What each of them takes beside its name.
const ENTRY: usize = 64;
/// What is read at once.
const PIECE: usize = 64 << 10;
/// Folders that are open at once, each within the former.
const OPEN: usize = 960;

/// A tree that could not be written.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// Something in it cannot be read.
    #[error(transparent)]
    Read(#[from] PathError),
    /// A path is deeper, or longer, than an image may have.
    #[error("the path of a file is too deep or too long for an image: {}", .0.escape_ascii())]
    Depth(Vec<u8>),
    /// Too many files have several names.
    #[error("too many files have several names")]
    Names,
    /// The output cannot be written.
    #[error("cannot write the files")]
    Write(#[source] io::Error),
}

/// A file of several names.
#[derive(Debug)]
struct Linked {
    first: Vec<u8>,
    /// How many of its names were not seen yet.
    left: u64,
}

struct Walk<'a, W: Write> {
    writer: AciWriter<W>,
    limits: &'a Limits,
    linked: HashMap<(u64, u64), Linked>,
    names: usize,
    buffer: Vec<u8>,
}

/// Writes a folder and all below it as an archive: `rootfs`, and members below it.
///
/// # Errors
/// See [`LiveError`].
pub fn tar<W: Write>(out: W, root: BorrowedFd<'_>, limits: &Limits) -> Result<W, LiveError> {
    let mut walk = Walk {
        writer: AciWriter { out },
        limits,
        linked: HashMap::new(),
        names: 0,
        buffer: vec![0; PIECE],
    };
    let Some(top) = open(root, c".", b"", OFlags::DIRECTORY)? else {
        return Err(PathError::new("open", "/", Errno::NOENT).into());
    };
    walk.folder(&top, b"")?;
    let mut open = vec![(Dir::new(top).at("readdir", "/")?, Vec::new())];
    while let Some((dir, path)) = open.last_mut() {
        let Some(entry) = dir.read() else {
            open.pop();
            continue;
        };
        let entry = entry.at("readdir", shown(path))?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let below = join(path, name.to_bytes());
        let holder = dir.fd().at("readdir", shown(path))?;
        if let Some(fd) = walk.visit(holder, name, &below)? {
            if open.len() >= OPEN.min(limits.depth.saturating_sub(1)) {
                return Err(LiveError::Depth(below));
            }
            open.push((Dir::new(fd).at("readdir", shown(&below))?, below));
        }
    }
    walk.writer.finish().map_err(LiveError::Write)
}

/// Opens something in a folder; `None` if it is not there, or is not any more what it was.
fn open(
    dir: BorrowedFd<'_>,
    name: &std::ffi::CStr,
    path: &[u8],
    flags: OFlags,
) -> Result<Option<OwnedFd>, PathError> {
    let flags = flags
        | OFlags::RDONLY
        | OFlags::NOFOLLOW
        | OFlags::NONBLOCK
        | OFlags::NOCTTY
        | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    match openat2(dir, name, flags, Mode::empty(), resolve) {
        // The last: something is mounted there.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO | Errno::XDEV) => Ok(None),
        other => other.map(Some).at("open", shown(path)),
    }
}

impl<W: Write> Walk<'_, W> {
    /// Writes what a folder has under a name; if that is a folder, it is open.
    fn visit(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &std::ffi::CStr,
        path: &[u8],
    ) -> Result<Option<OwnedFd>, LiveError> {
        // As much as comes before it in the archive.
        if path.len().saturating_add(b"rootfs/".len()) > self.limits.path {
            return Err(LiveError::Depth(path.to_owned()));
        }
        let stat = match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(None),
            other => other.at("stat", shown(path))?,
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let fd = open(dir, name, path, OFlags::DIRECTORY)?;
                if let Some(fd) = &fd {
                    self.folder(fd, path)?;
                }
                return Ok(fd);
            }
            FileType::RegularFile => {
                if let Some(fd) = open(dir, name, path, OFlags::empty())? {
                    self.file(fd, path)?;
                }
            }
            FileType::Symlink => {
                let mut member = Member::new(path, &stat);
                member.link = match readlinkat(dir, name, Vec::new()) {
                    Err(Errno::NOENT | Errno::INVAL) => return Ok(None),
                    other => other.at("readlink", shown(path))?.into_bytes(),
                };
                self.named(member, &stat)?;
            }
            _ => {
                let member = Member::new(path, &stat);
                if member.kind != 0 {
                    self.named(member, &stat)?;
                }
            }
        }
        Ok(None)
    }

    fn folder(&mut self, fd: &OwnedFd, path: &[u8]) -> Result<(), LiveError> {
        let mut member = Member::new(path, &fstat(fd).at("stat", shown(path))?);
        member.xattrs = xattrs(fd).at("getxattr", shown(path))?.0;
        self.writer.header(&member).map_err(LiveError::Write)
    }

    fn file(&mut self, fd: OwnedFd, path: &[u8]) -> Result<(), LiveError> {
        let stat = fstat(&fd).at("stat", shown(path))?;
        let mut member = Member::new(path, &stat);
        // It was a file a moment ago.
        if member.kind != b'0' {
            return Ok(());
        }
        member.xattrs = xattrs(&fd).at("getxattr", shown(path))?.0;
        let size = member.size;
        if self.named(member, &stat)? { self.content(fd.into(), size, path) } else { Ok(()) }
    }

    /// Writes a header, as that of a further name of something if it is one; whether it is the first.
    fn named(&mut self, mut member: Member, stat: &Stat) -> Result<bool, LiveError> {
        let mut first = true;
        if stat.st_nlink > 1 {
            let key = (stat.st_dev, stat.st_ino);
            if let Some(known) = self.linked.get_mut(&key) {
                first = false;
                member.link_to(known.first.clone());
                known.left = known.left.saturating_sub(1);
                if known.left == 0 {
                    let size = known.first.len().saturating_add(ENTRY);
                    self.names = self.names.saturating_sub(size);
                    self.linked.remove(&key);
                }
            } else {
                let size = member.path.len().saturating_add(ENTRY);
                self.names = self.names.saturating_add(size);
                if self.names > NAMES {
                    return Err(LiveError::Names);
                }
                let left = stat.st_nlink.saturating_sub(1);
                self.linked.insert(key, Linked { first: member.path.clone(), left });
            }
        }
        self.writer.header(&member).map_err(LiveError::Write)?;
        Ok(first)
    }

    /// Writes as much of a file as its header has said.
    fn content(&mut self, mut file: File, size: u64, path: &[u8]) -> Result<(), LiveError> {
        let mut left = size;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            let piece = self.buffer.get_mut(..most).unwrap_or_default();
            let count = match file.read(piece) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other.at("read", shown(path))?,
            };
            if count == 0 {
                piece.fill(0);
            }
            let count = if count == 0 { most } else { count };
            let bytes = self.buffer.get(..count).unwrap_or_default();
            self.writer.out.write_all(bytes).map_err(LiveError::Write)?;
            left = left.saturating_sub(count as u64);
        }
        self.writer.pad(size).map_err(LiveError::Write)
    }
}

#[cfg(test)]
mod tests;
