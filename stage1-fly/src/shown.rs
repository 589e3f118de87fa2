//! What of the host is shown in an app's root, and what putting the root together must not do to it.
//!
//! These trees exchange mounts with the host: what is mounted on one of them appears on the host as well, and stays there
//! when the pod is gone. The app may do that, it has the host's rights; a link of its image, or a path that its image
//! names, may not make *us* do it. So the host's folders are shown at folders alone, nothing is made in them, and a tree
//! that has to carry another one keeps to itself what is mounted on it.

use rustix::fs::{AtFlags, FileType, Mode, OFlags, StatxFlags, fstat, mkdirat, openat, statx};
use rustix::io::Errno;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use sys::mount::{self, Depth, Propagation};
use sys::path::{At, PathError};

/// The mounts of the process that puts the root together.
const TABLE: &str = "/proc/self/mountinfo";

/// What there is in a root so far.
#[derive(Debug)]
pub(crate) struct Shown {
    root: OwnedFd,
    id: u64,
    trees: Vec<Tree>,
}

#[derive(Debug)]
struct Tree {
    fd: OwnedFd,
    id: u64,
    kind: Kind,
}

/// Whose folder a tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The host's: every app sees it, without being asked.
    Host,
    /// One that somebody gave to the pod.
    Volume,
}

impl Shown {
    pub(crate) fn new(root: OwnedFd) -> Result<Self, PathError> {
        let id = mount_id(root.as_fd()).at("stat", "/")?;
        Ok(Self { root, id, trees: Vec::new() })
    }

    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    pub(crate) fn into_root(self) -> OwnedFd {
        self.root
    }

    /// Shows a folder of the host's under its name there, which in the image is a folder or missing.
    pub(crate) fn show_host(&mut self, name: &str, tree: OwnedFd) -> Result<(), PathError> {
        let path = || Path::new("/").join(name);
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = || openat(&self.root, name, flags, Mode::empty());
        let target = match open() {
            Err(Errno::NOENT) => {
                mkdirat(&self.root, name, Mode::from_raw_mode(0o755)).at("mkdir", path())?;
                open()
            }
            other => other,
        };
        let target = target.at("open", path())?;
        let found = fstat(&target).at("stat", path())?;
        if FileType::from_raw_mode(found.st_mode) != FileType::Directory {
            return Err(PathError::new(
                "mount",
                path(),
                io::Error::other("the image has no folder there"),
            ));
        }
        mount::attach(tree.as_fd(), target.as_fd()).at("mount", path())?;
        self.remember(tree, Kind::Host).at("stat", path())
    }

    /// Puts volumes in place.
    pub(crate) fn attach(&mut self, sources: stage2::Sources) -> Result<(), PathError> {
        for taken in sources.into_trees() {
            let target = taken.target(self.root(), &|folder| self.may_make(folder))?;
            self.release(target.as_fd()).at("mount", TABLE)?;
            let tree = taken.attach(target.as_fd())?;
            self.remember(tree, Kind::Volume).at("stat", "/")?;
        }
        Ok(())
    }

    /// A [guard](sys::beneath::Guard): nothing is made in folders that are the host's.
    pub(crate) fn may_make(&self, folder: BorrowedFd<'_>) -> io::Result<()> {
        match self.carrier(folder)? {
            Some((tree, _)) if tree.kind == Kind::Host => {
                Err(io::Error::other("missing in a folder of the host's"))
            }
            _ => Ok(()),
        }
    }

    fn remember(&mut self, fd: OwnedFd, kind: Kind) -> io::Result<()> {
        let id = mount_id(fd.as_fd())?;
        self.trees.push(Tree { fd, id, kind });
        Ok(())
    }

    /// Makes the tree that a place is in, if any, pass on no mount to the host any more.
    fn release(&self, target: BorrowedFd<'_>) -> io::Result<()> {
        let Some((tree, depth)) = self.carrier(target)? else { return Ok(()) };
        mount::set_propagation(tree.fd.as_fd(), Propagation::Slave, depth)
    }

    /// The tree that a place is in, and whether it is in a mount below the tree's own.
    fn carrier(&self, place: BorrowedFd<'_>) -> io::Result<Option<(&Tree, Depth)>> {
        let mut id = mount_id(place)?;
        if id == self.id {
            return Ok(None);
        }
        let find = |id| self.trees.iter().find(|tree| tree.id == id);
        if let Some(tree) = find(id) {
            return Ok(Some((tree, Depth::Single)));
        }
        let table = fs::read_to_string(TABLE)?;
        // No chain is longer than the table.
        for _ in table.lines() {
            let Some(parent) = parent(&table, id) else { break };
            if let Some(tree) = find(parent) {
                return Ok(Some((tree, Depth::Recursive)));
            }
            id = parent;
        }
        Ok(None)
    }
}

/// The number under which the kernel lists the mount that a descriptor leads to.
fn mount_id(fd: BorrowedFd<'_>) -> io::Result<u64> {
    let found = statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
    Ok(found.stx_mnt_id)
}

/// The mount that another one lies on.
fn parent(table: &str, id: u64) -> Option<u64> {
    table.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let is_it = fields.next()?.parse::<u64>().ok()? == id;
        is_it.then(|| fields.next()?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_are_the_second_field() {
        let table = "21 1 8:1 / / rw - ext4 a rw\n33 21 0:5 / /dev rw - devtmpfs b rw\n";
        assert_eq!(parent(table, 33), Some(21));
        assert_eq!(parent(table, 21), Some(1));
        assert_eq!(parent(table, 3), None);
    }
}
