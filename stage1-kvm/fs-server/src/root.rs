//! The root of the server: an empty file system with the volumes in it, and nothing above.

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use sys::mount::{self, Depth, Propagation, Restrict};
use sys::namespace::{self, Kinds};
use sys::path::{At, PathError};

/// The most descriptors that the server has: one for each file that the guest remembers.
const DESCRIPTORS: u64 = 1_000_000;

/// The folder of its own descriptors, by which the library opens again what it knows. It is the whole of a mount: no way
/// leads up from it.
///
/// # Errors
/// There is no procfs.
pub(crate) fn own_descriptors() -> Result<OwnedFd, PathError> {
    let own = "/proc/self/fd";
    let tree = mount::copy_tree(CWD, own, Depth::Single).at("open", own)?;
    let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(&tree, ".", folder, Mode::empty()).at("open", own)
}

/// Makes a tree of the volumes, which are attached nowhere, and neither is it.
///
/// # Errors
/// As mount(2).
pub(crate) fn build(volumes: Vec<OwnedFd>) -> Result<OwnedFd, PathError> {
    namespace::unshare(Kinds::MOUNT).at("unshare", "/")?;
    mount::isolate_all(Propagation::Private).at("mount", "/")?;
    let rights = Restrict::NO_SUID.and(Restrict::NO_DEVICES).and(Restrict::NO_EXEC);
    let options = [(c"mode", c"0755"), (c"size", c"64k")];
    let root = mount::fresh(c"tmpfs", &options, rights).at("mount", "/")?;
    // What is attached nowhere can carry nothing: for a while it covers the working folder, whatever that is.
    mount::attach_at(root.as_fd(), c".").at("mount", ".")?;
    for (number, tree) in volumes.into_iter().enumerate() {
        let name = number.to_string();
        let place = make(&root, &name, &tree).at("make", &name)?;
        mount::attach(tree.as_fd(), place.as_fd()).at("mount", &name)?;
    }
    mount::restrict(root.as_fd(), Restrict::READ_ONLY, Depth::Single).at("mount", "/")?;
    mount::copy_tree(root.as_fd(), c"", Depth::Recursive).at("mount", "/")
}

/// A place that can carry the tree: a folder for a folder, and a file for anything else.
fn make(root: &OwnedFd, name: &str, tree: &OwnedFd) -> io::Result<OwnedFd> {
    let kind = FileType::from_raw_mode(rustix::fs::fstat(tree)?.st_mode);
    if kind == FileType::Directory {
        rustix::fs::mkdirat(root, name, Mode::from_raw_mode(0o755))?;
    } else {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        drop(File::from(rustix::fs::openat(root, name, flags, Mode::from_raw_mode(0o644))?));
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(root, name, flags, Mode::empty())?)
}

/// Lets the process have as many descriptors as the kernel allows, up to a bound; how many that are.
///
/// # Errors
/// As setrlimit(2).
pub(crate) fn raise_descriptors() -> io::Result<u64> {
    let given = getrlimit(Resource::Nofile);
    let given = given.maximum.unwrap_or(DESCRIPTORS);
    let kernel = std::fs::read_to_string("/proc/sys/fs/nr_open").ok();
    let kernel = kernel.and_then(|text| text.trim().parse().ok()).unwrap_or(given);
    for wanted in [kernel.min(DESCRIPTORS).max(given.min(DESCRIPTORS)), given.min(DESCRIPTORS)] {
        let limit = Rlimit { current: Some(wanted), maximum: Some(wanted) };
        match setrlimit(Resource::Nofile, limit) {
            Ok(()) => return Ok(wanted),
            // More than it was given takes a right that not everybody who starts pods has.
            Err(rustix::io::Errno::PERM) if wanted > given => {}
            Err(other) => return Err(other.into()),
        }
    }
    Ok(given)
}
