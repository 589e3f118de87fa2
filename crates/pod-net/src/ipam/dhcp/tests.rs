use super::message::{
    ADDRESS, CLIENT_ID, DOMAIN, LEASE, MASK, MTU, ROUTERS, ROUTES, SERVER, SERVERS, STATIC_ROUTES,
    T1, T2,
};
use super::*;
use crate::config::Network;
use crate::request::NetworkArgs;
use crate::result::Route;
use crate::wishes::Wishes;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];
const ADDR: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);
const DHCPD: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn client(now: Duration) -> Client {
    let options = vec![(CLIENT_ID, b"\0pod/n/eth0".to_vec())];
    Client::new(Identity { mac: MAC, options, requested: vec![1, 3, 121] }, 4711, now)
}

/// What a client sent.
fn sent(did: Did) -> (To, Message) {
    match did {
        Did::Send(to, bytes) => (to, Message::decode(&bytes).unwrap()),
        other => panic!("{other:?} instead of a message"),
    }
}

/// A server's answer to a message, valid for so many seconds.
fn answer(to: &Message, say: Say, seconds: u32) -> Message {
    Message {
        op: Op::Reply,
        say,
        yiaddr: ADDR,
        options: vec![
            (SERVER, DHCPD.octets().to_vec()),
            (LEASE, seconds.to_be_bytes().to_vec()),
            (MASK, vec![255, 255, 255, 0]),
            (ROUTERS, vec![10, 0, 0, 1, 10, 0, 0, 2]),
            (SERVERS, vec![10, 0, 0, 3, 10, 0, 0, 4]),
            (DOMAIN, b"example.org\0".to_vec()),
            (MTU, vec![5, 120]),
        ],
        ..to.clone()
    }
}

/// A client that got a lease at a time, and the lease.
fn bound(now: Duration, seconds: u32) -> (Client, Lease) {
    let mut client = client(now);
    let (_, discover) = sent(client.step(now));
    let (_, request) = sent(client.receive(&answer(&discover, Say::Offer, seconds).encode(), now));
    match client.receive(&answer(&request, Say::Ack, seconds).encode(), now) {
        Did::Bound(lease) => (client, lease),
        other => panic!("{other:?} instead of a lease"),
    }
}

#[test]
fn a_lease_is_had_in_four_messages() {
    let mut client = client(at(100));
    assert_eq!(client.deadline(), Some(at(100)));
    let (to, discover) = sent(client.step(at(100)));
    assert_eq!((to, discover.say, discover.op), (To::Everybody, Say::Discover, Op::Request));
    assert!(discover.broadcast && discover.ciaddr.is_unspecified() && client.is_listening());
    assert_eq!(discover.option(55), Some(&[1, 3, 121][..]));
    assert_eq!(discover.option(CLIENT_ID), Some(&b"\0pod/n/eth0"[..]));
    let (to, request) = sent(client.receive(&answer(&discover, Say::Offer, 100).encode(), at(101)));
    assert_eq!((to, request.say, request.xid), (To::Everybody, Say::Request, discover.xid));
    assert_eq!(request.option(ADDRESS), Some(&ADDR.octets()[..]));
    assert_eq!(request.option(SERVER), Some(&DHCPD.octets()[..]));
    assert_eq!(request.secs, 1);
    let did = client.receive(&answer(&request, Say::Ack, 100).encode(), at(103));
    let Did::Bound(lease) = did else { panic!("{did:?}") };
    // It counts from the question.
    assert_eq!(lease.times, Some([at(151), Duration::from_millis(188_500), at(201)]));
    assert_eq!(client.deadline(), Some(at(151)));
    assert_eq!((client.lease(), client.is_listening()), (Some(&lease), false));
    let result = lease.result();
    assert_eq!(result.ips[0].address.to_string(), "10.0.0.5/24");
    assert_eq!(result.ips[0].gateway.unwrap().to_string(), "10.0.0.1");
    assert_eq!(result.dns.nameservers, ["10.0.0.3", "10.0.0.4"]);
    assert_eq!(result.dns.domain.as_deref(), Some("example.org"));
    assert_eq!(lease.mtu, Some(1400));
    assert_eq!(client.step(at(150)), Did::Nothing);
}

#[test]
fn silence_is_asked_again_with_growing_pauses() {
    let mut client = client(at(0));
    let mut now = at(0);
    let (_, first) = sent(client.step(now));
    for seconds in RETRIES.iter().chain([&64, &64]) {
        let next = client.deadline().unwrap();
        let pause = next.checked_sub(now).unwrap();
        let around = Duration::from_secs(seconds - 1)..=Duration::from_secs(seconds + 1);
        assert!(around.contains(&pause), "{pause:?} instead of {seconds}");
        assert_eq!(client.step(next.saturating_sub(Duration::from_millis(1))), Did::Nothing);
        let (_, again) = sent(client.step(next));
        assert_eq!((again.say, again.xid), (Say::Discover, first.xid));
        now = next;
    }
    // An offer that is not confirmed is given up for another.
    let did = client.receive(&answer(&first, Say::Offer, 100).encode(), now);
    let (_, mut last) = sent(did);
    for _ in 0..4 {
        assert_eq!(last.say, Say::Request);
        now = client.deadline().unwrap();
        (_, last) = sent(client.step(now));
    }
    assert_eq!(last.say, Say::Discover);
    assert_ne!(last.xid, first.xid);
}

#[test]
fn a_lease_is_renewed_then_with_anybody_then_lost() {
    let (client, lease) = bound(at(1000), 1000);
    // Renewed by its server.
    let mut renewed = client.clone();
    let (to, request) = sent(renewed.step(at(1500)));
    assert_eq!(to, To::Server { from: ADDR, server: DHCPD });
    assert_eq!((request.say, request.ciaddr, request.broadcast), (Say::Request, ADDR, false));
    assert_eq!((request.option(ADDRESS), request.option(SERVER)), (None, None));
    let did = renewed.receive(&answer(&request, Say::Ack, 2000).encode(), at(1501));
    let Did::Bound(longer) = did else { panic!("{did:?}") };
    assert_eq!(longer.times, Some([at(2500), at(3250), at(3500)]));
    assert_eq!(longer.address, lease.address);

    // Silence: again in half of the time until T2, not more often than once a minute; then everybody.
    let mut lost = client.clone();
    sent(lost.step(at(1500)));
    for (next, everybody) in [
        (Duration::from_millis(1_687_500), false),
        (Duration::from_millis(1_781_250), false),
        (Duration::from_millis(1_841_250), false),
        (at(1875), true),
        (Duration::from_millis(1_937_500), true),
        (Duration::from_millis(1_997_500), true),
    ] {
        assert_eq!(lost.deadline(), Some(next));
        let (to, request) = sent(lost.step(next));
        assert_eq!(to == To::EverybodyFrom(ADDR), everybody, "{next:?}");
        assert_eq!(request.ciaddr, ADDR);
        assert_eq!(lost.lease(), Some(&lease));
    }
    assert_eq!(lost.deadline(), Some(at(2000)));
    assert_eq!(lost.step(at(2000)), Did::Lost);
    assert_eq!(lost.lease(), None);
    assert_eq!(sent(lost.step(at(2000))).1.say, Say::Discover);

    // Refused: gone at once, and not asked again at once.
    let mut refused = client.clone();
    let (_, request) = sent(refused.step(at(1500)));
    assert_eq!(refused.receive(&answer(&request, Say::Nak, 0).encode(), at(1501)), Did::Lost);
    assert!(refused.deadline().unwrap() > at(1501));

    // A sleep over everything.
    let mut late = client;
    assert_eq!(late.step(at(9000)), Did::Lost);
}

#[test]
fn a_lease_for_ever_is_left_alone() {
    let (mut client, lease) = bound(at(0), u32::MAX);
    assert_eq!((lease.times, client.deadline()), (None, None));
    assert_eq!(client.step(at(1 << 40)), Did::Nothing);
}

#[test]
fn what_is_given_back() {
    let (mut client, _) = bound(at(0), 100);
    let (to, bytes) = client.release().unwrap();
    let message = Message::decode(&bytes).unwrap();
    assert_eq!(to, To::Server { from: ADDR, server: DHCPD });
    assert_eq!((message.say, message.ciaddr), (Say::Release, ADDR));
    assert_eq!(message.option(SERVER), Some(&DHCPD.octets()[..]));
    assert_eq!(message.option(CLIENT_ID), Some(&b"\0pod/n/eth0"[..]));
    assert_eq!((client.release(), client.deadline(), client.lease()), (None, None, None));
    assert_eq!(client.step(at(1000)), Did::Nothing);
    let mut early = self::client(at(0));
    assert_eq!(early.release(), None);
}

#[test]
fn what_is_not_for_us_or_not_usable_is_dropped() {
    let mut client = client(at(0));
    let (_, discover) = sent(client.step(at(0)));
    let offer = answer(&discover, Say::Offer, 100);
    let drop_option = |code: u8| {
        let mut message = offer.clone();
        message.options.retain(|(other, _)| *other != code);
        message
    };
    for (what, message) in [
        ("another transaction", Message { xid: offer.xid ^ 1, ..offer.clone() }),
        ("another address", Message { mac: [9; 6], ..offer.clone() }),
        ("a request", Message { op: Op::Request, ..offer.clone() }),
        ("an early word", Message { say: Say::Ack, ..offer.clone() }),
        ("a refusal", Message { say: Say::Nak, ..offer.clone() }),
        ("no address", Message { yiaddr: Ipv4Addr::UNSPECIFIED, ..offer.clone() }),
        ("loopback", Message { yiaddr: Ipv4Addr::LOCALHOST, ..offer.clone() }),
        ("multicast", Message { yiaddr: Ipv4Addr::new(224, 0, 0, 1), ..offer.clone() }),
        ("no server", drop_option(SERVER)),
        ("no time", drop_option(LEASE)),
        ("no time at all", answer(&discover, Say::Offer, 0)),
    ] {
        assert_eq!(client.receive(&message.encode(), at(1)), Did::Nothing, "{what}");
    }
    let mut holes = offer.clone();
    holes.options.retain(|(code, _)| *code != MASK);
    holes.options.push((MASK, vec![255, 0, 255, 0]));
    assert_eq!(client.receive(&holes.encode(), at(1)), Did::Nothing);
    let (_, request) = sent(client.receive(&offer.encode(), at(1)));
    // The word of another server does not count.
    for say in [Say::Ack, Say::Nak] {
        let mut other = answer(&request, say, 100);
        other.options[0].1 = vec![10, 0, 0, 66];
        assert_eq!(client.receive(&other.encode(), at(1)), Did::Nothing);
    }
    let refused = client.receive(&answer(&request, Say::Nak, 0).encode(), at(2));
    assert_eq!((refused, client.lease()), (Did::Nothing, None));
    let next = client.deadline().unwrap();
    assert!(next > at(2));
    assert_eq!(sent(client.step(next)).1.say, Say::Discover);
}

#[test]
fn times_of_a_server_that_make_no_sense_are_not_taken() {
    for (first, second, expected) in [
        (Some(10), Some(20), [10_000, 20_000]),
        (Some(20), Some(10), [20_000, 87_500]),
        (Some(0), Some(0), [50_000, 87_500]),
        (Some(100), Some(5000), [50_000, 87_500]),
        (Some(95), None, [95_000, 95_000]),
        (None, Some(60), [50_000, 60_000]),
    ] {
        let mut client = client(at(0));
        let (_, discover) = sent(client.step(at(0)));
        let mut offer = answer(&discover, Say::Offer, 100);
        for (code, value) in [(T1, first), (T2, second)] {
            offer.options.extend(value.map(|value: u32| (code, value.to_be_bytes().to_vec())));
        }
        let (_, _request) = sent(client.receive(&offer.encode(), at(0)));
        offer.say = Say::Ack;
        let did = client.receive(&offer.encode(), at(0));
        let Did::Bound(lease) = did else { panic!("{did:?}") };
        let [one, two, _] = lease.times.unwrap();
        assert_eq!([one, two], expected.map(Duration::from_millis), "{first:?} {second:?}");
    }
}

#[test]
fn routes_of_messages() {
    let shown = |options: &[(u8, &[u8])]| {
        let mut message = Message::request(Say::Ack, 1, MAC);
        message.options = options.iter().map(|(code, value)| (*code, value.to_vec())).collect();
        let one = |route: &Route| match route.gw {
            Some(gw) => format!("{}>{gw}", route.dst),
            None if route.scope == Some(Route::ON_LINK) => format!("{} on the link", route.dst),
            None => route.dst.to_string(),
        };
        message.routes().iter().map(one).collect::<Vec<_>>().join(" ")
    };
    let router: (u8, &[u8]) = (ROUTERS, &[10, 0, 0, 1]);
    for (options, expected) in [
        (vec![], ""),
        (vec![router], "0.0.0.0/0>10.0.0.1"),
        (vec![(ROUTERS, &[10, 0, 0][..])], ""),
        (
            vec![
                router,
                (STATIC_ROUTES, &[10, 9, 9, 9, 10, 0, 0, 2, 0, 0, 0, 0, 10, 0, 0, 3, 7][..]),
            ],
            "10.9.9.9/32>10.0.0.2 0.0.0.0/0>10.0.0.1",
        ),
        // Classless ones say everything. Those on the link come first: others may lead through them.
        (
            vec![
                router,
                (
                    ROUTES,
                    &[0, 10, 0, 0, 9, 9, 10, 128, 10, 0, 0, 8, 32, 1, 2, 3, 4, 0, 0, 0, 0][..],
                ),
            ],
            "1.2.3.4/32 on the link 0.0.0.0/0>10.0.0.9 10.128.0.0/9>10.0.0.8",
        ),
        // Bits behind the prefix do not count.
        (vec![(ROUTES, &[9, 10, 255, 10, 0, 0, 8][..])], "10.128.0.0/9>10.0.0.8"),
        (
            vec![(ROUTES, &[8, 10, 10, 0, 0, 8, 33, 1, 2, 3, 4, 5, 1, 1, 1, 1][..])],
            "10.0.0.0/8>10.0.0.8",
        ),
        (vec![(ROUTES, &[24, 10, 0][..])], ""),
    ] {
        assert_eq!(shown(&options), expected, "{options:?}");
    }
}

#[test]
fn bytes_of_messages() {
    let (_, discover) = sent(client(at(0)).step(at(0)));
    let bytes = discover.encode();
    assert_eq!(bytes.len(), 300);
    assert_eq!(bytes[..4], [1, 1, 6, 0]);
    assert_eq!(bytes[236..240], [99, 130, 83, 99]);
    assert_eq!(Message::decode(&bytes).unwrap(), discover);
    // A long value comes in pieces.
    let long = Message { options: vec![(77, vec![7; 600]), (12, Vec::new())], ..discover };
    assert_eq!(Message::decode(&long.encode()).unwrap(), long);
    let change = |at: usize, byte: u8| {
        let mut other = bytes.clone();
        other[at] = byte;
        Message::decode(&other).unwrap_err()
    };
    assert_eq!(change(0, 3), BadMessage::Kind);
    assert_eq!(change(1, 6), BadMessage::Kind);
    assert_eq!(change(2, 16), BadMessage::Kind);
    assert_eq!(change(236, 0), BadMessage::Cookie);
    assert_eq!(change(242, 9), BadMessage::Type);
    for length in 0..240 {
        Message::decode(&bytes[..length]).unwrap_err();
    }
    let mut cut = bytes[..243].to_vec();
    cut.extend([12, 200, 1]);
    assert_eq!(Message::decode(&cut), Err(BadMessage::Cut(12)));
    cut.truncate(244);
    assert_eq!(Message::decode(&cut), Err(BadMessage::Cut(12)));
    assert_eq!(Message::decode(&[1; 5000]), Err(BadMessage::Size(5000)));
    // Options in the fields for names, the file first.
    let mut overloaded = bytes[..240].to_vec();
    overloaded.extend([53, 1, 2, 52, 1, 3, 12, 1, b'a', 255]);
    overloaded[108..112].copy_from_slice(&[12, 1, b'b', 255]);
    overloaded[44..48].copy_from_slice(&[12, 1, b'c', 255]);
    assert_eq!(Message::decode(&overloaded).unwrap().option(12), Some(&b"abc"[..]));
}

fn identified(ipam: &str, args: &str, container: &str) -> Result<Identity, String> {
    let text = format!(r#"{{"name":"net","type":"macvlan","ipam":{{"type":"dhcp"{ipam}}}}}"#);
    let network = Network::parse(Path::new("n.conf"), text.as_bytes()).unwrap();
    let request = IpamRequest {
        network: network.name(),
        version: network.version(),
        plugin: &network.plugins()[0],
        container,
        ifname: "eth0",
        args: &NetworkArgs::new(args),
        wishes: &Wishes::default(),
    };
    identity(&request, MAC).map_err(|error| error.to_string())
}

#[test]
fn identities() {
    let plain = identified("", "", "pod").unwrap();
    assert_eq!(plain.options, [(61, b"\0pod/net/eth0".to_vec())]);
    assert_eq!(plain.requested, [121, 1, 3, 33, 6, 15, 26]);
    let long = identified("", "", &"c".repeat(300)).unwrap();
    assert_eq!(long.options[0].1.len(), 255);
    let given = identified(
        r#","provide":[{"option":"host-name","fromArg":"POD"},{"option":60,"value":"rkt"},
            {"option":"61","value":"me"},{"option":"user-class","fromArg":"absent"}],
            "request":[{"skipDefault":true},{"option":"subnet-mask"},{"option":"42"}]"#,
        "POD=web",
        "pod",
    )
    .unwrap();
    assert_eq!(given.options, [(12, b"web".to_vec()), (60, b"rkt".to_vec()), (61, b"me".to_vec())]);
    assert_eq!(given.requested, [1, 42]);
    for (ipam, expected) in [
        (r#","provide":[{"value":"x"}]"#, "n.conf: bad ipam.provide[0].option: is missing"),
        (
            r#","provide":[{"option":"53","value":"x"}]"#,
            "n.conf: bad ipam.provide[0].option: \"53\" is no option to set",
        ),
        (
            r#","request":[{"option":255}]"#,
            "n.conf: bad ipam.request[0].option: \"255\" is no option to set",
        ),
        (
            r#","request":[{"option":"nonsense"}]"#,
            "n.conf: bad ipam.request[0].option: \"nonsense\" is no option to set",
        ),
    ] {
        assert_eq!(identified(ipam, "", "pod").unwrap_err(), expected);
    }
}
