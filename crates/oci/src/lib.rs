//! The words of OCI and Docker images: references, digests, descriptors, manifests, indexes, configurations, and what
//! they mean in the words of appc.
//!
//! Pure: bytes and strings in, values out. Nothing here opens a file or asks a registry. Everything read is taken for
//! hostile: size, nesting and number of values of a document are bounded before it is parsed, and whatever two readers
//! could read in two ways (repeated keys, keys in another case, the shape of two kinds of document) is refused.
//!
//! Invariant: a value of a type here satisfies that type's rules; it was made by parsing. Digests of bytes that are not
//! part of a document (blobs) are for whoever has the bytes to compare: [`Descriptor::check`].

#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

pub mod appc_form;
mod base64;
mod config;
mod descriptor;
mod digest;
mod document;
pub mod index;
mod manifest;
pub mod media;
mod platform;
mod reference;

pub use config::{ImageConfig, Layers, Process, UnequalLayers};
pub use descriptor::{Descriptor, Mismatch};
pub use digest::{BadDigest, Digest, UnknownAlgorithm};
pub use document::DocumentError;
pub use index::Index;
pub use manifest::{Manifest, Root};
pub use platform::Platform;
pub use reference::{BadReference, Reference};
