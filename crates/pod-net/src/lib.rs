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

pub mod cidr;
pub mod config;
pub mod ipam;
pub mod name;
pub mod plugin;
pub mod request;
pub mod resolv;
pub mod result;
#[cfg(test)]
mod scratch;
pub mod version;
pub mod wishes;
