//! What is packed, read back by the system-independent half of another implementation of tar.

#![expect(clippy::unwrap_used, reason = "a test ends at its first surprise")]

use flate2::read::GzDecoder;
use images::{FLAVOURS, PackError, install};
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A folder that is gone when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("images-{name}-{}", std::process::id()));
        fs::create_dir_all(path.join("programs")).unwrap();
        Self(path)
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

fn fill(programs: &Path) {
    for entrypoint in FLAVOURS.iter().flat_map(|flavour| flavour.entrypoints) {
        let mut bytes = elf(1);
        bytes.extend_from_slice(entrypoint.program.as_bytes());
        fs::write(programs.join(entrypoint.program), bytes).unwrap();
    }
}

#[test]
fn members_are_roots_and_timeless_and_programs_can_be_executed() {
    let folder = Folder::new("members");
    fill(&folder.programs());
    for flavour in &FLAVOURS {
        let path = install(flavour, "9", &folder.programs(), &folder.0).unwrap();
        let mut archive = tar::Archive::new(GzDecoder::new(fs::File::open(path).unwrap()));
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
        let names: Vec<&str> = found.keys().map(String::as_str).collect();
        let expected = ["manifest", "rootfs", "rootfs/enter", "rootfs/flavor", "rootfs/gc"];
        assert_eq!(names, [&expected[..], &["rootfs/run", "rootfs/stop"]].concat());
        assert_eq!(found["rootfs/flavor"].1.as_deref(), Some(flavour.name));
        let (mode, _, bytes) = &found["rootfs/run"];
        assert_eq!(*mode, 0o755);
        assert!(bytes.ends_with(format!("{}-run", flavour.name).as_bytes()));
    }
}

#[test]
fn the_same_programs_give_the_same_bytes_whenever_and_wherever_they_were_built() {
    let (one, two) = (Folder::new("one"), Folder::new("two"));
    for flavour in &FLAVOURS {
        let images = [&one, &two].map(|folder| {
            fill(&folder.programs());
            let program = folder.programs().join(flavour.entrypoints[0].program);
            let old = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
            if folder.0 == two.0 {
                fs::File::options().write(true).open(program).unwrap().set_times(old).unwrap();
            }
            fs::read(install(flavour, "9", &folder.programs(), &folder.0).unwrap()).unwrap()
        });
        assert_eq!(images[0], images[1], "{}", flavour.name);
    }
}

#[test]
fn a_program_that_needs_a_loader_is_refused_and_leaves_the_old_image_alone() {
    let folder = Folder::new("dynamic");
    fill(&folder.programs());
    let [flavour, ..] = &FLAVOURS;
    let path = install(flavour, "9", &folder.programs(), &folder.0).unwrap();
    let before = fs::read(&path).unwrap();
    let program = folder.programs().join(flavour.entrypoints[0].program);
    fs::write(&program, elf(3)).unwrap();
    let error = install(flavour, "9", &folder.programs(), &folder.0).unwrap_err();
    assert!(matches!(error, PackError::NotStatic(path) if path == program));
    assert_eq!(fs::read(&path).unwrap(), before);
    fs::remove_file(&program).unwrap();
    let error = install(flavour, "9", &folder.programs(), &folder.0).unwrap_err();
    assert!(matches!(error, PackError::Program { path, .. } if path == program));
    let mut left: Vec<_> =
        fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["programs", flavour.file_name().as_str()]);
}
