//! How images get in: all of one is read and verified before anything of it can be seen.

mod aci;
mod blobs;
mod oci_image;
mod stack;
mod unpack;
mod verify;

use super::files::Area;
use super::lookup::name_path;
use super::record::{Record, image_path, to_bytes};
use super::{Store, StoreError};
use appc::{AcIdentifier, ImageId};
use rustix::fs::Timespec;

/// Where an App Container Image came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AciOrigin {
    /// What the user asked for; kept for the user alone.
    pub source: String,
}

/// An OCI or Docker image: the manifest of one platform, and what it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OciImage {
    /// The manifest, byte for byte; whether it is the one that was asked for, the caller has checked.
    pub manifest: Vec<u8>,
    /// Its media type, as it was served.
    pub media_type: String,
    /// The registry's host, empty for files.
    pub registry: String,
    /// The path in the registry.
    pub repository: String,
    /// The tag, unless it was asked for by digest.
    pub tag: Option<String>,
    /// The reference as the user typed it.
    pub original: Option<String>,
}

/// A record that is written but not yet named.
pub(crate) struct Publication<'s> {
    store: &'s Store,
    id: ImageId,
    imported: u64,
    record: super::Temporary<'s>,
    blob: Option<super::Temporary<'s>>,
    /// The image is there already, and must not come back if it was removed meanwhile.
    again: bool,
}

impl Store {
    /// Writes a record aside; a sync has to come before it gets its name.
    pub(crate) fn publication(
        &self,
        id: &ImageId,
        record: &Record,
    ) -> Result<Publication<'_>, StoreError> {
        let written = self.small(Area::Shared, &to_bytes(record))?;
        Ok(Publication {
            store: self,
            id: id.clone(),
            imported: record.imported,
            record: written,
            blob: None,
            again: false,
        })
    }
}

impl<'s> Publication<'s> {
    /// Lets a synced blob get its name together with the record.
    pub(crate) fn with_blob(self, blob: super::Temporary<'s>) -> Self {
        Self { blob: Some(blob), ..self }
    }

    /// Only replaces the record of an image that is still there.
    pub(crate) fn again(self, again: bool) -> Self {
        Self { again, ..self }
    }

    /// Makes the image visible under its id, and findable under its name.
    pub(crate) fn publish(mut self, name: &AcIdentifier) -> Result<(), StoreError> {
        let store = self.store;
        let file = self.record.file();
        rustix::fs::fdatasync(file).map_err(|e| store.failed("fsync", "tmp", e))?;
        let lock = store.record_lock()?;
        if self.again && !store.has(&self.id)? {
            return Err(StoreError::NoSuchId);
        }
        let path = name_path(name);
        let listed = store.read(&path)?.unwrap_or_default();
        let mut listed = String::from_utf8(listed).unwrap_or_default();
        if !listed.lines().any(|line| line == self.id.as_str()) {
            listed.push_str(self.id.as_str());
            listed.push('\n');
            store.small(Area::Shared, listed.as_bytes())?.publish(&path)?;
            store.sync_folder("name")?;
        }
        if let Some(mut blob) = self.blob.take() {
            blob.rename(&format!("blob/{}", self.id))?;
            store.sync_folder("blob")?;
        }
        self.record.rename(&image_path(&self.id))?;
        // The first use is the import.
        let seconds = i64::try_from(self.imported / 1_000_000_000).unwrap_or_default();
        let nanos = i64::try_from(self.imported % 1_000_000_000).unwrap_or_default();
        store.set_used(&self.id, Timespec { tv_sec: seconds, tv_nsec: nanos })?;
        drop(lock);
        store.sync_folder("image")
    }
}
