//! What strangers write, as targets of a fuzzer: each takes any bytes and drives the real code with them. A target panics
//! where the code does, or where it is not what it says.
//!
//! ```text
//! blk rng vsock net   a virtio device behind its registers: a driver that does anything, memory that is anything
//! serial              the serial line
//! wire                the control wire, in both directions, and what its connections begin with
//! erofs               the writer of EROFS images, on trees of all shapes
//! netlink             answers of the kernel about networks and its packet filter
//! net-config          files of networks, and what drivers and allocators read in them
//! net-result          what plugins answer, and the record of a pod's networks
//! dhcp                what servers and everybody else on a network send
//! files               the file server of a pod's volumes: a queue and requests that are anything
//! rewrite             the files that a guest gives when it is exported
//! ```
//!
//! `tests/replay.rs` runs what the corpus holds; `cargo xtask fuzz NAME` looks for more.

mod bytes;
mod device;
mod erofs;
mod files;
mod net;
mod netlink;
mod rewrite;
mod wire;

/// A target.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, and that of its corpus.
    pub name: &'static str,
    /// What is done with any bytes.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 13] = [
    Target { name: "blk", run: device::blk },
    Target { name: "rng", run: device::rng },
    Target { name: "vsock", run: device::vsock },
    Target { name: "net", run: device::net },
    Target { name: "serial", run: device::serial },
    Target { name: "wire", run: wire::run },
    Target { name: "erofs", run: erofs::run },
    Target { name: "netlink", run: netlink::run },
    Target { name: "net-config", run: net::config },
    Target { name: "net-result", run: net::result },
    Target { name: "dhcp", run: net::dhcp },
    Target { name: "files", run: files::run },
    Target { name: "rewrite", run: rewrite::run },
];

/// The target of a name.
pub fn named(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|target| target.name == name)
}
