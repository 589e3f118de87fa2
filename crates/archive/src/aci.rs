//! App Container Images: checking what an archive may hold, and rendering a tree from several.

use crate::catalogue::ItemKind;
use crate::dependency::Plan;
use crate::error::{EntryName, UnpackError};
use crate::extract::{Extractor, Links, components};
use crate::limits::Limits;
use crate::tar::{Entry, Kind, TarReader};
use crate::tree::TreeDigest;
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::io::{self, Read};
use std::os::fd::BorrowedFd;

/// No manifest is larger.
const MANIFEST: u64 = 4 << 20;

/// An archive that is no App Container Image.
#[derive(Debug, thiserror::Error)]
pub enum AciError {
    /// It cannot be read or unpacked.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// There is no manifest.
    #[error("the image has no manifest")]
    NoManifest,
    /// There is no folder for the files.
    #[error("the image has no rootfs")]
    NoRootfs,
    /// Something stands in it twice.
    #[error("the image has {0} twice")]
    Twice(EntryName),
    /// Something lies beside the manifest and the files.
    #[error("the image has a stray entry {0}")]
    Stray(EntryName),
    /// The manifest is a link, a folder, or larger than 4 MiB.
    #[error("the manifest of the image is not a file of at most 4 MiB")]
    Manifest,
    /// A file's second name leads to something that is not in the image, or does not come into the tree.
    #[error("the image has a hard link {0} to something that is not in it")]
    Link(EntryName),
    /// The image of a step cannot be opened.
    #[error("cannot open the image")]
    Open(#[source] io::Error),
}

impl From<crate::tar::TarError> for AciError {
    fn from(error: crate::tar::TarError) -> Self {
        Self::Unpack(error.into())
    }
}

/// What an entry of an image is, by its place.
enum Part<'e> {
    Manifest,
    Root,
    File(Vec<&'e [u8]>),
}

fn part<'e>(entry: &'e Entry, limits: &Limits) -> Result<Part<'e>, AciError> {
    let stray = || AciError::Stray(entry.path.as_slice().into());
    if entry.path.starts_with(b"/") {
        return Err(stray());
    }
    let parts = components(&entry.path, limits)?;
    match parts.split_first() {
        Some((first, [])) if *first == b"manifest" => Ok(Part::Manifest),
        Some((first, [])) if *first == b"rootfs" => Ok(Part::Root),
        Some((first, rest)) if *first == b"rootfs" => Ok(Part::File(rest.to_vec())),
        _ => Err(stray()),
    }
}

/// The target of a hard link, inside the files.
fn link_target<'e>(entry: &'e Entry, limits: &Limits) -> Result<Vec<&'e [u8]>, AciError> {
    let outside = || AciError::Link(entry.path.as_slice().into());
    let parts = components(&entry.link, limits).map_err(|_| outside())?;
    match parts.split_first() {
        Some((first, rest))
            if *first == b"rootfs" && !rest.is_empty() && !entry.link.starts_with(b"/") =>
        {
            Ok(rest.to_vec())
        }
        _ => Err(outside()),
    }
}

/// Reads a whole archive, checks its layout, and gives the bytes of its manifest.
///
/// # Errors
/// See [`AciError`].
pub fn check(tar: &mut dyn Read, limits: &Limits) -> Result<Vec<u8>, AciError> {
    let mut reader = TarReader::new(tar);
    let mut seen: HashSet<[u8; 16]> = HashSet::new();
    let (mut manifest, mut rootfs) = (None, false);
    let (mut entries, mut bytes) = (0_u64, 0_u64);
    while let Some(entry) = reader.next()? {
        entries = entries.saturating_add(1);
        bytes = bytes.saturating_add(entry.size);
        if entries > limits.entries {
            return Err(UnpackError::Limit { limit: limits.entries, what: "entries" }.into());
        }
        if bytes > limits.bytes {
            return Err(UnpackError::Limit { limit: limits.bytes, what: "bytes" }.into());
        }
        let twice = || AciError::Twice(entry.path.as_slice().into());
        match part(&entry, limits)? {
            Part::Manifest => {
                if manifest.is_some() {
                    return Err(twice());
                }
                if entry.kind != Kind::File || entry.size > MANIFEST || entry.extents.is_some() {
                    return Err(AciError::Manifest);
                }
                let mut text = Vec::new();
                reader.read_all(&mut text)?;
                manifest = Some(text);
            }
            Part::Root if entry.kind != Kind::Dir => return Err(AciError::NoRootfs),
            Part::Root if rootfs => return Err(twice()),
            Part::Root => rootfs = true,
            Part::File(parts) => {
                // Half a hash a path: a false match needs 2^64 tries, a table of names would need their memory.
                let hash: [u8; 32] = Sha256::digest(parts.join(&b'/')).into();
                let half = hash.first_chunk::<16>().copied().unwrap_or_default();
                if !seen.insert(half) {
                    return Err(twice());
                }
                if entry.kind == Kind::HardLink {
                    link_target(&entry, limits)?;
                }
            }
        }
    }
    reader.finish()?;
    if !rootfs {
        return Err(AciError::NoRootfs);
    }
    manifest.ok_or(AciError::NoManifest)
}

/// What came out of rendering.
#[derive(Debug)]
pub struct Rendered {
    /// The digest of the tree.
    pub digest: TreeDigest,
    /// Logical bytes of its files.
    pub bytes: u64,
    /// Remarks about what was left out.
    pub notes: Vec<String>,
}

/// Renders a tree into an empty folder: the images of a plan one over the other, each through its whitelists. `open`
/// gives the uncompressed archive of a step.
///
/// # Errors
/// See [`AciError`]; the folder then holds what was made so far.
pub fn render(
    into: BorrowedFd<'_>,
    plan: &Plan,
    open: &mut dyn FnMut(usize) -> io::Result<Box<dyn Read + Send>>,
    limits: &Limits,
) -> Result<Rendered, AciError> {
    let mut tree = Extractor::new(into, limits, Links::Replace)?;
    for (index, step) in plan.steps.iter().enumerate() {
        let mut reader = TarReader::new(open(index).map_err(AciError::Open)?);
        while let Some(entry) = reader.next()? {
            tree.count()?;
            match part(&entry, limits)? {
                Part::Manifest => {}
                Part::Root => tree.make_root(&entry)?,
                Part::File(parts) => {
                    if step.takes(&parts.join(&b'/'), entry.kind == Kind::Dir) {
                        make(&mut tree, &entry, &parts, &mut reader, limits)?;
                    }
                }
            }
        }
        reader.finish()?;
    }
    tree.finish()?;
    Ok(Rendered {
        digest: TreeDigest(tree.catalogue.digest().0),
        bytes: tree.bytes,
        notes: tree.notes,
    })
}

fn make<R: Read>(
    tree: &mut Extractor<'_>,
    entry: &Entry,
    parts: &[&[u8]],
    data: &mut TarReader<R>,
    limits: &Limits,
) -> Result<(), AciError> {
    let place = tree.place(&entry.path, parts)?;
    match entry.kind {
        Kind::Dir => tree.make_dir(&place, entry)?,
        Kind::HardLink => {
            let missing = || AciError::Link(entry.path.as_slice().into());
            let target = link_target(entry, limits)?.join(&b'/');
            match tree.catalogue.get(&target).map(|item| item.kind) {
                None | Some(ItemKind::Dir) => return Err(missing()),
                Some(_) => tree.make_link(&place, &target)?,
            }
        }
        Kind::Other => tree.note(&entry.path, "is of a kind that is left out"),
        _ => tree.make(&place, entry, data)?,
    }
    Ok(())
}
