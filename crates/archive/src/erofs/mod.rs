//! Trees as file system images: an EROFS image that the kernel mounts and that then shows the tree.
//!
//! One pass over the tree, names in order, so that the same tree gives the same bytes. Nothing is compressed: pages of a
//! file are pages of the image. Every kernel since 5.12 reads the result.
//!
//! ```text
//! format   values -> bytes: superblock, inodes, attributes, folders        pure
//! space    which bytes of the image are whose; writing them
//! content  bytes of files into the image
//! walk     a folder -> all of the above, parents before their children
//! ```
//!
//! | | |
//! |---|---|
//! | files of less than a block | behind their inode, as symbolic links and the ends of folders are |
//! | other files | blocks of their own: whole pages, which a guest can map without a copy |
//! | holes | holes of the image, which read as zeros: chunked files would need a newer kernel and save nothing |
//! | inodes | among the data of their files, in runs of blocks; the root first, since its number has 16 bits |
//! | small inodes | for whatever changed when the root did and has small ids |
//! | attributes | what [`crate::tree`] knows of; the second file with the same one refers to the first one's |
//! | whiteouts | nothing but a name: when they were made is no part of a layer |
//! | links | counted in the tree, whatever other names a file has elsewhere |
//!
//! Source of the format: `fs/erofs/erofs_fs.h` of Linux, and what its readers from 5.12 on check.

mod content;
mod format;
mod space;
mod walk;

use rustix::fs::{Mode, OFlags, openat};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use sys::path::{At, PathError};

/// What an image says of itself beside its tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VolumeId(pub [u8; 16]);

impl VolumeId {
    /// Of a tree, so that stacked images can be told apart.
    pub fn of(tree: &crate::TreeDigest) -> Self {
        let mut id = [0_u8; 16];
        id.iter_mut().zip(tree.0).for_each(|(to, from)| *to = from);
        Self(id)
    }
}

/// An image that could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ErofsError {
    /// The tree could not be read.
    #[error(transparent)]
    Read(#[from] PathError),
    /// The image could not be written.
    #[error("cannot write the image")]
    Write(#[source] io::Error),
    /// Something in the tree has no form in an image.
    #[error("{}: {problem}", path.display())]
    Unfit {
        /// Where it is, from the root of the tree.
        path: PathBuf,
        /// What is wrong.
        problem: &'static str,
    },
    /// There are more blocks than an image can number.
    #[error("the tree is too large for an image of 16 TiB")]
    TooLarge,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Bytes of the image, its holes included.
    pub bytes: u64,
    /// Files, folders and so on; hard links count once.
    pub inodes: u64,
}

/// Writes the image of a tree into a file, whose former content is lost. The caller syncs.
///
/// The tree must not change meanwhile; no link in it is followed.
///
/// # Errors
/// See [`ErofsError`]; the file is then worth nothing.
pub fn write(tree: BorrowedFd<'_>, image: impl AsFd, id: VolumeId) -> Result<Written, ErofsError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(tree, ".", flags, Mode::empty()).at("open", ".")?;
    let space = space::Space::new(image.as_fd()).map_err(ErofsError::Write)?;
    walk::Walk::new(root, space)?.run(id)
}
