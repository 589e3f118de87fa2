//! Queues, and packets that are sent elsewhere.

use crate::ground::{Namespace, alone, index, json, lacking, name, output};
use netlink::address::{self, Prefix};
use netlink::link::{Create, Index, Kind, Peer, Set, Settings};
use netlink::traffic::{
    AddFilter, AddQdisc, Classifier, DeleteFilters, DeleteQdisc, Direction, Filters, Handle, Qdisc,
    Qdiscs, TokenBucket,
};
use netlink::{Batch, Errno, Socket};
use serde_json::json as value;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;
use sys::packet::PacketSocket;
use testkit::needs;

const NEAR: Index = Index(10);

fn ground() -> Socket {
    let socket = Socket::route().unwrap();
    let kind = Kind::Veth(Peer::new(name("far")));
    let create = Create::new(name("near"), kind).index(NEAR).settings(Settings::new().up());
    socket.one(&create).unwrap();
    socket.one(&Set::new(name("far"), Settings::new().up())).unwrap();
    socket
}

fn qdiscs() -> serde_json::Value {
    json("tc", &["-j", "qdisc", "show", "dev", "near"])
}

#[test]
fn queues_are_what_tc_sees() {
    needs!(Root);
    alone(|| {
        let socket = ground();
        let latency = Duration::from_millis(25);
        let bucket = TokenBucket { rate: 1_250_000, burst: 20_000, latency };
        let mut add = AddQdisc::new(NEAR, Qdisc::TokenBucket(bucket));
        add.handle = Handle::major(7);
        socket.one(&add).unwrap();
        let told = qdiscs()[0].clone();
        assert_eq!(
            (&told["kind"], &told["handle"], &told["root"]),
            (&value!("tbf"), &value!("7:"), &value!(true))
        );
        assert_eq!(told["options"]["rate"], 1_250_000);
        assert_eq!(told["options"]["burst"], 20_000);
        let seen = socket.dump(&Qdiscs(NEAR)).unwrap();
        assert_eq!((seen[0].kind.as_str(), seen[0].rate), ("tbf", Some(1_250_000)));
        assert_eq!((seen[0].handle, seen[0].parent), (Handle::major(7), Handle::ROOT));

        // More than fits into 32 bits of bytes a second.
        let fast = TokenBucket { rate: 5_000_000_000, burst: 1_000_000, latency };
        let add = AddQdisc::replacing(NEAR, Qdisc::TokenBucket(fast));
        assert_eq!(
            socket.one(&AddQdisc { replace: false, ..add }).unwrap_err().errno(),
            Some(Errno::EXIST)
        );
        socket.one(&add).unwrap();
        assert_eq!(qdiscs()[0]["options"]["rate"], 5_000_000_000_u64);
        assert_eq!(socket.dump(&Qdiscs(NEAR)).unwrap()[0].rate, Some(5_000_000_000));

        socket.one(&DeleteQdisc { link: NEAR, parent: Handle::ROOT }).unwrap();
        assert_eq!(qdiscs()[0]["kind"], "noqueue");
        for qdisc in [Qdisc::FqCodel, Qdisc::NoQueue, Qdisc::Ingress, Qdisc::Clsact] {
            if lacking(qdisc.word(), socket.one(&AddQdisc::replacing(NEAR, qdisc))) {
                continue;
            }
            let told = qdiscs();
            let kinds: Vec<_> = told.as_array().unwrap().iter().map(|one| &one["kind"]).collect();
            assert!(kinds.contains(&&value!(qdisc.word())), "{kinds:?}");
            let parent = match qdisc {
                Qdisc::Ingress | Qdisc::Clsact => Handle::INGRESS,
                _ => Handle::ROOT,
            };
            let delete = DeleteQdisc { link: NEAR, parent };
            if qdisc != Qdisc::NoQueue {
                socket.one(&delete).unwrap();
            }
        }
    });
}

/// Two pods, each at a link of this namespace: what comes in on one link leaves on the other.
#[test]
fn what_comes_in_here_leaves_there() {
    needs!(Root);
    for classifier in [Classifier::U32, Classifier::Matchall] {
        alone(|| redirect(classifier));
    }
}

fn redirect(classifier: Classifier) {
    let socket = Socket::route().unwrap();
    let pods = [(Namespace::new(), Index(20)), (Namespace::new(), Index(21))];
    for (number, (pod, near)) in (1..).zip(&pods) {
        let peer = Peer::new(name("eth0")).index(Index(2)).namespace(pod.0.as_fd());
        let kind = Kind::Veth(peer);
        let create = Create::new(name(&format!("near{number}")), kind).index(*near);
        socket.one(&create.settings(Settings::new().up())).unwrap();
        pod.run(|| {
            let inside = Socket::route().unwrap();
            let mut batch = Batch::new();
            batch.add(&Set::new(Index(2), Settings::new().up()));
            let address = Prefix::new(Ipv4Addr::new(10, 5, 0, number), 24);
            batch.add(&address::Add::new(Index(2), address));
            inside.run(batch).unwrap();
        });
    }
    let [(first, near), (second, next)] = pods;
    for (from, to) in [(near, next), (next, near)] {
        let mut batch = Batch::new();
        batch.add(&AddQdisc::new(from, Qdisc::Ingress));
        batch.add(&AddFilter { classifier, ..AddFilter::redirect(from, to) });
        if lacking(classifier.word(), socket.run(batch).map(drop)) {
            assert_ne!(classifier, Classifier::U32, "every kernel that matters has it");
            return;
        }
    }
    let text = output("tc", &["filter", "show", "dev", "near1", "ingress"]);
    let wanted = "mirred (Egress Redirect to device near2) stolen";
    assert!(text.contains(classifier.word()) && text.contains(wanted), "{text}");
    let listener = second.run(|| TcpListener::bind("10.5.0.2:7").unwrap());
    let mut stream = first.run(|| TcpStream::connect("10.5.0.2:7").unwrap());
    let (mut accepted, from) = listener.accept().unwrap();
    assert_eq!(from.ip(), Ipv4Addr::new(10, 5, 0, 1));
    stream.write_all(b"over").unwrap();
    drop(stream);
    let mut heard = String::new();
    accepted.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "over");

    // Who has a packet socket there hears what passes, but nothing that leaves.
    let passing = PacketSocket::open(near.0, 68).unwrap();
    let bind = |address: &'static str| move || UdpSocket::bind(address).unwrap();
    let (one, other) = (first.run(bind("10.5.0.1:68")), second.run(bind("10.5.0.2:68")));
    one.send_to(b"there", "10.5.0.2:68").unwrap();
    let mut buffer = [0; 64];
    other.recv_from(&mut buffer).unwrap();
    other.send_to(b"back", "10.5.0.1:68").unwrap();
    one.recv_from(&mut buffer).unwrap();
    let (count, _) = passing.receive(&mut buffer).unwrap().expect("it has passed");
    assert_eq!(buffer[28..count], *b"there");
    assert_eq!(passing.receive(&mut buffer).unwrap(), None);

    let filters = Filters { link: near, parent: Handle::ONLY_FILTERS };
    let seen = socket.dump(&filters).unwrap();
    assert!(seen.iter().all(|filter| filter.kind == classifier.word() && filter.priority == 1));
    assert!(!seen.is_empty());
    let delete = DeleteFilters { link: near, parent: Handle::ONLY_FILTERS, priority: Some(1) };
    socket.one(&delete).unwrap();
    assert!(socket.dump(&filters).unwrap().is_empty());
}

#[test]
fn both_directions_have_filters_with_clsact() {
    needs!(Root);
    alone(|| {
        let socket = ground();
        let far = index(&socket, "far");
        if lacking("clsact", socket.one(&AddQdisc::new(NEAR, Qdisc::Clsact))) {
            return;
        }
        for (parent, direction) in
            [(Handle::FILTERS_IN, Direction::In), (Handle::FILTERS_OUT, Direction::Out)]
        {
            let filter = AddFilter { parent, direction, ..AddFilter::redirect(NEAR, far) };
            socket.one(&filter).unwrap();
        }
        let text = output("tc", &["filter", "show", "dev", "near", "ingress"]);
        assert!(text.contains("Ingress Redirect to device far"), "{text}");
        let text = output("tc", &["filter", "show", "dev", "near", "egress"]);
        assert!(text.contains("Egress Redirect to device far"), "{text}");
    });
}
