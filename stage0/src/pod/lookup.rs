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

/// What was found of each pod, by UUID, and what could not be looked at.
#[derive(Debug)]
pub struct Listing<T> {
    /// What was found.
    pub pods: Vec<T>,
    /// Why others are missing.
    pub problems: Vec<PathError>,
}

impl PodsDir {
    /// Shows all pods that can be named to `look`. A pod has an open descriptor only while it is looked at, since there
    /// may be more pods than a process may open.
    pub fn list<T>(&self, mut look: impl FnMut(&Sighting) -> T) -> Result<Listing<T>, PathError> {
        let mut pods: BTreeMap<PodUuid, T> = BTreeMap::new();
        let mut problems = Vec::new();
        for folder in Folder::VISIBLE {
            problems.extend(self.list_in(folder, |sighting| {
                // Of a pod that moved meanwhile the later place counts.
                pods.insert(sighting.uuid, look(sighting));
            })?);
        }
        Ok(Listing { pods: pods.into_values().collect(), problems })
    }

    /// Shows all pods in one folder to `look`, one at a time as [`Self::list`] does; what could not be looked at.
    pub fn list_in(
        &self,
        folder: Folder,
        mut look: impl FnMut(&Sighting),
    ) -> Result<Vec<PathError>, PathError> {
        let mut problems = Vec::new();
        let Some(open) = self.open_folder(folder)? else { return Ok(problems) };
        for uuid in self.uuids_in(&open, folder)? {
            match self.look_in(&open, folder, uuid) {
                Ok(Some(sighting)) => look(&sighting),
                Ok(None) => {}
                Err(error) => problems.push(error),
            }
        }
        Ok(problems)
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
