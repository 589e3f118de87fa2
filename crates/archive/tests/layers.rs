//! Layers: which entries are taken, what comes of them, and what they need from below.

#![expect(clippy::unwrap_used, reason = "a test may, in its helping functions too")]

use archive::layer::{Unpacked, unpack};
use archive::{Limits, UnpackError, needs, tree};
use rustix::fs::{Mode, OFlags};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use tar::EntryType;

/// A folder that goes away with the test.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("archive-layers-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn open(&self) -> OwnedFd {
        rustix::fs::open(&self.0, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap()
    }

    fn unpack(&self, tar: &[u8]) -> Result<Unpacked, UnpackError> {
        unpack(&mut &tar[..], self.open().as_fd(), &Limits::default())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// One entry with this name, whatever it is; a link's target follows.
fn entry(tar: &mut Vec<u8>, kind: EntryType, name: &str, target: &str, content: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    header.set_mode(0o640);
    header.set_mtime(1_000);
    header.set_uid(0);
    header.set_gid(0);
    let bytes = header.as_mut_bytes();
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    bytes[157..157 + target.len()].copy_from_slice(target.as_bytes());
    header.set_cksum();
    tar.extend_from_slice(header.as_bytes());
    tar.extend_from_slice(content);
    tar.resize(tar.len().next_multiple_of(512), 0);
}

/// A tar: `name` is a file, `name/` a folder, `name -> target` and `name => target` are links.
fn tar(names: &[&str]) -> Vec<u8> {
    let mut tar = Vec::new();
    for name in names {
        if let Some((name, target)) = name.split_once(" -> ") {
            entry(&mut tar, EntryType::Symlink, name, target, b"");
        } else if let Some((name, target)) = name.split_once(" => ") {
            entry(&mut tar, EntryType::Link, name, target, b"");
        } else if name.ends_with('/') {
            entry(&mut tar, EntryType::Directory, name, "", b"");
        } else {
            entry(&mut tar, EntryType::Regular, name, "", b"x");
        }
    }
    tar.extend_from_slice(&[0; 1024]);
    tar
}

#[test]
fn names_stay_inside() {
    for (names, wanted) in [
        (&["/etc/x"][..], Some("etc/x")),
        (&["./etc//./x"], Some("etc/x")),
        (&["a\\b"], Some("a\\b")),
        (&["..x/..."], Some("..x/...")),
        (&["../x"], None),
        (&["a/../x"], None),
        (&["a/.."], None),
        (&["l -> /etc", "l/x"], Some("etc/x")),
        (&["l -> ../../..", "l/x"], Some("x")),
        (&["a/", "a/l -> ..", "a/l/a/l/x"], Some("x")),
        (&["l -> l", "l/x"], None),
        (&["l -> m", "m -> l", "l/x"], None),
        (&["f", "f/x"], None),
        (&["l -> f", "f", "l/x"], None),
        (&["."], None),
        (&["./ -> /etc"], None),
        (&["d/", "d -> /etc", "d/x"], Some("etc/x")),
        (&["x -> /etc/passwd", "x"], Some("x")),
        (&["x/", "x/y", "x"], Some("x")),
    ] {
        let place = Place::new();
        let unpacked = place.unpack(&tar(names));
        let path = wanted.map(|path| place.0.join(path));
        assert_eq!(unpacked.is_ok(), wanted.is_some(), "{names:?}: {:?}", unpacked.err());
        let is_file = |path: PathBuf| path.symlink_metadata().unwrap().is_file();
        assert!(path.is_none_or(is_file), "{names:?}");
    }
}

#[test]
fn hard_links_stay_inside_and_lead_to_files() {
    for (names, wanted) in [
        (&["a", "b => a"][..], Some(true)),
        (&["a", "b => ./a"], Some(true)),
        (&["a", "b => /a"], Some(true)),
        (&["d/", "l -> d", "d/a", "b => l/a"], Some(true)),
        (&["a -> x", "b => a"], Some(true)),
        (&["a", "a => a"], Some(true)),
        // It may be below.
        (&["b => a"], Some(false)),
        (&["b => /etc/shadow"], Some(false)),
        (&["b => ../a"], None),
        (&["b => ../../etc/shadow"], None),
        (&["d/", "b => d"], None),
        (&["b => ."], None),
        (&["a", "b => a/c"], None),
        (&["a", ".wh.a2", "b => a2"], None),
    ] {
        let place = Place::new();
        let unpacked = place.unpack(&tar(names));
        // Without the root's attributes, which none of these list.
        let own = unpacked.as_ref().ok().map(|unpacked| {
            let facts = unpacked.needs.facts(vec![Place::new().open()]);
            facts.is_ok()
        });
        assert_eq!(own, wanted, "{names:?}: {:?}", unpacked.err());
    }
}

#[test]
fn whiteouts_hide_what_is_below() {
    for (names, path, wanted) in [
        (&[".wh.x"][..], "x", Some("whiteout")),
        (&["d/.wh.x"], "d/x", Some("whiteout")),
        (&["x", ".wh.x"], "x", Some("file")),
        (&[".wh.x", "x"], "x", Some("file")),
        (&["x/", ".wh.x"], "x", Some("opaque")),
        (&[".wh.x", "x/"], "x", Some("opaque")),
        (&[".wh.x", "x/y"], "x", Some("opaque")),
        (&["x/", "x/.wh..wh..opq"], "x", Some("opaque")),
        (&["x/.wh..wh..opq", "x/y"], "x", Some("opaque")),
        (&[".wh..wh..opq"], "", Some("opaque")),
        (&["x/", ".wh..wh.plnk", ".wh..wh.plnk/7"], "x", Some("folder")),
        (&["x/", "x/.wh..wh.aufs", "x/.wh..wh.plnk/.wh.y"], "x", Some("folder")),
        (&["l -> x", "x/", "l/.wh.y"], "x/y", Some("whiteout")),
        (&[".wh.x -> /etc/passwd"], "x", Some("whiteout")),
        // Nothing is below a file.
        (&["x", "x/.wh.y"], "x", Some("file")),
        (&[".wh."], "", None),
        (&[".wh.."], "", None),
        (&[".wh..."], "", None),
        (&["d/.wh..."], "", None),
        (&[".wh../x"], "", None),
    ] {
        let place = Place::new();
        let unpacked = place.unpack(&tar(names));
        let Some(wanted) = wanted else {
            unpacked.expect_err(&format!("{names:?}"));
            continue;
        };
        unpacked.unwrap();
        assert_eq!(kind(&place.0.join(path)), wanted, "{names:?}");
    }
}

fn kind(path: &Path) -> &'static str {
    let stat = path.symlink_metadata().unwrap();
    let mut value = [0_u8; 8];
    let opaque = rustix::fs::lgetxattr(path, "trusted.overlay.opaque", &mut value);
    match stat.file_type() {
        kind if kind.is_dir() && opaque == Ok(1) && value[0] == b'y' => "opaque",
        kind if kind.is_dir() => "folder",
        kind if kind.is_char_device() && stat.rdev() == 0 => "whiteout",
        kind if kind.is_file() => "file",
        _ => "other",
    }
}

#[test]
fn limits_hold() {
    let names: Vec<String> = (0..20).map(|number| format!("d/{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let many = tar(&names);
    let deep = tar(&["a/b/c/d/e/f/g"]);
    let wide = Limits::default();
    for (tar, limits, fits) in [
        (&many, Limits { entries: 21, ..wide.clone() }, true),
        (&many, Limits { entries: 20, ..wide.clone() }, false),
        (&many, Limits { bytes: 20, ..wide.clone() }, true),
        (&many, Limits { bytes: 19, ..wide.clone() }, false),
        (&deep, Limits { depth: 7, ..wide.clone() }, true),
        (&deep, Limits { depth: 6, ..wide.clone() }, false),
        (&deep, Limits { path: 13, ..wide.clone() }, true),
        (&deep, Limits { path: 12, ..wide.clone() }, false),
    ] {
        let place = Place::new();
        let unpacked = unpack(&mut &tar[..], place.open().as_fd(), &limits);
        assert_eq!(unpacked.is_ok(), fits, "{limits:?}");
    }
}

#[test]
fn what_is_no_tar_is_refused() {
    let good = tar(&["a", "b"]);
    let mut bad_sum = good.clone();
    bad_sum[3] = b'x';
    let mut device = Vec::new();
    entry(&mut device, EntryType::Char, "x", "", b"");
    for (what, tar, fits) in [
        ("whole", good.clone(), true),
        ("without its end", good[..2048].to_vec(), true),
        ("with more behind", [&good[..], &[0xff; 5000]].concat(), true),
        ("nothing", Vec::new(), true),
        ("cut in a header", good[..1300].to_vec(), false),
        ("cut in a file", good[..513].to_vec(), false),
        ("with a wrong sum", bad_sum, false),
        ("with a device 0:0", device, false),
        ("text", b"no archive".repeat(100), false),
    ] {
        let unpacked = Place::new().unpack(&tar);
        assert_eq!(unpacked.is_ok(), fits, "{what}: {:?}", unpacked.err());
    }
}

#[test]
fn digests_are_those_of_the_trees() {
    let other = tar(&["a", "d/", "d/b => a", "l -> a", "e/f/g", ".wh.gone", "d/.wh..wh..opq"]);
    let mut digests = Vec::new();
    for tar in [
        tar(&["a"]),
        tar(&["b"]),
        tar(&["a", "b"]),
        tar(&["a", "b => a"]),
        tar(&["a/"]),
        tar(&["a/", "a/.wh..wh..opq"]),
        tar(&["a -> b"]),
        tar(&[".wh.a"]),
        other,
    ] {
        let place = Place::new();
        let digest = place.unpack(&tar).unwrap().digest;
        assert_eq!(tree::digest(place.open().as_fd()).unwrap(), digest);
        digests.push(digest.to_string());
    }
    let count = digests.len();
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), count);
}

#[test]
fn facts_tell_bases_apart() {
    let over = Place::new();
    let unpacked = over.unpack(&tar(&["d/x", "h => f"])).unwrap();
    let key = |names: &[&str]| {
        let base = Place::new();
        base.unpack(&tar(names)).unwrap();
        unpacked.needs.facts(vec![base.open()]).map(|facts| facts.key().to_owned())
    };
    let first = key(&["d/", "f"]).unwrap();
    assert!(!first.is_empty());
    assert_eq!(key(&["d/", "f", "more", "d/y"]).unwrap(), first);
    // Another folder, a link instead of one, another file, another name of it.
    for names in [
        &["d/y", "f"][..],
        &["e/", "d -> e", "f"],
        &["d/", "f -> d"],
        &["d/", "f", "g => f"],
        &["./", "d/", "f"],
    ] {
        assert_ne!(key(names).unwrap(), first, "{names:?}");
    }
    for names in [&["d/"][..], &["d/", "f/"], &["d -> nowhere", "f"], &["d -> d", "f"]] {
        key(names).unwrap_err();
    }
    // A layer that lists all it uses needs nothing.
    let whole = Place::new().unpack(&tar(&["./", "d/", "d/x", "h => d/x", ".wh.y"])).unwrap();
    assert!(whole.needs.is_empty());
}

#[test]
fn settled_digests_are_those_of_the_trees() {
    for (below, above) in [
        (&["./", "d/", "f"][..], &["x", "y/", "y/z"][..]),
        (&["./", "d/", "f"], &["d/x", "h => f"]),
        (&["d/", "f"], &["d/x"]),
        (&["f"], &["x"]),
        (&["d/", "l -> d"], &["l/x", "l/sub/y"]),
        (&["./"], &[".wh..wh..opq", "x"]),
    ] {
        let (base, over) = (Place::new(), Place::new());
        base.unpack(&tar(below)).unwrap();
        let unpacked = over.unpack(&tar(above)).unwrap();
        let facts = unpacked.needs.facts(vec![base.open()]).unwrap();
        let into = over.open();
        let (into, lowers) = (into.as_fd(), vec![base.open()]);
        let settled = needs::settle(into, &facts, lowers, &unpacked.contents).unwrap();
        assert_eq!(tree::digest(into).unwrap(), settled, "{above:?} over {below:?}");
        if facts.key().is_empty() {
            assert_eq!(settled, unpacked.digest, "{above:?} over {below:?}");
        }
    }
}
