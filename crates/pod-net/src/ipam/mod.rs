//! Where a pod's addresses come from: the allocators that rkt has itself.
//!
//! ```text
//! host_local  the next free address of a range, noted in a folder that the plugin of this name shares
//! fixed       addresses as configured (type `static`)
//! dhcp        a lease of a server, kept alive by whoever supervises the pod
//! ```
//!
//! Each takes a plugin's `ipam` and what was asked for, and gives a [`CniResult`](crate::result::CniResult) without interfaces. Giving an address to
//! an interface is for the caller.

pub mod dhcp;
pub mod fixed;
pub mod host_local;

use crate::config::{FieldError, Ipam, Plugin};
use crate::name::{NetworkName, PluginType};
use crate::request::{BadArgs, NetworkArgs, RequestedIp, requested};
use crate::version::Version;
use crate::wishes::Wishes;
use std::net::IpAddr;
use sys::path::PathError;

/// An allocator that rkt has itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allocator {
    /// Ranges, shared through a folder.
    HostLocal,
    /// Addresses as configured.
    Fixed,
    /// A server.
    Dhcp,
}

impl Allocator {
    /// The allocator of a type, if rkt has it.
    pub fn of(kind: &PluginType) -> Option<Self> {
        match kind.as_str() {
            "host-local" => Some(Self::HostLocal),
            "static" => Some(Self::Fixed),
            "dhcp" => Some(Self::Dhcp),
            _ => None,
        }
    }
}

/// What addresses are wanted for.
#[derive(Debug, Clone, Copy)]
pub struct IpamRequest<'a> {
    /// The network.
    pub network: &'a NetworkName,
    /// The version of its configuration.
    pub version: Version,
    /// The plugin whose `ipam` is meant.
    pub plugin: &'a Plugin,
    /// The container's id: the pod's UUID.
    pub container: &'a str,
    /// The name of the interface.
    pub ifname: &'a str,
    /// What the user wants.
    pub args: &'a NetworkArgs,
    /// What the pod wants.
    pub wishes: &'a Wishes,
}

/// Addresses that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum IpamError {
    /// The plugin has no allocator.
    #[error("network {0:?} has no ipam")]
    Missing(String),
    /// The configuration breaks a rule.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// The arguments break a rule.
    #[error(transparent)]
    Args(#[from] BadArgs),
    /// An address is taken, or is in no range.
    #[error("requested IP address \"{address}\" is not available in network: {network}")]
    NotAvailable {
        /// The address.
        address: IpAddr,
        /// The network.
        network: NetworkName,
    },
    /// All addresses of a range are taken.
    #[error("network full: all addresses of {ranges} in network {network} are taken")]
    Full {
        /// The ranges.
        ranges: String,
        /// The network.
        network: NetworkName,
    },
    /// A file cannot be read or written.
    #[error("cannot use the addresses of the network")]
    Files(#[from] PathError),
}

impl<'a> IpamRequest<'a> {
    /// The configuration of the allocator.
    pub(crate) fn ipam(&self) -> Result<Ipam<'a>, IpamError> {
        let missing = || IpamError::Missing(self.network.to_string());
        self.plugin.ipam()?.ok_or_else(missing)
    }

    /// Addresses that are asked for: by arguments, by the configuration (`args.cni.ips`), by the pod.
    pub(crate) fn wanted(&self) -> Result<Wanted, IpamError> {
        Ok(Wanted {
            argued: self.args.addresses()?,
            configured: by_plugin(self.plugin)?,
            wished: if self.plugin.is_capable("ips") {
                self.wishes.ips.clone()
            } else {
                Vec::new()
            },
        })
    }
}

/// Addresses that are asked for, by who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) argued: Vec<RequestedIp>,
    pub(crate) configured: Vec<RequestedIp>,
    pub(crate) wished: Vec<RequestedIp>,
}

fn by_plugin(plugin: &Plugin) -> Result<Vec<RequestedIp>, FieldError> {
    let Some(args) = plugin.fields().object("args")? else { return Ok(Vec::new()) };
    let Some(cni) = args.object("cni")? else { return Ok(Vec::new()) };
    let one = |text: String| {
        let bad = || cni.bad("ips", format!("{text:?} is not an IP address"));
        requested(&text).ok_or_else(bad)
    };
    cni.texts("ips")?.into_iter().map(one).collect()
}
