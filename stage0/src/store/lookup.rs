//! Finding images: by id, by digest, by name; and what is shown of them.

use super::record::{ImageKind, Record, image_path, time};
use super::{Store, StoreError};
use appc::{AcIdentifier, IdPrefix, ImageId, ImageManifest, Label};
use rustix::fs::AtFlags;
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

/// Digits of an OCI digest that a look-up needs at least.
const DIGEST_DIGITS: usize = 12;

/// An image in the store.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its id.
    pub id: ImageId,
    /// In which form it came.
    pub kind: ImageKind,
    /// Its name.
    pub name: String,
    /// Its `version` label.
    pub version: Option<String>,
    /// When it came.
    pub import_time: SystemTime,
    /// When it was last fetched or prepared.
    pub last_used: SystemTime,
    /// The bytes of everything it needs, shared or not.
    pub size: u64,
    pub(crate) record: Record,
}

impl Image {
    /// The image manifest, in appc's words.
    pub fn manifest(&self) -> &[u8] {
        self.record.manifest.as_bytes()
    }

    /// The name as listings show it: with the version, if it has one.
    pub fn shown_name(&self) -> String {
        match &self.version {
            Some(version) => format!("{}:{version}", self.name),
            None => self.name.clone(),
        }
    }

    /// What the user asked for when it came.
    pub fn source(&self) -> &str {
        &self.record.source
    }
}

/// For each image, the bytes of what no other of these images has.
pub fn unique_sizes(images: &[Image]) -> Vec<u64> {
    let mut users: BTreeMap<&str, u32> = BTreeMap::new();
    for image in images {
        for part in &image.record.parts {
            *users.entry(part.path.as_str()).or_default() += 1;
        }
    }
    let unique = |image: &Image| {
        let own =
            image.record.parts.iter().filter(|part| users.get(part.path.as_str()) == Some(&1));
        own.map(|part| part.size).fold(0, u64::saturating_add)
    };
    images.iter().map(unique).collect()
}

pub(super) fn name_path(name: &AcIdentifier) -> String {
    format!("name/{}", super::hex(&Sha256::digest(name.as_str().as_bytes())))
}

/// Labels as the message about a missing image shows them.
fn shown(labels: &[Label]) -> String {
    let mut text = String::new();
    for label in labels {
        let comma = if text.is_empty() { "" } else { ", " };
        // Writing to a String cannot fail.
        _ = write!(text, "{comma}{:?}:{:?}", label.name.as_str(), label.value);
    }
    text
}

impl Store {
    /// Whether an image is here.
    pub fn has(&self, id: &ImageId) -> Result<bool, StoreError> {
        self.exists(&image_path(id))
    }

    /// The image whose id begins so (`sha512-…`), or whose OCI manifest's digest does (`sha256:…`).
    pub fn find_id(&self, text: &str) -> Result<ImageId, StoreError> {
        if let Some(digits) = text.strip_prefix("sha256:") {
            return self.find_digest(text, digits);
        }
        let prefix = IdPrefix::parse(text).map_err(|error| match error {
            appc::BadId::Short => StoreError::IdTooShort,
            _ => StoreError::NoSuchId,
        })?;
        if let Some(whole) = prefix.whole() {
            return if self.has(&whole)? { Ok(whole) } else { Err(StoreError::NoSuchId) };
        }
        let ids = self.ids()?;
        one(text, ids.into_iter().filter(|id| prefix.matches(id)))
    }

    fn find_digest(&self, text: &str, digits: &str) -> Result<ImageId, StoreError> {
        if digits.len() < DIGEST_DIGITS {
            return Err(StoreError::IdTooShort);
        }
        let start = format!("sha256-{digits}");
        let names = self.names("digest")?.into_iter().filter(|name| name.starts_with(&start));
        let mut found = Vec::new();
        for name in names {
            let path = format!("digest/{name}");
            let id = self.read(&path)?.and_then(|bytes| String::from_utf8(bytes).ok());
            if let Some(id) = id.and_then(|id| ImageId::parse(id.trim()).ok())
                && self.has(&id)?
            {
                found.push(id);
            }
        }
        one(text, found.into_iter())
    }

    /// The image of this name with at least these labels; of several the one that came last.
    pub fn find_name(&self, name: &AcIdentifier, labels: &[Label]) -> Result<ImageId, StoreError> {
        let text = self.read(&name_path(name))?.unwrap_or_default();
        let mut best: Option<(u64, ImageId)> = None;
        for line in String::from_utf8_lossy(&text).lines() {
            let Ok(id) = ImageId::parse(line) else { continue };
            let Some(record) = self.record(&id)? else { continue };
            let Ok(manifest) = ImageManifest::from_json(record.manifest.as_bytes()) else {
                continue;
            };
            let wanted = labels.iter().all(|label| manifest.labels.contains(label));
            let newer = best.as_ref().is_none_or(|(time, _)| record.imported > *time);
            if manifest.name == *name && wanted && newer {
                best = Some((record.imported, id));
            }
        }
        best.map(|(_, id)| id)
            .ok_or_else(|| StoreError::NotFound { name: name.to_string(), labels: shown(labels) })
    }

    /// One image.
    pub fn image(&self, id: &ImageId) -> Result<Image, StoreError> {
        self.load(id)?.ok_or(StoreError::NoSuchId)
    }

    /// All images, those that came first first. Records that cannot be read are named in the log and left out.
    pub fn images(&self) -> Result<Vec<Image>, StoreError> {
        let mut images = Vec::new();
        for id in self.ids()? {
            match self.load(&id) {
                Ok(image) => images.extend(image),
                Err(error @ StoreError::Record { .. }) => log::warn!("{error}"),
                Err(error) => return Err(error),
            }
        }
        images.sort_by(|a, b| (a.import_time, &a.id).cmp(&(b.import_time, &b.id)));
        Ok(images)
    }

    pub(crate) fn ids(&self) -> Result<Vec<ImageId>, StoreError> {
        Ok(self.names("image")?.iter().filter_map(|name| ImageId::parse(name).ok()).collect())
    }

    fn load(&self, id: &ImageId) -> Result<Option<Image>, StoreError> {
        let path = image_path(id);
        let used = match rustix::fs::statat(self.cas(), &path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => found,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(self.failed("stat", &path, error)),
        };
        let Some(record) = self.record(id)? else { return Ok(None) };
        let manifest = ImageManifest::from_json(record.manifest.as_bytes())
            .map_err(|error| StoreError::record(&path, &error))?;
        let import_time = time(record.imported);
        let seconds = u64::try_from(used.st_mtime).unwrap_or_default();
        let nanos = u32::try_from(used.st_mtime_nsec).unwrap_or_default();
        let used = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos.min(999_999_999));
        Ok(Some(Image {
            id: id.clone(),
            kind: record.kind,
            name: manifest.name.to_string(),
            version: manifest.label("version").map(str::to_owned),
            import_time,
            // The kernel's clock for files is a little behind the other one.
            last_used: used.max(import_time),
            size: record.parts.iter().map(|part| part.size).fold(0, u64::saturating_add),
            record,
        }))
    }
}

fn one(text: &str, mut found: impl Iterator<Item = ImageId>) -> Result<ImageId, StoreError> {
    match (found.next(), found.next()) {
        (Some(id), None) => Ok(id),
        (None, _) => Err(StoreError::NoSuchId),
        (Some(_), Some(_)) => Err(StoreError::AmbiguousId(text.to_owned())),
    }
}
