//! The addresses of a pod in one network: from an allocator of ours, or from a program.

use crate::attach::Hands;
use crate::config::{Network, Plugin, Selected};
use crate::driver::{self, DriverError, Leaving, Outcome, Place};
use crate::info::NetInfo;
use crate::ipam::host_local::Owner;
use crate::ipam::{Allocator, IpamError, IpamRequest, dhcp, fixed, host_local};
use crate::lease::{Keeper, LeaseError};
use crate::namespace::PodNamespace;
use crate::plugin::{Attachment, Call, PluginError};
use crate::request::NetworkArgs;
use crate::result::{AssignedIp, CniResult};
use crate::wishes::Wishes;
use netlink::link::{Get, Mac, Set, Settings};
use std::os::fd::AsFd as _;

/// Addresses that cannot be had, or given back.
#[derive(Debug, thiserror::Error)]
pub enum AllocateError {
    /// An allocator of ours.
    #[error(transparent)]
    Own(#[from] IpamError),
    /// A program.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// A server.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The interface refuses what a server gave.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] crate::config::FieldError),
}

/// Addresses for a pod; none where the plugin has no allocator.
pub(crate) fn add(
    hands: &mut Hands,
    place: &Place<'_>,
    selected: &Selected,
    plugin: &Plugin,
) -> Result<CniResult, AllocateError> {
    let Some(ipam) = plugin.ipam()? else { return Ok(CniResult::default()) };
    let own = Allocator::of(&ipam.kind).filter(|_| !hands.overrides(&ipam.kind));
    let request = request(place, selected, plugin);
    match own {
        Some(Allocator::HostLocal) => Ok(from_ranges(place, &request)?),
        Some(Allocator::Fixed) => Ok(fixed::add(&request)?),
        Some(Allocator::Dhcp) | None => {
            let stand_in = plugin.allocator()?.unwrap_or_else(|| plugin.clone());
            let attachment = Attachment {
                container: place.uuid,
                netns: Some(place.namespace.path()),
                ifname: place.interface_text,
                args: &selected.args,
                netns_override: false,
            };
            Ok(hands.runner.add(&Call {
                network: &selected.network,
                plugin: &stand_in,
                attachment,
                before: None,
                wishes: place.wishes,
            })?)
        }
    }
}

/// Addresses of ranges, if need be those of pods beside this one that are over.
fn from_ranges(place: &Place<'_>, request: &IpamRequest<'_>) -> Result<CniResult, IpamError> {
    let refused = match host_local::add(request) {
        Err(error @ (IpamError::Full { .. } | IpamError::NotAvailable { .. })) => error,
        other => return other,
    };
    // They give back what they have by themselves: the folder must not be locked.
    let owners = host_local::owners(request, &refused)?;
    let mut gone = Vec::new();
    for owner in owners {
        if place.beside.have_left([&*owner]) {
            gone.push(owner);
        }
    }
    // A pod whose record is damaged does not know what it has.
    let freed = host_local::collect(request, &mut |owner| {
        if gone.iter().any(|gone| gone == owner) { Owner::Gone } else { Owner::Keep }
    })?;
    if gone.is_empty() && freed.is_empty() { Err(refused) } else { host_local::add(request) }
}

/// Whether the addresses of a plugin come from a server that we ask, as soon as there is an interface.
pub(crate) fn is_leased(hands: &Hands, plugin: &Plugin) -> Result<bool, AllocateError> {
    let Some(ipam) = plugin.ipam()? else { return Ok(false) };
    Ok(Allocator::of(&ipam.kind) == Some(Allocator::Dhcp) && !hands.overrides(&ipam.kind))
}

/// Gets a lease for the interface that a driver has made, and gives it the address.
pub(crate) fn lease(
    place: &Place<'_>,
    selected: &Selected,
    plugin: &Plugin,
    outcome: &mut Outcome,
) -> Result<Keeper, AllocateError> {
    let interface = place.interface_text;
    let found = place.pod.get(&Get::new(place.interface)).map_err(DriverError::from)?;
    let record = found.ok_or_else(|| DriverError::NoInterface(interface.to_owned()))?;
    let Some(Mac(mac)) = record.mac else {
        return Err(DriverError::NoInterface(interface.to_owned()).into());
    };
    let request = request(place, selected, plugin);
    let identity = dhcp::identity(&request, mac)?;
    let (keeper, lease) =
        Keeper::obtain(place.namespace.as_fd(), interface, record.index, identity)?;
    let given = lease.result();
    if let Some(mtu) = lease.mtu.filter(|mtu| *mtu < record.mtu) {
        let set = Set::new(record.index, Settings::new().mtu(mtu));
        place.pod.one(&set).map_err(DriverError::from)?;
    }
    driver::give(place.pod, record.index, &given)?;
    let result = &mut outcome.result;
    let at = result.interfaces.iter().position(|interface| interface.sandbox.is_some());
    result.ips = given.ips.iter().map(|ip| AssignedIp { interface: at, ..*ip }).collect();
    result.routes = given.routes;
    if result.dns.is_empty() {
        result.dns = given.dns;
    }
    Ok(keeper)
}

fn request<'a>(
    place: &'a Place<'_>,
    selected: &'a Selected,
    plugin: &'a Plugin,
) -> IpamRequest<'a> {
    IpamRequest {
        network: place.network,
        version: selected.network.version(),
        plugin,
        container: place.uuid,
        ifname: place.interface_text,
        args: &selected.args,
        wishes: place.wishes,
    }
}

/// Gives a pod's addresses back.
pub(crate) fn release(
    hands: &mut Hands,
    leaving: &Leaving<'_>,
    info: &NetInfo,
    network: &Network,
    plugin: &Plugin,
) -> Result<(), AllocateError> {
    let Some(ipam) = plugin.ipam()? else { return Ok(()) };
    let own = Allocator::of(&ipam.kind).filter(|_| !hands.overrides(&ipam.kind));
    let (args, wishes) = (NetworkArgs::new(info.args.clone()), Wishes::default());
    match own {
        Some(Allocator::HostLocal) => Ok(host_local::del(&IpamRequest {
            network: network.name(),
            version: network.version(),
            plugin,
            container: leaving.uuid,
            ifname: &info.ifname,
            args: &args,
            wishes: &wishes,
        })?),
        // A lease is given back by whoever keeps it, or is over some day.
        Some(Allocator::Fixed | Allocator::Dhcp) => Ok(()),
        None => {
            let stand_in = plugin.allocator()?.unwrap_or_else(|| plugin.clone());
            let attachment = Attachment {
                container: leaving.uuid,
                netns: leaving.namespace.map(PodNamespace::path),
                ifname: &info.ifname,
                args: &args,
                netns_override: false,
            };
            let call =
                Call { network, plugin: &stand_in, attachment, before: None, wishes: &wishes };
            Ok(hands.runner.del(&call)?)
        }
    }
}
