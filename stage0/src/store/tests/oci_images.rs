//! OCI images in the store: what is kept of them, what is refused, and what their layers show together.

use super::samples::{self, Oci, Place, flat, kept, layer, listing};
use crate::store::{ImportError, Quiet, Store, unique_sizes};
use appc::ImageId;
use std::os::unix::fs::MetadataExt as _;

fn import(store: &Store, oci: &Oci, name: &str) -> ImageId {
    store.import_oci(oci, &oci.image("host", name, "1"), &Quiet).unwrap()
}

/// Names in the store's folder of layers, without what they need.
fn layers(place: &Place) -> Vec<String> {
    let all = place.names("cas/layer");
    all.into_iter().filter(|name| name.strip_suffix(".needs").is_none()).collect()
}

#[test]
fn layers_are_stored_once() {
    let place = Place::new("once");
    let store = place.store();
    let base = layer(&[("base", b"0123456789")]);
    let one = Oci::of(&[base.clone(), layer(&[("one", b"1")])]);
    let two = Oci::of(&[base, layer(&[("two", b"22")])]);
    let first = import(&store, &one, "one");
    assert_eq!(one.asked().len(), 2);
    let second = import(&store, &two, "two");
    assert_eq!(two.asked(), [two.layers[1].clone()]);
    assert_eq!(layers(&place).len(), 3);
    assert!(place.names("cas/blob").is_empty());

    let images = store.images().unwrap();
    let size = |id: &ImageId| {
        let place = images.iter().position(|image| image.id == *id).unwrap();
        (images[place].size, unique_sizes(&images)[place])
    };
    assert_eq!((size(&first), size(&second)), ((11, 1), (12, 2)));
    // Nothing is asked for again, not even the configuration.
    import(&store, &one, "one");
    assert!(one.opened.lock().unwrap().is_empty());
    assert_eq!(store.images().unwrap().len(), 2);
}

#[test]
fn one_layer_listed_twice_is_stacked_once_at_its_highest_place() {
    let place = Place::new("twice");
    let store = place.store();
    let (under, over) = (layer(&[("file", b"under")]), layer(&[("file", b"over")]));
    let oci = Oci::of(&[over.clone(), under, over]);
    let id = import(&store, &oci, "a");
    let _lock = store.prepare_lock(sys::lock::Mode::Shared).unwrap();
    assert_eq!(crate::render::ready(&store, &id).unwrap().layers.len(), 2);
    assert_eq!(listing(&flat(&place, &store, &id)), ["file 644 0:0 x1 \"over\""]);
}

#[test]
fn what_is_not_as_promised_leaves_nothing() {
    let place = Place::new("promises");
    let store = place.store();
    let tars = [layer(&[("a", b"a")]), layer(&[("b", b"b")])];
    let refused = |what: &str, oci: &Oci| {
        let error = store.import_oci(oci, &oci.image("host", "a", "1"), &Quiet).unwrap_err();
        assert_eq!(kept(&place), Vec::<String>::new(), "{what}");
        error
    };
    // The bytes of another layer, which is sound.
    let mut oci = Oci::of(&tars);
    let other = samples::gzip(&layer(&[("c", b"c")]));
    oci.blobs.insert(oci.layers[1].clone(), other.clone());
    let error = refused("swapped blob", &oci);
    assert!(matches!(error, ImportError::Size { .. } | ImportError::Digest { .. }), "{error}");
    // As long as promised.
    let mut oci = Oci::of(&tars);
    oci.blobs.get_mut(&oci.layers[1]).unwrap()[4] ^= 1;
    let error = refused("changed blob", &oci);
    assert!(matches!(error, ImportError::Digest { .. }), "{error}");
    let mut oci = Oci::of(&tars);
    oci.blobs.get_mut(&oci.layers[0]).unwrap().pop();
    let error = refused("short blob", &oci);
    assert!(matches!(error, ImportError::Size { .. }), "{error}");
    let mut oci = Oci::of(&tars);
    oci.blobs.get_mut(&oci.layers[0]).unwrap().push(0);
    let error = refused("long blob", &oci);
    assert!(matches!(error, ImportError::Size { .. }), "{error}");
    let mut oci = Oci::of(&tars);
    oci.blobs.remove(&oci.layers[0]);
    let error = refused("missing blob", &oci);
    assert!(matches!(error, ImportError::Source { what: "layer", .. }), "{error}");
    // The blob is right, what is in it is not.
    let ids: Vec<String> = tars.iter().rev().map(|tar| oci::Digest::of(tar).to_string()).collect();
    let error = refused("exchanged diff_ids", &Oci::claiming(&tars, &ids));
    assert!(matches!(error, ImportError::Digest { what: "layer content", .. }), "{error}");
    let error = refused("one diff_id too few", &Oci::claiming(&tars, &ids[1..]));
    assert!(matches!(error, ImportError::Oci { .. }), "{error}");
    // The other layer is right: of two faults either may be met first.
    let unknown = ["md5:0".to_owned(), ids[0].clone()];
    let error = refused("unknown algorithm", &Oci::claiming(&tars, &unknown));
    assert!(matches!(error, ImportError::Shape(_)), "{error}");
    // It was no fault of the store.
    import(&store, &Oci::of(&tars), "a");
}

#[test]
fn a_bad_layer_among_good_ones_leaves_nothing() {
    let place = Place::new("bad-layer");
    let store = place.store();
    let good = |name: &str| layer(&[(name, &[b'x'; 5000][..])]);
    for bad in [
        layer(&[("hard => missing", b"")]),
        layer(&[("a/", b""), ("hard => a", b"")]),
        layer(&[("file", b"x"), ("file/below", b"x")]),
        layer(&[("loop -> loop", b""), ("loop/x", b"x")]),
        b"no archive".repeat(100),
        good("cut")[..1000].to_vec(),
    ] {
        let oci = Oci::of(&[good("1"), bad, good("2"), good("3")]);
        let error = store.import_oci(&oci, &oci.image("host", "a", "1"), &Quiet).unwrap_err();
        assert!(matches!(error, ImportError::Unpack { .. }), "{error}");
        assert_eq!(kept(&place), Vec::<String>::new(), "{error}");
    }
}

#[test]
fn hard_links_across_layers_stay_one_file() {
    let place = Place::new("hard-links");
    let store = place.store();
    let base = layer(&[("d/", b""), ("d/a", b"content"), ("d/b => d/a", b"")]);
    let oci = Oci::of(&[base, layer(&[("e/", b""), ("e/c => d/a", b"")])]);
    let id = import(&store, &oci, "a");
    let flat = flat(&place, &store, &id);
    assert_eq!(
        listing(&flat),
        [
            "d 711 5:6",
            "d/a 644 0:0 x3 \"content\"",
            "d/b 644 0:0 x3 \"content\"",
            "e 711 5:6",
            "e/c 644 0:0 x3 \"content\"",
        ]
    );
    let stat = |name: &str| flat.join(name).metadata().unwrap();
    assert_eq!(stat("d/a").ino(), stat("e/c").ino());
    assert_eq!(stat("d").mtime(), 1_600_000_000);
}

#[test]
fn whiteouts_and_opaque_folders_hide_lower_layers_only() {
    let place = Place::new("whiteouts");
    let store = place.store();
    let base = layer(&[
        ("a/", b""),
        ("a/old", b"1"),
        ("a/both", b"1"),
        ("gone", b"1"),
        ("again", b"1"),
        ("folder/", b""),
        ("folder/old", b"1"),
        ("file", b"1"),
    ]);
    let over = layer(&[
        ("a/", b""),
        ("a/both", b"2"),
        ("a/.wh..wh..opq", b""),
        ("a/new", b"2"),
        (".wh.gone", b""),
        ("again", b"2"),
        (".wh.again", b""),
        ("folder", b"2"),
        ("file/", b""),
        ("file/new", b"2"),
        (".wh.never", b""),
        (".wh..wh.plnk/x", b""),
    ]);
    let oci = Oci::of(&[base, over]);
    let id = import(&store, &oci, "a");
    assert_eq!(
        listing(&flat(&place, &store, &id)),
        [
            "a 711 5:6",
            "a/both 644 0:0 x1 \"2\"",
            "a/new 644 0:0 x1 \"2\"",
            "again 644 0:0 x1 \"2\"",
            "file 711 5:6",
            "file/new 644 0:0 x1 \"2\"",
            "folder 644 0:0 x1 \"2\"",
        ]
    );
}

#[test]
fn unlisted_parents_keep_what_they_are_below() {
    let place = Place::new("parents");
    let store = place.store();
    let base = layer(&[("usr/", b""), ("usr/old", b"1")]);
    let over = layer(&[("usr/new", b"2"), ("opt/x", b"2"), ("usr/made/y", b"2")]);
    let oci = Oci::of(&[base, over]);
    let id = import(&store, &oci, "a");
    assert_eq!(
        listing(&flat(&place, &store, &id)),
        [
            "opt 755 0:0",
            "opt/x 644 0:0 x1 \"2\"",
            "usr 711 5:6",
            "usr/made 755 0:0",
            "usr/made/y 644 0:0 x1 \"2\"",
            "usr/new 644 0:0 x1 \"2\"",
            "usr/old 644 0:0 x1 \"1\"",
        ]
    );
}

#[test]
fn parents_that_are_links_below_lead_on() {
    let place = Place::new("link-parents");
    let store = place.store();
    let base = layer(&[
        ("usr/", b""),
        ("usr/lib/", b""),
        ("usr/lib/old", b"1"),
        ("lib -> usr/lib", b""),
        ("out -> ../../usr", b""),
        ("absolute -> /usr", b""),
    ]);
    let over = layer(&[("lib/x", b"2"), ("out/y", b"2"), ("absolute/z", b"2"), (".wh.lib2", b"")]);
    let oci = Oci::of(&[base.clone(), over]);
    let id = import(&store, &oci, "a");
    assert_eq!(
        listing(&flat(&place, &store, &id)),
        [
            "absolute 777 0:0 /usr",
            "lib 777 0:0 usr/lib",
            "out 777 0:0 ../../usr",
            "usr 711 5:6",
            "usr/lib 711 5:6",
            "usr/lib/old 644 0:0 x1 \"1\"",
            "usr/lib/x 644 0:0 x1 \"2\"",
            "usr/y 644 0:0 x1 \"2\"",
            "usr/z 644 0:0 x1 \"2\"",
        ]
    );
    // A whiteout goes the same way.
    let oci = Oci::of(&[base, layer(&[("lib/.wh.old", b"")])]);
    let id = import(&store, &oci, "b");
    let list = listing(&flat(&place, &store, &id));
    assert!(list.contains(&"lib 777 0:0 usr/lib".to_owned()), "{list:?}");
    assert!(!list.iter().any(|line| line.contains("old")), "{list:?}");
}

#[test]
fn a_layer_has_a_form_for_each_base() {
    let place = Place::new("bases");
    let store = place.store();
    let over = layer(&[("lib/x", b"2")]);
    let linked = layer(&[("usr/", b""), ("usr/lib/", b""), ("lib -> usr/lib", b"")]);
    let plain = layer(&[("lib/", b""), ("lib/old", b"1")]);
    let one = Oci::of(&[linked.clone(), over.clone()]);
    let two = Oci::of(&[plain, over.clone()]);
    let first = import(&store, &one, "one");
    let second = import(&store, &two, "two");
    // Its blob is long gone, and its other form is of no use.
    assert_eq!(two.asked().len(), 2);
    let mut forms = layers(&place);
    forms.retain(|name| name.contains(oci::Digest::of(&over).hex()));
    assert_eq!(forms.len(), 2, "{forms:?}");
    assert_eq!(
        listing(&flat(&place, &store, &first)),
        ["lib 777 0:0 usr/lib", "usr 711 5:6", "usr/lib 711 5:6", "usr/lib/x 644 0:0 x1 \"2\"",]
    );
    assert_eq!(
        listing(&flat(&place, &store, &second)),
        ["lib 711 5:6", "lib/old 644 0:0 x1 \"1\"", "lib/x 644 0:0 x1 \"2\"",]
    );
    // A third base that answers as the first does needs no bytes but its own.
    let third = Oci::of(&[linked, layer(&[("more", b"3")]), over]);
    import(&store, &third, "three");
    assert_eq!(third.asked(), [third.layers[1].clone()]);
    assert_eq!(layers(&place).iter().filter(|name| forms.contains(name)).count(), 2);
}
