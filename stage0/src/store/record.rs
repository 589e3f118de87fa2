//! The records of the store: one JSON file an image, and one a set of trees that root has made of it.

use super::{Area, Store, StoreError};
use appc::ImageId;
use rustix::fs::{AtFlags, Timespec, Timestamps};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime};

/// In which form an image came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageKind {
    /// An App Container Image; its file is kept.
    Aci,
    /// An OCI or Docker image; its layers are kept.
    Oci,
}

/// Something on disk that belongs to an image, maybe to several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// Relative to the store: `blob/…`, `layer/…`, `tree/…`.
    pub(crate) path: String,
    /// Its bytes.
    pub(crate) size: u64,
}

/// What an OCI image was made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OciParts {
    pub(crate) manifest: String,
    pub(crate) media_type: String,
    pub(crate) config: String,
    pub(crate) registry: String,
    pub(crate) repository: String,
    pub(crate) tag: Option<String>,
    pub(crate) original: Option<String>,
}

/// What is known about an image. Members of the group may write it, so root believes nothing of it without a hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The image's id: a record that was moved to another name is no record.
    pub(crate) id: String,
    pub(crate) kind: ImageKind,
    /// Nanoseconds since 1970.
    pub(crate) imported: u64,
    /// What the user asked for when it came.
    pub(crate) source: String,
    /// The appc manifest.
    pub(crate) manifest: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) oci: Option<OciParts>,
    pub(crate) parts: Vec<Part>,
}

/// The trees of an image, made and checked by root; lies where only root writes, and is believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReadyRecord {
    pub(crate) tree_id: String,
    /// Lowest first, relative to the store: `layer/KEY`, or the one `tree/ID`.
    pub(crate) parts: Vec<Part>,
    pub(crate) manifest: String,
    /// Whether other images lie below, so that the answer depends on what else is in the store.
    pub(crate) dependent: bool,
}

pub(crate) fn to_bytes(record: &impl Serialize) -> Vec<u8> {
    // No map of theirs has keys that are not text, and memory does not fail.
    serde_json::to_vec(record).unwrap_or_default()
}

pub(crate) fn image_path(id: &ImageId) -> String {
    format!("image/{id}")
}

pub(crate) fn ready_path(id: &ImageId) -> String {
    format!("ready/{id}")
}

/// Now, in the unit of records.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

pub(crate) fn time(nanos: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos)
}

impl Store {
    pub(crate) fn record(&self, id: &ImageId) -> Result<Option<Record>, StoreError> {
        let path = image_path(id);
        let record = self.parsed::<Record>(&path)?;
        if record.as_ref().is_some_and(|record| record.id != id.as_str()) {
            return Err(StoreError::record(&path, "it belongs to another image"));
        }
        Ok(record)
    }

    /// Whether root alone wrote this record: then its words are as good as their hash.
    pub(crate) fn is_roots(&self, id: &ImageId) -> Result<bool, StoreError> {
        let path = image_path(id);
        let found = rustix::fs::statat(self.cas(), &path, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| self.failed("stat", &path, error))?;
        Ok(found.st_uid == 0 && found.st_mode & 0o022 == 0)
    }

    /// Replaces one part of an image's record by others, unless the image is gone. The time of its last use stays.
    pub(crate) fn replace_parts(
        &self,
        id: &ImageId,
        old: impl Fn(&Part) -> bool,
        new: Vec<Part>,
    ) -> Result<(), StoreError> {
        let lock = self.record_lock()?;
        let path = image_path(id);
        let used = match rustix::fs::statat(self.cas(), &path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => found,
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(self.failed("stat", &path, error)),
        };
        let Some(mut record) = self.record(id)? else { return Ok(()) };
        let before = record.parts.clone();
        record.parts.retain(|part| !old(part));
        record.parts.extend(new);
        if record.parts != before {
            self.small(Area::Shared, &to_bytes(&record))?.publish(&path)?;
            let nanos = i64::try_from(used.st_mtime_nsec).unwrap_or_default();
            self.set_used(id, Timespec { tv_sec: used.st_mtime, tv_nsec: nanos })?;
        }
        drop(lock);
        Ok(())
    }

    pub(crate) fn ready_record(&self, id: &ImageId) -> Result<Option<ReadyRecord>, StoreError> {
        self.parsed(&ready_path(id))
    }

    /// Notes the trees of an image, unless the image is gone.
    pub(crate) fn set_ready(&self, id: &ImageId, ready: &ReadyRecord) -> Result<(), StoreError> {
        let mut new = self.small(Area::Private, &to_bytes(ready))?;
        rustix::fs::fdatasync(new.file())
            .map_err(|error| self.failed("fsync", "staging", error))?;
        let lock = self.record_lock()?;
        if self.has(id)? {
            new.rename(&ready_path(id))?;
        }
        drop(lock);
        self.sync_folder("ready")
    }

    pub(crate) fn parsed<T: for<'de> Deserialize<'de>>(
        &self,
        name: &str,
    ) -> Result<Option<T>, StoreError> {
        let Some(bytes) = self.read(name)? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| StoreError::record(name, &error))
    }

    /// Notes that an image is used now, which is also how its presence is seen; `false` if it is not there. A use of
    /// the same second is not noted again: that would write to the disk, and a start names its images twice.
    pub fn touch(&self, id: &ImageId) -> Result<bool, StoreError> {
        let path = image_path(id);
        match rustix::fs::statat(self.cas(), &path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) if u64::try_from(found.st_mtime) == Ok(now() / 1_000_000_000) => {
                return Ok(true);
            }
            Ok(_) => {}
            Err(Errno::NOENT) => return Ok(false),
            Err(error) => return Err(self.failed("stat", &path, error)),
        }
        self.set_used(id, Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW })
    }

    pub(crate) fn set_used(&self, id: &ImageId, when: Timespec) -> Result<bool, StoreError> {
        let path = image_path(id);
        let times = Timestamps { last_access: when, last_modification: when };
        match rustix::fs::utimensat(self.cas(), &path, &times, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            // Somebody who may only look, or a store on a read-only file system.
            Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) => self.exists(&path),
            Err(error) => Err(self.failed("utimensat", &path, error)),
        }
    }

    /// Whether something has this name.
    pub(crate) fn exists(&self, name: &str) -> Result<bool, StoreError> {
        match rustix::fs::statat(self.cas(), name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(self.failed("stat", name, error)),
        }
    }
}
