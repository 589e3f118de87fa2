//! Images of trees: what the kernel shows of them is the tree.

#![expect(clippy::unwrap_used, reason = "a test may, in its helping functions too")]

use archive::erofs::{ErofsError, VolumeId, Written, write};
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, chownat,
    lgetxattr, llistxattr, lsetxattr, makedev, mknodat, utimensat,
};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};
use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs::File;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder with a tree and its image, which goes away with the test.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // Not in memory: a tmpfs does not take all attributes everywhere.
        let path = format!("/var/tmp/archive-erofs-{}-{number}", std::process::id());
        let place = Self(path.into());
        std::fs::create_dir_all(place.tree()).unwrap();
        place
    }

    fn tree(&self) -> PathBuf {
        self.0.join("tree")
    }

    fn image(&self) -> PathBuf {
        self.0.join("image")
    }

    fn write(&self) -> Result<Written, ErofsError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let tree = rustix::fs::open(self.tree(), flags, Mode::empty()).unwrap();
        write(tree.as_fd(), File::create(self.image()).unwrap(), VolumeId([7; 16]))
    }

    /// Writes the image, and holds what the kernel shows of it against the tree.
    fn check(&self) -> Written {
        let written = self.write().unwrap();
        assert_eq!(written.bytes, self.image().metadata().unwrap().len());
        let shown = Mounted::new(&self.image());
        let (wanted, found) = (Listing::of(&self.tree()), Listing::of(&shown.path()));
        assert_eq!(wanted.inodes, found.inodes);
        assert_eq!(written.inodes, found.inodes);
        for (path, line) in &wanted.lines {
            assert_eq!(Some(line), found.lines.get(path), "{}", path.display());
        }
        assert_eq!(wanted.lines.len(), found.lines.len());
        written
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A mount without a place, which ends with the process at the latest.
struct Mounted(OwnedFd);

impl Mounted {
    fn new(image: &Path) -> Self {
        let options = ["--find", "--show", "--read-only"];
        let found = found_output(Command::new("losetup").args(options).arg(image));
        let device = found.trim();
        let context = fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
        fsconfig_set_string(context.as_fd(), "source", device).unwrap();
        fsconfig_set_flag(context.as_fd(), "ro").unwrap();
        let made = fsconfig_create(context.as_fd());
        // It goes when the mount does.
        found_output(Command::new("losetup").arg("--detach").arg(device));
        made.unwrap();
        let rights = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV;
        Self(fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, rights).unwrap())
    }

    fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}/.", self.0.as_raw_fd()).into()
    }
}

fn found_output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// All there is to know of a tree, a line a path.
#[derive(Default)]
struct Listing {
    lines: BTreeMap<PathBuf, String>,
    inodes: u64,
    names: HashMap<u64, Vec<PathBuf>>,
}

impl Listing {
    fn of(root: &Path) -> Self {
        let mut listing = Self::default();
        listing.add(root, Path::new(""));
        for mut names in std::mem::take(&mut listing.names).into_values() {
            names.sort();
            for name in &names {
                write!(listing.lines.get_mut(name).unwrap(), " is {}", names[0].display()).unwrap();
            }
        }
        listing
    }

    fn add(&mut self, root: &Path, path: &Path) {
        let full = root.join(path);
        let stat = full.symlink_metadata().unwrap();
        let mut line = format!("{:o} device {:x}", stat.mode(), stat.rdev());
        if stat.mode() != 0o020_000 || stat.rdev() != 0 {
            // A whiteout has nothing of this.
            write!(line, " {}:{} {}", stat.uid(), stat.gid(), stat.mtime()).unwrap();
            write!(line, ".{:09} {:?}", stat.mtime_nsec(), attributes(&full)).unwrap();
        }
        if stat.is_dir() {
            let mut folders = 0;
            for entry in full.read_dir().unwrap() {
                let entry = entry.unwrap();
                folders += u64::from(entry.file_type().unwrap().is_dir());
                self.add(root, &path.join(entry.file_name()));
            }
            self.inodes += 1;
            assert_eq!(stat.nlink(), folders + 2, "{}", path.display());
        } else {
            let names = self.names.entry(stat.ino()).or_default();
            self.inodes += u64::from(names.is_empty());
            names.push(path.to_owned());
            write!(line, " links {}", stat.nlink()).unwrap();
        }
        if stat.is_symlink() {
            write!(line, " -> {}", full.read_link().unwrap().as_os_str().as_bytes().escape_ascii())
                .unwrap();
        } else if stat.is_file() {
            write!(line, " {} bytes {}", stat.len(), content(&full, stat.len())).unwrap();
        }
        self.lines.insert(path.to_owned(), line);
    }
}

fn attributes(path: &Path) -> BTreeMap<OsString, Vec<u8>> {
    let mut names = vec![0; 4 << 10];
    let length = llistxattr(path, &mut names[..]).unwrap();
    names.truncate(length);
    let mut value = vec![0; if length == 0 { 0 } else { 64 << 10 }];
    let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    // What a security module of this host says of everything is no part of a tree.
    let names = names.map(OsStr::from_bytes).filter(|name| *name != "security.selinux");
    names
        .map(|name| {
            let length = lgetxattr(path, name, &mut value[..]).unwrap();
            (name.to_owned(), value[..length].to_vec())
        })
        .collect()
}

/// A digest of a file. Of large ones, of what is at their beginning and end.
fn content(path: &Path, size: u64) -> String {
    let file = File::open(path).unwrap();
    let mut hash = blake3::Hasher::new();
    let mut piece = vec![0; size.min(1 << 20) as usize];
    let mut at = 0;
    while at < size {
        let length = file.read_at(&mut piece, at).unwrap();
        assert_ne!(length, 0, "{}", path.display());
        hash.update(&piece[..length]);
        at += length as u64;
        if at > 64 << 20 && at < size - (4 << 20) {
            at = size - (4 << 20);
        }
    }
    hash.finalize().to_hex().to_string()
}

fn own(path: &Path, user: u32, group: u32) {
    let (user, group) = (Some(Uid::from_raw(user)), Some(Gid::from_raw(group)));
    chownat(CWD, path, user, group, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn touch(path: &Path, tv_sec: i64, tv_nsec: i64) {
    let time = Timespec { tv_sec, tv_nsec };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn special(path: &Path, kind: FileType, device: u64) {
    mknodat(CWD, path, kind, Mode::from_raw_mode(0o600), device).unwrap();
}

fn attribute(path: &Path, name: &str, value: &[u8]) {
    lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
}

/// What `setcap cap_net_raw+ep` writes.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

#[test]
fn every_kind_of_file_is_shown() {
    testkit::needs!(Root);
    let place = Place::new();
    let tree = place.tree();
    std::fs::create_dir_all(tree.join("etc/deep/er")).unwrap();
    std::fs::write(tree.join("etc/passwd"), "root:x:0:0").unwrap();
    std::fs::write(tree.join("empty"), "").unwrap();
    std::fs::hard_link(tree.join("etc/passwd"), tree.join("etc/deep/again")).unwrap();
    std::fs::hard_link(tree.join("etc/passwd"), tree.join("!first")).unwrap();
    symlink("../nowhere", tree.join("etc/link")).unwrap();
    symlink("x".repeat(4095), tree.join("long")).unwrap();
    std::fs::hard_link(tree.join("long"), tree.join("longer")).unwrap();
    special(&tree.join("pipe"), FileType::Fifo, 0);
    special(&tree.join("socket"), FileType::Socket, 0);
    special(&tree.join("null"), FileType::CharacterDevice, makedev(1, 3));
    special(&tree.join("disk"), FileType::BlockDevice, makedev(259, 70_000));
    mknodat(CWD, tree.join("gone"), FileType::CharacterDevice, Mode::empty(), 0).unwrap();
    std::fs::hard_link(tree.join("disk"), tree.join("etc/disk")).unwrap();
    own(&tree.join("etc/passwd"), 4_000_000_000, 70_000);
    own(&tree.join("etc/link"), 1, 2);
    own(&tree.join("null"), 65_535, 65_535);
    let mode = std::os::unix::fs::PermissionsExt::from_mode;
    std::fs::set_permissions(tree.join("etc/passwd"), mode(0o6751)).unwrap();
    std::fs::set_permissions(tree.join("etc"), mode(0o1777)).unwrap();
    touch(&tree.join("null"), 1_700_000_000, 0);
    touch(&tree.join("etc/passwd"), -86_400, 1);
    touch(&tree.join("etc/link"), 1 << 32, 999_999_999);
    touch(&tree.join("etc"), 5, 6);
    touch(&tree, 1_700_000_000, 0);
    place.check();
}

#[test]
fn attributes_are_kept() {
    testkit::needs!(Root);
    let place = Place::new();
    let tree = place.tree();
    for number in 0..200 {
        let file = tree.join(format!("file-{number}"));
        std::fs::write(&file, vec![b'x'; number * 40]).unwrap();
        attribute(&file, "security.capability", &CAPABILITY);
        attribute(&file, "user.number", number.to_string().as_bytes());
        attribute(&file, "user.empty", b"");
        // Inodes that end at any place of a block, and attributes across two of them.
        attribute(&file, "user.long", &vec![b'v'; 1 + number * 17 % 3000]);
    }
    let folder = tree.join("opaque");
    std::fs::create_dir(&folder).unwrap();
    attribute(&folder, "trusted.overlay.opaque", b"y");
    attribute(&tree, "trusted.overlay.opaque", b"y");
    let many = tree.join("many");
    std::fs::create_dir(&many).unwrap();
    for number in 0..60 {
        attribute(&many, &format!("user.{number}"), &[b'z'; 30]);
    }
    place.check();
}

#[test]
fn stacked_images_hide_what_layers_hide() {
    testkit::needs!(Root, Overlay);
    let (low, high) = (Place::new(), Place::new());
    for path in ["opaque", "merged"] {
        std::fs::create_dir(low.tree().join(path)).unwrap();
        std::fs::write(low.tree().join(path).join("low"), "low").unwrap();
        std::fs::create_dir(high.tree().join(path)).unwrap();
        std::fs::write(high.tree().join(path).join("high"), "high").unwrap();
    }
    attribute(&high.tree().join("opaque"), "trusted.overlay.opaque", b"y");
    std::fs::write(low.tree().join("gone"), "low").unwrap();
    let (gone, none) = (high.tree().join("gone"), Mode::empty());
    mknodat(CWD, gone, FileType::CharacterDevice, none, 0).unwrap();
    low.check();
    high.check();
    let (low, high) = (Mounted::new(&low.image()), Mounted::new(&high.image()));
    let stack = format!("{}:{}", high.path().display(), low.path().display());
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    fsconfig_set_string(context.as_fd(), "lowerdir", stack).unwrap();
    fsconfig_create(context.as_fd()).unwrap();
    let rights = MountAttrFlags::empty();
    let shown = Mounted(fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, rights).unwrap());
    let names = |path: &str| {
        let entries = shown.path().join(path).read_dir().unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(""), ["merged", "opaque"]);
    assert_eq!(names("merged"), ["high", "low"]);
    assert_eq!(names("opaque"), ["high"]);
}

#[test]
fn attributes_that_others_have_too_take_little() {
    testkit::needs!(Root);
    let place = Place::new();
    let value = [b'v'; 1000];
    for number in 0..1000 {
        let file = place.tree().join(number.to_string());
        std::fs::write(&file, "").unwrap();
        attribute(&file, "user.v", &value);
    }
    let written = place.check();
    assert!(written.bytes < 1000 * 200, "{written:?}");
}

#[test]
fn attributes_of_the_machine_are_left_out() {
    testkit::needs!(Root);
    let place = Place::new();
    let file = place.tree().join("file");
    std::fs::write(&file, "x").unwrap();
    attribute(&file, "trusted.overlay.redirect", b"/etc/shadow");
    attribute(&file, "trusted.other", b"1");
    attribute(&file, "user.kept", b"1");
    place.write().unwrap();
    let shown = Mounted::new(&place.image());
    let found = attributes(&shown.path().join("file"));
    assert_eq!(found.into_keys().collect::<Vec<_>>(), ["user.kept"]);
}

#[test]
fn names_of_a_large_folder_are_found() {
    testkit::needs!(Root);
    let place = Place::new();
    let tree = place.tree();
    for number in 0_usize..5000 {
        // The start of one is another; some come before the dots.
        let start = ["", "-", "!", "\u{e9}", "name-", "\n"][number % 6];
        let name = format!("{start}{number}{}", "x".repeat(number * 31 % 240));
        match number % 10 {
            0 => std::fs::create_dir(tree.join(name)).unwrap(),
            1 => symlink(&name, tree.join(&name)).unwrap(),
            _ => std::fs::write(tree.join(name), number.to_string()).unwrap(),
        }
    }
    std::fs::write(tree.join(OsStr::from_bytes(&[0xff; 255])), "last").unwrap();
    std::fs::write(tree.join(OsStr::from_bytes(&[1; 255])), "first").unwrap();
    place.check();
}

#[test]
fn sizes_around_blocks_are_kept() {
    testkit::needs!(Root);
    let place = Place::new();
    let bytes: Vec<u8> = (0_u32..20_000).map(|n| (n % 251) as u8).collect();
    for size in [1, 31, 32, 4000, 4031, 4032, 4033, 4095, 4096, 4097, 8191, 8192, 20_000] {
        std::fs::write(place.tree().join(size.to_string()), &bytes[..size]).unwrap();
        let folder = place.tree().join(format!("folder-{size}"));
        std::fs::create_dir(&folder).unwrap();
        // 12 and 5 bytes a name.
        for number in 0..size / 17 {
            symlink("t", folder.join(format!("{number:05}"))).unwrap();
        }
    }
    place.check();
}

#[test]
fn holes_take_no_room_and_large_files_are_whole() {
    testkit::needs!(Root);
    let place = Place::new();
    let tree = place.tree();
    let large = File::create(tree.join("large")).unwrap();
    large.set_len((5 << 30) + 3).unwrap();
    large.write_all_at(b"begin", 0).unwrap();
    large.write_all_at(&vec![b'm'; 300_000], 40 << 20).unwrap();
    large.write_all_at(b"end", 5 << 30).unwrap();
    File::create(tree.join("hollow")).unwrap().set_len(10 << 20).unwrap();
    let data = File::create(tree.join("data")).unwrap();
    for index in 0..300_u64 {
        data.write_all_at(&[index as u8; 10_000], index * 10_000).unwrap();
    }
    place.check();
    let stat = place.image().metadata().unwrap();
    assert!(stat.blocks() * 512 < 8 << 20, "{}", stat.blocks());
}

#[test]
fn depth_does_not_matter() {
    testkit::needs!(Root);
    let place = Place::new();
    let (name, depth) = ("d".repeat(200), 60);
    let mut at = rustix::fs::open(place.tree(), OFlags::PATH, Mode::empty()).unwrap();
    for _ in 0..depth {
        rustix::fs::mkdirat(&at, &name, Mode::RWXU).unwrap();
        at = rustix::fs::openat(&at, &name, OFlags::PATH, Mode::empty()).unwrap();
    }
    rustix::fs::mkdirat(&at, "bottom", Mode::RWXU).unwrap();
    assert_eq!(place.write().unwrap().inodes, depth + 2);
    let shown = Mounted::new(&place.image());
    let mut at = shown.0.try_clone().unwrap();
    for _ in 0..depth {
        at = rustix::fs::openat(&at, &name, OFlags::PATH, Mode::empty()).unwrap();
    }
    rustix::fs::statat(&at, "bottom", AtFlags::empty()).unwrap();
    drop(at);
    let tree = rustix::fs::open(place.tree(), OFlags::RDONLY, Mode::empty()).unwrap();
    archive::remove::children(tree.as_fd()).unwrap();
}

#[test]
fn links_are_not_followed() {
    testkit::needs!(Root);
    let place = Place::new();
    symlink("/etc", place.tree().join("etc")).unwrap();
    symlink("/etc/passwd", place.tree().join("passwd")).unwrap();
    assert_eq!(place.check().inodes, 3);
}

#[test]
fn names_outside_the_tree_do_not_count() {
    testkit::needs!(Root);
    let place = Place::new();
    let tree = place.tree();
    std::fs::write(tree.join("a"), "x").unwrap();
    std::fs::hard_link(tree.join("a"), tree.join("b")).unwrap();
    place.check();
    let before = std::fs::read(place.image()).unwrap();
    std::fs::hard_link(tree.join("a"), place.0.join("outside")).unwrap();
    place.write().unwrap();
    assert!(before == std::fs::read(place.image()).unwrap());
}

#[test]
fn the_same_tree_gives_the_same_bytes() {
    testkit::needs!(Root);
    let (one, two) = (Place::new(), Place::new());
    // In the other order, over a file with other bytes, and with whiteouts of another time.
    std::fs::write(two.image(), vec![0xff; 100_000]).unwrap();
    for (place, reverse) in [(&one, false), (&two, true)] {
        let mut numbers: Vec<u32> = (0..500).collect();
        if reverse {
            numbers.reverse();
        }
        for number in numbers {
            let file = place.tree().join(number.to_string());
            if number % 9 == 0 {
                let none = Mode::empty();
                mknodat(CWD, &file, FileType::CharacterDevice, none, 0).unwrap();
            } else {
                std::fs::write(&file, vec![number as u8; number as usize * 30]).unwrap();
                touch(&file, i64::from(number / 100), 0);
            }
        }
        std::fs::hard_link(place.tree().join("1"), place.tree().join("same")).unwrap();
        touch(&place.tree(), 3, 0);
        place.check();
    }
    assert!(std::fs::read(one.image()).unwrap() == std::fs::read(two.image()).unwrap());
}

#[test]
fn what_has_no_form_is_refused() {
    testkit::needs!(Root);
    let place = Place::new();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let tree = rustix::fs::open(place.tree(), flags, Mode::empty()).unwrap();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let error = write(tree.as_fd(), full, VolumeId([0; 16])).unwrap_err();
    assert!(matches!(error, ErofsError::Write(_)), "{error:?}");
    let read_only = File::open("/dev/null").unwrap();
    let error = write(tree.as_fd(), read_only, VolumeId([0; 16])).unwrap_err();
    assert_eq!(error.to_string(), "cannot write the image");
}

/// Numbers that are the same on every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn name(&mut self) -> OsString {
        let most = if self.below(10) == 0 { 255 } else { 20 };
        let length = 1 + self.below(most);
        let bytes: Vec<u8> = (0..length)
            .map(|_| match self.below(255) as u8 + 1 {
                b'/' => b'+',
                other => other,
            })
            .collect();
        OsStr::from_bytes(&bytes).to_owned()
    }

    /// One more thing in a folder; `files` are what links may lead to, `folders` grows.
    fn thing(&mut self, path: &Path, files: &mut Vec<PathBuf>, folders: &mut Vec<PathBuf>) {
        match self.below(12) {
            0 | 1 => {
                std::fs::create_dir(path).unwrap();
                folders.push(path.to_owned());
            }
            2 => symlink(self.name(), path).unwrap(),
            3 => special(path, FileType::CharacterDevice, makedev(self.below(4000) as u32, 1)),
            4 if !files.is_empty() => {
                let target = &files[self.below(files.len() as u64) as usize];
                return std::fs::hard_link(target, path).unwrap();
            }
            5 => special(path, FileType::Fifo, 0),
            _ => {
                let most = [10, 4100, 9000, 200_000][self.below(4) as usize];
                let size = self.below(most);
                std::fs::write(path, vec![size as u8; size as usize]).unwrap();
                files.push(path.to_owned());
            }
        }
        if self.below(3) == 0 && (path.is_file() || path.is_dir()) && !path.is_symlink() {
            let size = self.below(3000) as usize;
            attribute(path, &format!("user.{}", self.below(5)), &vec![size as u8; size]);
        }
        if self.below(2) == 0 {
            own(path, self.below(1 << 32) as u32 / 2, self.below(70_000) as u32);
        }
    }
}

#[test]
fn trees_of_all_shapes_are_shown() {
    testkit::needs!(Root);
    for seed in 1..=12_u64 {
        println!("seed {seed}");
        let place = Place::new();
        let mut numbers = Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (mut files, mut folders) = (Vec::new(), vec![place.tree()]);
        for _ in 0..400 {
            let folder = folders[numbers.below(folders.len() as u64) as usize].clone();
            let path = folder.join(numbers.name());
            if path.symlink_metadata().is_err() && path.as_os_str().len() < 3000 {
                numbers.thing(&path, &mut files, &mut folders);
            }
        }
        let mut all: Vec<&PathBuf> = files.iter().chain(&folders).collect();
        all.reverse();
        for path in all {
            touch(path, numbers.below(3) as i64, numbers.below(2) as i64);
        }
        place.check();
    }
}
