//! Locks between processes. None outlives its holder, and none is needed to read.

use super::files::open_folder;
use super::{Store, StoreError, hex};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use std::os::fd::{AsFd, OwnedFd};
use sys::lock::{LockFd, Mode as Lock};
use sys::path::At;

/// Whether to wait for a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Until it is free.
    Wait,
    /// Not at all.
    None,
}

impl Store {
    /// Keeps trees from being deleted (shared, during every prepare), or everybody from preparing (exclusive).
    pub fn prepare_lock(&self, mode: Lock) -> Result<LockFd, StoreError> {
        let file = self.prepare_file()?;
        LockFd::wait(file, mode).at("flock", self.prepare_path()).map_err(StoreError::Access)
    }

    pub(super) fn attempt_prepare_lock(&self) -> Result<Option<LockFd>, StoreError> {
        let file = self.prepare_file()?;
        LockFd::attempt(file, Lock::Exclusive)
            .at("flock", self.prepare_path())
            .map_err(StoreError::Access)
    }

    fn prepare_path(&self) -> std::path::PathBuf {
        self.data_dir().join("locks/prepareLock")
    }

    fn prepare_file(&self) -> Result<OwnedFd, StoreError> {
        let path = self.prepare_path();
        let open = |more: OFlags| {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | more;
            rustix::fs::openat(CWD, &path, flags, Mode::from_raw_mode(0o640))
        };
        // It is made with the store; an open that may make it would hold up all others in its folder.
        let file = match open(OFlags::empty()) {
            Err(Errno::NOENT) => open(OFlags::CREATE),
            other => other,
        };
        file.at("open", &path).map_err(StoreError::Access)
    }

    /// Held (shared) by an import from its first look at what is stored to its record: layers that no record names yet
    /// stay. Exclusive for whoever deletes such layers.
    pub(super) fn import_lock(
        &self,
        mode: Lock,
        patience: Patience,
    ) -> Result<Option<LockFd>, StoreError> {
        self.folder_lock("imagelocks", mode, patience)
    }

    /// Held by whoever changes or deletes a record of an image.
    pub(crate) fn record_lock(&self) -> Result<Option<LockFd>, StoreError> {
        self.folder_lock("image", Lock::Exclusive, Patience::Wait)
    }

    fn folder_lock(
        &self,
        name: &str,
        mode: Lock,
        patience: Patience,
    ) -> Result<Option<LockFd>, StoreError> {
        let folder =
            open_folder(self.cas(), name).map_err(|error| self.failed("open", name, error))?;
        let lock = match patience {
            Patience::Wait => LockFd::wait(folder, mode).map(Some),
            Patience::None => LockFd::attempt(folder, mode),
        };
        lock.map_err(|error| self.failed("flock", name, error))
    }

    /// The lock of one blob or layer; `None` if it is taken and there is no patience. Collection deletes free lock
    /// files, so a lock counts only if its file still has its name.
    pub(super) fn key_lock(
        &self,
        name: &str,
        patience: Patience,
    ) -> Result<Option<LockFd>, StoreError> {
        let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        loop {
            let file = rustix::fs::openat(self.cas(), name, flags, Mode::from_raw_mode(0o660))
                .map_err(|error| self.failed("open", name, error))?;
            let lock = match patience {
                Patience::Wait => LockFd::wait(file, Lock::Exclusive).map(Some),
                Patience::None => LockFd::attempt(file, Lock::Exclusive),
            };
            let Some(lock) = lock.map_err(|error| self.failed("flock", name, error))? else {
                return Ok(None);
            };
            if self.is_named(&lock, name)? {
                return Ok(Some(lock));
            }
        }
    }

    /// Held by whoever downloads what a reference leads to: others wait, and then find it here.
    pub(crate) fn download_lock(&self, reference: &str) -> Result<Option<LockFd>, StoreError> {
        let name = format!("imagelocks/{}", hex(&Sha256::digest(reference.as_bytes())));
        if let Some(lock) = self.key_lock(&name, Patience::None)? {
            return Ok(Some(lock));
        }
        log::warn!("another instance is downloading {reference}: waiting for it");
        self.key_lock(&name, Patience::Wait)
    }

    /// Held by whoever imports the image that has this manifest: others wait, and then find what it consists of. The locks
    /// of single layers are for images that share some; among those of one image they would be dealt out, and a layer
    /// that needs one below can be given to nobody before that one has come.
    pub(super) fn image_lock(&self, manifest: &[u8]) -> Result<Option<LockFd>, StoreError> {
        let name = format!("imagelocks/{}", hex(&Sha256::digest(manifest)));
        self.key_lock(&name, Patience::Wait)
    }

    /// Held by whoever renders a tree.
    pub(crate) fn layer_lock(&self, tree: &str) -> Result<Option<LockFd>, StoreError> {
        self.key_lock(&format!("layerlocks/{tree}"), Patience::Wait)
    }

    /// Whether an open file is what has this name.
    pub(super) fn is_named(&self, file: impl AsFd, name: &str) -> Result<bool, StoreError> {
        let held = rustix::fs::fstat(file).map_err(|error| self.failed("stat", name, error))?;
        match rustix::fs::statat(self.cas(), name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(named) => Ok((named.st_dev, named.st_ino) == (held.st_dev, held.st_ino)),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(self.failed("stat", name, error)),
        }
    }
}
