//! Links of each kind, and what is said of them.

use crate::ground::{Namespace, alone, index, json, lacking, name, shown};
use netlink::link::{
    AddAltname, All, Bridge, Create, Delete, Get, Index, IpvlanFlag, IpvlanMode, Kind, Mac,
    MacvlanMode, Move, Operstate, Peer, Port, PortVlan, Rename, Set, SetAlias, SetBridge, Settings,
    Switch, Which,
};
use netlink::{Batch, Errno, Socket};
use serde_json::{Value, json as value};
use std::os::fd::AsFd;
use testkit::needs;

fn veth<'ns>(peer: &str) -> Kind<'ns> {
    Kind::Veth(Peer::new(name(peer)))
}

#[test]
fn each_kind_is_what_ip_sees() {
    needs!(Root);
    alone(|| {
        let socket = Socket::route().unwrap();
        socket.one(&Create::new(name("parent"), veth("other"))).unwrap();
        let parent = index(&socket, "parent");
        let bridge = Bridge {
            spanning_tree: Some(false),
            forward_delay: Some(200),
            ageing_time: Some(1000),
            multicast_snooping: Some(false),
            ..Bridge::default()
        };
        let told = value!({
            "stp_state": 0, "forward_delay": 200, "ageing_time": 1000, "mcast_snooping": 0,
        });
        let mode = |mode: &str| value!({ "mode": mode });
        let flag = |mode: &str, flag: &str| value!({ "mode": mode, flag: true });
        use {IpvlanFlag as F, IpvlanMode as I, MacvlanMode as M};
        let kinds = [
            (Kind::Bridge(bridge), told),
            (veth("peer"), value!({})),
            (Kind::Dummy, value!({})),
            (Kind::Ifb, value!({})),
            (Kind::Vlan(42), value!({ "id": 42 })),
            (Kind::Macvlan(M::Private), mode("private")),
            (Kind::Macvlan(M::Vepa), mode("vepa")),
            (Kind::Macvlan(M::Bridge), mode("bridge")),
            (Kind::Macvlan(M::Passthru), mode("passthru")),
            (Kind::Macvtap(M::Bridge), mode("bridge")),
            (Kind::Ipvlan(I::L2, F::Bridge), flag("l2", "bridge")),
            (Kind::Ipvlan(I::L3, F::Private), flag("l3", "private")),
            (Kind::Ipvlan(I::L3s, F::Vepa), flag("l3s", "vepa")),
            (Kind::Ipvtap(I::L2, F::Bridge), flag("l2", "bridge")),
        ];
        for (kind, told) in kinds {
            let word = kind.word();
            let on_parent = !matches!(word, "veth" | "bridge" | "dummy" | "ifb");
            let mut create = Create::new(name("made"), kind);
            create.parent = on_parent.then_some(parent);
            if lacking(word, socket.one(&create)) {
                continue;
            }
            let seen = shown("made");
            assert_eq!(seen["linkinfo"]["info_kind"], word);
            for (key, wanted) in told.as_object().unwrap() {
                assert_eq!(&seen["linkinfo"]["info_data"][key], wanted, "{word} {key}");
            }
            let record = socket.get(&Get::new(name("made"))).unwrap().unwrap();
            assert_eq!(record.kind.as_deref(), Some(word));
            if on_parent {
                assert_eq!((record.parent, &seen["link"]), (Some(parent), &value!("parent")));
            }
            socket.one(&Delete::new(record.index)).unwrap();
            assert_eq!(socket.get(&Get::new(record.index)).unwrap(), None);
        }
    });
}

#[test]
fn settings_are_what_ip_sees() {
    needs!(Root);
    alone(|| {
        let socket = Socket::route().unwrap();
        let mac = Mac([2, 0, 0, 1, 2, 3]);
        let mut batch = Batch::new();
        let bridge = Index(77);
        batch.add(&Create::new(name("br"), Kind::Bridge(Bridge::default())).index(bridge));
        let peer = Peer::new(name("far")).index(Index(79)).mtu(1400).mac(Mac([2, 0, 0, 9, 9, 9]));
        let kind = Kind::Veth(peer);
        let settings = Settings::new().mtu(1300).mac(mac).master(bridge).group(5);
        let settings = settings.queue_length(123).up();
        batch.add(&Create::new(name("near"), kind).index(Index(78)).settings(settings));
        let altname = "a-name-that-is-longer-than-fifteen".to_owned();
        batch.add(&AddAltname { which: name("near").into(), altname: altname.clone() });
        batch.add(&SetAlias { which: name("near").into(), alias: "of a pod".to_owned() });
        let seen = batch.add(&Get::new(name("near")));
        let replies = socket.run(batch).unwrap();
        let record = replies[seen].read::<Get>().unwrap().unwrap();
        assert_eq!((record.index, record.name, record.mtu), (Index(78), name("near"), 1300));
        assert_eq!((record.mac, record.master, record.group), (Some(mac), Some(bridge), 5));
        assert_eq!((record.parent, record.parent_namespace), (Some(Index(79)), None));
        assert_eq!((record.alias.as_deref(), record.queue_length), (Some("of a pod"), Some(123)));
        assert_eq!((&record.altnames[..], record.is_up()), (&[altname.clone()][..], true));
        assert_eq!(record.port_of.as_deref(), Some("bridge"));

        let told = shown("near");
        let wanted = value!({
            "ifindex": 78, "mtu": 1300, "master": "br", "address": "02:00:00:01:02:03",
            "ifalias": "of a pod", "altnames": [altname], "link": "far", "txqlen": 123,
        });
        for (key, wanted) in wanted.as_object().unwrap() {
            assert_eq!(&told[key], wanted, "{key}");
        }
        assert_eq!((&shown("far")["mtu"], &shown("far")["ifindex"]), (&value!(1400), &value!(79)));

        let change = Settings::new().no_master().down().mtu(1200).promiscuous(Switch::On);
        let change = change.all_multicast(Switch::On);
        socket.one(&Set::new(name("near"), change)).unwrap();
        let record = socket.get(&Get::new(Index(78))).unwrap().unwrap();
        assert_eq!((record.master, record.mtu, record.is_up()), (None, 1200, false));
        assert!(record.is_promiscuous() && record.hears_all_multicast());
        assert_eq!(record.operstate, Operstate::Down);

        socket.one(&Rename { index: Index(78), name: name("renamed") }).unwrap();
        assert_eq!(shown("renamed")["ifindex"], 78);
    });
}

#[test]
fn ports_of_a_bridge_are_what_ip_sees() {
    needs!(Root);
    alone(|| {
        let socket = Socket::route().unwrap();
        let mut batch = Batch::new();
        let bridge = Kind::Bridge(Bridge::default());
        batch.add(&Create::new(name("br"), bridge).index(Index(50)));
        let settings = Settings::new().master(Index(50));
        let kind = veth("far");
        batch.add(&Create::new(name("near"), kind).index(Index(51)).settings(settings));
        batch.add(&Port {
            hairpin: Some(true),
            isolated: Some(true),
            learning: Some(false),
            unicast_flood: Some(false),
            multicast_flood: Some(false),
            proxy_arp: Some(true),
            neighbour_suppression: Some(true),
            ..Port::new(name("near"))
        });
        socket.run(batch).unwrap();
        let port = shown("near")["linkinfo"]["info_slave_data"].clone();
        let wanted = value!({
            "hairpin": true, "isolated": true, "learning": false, "flood": false,
            "mcast_flood": false, "proxy_arp": true, "neigh_suppress": true,
        });
        for (key, wanted) in wanted.as_object().unwrap() {
            assert_eq!(&port[key], wanted, "{key}");
        }
        let slow = Bridge { ageing_time: Some(500), ..Bridge::default() };
        socket.one(&SetBridge { which: name("br").into(), bridge: slow }).unwrap();
        assert_eq!(shown("br")["linkinfo"]["info_data"]["ageing_time"], 500);

        let filtering =
            Bridge { vlan_filtering: Some(true), default_vlan: Some(7), ..Bridge::default() };
        let filtering = SetBridge { which: name("br").into(), bridge: filtering };
        if lacking("VLAN filtering of bridges", socket.one(&filtering)) {
            return;
        }
        let mut batch = Batch::new();
        batch.add(&PortVlan { index: Index(51), vlan: 100, untagged: true });
        batch.add(&PortVlan { index: Index(51), vlan: 200, untagged: false });
        socket.run(batch).unwrap();
        let told = shown("br")["linkinfo"]["info_data"].clone();
        assert_eq!((&told["vlan_filtering"], &told["vlan_default_pvid"]), (&value!(1), &value!(7)));
        let told = json("bridge", &["-j", "vlan", "show", "dev", "near"])[0]["vlans"].clone();
        let told = told.as_array().unwrap();
        let untagged = value!({ "vlan": 100, "flags": ["PVID", "Egress Untagged"] });
        assert!(told.contains(&untagged) && told.contains(&value!({ "vlan": 200 })), "{told:?}");
    });
}

#[test]
fn links_are_made_in_other_namespaces_and_moved_there() {
    needs!(Root);
    alone(|| {
        let socket = Socket::route().unwrap();
        let pod = Namespace::new();
        let peer = Peer::new(name("eth0")).index(Index(2)).namespace(pod.0.as_fd()).mtu(1400);
        let kind = Kind::Veth(peer);
        socket.one(&Create::new(name("rkt0"), kind).settings(Settings::new().up())).unwrap();
        let near = socket.get(&Get::new(name("rkt0"))).unwrap().unwrap();
        assert!(near.parent_namespace.is_some(), "its other end is elsewhere");
        assert_eq!(near.parent, Some(Index(2)));
        let far = pod.run(|| shown("eth0"));
        assert_eq!((&far["ifindex"], &far["mtu"]), (&value!(2), &value!(1400)));

        // On a link of this namespace, in the other one.
        let settings = Settings::new().namespace(pod.0.as_fd());
        let mode = MacvlanMode::Bridge;
        let create = Create::new(name("eth1"), Kind::Macvlan(mode)).parent(near.index);
        socket.one(&create.settings(settings)).unwrap();
        assert_eq!(pod.run(|| shown("eth1"))["linkinfo"]["info_kind"], "macvlan");

        socket.one(&Create::new(name("device"), veth("rest"))).unwrap();
        let device = index(&socket, "device");
        let there = Some(name("eth2"));
        socket.one(&Move { index: device, namespace: pod.0.as_fd(), name: there }).unwrap();
        assert_eq!(socket.get(&Get::new(name("device"))).unwrap(), None);
        assert_eq!(pod.run(|| shown("eth2"))["ifname"], "eth2");
        // The socket is where it was opened, wherever its user is.
        let seen = pod.run(move || socket.dump(&All).unwrap());
        assert!(seen.iter().any(|link| link.name == name("rkt0")));
    });
}

#[test]
fn lists_are_what_ip_lists() {
    needs!(Root);
    alone(|| {
        let socket = Socket::route().unwrap();
        for number in 0..300 {
            let kind = veth(&format!("far{number}"));
            socket.one(&Create::new(name(&format!("near{number}")), kind)).unwrap();
        }
        let links = socket.dump(&All).unwrap();
        let told = json("ip", &["-j", "-d", "-s", "-s", "link"]);
        let told: &Vec<Value> = told.as_array().unwrap();
        assert_eq!(links.len(), told.len());
        for (link, told) in links.iter().zip(told) {
            assert_eq!(link.index.0, told["ifindex"]);
            assert_eq!(link.name.to_string(), told["ifname"]);
            assert_eq!(link.mtu, told["mtu"]);
            assert_eq!(link.mac.unwrap().to_string(), told["address"]);
        }
    });
}

#[test]
fn counters_count() {
    needs!(Root);
    alone(|| {
        let socket = Socket::route().unwrap();
        socket.one(&Set::new(Index::LOOPBACK, Settings::new().up())).unwrap();
        let to = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        to.send_to(&[7; 100], to.local_addr().unwrap()).unwrap();
        let links = socket.dump(&All).unwrap();
        let seen = links.iter().find(|link| link.index == Index::LOOPBACK).unwrap().statistics;
        let told = json("ip", &["-j", "-s", "link", "show", "dev", "lo"])[0]["stats64"].clone();
        assert_eq!((seen.packets_in, seen.packets_out), (1, 1));
        assert_eq!(
            value!([seen.bytes_in, seen.bytes_out]),
            value!([told["rx"]["bytes"], told["tx"]["bytes"]])
        );
        assert!(seen.bytes_in > 100);
    });
}

#[test]
fn a_refusal_says_what_was_refused_and_why() {
    needs!(Root);
    alone(|| {
        let socket = Socket::route().unwrap();
        let bridge = |called| Create::new(name(called), Kind::Bridge(Bridge::default()));
        let mut batch = Batch::new();
        batch.add(&bridge("a"));
        batch.add(&bridge("a"));
        batch.add(&Delete::new(name("nobody")));
        batch.add(&bridge("b"));
        let error = socket.run(batch).unwrap_err();
        assert_eq!((error.index, error.errno()), (1, Some(Errno::EXIST)));
        assert_eq!(sys::cause::chain(&error), "cannot create bridge a: File exists");
        // What follows was tried.
        assert_eq!(shown("b")["ifname"], "b");

        let small = Set::new(name("a"), Settings::new().mtu(10));
        let error = socket.one(&small).unwrap_err();
        let text = sys::cause::chain(&error);
        assert_eq!(text, "cannot change link a: Invalid argument (mtu less than device minimum)");

        let mut batch = Batch::new();
        let first = batch.add_unless(&bridge("a"), &[Errno::EXIST]);
        let second = batch.add_unless(&Delete::new(name("nobody")), &[Errno::NODEV]);
        let third = batch.add_unless(&Delete::new(name("b")), &[Errno::NODEV]);
        let replies = socket.run(batch).unwrap();
        let refused = [first, second, third].map(|reply| replies[reply].refused);
        assert_eq!(refused, [Some(Errno::EXIST), Some(Errno::NODEV), None]);

        assert!(socket.run(Batch::new()).unwrap().is_empty());
        let which = Which::from(name("nobody"));
        assert_eq!(socket.get(&Get(which)).unwrap(), None);
    });
}

#[test]
fn what_does_not_fit_is_sent_in_pieces() {
    needs!(Root);
    alone(|| {
        let socket = Socket::route().unwrap();
        let mut batch = Batch::new();
        for _ in 0..5000 {
            batch.add(&Get::new(Index::LOOPBACK));
        }
        batch.add(&Delete::new(name("nobody")));
        let error = socket.run(batch).unwrap_err();
        assert_eq!((error.index, error.errno()), (5000, Some(Errno::NODEV)));
    });
}
