//! The supervisor's side of what the guest says: new connections handed out by the monitor (line), the control wire and
//! the streams that belong to it (wire), and commands that others on this host want run inside (door).
//!
//! Nothing of it ever waits for the guest: what it does not take is kept, and how much that may be is bounded.

pub mod door;
pub mod line;
pub mod wire;
