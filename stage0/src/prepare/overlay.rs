//! Whether this host can stack roots from shared trees.

use rustix::fs::{Dir, FileType, fstatfs};
use rustix::mount::{FsOpenFlags, fsopen};
use std::fs::File;
use std::io::Read as _;
use std::os::fd::BorrowedFd;

/// File systems that overlayfs does not stand on, by their magic numbers.
const UNFIT: [(u64, &str); 2] = [(0x6175_6673, "aufs"), (0x2fc1_2fc1, "zfs")];
/// Those that always tell the types of files: ext4, btrfs, tmpfs.
const TYPED: [u64; 3] = [0xef53, 0x9123_683e, 0x0102_1994];

/// Why overlays cannot be used for pods in this folder; `None` if they can.
pub(crate) fn missing(pod: BorrowedFd<'_>) -> Option<String> {
    if !is_listed() {
        // Asking for it loads it, where it is a module.
        if let Err(error) = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC) {
            let reason = std::io::Error::from(error);
            return Some(format!("overlay is not supported by the kernel ({reason})"));
        }
        if !is_listed() {
            return Some("overlay is not among the kernel's filesystems".to_owned());
        }
    }
    if let Ok(found) = fstatfs(pod) {
        let kind = u64::try_from(found.f_type).unwrap_or_default();
        if let Some((_, name)) = UNFIT.iter().find(|(magic, _)| *magic == kind) {
            return Some(format!("unsupported filesystem: {name}"));
        }
        if TYPED.contains(&kind) {
            return None;
        }
    }
    let untyped = Dir::read_from(pod).ok()?.filter_map(Result::ok).any(|entry| {
        !matches!(entry.file_name().to_bytes(), b"." | b"..")
            && entry.file_type() == FileType::Unknown
    });
    untyped.then(|| "the filesystem does not tell the types of files (d_type)".to_owned())
}

/// Whether the kernel knows it by now.
fn is_listed() -> bool {
    let Ok(table) = File::open("/proc/filesystems") else { return false };
    // In one go: the kernel writes the table anew for each read.
    let mut text = Vec::with_capacity(4096);
    table.take(u64::MAX).read_to_end(&mut text).is_ok()
        && text.split(u8::is_ascii_whitespace).any(|word| word == b"overlay")
}
