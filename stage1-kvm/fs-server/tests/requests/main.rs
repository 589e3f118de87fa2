//! The file server as a guest meets it that has no kernel: hostile names and requests, what is and is not shown, whose files
//! are whose, and how it ends. It takes root; no virtual machine.

#![expect(clippy::unwrap_used, reason = "a test ends at its first surprise")]

mod guest;

use guest::{
    CREATE, Guest, Host, LINK, LOOKUP, MKDIR, MKNOD, OPEN, OPENDIR, READDIR, READLINK, RENAME,
    RMDIR, ROOT, SETATTR, SETXATTR, SYMLINK, UNLINK, WRITE_FILE, bytes, text, volume,
};
use stage2::mounts::Access::{ReadOnly, ReadWrite};
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use sys::lock::{LockFd, Mode};
use sys::mount::Depth::{Recursive, Single};
use sys::mount::Propagation;
use sys::process::End;
use testkit::needs;

const NOT_PERMITTED: i32 = 1;
const NO_ENTRY: i32 = 2;
const BAD_FILE: i32 = 9;
const OTHER_DEVICE: i32 = 18;
const READ_ONLY: i32 = 30;

/// Names that no kernel would send, and some of which lead outside where they are looked up carelessly.
const NAMES: [&str; 12] = [
    "..",
    "../outside",
    "../../outside/secret",
    "../../../../../../../../etc/passwd",
    "/etc/passwd",
    "/",
    "folder/../../outside/secret",
    "up",
    "up/secret",
    "host",
    "host/secret",
    "",
];

#[test]
fn no_name_leads_outside() {
    needs!(Root);
    let host = Host::new();
    let outside = host.path("outside");
    symlink("../outside", host.path("inside/up")).unwrap();
    symlink(&outside, host.path("inside/host")).unwrap();
    let hidden = [&outside, &outside.join("secret"), &host.path("."), Path::new("/etc/passwd")]
        .map(|path| fs::symlink_metadata(path).unwrap().ino());
    let (mut guest, server) = Guest::new(vec![volume(&host.path("inside"), ReadWrite, Recursive)]);
    let top = guest.walk("0");
    let folder = guest.walk("0/folder");
    for node in [top, folder, ROOT] {
        for name in NAMES {
            if let Ok(found) = guest.look(node, name) {
                assert!(!hidden.contains(&found.inode), "{name:?} is {found:?}");
            }
            let below = text(&format!("{name}/made"));
            let numbered = |numbers: &[u32], name: &[u8]| [&bytes(numbers), name].concat();
            for (request, body) in [
                (MKDIR, numbered(&[0o777, 0], &below)),
                (MKNOD, numbered(&[0o100_644, 0, 0, 0], &below)),
                (CREATE, numbered(&[0o102, 0o644, 0, 0], &below)),
                (SYMLINK, [&*below, b"x\0"].concat()),
                (LINK, [&folder.to_le_bytes()[..], &below].concat()),
                (UNLINK, text(&format!("{name}/secret"))),
                (RMDIR, text(name)),
                (RENAME, [&top.to_le_bytes()[..], &[0; 8], b"file\0", &below].concat()),
                (RENAME, [&top.to_le_bytes()[..], &[0; 8], &text(name), b"taken\0"].concat()),
            ] {
                // Whatever becomes of it becomes of it inside.
                drop(guest.ask(request, node, &body));
            }
        }
    }
    host.is_untouched();
    assert!(fs::metadata("/etc/passwd").unwrap().is_file());
    drop(guest);
    assert_eq!(server.end(), End::Exited(0));
}

#[test]
fn links_are_the_guests_to_follow() {
    needs!(Root);
    let host = Host::new();
    let (mut guest, _server) = Guest::new(vec![volume(&host.path("inside"), ReadWrite, Recursive)]);
    let top = guest.walk("0");
    let target = host.path("outside/secret");
    let body = [text("link"), text(target.to_str().unwrap())].concat();
    guest.ask(SYMLINK, top, &body).unwrap();
    let link = guest.look(top, "link").unwrap();
    assert_eq!(link.mode & 0o170_000, 0o120_000);
    let read = guest.ask(READLINK, link.number, &[]).unwrap();
    assert_eq!(read, target.as_os_str().as_encoded_bytes());
    // Neither to be opened nor to be passed through.
    guest.ask(OPEN, link.number, &bytes(&[0, 0])).unwrap_err();
    guest.ask(LOOKUP, link.number, &text("secret")).unwrap_err();
    // And in the place of what was a folder when it was looked up.
    let folder = guest.walk("0/folder");
    fs::rename(host.path("inside/folder"), host.path("inside/moved")).unwrap();
    symlink(host.path("outside"), host.path("inside/folder")).unwrap();
    guest.create(folder, "here", "x").unwrap();
    assert_eq!(fs::read(host.path("inside/moved/here")).unwrap(), b"x");
    // A folder that has left the volume takes nobody along.
    fs::rename(host.path("inside/moved"), host.path("outside/moved")).unwrap();
    for name in ["..", "../secret"] {
        let found = guest.look(folder, name);
        assert!(found.is_err() || found.unwrap().inode != fs::metadata(&target).unwrap().ino());
    }
    fs::remove_dir_all(host.path("outside/moved")).unwrap();
    host.is_untouched();
}

#[test]
fn a_file_is_alone() {
    needs!(Root);
    let host = Host::new();
    let file = host.path("inside/file");
    let (mut guest, _server) =
        Guest::new(vec![volume(&file, ReadWrite, Single), volume(&file, ReadOnly, Single)]);
    let node = guest.walk("0");
    assert_eq!(guest.content(node).unwrap(), b"public");
    for name in ["..", "../file", "../folder", "../../outside/secret", "file"] {
        assert!(guest.look(node, name).is_err(), "{name}");
    }
    assert_eq!(guest.look(ROOT, "2").unwrap_err(), NO_ENTRY);
    // The same file read-only has another node, by which nothing is written.
    let other = guest.walk("1");
    assert_ne!(node, other);
    assert_eq!(guest.ask(OPEN, other, &bytes(&[1, 0])).unwrap_err(), READ_ONLY);
    // Nor can it be moved, replaced or removed.
    for name in ["0", "1", "new"] {
        guest.ask(UNLINK, ROOT, &text(name)).unwrap_err();
    }
    for name in ["1", "new"] {
        assert_eq!(guest.create(ROOT, name, "x").unwrap_err(), READ_ONLY, "{name}");
    }
    host.is_untouched();
    assert_eq!(fs::read(file).unwrap(), b"public");
}

#[test]
fn what_is_read_only_stays_as_it_is_with_all_below_it() {
    needs!(Root);
    let host = Host::new();
    let inside = host.path("inside");
    let below = Below::mount(inside.join("folder"));
    let (mut guest, server) = Guest::new(vec![
        volume(&inside, ReadOnly, Recursive),
        volume(&inside, ReadWrite, Recursive),
        volume(&inside, ReadOnly, Single),
    ]);
    for path in ["0", "0/folder", "2", "2/folder"] {
        let node = guest.walk(path);
        assert_eq!(guest.create(node, "new", "x").unwrap_err(), READ_ONLY, "{path}");
        for (request, body) in [
            (MKDIR, [&bytes(&[0o777, 0])[..], b"made\0"].concat()),
            (SYMLINK, b"made\0x\0".to_vec()),
            (UNLINK, text("file")),
            (SETATTR, [&bytes(&[1, 0])[..], &[0; 80]].concat()),
            (SETXATTR, [&bytes(&[1, 0])[..], b"user.x\0y"].concat()),
        ] {
            let outcome = guest.ask(request, node, &body);
            assert!(outcome.is_err(), "{path} {request} {outcome:?}");
        }
    }
    // What is mounted below is there with the one and not with the other; two ways to a file are two file systems.
    guest.look(ROOT, "2").unwrap();
    let (shown, hidden) = (guest.walk("0/folder"), guest.walk("2/folder"));
    guest.look(shown, "mounted").unwrap();
    assert_eq!(guest.look(hidden, "mounted").unwrap_err(), NO_ENTRY);
    let (one, two) = (guest.walk("0"), guest.walk("1"));
    let body = [&one.to_le_bytes()[..], &[0; 8], b"file\0file\0"].concat();
    assert_eq!(guest.ask(RENAME, two, &body).unwrap_err(), OTHER_DEVICE);
    let file = guest.walk("0/file");
    let body = [&file.to_le_bytes()[..], b"linked\0"].concat();
    assert_eq!(guest.ask(LINK, two, &body).unwrap_err(), OTHER_DEVICE);
    guest.create(two, "new", "written").unwrap();
    assert_eq!(fs::read(inside.join("new")).unwrap(), b"written");
    drop(guest);
    assert_eq!(server.end(), End::Exited(0));
    drop(below);
}

/// A file system mounted below a volume.
struct Below(PathBuf);

impl Below {
    fn mount(at: PathBuf) -> Self {
        let path = std::ffi::CString::new(at.as_os_str().as_encoded_bytes()).unwrap();
        let rights = sys::mount::Restrict::NONE;
        sys::mount::virtual_at(c"tmpfs", &path, rights, c"size=64k").unwrap();
        fs::write(at.join("mounted"), "").unwrap();
        Self(at)
    }
}

impl Drop for Below {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH).unwrap();
    }
}

#[test]
fn what_the_host_mounts_later_shows_up_where_it_may_be_written() {
    needs!(Root);
    let host = Host::new();
    let volume_path = host.path("inside/folder");
    let below = Below::mount(volume_path.clone());
    let shared = File::open(&volume_path).unwrap();
    sys::mount::set_propagation(shared.as_fd(), Propagation::Shared, Single).unwrap();
    drop(shared);
    let (mut guest, _server) = Guest::new(vec![
        volume(&volume_path, ReadWrite, Recursive),
        volume(&volume_path, ReadOnly, Recursive),
        volume(&volume_path, ReadWrite, Single),
    ]);
    fs::create_dir(volume_path.join("later")).unwrap();
    let later = Below::mount(volume_path.join("later"));
    let node = guest.walk("0/later");
    guest.look(node, "mounted").unwrap();
    guest.create(node, "new", "written").unwrap();
    assert_eq!(fs::read(volume_path.join("later/new")).unwrap(), b"written");
    for path in ["1/later", "2/later"] {
        let node = guest.walk(path);
        assert_eq!(guest.look(node, "mounted").unwrap_err(), NO_ENTRY, "{path}");
    }
    // Nothing that the server had open keeps the host from taking it away again.
    drop((later, below));
}

#[test]
fn a_folder_is_the_root_of_its_device() {
    needs!(Root);
    let host = Host::new();
    let inside = host.path("inside");
    let volumes = vec![
        volume(&inside, ReadWrite, Recursive),
        volume(&inside.join("folder"), ReadOnly, Single),
        volume(&inside.join("file"), ReadWrite, Single),
        volume(&inside, ReadOnly, Recursive),
    ];
    let (mut guest, server) = Guest::of_devices(volumes, 3);
    assert_eq!(guest.others(), ["host1", "host"]);
    assert_eq!(guest.look(ROOT, ".").unwrap().inode, fs::metadata(&inside).unwrap().ino());
    let file = guest.walk("file");
    assert_eq!(guest.content(file).unwrap(), b"public");
    guest.create(ROOT, "new", "x").unwrap();
    assert_eq!(fs::read(inside.join("new")).unwrap(), b"x");
    for name in ["..", "../1", "../../outside", "/1", "../outside/secret"] {
        let found = guest.look(ROOT, name).map(|node| node.inode);
        assert!(found.is_err() || found == Ok(fs::metadata(&inside).unwrap().ino()), "{name}");
    }
    // It takes all lines to be closed.
    drop(guest);
    assert_eq!(server.end(), End::Exited(0));
    host.is_untouched();
}

#[test]
fn the_server_has_no_more_than_it_needs() {
    needs!(Root);
    let host = Host::new();
    let (mut guest, server) = Guest::new(vec![volume(&host.path("inside"), ReadWrite, Recursive)]);
    guest.walk("0/file");
    let of = format!("/proc/{}", server.pid.as_raw_nonzero());
    let mut rights = Vec::new();
    for thread in fs::read_dir(format!("{of}/task")).unwrap() {
        let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        let line = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
            line.trim().to_owned()
        };
        assert_eq!((line("NoNewPrivs:"), line("Seccomp:")), ("1".to_owned(), "2".to_owned()));
        assert_eq!(line("CapBnd:"), "00000000800000db");
        assert_eq!(line("CapInh:"), "0000000000000000");
        rights.push((line("CapEff:"), line("CapPrm:")));
    }
    rights.sort();
    let (none, own) = ("0000000000000000".to_owned(), "00000000800000db".to_owned());
    // Who hears the machine, who waits for that, and who serves.
    let none = (none.clone(), none);
    assert_eq!(rights, [none.clone(), none, (own.clone(), own)]);
    for kind in ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"] {
        let link = |of: &str| fs::read_link(format!("{of}/ns/{kind}")).unwrap();
        assert_ne!(link(&of), link("/proc/self"), "{kind}");
    }
    let root = fs::read_dir(format!("{of}/root")).unwrap();
    let root: Vec<_> = root.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(root, ["0"]);
    let mounts = fs::read_to_string(format!("{of}/mountinfo")).unwrap();
    assert_eq!(mounts.lines().count(), 2, "{mounts}");
    // What it has open that is a file: the folder of its descriptors, its own root, and what the guest knows of that.
    let open = fs::read_dir(format!("{of}/fd")).unwrap();
    let open = open.map(|entry| fs::read_link(entry.unwrap().path()).unwrap());
    // What it says goes to the standard error of this test, whatever that is.
    let said = fs::read_link("/proc/self/fd/2").unwrap();
    let open = open.filter(|path| *path != said);
    let mut open: Vec<String> = open.map(|path| path.to_str().unwrap().to_owned()).collect();
    open.retain(|path| path.starts_with('/') && !path.starts_with("/dev/"));
    open.sort();
    let memory = open.extract_if(.., |path| path.ends_with("(deleted)")).count();
    assert_eq!((memory, &*open), (1, &["/", "/", "/", "/0", "/0/file"].map(str::to_owned)[..]));
}

#[test]
fn files_belong_to_who_made_them_and_devices_cannot_be_made() {
    needs!(Root);
    let host = Host::new();
    let inside = host.path("inside");
    fs::set_permissions(&inside, fs::Permissions::from_mode(0o2777)).unwrap();
    let (mut guest, _server) = Guest::new(vec![volume(&inside, ReadWrite, Recursive)]);
    let top = guest.walk("0");
    guest.becomes(1234, 5678);
    let made = guest.create(top, "mine", "x").unwrap();
    let found = fs::metadata(inside.join("mine")).unwrap();
    assert_eq!((found.uid(), found.mode()), (1234, 0o100_644));
    assert_eq!(made.owner, (found.uid(), found.gid()));
    guest.becomes(0, 0);
    // To any other owner, with bits that a change of owner takes away.
    let change = |valid: u32, mode: u32, owner: u32| {
        let mut words = vec![valid, 0];
        words.extend([0; 15]);
        words.extend([mode, 0, owner, owner, 0]);
        bytes(&words)
    };
    guest.ask(SETATTR, made.number, &change(6, 0, 4_000_000)).unwrap();
    guest.ask(SETATTR, made.number, &change(1, 0o104_755, 0)).unwrap();
    let found = fs::metadata(inside.join("mine")).unwrap();
    assert_eq!((found.uid(), found.gid(), found.mode()), (4_000_000, 4_000_000, 0o104_755));

    for kind in [0o020_666, 0o060_666] {
        let body = [&bytes(&[kind, 0x0103, 0, 0])[..], b"device\0"].concat();
        assert_eq!(guest.ask(MKNOD, top, &body).unwrap_err(), NOT_PERMITTED);
    }
    // A pipe of the host's is no way to hold the server up.
    let body = [&bytes(&[0o010_666, 0, 0, 0])[..], b"pipe\0"].concat();
    guest.ask(MKNOD, top, &body).unwrap();
    let pipe = guest.walk("0/pipe");
    guest.ask(OPEN, pipe, &bytes(&[0, 0])).unwrap_err();
    assert_eq!(guest.content(made.number).unwrap(), b"x");
}

#[test]
fn a_driver_that_begins_anew_finds_all_of_it_and_nothing_of_before() {
    needs!(Root);
    let host = Host::new();
    let (mut guest, server) = Guest::new(vec![volume(&host.path("inside"), ReadWrite, Recursive)]);
    let file = guest.walk("0/file");
    for _ in 0..3 {
        guest.reset();
        guest.greet();
        assert_eq!(guest.content(file).unwrap_err(), BAD_FILE);
        let again = guest.walk("0/file");
        assert_eq!(guest.content(again).unwrap(), b"public");
    }
    drop(guest);
    assert_eq!(server.end(), End::Exited(0));
}

#[test]
fn requests_that_make_no_sense_end_the_server_and_the_machine() {
    needs!(Root);
    let host = Host::new();
    for (what, length, chain) in [
        ("a head cut off", 39, Guest::chain(39)),
        ("a name cut off", 41, [(0x10_0000, 41, 1, 1), (0x20_0000, 100, 2, 0)]),
        ("outside of memory", 47, [(1 << 40, 47, 1, 1), (0x20_0000, 100, 2, 0)]),
        ("nothing to read", 47, [(0x20_0000, 100, 2 | 1, 1), (0x20_0000, 100, 2, 0)]),
        ("no room for the answer", 47, [(0x10_0000, 47, 1, 1), (0x20_0000, 3, 2, 0)]),
    ] {
        let (mut guest, server) =
            Guest::new(vec![volume(&host.path("inside"), ReadWrite, Recursive)]);
        let mut question = guest.question(LOOKUP, ROOT, b"filexx\0");
        question.resize(length, 1);
        guest.put(&question);
        guest.kick(&chain);
        assert_eq!(server.end(), End::Exited(1), "{what}");
        assert_eq!(guest.broken().as_deref(), Some("the file server has ended"), "{what}");
    }
}

#[test]
fn what_makes_the_library_panic_ends_the_server_and_the_machine() {
    needs!(Root);
    let host = Host::new();
    // A place in a file that no number of the kernel's is for, and a listing that may be no longer than nothing.
    let far = |handle: &[u8]| {
        [handle, &u64::MAX.to_le_bytes(), &bytes(&[1, 0, 0, 0, 0, 0]), b"x"].concat()
    };
    let list = |handle: &[u8]| [handle, &[0; 8], &bytes(&[8, 0, 0, 0, 0, 0])].concat();
    for (what, open, flags, request, room) in
        [("far", OPEN, 2, WRITE_FILE, 100), ("roomless", OPENDIR, 0, READDIR, 8)]
    {
        let (mut guest, server) =
            Guest::new(vec![volume(&host.path("inside"), ReadWrite, Recursive)]);
        let node = if open == OPEN { guest.walk("0/file") } else { guest.walk("0/folder") };
        let opened = guest.ask(open, node, &bytes(&[flags, 0])).unwrap();
        let body = if open == OPEN { far(&opened[..8]) } else { list(&opened[..8]) };
        let question = guest.question(request, node, &body);
        guest.put(&question);
        let [asked, (at, _, kind, _)] = Guest::chain(question.len());
        guest.kick(&[asked, (at, room, kind, 0)]);
        assert_eq!(server.end(), End::Exited(101), "{what}");
        assert_eq!(guest.broken().as_deref(), Some("the file server has ended"), "{what}");
    }
    assert_eq!(fs::read(host.path("inside/file")).unwrap(), b"public");
}

#[test]
fn a_ring_that_makes_no_sense_ends_the_server_and_the_machine() {
    needs!(Root);
    let host = Host::new();
    let (mut guest, server) = Guest::new(vec![volume(&host.path("inside"), ReadWrite, Recursive)]);
    guest.claim(30_000);
    assert_eq!(server.end(), End::Exited(1));
    assert!(guest.broken().is_some());
    // What the driver says afterwards is heard by nobody, and does no harm.
    guest.reset();
    assert!(guest.broken().is_some());
}

#[test]
fn the_lock_is_held_until_the_server_is_gone() {
    needs!(Root);
    let host = Host::new();
    let open = || File::open(host.path("inside")).unwrap().into();
    let lock = LockFd::attempt(open(), Mode::Exclusive).unwrap().unwrap();
    let volumes = vec![volume(&host.path("inside"), ReadWrite, Recursive)];
    let (mut guest, server) = Guest::silent(volumes, lock.as_fd(), 1);
    drop(lock);
    guest.greet();
    assert!(LockFd::attempt(open(), Mode::Exclusive).unwrap().is_none());
    sys::process::kill(server.pid, 9).unwrap();
    assert_eq!(server.end(), End::Killed(9));
    assert!(LockFd::attempt(open(), Mode::Exclusive).unwrap().is_some());
    assert_eq!(guest.broken().as_deref(), Some("the file server has ended"));
}

#[test]
fn nobody_else_may_start_it() {
    for words in [
        &["1"][..],
        &[],
        &["1", "all"],
        &["1000000", "0"],
        &["-4", "0"],
        &["0", "all"],
        &["x", "0"],
    ] {
        let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_fs-server"));
        let done = program.args(words).output().unwrap();
        let told = String::from_utf8(done.stderr).unwrap();
        let expected = "fs-server: this program is started by a pod, and by nobody else\n";
        assert_eq!((done.status.code(), &*told), (Some(1), expected), "{words:?}");
    }
}
