//! An app as a process: what its manifest asks for, resolved; the mounts of its root as data, and their application;
//! who it runs as; what its program really is; and the start of the process.
//!
//! ```text
//! manifests --spec--> AppSpec --mounts::plan--> MountPlan --Sources::open--> descriptors of what will be shown
//!           (in the app's root) --kernel_fs, files, Sources::attach--> a complete root
//!           (in the app's root) --identity, program--> Launch --start--> a process, or (Step, errno)
//!           AppSpec[] --Supervision--> start this, signal that; an app's status, the pod's code
//! ```
//!
//! [`assemble`] and [`Runner`] are these steps in a row, for stage1s whose apps have namespaces. It knows no flavour:
//! stage1s decide which namespaces there are, who is PID 1, and what it waits for.
//! Invariant: every path that an image or a user chose is looked up below the app's root, never from the host's.

#![forbid(unsafe_op_in_unsafe_fn)]

pub mod assemble;
pub mod files;
pub mod identity;
pub mod kernel_fs;
pub mod launch;
pub mod mounts;
pub mod program;
pub mod root;
pub mod runner;
pub mod seed;
pub mod sources;
pub mod spec;
pub mod supervision;

pub use identity::Identity;
pub use launch::{Launch, Step};
pub use mounts::{MountPlan, MountStep};
pub use root::RootFiles;
pub use runner::{Ends, Root, Runner};
pub use sources::Sources;
pub use spec::AppSpec;
pub use supervision::Supervision;
