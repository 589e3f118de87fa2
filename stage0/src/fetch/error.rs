//! Why an image could not be had.

use super::{HttpError, LayoutError, RegistryError};
use crate::store::{ImportError, StoreError};
use appc::ImageId;
use sys::path::PathError;

/// A way out of several of these.
const INSECURE: &str = "try --insecure-options=image";

/// An image that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What came is no image, or not the one that was asked for.
    #[error("cannot import image")]
    Import(#[from] ImportError),
    /// A file of the host cannot be read.
    #[error("cannot read image")]
    File(#[source] PathError),
    /// A folder or an archive does not have it.
    #[error("cannot find the image")]
    Layout(#[from] LayoutError),
    /// A server does not give it.
    #[error("cannot download the image")]
    Http(#[from] HttpError),
    /// A registry does not give it.
    #[error("cannot pull the image")]
    Registry(#[from] RegistryError),
    /// An image without a signature.
    #[error("image is not signed")]
    Unsigned(#[source] PathError),
    /// There is a signature, or there may be one.
    #[error("signatures cannot be verified yet")]
    Signature,
    /// Images in registries, folders and archives have no signature that could be verified.
    #[error("signature verification for {0} images is not supported ({INSECURE})")]
    NoSignatures(&'static str),
    /// The policy forbids to look where it may be.
    #[error(
        "unable to fetch image from {0}: either image was not found in the store or store was disabled and fetching \
         from remote yielded nothing or it was disabled"
    )]
    Unable(String),
    /// Only discovery could find it.
    #[error("cannot fetch image {0:?} by its name: discovery is not available yet")]
    Discovery(String),
    /// It was removed by somebody else as soon as it had come.
    #[error("image {0} was removed while it was fetched")]
    Gone(ImageId),
}

impl FetchError {
    /// What the user may do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unsigned(_) | Self::Signature => Some(INSECURE),
            Self::Discovery(_) => Some("fetch it from a URL or a file, or use a stored one"),
            Self::Registry(RegistryError::Http(HttpError::NotTls(_))) => {
                Some("try --insecure-options=http")
            }
            _ => None,
        }
    }
}
