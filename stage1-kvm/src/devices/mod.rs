//! What the guest may speak to. Each device believes nothing that it is told.

pub mod serial;
