//! The files of an app: its layers under a writable one, or a private copy.

use rustix::fs::{Mode, OFlags, mkdirat};
use rustix::io::Errno;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use sys::mount::{self, Depth, Overlay};
use sys::path::{At, PathError};

/// Where an app's files come from. Paths that are relative are meant from the pod folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootFiles {
    /// Complete trees, lowest first, and the folder for what the app writes.
    Layers {
        /// The trees.
        lower: Vec<PathBuf>,
        /// The folder, with `upper` and `work` in it; it is there.
        own: PathBuf,
    },
    /// A tree that is the app's own.
    Copy(PathBuf),
}

impl RootFiles {
    /// Makes the folders for what the app writes. The metadata of the writable one are those of the root that the app
    /// sees: they are taken from the topmost layer.
    ///
    /// # Errors
    /// As mkdir(2), chown(2), chmod(2).
    pub fn make_folders(&self, pod: BorrowedFd<'_>) -> Result<(), PathError> {
        let Self::Layers { lower, own } = self else { return Ok(()) };
        let Some(top) = lower.last() else { return Ok(()) };
        let upper = own.join("upper");
        for folder in [&upper, &own.join("work")] {
            match mkdirat(pod, folder, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(PathError::new("mkdir", folder, error)),
            }
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let from = rustix::fs::open(top, flags, Mode::empty()).at("open", top)?;
        let to = rustix::fs::openat(pod, &upper, flags | OFlags::NOFOLLOW, Mode::empty())
            .at("open", &upper)?;
        crate::seed::copy_metadata(&from, &to).at("chmod", &upper)
    }

    /// Mounts the files, attached nowhere. The pod folder is the working directory: relative paths of the overlay make
    /// every character in its own path harmless.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn mount(&self, pod: BorrowedFd<'_>) -> io::Result<OwnedFd> {
        match self {
            Self::Layers { lower, own } => {
                Overlay { lower, upper: &own.join("upper"), work: &own.join("work") }.mount()
            }
            Self::Copy(path) => mount::copy_tree(pod, Path::new(path), Depth::Single),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::fd::AsFd;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

    #[test]
    fn the_writable_layer_looks_like_the_topmost_root() {
        let path = std::env::temp_dir().join(format!("stage2-root-{}", std::process::id()));
        for folder in ["top", "app"] {
            fs::create_dir_all(path.join(folder)).unwrap();
        }
        chown(path.join("top"), Some(3), Some(4)).unwrap();
        fs::set_permissions(path.join("top"), fs::Permissions::from_mode(0o711)).unwrap();
        let pod = fs::File::open(&path).unwrap();
        let files = RootFiles::Layers { lower: vec![path.join("top")], own: "app".into() };
        files.make_folders(pod.as_fd()).unwrap();
        files.make_folders(pod.as_fd()).unwrap();
        let (upper, top) = (
            fs::metadata(path.join("app/upper")).unwrap(),
            fs::metadata(path.join("top")).unwrap(),
        );
        fs::remove_dir_all(&path).unwrap();
        assert_eq!(
            (upper.uid(), upper.gid(), upper.mode(), upper.mtime()),
            (3, 4, top.mode(), top.mtime())
        );
    }
}
