//! Blobs of OCI images: verified while they are read, and kept as they are where nobody may unpack them.

use super::verify::Verified;
use crate::store::locks::Patience;
use crate::store::{BlobSource, ImportError, Progress, Store, StoreError};
use archive::Limits;
use archive::stream::{decoder, drain, sniff};
use oci::{Descriptor, Digest};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read, Seek as _};
use std::sync::atomic::{AtomicBool, Ordering};

/// The largest configuration of an image.
const CONFIG_LIMIT: u64 = 4 << 20;

/// What all threads of an import share.
pub(super) struct Transfer<'t> {
    pub(super) source: &'t dyn BlobSource,
    pub(super) progress: &'t dyn Progress,
    /// One of them failed: the others need not go on.
    pub(super) stopped: AtomicBool,
}

impl Transfer<'_> {
    /// Opens a blob at its source.
    pub(super) fn open(
        &self,
        what: &'static str,
        blob: &Descriptor,
    ) -> Result<Box<dyn Read + Send>, ImportError> {
        self.source.open(blob).map_err(|source| ImportError::Source {
            what,
            digest: blob.digest.clone(),
            source,
        })
    }

    /// Watches a blob on its way: tells how far it is, and ends it when another thread has failed.
    pub(super) fn watch<'w, R: Read>(&'w self, blob: &'w Descriptor, from: R) -> Watched<'w, R> {
        Watched { transfer: self, blob, from, bytes: 0 }
    }
}

/// A blob on its way, no longer than was promised and one byte.
pub(super) struct Watched<'w, R> {
    transfer: &'w Transfer<'w>,
    blob: &'w Descriptor,
    from: R,
    bytes: u64,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.transfer.stopped.load(Ordering::Relaxed) {
            return Err(io::Error::other("stopped, since another layer failed"));
        }
        let left = self.blob.size.saturating_add(1).saturating_sub(self.bytes);
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let length = self.from.read(buffer.get_mut(..most).unwrap_or_default())?;
        self.bytes = self.bytes.saturating_add(u64::try_from(length).unwrap_or_default());
        self.transfer.progress.read(self.blob, self.bytes);
        Ok(length)
    }
}

pub(crate) fn blob_path(digest: &Digest) -> String {
    format!("blob/{}-{}", digest.algorithm(), digest.hex())
}

impl Store {
    /// Opens a regular file of the store for reading; links are not followed.
    pub(crate) fn open_file(&self, name: &str) -> Result<File, StoreError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(self.cas(), name, flags, Mode::empty())
            .map_err(|error| self.failed("open", name, error))?;
        let file = File::from(file);
        let found = file.metadata().map_err(|error| self.failed("stat", name, error))?;
        if found.is_file() {
            Ok(file)
        } else {
            Err(self.failed("open", name, io::Error::from(Errno::INVAL)))
        }
    }

    /// A blob that lies in the store, if it does.
    pub(super) fn kept_blob(&self, digest: &Digest) -> Result<Option<File>, StoreError> {
        match self.open_file(&blob_path(digest)) {
            Ok(file) => Ok(Some(file)),
            Err(StoreError::Access(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Fetches a layer's blob into the store, as it is: who is not root cannot unpack it. Its content is verified too.
    pub(super) fn keep_blob(
        &self,
        transfer: &Transfer<'_>,
        blob: &Descriptor,
        diff_id: &Digest,
    ) -> Result<(), ImportError> {
        let path = blob_path(&blob.digest);
        let lock = format!("imagelocks/{}-{}", blob.digest.algorithm(), blob.digest.hex());
        let _lock = self.key_lock(&lock, Patience::Wait)?;
        if self.exists(&path)? {
            return Ok(());
        }
        let mut file = self.temporary()?;
        let from = transfer.watch(blob, transfer.open("layer", blob)?);
        let mut packed = Verified::new("layer", &blob.digest, from)?;
        let copied = io::copy(&mut packed, file.file());
        copied.map_err(ImportError::Read)?;
        packed.finish("layer", Some(blob.size))?;
        file.file().rewind().map_err(ImportError::Read)?;
        let (kind, stream) = sniff(file.file()).map_err(ImportError::Read)?;
        let plain = decoder(kind, stream, &Limits::default()).map_err(ImportError::Read)?;
        let mut plain = Verified::new("layer content", diff_id, plain)?;
        drain(&mut plain).map_err(ImportError::Read)?;
        plain.finish("layer content", None)?;
        file.publish(&path)?;
        Ok(())
    }
}

/// Reads and verifies the configuration of an image.
pub(super) fn read_config(
    transfer: &Transfer<'_>,
    blob: &Descriptor,
) -> Result<Vec<u8>, ImportError> {
    const WHAT: &str = "image configuration";
    if blob.size > CONFIG_LIMIT {
        return Err(ImportError::Shape(format!("{WHAT} {} is too large", blob.digest)));
    }
    let from = transfer.open(WHAT, blob)?;
    let mut verified = Verified::new(WHAT, &blob.digest, transfer.watch(blob, from))?;
    let mut bytes = Vec::new();
    verified.read_to_end(&mut bytes).map_err(ImportError::Read)?;
    verified.finish(WHAT, Some(blob.size))?;
    Ok(bytes)
}
