//! From an image reference to an image in the store.
//!
//! In: a reference, what the user gave up, and whether the store is enough. Out: the id of a stored image, of which every
//! byte was read and hashed; or one sentence why not. No server costs more time, memory and disk than `limits` says.
//!
//! ```text
//! file       an ACI on this host
//! layout     OCI and Docker images in a folder or an archive of this host
//! url_aci    an ACI behind a URL
//! registry   OCI and Docker images in a registry
//! http       one request, and the bytes that it brings
//! partial    what came before a transfer broke off
//! limits     what a server may cost
//! transfer   what is told while bytes come
//! ```

mod error;
mod file;
mod http;
mod layout;
mod limits;
mod partial;
mod registry;
mod transfer;
mod url_aci;

pub use error::FetchError;
pub use http::{BadUrl, HttpError};
pub use layout::LayoutError;
pub use registry::RegistryError;
pub use transfer::{Progress, Quiet};

use crate::image_ref::ImageRef;
use crate::insecure::Insecure;
use crate::store::{Store, remote_key};
use appc::{AcIdentifier, ImageId, Label};
use std::path::Path;

/// When the network is asked for an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullPolicy {
    /// When the store does not have it.
    New,
    /// Always; the store is only a cache.
    Update,
    /// Never.
    Never,
}

impl PullPolicy {
    /// Reads the word of the command line.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "new" => Some(Self::New),
            "update" => Some(Self::Update),
            "never" => Some(Self::Never),
            _ => None,
        }
    }
}

/// Gets images into one store.
pub struct Fetcher<'a> {
    store: &'a Store,
    insecure: Insecure,
    policy: PullPolicy,
    progress: &'a dyn Progress,
}

impl std::fmt::Debug for Fetcher<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetcher").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl<'a> Fetcher<'a> {
    /// Fetches into this store, under these rules.
    pub fn new(
        store: &'a Store,
        insecure: Insecure,
        policy: PullPolicy,
        progress: &'a dyn Progress,
    ) -> Self {
        Self { store, insecure, policy, progress }
    }

    /// The image in the store, fetched if the policy wants that. `signature` is the file that the user named.
    pub fn fetch(&self, image: &ImageRef, signature: Option<&Path>) -> Result<ImageId, FetchError> {
        let id = self.find(image, signature)?;
        if !self.store.touch(&id)? {
            return Err(FetchError::Gone(id));
        }
        Ok(id)
    }

    fn find(&self, image: &ImageRef, signature: Option<&Path>) -> Result<ImageId, FetchError> {
        match image {
            ImageRef::Id(_) => Ok(self.store.resolve(image)?),
            // Whatever the store knows of it: the file may be another one by now.
            ImageRef::File(path) => self.file(path, signature),
            ImageRef::Name { name, labels } => self.name(image, name, labels),
            ImageRef::Layout { form, path, tag } => self.layout(*form, path, tag.as_deref()),
            ImageRef::Url(url) => self.url(image, url, signature),
            ImageRef::Docker(reference) => self.docker(image, reference),
        }
    }

    fn name(
        &self,
        image: &ImageRef,
        name: &AcIdentifier,
        labels: &[Label],
    ) -> Result<ImageId, FetchError> {
        if let Some(id) = self.stored(image)? {
            return Ok(id);
        }
        match self.policy {
            PullPolicy::Never => Err(FetchError::Unable(shown(image))),
            PullPolicy::New | PullPolicy::Update => {
                Err(FetchError::Discovery(shown_name(name, labels)))
            }
        }
    }

    /// What the store has, where the policy lets that be the answer.
    fn stored(&self, image: &ImageRef) -> Result<Option<ImageId>, FetchError> {
        if self.policy == PullPolicy::Update {
            return Ok(None);
        }
        match self.store.resolve(image) {
            Ok(id) => {
                log::debug!(target: "image", "using image from local store for {}", shown(image));
                Ok(Some(id))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// A reference in words.
fn shown(image: &ImageRef) -> String {
    match image {
        ImageRef::Id(id) => format!("image ID {:?}", id.as_str()),
        ImageRef::File(path) => format!("file \"{}\"", path.display()),
        ImageRef::Name { name, labels } => format!("image name {:?}", shown_name(name, labels)),
        ImageRef::Layout { form, path, .. } => format!("{} \"{}\"", form.scheme(), path.display()),
        ImageRef::Url(_) | ImageRef::Docker(_) => {
            format!("URL {:?}", remote_key(image).unwrap_or_default())
        }
    }
}

/// A name as users type it.
fn shown_name(name: &AcIdentifier, labels: &[Label]) -> String {
    let mut text = name.to_string();
    for label in labels {
        if label.name.as_str() == "version" {
            text.push(':');
        } else {
            text.push(',');
            text.push_str(label.name.as_str());
            text.push('=');
        }
        text.push_str(&label.value);
    }
    text
}

#[cfg(test)]
mod tests;
