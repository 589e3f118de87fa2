//! What collection deletes, and what it keeps.

use super::samples::{self, Oci, Place, kept, layer};
use crate::store::{Quiet, References, Store};
use appc::ImageId;
use std::path::PathBuf;
use sys::lock::Mode;

fn import(store: &Store, oci: &Oci, name: &str) -> ImageId {
    store.import_oci(oci, &oci.image("host", name, "1"), &Quiet).unwrap()
}

fn folders(store: &Store, id: &ImageId) -> Vec<PathBuf> {
    let _lock = store.prepare_lock(Mode::Shared).unwrap();
    crate::render::ready(store, id).unwrap().layers
}

fn tree(store: &Store, id: &ImageId) -> String {
    let _lock = store.prepare_lock(Mode::Shared).unwrap();
    crate::render::ready(store, id).unwrap().tree_id
}

#[test]
fn shared_layers_go_with_their_last_user() {
    let place = Place::new("sweep-shared");
    let store = place.store();
    let base = layer(&[("d/", b""), ("base", b"base")]);
    // The upper layers need something from below, so that there is more to delete than trees.
    let one = Oci::of(&[base.clone(), layer(&[("d/one", b"1")])]);
    let two = Oci::of(&[base, layer(&[("d/two", b"2")])]);
    let (first, second) = (import(&store, &one, "one"), import(&store, &two, "two"));
    let parts = store.remove(&first).unwrap();
    assert_eq!(parts.len(), 2);
    let sweep = store.sweep().unwrap();
    let swept = sweep.parts(&parts, &References::default()).unwrap();
    assert_eq!(swept.layers, [parts[1].strip_prefix("layer/").unwrap()]);
    drop(sweep);
    assert_eq!(folders(&store, &second).iter().filter(|folder| folder.is_dir()).count(), 2);
    let parts = store.remove(&second).unwrap();
    let sweep = store.sweep().unwrap();
    assert_eq!(sweep.parts(&parts, &References::default()).unwrap().layers.len(), 2);
    drop(sweep);
    let noted = |name: &String| name.starts_with("name/") || name.starts_with("digest/");
    assert!(kept(&place).iter().all(noted), "{:?}", kept(&place));
    store.sweep().unwrap().leftovers(&References::default()).unwrap();
    assert_eq!(kept(&place), Vec::<String>::new());
}

#[test]
fn what_pods_use_stays() {
    let place = Place::new("sweep-pods");
    let store = place.store();
    let oci = Oci::new(&[&[("a", b"a")], &[("b", b"b")]]);
    let id = import(&store, &oci, "a");
    let pods =
        References { layers: folders(&store, &id).into_iter().collect(), ..References::default() };
    let parts = store.remove(&id).unwrap();
    let sweep = store.sweep().unwrap();
    assert_eq!(sweep.parts(&parts, &pods).unwrap().layers, Vec::<String>::new());
    assert_eq!(sweep.leftovers(&pods).unwrap().layers, Vec::<String>::new());
    assert!(pods.layers.iter().all(|folder| folder.is_dir()));
    // The pods end.
    assert_eq!(sweep.leftovers(&References::default()).unwrap().layers.len(), 2);
    assert_eq!(kept(&place), Vec::<String>::new());
}

#[test]
fn rendered_trees_go_unless_pods_use_them_and_come_back() {
    let place = Place::new("sweep-trees");
    let store = place.store();
    let id = samples::aci(&store, "example.com/a", "1", "content");
    let other = samples::aci(&store, "example.com/b", "1", "other");
    let (used, unused) = (tree(&store, &id), tree(&store, &other));
    assert_ne!(used, unused);
    let before = store.image(&other).unwrap().size;
    let pods = References { trees: [used.clone()].into(), ..References::default() };
    let sweep = store.sweep().unwrap();
    assert_eq!(sweep.unused_trees(&pods).unwrap().trees, [unused.as_str()]);
    assert_eq!(sweep.unused_trees(&pods).unwrap().trees, Vec::<String>::new());
    drop(sweep);
    assert_eq!(place.names("cas/tree"), [used]);
    assert!(store.image(&other).unwrap().size < before);
    assert_eq!(tree(&store, &other), unused);
    assert!(folders(&store, &other)[0].join("file").is_file());
    assert_eq!(store.image(&other).unwrap().size, before);
}

#[test]
fn a_tree_that_a_pod_stands_on_stays_when_its_image_goes() {
    let place = Place::new("sweep-standing");
    let store = place.store();
    let id = samples::aci(&store, "example.com/a", "1", "content");
    let pods =
        References { layers: folders(&store, &id).into_iter().collect(), ..References::default() };
    let parts = store.remove(&id).unwrap();
    let sweep = store.sweep().unwrap();
    assert_eq!(sweep.parts(&parts, &pods).unwrap().trees, Vec::<String>::new());
    assert_eq!(sweep.unused_trees(&pods).unwrap().trees, Vec::<String>::new());
    assert_eq!(sweep.unused_trees(&References::default()).unwrap().trees.len(), 1);
    assert!(place.names("cas/tree").is_empty());
}

#[test]
fn imports_keep_what_no_record_names_yet() {
    let place = Place::new("sweep-imports");
    let store = place.store();
    let oci = Oci::new(&[&[("a", b"a")]]);
    let id = import(&store, &oci, "a");
    let parts = store.remove(&id).unwrap();
    let import = store.import_lock(Mode::Shared, crate::store::locks::Patience::Wait).unwrap();
    let sweep = store.sweep().unwrap();
    assert_eq!(sweep.parts(&parts, &References::default()).unwrap().layers.len(), 0);
    assert_eq!(sweep.leftovers(&References::default()).unwrap().layers.len(), 0);
    drop(import);
    assert_eq!(sweep.leftovers(&References::default()).unwrap().layers.len(), 1);
}

#[test]
fn no_sweep_while_a_pod_is_prepared() {
    let place = Place::new("sweep-prepare");
    let store = place.store();
    let prepare = store.prepare_lock(Mode::Shared).unwrap();
    assert!(store.attempt_sweep().unwrap().is_none());
    drop(prepare);
    assert!(store.attempt_sweep().unwrap().is_some());
}

#[test]
fn notes_about_images_that_are_gone_go() {
    let place = Place::new("sweep-notes");
    let store = place.store();
    let oci = Oci::new(&[&[("a", b"a")]]);
    let (gone, stays) =
        (import(&store, &oci, "a"), samples::aci(&store, "example.com/a", "1", "x"));
    assert_eq!(place.names("cas/digest").len(), 1);
    assert_eq!(place.names("cas/name").len(), 2);
    store.remove(&gone).unwrap();
    store.sweep().unwrap().leftovers(&References::default()).unwrap();
    assert!(place.names("cas/digest").is_empty() && place.names("cas/ready").is_empty());
    assert_eq!(place.names("cas/name").len(), 1);
    assert_eq!(place.names("cas/image"), [stays.to_string()]);
}

#[test]
fn a_damaged_record_does_not_stop_collection_nor_cost_its_image_anything() {
    let place = Place::new("sweep-damaged");
    let store = place.store();
    let (one, two) = (Oci::new(&[&[("a", b"a")]]), Oci::new(&[&[("b", b"b")]]));
    let (first, second) = (import(&store, &one, "one"), import(&store, &two, "two"));
    std::fs::write(place.0.join("cas/image").join(first.as_str()), "{").unwrap();
    let parts = store.remove(&second).unwrap();
    let sweep = store.sweep().unwrap();
    assert_eq!(sweep.parts(&parts, &References::default()).unwrap().layers.len(), 1);
    sweep.leftovers(&References::default()).unwrap();
    let stays = format!("sha256-{}", oci::Digest::of(&layer(&[("a", b"a")])).hex());
    assert_eq!(place.names("cas/layer"), [stays.clone(), format!("{stays}.needs")]);
    // Its next import finds its layer.
    one.asked();
    import(&store, &one, "one");
    assert_eq!(one.asked(), Vec::<String>::new());
}
