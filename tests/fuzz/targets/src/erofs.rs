//! The writer of EROFS images: a tree of any shape becomes an image or is refused.

use crate::bytes::Bytes;
use archive::erofs::{VolumeId, write};
use rustix::fs::{Mode, OFlags, XattrFlags};
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The most entries of a tree: what takes more only takes longer.
const ENTRIES: usize = 200;
/// Where an image says that it is one, and how.
const SUPERBLOCK: u64 = 1024;
const MAGIC: [u8; 4] = [0xe2, 0xe1, 0xf5, 0xe0];
const BLOCK: u64 = 4096;

pub(crate) fn run(data: &[u8]) {
    let root = std::env::temp_dir().join(format!("fuzz-erofs-{}", std::process::id()));
    // What a run that crashed has left.
    let _ = fs::remove_dir_all(&root);
    fs::create_dir(&root).expect("a folder");
    build(&root, Bytes(data));
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let tree = rustix::fs::open(&root, flags, Mode::empty()).expect("it is there");
    let name = rustix::fs::memfd_create(c"image", rustix::fs::MemfdFlags::CLOEXEC);
    let image = File::from(name.expect("a file"));
    let written = write(tree.as_fd(), image.as_fd(), VolumeId([1; 16]));
    fs::remove_dir_all(&root).expect("it can go");
    if let Ok(written) = written {
        let length = image.metadata().expect("its length").len();
        assert!(written.inodes >= 1 && written.bytes == length && length % BLOCK == 0);
        let mut magic = [0; 4];
        image.read_exact_at(&mut magic, SUPERBLOCK).expect("a superblock");
        assert_eq!(magic, MAGIC);
    }
}

/// Makes entries in any of the folders made so far. What the file system refuses is not there, and nothing is made through a
/// link, which may lead anywhere.
fn build(root: &Path, mut bytes: Bytes<'_>) {
    let mut folders = vec![root.to_owned()];
    let mut files: Vec<PathBuf> = Vec::new();
    for _ in 0..ENTRIES {
        if bytes.is_empty() {
            break;
        }
        let kind = bytes.byte();
        let folder = &folders[usize::from(bytes.byte()) % folders.len()];
        let path = folder.join(name(&mut bytes));
        match kind % 7 {
            0 | 1 => {
                if fs::create_dir(&path).is_ok() {
                    folders.push(path);
                }
            }
            2 => {
                let length = usize::from(bytes.byte());
                if let Ok(file) = File::create_new(&path) {
                    let _ = file.write_all_at(bytes.take(length), 0);
                    files.push(path);
                }
            }
            3 => {
                // Holes, and content in the middle.
                if let Ok(file) = File::create_new(&path) {
                    let at = u64::from(bytes.half()) * 16;
                    let _ = file.write_all_at(bytes.take(8), at);
                    let _ = file.set_len(at + u64::from(bytes.half()));
                    files.push(path);
                }
            }
            4 => {
                let target = bytes.take(usize::from(kind)).to_vec();
                let target = String::from_utf8_lossy(&target).replace('\0', "0");
                let _ = std::os::unix::fs::symlink(target, &path);
            }
            5 if !files.is_empty() => {
                let _ = fs::hard_link(&files[usize::from(bytes.byte()) % files.len()], &path);
            }
            _ => {
                let of = files.last().unwrap_or(folder);
                let key = ["user.a", "trusted.b", "security.c", "user.long.name.of.it"];
                let (which, length) = (usize::from(kind) % key.len(), usize::from(bytes.byte()));
                let value = bytes.take(length);
                let _ = rustix::fs::lsetxattr(of, key[which], value, XattrFlags::empty());
                let mode = fs::Permissions::from_mode(0o700 | u32::from(bytes.half() & 0o7777));
                let _ = fs::set_permissions(of, mode);
            }
        }
    }
}

/// A name that a file may have, of any length.
fn name(bytes: &mut Bytes<'_>) -> String {
    let (letter, length) = (b'a' + bytes.byte() % 26, 1 + usize::from(bytes.byte()) % 255);
    char::from(letter).to_string().repeat(length)
}
