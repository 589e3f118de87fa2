//! The network namespace of a pod, under a name that others of the host's programs can find.
//!
//! ```text
//! pod folder: netns        the path below, written before there is anything
//! /var/run/netns/cni-UUID  the namespace; `ip netns` lists and enters it
//! ```
//!
//! The folder is a mount that passes mounts on, as `ip netns` makes it: whoever has a view of the host's mounts of their own
//! sees namespaces come and go, and keeps none alive.

use netlink::Socket;
use netlink::link::{All, Index, Record};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use sys::mount::{self, Depth, Propagation};
use sys::namespace;
use sys::path::{At, PathError};

/// Where namespaces have names.
const FOLDER: &str = "/var/run/netns";

/// Where the namespace of a pod has its name.
pub(crate) fn path_of(uuid: &str) -> PathBuf {
    Path::new(FOLDER).join(format!("cni-{uuid}"))
}

/// A namespace that is there.
#[derive(Debug)]
pub struct PodNamespace {
    fd: OwnedFd,
    path: PathBuf,
}

impl AsFd for PodNamespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl PodNamespace {
    /// Makes the namespace of a pod, under its name. The calling process has one thread, and stays where it is.
    ///
    /// # Errors
    /// The kernel refuses, or something has the name.
    pub fn make(uuid: &str) -> Result<Self, PathError> {
        let path = path_of(uuid);
        let folder = shared_folder()?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDONLY | OFlags::CLOEXEC;
        drop(rustix::fs::open(&path, flags, Mode::RUSR).at("create", &path)?);
        let made = namespace::new_network().at("make a network namespace for", &path);
        let fd = made.and_then(|fd| {
            // A namespace is a file of a file system that nobody mounts: it is shown by a copy of that mount.
            let tree = mount::copy_tree(fd.as_fd(), c"", Depth::Single);
            tree.and_then(|tree| mount::attach_at(tree.as_fd(), &path)).at("mount", &path)?;
            Ok(fd)
        });
        drop(folder);
        match fd {
            Ok(fd) => Ok(Self { fd, path }),
            Err(error) => {
                // The first cause is what matters.
                drop(remove(&path));
                Err(error)
            }
        }
    }

    /// A namespace that somebody else has made.
    ///
    /// # Errors
    /// There is none.
    pub fn open(path: &Path) -> Result<Self, PathError> {
        let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        Ok(Self { fd: fd.at("open", path)?, path: path.to_owned() })
    }

    /// The names of the interfaces in it, but for `lo`; none if it cannot be looked at.
    pub fn interfaces(&self) -> Vec<String> {
        let all = self.links().unwrap_or_default();
        let all =
            all.into_iter().filter(|link| link.index != Index::LOOPBACK && link.mac.is_some());
        all.map(|link| link.name.text().into_owned()).collect()
    }

    /// What tells whether it has an interface of a name, of whatever kind: yes to all if it cannot be looked at.
    pub(crate) fn has(&self) -> impl Fn(&str) -> bool + use<> {
        let all = self.links();
        move |name| all.as_ref().is_none_or(|all| all.iter().any(|link| link.name.text() == name))
    }

    fn links(&self) -> Option<Vec<Record>> {
        let listed = namespace::inside_network(self.fd.as_fd(), || Socket::route()?.dump(&All));
        listed.ok()?.ok()
    }

    /// Where it has its name.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Takes the name of a namespace away. The kernel removes it, and the interfaces in it, when nobody is in it any more.
///
/// # Errors
/// The name cannot be removed; that there is none is no error.
pub(crate) fn remove(path: &Path) -> Result<(), PathError> {
    // A name can have been mounted upon more than once.
    while let Ok(()) = rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH) {}
    match rustix::fs::unlink(path) {
        Ok(()) | Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
        Err(error) => Err(error).at("remove", path),
    }
}

/// The folder of names, as a mount that passes mounts on.
fn shared_folder() -> Result<OwnedFd, PathError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = || rustix::fs::open(FOLDER, flags, Mode::empty());
    let folder = match open() {
        Err(Errno::NOENT) => {
            std::fs::create_dir_all(FOLDER).at("create", FOLDER)?;
            open()
        }
        other => other,
    };
    let folder = folder.at("open", FOLDER)?;
    if mount::set_propagation(folder.as_fd(), Propagation::Shared, Depth::Single).is_ok() {
        return Ok(folder);
    }
    // Not a mount yet. `ip netns` takes the same lock before it makes it one.
    rustix::fs::flock(&folder, rustix::fs::FlockOperation::LockExclusive).at("lock", FOLDER)?;
    let again = open().at("open", FOLDER)?;
    if mount::set_propagation(again.as_fd(), Propagation::Shared, Depth::Single).is_err() {
        mount::bind(c"/var/run/netns", c"/var/run/netns").at("bind", FOLDER)?;
        let mounted = open().at("open", FOLDER)?;
        mount::set_propagation(mounted.as_fd(), Propagation::Shared, Depth::Single)
            .at("share", FOLDER)?;
        return Ok(mounted);
    }
    Ok(again)
}
