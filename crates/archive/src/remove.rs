//! Removing whole trees, however deep, without ever following a link.

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RawDir, SeekFrom, openat, renameat, seek, unlinkat,
};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// As many folders are open at once; what lies deeper is moved up first.
const DEPTH: usize = 64;
/// So many bytes of names are read at once.
const READ: usize = 4096;

/// Removes a name from an open folder, with all below it. That nothing is there is no error.
///
/// # Errors
/// As unlinkat(2); what could be removed is gone.
pub fn tree(dir: BorrowedFd<'_>, name: impl AsRef<[u8]>) -> Result<(), Errno> {
    let name = name.as_ref();
    match unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(other) => return Err(other),
    }
    let top = open(dir, name)?;
    let mut moved = 0_u64;
    contents(top.as_fd(), top.as_fd(), 1, &mut moved)?;
    unlinkat(dir, name, AtFlags::REMOVEDIR)
}

/// Removes everything in an open folder, but not the folder.
///
/// # Errors
/// As [`tree`].
pub fn children(dir: BorrowedFd<'_>) -> Result<(), Errno> {
    // Where the caller's descriptor stands is the caller's.
    let dir = open(dir, b".")?;
    let mut moved = 0_u64;
    contents(dir.as_fd(), dir.as_fd(), 1, &mut moved)
}

fn open(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(dir, name, flags, Mode::empty()) {
        // Only possible without root: the owner gives itself the right to look.
        Err(Errno::ACCESS) => {
            rustix::fs::chmodat(dir, name, Mode::RWXU, AtFlags::empty())?;
            openat(dir, name, flags, Mode::empty())
        }
        other => other,
    }
}

fn contents(
    top: BorrowedFd<'_>,
    dir: BorrowedFd<'_>,
    depth: usize,
    moved: &mut u64,
) -> Result<(), Errno> {
    let mut buffer = Vec::with_capacity(READ);
    // What was moved up while this folder was read may have been missed by the reading.
    loop {
        let before = *moved;
        seek(dir, SeekFrom::Start(0))?;
        let mut entries = RawDir::new(dir, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            // A folder that became something else meanwhile is not opened, and that ends it.
            if entry.file_type() != FileType::Directory {
                match unlinkat(dir, name, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => continue,
                    Err(Errno::ISDIR | Errno::PERM) => {}
                    Err(other) => return Err(other),
                }
            }
            if depth >= DEPTH {
                *moved = moved.saturating_add(1);
                let unique = format!(".deep-{}-{moved}", std::process::id());
                renameat(dir, name, top, unique)?;
                continue;
            }
            let child = open(dir, name)?;
            contents(top, child.as_fd(), depth.saturating_add(1), moved)?;
            drop(child);
            unlinkat(dir, name, AtFlags::REMOVEDIR)?;
        }
        if depth > 1 || *moved == before {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, mkdirat, symlinkat};

    #[test]
    fn depth_and_links_do_not_matter() {
        let base = std::env::temp_dir().join(format!("archive-remove-{}", std::process::id()));
        std::fs::create_dir_all(base.join("keep")).unwrap();
        std::fs::write(base.join("keep/file"), "x").unwrap();
        let base_fd =
            openat(CWD, &base, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        mkdirat(&base_fd, "victim", Mode::RWXU).unwrap();
        let mut at = open(base_fd.as_fd(), b"victim").unwrap();
        for _ in 0..2000 {
            mkdirat(&at, "d", Mode::RWXU).unwrap();
            symlinkat("/keep", &at, "l").unwrap();
            at = open(at.as_fd(), b"d").unwrap();
        }
        symlinkat(base.join("keep"), &at, "out").unwrap();
        tree(base_fd.as_fd(), "victim").unwrap();
        assert!(!base.join("victim").exists());
        assert!(base.join("keep/file").exists());
        tree(base_fd.as_fd(), "victim").unwrap();
        std::fs::remove_dir_all(&base).unwrap();
    }
}
