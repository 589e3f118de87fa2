//! Networks of pods: what a pod reaches, who reaches it, and what is left.
//!
//! Each test has hosts of its own: one on which rkt runs, and one outside, wired to it.

use serde_json::{Value, json};
use testkit::flavour::{Can, each};
use testkit::{Flavour, Host, Image, Output, Rkt, Running};

/// The host on which rkt runs, one outside, and a sandbox.
pub(crate) struct Site {
    // First: its pods end while there are hosts.
    pub(crate) rkt: Rkt,
    pub(crate) host: Host,
    pub(crate) outside: Host,
}

pub(crate) const HOST: &str = "10.99.0.1";
pub(crate) const OUTSIDE: &str = "10.99.0.2";

impl Site {
    pub(crate) fn new() -> Self {
        let (host, outside) = (Host::new(), Host::new());
        host.wire(
            &outside,
            "up0",
            &[&format!("{HOST}/24"), "fd99::1/64"],
            &[&format!("{OUTSIDE}/24"), "fd99::2/64"],
        );
        host.sh(&format!(
            "ip route add default via {OUTSIDE}; ip -6 route add default via fd99::2"
        ));
        let rkt = Rkt::on(&host);
        Self { rkt, host, outside }
    }

    /// A network of the administrator's.
    pub(crate) fn network(&self, file: &str, content: &Value) {
        self.rkt.configure("local", &format!("net.d/{file}"), content);
    }

    /// Runs a script in a pod on these networks, to its end.
    #[track_caller]
    pub(crate) fn pod(&self, flavour: &Flavour, net: &str, script: &str) -> Output {
        self.pod_with(flavour, &[&format!("--net={net}")], script)
    }

    /// The same with these flags.
    #[track_caller]
    pub(crate) fn pod_with(&self, flavour: &Flavour, flags: &[&str], script: &str) -> Output {
        let mut words = vec!["--insecure-options=image", "run"];
        words.extend(flavour.select);
        words.extend(flags);
        let image = self.image();
        words.extend([&*image, "--", script]);
        self.rkt.run(&words)
    }

    /// Starts a pod that serves a page, and waits until it does.
    #[track_caller]
    pub(crate) fn server(&self, flavour: &Flavour, flags: &[&str]) -> (Running, String) {
        let flavour = Flavour { net: &[], ..*flavour };
        let image = self.image();
        let mut words: Vec<&str> = flags.to_vec();
        let script = "mkdir -p /www; echo hello from $(hostname) > /www/index.html; \
             httpd -p 80 -h /www && echo up; exec sleep 1000";
        words.extend([&*image, "--", script]);
        self.rkt.start_pod(&flavour, &words)
    }

    /// A shell with ports `http` and `dns`.
    pub(crate) fn image(&self) -> String {
        let path = self.rkt.path("ports.aci");
        if path.exists() {
            return self.rkt.word("ports.aci");
        }
        let port = |name: &str, protocol: &str, number: u16| json!({"name": name, "protocol": protocol, "port": number, "count": 1, "socketActivated": false});
        let ports = json!([port("http", "tcp", 80), port("dns", "udp", 53)]);
        self.rkt.image(&Image::shell("ports").app("ports", ports))
    }

    /// The same with `socat`.
    pub(crate) fn image_with_socat(&self) -> String {
        let port = json!([{"name": "dns", "protocol": "udp", "port": 53, "count": 1, "socketActivated": false}]);
        self.rkt.image(&Image::shell("socat").with_program("/usr/bin/socat").app("ports", port))
    }

    /// A page that the outside serves on port 8000, while what is returned lives.
    pub(crate) fn page_outside(&self) -> Running {
        let folder = self.rkt.folder("outside");
        std::fs::write(self.rkt.path("outside/index.html"), "from outside\n").unwrap();
        serve(&self.outside, "8000", &folder)
    }
}

/// Serves a folder's files on a port, or an address and a port, while what is returned lives.
pub(crate) fn serve(host: &Host, port: &str, folder: &str) -> Running {
    let running = host.start(&format!("exec busybox httpd -f -p {port} -h {folder}"));
    let number = port.rsplit(':').next().unwrap();
    host.sh(&format!("until busybox nc -w 1 127.0.0.1 {number} </dev/null; do :; done"));
    running
}

/// A shell's words that fetch a page's last line from `ADDRESS:PORT`, of which brackets may be around the address.
pub(crate) fn fetch(from: &str) -> String {
    let (address, port) = from.rsplit_once(':').unwrap();
    let address = address.trim_start_matches('[').trim_end_matches(']');
    format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | busybox nc -w 3 {address} {port} | tail -n 1")
}

#[track_caller]
pub(crate) fn reaches(host: &Host, address: &str) {
    let page = host.attempt(&fetch(address));
    assert!(page.stdout.starts_with("hello from"), "{address}: {page:#?}");
}

#[track_caller]
pub(crate) fn does_not_reach(host: &Host, address: &str) {
    let page = host.attempt(&fetch(address));
    assert!(!page.stdout.contains("hello"), "{address}: {page:#?}");
}

/// What a pod asks to see its interfaces by.
pub(crate) const ADDRESSES: &str =
    "ls /sys/class/net | tr '\\n' ' '; ip -4 -o addr show scope global | awk '{print $2,$4}'";

#[test]
fn the_default_network_hides_the_pod_behind_the_host() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        let before = site.host.state();
        let page = site.page_outside();
        let script = format!(
            "{ADDRESSES}; ip route | head -1; ping -c 1 -W 3 172.16.28.1 >/dev/null && echo gateway; \
             {}",
            fetch(&format!("{OUTSIDE}:8000"))
        );
        let output = site.pod(flavour, "default", &script).ok();
        assert_eq!(
            output.lines(),
            [
                "eth0 lo eth0 172.16.28.2/24",
                "default via 172.16.28.1 dev eth0 ",
                "gateway",
                "from outside"
            ]
        );
        drop(page);
        unchanged(&site, &before);
    });
}

/// Insists that a pod's end has left nothing, but for what the kernel still takes apart.
#[track_caller]
pub(crate) fn unchanged(site: &Site, before: &str) {
    let end = std::time::Instant::now() + testkit::wait::deadline();
    loop {
        let now = site.host.state();
        if now == before {
            return;
        }
        assert!(std::time::Instant::now() < end, "before:\n{before}\nnow:\n{now}");
    }
}

#[test]
fn the_restricted_network_has_no_way_out() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        let page = site.page_outside();
        let script = format!(
            "{ADDRESSES}; ping -c 1 -W 3 172.31.0.1 >/dev/null && echo host; \
             {}; echo end",
            fetch(&format!("{OUTSIDE}:8000"))
        );
        let output = site.pod(flavour, "default-restricted", &script).ok();
        assert_eq!(output.lines(), ["eth0 lo eth0 172.31.0.2/16", "host", "end"]);
        drop(page);
    });
}

#[test]
fn only_named_networks_are_joined_in_the_order_of_their_files() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        let ptp = |name: &str, subnet: &str| json!({"name": name, "type": "ptp", "ipam": {"type": "host-local", "subnet": subnet}});
        site.network("20-a.conf", &ptp("a", "10.20.0.0/24"));
        site.network("10-b.conf", &ptp("a-name-longer-than-that-of-an-interface", "10.10.0.0/24"));
        let output = site.pod(flavour, "a", ADDRESSES).ok();
        assert_eq!(output.lines(), ["eth0 lo eth0 10.20.0.2/24"]);
        let both = "a,a-name-longer-than-that-of-an-interface";
        let output = site.pod(flavour, both, ADDRESSES).ok();
        assert_eq!(output.lines(), ["eth0 eth1 lo eth0 10.10.0.2/24", "eth1 10.20.0.3/24"]);
        let output = site.pod(flavour, "all", "ls /sys/class/net | wc -l").ok();
        assert_eq!(output.text(), "5");
        site.pod(flavour, "a,nope", "true").refuses("networks not found: [nope]");
        site.pod(flavour, "a,a", "true").refuses("found duplicate netname \"a\"");
        assert!(!site.rkt.data.join("pods/run").read_dir().unwrap().any(|e| {
            let name = e.unwrap().file_name();
            site.rkt.status(name.to_str().unwrap())["state"] == "running"
        }));
    });
}

#[test]
fn a_broken_file_spoils_only_its_network() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        let conf = site.rkt.top.join("local/net.d");
        std::fs::create_dir_all(&conf).unwrap();
        std::fs::write(conf.join("10-bad.conf"), r#"{"name": "bad", "type": 7}"#).unwrap();
        std::fs::write(conf.join("11-worse.conf"), "{").unwrap();
        site.network(
            "20-mtu.conf",
            &json!({"name": "mtu", "type": "ptp", "mtu": "big",
            "ipam": {"type": "host-local", "subnet": "10.3.0.0/24"}}),
        );
        let output = site.pod(flavour, "default", "echo fine").ok();
        assert_eq!(output.text(), "fine");
        assert!(output.stderr.contains("10-bad.conf"), "{output:#?}");
        site.pod(flavour, "bad", "true").refuses("type");
        let output = site.pod(flavour, "mtu", "true").code(254);
        assert!(
            output.stderr.contains("20-mtu.conf") && output.stderr.contains("mtu"),
            "{output:#?}"
        );
    });
}

#[test]
fn networks_of_every_type_give_addresses() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        let host_local = |subnet: &str| json!({"type": "host-local", "subnet": subnet, "routes": [{"dst": "0.0.0.0/0"}]});
        site.network(
            "1.conf",
            &json!({"name": "p", "type": "ptp", "ipMasq": true, "mtu": 1400,
            "ipam": host_local("10.1.1.0/24")}),
        );
        site.network(
            "2.conf",
            &json!({"name": "b", "type": "bridge", "bridge": "br7", "isGateway": true,
            "ipMasq": true, "mtu": 1460, "addIf": "true", "ipam": host_local("10.1.2.0/24")}),
        );
        site.network(
            "3.conf",
            &json!({"name": "m", "type": "macvlan", "master": "up0",
            "ipam": {"type": "host-local", "subnet": "10.99.0.0/24", "rangeStart": "10.99.0.100"}}),
        );
        let page = site.page_outside();
        for (net, address, mtu) in [
            ("p", "10.1.1.2/24", "1400"),
            ("b", "10.1.2.2/24", "1460"),
            ("m", "10.99.0.100/24", "1500"),
        ] {
            let script = format!(
                "{ADDRESSES}; cat /sys/class/net/eth0/mtu; {}",
                fetch(&format!("{OUTSIDE}:8000"))
            );
            let output = site.pod(flavour, net, &script).ok();
            let first = format!("eth0 lo eth0 {address}");
            assert_eq!(output.lines(), [&*first, mtu, "from outside"], "{net}");
        }
        drop(page);
        // A bridge stays, empty.
        assert!(site.host.sh("ip -o link show master br7").is_empty());
        assert!(site.host.sh("ip -o -4 addr show br7").contains("10.1.2.1/24"));
    });
}

#[test]
fn kinds_of_interfaces_that_not_every_kernel_has() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        let ipam = |subnet: &str, first: &str| json!({"type": "host-local", "subnet": subnet, "rangeStart": first});
        site.network(
            "1.conf",
            &json!({"name": "ipvlan", "type": "ipvlan", "master": "up0", "ipam": ipam("10.99.0.0/24", "10.99.0.120")}),
        );
        site.network(
            "2.conf",
            &json!({"name": "vlan", "type": "vlan", "master": "up0", "vlanId": 7, "ipam": ipam("10.77.0.0/24", "10.77.0.2")}),
        );
        let page = site.page_outside();
        for (kind, words, page_at, address) in [
            ("ipvlan", "ipvlan", OUTSIDE, "10.99.0.120/24"),
            ("vlan", "vlan id 9", "10.77.0.1", "10.77.0.2/24"),
        ] {
            let probe = format!("ip link add probe link up0 type {words} && ip link del probe");
            if site.host.attempt(&probe).code != Some(0) {
                // The lab's kernel has both.
                assert!(std::env::var_os("LAB").is_none(), "no {kind}");
                println!("no {kind} here");
                continue;
            }
            if kind == "vlan" {
                site.outside.sh(
                    "ip link add up0.7 link up0 type vlan id 7; ip addr add 10.77.0.1/24 dev up0.7; ip link set up0.7 up",
                );
            }
            let script = format!("{ADDRESSES}; {}", fetch(&format!("{page_at}:8000")));
            let output = site.pod(flavour, kind, &script).ok();
            assert_eq!(
                output.lines(),
                [&*format!("eth0 lo eth0 {address}"), "from outside"],
                "{kind}"
            );
        }
        drop(page);
    });
}

#[test]
fn settings_of_a_network_hold_in_the_pod() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        let tuned = |program: bool, settings: Value| {
            let ipam = json!({"type": "host-local", "subnet": "10.1.1.0/24"});
            let plugins = json!([{"type": "ptp", "ipam": ipam},
                {"type": "tuning", "rkt.program": program, "mtu": 1300, "sysctl": settings}]);
            let list = json!({"name": "tuned", "cniVersion": "1.0.0", "plugins": plugins});
            site.network("1.conflist", &list);
        };
        tuned(false, json!({"net.ipv4.conf.eth0.log_martians": "1", "net/core/somaxconn": "77"}));
        let show = "cat /sys/class/net/eth0/mtu; cd /proc/sys/net; cat ipv4/conf/eth0/log_martians core/somaxconn";
        let output = site.pod(flavour, "tuned", show).ok();
        assert_eq!(output.lines(), ["1300", "1", "77"]);
        tuned(false, json!({"net.core.nothing": "1"}));
        site.pod(flavour, "tuned", "true").refuses("net/core/nothing");
        // The distribution's plugin does the same.
        tuned(true, json!({"net.ipv4.conf.eth0.log_martians": "1", "net.core.somaxconn": "78"}));
        let image = site.image();
        let words = ["--net=tuned", &*image, "--", show];
        let words = Rkt::run_words(&Flavour { net: &[], ..*flavour }, &words);
        let mut command = site.rkt.command(&words);
        let output = site.rkt.finish(command.env("CNI_PATH", "/usr/lib/cni")).ok();
        assert_eq!(output.lines(), ["1300", "1", "78"]);
    });
}

#[test]
fn an_address_can_be_asked_for() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        let (first, _) = site.server(flavour, &["--net=default:IP=172.16.28.77"]);
        reaches(&site.host, "172.16.28.77:80");
        site.pod(flavour, "default:IP=172.16.28.77", "true")
            .refuses("requested IP address \"172.16.28.77\" is not available in network: default");
        site.pod(flavour, "default:IP=10.0.0.1", "true").code(254);
        drop(first);
    });
}

#[test]
fn a_hardware_address_can_be_asked_for() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        let ipam =
            json!({"type": "host-local", "subnet": "10.99.0.0/24", "rangeStart": "10.99.0.100"});
        let macvlan = |more: Value| {
            let mut conf = json!({"name": "m", "type": "macvlan", "master": "up0", "ipam": ipam});
            conf.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            site.network("1.conf", &conf);
        };
        macvlan(json!({}));
        for net in ["default", "m"] {
            let net = format!("{net}:MAC=0a:11:22:33:44:55");
            let output = site.pod(flavour, &net, "cat /sys/class/net/eth0/address").ok();
            assert_eq!(output.text(), "0a:11:22:33:44:55", "{net}");
        }
        site.pod(flavour, "default:MAC=nonsense", "true").refuses("nonsense");
        // What would have no effect is refused.
        macvlan(json!({"bcqueuelen": 5000}));
        site.pod(flavour, "m", "true").refuses("bcqueuelen: is not supported");
        for (more, problem) in [
            (json!({"enabledad": true}), "enabledad"),
            (json!({"vlan": 7, "isGateway": true}), "isGateway together with vlan"),
        ] {
            let mut conf = json!({"name": "b", "type": "bridge", "bridge": "brv", "ipam": {"type": "host-local", "subnet": "10.5.0.0/24"}});
            conf.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            site.network("2.conf", &conf);
            site.pod(flavour, "b", "true").refuses(&format!("{problem}: is not supported"));
        }
    });
}

#[test]
fn the_default_network_can_be_another() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        site.network("99-network.conf", &json!({"name": "default", "type": "ptp", "ipMasq": false,
            "ipam": {"type": "host-local", "subnet": "172.30.0.0/24", "routes": [{"dst": "0.0.0.0/0"}]}}));
        let output = site.pod(flavour, "default", ADDRESSES).ok();
        assert_eq!(output.lines(), ["eth0 lo eth0 172.30.0.2/24"]);
    });
}

#[test]
fn pods_reach_each_other() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        site.network(
            "b.conf",
            &json!({"name": "b", "type": "bridge", "isDefaultGateway": true,
            "ipam": {"type": "host-local", "subnet": "10.5.0.0/24"}}),
        );
        for (net, address) in [("default", "172.16.28.2"), ("b", "10.5.0.2")] {
            let (server, uuid) = site.server(flavour, &[&format!("--net={net}")]);
            let script = fetch(&format!("{address}:80"));
            let output = site.pod(flavour, net, &script).ok();
            assert!(output.stdout.starts_with("hello"), "{net}: {output:#?}");
            site.rkt.run(&["stop", "--force", &uuid]).ok();
            drop(server);
        }
    });
}

#[test]
fn ports_are_reached_from_everywhere() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        site.host.sh("ip addr add 10.98.0.1/24 dev up0");
        let before = site.host.state();
        let (server, uuid) = site.server(flavour, &["--port=http:8080"]);
        reaches(&site.outside, &format!("{HOST}:8080"));
        reaches(&site.host, &format!("{HOST}:8080"));
        reaches(&site.host, "127.0.0.1:8080");
        reaches(&site.host, "10.98.0.1:8080");
        reaches(&site.host, "172.16.28.2:80");
        // The pod itself, and another, by the host's address.
        let by_host = fetch(&format!("{HOST}:8080"));
        let own = site.rkt.run(&["enter", &uuid, "sh", "-c", &by_host]);
        assert!(own.stdout.starts_with("hello"), "{own:#?}");
        let other = site.pod(flavour, "default", &by_host).ok();
        assert!(other.stdout.starts_with("hello"), "{other:#?}");
        site.rkt.run(&["stop", "--force", &uuid]).ok();
        drop(server.wait());
        does_not_reach(&site.host, "127.0.0.1:8080");
        unchanged(&site, &before);
    });
}

#[test]
fn a_port_on_loopback_is_not_reached_by_a_forged_route() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        let (server, _) = site.server(flavour, &["--port=http:127.0.0.1:8080"]);
        reaches(&site.host, "127.0.0.1:8080");
        site.outside.sh(&format!(
            "sysctl -qw net.ipv4.conf.all.route_localnet=1 net.ipv4.conf.up0.route_localnet=1; \
             ip rule add from all lookup 99 pref 1; ip rule del pref 0; ip rule add pref 2 lookup local; \
             ip route add 127.0.0.1 via {HOST} dev up0 src {OUTSIDE} table 99"
        ));
        does_not_reach(&site.outside, "127.0.0.1:8080");
        drop(server);
    });
}

#[test]
fn a_pod_does_not_pass_for_the_host_itself() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        // With a port, the host takes packets of loopback addresses from the pod's interface: they answer the host's own.
        let flavour = Flavour { net: &[], ..*flavour };
        let words =
            ["--port=dns:5353", &*site.image_with_socat(), "--", "echo up; exec sleep 1000"];
        let (server, uuid) = site.rkt.start_pod(&flavour, &words);
        let service = site.host.start("echo listening; exec socat -u UDP-RECV:7777 STDOUT");
        service.says("listening");
        site.host.sh("until ss -lun | grep -q :7777; do :; done");
        // An app may write whole packets, as the last of them shows.
        let forge_to = |text: &str, from: [u8; 4], to: [u8; 4]| {
            let packet = datagram(text, from, to);
            format!("printf '{}' | socat -u - IP4-SENDTO:172.16.28.1:255", octal(&packet))
        };
        let forge = |text: &str, from: [u8; 4]| forge_to(text, from, [172, 16, 28, 1]);
        // Nor does a pod reach what the host has on loopback alone.
        let script = format!(
            "set -e; for try in 1 2 3; do {}; {}; {}; done; {}; {}",
            forge_to("to-loopback\n", [172, 16, 28, 2], [127, 0, 0, 1]),
            forge("forged-127.0.0.2\n", [127, 0, 0, 2]),
            forge("forged-127.1.2.3\n", [127, 1, 2, 3]),
            forge("whole\n", [172, 16, 28, 2]),
            "echo honest | socat -u - UDP-SENDTO:172.16.28.1:7777"
        );
        site.rkt.run(&["enter", &uuid, "sh", "-c", &script]).ok();
        let heard = service.says("honest");
        assert_eq!(heard.lines().collect::<Vec<_>>(), ["listening", "whole", "honest"]);
        drop(server);
    });
}

/// A packet of IPv4: a datagram from port 9 to port 7777. The kernel sums it up.
fn datagram(text: &str, from: [u8; 4], to: [u8; 4]) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap() + 8;
    let head = [0x45, 0, 0, 20 + length, 0, 0, 0, 0, 64, 17, 0, 0];
    let ports = [0, 9, 0x1e, 0x61, 0, length, 0, 0];
    [&head[..], &from, &to, &ports, text.as_bytes()].concat()
}

/// Bytes as the words of `printf`.
pub(crate) fn octal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\{byte:03o}")).collect::<Vec<_>>().concat()
}

#[test]
fn a_bridge_takes_loopback_addresses_only_while_ports_lead_to_it() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        site.network(
            "b.conf",
            &json!({"name": "b", "type": "bridge", "bridge": "brl", "isGateway": true, "ipMasq": true,
                "ipam": {"type": "host-local", "subnet": "10.5.0.0/24"}}),
        );
        let setting = || site.host.sh("cat /proc/sys/net/ipv4/conf/brl/route_localnet");
        let (first, one) = site.server(flavour, &["--net=b", "--port=http:8080"]);
        let (second, two) = site.server(flavour, &["--net=b", "--port=http:8081"]);
        reaches(&site.host, "127.0.0.1:8080");
        site.rkt.run(&["stop", "--force", &one]).ok();
        drop(first.wait());
        assert_eq!(setting(), "1\n");
        reaches(&site.host, "127.0.0.1:8081");
        site.rkt.run(&["stop", "--force", &two]).ok();
        drop(second.wait());
        assert_eq!(setting(), "0\n");
    });
}

/// What those do who manage rules with iptables.
const MANAGE: &str = "iptables-nft -S; ip6tables-nft -S; iptables-nft-save 2>&1; iptables-nft -N somebody; iptables-nft -X somebody";

#[test]
fn ports_are_reached_where_packets_are_dropped() {
    each(&[Can::Networks], |flavour| {
        for drop_all in [
            "iptables-nft -P FORWARD DROP; ip6tables-nft -P FORWARD DROP",
            "iptables-nft -A FORWARD -j REJECT",
            "iptables-legacy -P FORWARD DROP",
        ] {
            let site = Site::new();
            site.host.sh(drop_all);
            site.host.sh(MANAGE);
            let before = site.host.state();
            let legacy = site
                .host
                .sh("iptables-legacy-save 2>/dev/null | grep -v '^#' | sed 's/\\[.*//' || true");
            let page = site.page_outside();
            let (server, uuid) = site.server(flavour, &["--port=http:8080"]);
            reaches(&site.outside, &format!("{HOST}:8080"));
            let out = fetch(&format!("{OUTSIDE}:8000"));
            let page_seen = site.rkt.run(&["enter", &uuid, "sh", "-c", &out]);
            assert_eq!(page_seen.text(), "from outside", "{drop_all}: {page_seen:#?}");
            // Whoever manages the host's rules with iptables still can.
            let rules = site.host.sh(MANAGE);
            assert!(!rules.contains("incompatible"), "{drop_all}: {rules}");
            assert!(!rules.contains("-m state"), "it could not be restored: {rules}");
            site.rkt.run(&["stop", "--force", &uuid]).ok();
            drop((server.wait(), page));
            unchanged(&site, &before);
            let now = site
                .host
                .sh("iptables-legacy-save 2>/dev/null | grep -v '^#' | sed 's/\\[.*//' || true");
            assert_eq!(legacy, now);
        }
    });
}

#[test]
fn who_goes_on_sending_reaches_the_pod_that_has_the_port_now() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        let flavour = Flavour { net: &[], ..*flavour };
        // Somebody's rules have the kernel keep track of flows also where no pod has any.
        site.host.sh(
            "nft 'table ip other { chain c { type nat hook prerouting priority -100; ct state new accept; }; }'",
        );
        let image = site.image_with_socat();
        // Always from one port, and never hearing that there is nobody.
        let client = site.outside.start(&format!(
            "while echo tick; do sleep 0.02; done | socat -u - UDP-SENDTO:{HOST}:5353,sourceport=4444"
        ));
        let listen = "echo up; exec socat -u UDP-RECV:53 STDOUT";
        for _ in 0..3 {
            let words = ["--port=dns:5353", &*image, "--", listen];
            let (server, uuid) = site.rkt.start_pod(&flavour, &words);
            server.says("tick");
            site.rkt.run(&["stop", "--force", &uuid]).ok();
            drop(server.wait());
        }
        drop(client);
    });
}

#[test]
fn a_name_server_comes_from_a_network() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        site.network("1.conf", &json!({"name": "a", "type": "ptp",
            "dns": {"nameservers": ["10.6.0.53"], "search": ["a.example"], "options": ["ndots:3"], "domain": "d.example"},
            "ipam": {"type": "host-local", "subnet": "10.6.0.0/24"}}));
        let show = "cat /etc/resolv.conf";
        let output = site.pod(flavour, "a", show).ok();
        let lines: Vec<_> = output.lines().into_iter().filter(|l| !l.is_empty()).collect();
        assert!(lines[0].starts_with('#') && lines[0].ends_with(" a"), "{lines:?}");
        assert_eq!(
            lines[1..],
            ["search a.example", "nameserver 10.6.0.53", "options ndots:3", "domain d.example"]
        );
        let said = site.pod_with(flavour, &["--net=a", "--dns=8.8.8.8"], show);
        assert_eq!(said.ok().stdout, "# Generated by rkt run\n\nnameserver 8.8.8.8\n");
        let show = "cat /etc/resolv.conf 2>/dev/null; echo end";
        let none = site.pod_with(flavour, &["--net=a", "--dns=none"], show);
        assert_eq!(none.ok().text(), "end");
    });
}

#[test]
fn both_versions_of_ip_work_alike() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        site.network(
            "6.conf",
            &json!({"name": "both", "type": "bridge", "bridge": "br6",
            "isDefaultGateway": true, "ipMasq": true, "ipam": {"type": "host-local", "ranges": [
                [{"subnet": "10.66.0.0/24"}], [{"subnet": "fd66::/64"}]]}}),
        );
        site.network("7.conf", &json!({"name": "ptp6", "type": "ptp", "ipMasq": true,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": "fd67::/64"}]], "routes": [{"dst": "::/0"}]}}));
        let before = site.host.sh("nft list ruleset; ls /run/netns");
        let (server, uuid) = site.server(flavour, &["--net=both:IP6=fd66::42", "--port=http:8080"]);
        reaches(&site.host, "10.66.0.2:80");
        reaches(&site.host, "[fd66::42]:80");
        reaches(&site.outside, &format!("{HOST}:8080"));
        reaches(&site.outside, "[fd99::1]:8080");
        reaches(&site.host, "[fd99::1]:8080");
        let list = site.rkt.run(&["list"]).ok().stdout;
        assert!(list.contains("both:ip4=10.66.0.2:ip6=fd66::42"), "{list}");
        let out = site.rkt.run(&["enter", &uuid, "ping", "-6", "-c", "1", "-W", "3", "fd99::2"]);
        assert_eq!(out.code, Some(0), "{out:#?}");
        site.rkt.run(&["stop", "--force", &uuid]).ok();
        drop(server.wait());
        assert_eq!(before, site.host.sh("nft list ruleset; ls /run/netns"));
        let output =
            site.pod(flavour, "ptp6", "ping -6 -c 1 -W 3 fd99::2 >/dev/null && echo out").ok();
        assert_eq!(output.text(), "out");
    });
}

#[test]
fn a_namespace_is_visible_and_can_be_given() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        let (server, uuid) = site.server(flavour, &[]);
        assert!(site.host.sh("ip netns list").contains(&format!("cni-{uuid}")));
        let inside = site.host.sh(&format!("ip netns exec cni-{uuid} ip -o link"));
        assert!(inside.contains("eth0"), "{inside}");
        drop(server);
    });
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        site.host.sh("ip netns add mine; ip -n mine link set lo up; ip -n mine link add x type veth peer name y");
        let output =
            site.pod(flavour, "ns:/run/netns/mine", "ls /sys/class/net | tr '\\n' ' '").ok();
        assert_eq!(output.text(), "lo x y");
        assert!(site.host.sh("ip netns list").contains("mine"));
    });
}

#[test]
fn an_address_is_free_as_soon_as_its_pod_has_ended() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        site.network(
            "1.conf",
            &json!({"name": "tiny", "type": "ptp",
            "ipam": {"type": "host-local", "subnet": "10.7.0.0/30"}}),
        );
        for _ in 0..3 {
            let output = site.pod(flavour, "tiny", ADDRESSES).ok();
            assert_eq!(output.lines(), ["eth0 lo eth0 10.7.0.2/30"]);
        }
        let (server, _) = site.server(flavour, &["--net=tiny"]);
        site.pod(flavour, "tiny", "true").refuses("network full");
        drop(server);
    });
}

#[test]
fn pods_show_their_networks() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        let (server, uuid) = site.server(flavour, &["--net=default,default-restricted"]);
        let list = site.rkt.run(&["list"]).ok().stdout;
        assert!(
            list.contains("default-restricted:ip4=172.31.0.2, default:ip4=172.16.28.2"),
            "{list}"
        );
        let status = site.rkt.run(&["status", &uuid]).ok().stdout;
        assert!(
            status.contains("networks=default-restricted:ip4=172.31.0.2, default:ip4=172.16.28.2"),
            "{status}"
        );
        let network = &site.rkt.status(&uuid)["networks"][1];
        assert_eq!(network["netName"], "default");
        assert_eq!(network["netConf"], "net/99-default.conf");
        assert_eq!(
            (&network["ifName"], &network["ip"], &network["mask"]),
            (&json!("eth1"), &json!("172.16.28.2"), &json!("255.255.255.0"))
        );
        drop(server);
    });
}

#[test]
fn what_a_killed_pod_leaves_is_collected() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        site.network(
            "1.conf",
            &json!({"name": "tiny", "type": "bridge", "bridge": "brk", "isGateway": true,
            "ipMasq": true, "ipam": {"type": "host-local", "subnet": "10.7.0.0/30"}}),
        );
        site.pod(flavour, "tiny", "true").ok();
        site.host.sh("while ip -o link | grep -q veth; do :; done");
        let before = site.host.state();
        let (server, uuid) = site.server(flavour, &["--net=tiny", "--port=http:8080"]);
        server.signal(9);
        drop(server.wait());
        site.rkt.collect();
        assert!(!site.host.state().contains(&uuid));
        unchanged(&site, &before);
        site.pod(flavour, "tiny", "true").ok();
    });
}

#[test]
fn the_network_of_the_host_and_none_at_all() {
    each(&[Can::Namespaces], |flavour| {
        let site = Site::new();
        assert_eq!(site.pod(flavour, "none", "ls /sys/class/net").ok().text(), "lo");
    });
    each(&[Can::ShareWithHost], |flavour| {
        let site = Site::new();
        let own = site.host.sh("readlink /proc/self/ns/net");
        let output = site
            .pod(flavour, "host", "readlink /proc/self/ns/net; grep -c up0: /proc/net/dev")
            .ok();
        assert_eq!(output.lines(), [own.trim(), "1"]);
    });
}

#[test]
fn flags_say_how_names_are_found() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        let image = site.rkt.image(
            &Image::shell("names")
                .file("etc/resolv.conf", "# the image's\n")
                .file("etc/hosts", "1.2.3.4 image\n"),
        );
        let show = |flags: &[&str], file: &str| {
            let cat = format!("cat /etc/{file}");
            let mut words = vec!["--insecure-options=image", "run"];
            words.extend(flavour.select);
            words.extend(flags);
            words.extend([&*image, "--", &cat]);
            site.rkt.run(&words).ok().stdout
        };
        let all = [
            "--dns=8.8.8.8,8.8.4.4",
            "--dns-search=a.example",
            "--dns-opt=ndots:2",
            "--dns-domain=d.example",
            "--hostname=web",
            "--hosts-entry=10.1.2.3=friend,10.1.2.3=pal",
        ];
        assert_eq!(
            show(&all, "resolv.conf"),
            "# Generated by rkt run\n\nsearch a.example\nnameserver 8.8.8.8\nnameserver 8.8.4.4\n\
             options ndots:2\ndomain d.example\n"
        );
        let hosts = show(&all, "hosts");
        assert!(hosts.starts_with("127.0.0.1\tlocalhost localhost.localdomain web\n"), "{hosts}");
        assert!(hosts.ends_with("10.1.2.3\tfriend pal\n"), "{hosts}");
        let own = |file: &str| std::fs::read_to_string(format!("/etc/{file}")).unwrap();
        assert_eq!(show(&["--dns=host"], "resolv.conf"), own("resolv.conf"));
        assert_eq!(show(&["--hosts-entry=host"], "hosts"), own("hosts"));
        assert_eq!(show(&["--dns=none"], "resolv.conf"), "# the image's\n");
        assert_eq!(show(&[], "resolv.conf"), "# the image's\n");
        assert_eq!(show(&[], "hosts"), "1.2.3.4 image\n");
    });
}
