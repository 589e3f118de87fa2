//! Removing an image. Nothing is written: this works when the disk is full.

use super::locks::Patience;
use super::record::{image_path, ready_path};
use super::{Store, StoreError};
use appc::ImageId;
use std::collections::BTreeSet;
use sys::lock::Mode as Lock;

impl Store {
    /// Removes an image and the bytes that only it needs; trees and layers stay until a [`Sweep`](super::Sweep) finds
    /// that nobody needs them. Gives the parts that the image had, for such a sweep.
    pub fn remove(&self, id: &ImageId) -> Result<Vec<String>, StoreError> {
        let record = match self.record(id) {
            // What cannot be read can still be removed.
            Err(StoreError::Record { .. }) => None,
            other => other?,
        };
        let lock = self.record_lock()?;
        if !self.unlink(&image_path(id))? {
            return Err(StoreError::NoSuchId);
        }
        // An import gives blob and record their names under the same lock.
        self.unlink(&format!("blob/{id}"))?;
        if self.is_root() {
            self.unlink(&ready_path(id))?;
        }
        drop(lock);
        let parts: Vec<String> =
            record.into_iter().flat_map(|record| record.parts).map(|part| part.path).collect();
        let own = format!("blob/{id}");
        let blobs = parts.iter().filter(|path| path.starts_with("blob/") && **path != own);
        self.drop_blobs(blobs.cloned())?;
        Ok(parts)
    }

    /// Deletes blobs of OCI images that no record names any more, unless an import may be about to name them.
    pub(crate) fn drop_blobs(&self, paths: impl Iterator<Item = String>) -> Result<(), StoreError> {
        let mut there = Vec::new();
        for path in paths {
            if self.exists(&path)? {
                there.push(path);
            }
        }
        if there.is_empty() {
            return Ok(());
        }
        let Some(_alone) = self.import_lock(Lock::Exclusive, Patience::None)? else {
            // The next collection finds them.
            return Ok(());
        };
        let used = self.parts_in_use()?;
        for path in there.iter().filter(|path| !used.contains(*path)) {
            self.unlink(path)?;
        }
        Ok(())
    }

    /// The parts that any image's record names. What root noted itself counts too: a record that is damaged, or that a
    /// member of the group wrote, does not cost an image its trees.
    pub(crate) fn parts_in_use(&self) -> Result<BTreeSet<String>, StoreError> {
        let mut used = BTreeSet::new();
        for id in self.ids()? {
            let record = match self.record(&id) {
                Err(StoreError::Record { .. }) => None,
                other => other?,
            };
            let mut parts = record.map(|record| record.parts).unwrap_or_default();
            if self.is_root() {
                parts.extend(self.ready_record(&id)?.into_iter().flat_map(|ready| ready.parts));
            }
            used.extend(parts.into_iter().map(|part| part.path));
        }
        Ok(used)
    }
}
