//! The kit of the whole-program tests: a sandboxed data folder, images made on the spot, and ways to wait.
//!
//! ```text
//! Rkt      one data folder and empty configuration; runs `target/dist/rkt`; dropped, nothing of it is left
//! Running  a started program: its output so far, signals, a deadline
//! Image    an ACI made of busybox and what the test adds; oci makes layouts of the same tree
//! Flavour  a stage1 and what it can do, so that one test runs over all of them
//! guest    what a virtual machine of a test starts with
//! corpus   real images that were made before; Registry serves them
//! Stub     a stage1 of twenty lines of shell, for the contract between the stages
//! handmade a pod folder without stage0, for the entrypoints of a stage1
//! net      hosts of a test's own, with networks between them
//! wait     pidfds, locks and file events, always with a deadline
//! ```
//!
//! It knows the program by its command line and its files alone. Invariant: no test leaves a process, a mount, a control
//! group or a file behind, and none waits for ever.

pub mod corpus;
pub mod flavour;
pub mod guest;
pub mod handmade;
pub mod image;
pub mod leaks;
pub mod needs;
pub mod net;
pub mod oci;
pub mod program;
pub mod pty;
pub mod registry;
pub mod sandbox;
pub mod server;
pub mod stub;
pub mod wait;

pub use flavour::{Can, FLY, Flavour, KVM, NSPAWN, flavours};
pub use image::Image;
pub use net::Host;
pub use program::{Output, Running};
pub use registry::Registry;
pub use sandbox::Rkt;
pub use stub::Stub;
