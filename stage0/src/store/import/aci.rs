//! App Container Images: one pass over the stream stores it as it comes, hashes what is in it and checks that.

use super::AciOrigin;
use crate::store::record::{ImageKind, now};
use crate::store::{ImportError, Part, Record, Store};
use appc::{ImageId, ImageManifest};
use archive::Limits;
use archive::stream::{Sha512Reader, decoder, drain, sniff};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use sys::lock::Mode as Lock;
use sys::path::PathError;

/// Writes down what is read through it.
struct Tee<'f, R> {
    from: R,
    to: &'f File,
    path: &'f Path,
    bytes: u64,
}

impl<R: Read> Read for Tee<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.from.read(buffer)?;
        let mut to = self.to;
        // The reader's errors are the image's; this one is the store's and says so.
        to.write_all(buffer.get(..length).unwrap_or_default()).map_err(|error| {
            let kind = error.kind();
            io::Error::new(kind, PathError::new("write", self.path, error))
        })?;
        self.bytes = self.bytes.saturating_add(u64::try_from(length).unwrap_or_default());
        Ok(length)
    }
}

impl Store {
    /// Takes in an App Container Image, compressed or not. Nothing of it is seen before all of it was checked.
    pub fn import_aci(
        &self,
        reader: impl Read + Send,
        origin: &AciOrigin,
    ) -> Result<ImageId, ImportError> {
        let _import = self.import_lock(Lock::Shared, crate::store::locks::Patience::Wait)?;
        let mut blob = self.temporary()?;
        let path = blob.path();
        let mut tee = Tee { from: reader, to: blob.file(), path: &path, bytes: 0 };
        let (id, bytes) = check(&mut tee)?;
        let size = tee.bytes;
        let manifest = ImageManifest::from_json(&bytes).map_err(ImportError::Manifest)?;
        let text = String::from_utf8(bytes)
            .map_err(|_| ImportError::Shape("image manifest is not UTF-8".to_owned()))?;
        let mut parts = vec![Part { path: blob_path(&id), size }];
        // A tree that is there already still counts.
        let known = self.record(&id).ok().flatten().map(|record| record.parts).unwrap_or_default();
        parts.extend(known.into_iter().filter(|part| part.path.starts_with("tree/")));
        let record = Record {
            id: id.to_string(),
            kind: ImageKind::Aci,
            imported: now(),
            source: origin.source.clone(),
            manifest: text,
            oci: None,
            parts,
        };
        let publication = self.publication(&id, &record)?;
        rustix::fs::fdatasync(blob.file()).map_err(|error| self.failed("fsync", "tmp", error))?;
        publication.with_blob(blob).publish(&manifest.name)?;
        Ok(id)
    }

    /// Reads a stored ACI to its end: the id that its bytes have, and its manifest.
    pub(crate) fn recheck_aci(&self, id: &ImageId) -> Result<(ImageId, Vec<u8>), ImportError> {
        check(self.open_file(&blob_path(id))?)
    }

    /// The tar of a stored ACI, decompressed, from its start.
    pub(crate) fn open_aci(&self, id: &ImageId) -> Result<Box<dyn Read + Send>, ImportError> {
        let path = blob_path(id);
        let file = self.open_file(&path)?;
        let (kind, stream) = sniff(file).map_err(ImportError::Read)?;
        decoder(kind, stream, &Limits::default()).map_err(ImportError::Read)
    }
}

pub(crate) fn blob_path(id: &ImageId) -> String {
    format!("blob/{id}")
}

/// Reads an image to the end of its stream: its id and its manifest.
fn check(stream: impl Read + Send) -> Result<(ImageId, Vec<u8>), ImportError> {
    let limits = Limits::default();
    let (kind, stream) = sniff(stream).map_err(ImportError::Read)?;
    let tar = decoder(kind, stream, &limits).map_err(ImportError::Read)?;
    let mut tar = Sha512Reader::new(tar);
    let manifest = archive::aci::check(&mut tar, &limits).map_err(ImportError::Aci)?;
    drain(&mut tar).map_err(ImportError::Read)?;
    let (hash, _) = tar.finish();
    let hash = <[u8; 64]>::try_from(hash).unwrap_or([0; 64]);
    Ok((ImageId::from_hash(&hash), manifest))
}
