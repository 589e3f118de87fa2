//! Fetching from servers that are well, and from servers that are not: what comes out, what is left, how long it takes.

mod aci;
mod registry;
mod server;

use super::*;
use crate::store::tests::samples::{Oci, Place};
use std::time::Instant;

/// What all but a few tests give up.
const CARELESS: Insecure = Insecure {
    image: true,
    tls: false,
    http: true,
    pubkey: false,
    capabilities: false,
    paths: false,
    seccomp: false,
};

fn fetch_as(
    store: &Store,
    insecure: Insecure,
    policy: PullPolicy,
    text: &str,
) -> Result<ImageId, FetchError> {
    let image = ImageRef::parse(text).unwrap();
    Fetcher::new(store, insecure, policy, &Quiet).fetch(&image, None)
}

fn fetch(store: &Store, text: &str) -> Result<ImageId, FetchError> {
    fetch_as(store, CARELESS, PullPolicy::Update, text)
}

/// What a user reads: the innermost cause.
fn innermost(error: &FetchError) -> String {
    let mut error: &dyn std::error::Error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// Fetches what must be refused, soon, for this reason, leaving nothing.
fn refused(place: &Place, text: &str, reason: &str) {
    let store = place.store();
    let begun = Instant::now();
    let message = innermost(&fetch(&store, text).unwrap_err());
    assert!(message.contains(reason), "{text}: {message}");
    assert!(!message.contains('\n'), "{message}");
    assert!(begun.elapsed().as_secs() < 25, "{text} took {:?}", begun.elapsed());
    for folder in ["image", "name", "remote", "blob", "tmp", "layer", "staging"] {
        let names = place.names(&format!("cas/{folder}"));
        assert!(names.is_empty(), "{text} leaves {names:?} in {folder}");
    }
}

#[test]
fn ids_and_names_are_looked_up_and_never_fetched() {
    let place = Place::new("fetch-names");
    let store = place.store();
    let id = crate::store::tests::samples::aci(&store, "example.com/a", "1", "x");
    for (text, policy) in [
        (id.as_str(), PullPolicy::Update),
        (id.short(12), PullPolicy::Never),
        ("example.com/a", PullPolicy::New),
        ("example.com/a:1", PullPolicy::Never),
    ] {
        let found = fetch_as(&store, Insecure::default(), policy, text).unwrap();
        assert_eq!(found, id, "{text}");
    }
    for (text, policy, message) in [
        ("example.com/a", PullPolicy::Update, "discovery is not available yet"),
        ("example.com/b", PullPolicy::New, "discovery is not available yet"),
        (
            "example.com/a:2",
            PullPolicy::Never,
            "unable to fetch image from image name \"example.com/a:2\": either image was not found",
        ),
        ("sha512-0123", PullPolicy::Update, "no image IDs found"),
    ] {
        let error = fetch_as(&store, CARELESS, policy, text).unwrap_err();
        assert!(innermost(&error).contains(message), "{text}: {error}");
    }
}

#[test]
fn a_file_is_taken_only_without_the_wish_for_a_signature() {
    let place = Place::new("fetch-file");
    let store = place.store();
    let path = place.0.join("a.aci");
    let text = path.to_str().unwrap();
    let missing = fetch(&store, text).unwrap_err();
    assert_eq!(innermost(&missing), format!("open {text}: no such file or directory"));
    let manifest = crate::store::tests::samples::manifest("example.com/a", "1");
    std::fs::write(&path, crate::store::tests::samples::aci_bytes(&manifest, &[])).unwrap();
    let careful = |store| {
        let error = fetch_as(store, Insecure::default(), PullPolicy::Update, text).unwrap_err();
        (innermost(&error), error.hint())
    };
    let hint = Some("try --insecure-options=image");
    assert_eq!(careful(&store), (format!("open {text}.asc: no such file or directory"), hint));
    std::fs::write(format!("{text}.asc"), "x").unwrap();
    assert_eq!(careful(&store), ("signatures cannot be verified yet".to_owned(), hint));
    assert!(store.images().unwrap().is_empty());
    let id = fetch(&store, text).unwrap();
    assert_eq!(fetch_as(&store, CARELESS, PullPolicy::Never, text).unwrap(), id);
}

#[test]
fn layouts_are_taken_by_tag() {
    let place = Place::new("fetch-layout");
    let store = place.store();
    let (one, two) = (Oci::new(&[&[("a", b"1")]]), Oci::new(&[&[("a", b"2")]]));
    let folder = place.0.join("layout");
    let mut entries = Vec::new();
    for (oci, tag) in [(&one, "one"), (&two, "2.0")] {
        let blobs = folder.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).unwrap();
        let write = |bytes: &[u8]| {
            let digest = oci::Digest::of(bytes);
            std::fs::write(blobs.join(digest.hex()), bytes).unwrap();
            digest
        };
        oci.blobs.values().for_each(|blob| drop(write(blob)));
        let (digest, size) = (write(&oci.manifest), oci.manifest.len());
        entries.push(format!(
            r#"{{"mediaType":"{}","digest":"{digest}","size":{size},
                "annotations":{{"org.opencontainers.image.ref.name":"{tag}"}}}}"#,
            oci::media::MANIFEST
        ));
    }
    let index = |entries: &[String]| {
        let text = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(","));
        std::fs::write(folder.join("index.json"), text).unwrap();
    };
    index(&entries);
    std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let text = |tag: &str| format!("oci:{}{tag}", folder.display());
    let first = fetch(&store, &text(":one")).unwrap();
    assert_eq!(store.image(&first).unwrap().shown_name(), "one");
    let second = fetch(&store, &text(":2.0")).unwrap();
    assert_eq!(store.image(&second).unwrap().shown_name(), "layout:2.0");
    let message = |text: &str| innermost(&fetch(&store, text).unwrap_err());
    assert!(message(&text("")).ends_with("name one of the tags: 2.0, one"));
    assert!(
        message(&text(":x")).ends_with("no image in it has the tag \"x\"; the tags are: 2.0, one")
    );
    let careful = Insecure::default();
    let error = fetch_as(&store, careful, PullPolicy::Update, &text(":one")).unwrap_err();
    assert!(matches!(error, FetchError::NoSignatures("OCI")));
    // Both folders and archives; compressed ones too.
    index(entries.get(1..).unwrap());
    assert_eq!(fetch(&store, &text("")).unwrap(), second);
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_dir_all(".", &folder).unwrap();
    let tar = tar.into_inner().unwrap();
    let archive = place.0.join("x.tar");
    for bytes in [crate::store::tests::samples::gzip(&tar), tar] {
        std::fs::write(&archive, bytes).unwrap();
        let found = fetch(&store, &format!("oci-archive:{}", archive.display())).unwrap();
        assert_eq!(found, second);
    }
    std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"2.0"}"#).unwrap();
    assert!(message(&text("")).starts_with("not an OCI layout of version 1"));
}

#[test]
fn docker_archives_always_make_the_same_image() {
    let place = Place::new("fetch-docker");
    let store = place.store();
    let layers = [
        crate::store::tests::samples::layer(&[("a", b"1")]),
        crate::store::tests::samples::layer(&[("b", b"2")]),
    ];
    let ids = layers.each_ref().map(|layer| format!("{:?}", oci::Digest::of(layer).as_str()));
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        ids.join(",")
    );
    let list =
        r#"[{"Config":"c.json","RepoTags":["busybox:1"],"Layers":["0/layer.tar","1/layer.tar"]}]"#;
    let write = |second: &[u8], list: &str| {
        let mut tar = tar::Builder::new(Vec::new());
        let (first, config) = (&layers[0][..], config.as_bytes());
        for (name, bytes) in [
            ("0/layer.tar", first),
            ("1/layer.tar", second),
            ("c.json", config),
            ("manifest.json", list.as_bytes()),
        ] {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, bytes).unwrap();
        }
        let path = place.0.join("saved.tar");
        std::fs::write(&path, tar.into_inner().unwrap()).unwrap();
        format!("docker-archive:{}", path.display())
    };
    let text = write(&layers[1], list);
    let id = fetch(&store, &text).unwrap();
    assert_eq!(fetch(&store, &text).unwrap(), id);
    assert_eq!(fetch(&store, &format!("{text}:1")).unwrap(), id);
    assert_eq!(store.image(&id).unwrap().shown_name(), "busybox:1");
    // A layer may be compressed, and is another blob then.
    let packed = write(&crate::store::tests::samples::gzip(&layers[1]), list);
    assert_ne!(fetch(&store, &packed).unwrap(), id);
    // What is stored is not read again.
    let empty = Place::new("fetch-docker-bad");
    let message = |text: &str| innermost(&fetch(&empty.store(), text).unwrap_err());
    let swapped = message(&write(&layers[0], list));
    assert!(swapped.contains("was asked for"), "{swapped}");
    assert_eq!(
        message(&write(&layers[1], &list.replace("1/layer", "2/layer"))),
        "\"2/layer.tar\" is not in the archive"
    );
    let escape = list.replace("c.json", "../../etc/passwd");
    assert_eq!(message(&write(&layers[1], &escape)), "\"../../etc/passwd\" is not in the archive");
}
