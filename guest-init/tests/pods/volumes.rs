//! Volumes of the host's in a machine of ours: what programs do to files, what the host sees of it, what stays hidden. The
//! guest has a folder of an ext4 file system, the same read-only with what is mounted below it, one single file, and this
//! machine's own root, so that there are programs. It needs what `machine` needs, and the file server, which
//! `RKT_FILE_SERVER` names.

use crate::guest::{Guest, Lab, read_until, shell};
use crate::machine::{boot_with, run};
use pod_proto::config::Share;
use pod_proto::message::End;
use pod_proto::{FromGuest, FromHost, Process, Stream};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

const APP: Process = Process::App(0);
/// What programs do, each check with a name that it says when it has passed, on files anywhere.
const CHECKS: &str = include_str!("../../../tests/programs/files.py");

/// A file system on a loop device, with what the tests want on it, and another below it.
struct Disk(PathBuf);

impl Disk {
    fn new(lab: &Lab) -> Self {
        let (image, at) = (lab.folder().join("ext4"), lab.folder().join("disk"));
        fs::create_dir(&at).unwrap();
        run(Command::new("truncate").args(["--size", "96M"]).arg(&image));
        run(Command::new("mkfs.ext4").arg("-q").arg(&image));
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&at));
        // As on a machine with systemd.
        run(Command::new("mount").arg("--make-shared").arg(&at));
        let disk = Self(at);
        for name in ["volume/given/below", "outside"] {
            fs::create_dir_all(disk.path(name)).unwrap();
        }
        fs::write(disk.path("volume/given/given"), "given").unwrap();
        fs::write(disk.path("outside/secret"), "secret").unwrap();
        fs::write(disk.path("single"), "alone\n").unwrap();
        let below = disk.path("volume/given/below");
        run(Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&below));
        fs::write(below.join("mounted"), "below").unwrap();
        disk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn volumes(&self) -> [String; 4] {
        [
            "ro one /".to_owned(),
            format!("rw all {}", self.path("volume").display()),
            format!("ro all {}", self.path("volume/given").display()),
            format!("rw one {}", self.path("single").display()),
        ]
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run(Command::new("umount").arg("--recursive").arg(&self.0));
    }
}

/// An app that runs a script, with the volumes at these places and every right.
fn app(script: &str) -> Value {
    let step = |share: &str, target: &str, access: &str| json!({ "source": { "host": share }, "target": target, "access": access, "depth": "recursive" });
    let mut app = shell("a", script);
    app["rights"] = json!({ "capabilities": (1_u64 << 41) - 1, "no_new_privileges": false });
    app["dialogue"] = json!("streams");
    app["mounts"] = json!({ "implicit": [], "steps": [
        step("host0", "/host", "read-only"),
        step("host/3", "/single", "read-write"),
        step("host1", "/host/mnt", "read-write"),
        step("host2", "/host/media", "read-only"),
    ] });
    app
}

fn start(lab: &mut Lab, disk: &Disk) -> Guest {
    let tags = ["host0", "host1", "host2", "host"];
    lab.config.shares = tags.map(|tag| Share { tag: tag.to_owned() }).into();
    let mut guest = boot_with(lab, &disk.volumes());
    assert_eq!(guest.configure(&lab.config), FromGuest::Ready);
    guest.say(&FromHost::Start);
    guest
}

/// Everything in a tree: mode, owner, names and what is in it.
fn tree(top: &Path) -> BTreeMap<PathBuf, (u32, u32, u32, u64, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut left = vec![top.to_owned()];
    while let Some(path) = left.pop() {
        let about = fs::symlink_metadata(&path).unwrap();
        let kind = about.file_type();
        let mut content = Vec::new();
        if kind.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if kind.is_symlink() {
            content = fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes();
        } else {
            content = fs::read(&path).unwrap();
        }
        let name = path.strip_prefix(top).unwrap().to_owned();
        found.insert(name, (about.mode(), about.uid(), about.gid(), about.nlink(), content));
    }
    found
}

/// Packs a package with bits, owners and links.
fn package(lab: &Lab, to: &Path) {
    let top = lab.folder().join("package");
    fs::create_dir_all(top.join("usr/bin")).unwrap();
    fs::create_dir_all(top.join("DEBIAN")).unwrap();
    let control = "Package: x\nVersion: 1\nArchitecture: all\nMaintainer: x <x@example.com>\nDescription: x\n";
    fs::write(top.join("DEBIAN/control"), control).unwrap();
    for (name, mode) in [("plain", 0o644), ("su", 0o4755), ("wall", 0o2755)] {
        let path = top.join("usr/bin").join(name);
        fs::write(&path, name.repeat(5000)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    std::os::unix::fs::chown(top.join("usr/bin/wall"), Some(0), Some(5)).unwrap();
    fs::set_permissions(top.join("usr/bin/wall"), fs::Permissions::from_mode(0o2755)).unwrap();
    fs::hard_link(top.join("usr/bin/plain"), top.join("usr/bin/linked")).unwrap();
    symlink("plain", top.join("usr/bin/symbolic")).unwrap();
    run(Command::new("dpkg-deb").arg("--build").arg(&top).arg(to));
}

#[test]
#[ignore = "needs a machine with KVM: cargo xtask test --lab"]
fn programs_do_to_volumes_what_they_do_to_files() {
    let script = "/bin/busybox mount -t proc proc /host/proc
        exec /bin/busybox chroot /host /usr/bin/python3 /mnt/checks.py volume /mnt /media /mnt/package.deb";
    let mut lab = Lab::on_a_machine(&[app(script)]);
    let disk = Disk::new(&lab);
    fs::write(disk.path("volume/checks.py"), CHECKS).unwrap();
    package(&lab, &disk.path("volume/package.deb"));
    let mut guest = start(&mut lab, &disk);
    let said = guest.output();
    // A line for each that has passed; the code tells of the others.
    assert!(said.lines().count() > 18, "{said}");
    let (before, code) = guest.stopped();
    let end = Some(&FromGuest::Exited(APP, End::Code(0)));
    assert_eq!((before.last(), code), (end, 0), "{said}");
    assert_eq!(guest.ended().0, 0);

    // As a program of the host's own would have left it.
    let native = disk.path("native");
    run(Command::new("dpkg-deb")
        .arg("--extract")
        .arg(disk.path("volume/package.deb"))
        .arg(&native));
    assert_eq!(tree(&disk.path("volume/unpacked")), tree(&native));
    assert_eq!(fs::read(disk.path("volume/log")).unwrap(), b"0123456789\n".repeat(150));
    assert_eq!(&fs::read(disk.path("volume/mapped")).unwrap()[4090..4100], b"over pages");
    let made = fs::metadata(disk.path("volume/group/new")).unwrap();
    assert_eq!((made.uid(), made.gid()), (1002, 77));
}

#[test]
#[ignore = "needs a machine with KVM: cargo xtask test --lab"]
fn host_and_guest_see_what_the_other_does_and_no_more() {
    // Links to what is outside lead nowhere, whoever made them; a file is alone; what the host does later is seen.
    let script = "secret=$(cat /host/mnt/where); cd /host/mnt/links
        ln -s $secret made; ln -s ../../../../../../../../..$secret up
        for name in absolute relative folder/secret made up; do cat $name; echo overwritten > $name; done 2>&1 | grep -cE 'No such file|nonexistent'
        cat /single; echo changed > /single
        echo ready; read line; cat /host/mnt/later/mounted; cat /host/mnt/new
        while ! grep -q second /host/mnt/given/given; do :; done
        echo seen; mkdir /host/mnt/made; echo guest > /host/mnt/made/file";
    let mut lab = Lab::on_a_machine(&[app(script)]);
    let disk = Disk::new(&lab);
    let secret = disk.path("outside/secret");
    let links = disk.path("volume/links");
    fs::create_dir(&links).unwrap();
    symlink(&secret, links.join("absolute")).unwrap();
    symlink("../../outside/secret", links.join("relative")).unwrap();
    symlink(disk.path("outside"), links.join("folder")).unwrap();
    fs::write(disk.path("volume/where"), secret.to_str().unwrap()).unwrap();
    let mut guest = start(&mut lab, &disk);
    let mut output = guest.stream(APP, Stream::Output);
    let said = read_until(&mut output, "ready\n");
    let mut lines = said.lines();
    // Each is read and written.
    assert_eq!((lines.next(), lines.next()), (Some("10"), Some("alone")), "{said}");
    fs::write(disk.path("volume/new"), "new\n").unwrap();
    let later = disk.path("volume/later");
    fs::create_dir(&later).unwrap();
    run(Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&later));
    fs::write(later.join("mounted"), "later\n").unwrap();
    let mut input = guest.stream(APP, Stream::Input);
    input.write_all(b"go on\n").unwrap();
    assert_eq!(read_until(&mut output, "new\n"), "later\nnew\n");
    fs::write(disk.path("volume/given/given"), "second").unwrap();
    assert_eq!(read_until(&mut output, "seen\n"), "seen\n");
    assert_eq!(guest.stopped().1, 0);
    assert_eq!(guest.ended().0, 0);
    assert_eq!(fs::read(disk.path("volume/made/file")).unwrap(), b"guest\n");
    assert_eq!(fs::read(disk.path("single")).unwrap(), b"changed\n");
    assert_eq!(fs::read(secret).unwrap(), b"secret");
    assert_eq!(fs::read_dir(disk.path("outside")).unwrap().count(), 1);
}

#[test]
#[ignore = "needs a machine with KVM: cargo xtask test --lab"]
fn a_server_that_is_gone_ends_the_machine_with_a_word() {
    let mut lab = Lab::on_a_machine(&[app("cat /single; sleep 1000")]);
    let disk = Disk::new(&lab);
    let mut guest = start(&mut lab, &disk);
    let mut output = guest.stream(APP, Stream::Output);
    read_until(&mut output, "alone\n");
    let mut killed = 0;
    for entry in fs::read_dir("/proc").unwrap() {
        let of = entry.unwrap().path();
        // Whoever is gone by now is not meant.
        if fs::read_to_string(of.join("comm")).is_ok_and(|name| name == "fs-server\n") {
            let number = of.file_name().unwrap().to_str().unwrap().parse().unwrap();
            sys::process::kill(rustix::process::Pid::from_raw(number).unwrap(), 9).unwrap();
            killed += 1;
        }
    }
    assert_eq!(killed, 1);
    assert_eq!(guest.ended(), (1, "kvm-boot: the file server has ended\n".to_owned()));
}
