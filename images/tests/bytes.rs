//! What is packed, read back by the system-independent half of another implementation of tar.

#![expect(clippy::unwrap_used, reason = "a test ends at its first surprise")]

use flate2::read::GzDecoder;
use images::{Content, FLAVOURS, Flavour, PackError, Sources, install};
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder that is gone when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("images-{name}-{}", std::process::id()));
        for folder in ["programs", "kernel/modules"] {
            fs::create_dir_all(path.join(folder)).unwrap();
        }
        let folder = Self(path);
        folder.fill();
        folder
    }

    fn install(&self, flavour: &Flavour) -> Result<PathBuf, PackError> {
        let kernel = self.0.join("kernel");
        let sources = Sources { programs: &self.programs(), kernel: Some(&kernel) };
        install(flavour, "9", &sources, &self.0)
    }

    /// Programs of all flavours, and a kernel with two modules.
    fn fill(&self) {
        for flavour in FLAVOURS {
            let entrypoints = flavour.entrypoints.iter().map(|entrypoint| entrypoint.program);
            let others = flavour.extras.iter().filter_map(|extra| match extra.content {
                Content::Program(program) | Content::Initramfs { init: program } => Some(program),
                Content::Kernel => None,
            });
            for program in entrypoints.chain(others) {
                let mut bytes = elf(1);
                bytes.extend_from_slice(program.as_bytes());
                fs::write(self.programs().join(program), bytes).unwrap();
            }
        }
        let kernel = self.0.join("kernel");
        let mut bytes = elf(1);
        (bytes[64 + 8], bytes[64 + 32]) = (120, 6);
        bytes.extend_from_slice(b"loaded and not");
        fs::write(kernel.join("vmlinux"), bytes).unwrap();
        for (name, content) in [("ORDER", "b.ko\na.ko\n"), ("a.ko", "first"), ("b.ko", "second")] {
            fs::write(kernel.join("modules").join(name), content).unwrap();
        }
    }

    fn programs(&self) -> PathBuf {
        self.0.join("programs")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// The beginning of a 64-bit program with one segment of this type.
fn elf(segment: u8) -> Vec<u8> {
    let mut bytes = vec![0_u8; 120];
    bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
    (bytes[32], bytes[54], bytes[56], bytes[64]) = (64, 56, 1, segment);
    bytes
}

/// What is in an image, by name: mode, target of a link, bytes.
fn members(image: &Path) -> BTreeMap<String, (u32, Option<String>, Vec<u8>)> {
    let mut archive = tar::Archive::new(GzDecoder::new(fs::File::open(image).unwrap()));
    let mut found = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_str().unwrap().to_owned();
        let header = entry.header().clone();
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0), "{name}");
        assert_eq!(header.mtime().unwrap(), 0, "{name}");
        let link = entry.link_name().unwrap().map(|link| link.to_str().unwrap().to_owned());
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        found.insert(name, (header.mode().unwrap(), link, bytes));
    }
    found
}

#[test]
fn members_are_roots_and_timeless_and_programs_can_be_executed() {
    let folder = Folder::new("members");
    for flavour in &FLAVOURS {
        let found = members(&folder.install(flavour).unwrap());
        let names: Vec<&str> = found.keys().map(String::as_str).collect();
        let mut expected: Vec<String> =
            ["manifest", "rootfs", "rootfs/flavor"].map(str::to_owned).into();
        expected.extend(["enter", "gc", "run", "stop"].map(|name| format!("rootfs/{name}")));
        // What depends on the host, and what is gone when the machine is.
        let more: &[&str] = match flavour.name {
            "kvm" => &["check", "check-networks", "export"],
            "nspawn" => &["check-networks"],
            _ => &[],
        };
        expected.extend(more.iter().map(|name| format!("rootfs/{name}")));
        expected.extend(flavour.extras.iter().map(|extra| format!("rootfs/{}", extra.name)));
        expected.sort();
        assert_eq!(names, expected);
        assert_eq!(found["rootfs/flavor"].1.as_deref(), Some(flavour.name));
        let (mode, _, bytes) = &found["rootfs/run"];
        assert_eq!(*mode, 0o755);
        assert!(bytes.ends_with(format!("{}-run", flavour.name).as_bytes()));
    }
}

#[test]
fn a_guest_gets_what_is_loaded_of_its_kernel_and_the_modules_in_an_archive() {
    let folder = Folder::new("guest");
    let flavour = FLAVOURS.iter().find(|flavour| flavour.name == "kvm").unwrap();
    let found = members(&folder.install(flavour).unwrap());
    let (mode, _, server) = &found["rootfs/fs-server"];
    assert!(*mode == 0o755 && server.ends_with(b"fs-server"));
    let kernel = &found["rootfs/vmlinux"];
    assert_eq!(kernel.0, 0o644);
    assert!(kernel.2.ends_with(b"loaded") && kernel.2.len() == 4096 + 6, "{}", kernel.2.len());
    let archive = folder.0.join("initramfs");
    fs::write(&archive, &found["rootfs/initramfs"].2).unwrap();
    let listed = busybox(&archive, &["-t"]);
    let expected = "init\nmodules\nmodules/ORDER\nmodules/a.ko\nmodules/b.ko\n";
    assert_eq!(String::from_utf8(listed).unwrap(), expected);
    busybox(&archive, &["-i"]);
    let read = |name: &str| fs::read(folder.0.join(name)).unwrap();
    assert_eq!(
        (read("modules/ORDER"), read("modules/b.ko")),
        (b"b.ko\na.ko\n".to_vec(), b"second".to_vec())
    );
    assert!(read("init").ends_with(b"init"));
    assert_eq!(fs::metadata(folder.0.join("init")).unwrap().permissions().mode() & 0o7777, 0o755);

    // A kernel that has everything built in.
    fs::remove_dir_all(folder.0.join("kernel/modules")).unwrap();
    let found = members(&folder.install(flavour).unwrap());
    fs::write(&archive, &found["rootfs/initramfs"].2).unwrap();
    assert_eq!(busybox(&archive, &["-t"]), b"init\n");
}

/// Another implementation of cpio, in the archive's folder; what it prints.
fn busybox(archive: &Path, words: &[&str]) -> Vec<u8> {
    let mut cpio = Command::new("busybox");
    cpio.arg("cpio").args(words).arg("-F").arg(archive).current_dir(archive.parent().unwrap());
    let done = cpio.output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    done.stdout
}

#[test]
fn a_guest_without_a_kernel_or_with_a_broken_one_is_refused() {
    let folder = Folder::new("broken");
    let flavour = FLAVOURS.iter().find(|flavour| flavour.name == "kvm").unwrap();
    let sources = Sources { programs: &folder.programs(), kernel: None };
    let error = install(flavour, "9", &sources, &folder.0).unwrap_err();
    assert!(matches!(error, PackError::NoKernel("kvm")));
    fs::write(folder.0.join("kernel/vmlinux"), "bzImage").unwrap();
    let error = folder.install(flavour).unwrap_err();
    assert!(matches!(error, PackError::Kernel { .. }), "{error}");
    fs::write(folder.0.join("kernel/modules/ORDER"), "../vmlinux\n").unwrap();
    let error = folder.install(flavour).unwrap_err();
    assert!(matches!(error, PackError::Order(_)), "{error}");
    assert!(!folder.0.join(flavour.file_name()).exists());
}

#[test]
fn the_same_programs_give_the_same_bytes_whenever_and_wherever_they_were_built() {
    let (one, two) = (Folder::new("one"), Folder::new("two"));
    for flavour in &FLAVOURS {
        let images = [&one, &two].map(|folder| {
            let program = folder.programs().join(flavour.entrypoints[0].program);
            let old = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
            if folder.0 == two.0 {
                fs::File::options().write(true).open(program).unwrap().set_times(old).unwrap();
            }
            fs::read(folder.install(flavour).unwrap()).unwrap()
        });
        assert_eq!(images[0], images[1], "{}", flavour.name);
    }
}

#[test]
fn a_program_that_needs_a_loader_is_refused_and_leaves_the_old_image_alone() {
    let folder = Folder::new("dynamic");
    let [flavour, ..] = &FLAVOURS;
    let path = folder.install(flavour).unwrap();
    let before = fs::read(&path).unwrap();
    let program = folder.programs().join(flavour.entrypoints[0].program);
    fs::write(&program, elf(3)).unwrap();
    let error = folder.install(flavour).unwrap_err();
    assert!(matches!(error, PackError::NotStatic(path) if path == program));
    assert_eq!(fs::read(&path).unwrap(), before);
    fs::remove_file(&program).unwrap();
    let error = folder.install(flavour).unwrap_err();
    assert!(matches!(error, PackError::Input { path, .. } if path == program));
    let mut left: Vec<_> =
        fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["kernel", "programs", flavour.file_name().as_str()]);
}
