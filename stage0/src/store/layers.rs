//! Stored layers: each once, by its diff_id and the facts below it that it used.
//!
//! A layer that needs nothing from below lies under its diff_id alone. Of any other, `.needs` says what it asks of the
//! layers below; their answer is part of the key, so that it is found again, without its blob, on a base that answers
//! the same.

use super::files::{Staged, open_folder};
use super::record::to_bytes;
use super::{Part, Store, StoreError};
use archive::needs::Needs;
use archive::{Contents, TreeDigest};
use oci::Digest;
use serde::{Deserialize, Serialize};
use std::os::fd::OwnedFd;

/// What is noted about one stored layer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    /// Of the uncompressed stream.
    diff_id: String,
    /// Of the tree; what a later check compares.
    digest: String,
    /// Bytes of its files.
    size: u64,
    /// Whether it needs something from below, so that `.needs` has to be asked.
    dependent: bool,
}

/// An unpacked layer that is not yet visible: a folder with `root` in the staged folder of its import.
#[derive(Debug)]
pub(crate) struct NewLayer {
    pub(crate) name: String,
    pub(crate) needs: Needs,
    pub(crate) digest: TreeDigest,
    pub(crate) contents: Contents,
    pub(crate) size: u64,
}

/// What the store knows of a layer.
#[derive(Debug)]
pub(crate) enum Known {
    /// Nothing.
    Not,
    /// It is there, and the same on every base.
    Whole(Part),
    /// What it needs is known, and so its key once the layers below are.
    Needing(Needs),
}

/// The part of a layer's key that stands for its diff_id.
pub(crate) fn stem(diff_id: &Digest) -> String {
    format!("layer/{}-{}", diff_id.algorithm(), diff_id.hex())
}

/// Writes what is to be known of a staged layer beside it; a sync has to come before it is published.
pub(crate) fn describe_layer(
    staged: &Staged<'_>,
    diff_id: &Digest,
    layer: &NewLayer,
) -> Result<(), StoreError> {
    let record = LayerRecord {
        diff_id: diff_id.to_string(),
        digest: layer.digest.to_string(),
        size: layer.size,
        dependent: !layer.needs.is_empty(),
    };
    staged.write(&format!("{}/record", layer.name), &to_bytes(&record))?;
    if record.dependent {
        staged.write(&format!("{}.needs", layer.name), &to_bytes(&layer.needs))?;
    }
    Ok(())
}

impl Store {
    /// A stored layer, by its key.
    pub(crate) fn layer(&self, key: &str) -> Result<Option<Part>, StoreError> {
        Ok(self.layer_record(key)?.map(|record| Part { path: key.to_owned(), size: record.size }))
    }

    fn layer_record(&self, key: &str) -> Result<Option<LayerRecord>, StoreError> {
        self.parsed::<LayerRecord>(&format!("{key}/record"))
    }

    /// What is known of a layer.
    pub(crate) fn known_layer(&self, stem: &str) -> Result<Known, StoreError> {
        if let Some(record) = self.layer_record(stem)?
            && !record.dependent
        {
            return Ok(Known::Whole(Part { path: stem.to_owned(), size: record.size }));
        }
        let needs = self.parsed::<Needs>(&format!("{stem}.needs"))?;
        Ok(needs.map_or(Known::Not, Known::Needing))
    }

    /// Opens the root of a layer, stored or staged.
    pub(crate) fn open_root(&self, folder: &str) -> Result<OwnedFd, StoreError> {
        let path = format!("{folder}/root");
        open_folder(self.cas(), &path).map_err(|error| self.failed("open", &path, error))
    }

    /// Makes a described and synced layer visible: what it needs first, so that nobody takes it for free of needs.
    pub(crate) fn publish_layer(
        &self,
        staged: &Staged<'_>,
        layer: &NewLayer,
        stem: &str,
        key: &str,
    ) -> Result<(), StoreError> {
        if !layer.needs.is_empty() {
            staged.give(&format!("{}.needs", layer.name), &format!("{stem}.needs"))?;
        }
        self.publish_folder(staged, &layer.name, key)
    }

    /// Makes a synced folder visible. Whoever was faster has the same; only what a deletion left half is replaced.
    pub(crate) fn publish_folder(
        &self,
        staged: &Staged<'_>,
        name: &str,
        key: &str,
    ) -> Result<(), StoreError> {
        if staged.give(name, key)? || self.exists(&format!("{key}/record"))? {
            return Ok(());
        }
        self.retire(key)?;
        staged.give(name, key).map(drop)
    }
}
