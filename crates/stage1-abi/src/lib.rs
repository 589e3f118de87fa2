//! The contract between stage0 and stage1: what a stage1 image declares, how its entrypoints are called, and what lies
//! in the folder of a pod.
//!
//! Both halves of each agreement sit in one type: what stage0 encodes, a stage1 decodes. Nothing here knows a flavour;
//! what differs between stage1 images is read from the annotations of their manifests ([`annotations`]).
//!
//! ```text
//! stage0 --exec--> entrypoint      argv: [`RunArgs`], [`EnterArgs`], [`ExportArgs`], [`GcArgs`], [`StopArgs`]
//!                                  cwd: the pod folder ([`PodDir`]); RKT_LOCK_FD: the lock ([`lock`])
//! stage1 --files--> pod folder     pid, status, subcgroup, runtime-config, supervisor-status
//! ```
//!
//! Invariant: whatever is read here was written by another process, perhaps an older or a foreign one: every reader
//! checks and none panics.

#![forbid(unsafe_code)]

pub mod annotations;
pub mod args;
pub mod entry;
pub mod lock;
pub mod pod_dir;
pub mod runtime_config;

pub use annotations::{AppRoots, InterfaceVersion, Network, RootSharing, Stage1Interface};
pub use args::{
    BadArgs, DnsMode, EnterArgs, ExportArgs, GcArgs, RunArgs, RunFlag, StopArgs, Switch,
};
pub use pod_dir::{AppStatus, PodDir, PodDirError};
pub use runtime_config::RuntimeConfig;
