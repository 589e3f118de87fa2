//! What a user's word means here, without asking anybody else.

use super::{Store, StoreError};
use crate::image_ref::ImageRef;
use appc::ImageId;

/// The key under which the store remembers what a reference into a registry, or a URL, led to.
pub fn remote_key(image: &ImageRef) -> Option<String> {
    match image {
        ImageRef::Url(url) => Some(url.clone()),
        ImageRef::Docker(reference) => Some(format!("docker://{reference}")),
        ImageRef::Id(_) | ImageRef::Name { .. } | ImageRef::File(_) | ImageRef::Layout { .. } => {
            None
        }
    }
}

impl Store {
    /// The stored image that a reference means: by id, by name, or because it was fetched under just this reference.
    pub fn resolve(&self, image: &ImageRef) -> Result<ImageId, StoreError> {
        match image {
            ImageRef::Id(id) => self.find_id(id.as_str()),
            ImageRef::Name { name, labels } => self.find_name(name, labels),
            other => {
                let remote = match remote_key(other) {
                    Some(key) => self.remote(&key)?,
                    None => None,
                };
                remote.map(|remote| remote.image).ok_or(StoreError::NoSuchReference)
            }
        }
    }
}
