//! Network interfaces of a machine of ours, handed to it out of a network namespace: real packets of a real guest, to and from
//! another namespace at the other end. It needs what `machine` needs, and `ip`.

use crate::guest::{Guest, Lab, command, shell};
use crate::machine::{boot_in, run};
use pod_proto::config::{Dialogue, Interface, Network, Route, Setting};
use pod_proto::message::End;
use pod_proto::{FromGuest, FromHost, Process, Stream};
use serde_json::json;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;
use std::time::{Duration, Instant};
use sys::namespace::{Kinds, inside_network, unshare};

/// Bytes of a transfer: many times what is on its way at once.
const LARGE: usize = 6 << 20;
/// How long anything may take: the machine is emulated by one that is emulated.
const PATIENCE: Duration = Duration::from_mins(5);

/// A network namespace that ends with this value.
struct Space(File);

impl Space {
    fn new() -> Self {
        let made = std::thread::spawn(|| {
            unshare(Kinds::NET).unwrap();
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        let space = Self(made.join().unwrap());
        space.ip("link set lo up");
        space
    }

    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    fn inside<T>(&self, what: impl FnOnce() -> T) -> T {
        inside_network(self.0.as_fd(), what).unwrap()
    }

    fn ip(&self, words: &str) -> String {
        self.inside(|| run(Command::new("ip").args(words.split(' '))))
    }

    /// Whether there is such an interface.
    fn has(&self, name: &str) -> bool {
        let links = self.ip("-oneline link show");
        // Where the other end is elsewhere, that follows the name.
        [": ", "@"].iter().any(|end| links.contains(&format!(": {name}{end}")))
    }
}

/// An app that waits until its input ends, and may do anything.
fn waiting() -> serde_json::Value {
    let mut app = shell("a", "cat");
    app["rights"] = json!({ "capabilities": (1_u64 << 41) - 1, "no_new_privileges": false });
    app["dialogue"] = json!("streams");
    app
}

/// Joins two namespaces by an interface each, of this number.
fn join(outside: &Space, pod: &Space, number: u8, mtu: u16) {
    let peer =
        format!("peer name eth{number} address 02:00:00:00:00:0{number} netns {}", pod.path());
    outside.ip(&format!("link add out{number} type veth {peer}"));
    for (space, name, host) in [(outside, "out", 1), (pod, "eth", 2)] {
        space.ip(&format!("link set {name}{number} mtu {mtu} up"));
        space.ip(&format!("address add 10.9.{number}.{host}/24 dev {name}{number}"));
        space.ip(&format!("address add fd09:{number}::{host}/64 dev {name}{number} nodad"));
    }
}

/// What the guest is told of such an interface.
fn interface(number: u8, mtu: u16) -> Interface {
    let network = |address: String, bits| Network { address: address.parse().unwrap(), bits };
    let gateway: IpAddr = format!("10.9.{number}.1").parse().unwrap();
    let to = network(format!("10.7.{number}.0"), 24);
    let route = Route {
        to,
        gateway: Some(gateway),
        source: None,
        metric: Some(5),
        mtu: Some(600),
        onlink: false,
    };
    Interface {
        name: format!("eth{number}"),
        mac: [2, 0, 0, 0, 0, number],
        mtu,
        addresses: vec![
            network(format!("10.9.{number}.2"), 24),
            network(format!("fd09:{number}::2"), 64),
        ],
        routes: vec![route],
    }
}

/// A pod in a machine with interfaces of a namespace.
struct Connected {
    guest: Guest,
    lab: Lab,
    next: u32,
}

impl Connected {
    fn new(pod: &Space, interfaces: Vec<Interface>) -> Self {
        let mut lab = Lab::on_a_machine(&[waiting()]);
        lab.config.writable = 64 << 20;
        let names: Vec<&str> = interfaces.iter().map(|one| one.name.as_str()).collect();
        let environment = [("RKT_NETWORK", pod.path()), ("RKT_INTERFACES", names.join(" "))];
        let mut guest = boot_in(&lab, &environment);
        lab.config.interfaces = interfaces;
        assert_eq!(guest.configure(&lab.config), FromGuest::Ready);
        guest.say(&FromHost::Start);
        Self { guest, lab, next: 0 }
    }

    /// Starts a script in the guest.
    fn start(&mut self, script: &str) -> Process {
        self.next += 1;
        self.guest.say(&command(self.next, &["sh", "-c", script], Dialogue::Silent));
        Process::Exec(self.next)
    }

    /// What a script wrote, which ends well.
    fn said(&mut self, process: Process) -> String {
        let text = self.guest.text(process, Stream::Output);
        assert_eq!(self.guest.end_of(process), End::Code(0), "{text}");
        text
    }

    fn run(&mut self, script: &str) -> String {
        let process = self.start(script);
        self.said(process)
    }

    fn finish(mut self) {
        drop(self.guest.stream(Process::App(0), Stream::Input));
        assert_eq!(self.guest.stopped().1, 0);
        assert_eq!(self.guest.ended(), (0, String::new()));
        drop(self.lab);
    }
}

fn sum(bytes: &[u8]) -> String {
    testkit::oci::digest_of(bytes).trim_start_matches("sha256:").to_owned()
}

/// Bytes that no two packets have in common.
fn large() -> Vec<u8> {
    let mut state = 7_u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..LARGE).map(next).collect()
}

/// Receives all that the guest sends to an address, and compares.
fn from_guest(outside: &Space, pod: &mut Connected, address: &str) {
    let listener = outside.inside(|| TcpListener::bind((address, 0)).unwrap());
    let port = listener.local_addr().unwrap().port();
    let script = format!(
        "dd if=/dev/urandom of=/tmp/x bs=65536 count={} 2>/dev/null; busybox sha256sum < /tmp/x
        busybox nc {address} {port} < /tmp/x",
        LARGE >> 16
    );
    let process = pod.start(&script);
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    drop(stream);
    assert_eq!((bytes.len(), pod.said(process)), (LARGE, format!("{}  -\n", sum(&bytes))));
}

/// Sends to an address of the guest's, and compares.
fn to_guest(outside: &Space, pod: &mut Connected, address: &str) {
    let process = pod.start("busybox nc -l -p 5001 < /dev/null | busybox sha256sum");
    let bytes = large();
    let end = Instant::now() + PATIENCE;
    let mut stream = loop {
        // It does not listen at once.
        match outside.inside(|| TcpStream::connect((address, 5001))) {
            Ok(stream) => break stream,
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
    };
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&bytes).unwrap();
    drop(stream);
    assert_eq!(pod.said(process), format!("{}  -\n", sum(&bytes)));
}

#[test]
#[ignore = "needs a machine with KVM: cargo xtask test --lab"]
fn everything_arrives_by_two_interfaces_of_any_size() {
    let (outside, pod) = (Space::new(), Space::new());
    let sizes = [(0, 1400), (1, 9000)];
    for (number, mtu) in sizes {
        join(&outside, &pod, number, mtu);
    }
    // The names are given to the other devices of the machine, to begin with.
    let interfaces = sizes.iter().rev().map(|(number, mtu)| interface(*number, *mtu)).collect();
    let mut connected = Connected::new(&pod, interfaces);
    // The namespace has nothing to say any more.
    assert_eq!(pod.ip("-oneline address show dev eth0"), "");
    assert!(pod.ip("route show").is_empty() && pod.has("tap0") && pod.has("tap1"));
    for (number, mtu) in sizes {
        let (host, guest) = (format!("10.9.{number}.1"), format!("10.9.{number}.2"));
        let link = connected.run(&format!("busybox ip link show eth{number}"));
        let mac = format!("02:00:00:00:00:0{number}");
        assert!(link.contains(&format!("mtu {mtu} ")) && link.contains(&mac), "{link}");
        let routes = connected.run("busybox ip route");
        let routes = routes.split_whitespace().collect::<Vec<_>>().join(" ");
        let route = format!("10.7.{number}.0/24 via {host} dev eth{number} metric 5");
        assert!(routes.contains(&route), "{routes}");
        // As large as may be, in one piece; and larger, in several.
        for size in [56, mtu - 28, mtu + 1000] {
            connected.run(&format!("busybox ping -c 2 -W 60 -s {size} {host}"));
        }
        connected.run(&format!("busybox ping6 -c 2 -W 60 -s {} fd09:{number}::1", mtu - 48));
        outside
            .inside(|| run(Command::new("busybox").args(["ping", "-c", "2", "-W", "60", &guest])));
        from_guest(&outside, &mut connected, &host);
        to_guest(&outside, &mut connected, &guest);
    }
    from_guest(&outside, &mut connected, "fd09:1::1");
    to_guest(&outside, &mut connected, "fd09:0::2");
    connected.finish();
    assert!(!pod.has("tap0") && !pod.has("tap1") && pod.has("eth0"));
}

#[test]
#[ignore = "needs a machine with KVM: cargo xtask test --lab"]
fn a_flood_holds_nobody_up_and_a_dead_monitor_leaves_no_tap() {
    let (outside, pod) = (Space::new(), Space::new());
    join(&outside, &pod, 0, 1500);
    let mut connected = Connected::new(&pod, vec![interface(0, 1500)]);
    let socket = outside.inside(|| UdpSocket::bind("10.9.0.1:0").unwrap());
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                // Nobody listens, and says so at times.
                drop(socket.send_to(&[7; 1400], "10.9.0.2:9"));
            }
        });
        for _ in 0..3 {
            assert_eq!(connected.run("echo still here"), "still here\n");
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    connected.run("busybox ping -c 2 -W 60 10.9.0.1");
    let monitor = connected.guest.descendants();
    for pid in monitor {
        let process = testkit::wait::pidfd(pid).unwrap();
        sys::process::signal_to(process.as_fd(), 9).unwrap();
        assert!(testkit::wait::readable(process.as_fd(), Instant::now() + PATIENCE));
    }
    let end = Instant::now() + PATIENCE;
    while pod.has("tap0") {
        assert!(Instant::now() < end, "the tap is still there");
        std::thread::yield_now();
    }
    assert!(fs::exists(pod.path()).unwrap() && pod.has("eth0"));
}

#[test]
fn interfaces_become_what_the_host_says() {
    testkit::needs!(Root);
    let space = Space::new();
    // Each has the other one's name.
    for (name, number) in [("eth0", 1), ("eth1", 0)] {
        space.ip(&format!(
            "link add {name} address 02:00:00:00:00:0{number} type veth peer name peer{number}"
        ));
        space.ip(&format!("link set peer{number} up"));
    }
    let mut wanted = [interface(0, 1400), interface(1, 9000)];
    let network = |address: &str, bits| Network { address: address.parse().unwrap(), bits };
    let way = wanted[0].routes[0];
    let gateway = Some("10.9.1.1".parse().unwrap());
    // Everything but the gateway itself by way of it, as on a link between two.
    wanted[1].routes = vec![
        Route { to: network("10.9.1.1", 32), gateway: None, metric: None, mtu: None, ..way },
        Route { to: network("10.9.1.0", 24), gateway, metric: None, mtu: None, ..way },
        Route { to: network("0.0.0.0", 0), gateway, metric: None, mtu: None, ..way },
        Route { to: network("::", 0), gateway: Some("fd09:1::1".parse().unwrap()), ..way },
    ];
    space.inside(|| guest_init::network::connect(&wanted)).unwrap();
    for (number, mtu) in [(0_u8, 1400), (1, 9000)] {
        let link = space.ip(&format!("-oneline link show eth{number}"));
        let mac = format!("02:00:00:00:00:0{number}");
        assert!(link.contains(&format!("mtu {mtu} ")) && link.contains(&mac), "{link}");
        let addresses = space.ip(&format!("-oneline address show dev eth{number}"));
        for Network { address, bits } in &wanted[usize::from(number)].addresses {
            assert!(addresses.contains(&format!("{address}/{bits}")), "{addresses}");
        }
        assert!(!addresses.contains("tentative") && !addresses.contains("dynamic"), "{addresses}");
    }
    let (four, six) = (space.ip("-4 route show"), space.ip("-6 route show default"));
    for route in [
        "10.9.0.0/24 dev eth0 proto kernel",
        "10.7.0.0/24 via 10.9.0.1 dev eth0 metric 5 mtu 600",
        "10.9.1.1 dev eth1 scope link",
        "10.9.1.0/24 via 10.9.1.1 dev eth1",
        "default via 10.9.1.1 dev eth1",
    ] {
        assert!(four.contains(route), "{route}: {four}");
    }
    assert!(
        !four.contains("10.9.1.0/24 dev eth1") && six.contains("via fd09:1::1 dev eth1"),
        "{four}{six}"
    );
    for setting in ["accept_ra", "autoconf", "accept_dad", "dad_transmits"] {
        let path = format!("/proc/sys/net/ipv6/conf/eth0/{setting}");
        assert_eq!(space.inside(|| fs::read_to_string(&path)).unwrap(), "0\n", "{setting}");
    }
    let absent = [Interface { mac: [2, 0, 0, 0, 0, 9], ..interface(2, 1500) }];
    let error = space.inside(|| guest_init::network::connect(&absent)).unwrap_err();
    assert_eq!(error.to_string(), "the machine has no network device for eth2");
    // Another address takes the place of all; then there is none.
    let mut other = Interface { addresses: vec![network("10.9.5.7", 24)], ..wanted[1].clone() };
    other.routes = vec![Route {
        to: network("0.0.0.0", 0),
        gateway: Some("10.9.5.1".parse().unwrap()),
        ..way
    }];
    let shown = || {
        let addresses = space.ip("-brief address show dev eth1 scope global");
        let routes = space.ip("-4 route show dev eth1") + &space.ip("-6 route show dev eth1");
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let routes = routes.lines().filter(|route| !route.starts_with("fe80:"));
        let mut routes: Vec<_> = routes.map(|route| words(route)[..3].join(" ")).collect();
        routes.sort();
        (words(&addresses).into_iter().skip(2).collect(), routes)
    };
    space.inside(|| guest_init::network::change(&other)).unwrap();
    let routes = ["10.9.5.0/24 proto kernel", "default via 10.9.5.1"].map(str::to_owned);
    assert_eq!(shown(), (vec!["10.9.5.7/24".to_owned()], routes.to_vec()));
    (other.addresses, other.routes) = (Vec::new(), Vec::new());
    space.inside(|| guest_init::network::change(&other)).unwrap();
    assert_eq!(shown(), (Vec::new(), Vec::new()));
    assert!(space.ip("-4 route show").contains("10.7.0.0/24 via 10.9.0.1 dev eth0"));
}

#[test]
fn settings_are_those_of_the_network() {
    testkit::needs!(Root);
    let space = Space::new();
    let set = |name: &str| {
        let setting = Setting { path: format!("net/ipv4/conf/lo/{name}"), value: "1".to_owned() };
        space.inside(|| guest_init::network::set(&[setting]))
    };
    set("log_martians").unwrap();
    let martians = || fs::read_to_string("/proc/sys/net/ipv4/conf/lo/log_martians").unwrap();
    assert_eq!(space.inside(martians), "1\n");
    let error = sys::cause::chain(&set("nothing").unwrap_err());
    assert!(error.contains("/proc/sys/net/ipv4/conf/lo/nothing"), "{error}");
}
