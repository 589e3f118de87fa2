//! Addresses, routes, rules and neighbours.

use crate::ground::{Namespace, alone, json, name};
use netlink::address::{self, Flags, Prefix, Scope};
use netlink::link::{Create, Index, Kind, Mac, Peer, Set, Settings};
use netlink::neighbour;
use netlink::route::{self, Existing, Family, Protocol, Route, Table};
use netlink::rule::{self, Mark, Rule};
use netlink::{Batch, Errno, Socket};
use serde_json::{Value, json as value};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use testkit::needs;

const NEAR: Index = Index(10);

fn prefix(text: &str) -> Prefix {
    let (address, length) = text.split_once('/').unwrap();
    Prefix::new(address.parse::<IpAddr>().unwrap(), length.parse().unwrap())
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A socket in a namespace with a pair of links that are up.
fn ground() -> Socket {
    let socket = Socket::route().unwrap();
    let kind = Kind::Veth(Peer::new(name("far")));
    let create = Create::new(name("near"), kind).index(NEAR).settings(Settings::new().up());
    socket.one(&create).unwrap();
    socket.one(&Set::new(name("far"), Settings::new().up())).unwrap();
    socket
}

fn all(family: Family) -> route::All {
    route::All { family, table: Some(Table::MAIN) }
}

#[test]
fn addresses_are_what_ip_sees() {
    needs!(Root);
    alone(|| {
        let socket = ground();
        let mut batch = Batch::new();
        batch.add(&address::Add::new(NEAR, prefix("10.98.0.2/24")));
        let quiet = Flags::NODAD | Flags::NOPREFIXROUTE;
        batch.add(&address::Add::new(NEAR, prefix("fd00::2/64")).flags(quiet));
        let mut point = address::Add::new(NEAR, prefix("10.7.0.1/32")).scope(Scope::Link);
        point.peer = Some(prefix("10.7.0.2/32"));
        point.label = Some("near:pod".to_owned());
        batch.add(&point);
        socket.run(batch).unwrap();

        let told = json("ip", &["-j", "address", "show", "dev", "near"])[0]["addr_info"].clone();
        let find = |local: &str| {
            let found = told.as_array().unwrap().iter().find(|one| one["local"] == local);
            found.cloned().unwrap()
        };
        let first = find("10.98.0.2");
        assert_eq!(
            (&first["prefixlen"], &first["broadcast"], &first["scope"]),
            (&value!(24), &value!("10.98.0.255"), &value!("global"))
        );
        let second = find("fd00::2");
        assert_eq!((&second["nodad"], &second["noprefixroute"]), (&value!(true), &value!(true)));
        let third = find("10.7.0.1");
        assert_eq!(
            (&third["address"], &third["label"], &third["scope"]),
            (&value!("10.7.0.2"), &value!("near:pod"), &value!("link"))
        );

        let found = socket.dump(&address::All::Of(NEAR)).unwrap();
        let near = |text: &str| {
            let wanted = prefix(text);
            found.iter().find(|record| record.prefix == wanted).unwrap()
        };
        assert_eq!(near("10.98.0.2/24").broadcast, Some(ip("10.98.0.255")));
        assert!(near("fd00::2/64").flags.contains(quiet));
        assert_eq!(near("10.7.0.1/32").peer, Some(ip("10.7.0.2")));
        assert_eq!(near("10.7.0.1/32").label.as_deref(), Some("near:pod"));
        assert!(found.iter().all(|record| record.link == NEAR));
        assert!(socket.dump(&address::All::Links).unwrap().len() > found.len());

        let again = address::Add::new(NEAR, prefix("10.98.0.2/24"));
        let error = socket.one(&again).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::EXIST));
        assert_eq!(error.to_string(), "cannot add address 10.98.0.2/24 to link #10");
        socket.one(&again.replace()).unwrap();
        socket.one(&address::Delete { link: NEAR, prefix: prefix("10.98.0.2/24") }).unwrap();
        let left = socket.dump(&address::All::Of(NEAR)).unwrap();
        assert!(left.iter().all(|record| record.prefix != prefix("10.98.0.2/24")));
    });
}

#[test]
fn routes_are_what_ip_sees() {
    needs!(Root);
    alone(|| {
        let socket = ground();
        let mut batch = Batch::new();
        batch.add(&address::Add::new(NEAR, prefix("10.98.0.2/24")));
        batch.add(&address::Add::new(NEAR, prefix("fd00::2/64")).flags(Flags::NODAD));
        batch.add(&route::Add::new(Route::default_via(Ipv4Addr::new(10, 98, 0, 1))));
        batch.add(&route::Add::new(Route::default_via(ip("fd00::1")).metric(7)));
        let mut far = Route::via(prefix("10.50.0.0/16"), ip("10.99.9.9")).on(NEAR).onlink();
        far.mtu = Some(1400);
        far.advmss = Some(1360);
        far.protocol = Protocol::STATIC;
        batch.add(&route::Add::new(far.clone().metric(5).source(ip("10.98.0.2"))));
        let other = Route::to(prefix("10.51.0.0/16"), NEAR).table(Table(1000));
        batch.add(&route::Add::new(other.clone()));
        socket.run(batch).unwrap();

        let told = json("ip", &["-j", "route"]);
        let find = |destination: &str| -> Value {
            let found = told.as_array().unwrap().iter().find(|one| one["dst"] == destination);
            found.cloned().unwrap()
        };
        assert_eq!(find("default")["gateway"], "10.98.0.1");
        let seen = find("10.50.0.0/16");
        let wanted = value!({
            "gateway": "10.99.9.9", "dev": "near", "protocol": "static", "metric": 5,
            "prefsrc": "10.98.0.2", "flags": ["onlink"],
        });
        for (key, wanted) in wanted.as_object().unwrap() {
            assert_eq!(&seen[key], wanted, "{key}");
        }
        assert_eq!(seen["metrics"][0], value!({ "mtu": 1400, "advmss": 1360 }));
        assert_eq!(json("ip", &["-j", "-6", "route", "show", "default"])[0]["gateway"], "fd00::1");
        let table = json("ip", &["-j", "route", "show", "table", "1000"]);
        assert_eq!(
            (&table[0]["dst"], &table[0]["scope"]),
            (&value!("10.51.0.0/16"), &value!("link"))
        );

        let routes = socket.dump(&all(Family::V4)).unwrap();
        let seen = routes.iter().find(|route| route.destination == prefix("10.50.0.0/16")).unwrap();
        assert_eq!(*seen, far.clone().metric(5).source(ip("10.98.0.2")));
        assert!(routes.iter().all(|route| route.table == Table::MAIN));
        let tables = route::All { family: Family::V4, table: Some(Table(1000)) };
        assert_eq!(socket.dump(&tables).unwrap(), std::slice::from_ref(&other));
        let sixth = socket.dump(&all(Family::V6)).unwrap();
        let default = sixth.iter().find(|route| route.destination.length == 0).unwrap();
        assert_eq!((default.gateway, default.metric), (Some(ip("fd00::1")), Some(7)));

        socket.one(&route::Delete(other)).unwrap();
        assert!(socket.dump(&tables).unwrap().is_empty());
        let again = route::Add::new(Route::default_via(Ipv4Addr::new(10, 98, 0, 9)));
        let error = socket.one(&again).unwrap_err();
        assert_eq!(error.to_string(), "cannot add default route via 10.98.0.9");
        socket.one(&route::Add { existing: Existing::Append, ..again.clone() }).unwrap();
        let routes = socket.dump(&all(Family::V4)).unwrap();
        assert_eq!(routes.iter().filter(|route| route.destination.length == 0).count(), 2);
        let other = Route::default_via(ip("10.98.0.10"));
        socket.one(&route::Add::replacing(other)).unwrap();
        let routes = socket.dump(&all(Family::V4)).unwrap();
        let first = routes.iter().find(|route| route.destination.length == 0).unwrap();
        assert_eq!(first.gateway, Some(ip("10.98.0.10")));
    });
}

#[test]
fn rules_and_neighbours_are_what_ip_sees() {
    needs!(Root);
    alone(|| {
        let socket = ground();
        let from = Rule::from(prefix("10.1.2.3/32"), Table(1000)).priority(100);
        let mut marked = Rule::new(Family::V6, Table(1001)).priority(101);
        marked.mark = Some(Mark { value: 0x10, mask: 0xff });
        marked.link = Some(name("near"));
        let mac = Mac([2, 0, 0, 0, 0, 7]);
        let mut batch = Batch::new();
        batch.add(&rule::Add(from.clone()));
        batch.add(&rule::Add(marked.clone()));
        let known = neighbour::Add { link: NEAR, address: ip("10.98.0.7"), mac, replace: false };
        batch.add(&known);
        batch.add(&neighbour::Add { address: ip("fd00::7"), ..known });
        let next = Mac([2, 0, 0, 0, 0, 8]);
        batch.add(&neighbour::Add { mac: next, replace: true, ..known });
        batch.add(&neighbour::AddProxy { link: NEAR, address: ip("10.98.0.9") });
        socket.run(batch).unwrap();

        let told = json("ip", &["-j", "rule"]);
        let seen = told.as_array().unwrap().iter().find(|one| one["priority"] == 100).unwrap();
        assert_eq!((&seen["src"], &seen["table"]), (&value!("10.1.2.3"), &value!("1000")));
        let told = json("ip", &["-j", "-6", "rule"]);
        let seen = told.as_array().unwrap().iter().find(|one| one["priority"] == 101).unwrap();
        assert_eq!((&seen["fwmark"], &seen["iif"]), (&value!("0x10"), &value!("near")));
        assert!(socket.dump(&rule::All(Family::V4)).unwrap().contains(&from));
        assert!(socket.dump(&rule::All(Family::V6)).unwrap().contains(&marked));
        assert_eq!(socket.one(&rule::Add(from.clone())).unwrap_err().errno(), Some(Errno::EXIST));
        socket.one(&rule::Delete(from.clone())).unwrap();
        assert!(!socket.dump(&rule::All(Family::V4)).unwrap().contains(&from));

        let told = json("ip", &["-j", "neighbour", "show", "10.98.0.7"]);
        assert_eq!(
            (&told[0]["lladdr"], &told[0]["state"][0]),
            (&value!("02:00:00:00:00:08"), &value!("PERMANENT"))
        );
        let proxies = json("ip", &["-j", "neighbour", "show", "proxy"]);
        assert_eq!(proxies[0]["dst"], "10.98.0.9");
        let known = neighbour::All { link: NEAR, family: Family::V4 };
        let seen = socket.dump(&known).unwrap();
        let seen = seen.iter().find(|record| record.address == ip("10.98.0.7")).unwrap();
        assert_eq!((seen.mac, seen.is_permanent()), (Some(next), true));
        socket.one(&neighbour::Delete { link: NEAR, address: ip("10.98.0.7") }).unwrap();
        let left = socket.dump(&known).unwrap();
        // What is deleted may still be listed, as failed.
        assert!(left.iter().all(|record| !record.is_permanent()));
    });
}

/// What a pod's start does: all of a namespace in one batch, since the indices are chosen.
#[test]
fn a_pod_is_connected_in_two_batches() {
    needs!(Root);
    alone(|| {
        let host = Socket::route().unwrap();
        let pod = Namespace::new();
        let inside = pod.run(|| Socket::route().unwrap());
        let mut batch = Batch::new();
        let peer = Peer::new(name("eth0")).index(Index(2)).namespace(pod.0.as_fd());
        let kind = Kind::Veth(peer);
        let near = Settings::new().up();
        batch.add(&Create::new(name("rkt0"), kind).index(Index(500)).settings(near));
        batch.add(&address::Add::new(Index(500), prefix("10.98.0.1/32")));
        batch.add(&route::Add::new(Route::to(prefix("10.98.0.2/32"), Index(500))));
        host.run(batch).unwrap();
        let mut batch = Batch::new();
        batch.add(&Set::new(Index::LOOPBACK, Settings::new().up()));
        batch.add(&Set::new(Index(2), Settings::new().up()));
        batch.add(&address::Add::new(Index(2), prefix("10.98.0.2/24")).flags(Flags::NOPREFIXROUTE));
        batch.add(&route::Add::new(Route::to(prefix("10.98.0.1/32"), Index(2))));
        batch.add(&route::Add::new(Route::default_via(Ipv4Addr::new(10, 98, 0, 1))));
        inside.run(batch).unwrap();

        let listener = pod.run(|| std::net::TcpListener::bind("10.98.0.2:80").unwrap());
        let stream = std::net::TcpStream::connect("10.98.0.2:80").unwrap();
        let (_, from) = listener.accept().unwrap();
        assert_eq!(from, stream.local_addr().unwrap());
        assert_eq!(from.ip(), ip("10.98.0.1"));
    });
}
