//! Finding pods: all of them, or the one whose UUID begins so.

use super::folders::{Folder, PodsDir};
use super::sighting::Sighting;
use appc::PodUuid;
use std::collections::BTreeMap;
use sys::path::PathError;

/// Why a word names no pod.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// No word at all.
    #[error("UUID cannot be empty")]
    Empty,
    /// No UUID begins so.
    #[error("no matches found for {0:?}")]
    NoMatch(String),
    /// Several do.
    #[error("ambiguous uuid, {0} matches")]
    Ambiguous(usize),
    /// The pods cannot be looked at.
    #[error(transparent)]
    Look(#[from] PathError),
}

/// The pods that were seen, by UUID, and what could not be looked at.
#[derive(Debug, Default)]
pub struct Listing {
    /// The pods.
    pub pods: Vec<Sighting>,
    /// Why others are missing.
    pub problems: Vec<PathError>,
}

impl PodsDir {
    /// Looks at all pods that can be named.
    pub fn list(&self) -> Result<Listing, PathError> {
        let mut pods: BTreeMap<PodUuid, Sighting> = BTreeMap::new();
        let mut problems = Vec::new();
        for folder in Folder::VISIBLE {
            for uuid in self.uuids(folder)? {
                match self.look(folder, uuid) {
                    // Of a pod that moved meanwhile the later place counts.
                    Ok(Some(sighting)) => drop(pods.insert(uuid, sighting)),
                    Ok(None) => {}
                    Err(error) => problems.push(error),
                }
            }
        }
        Ok(Listing { pods: pods.into_values().collect(), problems })
    }

    /// Looks at all pods in one folder.
    pub fn list_in(&self, folder: Folder) -> Result<Listing, PathError> {
        let mut listing = Listing::default();
        for uuid in self.uuids(folder)? {
            match self.look(folder, uuid) {
                Ok(Some(sighting)) => listing.pods.push(sighting),
                Ok(None) => {}
                Err(error) => listing.problems.push(error),
            }
        }
        Ok(listing)
    }

    /// The one pod whose UUID begins so, in either case.
    pub fn find(&self, text: &str) -> Result<Sighting, FindError> {
        if text.is_empty() {
            return Err(FindError::Empty);
        }
        if let Ok(uuid) = PodUuid::parse(text) {
            return self.find_uuid(uuid)?.ok_or_else(|| FindError::NoMatch(text.to_owned()));
        }
        let prefix = text.to_ascii_lowercase();
        let mut found = Vec::new();
        for folder in Folder::VISIBLE {
            found.extend(
                self.uuids(folder)?
                    .into_iter()
                    .filter(|uuid| uuid.to_string().starts_with(&prefix)),
            );
        }
        found.sort_unstable();
        found.dedup();
        match found.as_slice() {
            [uuid] => self.find_uuid(*uuid)?.ok_or_else(|| FindError::NoMatch(text.to_owned())),
            [] => Err(FindError::NoMatch(text.to_owned())),
            several => Err(FindError::Ambiguous(several.len())),
        }
    }

    /// One pod, wherever it is.
    pub fn find_uuid(&self, uuid: PodUuid) -> Result<Option<Sighting>, PathError> {
        for folder in Folder::VISIBLE {
            if let Some(sighting) = self.look(folder, uuid)? {
                return Ok(Some(sighting));
            }
        }
        Ok(None)
    }
}
