//! OCI layouts of the same trees, for references that name them.

use crate::image::{Image, append, arch};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::Path;

/// Writes a layout with one image of one layer and this `config` member; gives the digest of its manifest.
pub fn layout(folder: &Path, tag: &str, image: &Image, config: &Value) -> String {
    let layer = layer_of(image);
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
    finish(folder, &manifest);
    name
}

/// Writes a layout with an image of another one whose top layer is replaced by this tree; gives the digest of that layer.
pub fn with_other_top(folder: &Path, tag: &str, of: (&Path, &str), image: &Image) -> String {
    let blob = |digest: &Value| {
        let hex = digest.as_str().unwrap().strip_prefix("sha256:").unwrap();
        of.0.join("blobs/sha256").join(hex)
    };
    let read = |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let index = read(&of.0.join("index.json"));
    let name = "org.opencontainers.image.ref.name";
    let mut entries = index["manifests"].as_array().unwrap().iter();
    let found = entries.find(|entry| entry["annotations"][name] == of.1).unwrap();
    let mut manifest = read(&blob(&found["digest"]));
    let mut document = read(&blob(&manifest["config"]["digest"]));

    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let layers = manifest["layers"].as_array_mut().unwrap();
    layers.pop();
    for layer in &*layers {
        let from = blob(&layer["digest"]);
        std::os::unix::fs::symlink(&from, blobs.join(from.file_name().unwrap())).unwrap();
    }
    let tar = layer_of(image);
    let top = put(&blobs, &tar, "application/vnd.oci.image.layer.v1.tar");
    let digest = top["digest"].as_str().unwrap().to_owned();
    layers.push(top);
    let ids = document["rootfs"]["diff_ids"].as_array_mut().unwrap();
    ids.pop();
    ids.push(json!(digest));
    let kind = manifest["config"]["mediaType"].as_str().unwrap().to_owned();
    manifest["config"] = put(&blobs, document.to_string().as_bytes(), &kind);
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let mut manifest = put(&blobs, manifest.to_string().as_bytes(), kind);
    manifest["annotations"] = json!({ name: tag });
    finish(folder, &manifest);
    digest
}

/// Changes the configuration, and then the manifest, of the only image of a layout, whatever they say afterwards.
pub fn forge(
    folder: &Path,
    tag: &str,
    configuration: impl FnOnce(&mut Value),
    manifest: impl FnOnce(&mut Value),
) {
    let blobs = folder.join("blobs/sha256");
    let read = |of: &Value| -> Value {
        let hex = of["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        serde_json::from_slice(&fs::read(blobs.join(hex)).unwrap()).unwrap()
    };
    let index: Value =
        serde_json::from_slice(&fs::read(folder.join("index.json")).unwrap()).unwrap();
    let mut forged = read(&index["manifests"][0]);
    let mut document = read(&forged["config"]);
    configuration(&mut document);
    let kind = forged["config"]["mediaType"].as_str().unwrap().to_owned();
    forged["config"] = put(&blobs, document.to_string().as_bytes(), &kind);
    manifest(&mut forged);
    let kind = forged["mediaType"].as_str().unwrap().to_owned();
    let mut entry = put(&blobs, forged.to_string().as_bytes(), &kind);
    entry["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
    finish(folder, &entry);
}

/// The uncompressed layer that holds the tree of an image.
fn layer_of(image: &Image) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for entry in &image.entries {
        append(&mut tar, &entry.path, &entry.member, entry.owner);
    }
    tar.into_inner().unwrap()
}

fn finish(folder: &Path, manifest: &Value) {
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    fs::write(folder.join("index.json"), index.to_string()).unwrap();
    fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

fn put(blobs: &Path, bytes: &[u8], kind: &str) -> Value {
    let digest = digest_of(bytes);
    fs::write(blobs.join(digest.strip_prefix("sha256:").unwrap()), bytes).unwrap();
    json!({ "mediaType": kind, "digest": digest, "size": bytes.len() })
}

/// The digest of some bytes, as documents name it.
pub fn digest_of(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    let hex: Vec<String> = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{}", hex.concat())
}
