//! Indexes: images of one name for several platforms, and the choice among them.

use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::document::{self, DocumentError, Members};
use crate::manifest::{Root, head};
use crate::media::Kind;
use crate::platform::Platform;
use std::collections::{BTreeMap, BTreeSet};

/// A list of manifests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// Its type, where it says so.
    pub media_type: Option<String>,
    /// The manifests, and possibly further indexes, in the publisher's order of preference.
    pub manifests: Vec<Descriptor>,
    /// What is said about it.
    pub annotations: BTreeMap<String, String>,
}

impl Index {
    /// Reads and checks an index.
    ///
    /// # Errors
    /// See [`DocumentError`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, DocumentError> {
        let json = document::parse(bytes)?;
        Self::read(Members::of(&json, "index")?)
    }

    pub(crate) fn read(members: Members<'_>) -> Result<Self, DocumentError> {
        let media_type = head(members, Kind::Index)?;
        let manifests = members.list("manifests")?.iter().map(Descriptor::read);
        Ok(Self {
            media_type,
            manifests: manifests.collect::<Result<_, _>>()?,
            annotations: members.map("annotations")?,
        })
    }
}

/// No entry is for the platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("image is not available for {}/{}{}{}; only for: {offered}", .wanted.os, .wanted.architecture,
    if .wanted.variant.is_empty() { "" } else { "/" }, .wanted.variant)]
pub struct NoMatch {
    /// The platform.
    pub wanted: Platform,
    /// The platforms there are, for people.
    pub offered: String,
}

/// The first entry that the platform runs; if none says what it runs on, the first manifest of those.
///
/// # Errors
/// [`NoMatch`].
pub fn choose<'i>(index: &'i Index, platform: &Platform) -> Result<&'i Descriptor, NoMatch> {
    candidates(index, platform)
        .next()
        .ok_or_else(|| NoMatch { wanted: platform.clone(), offered: offered(&index.manifests) })
}

/// The entries that may lead to an image for the platform, the best first: those that say so, then those that say
/// nothing (further indexes often do not).
fn candidates<'i>(
    index: &'i Index,
    platform: &Platform,
) -> impl Iterator<Item = &'i Descriptor> + use<'i> {
    let known = |entry: &&Descriptor| matches!(entry.kind(), Some(Kind::Manifest | Kind::Index));
    let wanted = platform.clone();
    let named = index
        .manifests
        .iter()
        .filter(known)
        .filter(move |entry| entry.platform.as_ref().is_some_and(|p| wanted.runs(p)));
    let silent = index.manifests.iter().filter(known).filter(|entry| entry.platform.is_none());
    named.chain(silent)
}

fn offered(entries: &[Descriptor]) -> String {
    const SHOWN: usize = 16;
    let mut names = BTreeSet::new();
    for platform in entries.iter().filter_map(|entry| entry.platform.as_ref()) {
        if names.len() <= SHOWN && platform.os != "unknown" {
            let variant = if platform.variant.is_empty() { "" } else { "/" };
            let (os, architecture) = (&platform.os, &platform.architecture);
            names.insert(format!("{os}/{architecture}{variant}{}", platform.variant));
        }
    }
    let mut names: Vec<String> = names.into_iter().collect();
    if names.len() > SHOWN {
        names.truncate(SHOWN);
        names.push("…".into());
    }
    if names.is_empty() { "nothing".into() } else { names.join(", ") }
}

/// Indexes in indexes are followed this deep.
const DEPTH_LIMIT: usize = 4;
/// As many documents are asked for at most.
const READ_LIMIT: usize = 32;
/// As many entries wait at most to be looked at.
const WAIT_LIMIT: usize = 1 << 16;

/// A choice that led nowhere. `E` is why a document could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FindError<E: std::error::Error + 'static> {
    /// No entry is for the platform.
    #[error(transparent)]
    NoMatch(#[from] NoMatch),
    /// A document could not be had.
    #[error("cannot get the index {digest}")]
    Get {
        /// Its name.
        digest: Digest,
        /// Why.
        #[source]
        source: E,
    },
    /// A document is not what its descriptor promises.
    #[error("index {digest} is not what it was promised to be")]
    Mismatch {
        /// Its name.
        digest: Digest,
        /// What differs.
        #[source]
        source: crate::Mismatch,
    },
    /// A document cannot be accepted.
    #[error("cannot use the index {digest}")]
    Document {
        /// Its name.
        digest: Digest,
        /// Why.
        #[source]
        source: DocumentError,
    },
    /// Too many indexes.
    #[error("image has too many indexes in each other")]
    TooMany,
}

/// Finds the manifest for a platform, through indexes in the index: 4 deep, 32 documents at most, each asked for once.
/// `get` returns the bytes of a document, which are verified here.
///
/// # Errors
/// See [`FindError`].
pub fn find<E: std::error::Error + 'static>(
    index: &Index,
    platform: &Platform,
    get: &mut dyn FnMut(&Descriptor) -> Result<Vec<u8>, E>,
) -> Result<Descriptor, FindError<E>> {
    let mut seen = BTreeSet::new();
    let mut waiting: Vec<(usize, Descriptor)> = Vec::new();
    let mut cut = false;
    let push = |waiting: &mut Vec<(usize, Descriptor)>, depth: usize, index: &Index| {
        let from = waiting.len();
        waiting.extend(candidates(index, platform).map(|entry| (depth, entry.clone())));
        if let Some(new) = waiting.get_mut(from..) {
            new.reverse();
        }
    };
    push(&mut waiting, 1, index);
    while let Some((depth, entry)) = waiting.pop() {
        if entry.kind() == Some(Kind::Manifest) {
            return Ok(entry);
        }
        if seen.contains(&entry.digest) {
            continue;
        }
        if depth > DEPTH_LIMIT || seen.len() >= READ_LIMIT || waiting.len() > WAIT_LIMIT {
            cut = true;
            continue;
        }
        let digest = entry.digest.clone();
        seen.insert(digest.clone());
        let bytes = if let Some(data) = entry.data {
            data
        } else {
            let bytes =
                get(&entry).map_err(|source| FindError::Get { digest: digest.clone(), source })?;
            entry
                .check(&bytes)
                .map_err(|source| FindError::Mismatch { digest: digest.clone(), source })?;
            bytes
        };
        match Root::from_json(&entry.media_type, &bytes) {
            Ok(Root::Index(inner)) => push(&mut waiting, depth.saturating_add(1), &inner),
            // The descriptor's type was an index's.
            Ok(Root::Manifest(_)) => {}
            Err(source) => return Err(FindError::Document { digest, source }),
        }
    }
    if cut {
        return Err(FindError::TooMany);
    }
    let offered = offered(&index.manifests);
    Err(NoMatch { wanted: platform.clone(), offered }.into())
}

#[cfg(test)]
mod tests;
