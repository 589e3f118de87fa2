//! Paths that somebody else chose, looked up below a folder as if it were the root: links cannot lead out of it.

use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, openat2, readlinkat};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path};

/// How many symbolic links one look-up follows, as in the kernel.
const LINKS: usize = 40;

/// Opens a path with `root` as the root of the look-up. Magic links of procfs are never followed.
pub fn open(
    root: BorrowedFd<'_>,
    path: impl rustix::path::Arg + Copy,
    flags: OFlags,
) -> io::Result<OwnedFd> {
    open_mode(root, path, flags, Mode::empty())
}

/// [`open`] for flags that may create a file of this mode.
pub fn open_mode(
    root: BorrowedFd<'_>,
    path: impl rustix::path::Arg + Copy,
    flags: OFlags,
    mode: Mode,
) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    loop {
        match openat2(root, path, flags | OFlags::CLOEXEC, mode, resolve) {
            // A rename elsewhere raced with a `..` of this look-up.
            Err(Errno::AGAIN) => {}
            other => return Ok(other?),
        }
    }
}

/// Reads a regular file of at most `limit` bytes; anything else at the path is an error, and nothing ever blocks.
pub fn read(
    root: BorrowedFd<'_>,
    path: impl rustix::path::Arg + Copy,
    limit: u64,
) -> io::Result<Vec<u8>> {
    let fd = open(root, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
    let file = File::from(fd);
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "too large"));
    }
    Ok(bytes)
}

/// What a missing path should become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Make {
    /// A folder.
    Folder,
    /// An empty file.
    File,
}

/// Decides, by an error, that nothing may be made in a folder.
pub type Guard<'a> = &'a dyn Fn(BorrowedFd<'_>) -> io::Result<()>;

/// The [`Guard`] that lets everything pass.
pub fn anywhere(_: BorrowedFd<'_>) -> io::Result<()> {
    Ok(())
}

/// Opens (as a location only) a path below `root`; what is missing is made, folders with mode 0755. Links are followed
/// inside the root, also those that dangle.
pub fn ensure(root: BorrowedFd<'_>, path: &Path, make: Make) -> io::Result<OwnedFd> {
    ensure_where(root, path, make, &anywhere)
}

/// [`ensure`], where `guard` is asked before something is made in a folder.
pub fn ensure_where(
    root: BorrowedFd<'_>,
    path: &Path,
    make: Make,
    guard: Guard<'_>,
) -> io::Result<OwnedFd> {
    match open(root, path, OFlags::PATH) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    let mut rest: VecDeque<OsString> = words(path);
    let mut done: Vec<OsString> = Vec::new();
    let mut here = open(root, c"/", OFlags::PATH | OFlags::DIRECTORY)?;
    let mut links = 0;
    while let Some(word) = rest.pop_front() {
        if word == ".." {
            done.pop();
            here = open(root, joined(&done).as_os_str(), OFlags::PATH | OFlags::DIRECTORY)?;
            continue;
        }
        if let Ok(target) = readlinkat(&here, word.as_os_str(), Vec::new()) {
            links += 1;
            if links > LINKS {
                return Err(io::Error::from_raw_os_error(Errno::LOOP.raw_os_error()));
            }
            let target = OsString::from_vec(target.into_bytes());
            if target.as_bytes().first() == Some(&b'/') {
                done.clear();
                here = open(root, c"/", OFlags::PATH | OFlags::DIRECTORY)?;
            }
            for word in words(Path::new(&target)).into_iter().rev() {
                rest.push_front(word);
            }
            continue;
        }
        let last = rest.is_empty();
        let one = |flags| open_one(here.as_fd(), &word, flags);
        let next = match one(OFlags::PATH) {
            Err(Errno::NOENT) => {
                guard(here.as_fd())?;
                make_one(here.as_fd(), &word, if last { make } else { Make::Folder })?;
                one(OFlags::PATH)?
            }
            other => other?,
        };
        done.push(word);
        here = next;
    }
    Ok(here)
}

fn words(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|part| match part {
            Component::Normal(word) => Some(word.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            _ => None,
        })
        .collect()
}

fn joined(parts: &[OsString]) -> OsString {
    let mut path = OsString::from("/");
    for part in parts {
        path.push(part);
        path.push("/");
    }
    path
}

fn open_one(here: BorrowedFd<'_>, word: &OsStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(here, word, flags, Mode::empty())
}

fn make_one(here: BorrowedFd<'_>, word: &OsStr, make: Make) -> io::Result<()> {
    let made = match make {
        Make::Folder => mkdirat(here, word, Mode::from_raw_mode(0o755)),
        Make::File => {
            let flags =
                OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            rustix::fs::openat(here, word, flags, Mode::from_raw_mode(0o644)).map(drop)
        }
    };
    match made {
        // Somebody who shares a volume was faster.
        Err(Errno::EXIST) => Ok(()),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> (Self, OwnedFd) {
            let path =
                std::env::temp_dir().join(format!("sys-beneath-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            let fd = File::open(&path).unwrap().into();
            (Self(path), fd)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn what_is_missing_is_made_inside() {
        let (folder, root) = Folder::new("make");
        symlink("/real/deep", folder.0.join("link")).unwrap();
        symlink("../../../../up", folder.0.join("up")).unwrap();
        for (path, make, lands) in [
            ("/a/b", Make::Folder, "a/b"),
            ("/link/x/f", Make::File, "real/deep/x/f"),
            ("/up", Make::Folder, "up"),
            ("/../../y", Make::Folder, "y"),
        ] {
            if path == "/up" {
                ensure(root.as_fd(), Path::new(path), make).unwrap_err();
                continue;
            }
            ensure(root.as_fd(), Path::new(path), make).unwrap();
            let found = fs::symlink_metadata(folder.0.join(lands)).unwrap();
            assert_eq!(found.is_dir(), make == Make::Folder, "{path}");
        }
    }

    #[test]
    fn a_guard_is_asked_where_links_lead() {
        let (folder, root) = Folder::new("guard");
        fs::create_dir(folder.0.join("barred")).unwrap();
        symlink("/barred/new", folder.0.join("dangling")).unwrap();
        let barred = rustix::fs::stat(folder.0.join("barred")).unwrap().st_ino;
        let guard = |here: BorrowedFd<'_>| {
            let found = rustix::fs::fstat(here)?.st_ino;
            if found == barred { Err(io::ErrorKind::PermissionDenied.into()) } else { Ok(()) }
        };
        let make = |path: &str| ensure_where(root.as_fd(), Path::new(path), Make::File, &guard);
        make("/a/b").unwrap();
        make("/barred").unwrap();
        for path in ["/barred/x", "/dangling", "/a/../dangling"] {
            assert_eq!(make(path).unwrap_err().kind(), io::ErrorKind::PermissionDenied, "{path}");
        }
        assert_eq!(fs::read_dir(folder.0.join("barred")).unwrap().count(), 0);
    }

    #[test]
    fn only_small_regular_files_are_read() {
        let (folder, root) = Folder::new("read");
        fs::write(folder.0.join("f"), "12345").unwrap();
        symlink("/dev/zero", folder.0.join("z")).unwrap();
        rustix::fs::mknodat(&root, "p", rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert_eq!(read(root.as_fd(), "f", 5).unwrap(), b"12345");
        for bad in ["z", "p", "../../etc/passwd", "missing"] {
            read(root.as_fd(), bad, 5).unwrap_err();
        }
        read(root.as_fd(), "f", 4).unwrap_err();
    }
}
