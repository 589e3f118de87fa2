//! Images of trees: made once, complete, swept with their trees.

use super::samples::{self, Oci, Place, kept};
use crate::render::{disks, ready};
use crate::store::{Quiet, References, Store, StoreError};
use appc::ImageId;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use sys::lock::Mode;

fn disks_of(store: &Store, id: &ImageId) -> Vec<PathBuf> {
    let _lock = store.prepare_lock(Mode::Shared).unwrap();
    disks(store, &ready(store, id).unwrap()).unwrap()
}

/// The magic number of the superblock, and the inodes it counts.
fn superblock(image: &PathBuf) -> (u32, u64) {
    let bytes = std::fs::read(image).unwrap();
    let magic = bytes[1024..1028].try_into().unwrap();
    (u32::from_le_bytes(magic), u64::from_le_bytes(bytes[1040..1048].try_into().unwrap()))
}

#[test]
fn each_tree_gets_its_image_once() {
    let place = Place::new("derived-once");
    let store = place.store();
    let oci = Oci::new(&[&[("a", b"a")], &[("d/", b""), ("d/b", b"b")]]);
    let id = store.import_oci(&oci, &oci.image("host", "a", "1"), &Quiet).unwrap();
    // All who come at the same time get the same.
    let all: Vec<Vec<PathBuf>> = std::thread::scope(|scope| {
        let several: Vec<_> =
            (0..4).map(|_| scope.spawn(|| disks_of(&place.store(), &id))).collect();
        several.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(all.iter().all(|one| *one == all[0]));
    let found: Vec<_> = all[0].iter().map(superblock).collect();
    assert_eq!(found, [(0xe0f5_e1e2, 2), (0xe0f5_e1e2, 3)]);
    let inodes = || all[0].iter().map(|image| image.metadata().unwrap().ino()).collect::<Vec<_>>();
    let before = inodes();
    disks_of(&store, &id);
    assert_eq!(inodes(), before);
    let folder = place.0.join("cas/derived").metadata().unwrap();
    assert_eq!(folder.permissions().mode() & 0o7777, 0o2700);
    assert!(place.names("cas/staging").is_empty());
}

#[test]
fn images_go_with_their_trees_unless_pods_name_them() {
    let place = Place::new("derived-sweep");
    let store = place.store();
    let aci = samples::aci(&store, "example.com/a", "1", "content");
    let oci = Oci::new(&[&[("a", b"a")]]);
    let other = store.import_oci(&oci, &oci.image("host", "a", "1"), &Quiet).unwrap();
    let (rendered, layers) = (disks_of(&store, &aci), disks_of(&store, &other));
    let pods = References { layers: layers.iter().cloned().collect(), ..References::default() };
    let sweep = store.sweep().unwrap();
    sweep.leftovers(&References::default()).unwrap();
    assert!(rendered[0].exists() && layers[0].exists());
    // An ACI's tree is not needed to keep the image in the store, a layer is.
    sweep.unused_trees(&References::default()).unwrap();
    assert!(!rendered[0].exists() && layers[0].exists());
    let parts = store.remove(&other).unwrap();
    assert_eq!(sweep.parts(&parts, &pods).unwrap().layers.len(), 1);
    assert!(layers[0].exists());
    std::fs::write(place.0.join("cas/derived/other"), "of nobody").unwrap();
    sweep.leftovers(&References::default()).unwrap();
    assert!(place.names("cas/derived").is_empty());
    drop(sweep);
    store.remove(&aci).unwrap();
    store.sweep().unwrap().leftovers(&References::default()).unwrap();
    assert!(kept(&place).is_empty());
}

#[test]
fn what_cannot_be_finished_leaves_nothing() {
    let place = Place::small("derived-full");
    let store = place.store();
    let id = samples::aci(&store, "example.com/big", "1", &"x".repeat(600_000));
    let _lock = store.prepare_lock(Mode::Shared).unwrap();
    let ready = ready(&store, &id).unwrap();
    disks(&store, &ready).unwrap();
    std::fs::remove_file(place.0.join("cas/derived").join(&place.names("cas/derived")[0])).unwrap();
    place.fill();
    let error = disks(&store, &ready).unwrap_err();
    let crate::render::RenderError::Store(error) = error else { panic!("{error:?}") };
    assert!(matches!(error, StoreError::Derive(_) | StoreError::Access(_)), "{error:?}");
    assert!(place.names("cas/derived").is_empty() && place.names("cas/staging").is_empty());
}
