//! Whether this host can stack roots from shared trees.

use rustix::fs::{Dir, FileType, fstatfs};
use rustix::mount::{FsOpenFlags, fsopen};
use std::os::fd::BorrowedFd;

/// File systems that overlayfs does not stand on, by their magic numbers.
const UNFIT: [(u64, &str); 2] = [(0x6175_6673, "aufs"), (0x2fc1_2fc1, "zfs")];

/// Why overlays cannot be used for pods in this folder; `None` if they can.
pub(crate) fn missing(pod: BorrowedFd<'_>) -> Option<String> {
    if let Err(error) = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC) {
        let reason = std::io::Error::from(error);
        return Some(format!("overlay is not supported by the kernel ({reason})"));
    }
    // Asking for it has loaded it, where it is a module.
    let listed = std::fs::read_to_string("/proc/filesystems").is_ok_and(|text| {
        text.lines().any(|line| line.trim_start_matches("nodev").trim() == "overlay")
    });
    if !listed {
        return Some("overlay is not among the kernel's filesystems".to_owned());
    }
    if let Ok(found) = fstatfs(pod) {
        let kind = u64::try_from(found.f_type).unwrap_or_default();
        if let Some((_, name)) = UNFIT.iter().find(|(magic, _)| *magic == kind) {
            return Some(format!("unsupported filesystem: {name}"));
        }
    }
    let untyped = Dir::read_from(pod).ok()?.filter_map(Result::ok).any(|entry| {
        !matches!(entry.file_name().to_bytes(), b"." | b"..")
            && entry.file_type() == FileType::Unknown
    });
    untyped.then(|| "the filesystem does not tell the types of files (d_type)".to_owned())
}
