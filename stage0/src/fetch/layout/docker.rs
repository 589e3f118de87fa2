//! What `docker save` writes: configurations, layers, and a list that says which belong together. A manifest is made of
//! them here; the same archive gives the same manifest, and so the same image id.

use super::files::Files;
use super::{Found, LayoutError, called, listed, oci_layout};
use crate::fetch::limits;
use crate::store::{BlobSource, OciImage, SourceError};
use archive::members::Place;
use archive::stream::{Compression, Sha256Reader, drain, sniff};
use oci::{Descriptor, Digest, ImageConfig, media};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{Cursor, Read};

const LIST: &str = "manifest.json";

/// One image of the list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl Entry {
    fn tags(&self) -> &[String] {
        self.repo_tags.as_deref().unwrap_or_default()
    }
}

/// The manifest that the archive lacks.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Made<'m> {
    schema_version: u32,
    media_type: &'static str,
    config: Part<'m>,
    layers: Vec<Part<'m>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Part<'m> {
    media_type: &'static str,
    digest: &'m str,
    size: u64,
}

struct Layer {
    media_type: &'static str,
    digest: Digest,
    place: Place,
}

/// Blobs by what was found out about them.
struct Blobs<'f> {
    files: &'f Files,
    config: (Digest, Vec<u8>),
    places: BTreeMap<Digest, Place>,
}

impl BlobSource for Blobs<'_> {
    fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send>, SourceError> {
        if blob.digest == self.config.0 {
            return Ok(Box::new(Cursor::new(self.config.1.clone())));
        }
        let place = self.places.get(&blob.digest).copied();
        let place = place.ok_or_else(|| LayoutError::Missing(blob.digest.to_string()))?;
        Ok(Box::new(self.files.window(place)))
    }
}

/// The image of a tag, or the only one.
pub(super) fn find<'f>(
    files: &'f Files,
    stem: &str,
    tag: Option<&str>,
) -> Result<Found<'f>, LayoutError> {
    if !files.has(LIST) && files.has("index.json") {
        return oci_layout::find(files, stem, tag);
    }
    let document = |name: &str, source: Box<dyn std::error::Error + Send + Sync>| {
        LayoutError::Document { name: name.to_owned(), source }
    };
    let bytes = files.read(LIST, limits::ARCHIVE_LIST)?;
    let list: Vec<Entry> =
        serde_json::from_slice(&bytes).map_err(|error| document(LIST, error.into()))?;
    let (entry, name) = choose(&list, tag)?;
    let config = files.read(&entry.config, limits::DOCUMENT)?;
    let parsed =
        ImageConfig::from_json(&config).map_err(|error| document(&entry.config, error.into()))?;
    if parsed.diff_ids.len() != entry.layers.len() {
        let (known, listed) = (parsed.diff_ids.len(), entry.layers.len());
        let problem = format!("it describes {known} layers, but {listed} are listed");
        return Err(document(&entry.config, problem.into()));
    }
    let layers = entry.layers.iter().zip(&parsed.diff_ids);
    let layers: Vec<Layer> =
        layers.map(|(name, diff_id)| layer(files, name, diff_id)).collect::<Result<_, _>>()?;
    let digest = Digest::of(&config);
    let (repository, tag) = called(name, stem);
    let image = OciImage {
        manifest: manifest(&digest, config.len(), &layers),
        media_type: media::MANIFEST.to_owned(),
        registry: String::new(),
        repository,
        tag,
        original: None,
    };
    let places = layers.into_iter().map(|layer| (layer.digest, layer.place)).collect();
    Ok(Found { image, blobs: Box::new(Blobs { files, config: (digest, config), places }) })
}

/// The entry that is wanted, with its name.
fn choose<'l>(
    list: &'l [Entry],
    tag: Option<&str>,
) -> Result<(&'l Entry, Option<&'l str>), LayoutError> {
    let tags = || {
        let of = |entry: &'l Entry| {
            let none = entry.tags().is_empty().then_some(None);
            entry.tags().iter().map(|tag| Some(tag.as_str())).chain(none)
        };
        listed(list.iter().flat_map(of))
    };
    let named = |name: &str| match tag {
        Some(tag) => name == tag || name.rsplit_once(':').is_some_and(|(_, end)| end == tag),
        None => true,
    };
    let mut found = list.iter().filter_map(|entry| {
        let name = entry.tags().iter().find(|name| named(name)).map(String::as_str);
        (tag.is_none() || name.is_some()).then_some((entry, name))
    });
    match (found.next(), found.next(), tag) {
        (Some(only), None, _) => Ok(only),
        (Some(_), Some(_), _) => Err(LayoutError::Several(tags())),
        (None, _, Some(tag)) => Err(LayoutError::NoTag { tag: tag.to_owned(), tags: tags() }),
        (None, _, None) => Err(LayoutError::Empty),
    }
}

/// What a layer's blob is. Where it is not compressed its digest is known; that it is true is checked on import.
fn layer(files: &Files, name: &str, diff_id: &Digest) -> Result<Layer, LayoutError> {
    let failed = |source: std::io::Error| LayoutError::Document {
        name: name.to_owned(),
        source: source.into(),
    };
    let place = files.place(name)?;
    let (kind, mut stream) = sniff(files.window(place)).map_err(failed)?;
    let media_type = match kind {
        Compression::Gzip => media::LAYER_GZIP,
        Compression::Zstd => media::LAYER_ZSTD,
        Compression::None | Compression::Bzip2 | Compression::Xz => media::LAYER,
    };
    let digest = if kind == Compression::None {
        diff_id.clone()
    } else {
        let mut hash = Sha256Reader::new(&mut stream);
        drain(&mut hash).map_err(failed)?;
        let (hash, _) = hash.finish();
        Digest::sha256(&<[u8; 32]>::try_from(hash).unwrap_or_default())
    };
    Ok(Layer { media_type, digest, place })
}

fn manifest(config: &Digest, size: usize, layers: &[Layer]) -> Vec<u8> {
    let part = |layer: &'_ Layer| (layer.media_type, layer.place.size);
    let made = Made {
        schema_version: 2,
        media_type: media::MANIFEST,
        config: Part {
            media_type: media::CONFIG,
            digest: config.as_str(),
            size: u64::try_from(size).unwrap_or(u64::MAX),
        },
        layers: layers
            .iter()
            .map(|layer| {
                let (media_type, size) = part(layer);
                Part { media_type, digest: layer.digest.as_str(), size }
            })
            .collect(),
    };
    // Texts and numbers always have a JSON form.
    serde_json::to_vec(&made).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(tags: &[&[&str]]) -> Vec<Entry> {
        let entry = |tags: &&[&str]| Entry {
            config: String::new(),
            repo_tags: Some(tags.iter().map(|tag| (*tag).to_owned()).collect()),
            layers: Vec::new(),
        };
        tags.iter().map(entry).collect()
    }

    #[test]
    fn chooses_by_tag_or_the_only_one() {
        for (tags, tag, wanted) in [
            (&[&["a:1", "a:2"][..]][..], None, Some("a:1")),
            (&[&["a:1", "a:2"]], Some("2"), Some("a:2")),
            (&[&["a:1"], &["b:2"]], Some("2"), Some("b:2")),
            (&[&["a:1"], &["b:2"]], Some("b:2"), Some("b:2")),
        ] {
            let list = list(tags);
            assert_eq!(choose(&list, tag).unwrap().1, wanted);
        }
        let several = choose(&list(&[&["a:1"], &["b:2"], &[]]), None).unwrap_err();
        assert!(several.to_string().ends_with("tags: (none), a:1, b:2"), "{several}");
        let none = choose(&list(&[&["a:1"]]), Some("x")).unwrap_err();
        assert!(matches!(none, LayoutError::NoTag { .. }));
        assert!(matches!(choose(&[], None), Err(LayoutError::Empty)));
        let same = choose(&list(&[&["a:1"], &["b:1"]]), Some("1")).unwrap_err();
        assert!(matches!(same, LayoutError::Several(_)));
    }
}
