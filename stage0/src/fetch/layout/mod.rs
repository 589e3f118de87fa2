//! Images in folders and archives: OCI layouts, and what `docker save` writes.
//!
//! All of it is hostile: names are looked up and never followed out of the archive, documents are bounded, and every
//! blob is verified by the store.

mod docker;
mod files;
mod oci_layout;

use super::{FetchError, Fetcher};
use crate::image_ref::LayoutForm;
use crate::store::{self, StoreError};
use appc::ImageId;
use archive::members::MembersError;
use files::Files;
use std::io;
use std::path::Path;
use sys::path::PathError;

/// A folder or archive without the image that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// A file cannot be read.
    #[error("cannot read the image")]
    File(#[source] PathError),
    /// There is no space to unpack a compressed archive, or no sense in it.
    #[error("cannot unpack the archive")]
    Unpack(#[source] io::Error),
    /// The store, where compressed archives are unpacked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is no archive.
    #[error("cannot read the archive")]
    Archive(#[source] MembersError),
    /// A file is not in the archive.
    #[error("{0:?} is not in the archive")]
    Missing(String),
    /// A document is too large.
    #[error("{name} is larger than {limit} bytes")]
    Large {
        /// The document.
        name: String,
        /// What is allowed.
        limit: u64,
    },
    /// It is not marked as an OCI layout that can be read.
    #[error("not an OCI layout of version 1: {0}")]
    Marker(String),
    /// A document cannot be accepted.
    #[error("cannot use {name}")]
    Document {
        /// The document.
        name: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There is no image at all.
    #[error("there is no image in it")]
    Empty,
    /// None of the images is called so.
    #[error("no image in it has the tag {tag:?}; the tags are: {tags}")]
    NoTag {
        /// What was asked for.
        tag: String,
        /// What there is.
        tags: String,
    },
    /// It does not say which image is wanted.
    #[error("there are several images in it, name one of the tags: {0}")]
    Several(String),
}

/// What a layout has for a reference.
struct Found<'f> {
    image: store::OciImage,
    blobs: Box<dyn store::BlobSource + 'f>,
}

impl Fetcher<'_> {
    /// Imports an image from a folder or an archive, again if it was imported before.
    pub(super) fn layout(
        &self,
        form: LayoutForm,
        path: &Path,
        tag: Option<&str>,
    ) -> Result<ImageId, FetchError> {
        if !self.insecure.image {
            let kind = if form == LayoutForm::DockerArchive { "docker" } else { "OCI" };
            return Err(FetchError::NoSignatures(kind));
        }
        log::debug!(target: "image", "using image from {} {}", form.scheme(), path.display());
        let files = match form {
            LayoutForm::OciDir => Files::folder(path),
            LayoutForm::OciArchive | LayoutForm::DockerArchive => Files::archive(self.store, path)?,
        };
        let stem = stem(path);
        let found = match form {
            LayoutForm::OciDir | LayoutForm::OciArchive => oci_layout::find(&files, &stem, tag)?,
            LayoutForm::DockerArchive => docker::find(&files, &stem, tag)?,
        };
        Ok(self.store.import_oci(&*found.blobs, &found.image, &store::Quiet)?)
    }
}

/// What a file's name says about the image in it: all before the first dot.
fn stem(path: &Path) -> String {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let name = absolute.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    match name.trim_start_matches('.').split('.').next() {
        Some(stem) if !stem.is_empty() => stem.to_owned(),
        _ => "image".to_owned(),
    }
}

/// Tags for people, each once.
fn listed<'t>(tags: impl Iterator<Item = Option<&'t str>>) -> String {
    const SHOWN: usize = 32;
    let mut names: Vec<&str> = tags.map(|tag| tag.unwrap_or("(none)")).collect();
    names.sort_unstable();
    names.dedup();
    let more = names.len() > SHOWN;
    names.truncate(SHOWN);
    let mut text = names.join(", ");
    if more {
        text.push_str(", …");
    }
    text
}

/// How an image is called: name and version, by what stands in the layout, else by the file it is in.
fn called(name: Option<&str>, stem: &str) -> (String, Option<String>) {
    let Some(name) = name else { return (stem.to_owned(), None) };
    // A lone word is either a version of what the file is called after, or the image's own name.
    let lone = !name.contains(['/', ':', '@']);
    let version = name == "latest"
        || name.trim_start_matches('v').starts_with(|letter: char| letter.is_ascii_digit());
    if lone && version {
        return (stem.to_owned(), Some(name.to_owned()));
    }
    match oci::Reference::parse(name) {
        Ok(reference) => {
            let path = reference.repository();
            let tag = if lone { None } else { reference.tag().map(str::to_owned) };
            (path.strip_prefix("library/").unwrap_or(path).to_owned(), tag)
        }
        Err(_) => (stem.to_owned(), Some(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_called_after_what_names_them_best() {
        for (name, wanted) in [
            (None, ("file", None)),
            (Some("latest"), ("file", Some("latest"))),
            (Some("1.36"), ("file", Some("1.36"))),
            (Some("v2"), ("file", Some("v2"))),
            (Some("busybox"), ("busybox", None)),
            (Some("busybox:1"), ("busybox", Some("1"))),
            (Some("docker.io/library/busybox:1"), ("busybox", Some("1"))),
            (Some("quay.io/a/b:2"), ("a/b", Some("2"))),
            (Some("No/Reference"), ("file", Some("No/Reference"))),
        ] {
            let (repository, tag) = called(name, "file");
            assert_eq!((repository.as_str(), tag.as_deref()), wanted, "{name:?}");
        }
    }

    #[test]
    fn files_name_images() {
        for (path, name) in
            [("/x/busybox.tar.gz", "busybox"), ("/x/.hidden", "hidden"), ("/", "image")]
        {
            assert_eq!(stem(Path::new(path)), name);
        }
    }
}
