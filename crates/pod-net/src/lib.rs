//! The networks of a pod: which of them it joins, and what joining one means.
//!
//! ```text
//! --net ──request──► NetRequest ─┐
//! net.d ──config───► Networks ───┴─select─► Selected[] ──► ADD of each plugin in order ──► CniResult ──► net-info.json
//! ```
//!
//! Words and files: what a user asks for, what a network's file says, what a plugin answers, which addresses are free. Every
//! byte of a configuration, of a plugin's answer and of a packet is bounded and checked here. It is not a library for CNI
//! plugins, and it decides nothing about a pod that has no network of its own.
//!
//! Invariant: a name in a value of this crate is one plain file name, so that no configuration leads out of the folders
//! where plugins, leases and copies lie.

#![forbid(unsafe_code)]

mod allocate;
mod attach;
pub mod cidr;
pub mod collect;
pub mod config;
mod driver;
mod firewall;
pub mod flannel;
mod forwarding;
pub mod health;
pub mod info;
mod interrupt;
pub mod ipam;
mod lease;
pub mod name;
mod namespace;
mod nat;
pub mod plugin;
pub mod ports;
pub mod request;
pub mod resolv;
pub mod result;
mod saved;
#[cfg(test)]
mod scratch;
mod setup;
mod stale;
mod sysctl;
pub mod teardown;
pub mod version;
pub mod wishes;

pub use attach::Joined;
pub use driver::Driver;
pub use interrupt::Interruptible;
pub use lease::{Keeper, LeaseError, Leases};
pub use namespace::PodNamespace;
pub use setup::{Beside, Habitat, JoinError, Joining, PodNetworks, Wanted, begin, join};

/// What all that a pod has on the host is told by: the alias of an interface, the comment of a rule.
fn mark(uuid: &str) -> String {
    format!("rkt {uuid}")
}

/// Whose mark it is.
fn marked(mark: &str) -> Option<&str> {
    mark.strip_prefix("rkt ")
}
