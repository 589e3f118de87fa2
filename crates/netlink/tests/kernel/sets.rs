//! Sets, maps and their elements, beside those that nft makes.

use crate::filter::{as_nft_writes, changing, listed};
use crate::ground::{alone, name};
use netlink::address::Prefix;
use netlink::nft::{
    AddChain, AddRule, AddSet, AddTable, Base, ChainKind, Element, ElementValue, Elements,
    Existing, Family, Field, Hook, Protocol, Rule, Set, SetData, Sets, Table, Type, Value, Verdict,
    priority,
};
use netlink::{Errno, Socket};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use testkit::needs;

const IP: Table<'static> = Table::new(Family::Ip, "rkt");

const TEXT: &str = r#"
table ip rkt {
  map ports {
    type inet_proto . ipv4_addr . inet_service : ipv4_addr . inet_service
    comment "published ports"
    elements = { tcp . 10.0.0.1 . 80 comment "rkt 1" : 10.1.0.2 . 8080,
                 udp . 10.0.0.1 . 53 comment "rkt 2" : 10.1.0.3 . 53 }
  }
  map links { type ifname : verdict; elements = { "eth0" : jump other, "eth1" comment "rkt" : accept }; }
  set pods { type ipv4_addr; elements = { 10.1.0.2 comment "rkt 1", 10.1.0.3 }; }
  set sixes { type ipv6_addr; elements = { fd00::2 }; }
  set networks { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 192.168.0.0/16, 255.0.0.0/8 }; }
  set pairs { type ipv4_addr . ipv4_addr; flags interval; elements = { 10.0.0.0-10.0.0.255 . 10.1.0.0-10.1.0.7 }; }
  map marks { type ipv4_addr : mark; size 10; elements = { 10.1.0.2 : 7 }; }
  set protocols { type inet_proto; elements = { tcp, udp }; }
  set services { type inet_service; elements = { 80, 443 }; }
  set named { type ifname . mark; elements = { "eth0" . 5 }; }
  chain other { }
  chain pre { type nat hook prerouting priority dstnat;
    fib daddr type local dnat to meta l4proto . ip daddr . th dport map @ports
  }
  chain filter { type filter hook forward priority filter;
    iifname vmap @links
    ip saddr @pods accept
    ip saddr != @networks accept
    ip saddr . ip daddr @pairs drop
    tcp dport @services accept
  }
}
"#;

fn ip(a: u8, b: u8, c: u8, d: u8) -> Value {
    Ipv4Addr::new(a, b, c, d).into()
}

/// The sets of the text with their elements, in its order.
fn sets() -> Vec<(&'static str, Set, Vec<Element>)> {
    use Type::{Ifname, InetProto, InetService, Ipv4Addr as V4, Ipv6Addr as V6, Mark};
    let port = |protocol: Protocol, number, to: Value, port| {
        Element::new(&[protocol.into(), ip(10, 0, 0, 1), Value::Port(number)])
            .value(&[to, Value::Port(port)])
    };
    let link = |text| Element::new(&[Value::Link(name(text))]);
    let networks = [([10, 0, 0, 0], 8), ([192, 168, 0, 0], 16), ([255, 0, 0, 0], 8)];
    let network = |(address, length): ([u8; 4], u8)| {
        Element::network(Prefix::new(IpAddr::from(address), length))
    };
    let pair =
        Element::range(&[ip(10, 0, 0, 0), ip(10, 1, 0, 0)], &[ip(10, 0, 0, 255), ip(10, 1, 0, 7)]);
    let marks = Set { size: Some(10), ..Set::map([V4], [Mark]) };
    let six: Ipv6Addr = "fd00::2".parse().unwrap();
    vec![
        (
            "ports",
            Set::map([InetProto, V4, InetService], [V4, InetService]).comment("published ports"),
            vec![
                port(Protocol::TCP, 80, ip(10, 1, 0, 2), 8080).comment("rkt 1"),
                port(Protocol::UDP, 53, ip(10, 1, 0, 3), 53).comment("rkt 2"),
            ],
        ),
        (
            "links",
            Set::verdicts([Ifname]),
            vec![
                link("eth0").verdict(Verdict::Jump("other".to_owned())),
                link("eth1").verdict(Verdict::Accept).comment("rkt"),
            ],
        ),
        (
            "pods",
            Set::of([V4]),
            vec![
                Element::new(&[ip(10, 1, 0, 2)]).comment("rkt 1"),
                Element::new(&[ip(10, 1, 0, 3)]),
            ],
        ),
        ("sixes", Set::of([V6]), vec![Element::new(&[six.into()])]),
        ("networks", Set::of([V4]).interval(), networks.into_iter().flat_map(network).collect()),
        ("pairs", Set::of([V4, V4]).interval(), vec![pair]),
        ("marks", marks, vec![Element::new(&[ip(10, 1, 0, 2)]).value(&[Value::Mark(7)])]),
        (
            "protocols",
            Set::of([InetProto]),
            [Protocol::TCP, Protocol::UDP].map(|one| Element::new(&[one.into()])).into(),
        ),
        (
            "services",
            Set::of([InetService]),
            [80, 443].map(|port| Element::new(&[Value::Port(port)])).into(),
        ),
        (
            "named",
            Set::of([Ifname, Mark]),
            vec![Element::new(&[Value::Link(name("eth0")), Value::Mark(5)])],
        ),
    ]
}

fn make(socket: &Socket) {
    changing(socket, |changes| {
        changes.add(&AddTable::new(IP)).add(&AddChain::regular(IP.chain("other")));
        let nat = Base::new(ChainKind::Nat, Hook::Prerouting, priority::DNAT);
        let filter = Base::new(ChainKind::Filter, Hook::Forward, priority::FILTER);
        changes.add(&AddChain::base(IP.chain("pre"), nat));
        changes.add(&AddChain::base(IP.chain("filter"), filter));
        for (called, set, elements) in sets() {
            changes.add(&AddSet::new(IP.set(called), set));
            changes.add_elements(IP.set(called), &elements, Existing::Refuse);
        }
        let rule = Rule::new;
        let key = [Field::L4proto, Field::IpDaddr, Field::Dport];
        let led = rule().to_this_host().dnat_of(&key, IP.set("ports"));
        changes.add(&AddRule::last(IP.chain("pre"), led));
        let both = [Field::IpSaddr, Field::IpDaddr];
        let rules = [
            rule().verdict_of(&[Field::Iifname], IP.set("links")),
            rule().among(&[Field::IpSaddr], IP.set("pods")).accept(),
            rule().not_among(&[Field::IpSaddr], IP.set("networks")).accept(),
            rule().among(&both, IP.set("pairs")).drop(),
            rule().protocol(Protocol::TCP).among(&[Field::Dport], IP.set("services")).accept(),
        ];
        for rule in rules {
            changes.add(&AddRule::last(IP.chain("filter"), rule));
        }
    })
    .unwrap();
}

/// Sorts what has no order.
fn sorted(mut listed: serde_json::Value) -> Vec<serde_json::Value> {
    let mut items = std::mem::take(listed["nftables"].as_array_mut().unwrap());
    for item in &mut items {
        for kind in ["set", "map"] {
            if let Some(elements) = item[kind]["elem"].as_array_mut() {
                elements.sort_by_key(ToString::to_string);
            }
        }
        // Looking a key up has made it an object without anything.
        item.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    }
    items.sort_by_key(ToString::to_string);
    items
}

#[test]
fn sets_and_maps_are_as_nft_writes_them() {
    needs!(Root);
    alone(|| {
        let socket = Socket::netfilter().unwrap();
        make(&socket);
        let (ours, theirs) = (sorted(listed()), sorted(as_nft_writes(TEXT)));
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(ours, theirs);
        }
        assert_eq!(ours.len(), theirs.len());
    });
}

#[test]
fn sets_and_maps_are_read_as_they_were_written() {
    needs!(Root);
    alone(|| {
        let socket = Socket::netfilter().unwrap();
        make(&socket);
        let read = socket.dump(&Sets(IP)).unwrap();
        for (called, set, elements) in sets() {
            let record = read.iter().find(|record| record.name == called).unwrap();
            assert_eq!(record.set.as_ref(), Some(&set), "{called}");
            let name = IP.set(called);
            let mut found = socket.dump(&Elements { name, set: Some(&set) }).unwrap();
            found.sort_by_key(|record| (record.element.key.clone(), record.element.ends_range));
            let mut wanted = elements.clone();
            wanted.sort_by_key(|element| (element.key.clone(), element.ends_range));
            let bare: Vec<Element> = found.iter().map(|record| record.element.clone()).collect();
            assert_eq!(bare, wanted, "{called}");
            for record in &found {
                assert_eq!(record.key.as_ref().map(Vec::len), Some(set.key.len()));
                let values = matches!(set.data, SetData::Values(_));
                assert_eq!(record.value.is_some(), values);
            }
        }
        let ports = read.iter().find(|record| record.name == "ports").unwrap();
        let name = IP.set("ports");
        let found = socket.dump(&Elements { name, set: ports.set.as_ref() }).unwrap();
        let mine = |text: Option<&str>| text == Some("rkt 1");
        let mine = found.iter().find(|record| mine(record.element.comment.as_deref())).unwrap();
        let key = [Protocol::TCP.into(), ip(10, 0, 0, 1), Value::Port(80)];
        assert_eq!(mine.key.as_deref(), Some(&key[..]));
        assert_eq!(mine.value.as_deref(), Some(&[ip(10, 1, 0, 2), Value::Port(8080)][..]));
    });
}

#[test]
fn elements_come_and_go() {
    needs!(Root);
    alone(|| {
        let socket = Socket::netfilter().unwrap();
        make(&socket);
        let pods = IP.set("pods");
        let list = |name| socket.dump(&Elements { name, set: None }).unwrap();
        let element = |last| Element::new(&[ip(10, 1, 0, last)]);
        let add = |elements: &[Element], existing| {
            changing(&socket, |changes| {
                changes.add_elements(pods, elements, existing);
            })
        };
        let delete = |elements: &[Element]| {
            changing(&socket, |changes| {
                changes.delete_elements(pods, elements);
            })
        };
        let error = add(&[element(2)], Existing::Refuse).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::EXIST));
        assert_eq!(error.to_string(), "cannot add elements to set ip rkt pods");
        add(&[element(2), element(4)], Existing::Keep).unwrap();
        assert_eq!(list(pods).len(), 3);
        // What was listed can be deleted as it is.
        let known: Vec<Element> = list(pods).into_iter().map(|record| record.element).collect();
        delete(&known).unwrap();
        assert!(list(pods).is_empty());
        assert_eq!(delete(&known).unwrap_err().errno(), Some(Errno::NOENT));

        let networks = IP.set("networks");
        let gone = Element::network(Prefix::new(Ipv4Addr::new(192, 168, 0, 0), 16));
        changing(&socket, |changes| {
            changes.delete_elements(networks, &gone);
        })
        .unwrap();
        assert!(list(networks).iter().all(|record| !gone.contains(&record.element)));

        // As many as fill several messages, and a list of several datagrams.
        let comment = "x".repeat(127);
        let many: Vec<Element> = (0..5000_u32)
            .map(|number| {
                let address = Ipv4Addr::from_bits(number.saturating_add(0x0b00_0000));
                Element::new(&[address.into()]).comment(comment.clone())
            })
            .collect();
        add(&many, Existing::Refuse).unwrap();
        let found = list(pods);
        assert_eq!(found.len(), 5000);
        assert!(found.iter().all(|record| record.element.comment.as_deref() == Some(&comment)));
        delete(&many).unwrap();

        let links = list(IP.set("links"));
        let jump = ElementValue::Verdict(Verdict::Jump("other".to_owned()));
        assert!(links.iter().any(|record| record.element.value == jump));
    });
}
