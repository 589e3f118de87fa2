//! Tests of the store against real folders: images made here, several threads, processes that die.

mod aci;
mod crash;
mod derived;
mod oci_images;
pub(crate) mod samples;
mod sweeping;

use super::*;
use samples::Place;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

#[test]
fn folders_are_closed_to_others_and_half_made_stores_completed() {
    let place = Place::new("modes");
    drop(place.store());
    let mode = |name: &str| place.0.join(name).metadata().unwrap().permissions().mode() & 0o7777;
    for (name, wanted) in [
        ("", 0o2750),
        ("locks", 0o2750),
        ("cas", 0o2750),
        ("cas/blob", 0o2770),
        ("cas/image", 0o2770),
        ("cas/tmp", 0o2770),
        ("cas/layer", 0o2700),
        ("cas/tree", 0o2700),
        ("cas/staging", 0o2700),
    ] {
        assert_eq!(mode(name), wanted, "{name}");
    }
    std::fs::remove_file(place.0.join("cas/format")).unwrap();
    std::fs::remove_dir(place.0.join("cas/tree")).unwrap();
    drop(place.store());
    assert_eq!(mode("cas/tree"), 0o2700);
    std::fs::write(place.0.join("cas/format"), "9\n").unwrap();
    let error = Store::open(&place.0).unwrap_err();
    assert!(matches!(error, StoreError::Format(found) if found == "9"));
}

#[test]
fn notes_count_only_while_their_image_is_here() {
    let place = Place::new("notes");
    let store = place.store();
    let id = samples::aci(&store, "example.com/a", "1", "x");
    let remote = Remote {
        image: id.clone(),
        etag: Some("\"e\"".to_owned()),
        max_age: Some(60),
        stored: std::time::SystemTime::UNIX_EPOCH,
    };
    store.set_remote("docker://host/a:1", &remote).unwrap();
    let found = store.remote("docker://host/a:1").unwrap().unwrap();
    assert_eq!((found.image, found.etag, found.max_age), (id.clone(), remote.etag, Some(60)));
    assert!(found.stored > std::time::SystemTime::UNIX_EPOCH);
    assert_eq!(store.remote("docker://host/a:2").unwrap(), None);

    let file = place.0.join("stage1.aci");
    std::fs::write(&file, "1").unwrap();
    let stamp = || FileStamp::of(&std::fs::File::open(&file).unwrap()).unwrap();
    let first = stamp();
    store.set_file_stamp(&first, &id).unwrap();
    assert_eq!(store.by_file_stamp(&first).unwrap(), Some(id.clone()));
    std::fs::write(&file, "22").unwrap();
    assert_eq!(store.by_file_stamp(&stamp()).unwrap(), None);

    store.remove(&id).unwrap();
    assert_eq!(store.remote("docker://host/a:1").unwrap(), None);
    assert_eq!(store.by_file_stamp(&first).unwrap(), None);
}

#[test]
fn temporary_files_go_with_their_makers() {
    let place = Place::new("temporary");
    let store = place.store();
    let kept = store.temporary().unwrap();
    let path = kept.path();
    // A process that died: the file is there, its lock is not.
    std::fs::write(place.0.join("cas/tmp/dead"), "").unwrap();
    let sweep = store.sweep().unwrap();
    sweep.leftovers(&References::default()).unwrap();
    assert_eq!(place.names("cas/tmp"), [path.file_name().unwrap().to_str().unwrap()]);
    drop(kept);
    assert!(place.names("cas/tmp").is_empty());
}

#[test]
fn locks_survive_the_deletion_of_their_files() {
    let place = Place::new("locks");
    let store = place.store();
    let held = store.key_lock("layerlocks/x", locks::Patience::None).unwrap().unwrap();
    assert!(store.key_lock("layerlocks/x", locks::Patience::None).unwrap().is_none());
    let sweep = store.sweep().unwrap();
    sweep.leftovers(&References::default()).unwrap();
    // It was in use.
    assert!(store.key_lock("layerlocks/x", locks::Patience::None).unwrap().is_none());
    drop(held);
    sweep.leftovers(&References::default()).unwrap();
    assert!(place.names("cas/layerlocks").is_empty());
    assert!(store.key_lock("layerlocks/x", locks::Patience::None).unwrap().is_some());
}

#[test]
fn removal_works_on_a_full_disk() {
    let place = Place::small("full");
    let store = place.store();
    let id = samples::aci(&store, "example.com/big", "1", &"x".repeat(100_000));
    let oci = samples::Oci::new(&[&[("file", b"content")]]);
    let other = store.import_oci(&oci, &oci.image("host", "a", "1"), &Quiet).unwrap();
    place.fill();
    std::fs::write(place.0.join("cas/tmp/more"), [0; 4096]).unwrap_err();
    let parts = [store.remove(&id).unwrap(), store.remove(&other).unwrap()].concat();
    place.fill();
    let sweep = store.attempt_sweep().unwrap().unwrap();
    sweep.parts(&parts, &References::default()).unwrap();
    assert!(store.images().unwrap().is_empty());
    assert!(place.names("cas/layer").is_empty());
}

#[test]
fn the_use_of_an_image_is_noted() {
    let place = Place::new("touch");
    let store = place.store();
    let id = samples::aci(&store, "example.com/a", "1", "x");
    let path = place.0.join("cas/image").join(id.as_str());
    let old = std::fs::FileTimes::new().set_modified(std::time::SystemTime::UNIX_EPOCH);
    std::fs::File::options().append(true).open(&path).unwrap().set_times(old).unwrap();
    assert!(path.metadata().unwrap().mtime() < 1);
    assert!(store.touch(&id).unwrap());
    assert!(path.metadata().unwrap().mtime() > 1);
    assert!(!store.touch(&samples::absent()).unwrap());
}
