//! One OCI layer, unpacked in overlay form: whiteouts are devices 0:0, opaque folders carry an attribute.
//!
//! A layer is unpacked without knowing what lies below it, so that all layers of an image can be unpacked at once.
//! What depends on the layers below is noted in [`Needs`] and settled later.

use crate::catalogue::{Contents, ItemKind};
use crate::error::UnpackError;
use crate::extract::{Extractor, Links, components, join, split};
use crate::limits::Limits;
use crate::needs::Needs;
use crate::tar::{Entry, Kind, TarReader};
use crate::tree::TreeDigest;
use std::collections::BTreeMap;
use std::io::Read;
use std::os::fd::BorrowedFd;

/// What came out of a layer.
#[derive(Debug)]
pub struct Unpacked {
    /// Logical bytes of its files.
    pub bytes: u64,
    /// Entries made.
    pub entries: u64,
    /// What it needs from the layers below.
    pub needs: Needs,
    /// The digest of the tree as it stands; settling changes it.
    pub digest: TreeDigest,
    /// What its digest is made of beside the root, for settling.
    pub contents: Contents,
    /// Remarks about what was left out.
    pub notes: Vec<String>,
}

/// Unpacks a layer into an empty folder, and reads the stream to its end.
///
/// # Errors
/// See [`UnpackError`]; the folder then holds what was made so far.
pub fn unpack(
    tar: &mut dyn Read,
    into: BorrowedFd<'_>,
    limits: &Limits,
) -> Result<Unpacked, UnpackError> {
    let mut layer = Layer {
        tree: Extractor::new(into, limits, Links::Follow)?,
        limits,
        links: BTreeMap::new(),
    };
    let mut reader = TarReader::new(tar);
    while let Some(entry) = reader.next()? {
        layer.take(&entry, &mut reader)?;
    }
    reader.finish()?;
    layer.tree.finish()?;
    let (digest, contents) = layer.tree.catalogue.digest();
    let needs = Needs::of(&layer.tree.catalogue, &layer.links);
    Ok(Unpacked {
        bytes: layer.tree.bytes,
        entries: layer.tree.entries,
        needs,
        digest: TreeDigest(digest),
        contents,
        notes: layer.tree.notes,
    })
}

struct Layer<'a> {
    tree: Extractor<'a>,
    limits: &'a Limits,
    /// Hard links whose target this layer does not have.
    links: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Layer<'_> {
    fn take<R: Read>(&mut self, entry: &Entry, data: &mut TarReader<R>) -> Result<(), UnpackError> {
        self.tree.count()?;
        let parts = components(&entry.path, self.limits)?;
        let Some((name, parents)) = parts.split_last() else { return self.tree.make_root(entry) };
        if parents.iter().any(|part| part.starts_with(b".wh..wh.")) {
            // What AUFS kept for itself.
            return Ok(());
        }
        if parents.iter().any(|part| part.starts_with(b".wh.")) {
            return Err(UnpackError::entry(&entry.path, "its parent is a whiteout"));
        }
        if let Some(hidden) = name.strip_prefix(b".wh.") {
            return self.take_whiteout(entry, &parts, hidden);
        }
        if entry.kind == Kind::Other {
            self.tree.note(&entry.path, "is of a kind that is left out");
            return Ok(());
        }
        let place = self.tree.place(&entry.path, &parts)?;
        self.links.remove(&place.real);
        match entry.kind {
            Kind::Dir => self.tree.make_dir(&place, entry),
            Kind::HardLink => {
                let target = components(&entry.link, self.limits)?;
                if target.is_empty() {
                    return Err(UnpackError::entry(&entry.path, "a hard link to a folder"));
                }
                let found = self.tree.find(&entry.path, &target)?;
                let kind =
                    found.as_ref().and_then(|t| self.tree.catalogue.get(t)).map(|item| item.kind);
                match (found, kind) {
                    (_, Some(ItemKind::Dir)) => {
                        Err(UnpackError::entry(&entry.path, "a hard link to a folder"))
                    }
                    (_, Some(ItemKind::Whiteout)) => Err(UnpackError::entry(
                        &entry.path,
                        "the target of a hard link was deleted",
                    )),
                    (Some(found), _) => self.tree.make_link(&place, &found),
                    (None, _) => {
                        if self.tree.catalogue.get(&place.real).is_some() {
                            self.tree.clear(&place.real)?;
                        }
                        let joined = target.join(&b'/');
                        let end = self.links.get(&joined).cloned().unwrap_or(joined);
                        self.links.insert(place.real, end);
                        Ok(())
                    }
                }
            }
            _ => self.tree.make(&place, entry, data),
        }
    }

    fn take_whiteout(
        &mut self,
        entry: &Entry,
        parts: &[&[u8]],
        hidden: &[u8],
    ) -> Result<(), UnpackError> {
        let opaque = hidden == b".wh..opq";
        if !opaque && hidden.starts_with(b".wh.") {
            return Ok(());
        }
        if !opaque && matches!(hidden, b"" | b"." | b"..") {
            return Err(UnpackError::entry(&entry.path, "a whiteout without a name"));
        }
        let (_, parents) = parts.split_last().unwrap_or((&b"".as_slice(), &[]));
        if self.below_a_file(parents) {
            // A folder became a file in this layer: all below is gone anyway.
            return Ok(());
        }
        let marked: Vec<&[u8]> = parents.iter().copied().chain([hidden]).collect();
        let place = self.tree.place(&entry.path, &marked)?;
        if opaque {
            let dir = split(&place.real).0.to_vec();
            return self.tree.make_opaque(&dir);
        }
        match self.tree.catalogue.get(&place.real).map(|item| item.kind) {
            // A hard link may still come to stand here; then it hides what is below by itself.
            None if self.links.contains_key(&place.real) => Ok(()),
            None => self.tree.make_whiteout(&place),
            Some(ItemKind::Dir) => self.tree.make_opaque(&place.real),
            Some(_) => Ok(()),
        }
    }

    fn below_a_file(&self, parents: &[&[u8]]) -> bool {
        let mut path = Vec::new();
        for part in parents {
            path = join(&path, part);
            match self.tree.catalogue.get(&path).map(|item| item.kind) {
                Some(ItemKind::Dir) => {}
                Some(ItemKind::Symlink) | None => return false,
                Some(_) => return true,
            }
        }
        false
    }
}
