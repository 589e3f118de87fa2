//! Mounts in two moves: what will be shown is taken while the host's paths are still there, and put in place once the
//! app's root is the only thing left to look paths up in.

use crate::mounts::{Access, MountPlan, MountStep, Source};
use crate::seed;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use sys::beneath::{self, Guard, Make};
use sys::mount::{self, Depth, Restrict};
use sys::path::{At, PathError};

/// A tree that is attached nowhere yet.
#[derive(Debug)]
pub struct Taken {
    tree: OwnedFd,
    target: PathBuf,
    make: Make,
    /// Write rights of an empty volume that must first be filled.
    seed: bool,
    access: Access,
    depth: Depth,
}

/// Everything that is to be shown in an app's root.
#[derive(Debug, Default)]
pub struct Sources {
    taken: Vec<Taken>,
}

/// Makes the empty volumes of a plan below the pod's volumes folder. One that is there already stays as it is: another
/// app of the pod shares it.
///
/// # Errors
/// As mkdir(2), chown(2), chmod(2).
pub fn make_empty(volumes: BorrowedFd<'_>, plan: &MountPlan) -> Result<(), PathError> {
    for step in &plan.steps {
        let Source::Empty { name, mode, uid, gid, .. } = &step.source else { continue };
        match rustix::fs::mkdirat(volumes, name.as_str(), Mode::from_raw_mode(0o700)) {
            Err(Errno::EXIST) => continue,
            other => other.at("mkdir", name)?,
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder =
            rustix::fs::openat(volumes, name.as_str(), flags, Mode::empty()).at("open", name)?;
        let (uid, gid) = (rustix::fs::Uid::from_raw(*uid), rustix::fs::Gid::from_raw(*gid));
        rustix::fs::fchown(&folder, Some(uid), Some(gid)).at("chown", name)?;
        rustix::fs::fchmod(&folder, Mode::from_raw_mode(*mode)).at("chmod", name)?;
    }
    Ok(())
}

impl Sources {
    /// Takes the sources of a plan. Host paths are looked up from the calling process' root, empty volumes below
    /// `volumes`.
    ///
    /// # Errors
    /// A source is missing, or cannot be made read-only.
    pub fn open(volumes: Option<BorrowedFd<'_>>, plan: &MountPlan) -> Result<Self, PathError> {
        let mut sources = Self::default();
        for step in &plan.steps {
            sources.taken.push(take(volumes, step)?);
        }
        Ok(sources)
    }

    /// Takes one more thing: a file or folder at a path below `dir`, to be shown read-only or not.
    ///
    /// # Errors
    /// It is missing, or cannot be made read-only.
    pub fn add(
        &mut self,
        dir: BorrowedFd<'_>,
        path: &Path,
        target: &str,
        access: Access,
    ) -> Result<(), PathError> {
        let tree = mount::copy_tree(dir, path, Depth::Single).at("open", path)?;
        self.taken
            .push(finish(tree, Path::new(target), access, Depth::Single, false).at("mount", path)?);
        Ok(())
    }

    /// Puts everything in place, below `root`.
    ///
    /// # Errors
    /// A target cannot be made, or cannot carry the mount.
    pub fn attach(self, root: BorrowedFd<'_>) -> Result<(), PathError> {
        for taken in self.taken {
            let target = taken.target(root, &beneath::anywhere)?;
            taken.attach(target.as_fd())?;
        }
        Ok(())
    }

    /// The single trees, in the order in which they have to be put in place.
    pub fn into_trees(self) -> impl Iterator<Item = Taken> {
        self.taken.into_iter()
    }
}

impl Taken {
    /// The place where the tree will be shown, made if it is missing and `guard` allows that.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn target(&self, root: BorrowedFd<'_>, guard: Guard<'_>) -> Result<OwnedFd, PathError> {
        beneath::ensure_where(root, &self.target, self.make, guard).at("open", &self.target)
    }

    /// Shows the tree at that place; gives a descriptor of it.
    ///
    /// # Errors
    /// The place cannot carry the mount.
    pub fn attach(self, target: BorrowedFd<'_>) -> Result<OwnedFd, PathError> {
        if self.seed {
            seed::fill(target, self.tree.as_fd()).at("copy", &self.target)?;
            if self.access == Access::ReadOnly {
                mount::restrict(self.tree.as_fd(), Restrict::READ_ONLY, self.depth)
                    .at("mount", &self.target)?;
            }
        }
        mount::attach(self.tree.as_fd(), target).at("mount", &self.target)?;
        Ok(self.tree)
    }
}

fn take(volumes: Option<BorrowedFd<'_>>, step: &MountStep) -> Result<Taken, PathError> {
    let (tree, seeded, path) = match &step.source {
        Source::Host(path) => {
            (mount::copy_tree(CWD, path.as_path(), step.depth), false, path.as_path())
        }
        Source::Empty { name, seeded, .. } => {
            let folder = volumes.ok_or_else(|| PathError::new("open", name, Errno::NOENT))?;
            (mount::copy_tree(folder, name.as_str(), step.depth), *seeded, Path::new(name))
        }
    };
    finish(tree.at("open", path)?, &step.target, step.access, step.depth, seeded).at("mount", path)
}

fn finish(
    tree: OwnedFd,
    target: &Path,
    access: Access,
    depth: Depth,
    seed: bool,
) -> std::io::Result<Taken> {
    let is_folder = rustix::fs::fstat(&tree)?.st_mode & libc::S_IFMT == libc::S_IFDIR;
    if access == Access::ReadOnly && !seed {
        mount::restrict(tree.as_fd(), Restrict::READ_ONLY, depth)?;
    }
    let make = if is_folder { Make::Folder } else { Make::File };
    Ok(Taken { tree, target: target.to_owned(), make, seed, access, depth })
}

/// A descriptor of the root of the calling process.
///
/// # Errors
/// As open(2).
pub fn own_root() -> Result<OwnedFd, PathError> {
    Ok(File::open("/").at("open", "/")?.into())
}
