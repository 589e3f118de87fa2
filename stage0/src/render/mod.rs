//! Trees that a pod's apps can stand on: the layers of an OCI image, or the one rendered tree of an ACI.
//!
//! In: an image of the store. Out: complete folders, lowest first. Trees are made once, by root, from bytes whose hashes
//! were taken while they were read, and are then found by reading one record. Nothing is mounted here.

mod aci;
mod export;

pub use export::{Content, ExportError, Extent, export, extract};

use crate::store::{
    BlobSource, ImageKind, ImportError, OciImage, SourceError, Store, StoreError, files_of,
};
use appc::{ImageId, ManifestError};
use archive::dependency::PlanError;
use std::io::Read;
use std::path::PathBuf;

/// What a pod needs of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// Names the tree, or the stack of layers.
    pub tree_id: String,
    /// Complete folders, absolute, the lowest first; every name is in overlay form.
    pub layers: Vec<PathBuf>,
    /// What the store calls them.
    parts: Vec<String>,
    /// The image manifest, in appc's words.
    pub manifest: Vec<u8>,
}

/// Why an image has no trees.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is stored of it does not make an image.
    #[error("cannot unpack image {image}")]
    Import {
        /// The image.
        image: ImageId,
        /// Why.
        #[source]
        source: ImportError,
    },
    /// Its manifest breaks a rule.
    #[error("bad manifest of image {image}")]
    Manifest {
        /// The image.
        image: ImageId,
        /// Which.
        #[source]
        source: ManifestError,
    },
    /// What it depends on is missing, or goes round in a circle.
    #[error("cannot resolve the dependencies of image {image}")]
    Plan {
        /// The image.
        image: ImageId,
        /// Why.
        #[source]
        source: PlanError<StoreError>,
    },
    /// Its files cannot be made.
    #[error("cannot render image {image}")]
    Aci {
        /// The image.
        image: ImageId,
        /// Why.
        #[source]
        source: archive::aci::AciError,
    },
    /// The stored bytes are not those that the id stands for.
    #[error("stored image {0} is damaged: remove and fetch it again")]
    Damaged(ImageId),
    /// Trees keep owners and devices, which only root can make.
    #[error("image {0} is not rendered yet, which only root can do")]
    NotRoot(ImageId),
}

/// The trees of an image, made first where that is needed; counts as a use of the image. The caller holds the prepare
/// lock (shared) until it has noted what it uses.
pub fn ready(store: &Store, id: &ImageId) -> Result<Ready, RenderError> {
    if !store.touch(id)? {
        return Err(StoreError::NoSuchId.into());
    }
    if let Some(found) = stored(store, id)? {
        return Ok(found);
    }
    if !store.is_root() {
        return Err(RenderError::NotRoot(id.clone()));
    }
    let record = store.record(id)?.ok_or(StoreError::NoSuchId)?;
    match record.kind {
        ImageKind::Oci => unpack(store, id)?,
        ImageKind::Aci => aci::make(store, id)?,
    }
    read(store, id)?.ok_or_else(|| StoreError::NoSuchId.into())
}

/// The trees as images of file systems, in the same order, made first where that is needed. The caller holds the prepare
/// lock, as for [`ready`].
pub fn disks(store: &Store, ready: &Ready) -> Result<Vec<PathBuf>, RenderError> {
    ready.parts.iter().map(|part| Ok(store.erofs(part)?)).collect()
}

/// What was made before, if it is still there and still what the image means.
fn stored(store: &Store, id: &ImageId) -> Result<Option<Ready>, RenderError> {
    if !store.is_root() {
        return Ok(None);
    }
    let Some(record) = store.ready_record(id)? else { return Ok(None) };
    for part in &record.parts {
        if !store.exists(&part.path)? {
            return Ok(None);
        }
    }
    if record.dependent && aci::tree_of(store, id)? != record.tree_id {
        return Ok(None);
    }
    Ok(Some(answer(store, record)))
}

fn read(store: &Store, id: &ImageId) -> Result<Option<Ready>, RenderError> {
    Ok(store.ready_record(id)?.map(|record| answer(store, record)))
}

fn answer(store: &Store, record: crate::store::ReadyRecord) -> Ready {
    Ready {
        layers: record.parts.iter().map(|part| store.path(&files_of(&part.path))).collect(),
        parts: record.parts.into_iter().map(|part| part.path).collect(),
        tree_id: record.tree_id,
        manifest: record.manifest.into_bytes(),
    }
}

/// Blobs that somebody who is not root left in the store; the store takes them itself, so there is nothing to open.
struct Kept;

impl BlobSource for Kept {
    fn open(&self, blob: &oci::Descriptor) -> Result<Box<dyn Read + Send>, SourceError> {
        Err(format!("blob {} is not in the store: fetch the image again", blob.digest).into())
    }
}

/// Unpacks an OCI image from the blobs in the store, after everything about it has been checked again.
fn unpack(store: &Store, id: &ImageId) -> Result<(), RenderError> {
    let record = store.record(id)?.ok_or(StoreError::NoSuchId)?;
    let damaged = || RenderError::Damaged(id.clone());
    let parts = record.oci.ok_or_else(damaged)?;
    let image = OciImage {
        manifest: parts.manifest.into_bytes(),
        media_type: parts.media_type,
        registry: parts.registry,
        repository: parts.repository,
        tag: parts.tag,
        original: parts.original,
    };
    let found = store
        .unpack_again(&Kept, &image, record.imported, id)
        .map_err(|source| RenderError::Import { image: id.clone(), source })?;
    if found { Ok(()) } else { Err(damaged()) }
}

#[cfg(test)]
mod tests;
