//! Interfaces of a network namespace, attached as for a machine: packets come out of the descriptors that a machine would have,
//! and go back by them. Needs root, `ip`, and a kernel with veth and traffic control.
#![expect(clippy::unwrap_used, reason = "a test fails loudly, its helpers too")]

use pod_proto::config::{Interface, Network, Route};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use stage1_kvm::devices::net::Nic;
use stage1_kvm::network::{attach, hand_on, look};
use std::fs::File;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;
use std::time::{Duration, Instant};
use sys::namespace::{Kinds, inside_network, unshare};
use sys::tap::Offloads;

/// Bytes of a header before each packet.
const HEADER: usize = 12;
/// The hardware address of each end.
const OURS: [u8; 6] = [2, 0, 0, 0, 0, 1];
const THEIRS: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// How long a packet may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// After how long it is sent again.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// A network namespace that ends with this value.
struct Space(File);

impl Space {
    fn new() -> Self {
        let made = std::thread::spawn(|| {
            unshare(Kinds::NET).unwrap();
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        Self(made.join().unwrap())
    }

    fn ip(&self, words: &str) -> String {
        let done = inside_network(self.0.as_fd(), || {
            Command::new("ip").args(words.split(' ')).output().unwrap()
        });
        let done = done.unwrap();
        assert!(done.status.success(), "{words}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    }

    /// A socket of this namespace's that waits for nobody for ever.
    fn socket(&self, address: &str) -> UdpSocket {
        let socket = inside_network(self.0.as_fd(), || UdpSocket::bind(address).unwrap()).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        socket.set_broadcast(true).unwrap();
        socket
    }
}

/// Two namespaces with a wire between them, and what is done at the pod's end of it.
fn wired(words: &[&str]) -> (Space, Space) {
    let (outside, pod) = (Space::new(), Space::new());
    let peer = format!("/proc/{}/fd/{}", std::process::id(), pod.0.as_raw_fd());
    outside.ip(&format!(
        "link add out type veth peer name eth0 address 02:00:00:00:00:01 netns {peer}"
    ));
    outside.ip("link set out address 02:00:00:00:00:02 mtu 1400 up");
    outside.ip("address add 10.9.0.1/24 dev out");
    outside.ip("neighbour add 10.9.0.2 lladdr 02:00:00:00:00:01 dev out");
    for words in words {
        pod.ip(words);
    }
    (outside, pod)
}

/// A datagram between ports 9, as it is on the wire.
fn frame(text: &[u8]) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap();
    let mut ip = vec![0x45, 0];
    ip.extend((length + 28).to_be_bytes());
    ip.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    ip.extend(Ipv4Addr::new(10, 9, 0, 2).octets());
    ip.extend(Ipv4Addr::new(10, 9, 0, 1).octets());
    let sum = ip.chunks(2).map(|two| u32::from(two[0]) << 8 | u32::from(two[1])).sum::<u32>();
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let ports = [9_u16, 9, length + 8, 0].map(u16::to_be_bytes).concat();
    [&[0; HEADER][..], &THEIRS, &OURS, &[8, 0], &ip, &ports, text].concat()
}

/// The next packet that has this in it, while `send` has it sent again: the kernel drops what comes before it has noticed that
/// an interface is up.
fn hear(nic: &Nic, text: &[u8], send: impl Fn()) -> Vec<u8> {
    let end = Instant::now() + PATIENCE;
    loop {
        let mut waits = [PollFd::new(&nic.tap, PollFlags::IN)];
        if poll(&mut waits, Some(&PAUSE)).unwrap() == 0 {
            assert!(Instant::now() < end, "nothing comes");
            send();
            continue;
        }
        let mut bytes = vec![0; 70_000];
        let Ok(length) = rustix::io::read(&nic.tap, &mut bytes) else { continue };
        bytes.truncate(length);
        if bytes.windows(text.len()).any(|part| part == text) {
            return bytes;
        }
    }
}

/// Packets go both ways by the descriptor.
fn speaks(outside: &Space, nic: &Nic) {
    let socket = outside.socket("10.9.0.1:9");
    let send = || assert_eq!(socket.send_to(b"to the guest", "10.9.0.2:9").unwrap(), 12);
    send();
    let heard = hear(nic, b"to the guest", send);
    // Whole and summed, for a guest that has agreed on nothing.
    assert_eq!(
        (&heard[..10], &heard[HEADER..HEADER + 12]),
        (&[0; 10][..], &[OURS, THEIRS].concat()[..])
    );
    let sent = frame(b"from the guest");
    assert_eq!(rustix::io::write(&nic.tap, &sent).unwrap(), sent.len());
    let mut bytes = [0; 100];
    let (length, from) = socket.recv_from(&mut bytes).unwrap();
    assert_eq!(
        (&bytes[..length], from.to_string()),
        (&b"from the guest"[..], "10.9.0.2:9".to_owned())
    );
}

#[test]
fn an_interface_is_what_its_maker_left_and_then_the_guests() {
    let (outside, pod) = wired(&[
        "link set lo up",
        "link set eth0 mtu 1400 up",
        "address add 10.9.0.2/24 dev eth0",
        "address add fd09::2/64 dev eth0 nodad",
        "route add default via 10.9.0.1 metric 7",
        "route add 10.7.0.0/16 via 10.9.0.1 mtu 1000",
    ]);
    let found = look(pod.0.as_fd(), ["eth0"]).unwrap();
    let network = |text: &str, bits| Network { address: text.parse().unwrap(), bits };
    let to = |text, bits| Route {
        to: network(text, bits),
        gateway: None,
        source: None,
        metric: None,
        mtu: None,
        onlink: false,
    };
    let gateway = Some("10.9.0.1".parse().unwrap());
    let [Interface { name, mac, mtu, addresses, routes }] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!((name.as_str(), *mac, *mtu), ("eth0", OURS, 1400));
    assert_eq!(addresses, &[network("10.9.0.2", 24), network("fd09::2", 64)]);
    let source = Some("10.9.0.2".parse().unwrap());
    for expected in [
        Route { source, ..to("10.9.0.0", 24) },
        Route { gateway, metric: Some(7), ..to("0.0.0.0", 0) },
        Route { gateway, mtu: Some(1000), ..to("10.7.0.0", 16) },
    ] {
        assert!(routes.contains(&expected), "{routes:#?}");
    }
    let mut nics = attach(pod.0.as_fd(), &found).unwrap();
    let nic = nics.remove(0);
    assert_eq!((nic.address, nic.mtu), (OURS, 1400));
    let tcp = Offloads::CHECKSUM.or(Offloads::TCP4).or(Offloads::TCP6).or(Offloads::ECN);
    assert_eq!(nic.offloads.and(tcp), tcp);
    // The namespace has nothing to say any more, and does not answer.
    assert_eq!(pod.ip("-oneline address show dev eth0"), "");
    assert_eq!((pod.ip("route show"), pod.ip("-6 route show dev eth0")), <_>::default());
    assert!(pod.ip("link show tap0").contains("mtu 1400"));
    speaks(&outside, &nic);
    // What it is given later is handed on, too.
    pod.ip("address add 10.9.0.3/24 dev eth0");
    pod.ip("route add default via 10.9.0.1");
    let later = hand_on(pod.0.as_fd(), "eth0").unwrap();
    assert_eq!((later.mac, later.addresses), (OURS, vec![network("10.9.0.3", 24)]));
    assert_eq!(later.routes.last().unwrap().gateway, gateway);
    assert_eq!(pod.ip("-oneline address show dev eth0") + &pod.ip("route"), "");
    drop(nic);
    // It goes with the descriptor, of which a program that another test starts has a copy for a moment; the interface stays.
    let end = Instant::now() + PATIENCE;
    while pod.ip("-oneline link show").contains("tap0") {
        assert!(Instant::now() < end, "the tap stays");
    }
    assert!(pod.ip("-oneline link show").contains("eth0"));
    let again = attach(pod.0.as_fd(), &found).unwrap_err();
    assert!(again.to_string().contains("qdisc"), "{again}");
}

#[test]
fn an_interface_that_is_a_tap_is_opened() {
    let (outside, pod) = wired(&[
        "link set eth0 name below address 02:00:00:00:00:03 mtu 1400 promisc on up",
        "link add link below name eth0 address 02:00:00:00:00:01 type macvtap mode bridge",
        "address add 10.9.0.2/24 dev eth0",
    ]);
    let found = look(pod.0.as_fd(), ["eth0"]).unwrap();
    assert_eq!((found[0].mac, found[0].mtu), (OURS, 1400));
    let nics = attach(pod.0.as_fd(), &found).unwrap();
    speaks(&outside, &nics[0]);
    let links = pod.ip("-oneline link show");
    assert!(!links.contains("tap0"), "{links}");
    assert_eq!(pod.ip("-oneline address show dev eth0"), "");
}

#[test]
fn what_cannot_be_attached_is_named() {
    let (_outside, pod) = wired(&[]);
    let look = |name| look(pod.0.as_fd(), [name]).unwrap_err().to_string();
    assert_eq!(look("eth7"), "the pod's network namespace has no interface eth7");
    assert!(look("a name that is far too long").contains("name"));
    let one = stage1_kvm::network::look(pod.0.as_fd(), ["eth0"]).unwrap();
    let many = vec![one[0].clone(); 9];
    let error = attach(pod.0.as_fd(), &many).unwrap_err();
    assert_eq!(error.to_string(), "a machine has at most 8 network interfaces");
    assert!(attach(pod.0.as_fd(), &[]).unwrap().is_empty());
}
