//! What can go wrong with the store, and with an import into it.

use super::source::SourceError;
use appc::{ImageId, ManifestError};
use archive::UnpackError;
use oci::Digest;
use std::io;
use sys::path::PathError;

/// The store cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Its folders cannot be made.
    #[error("cannot make the image store")]
    Make(#[source] PathError),
    /// A file of it cannot be used.
    #[error("cannot use the image store")]
    Access(#[source] PathError),
    /// It was made by a later version.
    #[error("the image store has format {0:?}, which this version does not know")]
    Format(String),
    /// A record in it cannot be read.
    #[error("record {path} of the image store is damaged: {problem}")]
    Record {
        /// The record, relative to the store.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// A tree cannot be made into the image of a file system.
    #[error("cannot make a disk of the image's files")]
    Derive(#[source] archive::erofs::ErofsError),
    /// No image has this id, or an id that begins so.
    #[error("no image IDs found")]
    NoSuchId,
    /// Too few digits to look for.
    #[error("image ID too short")]
    IdTooShort,
    /// Several ids begin so.
    #[error("ambiguous image ID: {0:?}")]
    AmbiguousId(String),
    /// Nothing was fetched under this reference.
    #[error("cannot find image")]
    NoSuchReference,
    /// No image has this name and these labels.
    #[error("cannot find aci satisfying name: {name:?} and labels: [{labels}] in the local store")]
    NotFound {
        /// The name.
        name: String,
        /// The labels, as they are shown.
        labels: String,
    },
}

impl StoreError {
    /// Whether only the image is missing, and the store is well.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NoSuchId | Self::NoSuchReference | Self::NotFound { .. })
    }

    pub(crate) fn record(path: &str, problem: &(impl ToString + ?Sized)) -> Self {
        Self::Record { path: path.to_owned(), problem: problem.to_string() }
    }
}

/// An image that does not get into the store.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The store itself.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The image's bytes do not come.
    #[error("cannot read image")]
    Read(#[source] io::Error),
    /// It is no App Container Image.
    #[error("not a valid image")]
    Aci(#[source] archive::aci::AciError),
    /// Its manifest breaks a rule.
    #[error("bad image manifest")]
    Manifest(#[source] ManifestError),
    /// Its manifest or configuration is not what the specification says.
    #[error("bad {what}")]
    Oci {
        /// Which document.
        what: &'static str,
        /// What is wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Its parts do not fit together, or are too many.
    #[error("{0}")]
    Shape(String),
    /// A part of it cannot be had.
    #[error("cannot get {what} {digest}")]
    Source {
        /// What kind of part.
        what: &'static str,
        /// Its digest.
        digest: Digest,
        /// The reason.
        #[source]
        source: SourceError,
    },
    /// A part of it is not what its digest says.
    #[error("{what} has digest {found}, but {wanted} was asked for")]
    Digest {
        /// What kind of part.
        what: &'static str,
        /// What was promised.
        wanted: Digest,
        /// What came.
        found: String,
    },
    /// A part of it has another size than was promised.
    #[error("{what} {digest} has {found} bytes instead of {wanted}")]
    Size {
        /// What kind of part.
        what: &'static str,
        /// Its digest.
        digest: Digest,
        /// What was promised.
        wanted: u64,
        /// What came; at most one more than promised is read.
        found: u64,
    },
    /// A layer cannot be unpacked.
    #[error("cannot unpack layer {digest}")]
    Unpack {
        /// The layer.
        digest: Digest,
        /// Why.
        #[source]
        source: UnpackError,
    },
    /// Stored bytes are not those that the id stands for.
    #[error("stored image {0} is damaged")]
    Damaged(ImageId),
}
