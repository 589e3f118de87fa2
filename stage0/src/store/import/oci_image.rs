//! OCI and Docker images: manifest and configuration are checked, missing layers are got, and the record comes last.

use super::OciImage;
use super::blobs::{Transfer, blob_path, read_config};
use super::stack::{Stack, Wanted};
use super::verify::{Verified, verifiable};
use crate::store::files::Area;
use crate::store::locks::Patience;
use crate::store::record::{ImageKind, OciParts, now, ready_path, to_bytes};
use crate::store::{BlobSource, ImportError, Part, Progress, ReadyRecord, Record, Store};
use appc::{ImageId, ImageManifest};
use archive::stream::drain;
use oci::{Digest, ImageConfig, Manifest};
use sha2::{Digest as _, Sha256, Sha512};
use std::sync::atomic::AtomicBool;
use sys::lock::Mode as Lock;

/// As many layers can be stacked.
const MOST_LAYERS: usize = 500;

/// When an image counts as imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Imported {
    /// It comes now.
    Now,
    /// It came then, and only its trees are made now.
    Then(u64),
}

/// The id of an image kept as OCI: half of the SHA-512 of its manifest.
fn id_of(manifest: &[u8]) -> ImageId {
    ImageId::from_hash(&Sha512::digest(manifest).into())
}

/// An image whose documents have been checked.
struct Checked {
    id: ImageId,
    digest: Digest,
    form: ImageManifest,
    /// Lowest first; a layer that occurs twice only at its highest place.
    layers: Vec<Wanted>,
    documents: OciParts,
}

impl Store {
    /// Takes in an OCI image: layers that are not stored yet are read from the source, verified, and (as root)
    /// unpacked; several at once. Nothing of it is seen before all of it was verified.
    pub fn import_oci(
        &self,
        source: &dyn BlobSource,
        image: &OciImage,
        progress: &dyn Progress,
    ) -> Result<ImageId, ImportError> {
        self.install_oci(source, image, progress, Imported::Now)
    }

    /// Makes the trees of an image from what its record and the blobs in the store say; `false` if the record is not
    /// that of the image.
    pub(crate) fn unpack_again(
        &self,
        source: &dyn BlobSource,
        image: &OciImage,
        imported: u64,
        id: &ImageId,
    ) -> Result<bool, ImportError> {
        if id_of(&image.manifest) != *id {
            return Ok(false);
        }
        self.install_oci(source, image, &crate::store::Quiet, Imported::Then(imported))
            .map(|_| true)
    }

    fn install_oci(
        &self,
        source: &dyn BlobSource,
        image: &OciImage,
        progress: &dyn Progress,
        imported: Imported,
    ) -> Result<ImageId, ImportError> {
        let import = self.import_lock(Lock::Shared, Patience::Wait)?;
        let _alone = self.image_lock(&image.manifest)?;
        let transfer = Transfer { source, progress, stopped: AtomicBool::new(false) };
        let checked = self.check(image, &transfer)?;
        let mut record = Record {
            id: checked.id.to_string(),
            kind: ImageKind::Oci,
            imported: match imported {
                Imported::Now => now(),
                Imported::Then(time) => time,
            },
            source: image.original.clone().unwrap_or_default(),
            manifest: checked.form.to_json(),
            oci: Some(checked.documents.clone()),
            parts: Vec::new(),
        };
        if self.is_root() {
            self.install_layers(&transfer, &checked, &mut record, imported)?;
            drop(import);
            self.drop_blobs(checked.layers.iter().map(|layer| blob_path(&layer.blob.digest)))?;
        } else {
            record.parts = self.keep_blobs(&transfer, &checked.layers)?;
            self.sync_folder("blob")?;
            let publication = self.publication(&checked.id, &record)?;
            self.note_digest(&checked)?;
            publication.publish(&checked.form.name)?;
        }
        Ok(checked.id)
    }

    fn check(&self, image: &OciImage, transfer: &Transfer<'_>) -> Result<Checked, ImportError> {
        let id = id_of(&image.manifest);
        let bad = |what| {
            move |error: Box<dyn std::error::Error + Send + Sync>| ImportError::Oci {
                what,
                source: error,
            }
        };
        let manifest = Manifest::from_json(&image.manifest)
            .map_err(|error| bad("image manifest")(error.into()))?;
        if manifest.layers.len() > MOST_LAYERS {
            let count = manifest.layers.len();
            return Err(ImportError::Shape(format!(
                "image has {count} layers, of which at most {MOST_LAYERS} can be stacked"
            )));
        }
        // Before anything is fetched by them.
        verifiable("image configuration", &manifest.config.digest)?;
        manifest.layers.iter().try_for_each(|layer| verifiable("layer", &layer.digest))?;
        let digest = Digest::sha256(&Sha256::digest(&image.manifest).into());
        let config = match self.known_config(&id, &manifest.config.digest) {
            Some(config) => config,
            None => read_config(transfer, &manifest.config)?,
        };
        let parsed = ImageConfig::from_json(&config)
            .map_err(|error| bad("image configuration")(error.into()))?;
        parsed.diff_ids.iter().try_for_each(|diff_id| verifiable("layer content", diff_id))?;
        let pairs = oci::Layers::pair(&manifest, &parsed)
            .map_err(|error| bad("image configuration")(error.into()))?;
        let mut layers: Vec<Wanted> = Vec::new();
        for (blob, diff_id) in pairs.iter() {
            layers.retain(|earlier| earlier.diff_id != *diff_id);
            layers.push(Wanted { blob: blob.clone(), diff_id: diff_id.clone() });
        }
        let source = oci::appc_form::Source {
            registry: image.registry.clone(),
            repository: image.repository.clone(),
            tag: image.tag.clone(),
            original: image.original.clone(),
            manifest_digest: digest.clone(),
        };
        let form = oci::appc_form::image_manifest(&source, &manifest, &parsed)
            .map_err(|error| bad("image configuration")(error.into()))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let documents = OciParts {
            manifest: text(&image.manifest),
            media_type: image.media_type.clone(),
            config: text(&config),
            registry: image.registry.clone(),
            repository: image.repository.clone(),
            tag: image.tag.clone(),
            original: image.original.clone(),
        };
        Ok(Checked { id, digest, form, layers, documents })
    }

    /// The configuration from an earlier import, if it is what the digest says.
    fn known_config(&self, id: &ImageId, digest: &Digest) -> Option<Vec<u8>> {
        let config = self.record(id).ok()??.oci?.config.into_bytes();
        let mut verified = Verified::new("image configuration", digest, &config[..]).ok()?;
        drain(&mut verified).ok()?;
        verified.finish("image configuration", None).ok()?;
        Some(config)
    }

    fn install_layers(
        &self,
        transfer: &Transfer<'_>,
        checked: &Checked,
        record: &mut Record,
        imported: Imported,
    ) -> Result<(), ImportError> {
        let mut stack = Stack::new(self, &checked.layers);
        stack.complete(transfer)?;
        record.parts = stack.parts();
        let ready = ReadyRecord {
            tree_id: tree_id(&record.parts),
            parts: record.parts.clone(),
            manifest: record.manifest.clone(),
            dependent: false,
        };
        let again = imported != Imported::Now;
        let publication = self.publication(&checked.id, record)?.again(again);
        let mut ready = self.small(Area::Private, &to_bytes(&ready))?;
        stack.publish()?;
        self.note_digest(checked)?;
        rustix::fs::fdatasync(ready.file()).map_err(|e| self.failed("fsync", "staging", e))?;
        ready.rename(&ready_path(&checked.id))?;
        self.sync_folder("ready")?;
        Ok(publication.publish(&checked.form.name)?)
    }

    fn keep_blobs(
        &self,
        transfer: &Transfer<'_>,
        layers: &[Wanted],
    ) -> Result<Vec<Part>, ImportError> {
        let path = |layer: &Wanted| blob_path(&layer.blob.digest);
        let mut missing = Vec::new();
        for layer in layers {
            if !self.exists(&path(layer))? {
                missing.push(layer);
            }
        }
        transfer.progress.layers(missing.len(), layers.len());
        super::stack::in_parallel(transfer, missing, |layer| {
            self.keep_blob(transfer, &layer.blob, &layer.diff_id)?;
            transfer.progress.layer_done(&layer.blob);
            Ok(())
        })?;
        let part = |layer: &Wanted| Part { path: path(layer), size: layer.blob.size };
        Ok(layers.iter().map(part).collect())
    }

    /// Lets the image be found under the digest of its manifest.
    fn note_digest(&self, checked: &Checked) -> Result<(), ImportError> {
        let path = format!("digest/{}-{}", checked.digest.algorithm(), checked.digest.hex());
        if !self.exists(&path)? {
            self.small(Area::Shared, checked.id.as_str().as_bytes())?.publish(&path)?;
            self.sync_folder("digest")?;
        }
        Ok(())
    }
}

/// Names a stack of layers.
fn tree_id(parts: &[Part]) -> String {
    let mut hash = Sha512::new();
    for part in parts {
        hash.update(part.path.as_bytes());
        hash.update(b",");
    }
    let digits = crate::store::hex(&hash.finalize());
    format!("layers-sha512-{}", digits.get(..64).unwrap_or_default())
}
