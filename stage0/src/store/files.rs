//! Small files and temporary ones: written aside, locked while they are written, renamed into place.
//!
//! Whatever lies in `tmp` or `staging` is locked by whoever makes it. Collection deletes what it can lock: its maker is
//! gone. A maker that was overtaken between making and locking sees it (the file has no name any more) and starts again.

use super::{Store, StoreError};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use sys::lock::{LockFd, Mode as Lock};
use sys::path::{At, PathError};

/// The largest record: two documents of an image of 4 MiB each, escaped, and the rest.
const RECORD_LIMIT: u64 = 24 << 20;

/// Which folder of temporary files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Area {
    /// `tmp`, which members of the group may write.
    Shared,
    /// `staging`, of root alone.
    Private,
}

impl Area {
    pub(super) fn folder(self) -> &'static str {
        match self {
            Self::Shared => "tmp",
            Self::Private => "staging",
        }
    }
}

/// A temporary file of this process: deleted when dropped, or by the next collection after a crash.
#[derive(Debug)]
pub struct Temporary<'s> {
    store: &'s Store,
    name: Option<String>,
    file: File,
}

impl Temporary<'_> {
    /// The open file.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Where it lies.
    pub fn path(&self) -> PathBuf {
        self.store.path(self.name.as_deref().unwrap_or_default())
    }

    /// Gives it its final name; its bytes are on disk before that.
    pub(crate) fn publish(mut self, to: &str) -> Result<(), StoreError> {
        rustix::fs::fdatasync(&self.file).at("fsync", self.path()).map_err(StoreError::Access)?;
        self.rename(to)
    }

    /// Gives it its final name; the caller has synced, or does not care.
    pub(crate) fn rename(&mut self, to: &str) -> Result<(), StoreError> {
        let Some(name) = self.name.take() else { return Ok(()) };
        let cas = self.store.cas();
        match rustix::fs::renameat(cas, &name, cas, to) {
            Ok(()) => Ok(()),
            Err(error) => {
                self.name = Some(name);
                Err(self.store.failed("rename", to, error))
            }
        }
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // What stays is swept by the next collection.
            let _ = rustix::fs::unlinkat(self.store.cas(), name, AtFlags::empty());
        }
    }
}

/// A folder in `staging`: deleted when dropped, or by the next collection after a crash.
#[derive(Debug)]
pub(crate) struct Staged<'s> {
    store: &'s Store,
    name: String,
    folder: OwnedFd,
}

impl Staged<'_> {
    /// The folder itself.
    pub(crate) fn folder(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }

    /// Where it lies in the store.
    pub(crate) fn path(&self) -> &str {
        &self.name
    }

    /// Makes a folder in it.
    pub(crate) fn make(&self, name: &str) -> Result<OwnedFd, StoreError> {
        rustix::fs::mkdirat(&self.folder, name, Mode::RWXU)
            .and_then(|()| open_folder(self.folder(), name))
            .map_err(|error| self.failed("mkdir", name, error))
    }

    /// Makes a folder in it that a tree starts with: root's, whatever group the folders above hand down.
    pub(crate) fn make_root(&self, name: &str) -> Result<OwnedFd, StoreError> {
        let made = self.make(name)?;
        let (user, group) = (rustix::fs::Uid::ROOT, rustix::fs::Gid::ROOT);
        rustix::fs::fchown(&made, Some(user), Some(group))
            .and_then(|()| rustix::fs::fchmod(&made, Mode::from_raw_mode(0o755)))
            .map_err(|error| self.failed("chmod", name, error))?;
        Ok(made)
    }

    /// Writes a small file into it.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.folder, name, flags, Mode::from_raw_mode(0o600))
            .map_err(|error| self.failed("open", name, error))?;
        File::from(file).write_all(bytes).map_err(|error| self.failed("write", name, error))
    }

    /// Deletes something in it.
    pub(crate) fn discard(&self, name: &str) -> Result<(), StoreError> {
        archive::remove::tree(self.folder(), name)
            .map_err(|error| self.failed("unlink", name, error))
    }

    /// Gives something in it its final name. `false`: somebody else was faster, and theirs is as good.
    pub(crate) fn give(&self, name: &str, to: &str) -> Result<bool, StoreError> {
        match rustix::fs::renameat(&self.folder, name, self.store.cas(), to) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST | Errno::NOTEMPTY) => Ok(false),
            Err(error) => Err(self.store.failed("rename", to, error)),
        }
    }

    fn failed(
        &self,
        operation: &'static str,
        name: &str,
        error: impl Into<std::io::Error>,
    ) -> StoreError {
        let path = format!("{}/{name}", self.name);
        self.store.failed(operation, &path, error)
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        // What stays is swept by the next collection.
        let _ = archive::remove::tree(self.store.cas(), self.name.as_str());
    }
}

/// Opens a folder that is no link.
pub(super) fn open_folder(at: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty())
}

impl Store {
    /// A new, empty temporary file of this process.
    pub fn temporary(&self) -> Result<Temporary<'_>, StoreError> {
        self.temporary_in(Area::Shared)
    }

    pub(crate) fn temporary_in(&self, area: Area) -> Result<Temporary<'_>, StoreError> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        loop {
            let name = self.unused(area)?;
            // Members read it; that nobody but its owner can write it makes root's files worth something.
            let mode = if area == Area::Shared { 0o640 } else { 0o600 };
            let file = rustix::fs::openat(self.cas(), &name, flags, Mode::from_raw_mode(mode))
                .map_err(|error| self.failed("open", &name, error))?;
            if let Some(lock) = self.claim(file, &name)? {
                if area == Area::Shared {
                    // Independent of the umask.
                    rustix::fs::fchmod(&lock, Mode::from_raw_mode(mode))
                        .map_err(|error| self.failed("chmod", &name, error))?;
                }
                let file = File::from(OwnedFd::from(lock));
                return Ok(Temporary { store: self, name: Some(name), file });
            }
        }
    }

    pub(crate) fn staged(&self) -> Result<Staged<'_>, StoreError> {
        loop {
            let name = self.unused(Area::Private)?;
            rustix::fs::mkdirat(self.cas(), &name, Mode::RWXU)
                .map_err(|error| self.failed("mkdir", &name, error))?;
            let folder = match open_folder(self.cas(), &name) {
                Ok(folder) => folder,
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(self.failed("open", &name, error)),
            };
            if let Some(lock) = self.claim(folder, &name)? {
                return Ok(Staged { store: self, name, folder: lock.into() });
            }
        }
    }

    /// Locks what was just made; `None` if a collection had it first and deletes it.
    fn claim(&self, made: OwnedFd, name: &str) -> Result<Option<LockFd>, StoreError> {
        let lock = LockFd::wait(made, Lock::Exclusive)
            .map_err(|error| self.failed("flock", name, error))?;
        let found = rustix::fs::fstat(&lock).map_err(|error| self.failed("stat", name, error))?;
        Ok((found.st_nlink > 0).then_some(lock))
    }

    pub(super) fn unused(&self, area: Area) -> Result<String, StoreError> {
        let mut bytes = [0_u8; 12];
        rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())
            .map_err(|error| self.failed("getrandom", area.folder(), error))?;
        Ok(format!("{}/{}", area.folder(), hex(&bytes)))
    }

    /// Reads a small file; `None` if it is not there. Links are not followed, and nothing blocks.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(self.cas(), name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(self.failed("open", name, error)),
        };
        let mut bytes = Vec::with_capacity(4096);
        File::from(file)
            .take(RECORD_LIMIT + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| self.failed("read", name, error))?;
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > RECORD_LIMIT {
            return Err(StoreError::record(name, "it is too large"));
        }
        Ok(Some(bytes))
    }

    /// A small file with these bytes that still needs its name.
    pub(crate) fn small(&self, area: Area, bytes: &[u8]) -> Result<Temporary<'_>, StoreError> {
        let mut new = self.temporary_in(area)?;
        let written = new.file().write_all(bytes);
        written.map_err(|error| self.failed("write", area.folder(), error))?;
        Ok(new)
    }

    /// Deletes a file; `false` if it was not there. Needs no space.
    pub(crate) fn unlink(&self, name: &str) -> Result<bool, StoreError> {
        match rustix::fs::unlinkat(self.cas(), name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(self.failed("unlink", name, error)),
        }
    }

    /// The names in a folder of the store, without its subfolders' ones.
    pub(crate) fn names(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        let failed = |error: Errno| self.failed("open", folder, error);
        let fd = open_folder(self.cas(), folder).map_err(failed)?;
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&fd).map_err(failed)? {
            let entry = entry.map_err(|error| self.failed("read", folder, error))?;
            if let Ok(name) = entry.file_name().to_str()
                && !matches!(name, "." | "..")
            {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    /// Makes what was renamed into a folder survive a power cut.
    pub(crate) fn sync_folder(&self, folder: &str) -> Result<(), StoreError> {
        open_folder(self.cas(), folder)
            .and_then(|fd| rustix::fs::fsync(&fd))
            .map_err(|error| self.failed("fsync", folder, error))
    }

    /// Makes everything written so far survive a power cut.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        rustix::fs::syncfs(self.cas()).map_err(|error| self.failed("syncfs", "", error))
    }

    pub(crate) fn failed(
        &self,
        operation: &'static str,
        name: &str,
        error: impl Into<std::io::Error>,
    ) -> StoreError {
        StoreError::Access(PathError::new(operation, self.path(name), error))
    }
}

/// Bytes as lower-case digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from_digit(half.into(), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
