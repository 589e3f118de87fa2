use super::*;
use crate::merge::Merged;
use crate::rewrite;
use crate::tar::{Kind, TarReader};
use crate::write::{Times, aci};
use rustix::fs::{CWD, XattrFlags, makedev, mknodat};
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::PathBuf;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("archive-live-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn open(&self) -> OwnedFd {
        File::open(&self.0).unwrap().into()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// What an archive has, each with all that is said of it and all its bytes, sorted. `manifest` is left out.
fn members(archive: &[u8]) -> Vec<String> {
    let mut reader = TarReader::new(archive);
    let mut found = Vec::new();
    while let Some(entry) = reader.next().unwrap() {
        let mut bytes = Vec::new();
        reader.read_all(&mut bytes).unwrap();
        if entry.path != b"manifest" {
            found.push(format!("{} {entry:?} {bytes:?}", entry.path.escape_ascii()));
        }
    }
    assert!(reader.has_end());
    found.sort();
    found
}

fn written(folder: &Folder) -> Vec<u8> {
    tar(Vec::new(), folder.open().as_fd(), &Limits::default()).unwrap()
}

#[test]
fn a_quiet_tree_is_what_it_would_be_of_a_pod_that_is_over() {
    let folder = Folder::new("quiet");
    let at = |name: &str| folder.0.join(name);
    fs::create_dir_all(at("a/b/c")).unwrap();
    fs::write(at("a/file"), "x".repeat(100_000)).unwrap();
    fs::write(at(&"long-name".repeat(20)), "").unwrap();
    File::create(at("sparse")).unwrap().set_len(1 << 20).unwrap();
    fs::hard_link(at("a/file"), at("a/b/other")).unwrap();
    symlink("/etc/passwd", at("a/link")).unwrap();
    symlink("/etc", at("a/b/out")).unwrap();
    fs::hard_link(at("a/link"), at("link")).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    mknodat(CWD, at("null"), FileType::CharacterDevice, mode, makedev(1, 3)).unwrap();
    mknodat(CWD, at("disk"), FileType::BlockDevice, mode, makedev(7, 300)).unwrap();
    mknodat(CWD, at("fifo"), FileType::Fifo, mode, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    chown(at("a/b"), Some(70_000), Some(4_000_000_000)).unwrap();
    fs::set_permissions(at("a/file"), fs::Permissions::from_mode(0o6711)).unwrap();
    let capability = [1, 0, 0, 2, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let set = |name: &str, value: &[u8]| {
        rustix::fs::setxattr(at("a/file"), name, value, XattrFlags::empty()).unwrap();
    };
    set("security.capability", &capability);
    if rustix::fs::setxattr(at("a"), "user.x", b"y", XattrFlags::empty()).is_ok() {
        set("user.y", b"z=\n");
    }

    let live = written(&folder);
    let quiet = aci(Vec::new(), b"{}", &Merged::new(vec![folder.open()]), Times::Keep).unwrap();
    let found = members(&live);
    assert_eq!(found.len(), 14);
    // Which of several names comes first depends on the order.
    let linked =
        |member: &&String| !member.contains("rootfs/a/") && !member.contains("rootfs/link");
    let expected = members(&quiet);
    assert_eq!(
        found.iter().filter(linked).collect::<Vec<_>>(),
        expected.iter().filter(linked).collect::<Vec<_>>()
    );
    let kinds =
        |kind: Kind| found.iter().filter(|m| m.contains(&format!("kind: {kind:?}"))).count();
    assert_eq!((kinds(Kind::HardLink), kinds(Kind::Symlink), kinds(Kind::File)), (2, 2, 3));
    // Read again and written anew, it is the same, too.
    let anew = rewrite::aci(Vec::new(), b"{}", &mut &live[..], &Limits::default()).unwrap();
    assert_eq!(members(&anew), found);
}

/// Changes the tree when the header of a name has been written.
struct When<'a>(&'a str, Option<Box<dyn FnOnce() + 'a>>, Vec<u8>);

impl Write for When<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.2.extend_from_slice(bytes);
        if bytes.starts_with(self.0.as_bytes()) && bytes.get(self.0.len()) == Some(&0) {
            self.1.take().unwrap()();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_changes_meanwhile_leads_nowhere() {
    let (folder, outside) = (Folder::new("changes"), Folder::new("outside"));
    fs::write(outside.0.join("secret"), "secret").unwrap();
    let at = |name: &str| folder.0.join(name);
    let change = |name: &str, change: &dyn Fn()| {
        let when = When(name, Some(Box::new(change)), Vec::new());
        let when = tar(when, folder.open().as_fd(), &Limits::default()).unwrap();
        assert!(when.1.is_none(), "{name} was never written");
        let text = when.2.escape_ascii().to_string();
        assert!(!text.contains("secret"), "{text}");
        // Still a whole archive.
        rewrite::aci(Vec::new(), b"{}", &mut &when.2[..], &Limits::default()).unwrap();
        members(&when.2)
    };
    fs::create_dir(at("d")).unwrap();
    fs::write(at("d/secret"), "").unwrap();
    fs::remove_file(at("d/secret")).unwrap();
    fs::write(at("d/f"), "inside").unwrap();
    // A folder becomes a link: what was opened is read.
    let found = change("rootfs/d", &|| {
        fs::rename(at("d"), at("moved")).unwrap();
        symlink(&outside.0, at("d")).unwrap();
    });
    assert!(found.iter().any(|member| member.starts_with("rootfs/d/f ")), "{found:?}");
    fs::remove_file(at("d")).unwrap();

    // What comes later is gone, or something else.
    let replace = |make: &dyn Fn()| {
        let found = change("rootfs", &|| {
            fs::remove_dir_all(at("moved")).unwrap();
            make();
        });
        fs::remove_file(at("moved")).unwrap();
        fs::create_dir(at("moved")).unwrap();
        found.len()
    };
    assert_eq!(replace(&|| symlink(&outside.0, at("moved")).unwrap()), 2);
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    assert_eq!(replace(&|| mknodat(CWD, at("moved"), FileType::Fifo, mode, 0).unwrap()), 2);

    // A file becomes shorter and longer than its header said.
    fs::write(at("file"), "x".repeat(3000)).unwrap();
    for size in [0, 1000, 1 << 30] {
        let found = change("rootfs/file", &|| {
            File::options().write(true).open(at("file")).unwrap().set_len(size).unwrap();
        });
        let file = found.iter().find(|member| member.starts_with("rootfs/file ")).unwrap();
        let kept = usize::try_from(size).unwrap().min(3000);
        assert_eq!(file.matches("120").count(), kept, "{size}");
        fs::write(at("file"), "x".repeat(3000)).unwrap();
    }
}

#[test]
fn what_is_mounted_is_not_part_of_it() {
    let root = File::open("/").unwrap();
    let stat = |path: &std::ffi::CStr| open(root.as_fd(), path, b"", OFlags::DIRECTORY).unwrap();
    assert!(stat(c"proc").is_none() && stat(c".").is_some());
}

#[test]
fn too_deep_is_an_error_and_not_the_end_of_the_stack() {
    let folder = Folder::new("deep");
    let mut at = folder.open();
    for _ in 0..1100 {
        rustix::fs::mkdirat(&at, "d", rustix::fs::Mode::RWXU).unwrap();
        at = rustix::fs::openat(&at, "d", OFlags::RDONLY, rustix::fs::Mode::empty()).unwrap();
    }
    let error = tar(io::sink(), folder.open().as_fd(), &Limits::default()).map(drop).unwrap_err();
    assert!(matches!(error, LiveError::Depth(_)), "{error:?}");
    let limits = Limits { path: 100, ..Limits::default() };
    let error = tar(io::sink(), folder.open().as_fd(), &limits).map(drop).unwrap_err();
    assert!(matches!(&error, LiveError::Depth(path) if path.len() < 110), "{error:?}");
}

#[test]
fn names_of_files_with_several_are_forgotten_when_all_were_seen() {
    let folder = Folder::new("names");
    let file = File::create(folder.0.join("0")).unwrap();
    for name in 1..10 {
        fs::hard_link(folder.0.join("0"), folder.0.join(name.to_string())).unwrap();
    }
    let mut walk = Walk {
        writer: AciWriter { out: io::sink() },
        limits: &Limits::default(),
        linked: HashMap::new(),
        names: 0,
        buffer: Vec::new(),
    };
    let stat = fstat(&file).unwrap();
    for name in 0..10 {
        let member = Member::new(name.to_string().as_bytes(), &stat);
        assert_eq!(walk.named(member, &stat).unwrap(), name == 0);
        assert_eq!((walk.linked.len(), walk.names > 0), (usize::from(name < 9), name < 9));
    }
    let long = vec![b'x'; 4000];
    let mut stat = stat;
    let error = (0..).find_map(|ino| {
        stat.st_ino = ino;
        walk.named(Member::new(&long, &stat), &stat).err()
    });
    assert!(matches!(error, Some(LiveError::Names)) && walk.linked.len() < NAMES / 4000);
}
