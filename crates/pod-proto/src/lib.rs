//! The control wire into a running pod: what its host side and its guest side say to each other, how it is framed, and
//! how much of it there may be. It opens no socket and waits for nothing: bytes in, values out.
//!
//! ```text
//!  guest                                     host
//!    ├── connects ── preamble: control ───────►│   "I am ready, and speak version N"
//!    │◄──────────────────────── Configure ─────┤   apps, roots, volumes, networks, names, time, entropy
//!    ├── Ready, or Failed ────────────────────►│
//!    ├── connects ── preamble: stream ────────►│   one connection for each stream of each process, with the token
//!    │◄──────────────────────── Start ─────────┤
//!    ├── Started, Exited … ───────────────────►│
//!    │◄── Exec, Export, Resize, Signal, Stop … ┤
//!    ├── Stopped ─────────────────────────────►│   the host writes it down and closes; the guest resets
//! ```
//!
//! The guest calls: nobody polls, and nothing in the guest listens. All connections go to one place, and each begins with
//! a [`Preamble`] of a fixed length. On the control connection messages follow, each `length (4 bytes, little-endian),
//! kind (1 byte), body (JSON)`; on a stream nothing but the bytes of the stream, in both directions where it is a
//! terminal. A stream has a connection of its own rather than a place between the messages: the transport's flow control
//! is then the stream's, a half-closed connection is its end, and a reader that does not read holds up nobody else. The
//! price, a descriptor a stream, is bounded by [`limits`].
//!
//! Apps of the pod can reach the host's port, too. What they cannot do is to know the token, which the host makes for
//! each pod and only the guest's init hears; the control connection is the first, made before there is any app.
//!
//! Invariant: whoever decodes believes nothing. A length is checked against the hard limit of its kind before anything is
//! kept, memory grows by what has arrived and not by what was announced, texts are stripped of control characters, and a
//! message that is out of turn is an error of its own ([`session`]). After an error a decoder says nothing else.

#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

pub mod config;
pub mod frame;
pub mod limits;
pub mod message;
pub mod preamble;
pub mod session;
pub mod text;

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "tests know their lengths")]
mod tests;

pub use config::{AppConfig, Config};
pub use frame::{Decoder, WireError};
pub use message::{FromGuest, FromHost, Process};
pub use preamble::{Preamble, Stream, Token};
pub use session::Session;

/// The version of everything in this crate that is seen on the wire.
pub const VERSION: u32 = 3;
