//! What a registry sends and what the disk keeps, where images have layers in common.

use serde_json::Value;
use std::fs;
use testkit::program::tool;
use testkit::{Image, NSPAWN, Registry, Rkt, corpus, needs, oci};

/// Fetches an image whatever the store has of it.
#[track_caller]
fn update(rkt: &Rkt, image: &str) -> String {
    let words = ["--insecure-options=image,http", "fetch", "--full", "--pull-policy=update", image];
    rkt.run(&words).ok().text().to_owned()
}

/// The bytes that the data folder takes on the disk.
fn used(rkt: &Rkt) -> u64 {
    let output = tool(&["du", "-s", "--block-size=1", rkt.data.to_str().unwrap()]);
    output.split('\t').next().unwrap().parse().unwrap()
}

/// The digests of the layers of an image of the corpus.
fn layers(name: &str) -> Vec<String> {
    let layout = corpus::layout(name);
    let read = |path: &str| -> Value {
        serde_json::from_slice(&fs::read(layout.join(path)).unwrap()).unwrap()
    };
    let index = read("index.json");
    let tag = "org.opencontainers.image.ref.name";
    let mut entries = index["manifests"].as_array().unwrap().iter();
    let entry = entries.find(|entry| entry["annotations"][tag] == name).unwrap();
    let digest = entry["digest"].as_str().unwrap().replace(':', "/");
    let manifest = read(&format!("blobs/{digest}"));
    let all = manifest["layers"].as_array().unwrap().iter();
    all.map(|layer| layer["digest"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn shared_layers_are_sent_and_stored_once() {
    needs!(Root);
    let rkt = Rkt::new();
    let mut registry = Registry::start(&rkt.path("registry"));
    for name in ["nginx", "redis"] {
        registry.push(&corpus::layout(name), name, name);
    }
    let (first, second) = (layers("nginx"), layers("redis"));
    assert_eq!((first.len(), second.len()), (2, 2));
    assert_eq!(first[0], second[0]);
    registry.sent();

    update(&rkt, &registry.image("nginx"));
    let sent = registry.sent();
    let alone = used(&rkt);
    for layer in &first {
        assert_eq!(sent.iter().filter(|digest| *digest == layer).count(), 1, "{sent:?}");
    }
    update(&rkt, &registry.image("redis"));
    let sent = registry.sent();
    let both = used(&rkt);
    assert!(sent.contains(&second[1]), "{sent:?}");
    assert!(!sent.contains(&second[0]), "{sent:?}");

    // An image alone shares nothing; of two each has only its top layer for itself.
    let list = rkt.run(&["image", "list", "--format=json"]).ok().json();
    let sizes = |key: &str| -> Vec<u64> {
        list.as_array().unwrap().iter().map(|image| image[key].as_u64().unwrap()).collect()
    };
    let (whole, own) = (sizes("size"), sizes("unique_size"));
    assert_eq!((whole.len(), own.len()), (2, 2), "{list}");
    let base = whole[0] - own[0];
    assert_eq!(base, whole[1] - own[1], "{list}");
    assert!(base > 100 << 20, "{list}");
    let added = both - alone;
    assert!(added < base / 2, "the second image takes {added} bytes more: {list}");
    let smaller = own[0].min(own[1]);
    assert!(added > smaller / 2, "the second image takes only {added} bytes more: {list}");
}

#[test]
fn only_the_changed_layer_is_sent() {
    needs!(Root);
    let rkt = Rkt::new();
    let mut registry = Registry::start(&rkt.path("registry"));
    let layout = corpus::layout("redis");
    registry.push(&layout, "redis", "web");
    let reference = registry.image("web");
    let old = update(&rkt, &reference);
    registry.sent();

    let change = Image::empty("change").file("etc/changed", "as it is now\n");
    let other = rkt.path("other");
    let top = oci::with_other_top(&other, "redis", (&layout, "redis"), &change);
    registry.push(&other, "redis", "web");
    registry.sent();
    let new = update(&rkt, &reference);
    assert_ne!(new, old);
    let sent = registry.sent();
    let unchanged = layers("redis");
    assert_eq!(sent.iter().filter(|digest| **digest == top).count(), 1, "{sent:?}");
    // Beside it only the configuration.
    assert_eq!(sent.len(), 2, "{sent:?}");
    assert!(!unchanged.iter().any(|layer| sent.contains(layer)), "{sent:?}");

    // What is there already is not asked for at all.
    assert_eq!(update(&rkt, &reference), new);
    assert_eq!(registry.sent(), Vec::<String>::new());
    let output = rkt.pod(&NSPAWN, &[&new, "--exec=/bin/cat", "--user=root", "--", "/etc/changed"]);
    assert_eq!(output.ok().stdout, "as it is now\n");
}
