//! App Container Images in the store.

use super::samples::{self, Place, aci_bytes, gzip, import, manifest};
use crate::store::{AciOrigin, ImageKind, ImportError, StoreError, unique_sizes};
use appc::AcIdentifier;

#[test]
fn every_compression_is_one_image_kept_as_it_came() {
    let place = Place::new("compression");
    let store = place.store();
    let plain = aci_bytes(&manifest("example.com/a", "1"), &[("file", "content")]);
    let id = import(&store, &plain);
    let packed = gzip(&plain);
    assert_eq!(import(&store, &packed), id);
    assert_eq!(std::fs::read(place.0.join("cas/blob").join(id.as_str())).unwrap(), packed);
    let image = store.image(&id).unwrap();
    assert_eq!(image.kind, ImageKind::Aci);
    assert_eq!(image.shown_name(), "example.com/a:1");
    assert_eq!(image.manifest(), manifest("example.com/a", "1").to_json().as_bytes());
    assert_eq!(image.size, packed.len() as u64);
    assert!(image.last_used >= image.import_time);
}

#[test]
fn nothing_stays_of_what_is_no_image() {
    let place = Place::new("no-image");
    let store = place.store();
    let good = gzip(&aci_bytes(&manifest("example.com/a", "1"), &[("file", "content")]));
    let origin = AciOrigin { source: "test".to_owned() };
    for bytes in [&b"no archive"[..], &good[..good.len() - 9], &[&good[..], b"junk"].concat()] {
        let error = store.import_aci(bytes, &origin).unwrap_err();
        assert!(matches!(error, ImportError::Aci(_) | ImportError::Read(_)), "{error}");
    }
    for folder in ["blob", "image", "tmp", "name"] {
        assert!(place.names(&format!("cas/{folder}")).is_empty(), "{folder}");
    }
}

#[test]
fn ids_are_found_by_their_beginning() {
    let place = Place::new("ids");
    let store = place.store();
    let ids: Vec<_> =
        (0..20).map(|n| samples::aci(&store, "example.com/a", &n.to_string(), "x")).collect();
    let id = &ids[7];
    assert_eq!(&store.find_id(id.as_str()).unwrap(), id);
    assert_eq!(&store.find_id(id.short(20)).unwrap(), id);
    assert_eq!(&store.find_id(&format!("{id}{}", "0".repeat(64))).unwrap(), id);
    for (text, message) in [
        ("sha512-a", "image ID too short"),
        ("sha512-", "image ID too short"),
        ("sha512-0000000000", "no image IDs found"),
        (samples::absent().as_str(), "no image IDs found"),
    ] {
        assert_eq!(store.find_id(text).unwrap_err().to_string(), message, "{text}");
    }
    // Of 20 images some share their first digits, whatever their content: else this test proves less.
    let twin = ids.iter().find(|a| ids.iter().any(|b| a != &b && a.short(1) == b.short(1)));
    assert!(twin.is_some());
    let clash = ids.iter().find(|a| ids.iter().any(|b| a != &b && a.short(2) == b.short(2)));
    if let Some(clash) = clash {
        let error = store.find_id(clash.short(2)).unwrap_err();
        assert_eq!(error.to_string(), format!("ambiguous image ID: {:?}", clash.short(2)));
    }
}

#[test]
fn names_give_the_image_that_came_last() {
    let place = Place::new("names");
    let store = place.store();
    let name = AcIdentifier::parse("example.com/a").unwrap();
    let (_, labels) = appc::image_name::parse("example.com/a:1").unwrap();
    let error = store.find_name(&name, &labels).unwrap_err();
    assert!(error.is_not_found());
    assert_eq!(
        error.to_string(),
        "cannot find aci satisfying name: \"example.com/a\" and labels: [\"version\":\"1\"] in the local store"
    );
    let one = samples::aci(&store, "example.com/a", "1", "x");
    let two = samples::aci(&store, "example.com/a", "2", "x");
    samples::aci(&store, "example.com/ab", "1", "x");
    assert_eq!(store.find_name(&name, &[]).unwrap(), two);
    assert_eq!(store.find_name(&name, &labels).unwrap(), one);
    // Imported again, it is the last one.
    samples::aci(&store, "example.com/a", "1", "x");
    assert_eq!(store.find_name(&name, &[]).unwrap(), one);
    assert_eq!(store.images().unwrap().len(), 3);
    store.remove(&one).unwrap();
    assert_eq!(store.find_name(&name, &[]).unwrap(), two);
    assert!(matches!(store.remove(&one), Err(StoreError::NoSuchId)));
}

#[test]
fn damaged_records_hide_only_themselves() {
    let place = Place::new("damaged");
    let store = place.store();
    let one = samples::aci(&store, "example.com/a", "1", "x");
    let two = samples::aci(&store, "example.com/b", "1", "x");
    let path = |id: &appc::ImageId| place.0.join("cas/image").join(id.as_str());
    std::fs::copy(path(&two), path(&one)).unwrap();
    assert!(matches!(store.image(&one), Err(StoreError::Record { .. })));
    let left: Vec<_> = store.images().unwrap().into_iter().map(|image| image.id).collect();
    assert_eq!(left, std::slice::from_ref(&two));
    store.remove(&one).unwrap();
    assert_eq!(unique_sizes(&store.images().unwrap()).len(), 1);
}
