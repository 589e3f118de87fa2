//! Packs the stage1 images: a manifest, the static entrypoint programs and a link that names the flavour.
//!
//! ```text
//! folder of built programs ──pack──► stage1-FLAVOUR.aci = gzip(tar(manifest, rootfs/{flavor,run,enter,gc,stop}))
//! ```
//!
//! What a flavour is called, which programs it is made of and what it asks of stage0 is one row of [`FLAVOURS`]; a new
//! flavour is a new row. Nothing here builds a program or knows how one works.
//!
//! Invariant: equal programs and an equal version give an equal image, byte for byte: members come in one order, belong
//! to root, changed at the epoch, and the compressor's header holds no time.

#![forbid(unsafe_code)]

mod flavour;
mod pack;

pub use flavour::{Entrypoint, FLAVOURS, Flavour, ManifestError};
pub use pack::{PackError, install, pack};
