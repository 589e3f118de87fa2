//! What the guest may speak to. Each device believes nothing that it is told.
//!
//! ```text
//! guest driver --registers--> virtio::mmio   features, queues, status; a processor's thread
//!              --kick-------> io             one thread for all devices; takes the device's lock
//! io           --serve------> rng, blk, vsock, net  chains of buffers in, bytes out
//! guest driver --kick-------> file server  a process of its own, which fs tells of memory and queues
//!              --irqfd------> guest
//! ```

pub mod blk;
pub mod disk;
pub mod fs;
pub mod io;
pub mod net;
pub mod rng;
pub mod serial;
pub mod virtio;
pub mod vsock;
