//! Imports that die: a child process is killed at each of its steps in turn, and what it leaves is looked at.

use super::samples::{self, Oci, Place, flat, kept, layer, listing};
use crate::store::{Quiet, References, Store};
use std::path::Path;
use std::process::{Command, Stdio};

/// Where the child imports to.
const DATA: &str = "RKT_TEST_IMPORT_INTO";
/// What changes something that others see, or makes it durable.
const STEPS: [&str; 10] = [
    "mkdirat",
    "renameat",
    "fsync",
    "fdatasync",
    "syncfs",
    "unlinkat",
    "mknodat",
    "linkat",
    "flock",
    "utimensat",
];

/// Three layers, of which one needs nothing from below and the others do.
fn image() -> Oci {
    let base = layer(&[("./", b""), ("d/", b""), ("d/a", b"content"), ("lib -> d", b"")]);
    let middle = layer(&[("lib/b", b"more"), ("c => d/a", b"")]);
    Oci::of(&[base, middle, layer(&[(".wh.c", b""), ("d/e", b"most")])])
}

fn aci() -> Vec<u8> {
    samples::aci_bytes(&samples::manifest("example.com/a", "1"), &[("file", "content")])
}

#[test]
#[ignore = "the child of the test below, which starts it"]
fn child() {
    let data = std::env::var_os(DATA).expect("started by the test below");
    let store = Store::open(Path::new(&data)).unwrap();
    let oci = image();
    store.import_oci(&oci, &oci.image("host", "a", "1"), &Quiet).unwrap();
    samples::import(&store, &aci());
}

/// Runs the child until it makes this call so often, and kills it there; `true` if it got to its end.
fn run(place: &Place, call: &str, step: u32) -> bool {
    let status = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e"])
        .arg(format!("trace={call}"))
        .arg("-e")
        .arg(format!("inject={call}:signal=KILL:when={step}"))
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "store::tests::crash::child", "--ignored", "--test-threads=1"])
        .env(DATA, &place.0)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("strace is installed");
    status.success()
}

#[test]
fn killed_imports_leave_nothing_half_visible() {
    let whole = Place::new("crash-none");
    let store = whole.store();
    let oci = image();
    let id = store.import_oci(&oci, &oci.image("host", "a", "1"), &Quiet).unwrap();
    let other = samples::import(&store, &aci());
    let (wanted, stored) = (listing(&flat(&whole, &store, &id)), kept(&whole));
    assert_eq!(
        wanted,
        [
            "d 711 5:6",
            "d/a 644 0:0 x1 \"content\"",
            "d/b 644 0:0 x1 \"more\"",
            "d/e 644 0:0 x1 \"most\"",
            "lib 777 0:0 d",
        ]
    );
    let mut killed = 0;
    for call in STEPS {
        for step in 1.. {
            let place = Place::small(&format!("crash-{call}-{step}"));
            let finished = run(&place, call, step);
            let store = place.store();
            let at = format!("killed before {call} {step}");
            // What can be seen is whole, before anybody cleans up.
            for image in store.images().unwrap() {
                assert!(image.id == id || image.id == other, "{at}");
                if image.id == id {
                    assert_eq!(listing(&flat(&place, &store, &id)), wanted, "{at}");
                }
            }
            for name in place.names("cas/layer").iter().filter(|name| !name.ends_with("needs")) {
                let record = place.0.join("cas/layer").join(name).join("record");
                assert!(record.is_file(), "{at}: {name}");
            }
            // The next one works, and nothing is left over after a collection.
            store.import_oci(&oci, &oci.image("host", "a", "1"), &Quiet).unwrap();
            samples::import(&store, &aci());
            assert_eq!(listing(&flat(&place, &store, &id)), wanted, "{at}");
            store.sweep().unwrap().leftovers(&References::default()).unwrap();
            assert_eq!(kept(&place), stored, "{at}");
            if finished {
                break;
            }
            killed += 1;
        }
    }
    assert!(killed > 50, "{killed} kills");
}
