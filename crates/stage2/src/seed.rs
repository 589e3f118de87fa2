//! Filling an empty volume with what an image has at its mount point: content, owners, modes, times, extended
//! attributes. Links are copied, never followed.

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, chownat, fchmod,
    fchown, fgetxattr, flistxattr, fsetxattr, fstat, futimens, mkdirat, mknodat, openat,
    readlinkat, statat, symlinkat, utimensat,
};
use rustix::io::Errno;
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Deeper trees than this are refused: each level holds descriptors open.
const DEPTH: usize = 256;

/// Copies the content of one folder into another, empty one, which takes over owner, mode and times.
///
/// A volume that has content is left alone: another app of the pod has filled it.
pub fn fill(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let (from, to) =
        match (openat(from, c".", flags, Mode::empty()), openat(to, c".", flags, Mode::empty())) {
            (Ok(from), Ok(to)) => (from, to),
            // The mount point is a file.
            (Err(Errno::NOTDIR), _) => return Ok(()),
            (Err(error), _) | (_, Err(error)) => return Err(error.into()),
        };
    if Dir::read_from(&to)?.flatten().any(|entry| !is_dot(entry.file_name())) {
        return Ok(());
    }
    folder(&from, &to, DEPTH)
}

/// Gives one folder the owner, mode, attributes and times of another.
pub fn copy_metadata(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    finish(from, to, &fstat(from)?)
}

fn folder(from: &OwnedFd, to: &OwnedFd, depth: usize) -> io::Result<()> {
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if !is_dot(name) {
            one(from, to, name, depth)?;
        }
    }
    finish(from, to, &fstat(from)?)
}

fn one(from: &OwnedFd, to: &OwnedFd, name: &CStr, depth: usize) -> io::Result<()> {
    let found = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let private = Mode::from_raw_mode(0o600);
    match FileType::from_raw_mode(found.st_mode) {
        FileType::Directory => {
            let depth = depth.checked_sub(1).ok_or(Errno::LOOP)?;
            mkdirat(to, name, Mode::RWXU)?;
            let flags = flags | OFlags::RDONLY | OFlags::DIRECTORY;
            let inner = openat(from, name, flags, Mode::empty())?;
            folder(&inner, &openat(to, name, flags, Mode::empty())?, depth)
        }
        FileType::RegularFile => {
            let source =
                openat(from, name, flags | OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty())?;
            let copy =
                openat(to, name, flags | OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY, private)?;
            let (mut source, mut copy) = (File::from(source), File::from(copy));
            io::copy(&mut source, &mut copy)?;
            finish(&source.into(), &copy.into(), &found)
        }
        FileType::Symlink => {
            symlinkat(readlinkat(from, name, Vec::new())?.as_c_str(), to, name)?;
            owner_and_times(to, name, &found)
        }
        kind => {
            mknodat(to, name, kind, Mode::from_raw_mode(found.st_mode & 0o7777), found.st_rdev)?;
            owner_and_times(to, name, &found)
        }
    }
}

/// Owner first: changing it takes set-id bits away.
fn finish(from: &OwnedFd, to: &OwnedFd, found: &Stat) -> io::Result<()> {
    let made = fstat(to)?;
    let is_owners = (made.st_uid, made.st_gid) == (found.st_uid, found.st_gid);
    if !is_owners {
        fchown(to, Some(Uid::from_raw(found.st_uid)), Some(Gid::from_raw(found.st_gid)))?;
    }
    if !is_owners || made.st_mode != found.st_mode {
        fchmod(to, Mode::from_raw_mode(found.st_mode & 0o7777))?;
    }
    attributes(from.as_fd(), to.as_fd())?;
    Ok(futimens(to, &times(found))?)
}

fn owner_and_times(to: &OwnedFd, name: &CStr, found: &Stat) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(found.st_uid), Gid::from_raw(found.st_gid));
    chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(utimensat(to, name, &times(found), AtFlags::SYMLINK_NOFOLLOW)?)
}

fn times(found: &Stat) -> Timestamps {
    let time = |seconds: i64, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or_default(),
    };
    Timestamps {
        last_access: time(found.st_atime, found.st_atime_nsec),
        last_modification: time(found.st_mtime, found.st_mtime_nsec),
    }
}

fn attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    // Nearly nothing has any, and whole buffers would be zeroed for it.
    match flistxattr(from, &mut [0_u8; 0]) {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(()),
        Ok(_) => {}
        Err(other) => return Err(other.into()),
    }
    let mut names = vec![0_u8; 65_536];
    let length = match flistxattr(from, &mut names) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(other) => return Err(other.into()),
    };
    let mut value = vec![0_u8; 65_536];
    for name in
        names.get(..length).unwrap_or_default().split(|b| *b == 0).filter(|name| !name.is_empty())
    {
        let size = fgetxattr(from, name, &mut value)?;
        match fsetxattr(
            to,
            name,
            value.get(..size).unwrap_or_default(),
            rustix::fs::XattrFlags::empty(),
        ) {
            // A file system without such attributes, or a label that only the host's policy may set.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::PERM) => {}
            Err(other) => return Err(other.into()),
        }
    }
    Ok(())
}

fn is_dot(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

    #[test]
    fn content_owner_and_mode_are_those_of_the_image() {
        let path = std::env::temp_dir().join(format!("stage2-seed-{}", std::process::id()));
        for folder in ["from/deep", "to"] {
            fs::create_dir_all(path.join(folder)).unwrap();
        }
        fs::write(path.join("from/deep/f"), "text").unwrap();
        chown(path.join("from/deep/f"), Some(5), Some(6)).unwrap();
        fs::set_permissions(path.join("from/deep/f"), fs::Permissions::from_mode(0o4711)).unwrap();
        chown(path.join("from"), Some(7), Some(8)).unwrap();
        fs::set_permissions(path.join("from"), fs::Permissions::from_mode(0o1777)).unwrap();
        symlink("/etc/passwd", path.join("from/link")).unwrap();
        let open = |name: &str| fs::File::open(path.join(name)).unwrap();
        let (from, to) = (open("from"), open("to"));
        fill(from.as_fd(), to.as_fd()).unwrap();
        fs::write(path.join("to/deep/f2"), "").unwrap();
        fs::remove_file(path.join("to/deep/f2")).unwrap();
        // The second app of a pod finds the volume filled and changes nothing.
        fs::write(path.join("to/mine"), "").unwrap();
        fill(from.as_fd(), to.as_fd()).unwrap();

        let file = fs::metadata(path.join("to/deep/f")).unwrap();
        let top = fs::metadata(path.join("to")).unwrap();
        let link = fs::read_link(path.join("to/link")).unwrap();
        let text = fs::read_to_string(path.join("to/deep/f")).unwrap();
        fs::remove_dir_all(&path).unwrap();
        assert_eq!((file.uid(), file.gid(), file.mode() & 0o7777), (5, 6, 0o4711));
        assert_eq!((top.uid(), top.gid(), top.mode() & 0o7777), (7, 8, 0o1777));
        assert_eq!((link.to_str(), text.as_str()), (Some("/etc/passwd"), "text"));
    }
}
