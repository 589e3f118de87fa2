//! OCI layouts of the same trees, for references that name them.

use crate::image::{Image, append, arch};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::Path;

/// Writes a layout with one image of one layer and this `config` member; gives the digest of its manifest.
pub fn layout(folder: &Path, tag: &str, image: &Image, config: &Value) -> String {
    let mut tar = tar::Builder::new(Vec::new());
    for entry in &image.entries {
        append(&mut tar, &entry.path, &entry.member, entry.owner);
    }
    let layer = tar.into_inner().unwrap();
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let digest = digest_of(&layer);
    let document = json!({
        "architecture": arch(), "os": "linux", "config": config,
        "rootfs": { "type": "layers", "diff_ids": [digest] },
    });
    let kind = |name: &str| format!("application/vnd.oci.image.{name}");
    let layer = put(&blobs, &layer, &kind("layer.v1.tar"));
    let document = put(&blobs, document.to_string().as_bytes(), &kind("config.v1+json"));
    let manifest = json!({
        "schemaVersion": 2, "mediaType": kind("manifest.v1+json"), "config": document, "layers": [layer],
    });
    let mut manifest = put(&blobs, manifest.to_string().as_bytes(), &kind("manifest.v1+json"));
    let name = manifest["digest"].as_str().unwrap().to_owned();
    manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    fs::write(folder.join("index.json"), index.to_string()).unwrap();
    fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    name
}

fn put(blobs: &Path, bytes: &[u8], kind: &str) -> Value {
    let digest = digest_of(bytes);
    fs::write(blobs.join(digest.strip_prefix("sha256:").unwrap()), bytes).unwrap();
    json!({ "mediaType": kind, "digest": digest, "size": bytes.len() })
}

fn digest_of(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    let hex: Vec<String> = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{}", hex.concat())
}
