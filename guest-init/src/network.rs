//! Network interfaces: devices of the machine's, found by their hardware addresses, become what the host says.

use crate::error::InitError;
use netlink::address::{self, Flags, Prefix};
use netlink::link::{self, Index, Mac, Name, Record, Settings};
use netlink::route::{self, Family, Table};
use netlink::{Batch, Errno, Socket};
use pod_proto::config::{Interface, Network, Route, Setting};
use std::net::IpAddr;
use std::path::Path;
use sys::path::At;

/// What is off on them. Addresses and routes come from the host alone, which has seen to it that nobody else has them.
const OFF: [&str; 4] = ["accept_ra", "autoconf", "accept_dad", "dad_transmits"];

/// Makes all of them.
///
/// # Errors
/// The machine has no such device, or the kernel refuses something.
pub fn connect(interfaces: &[Interface]) -> Result<(), InitError> {
    if interfaces.is_empty() {
        return Ok(());
    }
    let socket = Socket::route()?;
    let links = socket.dump(&link::All)?;
    let found = interfaces.iter().map(|interface| Ok((device(&links, interface)?, interface)));
    let found = found.collect::<Result<Vec<_>, InitError>>()?;
    socket.run(names(&links, &found)?)?;
    for (_, interface) in &found {
        settle(&interface.name)?;
    }
    let mut batch = Batch::new();
    for (index, interface) in &found {
        describe(&mut batch, *index, interface);
    }
    socket.run(batch)?;
    Ok(())
}

/// Gives an interface other addresses and routes in place of those that it has.
///
/// # Errors
/// The machine has no such device, or the kernel refuses something.
pub fn change(interface: &Interface) -> Result<(), InitError> {
    let socket = Socket::route()?;
    let index = device(&socket.dump(&link::All)?, interface)?;
    let mut batch = Batch::new();
    for family in [Family::V4, Family::V6] {
        let all = socket.dump(&route::All { family, table: Some(Table::MAIN) })?;
        let own = all.into_iter().filter(|route| route.link == Some(index));
        for route in own.filter(|route| !is_kernels(&route.destination)) {
            batch.add_unless(&route::Delete(route), &[Errno::SRCH]);
        }
    }
    let had = socket.dump(&address::All::Of(index))?;
    for found in had.into_iter().filter(|one| one.link == index && !is_kernels(&one.prefix)) {
        let delete = address::Delete { link: index, prefix: found.prefix };
        batch.add_unless(&delete, &[Errno::ADDRNOTAVAIL]);
    }
    describe(&mut batch, index, interface);
    socket.run(batch)?;
    Ok(())
}

/// Whether the kernel makes this by itself.
fn is_kernels(prefix: &Prefix) -> bool {
    match prefix.address {
        IpAddr::V6(address) => address.is_unicast_link_local() || address.is_multicast(),
        IpAddr::V4(_) => false,
    }
}

/// Sets what the host says of the kernel's network.
///
/// # Errors
/// The kernel has no such setting, or refuses the value.
pub fn set(settings: &[Setting]) -> Result<(), InitError> {
    for Setting { path, value } in settings {
        let path = Path::new("/proc/sys").join(path);
        std::fs::write(&path, value).at("write", &path)?;
    }
    Ok(())
}

/// The device of an interface.
fn device(links: &[Record], interface: &Interface) -> Result<Index, InitError> {
    let found = links.iter().find(|link| link.mac == Some(Mac(interface.mac)));
    let found = found.ok_or_else(|| InitError::NoDevice(interface.name.clone()))?;
    Ok(found.index)
}

/// Gives each its name. One whose name another has still takes it in two steps.
fn names(links: &[Record], found: &[(Index, &Interface)]) -> Result<Batch, InitError> {
    let mut wrong = Vec::new();
    for (index, interface) in found {
        let name = Name::new(&interface.name)?;
        if !links.iter().any(|link| link.index == *index && link.name == name) {
            wrong.push((*index, name));
        }
    }
    let mut batch = Batch::new();
    for (index, _) in &wrong {
        batch.add(&link::Rename { index: *index, name: Name::new(format!("rkt{}", index.0))? });
    }
    for (index, name) in wrong {
        batch.add(&link::Rename { index, name });
    }
    Ok(batch)
}

/// Has the kernel listen to nobody about it. A kernel may have no IPv6.
fn settle(name: &str) -> Result<(), InitError> {
    let folder = Path::new("/proc/sys/net/ipv6/conf").join(name);
    if !folder.exists() {
        return Ok(());
    }
    for setting in OFF {
        let path = folder.join(setting);
        std::fs::write(&path, "0").at("write", &path)?;
    }
    Ok(())
}

/// Its size, addresses and routes.
fn describe(batch: &mut Batch, index: Index, interface: &Interface) {
    batch.add(&link::Set::new(index, Settings::new().mtu(interface.mtu.into()).up()));
    for address in &interface.addresses {
        let listed = interface.routes.iter().any(|route| route.to.network() == address.network());
        let own = if listed { Flags::NODAD | Flags::NOPREFIXROUTE } else { Flags::NODAD };
        batch.add(&address::Add::new(index, prefix(*address)).flags(own).replace());
    }
    for route in &interface.routes {
        batch.add(&route::Add::replacing(way(index, route)));
    }
}

fn prefix(network: Network) -> Prefix {
    Prefix::new(network.address, network.bits)
}

fn way(index: Index, route: &Route) -> route::Route {
    let to = prefix(route.to.network());
    let way = match route.gateway {
        Some(gateway) => route::Route::via(to, gateway).on(index),
        None => route::Route::to(to, index),
    };
    route::Route {
        source: route.source,
        metric: route.metric,
        mtu: route.mtu,
        onlink: route.onlink,
        ..way
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str, mac: u8) -> Interface {
        let address = Network { address: [10, 0, 0, 2].into(), bits: 24 };
        let to = Network { address: [10, 0, 0, 0].into(), bits: 24 };
        let gateway = Some([10, 0, 0, 1].into());
        let route = Route { to, gateway, source: None, metric: Some(7), mtu: None, onlink: true };
        Interface {
            name: name.to_owned(),
            mac: [2, 0, 0, 0, 0, mac],
            mtu: 1400,
            addresses: vec![address],
            routes: vec![route],
        }
    }

    #[test]
    fn names_that_others_have_are_taken_in_two_steps() {
        let (one, other) = (interface("eth1", 1), interface("eth0", 2));
        let found = [(Index(2), &one), (Index(3), &other)];
        let batch = names(&[], &found).unwrap();
        let words: Vec<&str> = batch.words().collect();
        let expected = [
            "rename link #2 to rkt2",
            "rename link #3 to rkt3",
            "rename link #2 to eth1",
            "rename link #3 to eth0",
        ];
        assert_eq!(words, expected);
        names(&[], &[(Index(2), &interface("a/b", 1))]).unwrap_err();
    }

    #[test]
    fn an_interface_that_is_no_device_is_named() {
        let error = device(&[], &interface("eth0", 1)).unwrap_err();
        assert_eq!(error.to_string(), "the machine has no network device for eth0");
    }

    #[test]
    fn addresses_come_before_routes() {
        let mut batch = Batch::new();
        describe(&mut batch, Index(2), &interface("eth0", 1));
        let words: Vec<&str> = batch.words().collect();
        assert_eq!(words.len(), 3);
        assert!(words[1].contains("add address 10.0.0.2/24"), "{words:?}");
        assert!(words[2].contains("route to 10.0.0.0/24 via 10.0.0.1 on link #2"), "{words:?}");
    }
}
