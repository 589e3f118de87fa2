//! Packs the stage1 images: a manifest, the static entrypoint programs, a link that names the flavour and, where the pod is
//! a virtual machine, what it boots.
//!
//! ```text
//! folder of built programs ──┐
//! folder of a kernel ────────┴─pack──► stage1-FLAVOUR.aci = gzip(tar(manifest, rootfs/{flavor,run,enter,gc,stop,…}))
//! ```
//!
//! What a flavour is called, which files it is made of and what it asks of stage0 is one row of [`FLAVOURS`]; a new
//! flavour is a new row. Nothing here builds a program or a kernel, or knows how one works.
//!
//! Invariant: equal programs, an equal kernel and an equal version give an equal image, byte for byte: members come in one
//! order, belong to root, changed at the epoch, and the compressor's header holds no time.

#![forbid(unsafe_code)]

mod elf;
mod flavour;
mod initramfs;
mod pack;

pub use elf::BadKernel;
pub use flavour::{Content, Entrypoint, Extra, FLAVOURS, Flavour, ManifestError};
pub use pack::{PackError, Sources, install, pack};
