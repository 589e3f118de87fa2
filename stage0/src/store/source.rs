//! Where the blobs of an OCI image come from, and who is told how far they are.

use oci::Descriptor;
use std::io::Read;

/// Why a blob cannot be had; the store only passes it on.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// A place that has the blobs of an image: a registry, a folder, an archive.
pub trait BlobSource: Sync {
    /// Opens one blob for reading from its start. What comes is verified by the store.
    fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send>, SourceError>;
}

/// Told how far an import is; called from several threads.
pub trait Progress: Sync {
    /// Once, before the first byte: how many layers are missing, and how many there are.
    fn layers(&self, _missing: usize, _total: usize) {}

    /// So many bytes of a blob have come.
    fn read(&self, _blob: &Descriptor, _bytes: u64) {}

    /// A layer is complete and verified.
    fn layer_done(&self, _blob: &Descriptor) {}
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quiet;

impl Progress for Quiet {}
