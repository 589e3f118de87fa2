//! The image store: images, the trees made of them, and what is known about both. Plain files, no database.
//!
//! Many short processes share it, any of them may be killed at any system call. So nothing is changed in place: a thing
//! is made aside, under a lock that dies with its maker, synced, and renamed to its final name. What has its final name
//! is complete; what lies in `tmp` or `staging` unlocked is a leftover, which [`Sweep`] deletes.
//!
//! ```text
//! DATA/locks/prepareLock     shared while a pod is prepared, exclusive while trees are deleted
//! DATA/cas                   2750: members of group rkt may look, but not move the folders
//!   format                   the layout's number; written last, so that a half-made store is seen as such
//!   image/ID                 record of an image; mtime = last use. flock on the folder: whoever changes a record
//!   blob/ID, blob/sha256-HEX an ACI as it came; a verified OCI blob that root has not unpacked yet
//!   name/HASH, digest/DIGEST name -> ids, OCI manifest digest -> id; hints, checked against the record
//!   remote/HASH              reference -> id, with what a server said about caching
//!   tmp/RANDOM               what is being written
//!   imagelocks/              lock files of blobs; flock on the folder: shared by imports, exclusive to delete leftovers
//!   -- the above 2770, what follows 2700: root's alone --
//!   layer/sha256-HEX[.FACTS] one OCI layer in overlay form (root/), by its diff_id and the facts below that it used
//!   layer/sha256-HEX.needs   which facts it asks for
//!   tree/ID                  one rendered ACI (rootfs/)
//!   ready/ID                 trees of an image, checked; what `render::ready` reads
//!   derived/KIND-KEY.erofs   image of a layer or tree, for stage1s that attach disks; the folder comes with the first
//!   stamp/FILE               stage1 file (device, inode, size, times) -> id
//!   layerlocks/              lock files of layers: one process fetches, the others wait and use it
//!   staging/RANDOM           trees and records being made
//! ```
//!
//! An OCI blob is dropped once its layer is unpacked, and an ACI is kept compressed, since export gives the same bytes.
//! Members of the group may forge anything in their half: root makes trees only from bytes whose hashes it has taken
//! itself, and believes afterwards only its own half. This module is not a judge of signatures, and fetches nothing.

mod derived;
mod error;
mod files;
mod import;
mod layers;
mod layout;
mod locks;
mod lookup;
mod record;
mod remote;
mod remove;
mod resolve;
mod source;
mod sweep;

pub use error::{ImportError, StoreError};
pub use files::Temporary;
pub use import::{AciOrigin, OciImage};
pub use lookup::{Image, unique_sizes};
pub use record::ImageKind;
pub use remote::{FileStamp, Remote};
pub use resolve::remote_key;
pub use source::{BlobSource, Progress, Quiet, SourceError};
pub use sweep::{References, Sweep, Swept};

pub(crate) use derived::files_of;
pub(crate) use files::{Area, Staged, hex};
pub(crate) use layout::make_folders;
pub(crate) use record::{Part, ReadyRecord, Record};

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// An open image store.
#[derive(Debug)]
pub struct Store {
    data: PathBuf,
    cas: OwnedFd,
    root: bool,
}

impl Store {
    /// Opens the store below a data directory, made where it is missing.
    pub fn open(data: &Path) -> Result<Self, StoreError> {
        let cas = layout::open(data)?;
        Ok(Self { data: data.to_owned(), cas, root: rustix::process::geteuid().is_root() })
    }

    /// The data directory.
    pub fn data_dir(&self) -> &Path {
        &self.data
    }

    /// Whether this process may make trees.
    pub fn is_root(&self) -> bool {
        self.root
    }

    pub(crate) fn cas(&self) -> BorrowedFd<'_> {
        self.cas.as_fd()
    }

    /// The absolute path of something in the store.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.data.join("cas").join(name)
    }
}

#[cfg(test)]
pub(crate) mod tests;
