//! What joining a network came to: interfaces, addresses, routes, DNS.
//!
//! Plugins of every version from 0.1.0 to 1.1.0 say it in their own form; here it is one value, read from and written to
//! each of them.

mod error;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub use error::{PluginFailure, code};
pub use read::ResultError;
pub(crate) use read::route;

use crate::cidr::Cidr;
use std::net::IpAddr;

/// An interface that was made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its hardware address, as the plugin wrote it.
    pub mac: Option<String>,
    /// The largest packet (1.1).
    pub mtu: Option<u32>,
    /// The namespace it is in; `None` is the host's.
    pub sandbox: Option<String>,
    /// The socket it is reached by (1.1).
    pub socket_path: Option<String>,
    /// Its place on the PCI bus (1.1).
    pub pci_id: Option<String>,
}

/// An address that was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AssignedIp {
    /// The address in its network.
    pub address: Cidr,
    /// The gateway of that network.
    pub gateway: Option<IpAddr>,
    /// Which of the interfaces has it.
    pub interface: Option<usize>,
}

/// A route in the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Where to.
    pub dst: Cidr,
    /// Through whom; `None` is the gateway of the addresses of its family, or nobody where there is none or where it is on
    /// the link.
    pub gw: Option<IpAddr>,
    /// The largest packet (1.1).
    pub mtu: Option<u32>,
    /// The largest segment to advertise (1.1).
    pub advmss: Option<u32>,
    /// The lower the better (1.1).
    pub priority: Option<u32>,
    /// The routing table (1.1).
    pub table: Option<u32>,
    /// The distance, as the kernel numbers it (1.1).
    pub scope: Option<u8>,
}

impl Route {
    /// The distance of who is on the link: to be reached through nobody.
    pub const ON_LINK: u8 = 253;

    /// A route without properties of version 1.1.
    pub const fn new(dst: Cidr, gw: Option<IpAddr>) -> Self {
        Self { dst, gw, mtu: None, advmss: None, priority: None, table: None, scope: None }
    }
}

/// How names are resolved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dns {
    /// Addresses of servers, in order.
    pub nameservers: Vec<String>,
    /// The domain for short names.
    pub domain: Option<String>,
    /// Domains to try.
    pub search: Vec<String>,
    /// Options of the resolver.
    pub options: Vec<String>,
}

impl Dns {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.nameservers.is_empty()
            && self.domain.is_none()
            && self.search.is_empty()
            && self.options.is_empty()
    }
}

/// What joining a network came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CniResult {
    /// Interfaces, on both sides.
    pub interfaces: Vec<Interface>,
    /// Addresses.
    pub ips: Vec<AssignedIp>,
    /// Routes.
    pub routes: Vec<Route>,
    /// DNS.
    pub dns: Dns,
}

impl CniResult {
    /// The first address of IPv4.
    pub fn ipv4(&self) -> Option<&AssignedIp> {
        self.ips.iter().find(|ip| ip.address.is_ipv4())
    }

    /// The first address of IPv6.
    pub fn ipv6(&self) -> Option<&AssignedIp> {
        self.ips.iter().find(|ip| !ip.address.is_ipv4())
    }
}
