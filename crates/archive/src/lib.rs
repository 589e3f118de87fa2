//! Bytes of images: decompressing, hashing, and unpacking hostile tars below a directory descriptor; writing archives.
//!
//! In: a stream nobody vouches for and an open, empty folder. Out: a tree that never reaches outside that folder, and a
//! digest of it. Nothing here knows where streams come from, what is stored, or when an image is complete.
//!
//! ```text
//! stream   compressed bytes -> bytes, hashed and bounded
//! tar      bytes -> entries (ustar, PAX, GNU, sparse)
//! layer    entries -> one OCI layer in overlay form, and what it needs from the layers below ([`needs`])
//! aci      entries -> a checked App Container Image, or a tree rendered from several ([`dependency`])
//! members  a tar of blobs -> where each lies, unpacking nothing
//! merge    layers stacked -> one view, without a mount
//! write    view -> App Container Image, the same bytes every time
//! live     folder that others change meanwhile -> the files of an App Container Image
//! rewrite  the files of one, from somebody who is not believed -> App Container Image
//! erofs    folder -> image of a file system that shows it, the same bytes every time
//! tree     folder -> digest
//! ```
//!
//! Invariant: every path is walked in a catalogue of what was made before and opened without following links; sizes,
//! counts and depths are bounded by [`Limits`]. Unpacking sets the process's umask to 0: all modes are explicit.

#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing)]

pub mod aci;
mod catalogue;
pub mod dependency;
pub mod erofs;
mod error;
mod extract;
pub mod layer;
mod limits;
pub mod live;
pub mod members;
pub mod merge;
pub mod needs;
pub mod remove;
pub mod rewrite;
pub mod stream;
mod tar;
pub mod tree;
pub mod write;

pub use catalogue::Contents;
pub use error::UnpackError;
pub use limits::Limits;
pub use tree::TreeDigest;
