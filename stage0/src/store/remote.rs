//! Two notebooks: which image a reference led to, and which image a file on this host is.

use super::files::Area;
use super::record::{now, time, to_bytes};
use super::{Store, StoreError, hex};
use appc::ImageId;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::time::SystemTime;

/// What a reference led to, the last time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// The image.
    pub image: ImageId,
    /// How the server called this state of it.
    pub etag: Option<String>,
    /// For how many seconds it need not be asked again.
    pub max_age: Option<u64>,
    /// When that was; set by the store when it is written.
    pub stored: SystemTime,
}

#[derive(Serialize, Deserialize)]
struct RemoteRecord {
    reference: String,
    image: String,
    etag: Option<String>,
    max_age: Option<u64>,
    stored: u64,
}

/// What tells one state of one file from every other: device, inode, size and both times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStamp(String);

impl FileStamp {
    /// The stamp of an open file.
    pub fn of(file: &File) -> io::Result<Self> {
        let found = file.metadata()?;
        Ok(Self(format!(
            "{:x}-{:x}-{:x}-{:x}.{:x}-{:x}.{:x}",
            found.dev(),
            found.ino(),
            found.size(),
            found.mtime(),
            found.mtime_nsec(),
            found.ctime(),
            found.ctime_nsec(),
        )))
    }

    fn path(&self) -> String {
        format!("stamp/{}", self.0)
    }
}

fn remote_path(reference: &str) -> String {
    format!("remote/{}", hex(&Sha256::digest(reference.as_bytes())))
}

impl Store {
    /// What a reference led to, if that image is still here.
    pub fn remote(&self, reference: &str) -> Result<Option<Remote>, StoreError> {
        let path = remote_path(reference);
        let Some(found) = self.parsed::<RemoteRecord>(&path)? else { return Ok(None) };
        if found.reference != reference {
            return Err(StoreError::record(&path, "it belongs to another reference"));
        }
        let image =
            ImageId::parse(&found.image).map_err(|error| StoreError::record(&path, &error))?;
        Ok(self.has(&image)?.then(|| Remote {
            image,
            etag: found.etag,
            max_age: found.max_age,
            stored: time(found.stored),
        }))
    }

    /// Notes what a reference led to just now.
    pub fn set_remote(&self, reference: &str, remote: &Remote) -> Result<(), StoreError> {
        let record = RemoteRecord {
            reference: reference.to_owned(),
            image: remote.image.to_string(),
            etag: remote.etag.clone(),
            max_age: remote.max_age,
            stored: now(),
        };
        self.small(Area::Shared, &to_bytes(&record))?.publish(&remote_path(reference))
    }

    /// The image that a file is, if it was imported in just this state and is still here.
    pub fn by_file_stamp(&self, stamp: &FileStamp) -> Result<Option<ImageId>, StoreError> {
        if !self.is_root() {
            return Ok(None);
        }
        let path = stamp.path();
        let Some(bytes) = self.read(&path)? else { return Ok(None) };
        let text = String::from_utf8_lossy(&bytes);
        // A leftover of a power cut is as good as none.
        let Ok(image) = ImageId::parse(text.trim()) else { return Ok(None) };
        Ok(self.has(&image)?.then_some(image))
    }

    /// Notes which image a file is. Only root's word counts.
    pub fn set_file_stamp(&self, stamp: &FileStamp, image: &ImageId) -> Result<(), StoreError> {
        if !self.is_root() {
            return Ok(());
        }
        self.small(Area::Private, image.as_str().as_bytes())?.rename(&stamp.path())
    }
}
