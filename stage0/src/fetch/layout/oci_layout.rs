//! The OCI image layout.

use super::files::Files;
use super::{Found, LayoutError, called, listed};
use crate::fetch::limits;
use crate::store::{BlobSource, OciImage, SourceError};
use oci::{Descriptor, Index, Platform, Root};
use serde::Deserialize;
use std::io::{Cursor, Read};

/// The annotation that tags an image.
const NAME: &str = "org.opencontainers.image.ref.name";
/// The one that names it in full, in what containerd and docker write.
const FULL_NAME: &str = "io.containerd.image.name";

#[derive(Deserialize)]
struct Marker {
    #[serde(rename = "imageLayoutVersion")]
    version: String,
}

/// The blobs of a layout.
struct Blobs<'f>(&'f Files);

impl BlobSource for Blobs<'_> {
    fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send>, SourceError> {
        match &blob.data {
            Some(data) => Ok(Box::new(Cursor::new(data.clone()))),
            None => Ok(self.0.open(&path(blob))?),
        }
    }
}

fn path(blob: &Descriptor) -> String {
    format!("blobs/{}/{}", blob.digest.algorithm(), blob.digest.hex())
}

/// The image of a tag, or the only one.
pub(super) fn find<'f>(
    files: &'f Files,
    stem: &str,
    tag: Option<&str>,
) -> Result<Found<'f>, LayoutError> {
    check_marker(files)?;
    let document = |name: &str| {
        let name = name.to_owned();
        move |source: Box<dyn std::error::Error + Send + Sync>| LayoutError::Document {
            name,
            source,
        }
    };
    let bytes = files.read("index.json", limits::DOCUMENT)?;
    let index = Index::from_json(&bytes).map_err(|error| document("index.json")(error.into()))?;
    let chosen = by_tag(index, tag)?;
    let name = chosen.manifests.first().and_then(name_of).map(str::to_owned);
    let manifest = oci::index::find(&chosen, &Platform::host(), &mut |entry| read(files, entry))
        .map_err(|error| document("index.json")(error.into()))?;
    let bytes = read(files, &manifest)?;
    let bad = document(manifest.digest.as_str());
    manifest.check(&bytes).map_err(|error| document(manifest.digest.as_str())(error.into()))?;
    match Root::from_json(&manifest.media_type, &bytes) {
        Ok(Root::Manifest(_)) => {}
        Ok(Root::Index(_)) => return Err(bad("it is an index, not a manifest".into())),
        Err(error) => return Err(bad(error.into())),
    }
    let (repository, tag) = called(name.as_deref(), stem);
    let image = OciImage {
        manifest: bytes,
        media_type: manifest.media_type,
        registry: String::new(),
        repository,
        tag,
        original: None,
    };
    Ok(Found { image, blobs: Box::new(Blobs(files)) })
}

fn check_marker(files: &Files) -> Result<(), LayoutError> {
    let bytes = match files.read("oci-layout", limits::MARKER) {
        Err(LayoutError::Missing(_)) => {
            return Err(LayoutError::Marker("there is no oci-layout in it".to_owned()));
        }
        other => other?,
    };
    let marker: Marker =
        serde_json::from_slice(&bytes).map_err(|error| LayoutError::Marker(error.to_string()))?;
    if marker.version.starts_with("1.") {
        Ok(())
    } else {
        Err(LayoutError::Marker(format!("its version is {:?}", marker.version)))
    }
}

fn read(files: &Files, blob: &Descriptor) -> Result<Vec<u8>, LayoutError> {
    match &blob.data {
        Some(data) => Ok(data.clone()),
        None => files.read(&path(blob), limits::DOCUMENT),
    }
}

fn name_of(entry: &Descriptor) -> Option<&str> {
    entry.annotations.get(FULL_NAME).or_else(|| entry.annotations.get(NAME)).map(String::as_str)
}

/// The entries of one tag; they are one image, maybe for several platforms.
fn by_tag(mut index: Index, tag: Option<&str>) -> Result<Index, LayoutError> {
    let short = |entry: &Descriptor| entry.annotations.get(NAME).cloned();
    let all: Vec<Option<String>> = index.manifests.iter().map(short).collect();
    let tags = || listed(all.iter().map(Option::as_deref));
    if index.manifests.is_empty() {
        return Err(LayoutError::Empty);
    }
    if let Some(tag) = tag {
        index.manifests.retain(|entry| is_tagged(entry, tag));
        if index.manifests.is_empty() {
            return Err(LayoutError::NoTag { tag: tag.to_owned(), tags: tags() });
        }
    }
    let first = index.manifests.first().and_then(name_of).map(str::to_owned);
    if index.manifests.iter().any(|entry| name_of(entry) != first.as_deref()) {
        return Err(LayoutError::Several(tags()));
    }
    Ok(index)
}

/// Whether an entry has this tag, which may be the end of a whole reference.
fn is_tagged(entry: &Descriptor, tag: &str) -> bool {
    [NAME, FULL_NAME]
        .iter()
        .filter_map(|name| entry.annotations.get(*name))
        .any(|name| name == tag || name.rsplit_once(':').is_some_and(|(_, end)| end == tag))
}
