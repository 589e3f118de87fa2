//! Addresses and routes in the pod.

use super::{DriverError, Place, prefix};
use crate::cidr::Cidr;
use crate::result::{CniResult, Route};
use netlink::address::{Add, Delete, Flags, Prefix, Scope};
use netlink::link::Index;
use netlink::route::{self, Table};
use netlink::{Batch, Errno, Socket};
use std::net::IpAddr;

/// How a pod reaches its neighbours in its own network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// They are on the same wire.
    Direct,
    /// Only the gateway is.
    ThroughGateway,
}

/// Gives the pod's interface, which is up, its addresses and routes.
pub(super) fn configure(
    place: &Place<'_>,
    index: Index,
    given: &CniResult,
    reach: Reach,
) -> Result<(), DriverError> {
    give(place.pod, index, given, reach)
}

/// Takes an address away, and with it the routes that need it.
pub(super) fn take(pod: &Socket, index: Index, address: Cidr) -> Result<(), DriverError> {
    let mut batch = Batch::new();
    let delete = Delete { link: index, prefix: prefix(address) };
    batch.add_unless(&delete, &[Errno::ADDRNOTAVAIL]);
    pod.run(batch)?;
    Ok(())
}

/// The same, through a socket in the pod's namespace.
pub(super) fn give(
    pod: &Socket,
    index: Index,
    given: &CniResult,
    reach: Reach,
) -> Result<(), DriverError> {
    let mut batch = Batch::new();
    for ip in &given.ips {
        let address = ip.address.address();
        // Allocators give no address twice: nobody has to be asked who has it.
        let add = Add::new(index, prefix(ip.address)).flags(Flags::NODAD);
        match (reach, ip.gateway) {
            (Reach::ThroughGateway, Some(gateway)) => {
                batch.add(&add.flags(Flags::NOPREFIXROUTE));
                let near = route::Route::to(Prefix::host(gateway), index).source(address);
                batch.add(&route::Add::replacing(near));
                let net = prefix(ip.address.network());
                // A network of one address has no neighbours.
                if net.length < Prefix::host(address).length {
                    let far = route::Route::via(net, gateway).on(index).source(address);
                    batch.add(&route::Add::replacing(far));
                }
            }
            (_, gateway) => {
                batch.add(&add);
                // An address that stands alone has no neighbours, but its gateway is one.
                let alone = prefix(ip.address).length == Prefix::host(address).length;
                if let Some(gateway) = gateway.filter(|gateway| alone && *gateway != address) {
                    let near = route::Route::to(Prefix::host(gateway), index).source(address);
                    batch.add(&route::Add::replacing(near));
                }
            }
        }
    }
    for route in &given.routes {
        batch.add(&route::Add::replacing(wanted(route, index, given)));
    }
    if !batch.is_empty() {
        pod.run(batch)?;
    }
    Ok(())
}

/// A route of a result; without a gateway it takes that of the addresses of its family, unless it is on the link.
fn wanted(route: &Route, index: Index, given: &CniResult) -> route::Route {
    let same = |ip: &IpAddr| ip.is_ipv4() == route.dst.is_ipv4();
    let on_link = route.scope == Some(Route::ON_LINK);
    let gateways = || given.ips.iter().filter_map(|ip| ip.gateway).find(same).filter(|_| !on_link);
    let net = prefix(route.dst.network());
    let mut wanted = match route.gw.or_else(gateways) {
        Some(gateway) => route::Route::via(net, gateway).on(index),
        None => route::Route::to(net, index),
    };
    wanted.mtu = route.mtu;
    wanted.advmss = route.advmss;
    wanted.metric = route.priority;
    wanted.table = route.table.map_or(Table::MAIN, Table);
    if let Some(scope) = route.scope {
        wanted.scope = match scope {
            0 => Scope::Universe,
            253 => Scope::Link,
            254 => Scope::Host,
            other => Scope::Other(other),
        };
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::AssignedIp;

    #[test]
    fn a_route_on_the_link_takes_no_gateway() {
        let cidr = |text: &str| Cidr::parse(text).unwrap();
        let gateway: IpAddr = [10, 0, 0, 1].into();
        let address = cidr("10.0.0.2/24");
        let given = CniResult {
            ips: vec![AssignedIp { address, gateway: Some(gateway), interface: None }],
            ..CniResult::default()
        };
        let route = Route::new(cidr("10.78.0.0/16"), None);
        assert_eq!(wanted(&route, Index(2), &given).gateway, Some(gateway));
        let near = Route { scope: Some(Route::ON_LINK), ..route };
        let near = wanted(&near, Index(2), &given);
        assert_eq!((near.gateway, near.link, near.scope), (None, Some(Index(2)), Scope::Link));
    }
}
