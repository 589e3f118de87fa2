//! What rkt does itself of what plugins do: one module a type, no process started.
//!
//! A driver reads a plugin's configuration, has addresses allocated, computes requests for the two namespaces and sends
//! them, and says what came of it as a plugin would. What it makes on the host has a name that follows from the pod's
//! UUID, and dies with the pod's namespace or is found again by that name.

mod bandwidth;
mod bridge;
mod error;
mod host_device;
mod pod_side;
mod ptp;
mod sublink;
mod tuning;
mod veth;

pub(crate) use error::DriverError;

use crate::cidr::Cidr;
use crate::config::kinds::{FirewallBackend, FirewallConfig, IngressPolicy, PortmapConfig};
use crate::config::{FieldError, Fields, Plugin};
use crate::name::NetworkName;
use crate::namespace::PodNamespace;
use crate::result::{AssignedIp, CniResult, Dns, Interface};
use crate::setup::{Beside, Habitat};
use crate::wishes::Wishes;
use appc::PodUuid;
use netlink::Socket;
use netlink::address::Prefix;
use netlink::link::{Index, Mac, Name};
use std::net::IpAddr;
use std::os::fd::AsFd as _;

/// The types that rkt has drivers for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// A pair of interfaces.
    Ptp,
    /// The same, one of them a port of a bridge.
    Bridge,
    /// An interface with a hardware address of its own on one of the host's.
    Macvlan,
    /// An interface with the hardware address of one of the host's.
    Ipvlan,
    /// One VLAN of an interface of the host's.
    Vlan,
    /// An interface of the host's itself.
    HostDevice,
    /// `lo`, which every pod has.
    Loopback,
    /// Settings of what another made.
    Tuning,
    /// Limits of what another made.
    Bandwidth,
    /// Ports of the host.
    Portmap,
    /// Rules that let packets pass.
    Firewall,
    /// What a daemon of flannel describes.
    Flannel,
}

impl Driver {
    /// Whether it makes the interface of the pod, rather than changing one.
    pub(crate) const fn makes_an_interface(self) -> bool {
        matches!(
            self,
            Self::Ptp | Self::Bridge | Self::Macvlan | Self::Ipvlan | Self::Vlan | Self::HostDevice
        )
    }

    /// The driver for a type.
    pub fn named(kind: &str) -> Option<Self> {
        Some(match kind {
            "ptp" => Self::Ptp,
            "bridge" => Self::Bridge,
            "macvlan" => Self::Macvlan,
            "ipvlan" => Self::Ipvlan,
            "vlan" => Self::Vlan,
            "host-device" => Self::HostDevice,
            "loopback" => Self::Loopback,
            "tuning" => Self::Tuning,
            "bandwidth" => Self::Bandwidth,
            "portmap" => Self::Portmap,
            "firewall" => Self::Firewall,
            "flannel" => Self::Flannel,
            _ => return None,
        })
    }
}

/// Where a pod joins a network.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    /// The pod.
    pub(crate) uuid: &'a str,
    /// The same, checked.
    pub(crate) pod_uuid: &'a PodUuid,
    /// The network.
    pub(crate) network: &'a NetworkName,
    /// What its interface is called in the pod.
    pub(crate) interface: Name,
    /// The same as text.
    pub(crate) interface_text: &'a str,
    /// Which of the pod's networks it is, from zero on.
    pub(crate) number: usize,
    /// To the host's namespace.
    pub(crate) host: &'a Socket,
    /// To the pod's.
    pub(crate) pod: &'a Socket,
    /// The pod's.
    pub(crate) namespace: &'a PodNamespace,
    /// What the pod wants of its networks.
    pub(crate) wishes: &'a Wishes,
    /// What the pod lives in.
    pub(crate) habitat: Habitat,
    /// The pods beside it.
    pub(crate) beside: Beside<'a>,
}

impl Place<'_> {
    /// The path of the namespace as results have it.
    pub(crate) fn sandbox(&self) -> String {
        self.namespace.path().display().to_string()
    }

    /// The pod's interface, as results have it.
    fn own_interface(&self, mac: Option<Mac>) -> Interface {
        Interface {
            name: self.interface_text.to_owned(),
            mac: mac.map(|mac| mac.to_string()),
            sandbox: Some(self.sandbox()),
            ..Interface::default()
        }
    }

    /// A name on the host that only this network of this pod has.
    pub(crate) fn host_name(&self, prefix: &str) -> Result<Name, DriverError> {
        Ok(Name::new(host_name(prefix, self.uuid, self.number))?)
    }

    /// Does something in the pod's namespace.
    pub(crate) fn inside<T>(&self, work: impl FnOnce() -> T) -> Result<T, DriverError> {
        sys::namespace::inside_network(self.namespace.as_fd(), work).map_err(DriverError::Enter)
    }

    /// The interface that the pod asked to have this hardware address, or one that follows from its address: who comes
    /// after a pod under its address is then known to neighbours already.
    pub(crate) fn mac(&self, allocated: &CniResult) -> Result<Option<Mac>, DriverError> {
        if let Some(mac) = &self.wishes.mac {
            return Ok(Some(mac.parse()?));
        }
        Ok(allocated.ipv4().and_then(|ip| mac_for(ip.address.address())))
    }
}

/// A name on the host that only this network of this pod has: the kernel takes fifteen bytes.
pub(crate) fn host_name(prefix: &str, uuid: &str, number: usize) -> String {
    let first = uuid.split('-').next().unwrap_or(uuid);
    format!("{prefix}{first}{number:x}")
}

/// An address and the length of its network's prefix, for the kernel.
fn prefix(cidr: Cidr) -> Prefix {
    Prefix::new(cidr.address(), cidr.prefix())
}

/// Whether a name is one of those.
pub(crate) fn is_host_name(name: &str, uuid: &str) -> bool {
    ["veth", "bw"].iter().any(|prefix| {
        let number = name.strip_prefix(&host_name(prefix, uuid, 0)[..prefix.len() + 8]);
        number.is_some_and(|number| u8::from_str_radix(number, 16).is_ok())
    })
}

/// The hardware address that goes with an address of IPv4.
fn mac_for(address: IpAddr) -> Option<Mac> {
    let IpAddr::V4(address) = address else { return None };
    let [a, b, c, d] = address.octets();
    Some(Mac([0x0a, 0x58, a, b, c, d]))
}

/// What a plugin would say: what was allocated belongs to the last of the interfaces, which is the pod's. DNS of the network
/// stands before the allocator's.
fn result(interfaces: Vec<Interface>, given: &CniResult, dns: Dns) -> CniResult {
    let own = interfaces.len().checked_sub(1);
    let ips = given.ips.iter().map(|ip| AssignedIp { interface: own, ..*ip });
    CniResult {
        ips: ips.collect(),
        interfaces,
        routes: given.routes.clone(),
        dns: if dns.is_empty() { given.dns.clone() } else { dns },
    }
}

/// What a driver did.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// What a plugin would have said.
    pub(crate) result: CniResult,
    /// The interface of the host that leads to the pod, if the host's packets go through it.
    pub(crate) gate: Option<Name>,
    /// Addresses of the pod that are to be hidden behind the host's.
    pub(crate) masquerade: bool,
}

/// Has a driver that makes an interface do what it does.
pub(crate) fn make(
    driver: Driver,
    place: &Place<'_>,
    plugin: &Plugin,
    given: &CniResult,
) -> Result<Outcome, DriverError> {
    match driver {
        Driver::Ptp => ptp::add(place, plugin, given),
        Driver::Bridge => bridge::add(place, plugin, given),
        Driver::Macvlan | Driver::Ipvlan | Driver::Vlan => {
            sublink::add(driver, place, plugin, given)
        }
        Driver::HostDevice => host_device::add(place, plugin, given),
        Driver::Loopback
        | Driver::Tuning
        | Driver::Bandwidth
        | Driver::Portmap
        | Driver::Firewall
        | Driver::Flannel => Ok(Outcome::default()),
    }
}

/// Gives an interface in a pod the addresses and routes of a lease, whose network is on its wire.
pub(crate) fn give(pod: &Socket, index: Index, given: &CniResult) -> Result<(), DriverError> {
    pod_side::give(pod, index, given, pod_side::Reach::Direct)
}

/// Takes an address away from an interface in a pod.
pub(crate) fn take(pod: &Socket, index: Index, address: Cidr) -> Result<(), DriverError> {
    pod_side::take(pod, index, address)
}

/// Has a driver that changes what another made do so.
pub(crate) fn change(
    driver: Driver,
    place: &Place<'_>,
    plugin: &Plugin,
    result: &mut CniResult,
) -> Result<(), DriverError> {
    match driver {
        Driver::Tuning => tuning::add(place, plugin, result),
        Driver::Bandwidth => bandwidth::add(place, plugin, result),
        Driver::Portmap => Ok(refuse_portmap(plugin)?),
        Driver::Firewall => Ok(refuse_firewall(plugin)?),
        _ => Ok(()),
    }
}

/// The rules of all networks forward ports; what a plugin could be told beyond that is not done.
fn refuse_portmap(plugin: &Plugin) -> Result<(), FieldError> {
    let (config, fields) = (PortmapConfig::read(plugin)?, plugin.fields());
    let odd = [
        ("snat", !config.source_nat),
        ("masqAll", config.masquerade_all),
        ("externalSetMarkChain", config.mark_chain.is_some()),
        ("conditionsV4", !config.conditions_v4.is_empty()),
        ("conditionsV6", !config.conditions_v6.is_empty()),
    ];
    refuse(&fields, &odd)
}

/// The rules of all networks let their pods' packets pass; what a plugin could be told beyond that is not done.
fn refuse_firewall(plugin: &Plugin) -> Result<(), FieldError> {
    let (config, fields) = (FirewallConfig::read(plugin)?, plugin.fields());
    let odd = [
        ("backend", config.backend == FirewallBackend::Firewalld),
        ("ingressPolicy", config.ingress != IngressPolicy::Open),
    ];
    refuse(&fields, &odd)
}

fn refuse(fields: &Fields<'_>, odd: &[(&str, bool)]) -> Result<(), FieldError> {
    match odd.iter().find(|(_, is_odd)| *is_odd) {
        Some((name, _)) => {
            Err(fields
                .bad(name, "is not supported, but by the plugin itself (\"rkt.program\": true)"))
        }
        None => Ok(()),
    }
}

/// Undoes what outlives the pod's namespace: `None` if that is gone already.
pub(crate) fn unmake(
    driver: Driver,
    place: &Leaving<'_>,
    plugin: &Plugin,
) -> Result<(), DriverError> {
    match driver {
        Driver::HostDevice => host_device::del(place, plugin),
        Driver::Bandwidth => bandwidth::del(place),
        _ => Ok(()),
    }
}

/// Where a pod leaves a network.
#[derive(Debug)]
pub(crate) struct Leaving<'a> {
    /// The pod.
    pub(crate) uuid: &'a str,
    /// What its interface is called in the pod.
    pub(crate) interface: Name,
    /// Which of the pod's networks it is, from zero on.
    pub(crate) number: usize,
    /// To the host's namespace.
    pub(crate) host: &'a Socket,
    /// The host's namespace.
    pub(crate) home: std::os::fd::BorrowedFd<'a>,
    /// The pod's, if it is still there.
    pub(crate) namespace: Option<&'a PodNamespace>,
}
