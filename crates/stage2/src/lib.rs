//! An app as a process: what its manifest asks for, resolved; the mounts of its root as data, and their application;
//! who it runs as; what its program really is; and the start of the process.
//!
//! ```text
//! manifests --spec--> AppSpec --mounts::plan--> MountPlan --Sources::open--> descriptors of what will be shown
//!           (in the app's root) --kernel_fs, files, Sources::attach--> a complete root
//!           (in the app's root) --identity, program--> Launch --start--> a process, or (Step, errno)
//! ```
//!
//! It is not a supervisor and knows no flavour: stage1s decide which namespaces there are and who waits for what.
//! Invariant: every path that an image or a user chose is looked up below the app's root, never from the host's.

#![forbid(unsafe_op_in_unsafe_fn)]

pub mod files;
pub mod identity;
pub mod kernel_fs;
pub mod launch;
pub mod mounts;
pub mod program;
pub mod root;
pub mod seed;
pub mod sources;
pub mod spec;

pub use identity::Identity;
pub use launch::{Launch, Step};
pub use mounts::{MountPlan, MountStep};
pub use root::RootFiles;
pub use sources::Sources;
pub use spec::AppSpec;
