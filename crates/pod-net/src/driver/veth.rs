//! A pair of interfaces, one of them in the pod.

use super::{DriverError, Place};
use crate::result::{CniResult, Interface};
use crate::sysctl;
use netlink::Batch;
use netlink::link::{Create, Get, Index, Kind, Mac, Name, Peer, Set, SetAlias, Settings};
use std::os::fd::AsFd as _;

/// A pair that is there, both ends up.
#[derive(Debug)]
pub(super) struct Veth {
    /// The host's end.
    pub(super) host: Name,
    /// Its index.
    pub(super) host_index: Index,
    /// Its hardware address.
    pub(super) host_mac: Option<Mac>,
    /// The index of the pod's end.
    pub(super) pod_index: Index,
    /// Its hardware address.
    pub(super) pod_mac: Option<Mac>,
}

/// Makes a pair for a pod with these addresses; the host's end as a port of a bridge.
pub(super) fn make(
    place: &Place<'_>,
    allocated: &CniResult,
    mtu: Option<u32>,
    bridge: Option<Index>,
) -> Result<Veth, DriverError> {
    let host = place.host_name("veth")?;
    let peer = Peer {
        mtu,
        mac: place.mac(allocated)?,
        namespace: Some(place.namespace.as_fd()),
        ..Peer::new(place.interface)
    };
    let mut settings = Settings { mtu, ..Settings::new() };
    if let Some(bridge) = bridge {
        settings = settings.master(bridge);
    }
    let mut batch = Batch::new();
    // Neither end can come up before there are both.
    batch.add(&Create::new(host, Kind::Veth(peer)).settings(settings));
    batch.add(&SetAlias { which: host.into(), alias: crate::mark(place.uuid) });
    batch.add(&Set::new(host, Settings::new().up()));
    let asked = batch.add(&Get::new(host));
    let replies = place.host.run(batch)?;
    let missing = |name: Name| DriverError::NoInterface(name.text().into_owned());
    let record = replies.get(asked).and_then(|reply| reply.read::<Get>().ok().flatten());
    let record = record.ok_or_else(|| missing(host))?;
    let mut batch = Batch::new();
    batch.add(&Set::new(place.interface, Settings::new().up()));
    let asked = batch.add(&Get::new(place.interface));
    let replies = place.pod.run(batch)?;
    let own = replies.get(asked).and_then(|reply| reply.read::<Get>().ok().flatten());
    let own = own.ok_or_else(|| missing(place.interface))?;
    // Whatever the pod announces as a router, the host's routes are not its business.
    sysctl::set_where_there(&format!("ipv6/conf/{}/accept_ra", host.text()), "0")?;
    Ok(Veth {
        host,
        host_index: record.index,
        host_mac: record.mac,
        pod_index: own.index,
        pod_mac: own.mac,
    })
}

impl Veth {
    /// The two interfaces, the pod's last.
    pub(super) fn interfaces(&self, place: &Place<'_>) -> [Interface; 2] {
        [
            Interface {
                name: self.host.text().into_owned(),
                mac: self.host_mac.map(|mac| mac.to_string()),
                ..Interface::default()
            },
            place.own_interface(self.pod_mac),
        ]
    }
}
