//! The host's side of a pod that a supervisor stays with: what stage1s share that keep one outside of the pod, whatever
//! the pod itself lives in.
//!
//! ```text
//! pod folder ──pod──► Pod: apps resolved, volumes planned       groups: one control group a pod, in a scope of its own
//! what apps write ──outputs──► the caller, and logfile           where a session's systemd gives one (scope, bus)
//! --net ──network──► the networks that the pod joins, and leaves
//! keys ──keyboard──► the app's terminal                          gc: undoes what was recorded; stop: signals who is recorded
//! ```
//!
//! It starts nothing and knows no flavour. Invariant: nobody who does not read, and no app that floods, makes the
//! supervisor wait or grow.

pub mod bus;
pub mod error;
pub mod gc;
pub mod groups;
pub mod keyboard;
pub mod logfile;
pub mod network;
pub mod outputs;
pub mod pod;
pub mod scope;
pub mod stop;

pub use error::{Doing, RunError};
pub use groups::Groups;
pub use keyboard::{Keyboard, Said};
pub use logfile::{Log, Stream};
pub use network::{Later, Network};
pub use outputs::{Outputs, Ready};
pub use pod::{Dialogue, Pod, PodApp};
pub use pod_net::Leases;
