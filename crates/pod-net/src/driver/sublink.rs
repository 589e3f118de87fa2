//! `macvlan`, `ipvlan`, `vlan`: an interface of the pod's on one of the host's.

use super::pod_side::{self, Reach};
use super::{Driver, DriverError, Outcome, Place};
use crate::config::Plugin;
use crate::config::kinds::{self, IpvlanConfig, MacvlanConfig, VlanConfig};
use crate::result::{CniResult, Dns};
use crate::setup::Habitat;
use netlink::link::{
    Create, Get, Index, IpvlanFlag, IpvlanMode, Kind, MacvlanMode, Name, Settings,
};
use netlink::route::{self, Family, Table};
use std::os::fd::AsFd as _;

/// What all three types have.
struct Sublink {
    kind: Kind<'static>,
    master: Option<String>,
    master_in_pod: bool,
    mtu: Option<u32>,
    mac: Option<String>,
    dns: Dns,
}

/// Joins a pod to a network of one of these types.
pub(super) fn add(
    driver: Driver,
    place: &Place<'_>,
    plugin: &Plugin,
    given: &CniResult,
) -> Result<Outcome, DriverError> {
    let wanted = read(driver, plugin)?;
    let socket = if wanted.master_in_pod { place.pod } else { place.host };
    let master = master(socket, wanted.master.as_deref())?;
    let mut settings = Settings::new().up();
    if !wanted.master_in_pod {
        settings = settings.namespace(place.namespace.as_fd());
    }
    if let Some(mtu) = wanted.mtu {
        settings = settings.mtu(mtu);
    }
    // Who is on a wire with others comes back under the hardware address that they know.
    if matches!(wanted.kind, Kind::Macvlan(mode) if mode != MacvlanMode::Passthru) {
        let mac = match &wanted.mac {
            Some(mac) => Some(mac.parse()?),
            None => place.mac(given)?,
        };
        if let Some(mac) = mac {
            settings = settings.mac(mac);
        }
    }
    let kind = match (place.habitat, wanted.kind) {
        (Habitat::Machine, Kind::Macvlan(mode)) => Kind::Macvtap(mode),
        (Habitat::Machine, Kind::Ipvlan(mode, flag)) => Kind::Ipvtap(mode, flag),
        (_, kind) => kind,
    };
    let create = Create::new(place.interface, kind).parent(master).settings(settings);
    socket.one(&create)?;
    let own = place.pod.get(&Get::new(place.interface))?;
    let own = own.ok_or_else(|| DriverError::NoInterface(place.interface.text().into_owned()))?;
    pod_side::configure(place, own.index, given, Reach::Direct)?;
    let result = super::result(vec![place.own_interface(own.mac)], given, wanted.dns);
    Ok(Outcome { result, gate: None, masquerade: false })
}

fn read(driver: Driver, plugin: &Plugin) -> Result<Sublink, DriverError> {
    Ok(match driver {
        Driver::Ipvlan => {
            let config = IpvlanConfig::read(plugin)?;
            let mode = match config.mode {
                kinds::IpvlanMode::L2 => IpvlanMode::L2,
                kinds::IpvlanMode::L3 => IpvlanMode::L3,
                kinds::IpvlanMode::L3s => IpvlanMode::L3s,
            };
            Sublink {
                kind: Kind::Ipvlan(mode, IpvlanFlag::Bridge),
                master: config.master,
                master_in_pod: config.master_in_pod,
                mtu: config.mtu,
                mac: None,
                dns: kinds::dns(&plugin.fields())?,
            }
        }
        Driver::Vlan => {
            let config = VlanConfig::read(plugin)?;
            Sublink {
                kind: Kind::Vlan(config.id),
                master: config.master,
                master_in_pod: config.master_in_pod,
                mtu: config.mtu,
                mac: None,
                dns: config.dns,
            }
        }
        _ => {
            let config = MacvlanConfig::read(plugin)?;
            let odd = [("bcqueuelen", config.broadcast_queue.is_some())];
            super::refuse(&plugin.fields(), &odd)?;
            let mode = match config.mode {
                kinds::MacvlanMode::Bridge => MacvlanMode::Bridge,
                kinds::MacvlanMode::Private => MacvlanMode::Private,
                kinds::MacvlanMode::Vepa => MacvlanMode::Vepa,
                kinds::MacvlanMode::Passthru => MacvlanMode::Passthru,
            };
            Sublink {
                kind: Kind::Macvlan(mode),
                master: config.master,
                master_in_pod: config.master_in_pod,
                mtu: config.mtu,
                mac: config.mac,
                dns: kinds::dns(&plugin.fields())?,
            }
        }
    })
}

/// The interface below: the one that is named, or that of the default route.
fn master(socket: &netlink::Socket, name: Option<&str>) -> Result<Index, DriverError> {
    if let Some(name) = name {
        let found = socket.get(&Get::new(Name::new(name)?))?;
        return found.map(|r| r.index).ok_or_else(|| DriverError::NoInterface(name.to_owned()));
    }
    let mut defaults = Vec::new();
    for family in [Family::V4, Family::V6] {
        let routes = socket.dump(&route::All { family, table: Some(Table::MAIN) })?;
        defaults.extend(routes.into_iter().filter(|route| route.destination.length == 0));
        // The best of the first family that has any.
        defaults.sort_by_key(|route| route.metric.unwrap_or(0));
        if let Some(link) = defaults.iter().find_map(|route| route.link) {
            return Ok(link);
        }
    }
    Err(DriverError::NoMaster)
}
