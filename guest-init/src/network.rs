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
    let found = devices(&links, interfaces)?;
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
    let index = named(&socket.dump(&link::All)?, interface)?;
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

/// The device of each interface. Several can have one hardware address, as those on one master have: the host lists them in
/// the order in which it has made the devices, and each device is taken once.
fn devices<'a>(
    links: &[Record],
    interfaces: &'a [Interface],
) -> Result<Vec<(Index, &'a Interface)>, InitError> {
    let mut left: Vec<&Record> = links.iter().collect();
    left.sort_by_key(|link| link.index);
    let found = interfaces.iter().map(|interface| {
        let at = left.iter().position(|link| link.mac == Some(Mac(interface.mac)));
        let at = at.ok_or_else(|| InitError::NoDevice(interface.name.clone()))?;
        Ok((left.remove(at).index, interface))
    });
    found.collect()
}

/// The device that has been an interface since the start.
fn named(links: &[Record], interface: &Interface) -> Result<Index, InitError> {
    let has_mac = |link: &&Record| link.mac == Some(Mac(interface.mac));
    let has_name = |link: &&Record| link.name.text() == interface.name;
    // Somebody in the pod may have renamed it.
    let found = links.iter().filter(has_mac).find(has_name);
    let found = found.or_else(|| links.iter().find(has_mac));
    Ok(found.ok_or_else(|| InitError::NoDevice(interface.name.clone()))?.index)
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
        let expected = "the machine has no network device for eth0";
        let one = [interface("eth0", 1)];
        assert_eq!(devices(&[], &one).unwrap_err().to_string(), expected);
        assert_eq!(named(&[], &one[0]).unwrap_err().to_string(), expected);
    }

    fn link(index: u32, name: &str, mac: u8) -> Record {
        Record {
            index: Index(index),
            name: Name::new(name).unwrap(),
            kind: None,
            port_of: None,
            mac: Some(Mac([2, 0, 0, 0, 0, mac])),
            mtu: 1500,
            flags: 0,
            operstate: link::Operstate::Down,
            master: None,
            parent: None,
            parent_namespace: None,
            queue_length: None,
            group: 0,
            alias: None,
            altnames: Vec::new(),
            statistics: link::Statistics::default(),
        }
    }

    #[test]
    fn interfaces_of_one_hardware_address_take_a_device_each() {
        let links = [link(4, "eth2", 7), link(2, "eth0", 7), link(3, "eth1", 8)];
        let wanted = [interface("a", 7), interface("b", 8), interface("c", 7)];
        let found = devices(&links, &wanted).unwrap();
        let found: Vec<_> = found.iter().map(|(index, one)| (index.0, &*one.name)).collect();
        assert_eq!(found, [(2, "a"), (3, "b"), (4, "c")]);
        devices(&links, &[interface("a", 8), interface("b", 8)]).unwrap_err();
        // Later it is known by its name, as long as it has that.
        assert_eq!(named(&links, &interface("eth2", 7)).unwrap(), Index(4));
        assert_eq!(named(&links, &interface("eth1", 8)).unwrap(), Index(3));
        assert_eq!(named(&links, &interface("gone", 8)).unwrap(), Index(3));
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
