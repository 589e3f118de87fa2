//! Manifests: which configuration and layers make an image.

use crate::descriptor::Descriptor;
use crate::document::{self, DocumentError, Members, bad};
use crate::index::Index;
use crate::media::{self, Kind};
use appc::json::Json;
use std::collections::BTreeMap;

/// The manifest of an image for one platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Its type, where it says so.
    pub media_type: Option<String>,
    /// How the image runs.
    pub config: Descriptor,
    /// What it consists of, lowest first.
    pub layers: Vec<Descriptor>,
    /// What is said about it.
    pub annotations: BTreeMap<String, String>,
}

/// What a reference leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Root {
    /// An image.
    Manifest(Manifest),
    /// Several images to choose from.
    Index(Index),
}

impl Root {
    /// Reads a document that is a manifest or an index. `promised` is the type its descriptor or the registry gave; an
    /// empty one promises nothing.
    ///
    /// # Errors
    /// See [`DocumentError`]; also when the document is of another kind than was promised.
    pub fn from_json(promised: &str, bytes: &[u8]) -> Result<Self, DocumentError> {
        let json = document::parse(bytes)?;
        let members = Members::of(&json, "document")?;
        let shape = shape(members)?;
        let promised = media::bare(promised);
        let own = members.text("mediaType")?;
        let generic = promised.is_empty() || media::kind(promised).is_none() && is_plain(promised);
        if !generic && own.is_some_and(|own| !own.eq_ignore_ascii_case(promised)) {
            let found = own.unwrap_or_default().to_owned();
            return Err(DocumentError::Type { wanted: format!("{promised:?}"), found });
        }
        if !generic && media::kind(promised) != Some(shape) {
            let wanted = name(shape).to_owned();
            return Err(DocumentError::Type { wanted, found: promised.to_owned() });
        }
        match shape {
            Kind::Index => Index::read(members).map(Self::Index),
            _ => Manifest::read(members).map(Self::Manifest),
        }
    }
}

/// Types that servers send when they do not know better.
fn is_plain(media_type: &str) -> bool {
    ["application/json", "application/octet-stream", "text/plain"]
        .iter()
        .any(|plain| media_type.eq_ignore_ascii_case(plain))
}

/// The kind of a document by its members; one that has those of two is refused.
pub(crate) fn shape(members: Members<'_>) -> Result<Kind, DocumentError> {
    let of_manifest = members.has("layers") || members.has("config");
    let of_index = members.has("manifests");
    let of_schema1 = members.has("fsLayers") || members.has("signatures");
    match (of_manifest, of_index, of_schema1) {
        (true, false, false) => Ok(Kind::Manifest),
        (false, true, false) => Ok(Kind::Index),
        (false, false, true) => Err(DocumentError::Schema1),
        (false, false, false) => Err(bad("document", "is neither a manifest nor an index")),
        _ => Err(DocumentError::Ambiguous),
    }
}

fn name(kind: Kind) -> &'static str {
    if kind == Kind::Index { "an index" } else { "an image manifest" }
}

/// Checks what every document says about itself, and returns its type.
pub(crate) fn head(members: Members<'_>, wanted: Kind) -> Result<Option<String>, DocumentError> {
    let found = shape(members)?;
    let own = members.text("mediaType")?;
    if found != wanted || own.is_some_and(|own| media::kind(own) != Some(wanted)) {
        let found = own.unwrap_or(name(found)).to_owned();
        return Err(DocumentError::Type { wanted: name(wanted).to_owned(), found });
    }
    match members.required("schemaVersion")? {
        Json::Number(version) if version.as_u64() == Some(2) => Ok(own.map(str::to_owned)),
        _ => Err(bad("schemaVersion", "must be 2")),
    }
}

impl Manifest {
    /// Reads and checks a manifest.
    ///
    /// # Errors
    /// See [`DocumentError`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, DocumentError> {
        let json = document::parse(bytes)?;
        Self::read(Members::of(&json, "manifest")?)
    }

    fn read(members: Members<'_>) -> Result<Self, DocumentError> {
        let media_type = head(members, Kind::Manifest)?;
        let config = Descriptor::read(members.required("config")?)?;
        if config.kind() != Some(Kind::Config) {
            let wanted = "an image configuration".to_owned();
            return Err(DocumentError::Type { wanted, found: config.media_type });
        }
        if !members.has("layers") {
            return Err(bad("layers", "is missing"));
        }
        let mut layers = Vec::new();
        for json in members.list("layers")? {
            let layer = Descriptor::read(json)?;
            if !matches!(layer.kind(), Some(Kind::Layer(_))) {
                let wanted = "a layer".to_owned();
                return Err(DocumentError::Type { wanted, found: layer.media_type });
            }
            layers.push(layer);
        }
        Ok(Self { media_type, config, layers, annotations: members.map("annotations")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(rest: &str) -> String {
        let digest = crate::Digest::of(b"{}");
        let entry =
            |kind: &str| format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":2}}"#);
        let (config, layer) = (entry(media::CONFIG), entry(media::LAYER));
        format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layer},{layer}]{rest}}}"#)
    }

    #[test]
    fn what_a_document_is() {
        let manifest = text("");
        let typed = text(&format!(r#","mediaType":"{}""#, media::MANIFEST));
        let index = r#"{"schemaVersion":2,"manifests":[]}"#;
        let kind = |promised: &str, text: &str| match Root::from_json(promised, text.as_bytes()) {
            Ok(Root::Manifest(manifest)) if manifest.layers.len() == 2 => "manifest",
            Ok(Root::Index(_)) => "index",
            Ok(Root::Manifest(_)) => "empty manifest",
            Err(_) => "refused",
        };
        for (promised, text, wanted) in [
            ("", manifest.as_str(), "manifest"),
            (media::MANIFEST, &manifest, "manifest"),
            (media::DOCKER_MANIFEST, &manifest, "manifest"),
            ("application/json", &manifest, "manifest"),
            ("application/vnd.oci.image.manifest.v1+json; charset=utf-8", &typed, "manifest"),
            (media::DOCKER_MANIFEST, &typed, "refused"),
            (media::INDEX, &typed, "refused"),
            (media::INDEX, &manifest, "refused"),
            (media::INDEX, index, "index"),
            (media::DOCKER_LIST, index, "index"),
            ("", index, "index"),
            (media::MANIFEST, index, "refused"),
            (media::CONFIG, &manifest, "refused"),
            ("", &text(r#","manifests":[]"#), "refused"),
            ("", &text(r#","fsLayers":[]"#), "refused"),
            ("", r#"{"schemaVersion":1,"fsLayers":[],"history":[]}"#, "refused"),
            ("", r#"{"schemaVersion":2}"#, "refused"),
            ("", "", "refused"),
        ] {
            assert_eq!(kind(promised, text), wanted, "{promised}: {text}");
        }
    }

    #[test]
    fn what_is_no_manifest() {
        let good = text("");
        Manifest::from_json(good.as_bytes()).unwrap();
        for (old, new) in [
            (r#""schemaVersion":2"#, r#""schemaVersion":3"#),
            (r#""schemaVersion":2"#, r#""schemaVersion":"2""#),
            (r#""schemaVersion":2,"#, ""),
            (r#""layers""#, r#""Layers""#),
            (r#""layers""#, r#""other""#),
            (r#""config""#, r#""other""#),
            (r#""size":2"#, r#""size":-1"#),
            (r#""size":2"#, r#""size":1e3"#),
            ("sha256:", "sha256:A"),
            (media::CONFIG, media::LAYER),
            (media::LAYER, "application/vnd.example.layer"),
            (r#"{"schemaVersion""#, r#"{"layers":[],"schemaVersion""#),
        ] {
            let bad = good.replace(old, new);
            assert_ne!(bad, good, "{old}");
            Manifest::from_json(bad.as_bytes()).expect_err(&bad);
        }
        // Unknown properties do not matter, and layers may be none.
        Manifest::from_json(text(r#","subject":null,"new":[{}]"#).as_bytes()).unwrap();
        let at = good.find(r#""layers""#).unwrap_or_default();
        let none = format!(r#"{}"layers":[]}}"#, good.split_at(at).0);
        assert!(Manifest::from_json(none.as_bytes()).unwrap().layers.is_empty());
    }
}
