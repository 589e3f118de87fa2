//! Images leaving the store: as a file, or as a folder.

use super::aci;
use super::{RenderError, ready};
use crate::store::{ImageKind, ImportError, Store, StoreError};
use appc::{ImageId, ImageManifest};
use archive::dependency::{Plan, Step};
use archive::merge::Merged;
use archive::stream::Sha512Reader;
use archive::write::{Times, WriteError};
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use sys::path::{At, PathError};

/// How much of an image's files are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Its own, without those of the images it depends on.
    Alone,
    /// All that its apps would see.
    Complete,
}

/// What of an image goes into a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// `manifest` and `rootfs`.
    Whole,
    /// Only what is in `rootfs`, at the top.
    Rootfs,
}

/// An image that does not get out.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Its trees.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its stored file cannot be read.
    #[error("cannot read image {image}")]
    Read {
        /// The image.
        image: ImageId,
        /// Why.
        #[source]
        source: ImportError,
    },
    /// The file cannot be written.
    #[error("cannot write the image file")]
    Write(#[source] io::Error),
    /// The archive cannot be made.
    #[error("cannot write the image file")]
    Archive(#[source] WriteError),
    /// The folder cannot be filled.
    #[error("cannot write the image's files")]
    Folder(#[from] PathError),
}

/// Writes an image as an uncompressed ACI: the bytes that its id stands for, or of an OCI image its ACI form, which has
/// an id of its own that is the same every time.
pub fn export(store: &Store, id: &ImageId, out: File) -> Result<(), ExportError> {
    let record = store.record(id)?.ok_or(StoreError::NoSuchId)?;
    let mut out = BufWriter::with_capacity(128 << 10, out);
    match record.kind {
        ImageKind::Aci => {
            let from = store
                .open_aci(id)
                .map_err(|source| ExportError::Read { image: id.clone(), source })?;
            let mut from = Sha512Reader::new(from);
            io::copy(&mut from, &mut out).map_err(ExportError::Write)?;
            let (hash, _) = from.finish();
            if <[u8; 64]>::try_from(hash).map(|hash| ImageId::from_hash(&hash)).as_ref() != Ok(id) {
                return Err(RenderError::Damaged(id.clone()).into());
            }
            out.flush().map_err(ExportError::Write)
        }
        ImageKind::Oci => {
            let (layers, manifest) = layers(store, id)?;
            let times = latest(&manifest).map_or(Times::Keep, Times::Clamp);
            let mut out = archive::write::aci(out, &manifest, &Merged::new(layers), times)
                .map_err(ExportError::Archive)?;
            out.flush().map_err(ExportError::Write)
        }
    }
}

/// When the image was made, which no file of it should be younger than.
fn latest(manifest: &[u8]) -> Option<i64> {
    let manifest = ImageManifest::from_json(manifest).ok()?;
    let created: jiff::Timestamp = manifest.annotation("created")?.parse().ok()?;
    Some(created.as_second())
}

fn layers(store: &Store, id: &ImageId) -> Result<(Vec<OwnedFd>, Vec<u8>), ExportError> {
    let _lock = store.prepare_lock(sys::lock::Mode::Shared)?;
    let ready = ready(store, id)?;
    let layers: Result<Vec<OwnedFd>, PathError> = ready.layers.iter().map(|p| open(p)).collect();
    Ok((layers?, ready.manifest))
}

fn open(path: &Path) -> Result<OwnedFd, PathError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).at("open", path)
}

/// Writes the files of an image into an empty folder.
pub fn extract(
    store: &Store,
    id: &ImageId,
    extent: Extent,
    folder: BorrowedFd<'_>,
    content: Content,
) -> Result<(), ExportError> {
    let record = store.record(id)?.ok_or(StoreError::NoSuchId)?;
    let (manifest, plan) = match (record.kind, extent) {
        // It depends on nothing.
        (ImageKind::Oci, _) => {
            let (layers, manifest) = layers(store, id)?;
            let root = target(folder, content, &manifest)?;
            return Ok(Merged::new(layers).copy_to(root.as_fd())?);
        }
        (ImageKind::Aci, Extent::Alone) => {
            (record.manifest, Plan { steps: vec![Step::whole(id.clone())] })
        }
        (ImageKind::Aci, Extent::Complete) => aci::plan_of(store, id)?,
    };
    let root = target(folder, content, manifest.as_bytes())?;
    aci::into_folder(store, id, &plan, root.as_fd())?;
    Ok(())
}

/// The folder that takes the files; beside it, where that is asked for, the manifest.
fn target(folder: BorrowedFd<'_>, content: Content, manifest: &[u8]) -> Result<OwnedFd, PathError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if content == Content::Rootfs {
        return rustix::fs::openat(folder, ".", flags, Mode::empty()).at("open", ".");
    }
    let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = rustix::fs::openat(folder, "manifest", create, Mode::from_raw_mode(0o644))
        .at("open", "manifest")?;
    File::from(file).write_all(manifest).at("write", "manifest")?;
    rustix::fs::mkdirat(folder, "rootfs", Mode::from_raw_mode(0o755)).at("mkdir", "rootfs")?;
    rustix::fs::openat(folder, "rootfs", flags, Mode::empty()).at("open", "rootfs")
}
