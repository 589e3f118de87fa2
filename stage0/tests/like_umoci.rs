//! What our layers show together, beside what `umoci unpack` makes of the same image. It has to be the same but for these
//! habits of umoci 0.4, which the images here avoid or the comparison leaves out:
//!
//! - the root has the time of unpacking, whatever its entry says; without an entry it is 0777 less the umask;
//! - parents that no layer lists have the time of unpacking, also those that a layer below lists and a later one adds to by
//!   way of a link; their mode is 0777 less the umask, so it is run under 022;
//! - attributes that steer the kernel are kept (`trusted.*` but the overlay's own, `security.ima`, `user.overlay.*`), which
//!   are all left out here; a malformed `system.posix_acl_access` fails the image, and is left out here.

#![expect(clippy::unwrap_used, reason = "a test may, in its helping functions too")]

use flate2::Compression;
use flate2::write::GzEncoder;
use oci::Digest;
use rustix::fs::{Mode, OFlags};
use stage0::fetch::{Fetcher, PullPolicy, Quiet};
use stage0::image_ref::ImageRef;
use stage0::insecure::Insecure;
use stage0::render::{Content, Extent, extract};
use stage0::store::Store;
use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use tar::EntryType;

/// A folder that goes away with the test.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("rkt-umoci-{name}-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A layer in the making.
struct Layer(tar::Builder<Vec<u8>>);

impl Layer {
    fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    fn header(kind: EntryType, mode: u32, (uid, gid): (u64, u64), time: u64) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(uid);
        header.set_gid(gid);
        header.set_mtime(time);
        header.set_size(0);
        header
    }

    fn dir(mut self, path: &str, mode: u32, owner: (u64, u64), time: u64) -> Self {
        let mut header = Self::header(EntryType::Directory, mode, owner, time);
        self.0.append_data(&mut header, path, &[][..]).unwrap();
        self
    }

    fn file(mut self, path: &str, mode: u32, owner: (u64, u64), content: &[u8]) -> Self {
        let mut header = Self::header(EntryType::Regular, mode, owner, 1_500_000_000);
        header.set_size(content.len() as u64);
        self.0.append_data(&mut header, path, content).unwrap();
        self
    }

    fn link(mut self, kind: EntryType, path: &str, target: &str) -> Self {
        let mut header = Self::header(kind, 0o777, (3, 4), 1_400_000_000);
        self.0.append_link(&mut header, path, target).unwrap();
        self
    }

    fn node(mut self, kind: EntryType, path: &str, device: (u32, u32)) -> Self {
        let mut header = Self::header(kind, 0o620, (7, 8), 1_300_000_000);
        header.set_device_major(device.0).unwrap();
        header.set_device_minor(device.1).unwrap();
        self.0.append_data(&mut header, path, &[][..]).unwrap();
        self
    }

    fn pax(mut self, records: &[(&str, &[u8])]) -> Self {
        self.0.append_pax_extensions(records.iter().copied()).unwrap();
        self
    }

    fn white(self, path: &str) -> Self {
        self.file(path, 0o600, (0, 0), b"")
    }

    fn end(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// Writes an OCI layout with one image, tagged `t`.
fn layout(folder: &Path, layers: &[Vec<u8>]) {
    std::fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
    std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let put = |kind: &str, bytes: &[u8], rest: &str| {
        let digest = Digest::of(bytes);
        std::fs::write(folder.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        let size = bytes.len();
        format!(
            r#"{{"mediaType":"application/vnd.oci.image.{kind}","digest":"{digest}","size":{size}{rest}}}"#
        )
    };
    let (mut described, mut ids) = (Vec::new(), Vec::new());
    for layer in layers {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(layer).unwrap();
        described.push(put("layer.v1.tar+gzip", &packed.finish().unwrap(), ""));
        ids.push(format!("\"{}\"", Digest::of(layer)));
    }
    let (described, ids) = (described.join(","), ids.join(","));
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":[{ids}]}}}}"#
    );
    let config = put("config.v1+json", config.as_bytes(), "");
    let manifest = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{described}]}}"#);
    let tag = r#","annotations":{"org.opencontainers.image.ref.name":"t"}"#;
    let manifest = put("manifest.v1+json", manifest.as_bytes(), tag);
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{manifest}]}}"#);
    std::fs::write(folder.join("index.json"), index).unwrap();
}

/// All of a tree: for each path its kind, mode, owner, time, device, size, attributes, target or content, and the first of
/// the names that it shares a file with. Times of these folders are left out.
fn listing(root: &Path, timeless: &[&str]) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut first: HashMap<u64, String> = HashMap::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(path) = todo.pop() {
        let real = root.join(&path);
        let stat = real.symlink_metadata().unwrap();
        let name = path.as_os_str().as_encoded_bytes().escape_ascii().to_string();
        let mut content = String::new();
        if stat.is_dir() {
            let mut names: Vec<PathBuf> = std::fs::read_dir(&real)
                .unwrap()
                .map(|e| path.join(e.unwrap().file_name()))
                .collect();
            names.sort();
            todo.extend(names.into_iter().rev());
        } else if stat.is_symlink() {
            content = format!("-> {}", std::fs::read_link(&real).unwrap().display());
        } else if stat.is_file() {
            content = format!("{}", Digest::of(&std::fs::read(&real).unwrap()));
        }
        if !stat.is_dir() && stat.nlink() > 1 {
            let shared = first.entry(stat.ino()).or_insert_with(|| name.clone());
            content = format!("{content} as {shared} x{}", stat.nlink());
        }
        let time = format!("{}.{:09}", stat.mtime(), stat.mtime_nsec());
        let time = if timeless.contains(&name.as_str()) { "-" } else { &time };
        let (size, owner) = (if stat.is_dir() { 0 } else { stat.size() }, (stat.uid(), stat.gid()));
        let line = format!(
            "{:o} {owner:?} {time} {:x} {size} {:?} {content}",
            stat.mode(),
            stat.rdev(),
            attributes(&real)
        );
        all.insert(name, line);
    }
    all
}

fn attributes(path: &Path) -> BTreeMap<String, String> {
    let (mut names, mut value) = (vec![0_u8; 4096], vec![0_u8; 4096]);
    let size = rustix::fs::llistxattr(path, &mut names).unwrap();
    let mut all = BTreeMap::new();
    for name in names[..size].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let size = rustix::fs::lgetxattr(path, name, &mut value).unwrap();
        let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
        all.insert(text(name), text(&value[..size]));
    }
    all
}

/// Unpacks an image both ways, and compares; gives our listing.
fn compare(name: &str, layers: &[Vec<u8>], timeless: &[&str]) -> BTreeMap<String, String> {
    let place = Place::new(name);
    let image = place.0.join("image");
    layout(&image, layers);
    let unpacked = Command::new("sh")
        .args(["-c", "umask 022; exec umoci unpack --image \"$1\":t \"$2\"", "sh"])
        .args([&image, &place.0.join("bundle")])
        .output()
        .expect("umoci is installed");
    assert!(unpacked.status.success(), "{}", String::from_utf8_lossy(&unpacked.stderr));

    let store = Store::open(&place.0.join("data")).unwrap();
    let rules = Insecure::parse("image").unwrap();
    let fetcher = Fetcher::new(&store, rules, PullPolicy::New, &Quiet);
    let reference = ImageRef::parse(&format!("oci:{}:t", image.display())).unwrap();
    let id = fetcher.fetch(&reference, None).unwrap();
    let flat = place.0.join("flat");
    std::fs::create_dir(&flat).unwrap();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(&flat, flags, Mode::empty()).unwrap();
    extract(&store, &id, Extent::Alone, folder.as_fd(), Content::Rootfs).unwrap();

    // The root's time is the time of unpacking.
    let timeless = [timeless, &[""]].concat();
    let (ours, theirs) =
        (listing(&flat, &timeless), listing(&place.0.join("bundle/rootfs"), &timeless));
    for (path, line) in &theirs {
        assert_eq!(ours.get(path), Some(line), "{name}: {path}");
    }
    let more: Vec<_> = ours.keys().filter(|path| !theirs.contains_key(*path)).collect();
    assert!(more.is_empty(), "{name}: {more:?}");
    ours
}

const ROOT: (u64, u64) = (0, 0);

#[test]
fn every_kind_of_file() {
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let sparse = [&[b'x'; 10][..], &vec![0; 3 << 20], b"end"].concat();
    let layer = Layer::new()
        .dir("./", 0o751, (1, 2), 1_000_000_000)
        .dir("d", 0o2775, (5, 6), 1_100_000_000)
        .file("d/of-group", 0o644, (5, 9), b"group")
        .dir("d/sub", 0o755, ROOT, 1_100_000_001)
        .dir("sticky", 0o1777, ROOT, 1_100_000_002)
        .file("setuid", 0o6755, (1000, 1000), b"setuid")
        .file("closed", 0o000, (70_000, 4_000_000), b"closed")
        .file("sparse", 0o644, ROOT, &sparse)
        .file("empty", 0o644, ROOT, b"")
        .pax(&[("SCHILY.xattr.user.a", b"1"), ("SCHILY.xattr.user.b", b"two\nlines\0nul")])
        .file("attributes", 0o640, ROOT, b"x")
        .pax(&[("SCHILY.xattr.user.folder", b"f")])
        .dir("d/attributes", 0o700, ROOT, 1_200_000_000)
        .pax(&[("SCHILY.xattr.security.capability", &capability)])
        .file("capable", 0o755, (33, 33), b"x")
        .pax(&[("mtime", b"1234567890.123456789")])
        .file("precise", 0o644, ROOT, b"x")
        .pax(&[("path", "n\u{e4}me\nwith \u{1f600}".as_bytes())])
        .file("replaced", 0o644, ROOT, b"x")
        .pax(&[("uid", b"3000000000"), ("gid", b"3000000001")])
        .file("far-ids", 0o644, ROOT, b"x")
        .link(EntryType::Symlink, "absolute", "/etc/passwd")
        .link(EntryType::Symlink, "dangling", "../../nowhere")
        .link(EntryType::Link, "hard", "setuid")
        .link(EntryType::Link, "of-link", "absolute")
        .node(EntryType::Char, "null", (1, 3))
        .node(EntryType::Block, "disk", (7, 200))
        .node(EntryType::Fifo, "fifo", (0, 0))
        .file(&format!("long/{}/{}", "a".repeat(120), "b".repeat(200)), 0o644, ROOT, b"long")
        .end();
    // Parents that no layer lists.
    let long = format!("long/{}", "a".repeat(120));
    let found = compare("kinds", &[layer], &["long", &long]);
    assert_eq!(found.len(), 25);
    assert!(found["capable"].contains("security.capability"), "{}", found["capable"]);
}

#[test]
fn layers_over_layers() {
    let base = Layer::new()
        .dir("./", 0o755, ROOT, 1_000_000_000)
        .dir("a", 0o711, (5, 6), 1_100_000_000)
        .file("a/old", 0o644, ROOT, b"1")
        .file("a/both", 0o644, ROOT, b"1")
        .dir("kept", 0o711, (5, 6), 1_100_000_000)
        .file("kept/old", 0o644, ROOT, b"1")
        .file("gone", 0o644, ROOT, b"1")
        .file("again", 0o600, (1, 1), b"1")
        .dir("folder", 0o755, ROOT, 1_100_000_000)
        .file("folder/old", 0o644, ROOT, b"1")
        .file("file", 0o644, ROOT, b"1")
        .pax(&[("SCHILY.xattr.user.old", b"1")])
        .dir("attributes", 0o755, ROOT, 1_100_000_000)
        .file("attributes/in", 0o644, ROOT, b"1")
        .dir("empty-later", 0o755, ROOT, 1_100_000_000)
        .file("empty-later/x", 0o644, ROOT, b"1")
        .end();
    let over = Layer::new()
        .dir("./", 0o755, ROOT, 1_000_000_000)
        .dir("a", 0o750, (7, 8), 1_200_000_000)
        .white("a/.wh..wh..opq")
        .file("a/both", 0o600, ROOT, b"2")
        .file("a/new", 0o644, ROOT, b"2")
        .dir("kept", 0o700, ROOT, 1_200_000_000)
        .white(".wh.gone")
        .file("again", 0o644, (2, 2), b"2")
        .file("folder", 0o644, ROOT, b"2")
        .dir("file", 0o755, ROOT, 1_200_000_000)
        .file("file/new", 0o644, ROOT, b"2")
        .dir("attributes", 0o755, ROOT, 1_200_000_000)
        .dir("empty-later", 0o755, ROOT, 1_200_000_000)
        .white("empty-later/.wh.x")
        .end();
    let found = compare("layers", &[base, over], &[]);
    assert!(!found.contains_key("a/old") && !found.contains_key("gone"));
    assert!(found.contains_key("kept/old"));
}

#[test]
fn links_and_parents_across_layers() {
    let base = Layer::new()
        .dir("./", 0o755, ROOT, 1_000_000_000)
        .dir("usr", 0o711, (5, 6), 1_100_000_000)
        .dir("usr/lib", 0o755, (5, 6), 1_100_000_000)
        .link(EntryType::Symlink, "lib", "usr/lib")
        .link(EntryType::Symlink, "out", "../../../usr")
        .file("one", 0o644, (1, 1), b"one")
        .link(EntryType::Link, "two", "one")
        .link(EntryType::Symlink, "link", "one")
        .end();
    let over = Layer::new()
        .file("lib/through", 0o644, ROOT, b"2")
        .file("out/above", 0o644, ROOT, b"2")
        .file("usr/unlisted", 0o644, ROOT, b"2")
        .link(EntryType::Link, "three", "one")
        .link(EntryType::Link, "usr/of-link", "link")
        .end();
    let top = Layer::new().file("two", 0o600, ROOT, b"replaced").end();
    let found = compare("links", &[base, over, top], &["usr", "usr/lib"]);
    assert!(found["one"].contains("x2") && found["three"].contains("as one"), "{found:?}");
    assert!(found.contains_key("usr/lib/through") && found.contains_key("usr/above"));
}
