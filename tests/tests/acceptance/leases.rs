//! Addresses of pods that a DHCP server gives.

use crate::networks::{ADDRESSES, Site, reaches};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::time::Instant;
use testkit::flavour::{Can, each};
use testkit::{Flavour, Rkt, Running, wait};

/// dnsmasq as the server of addresses and names, outside of the host.
struct Server {
    log: PathBuf,
    running: Running,
}

impl Server {
    /// Starts it.
    fn start(site: &Site) -> Self {
        site.outside.sh("ip address add 10.77.0.7/32 dev lo");
        Self::with(site, "10.99.0.50,10.99.0.60")
    }

    /// Starts it with these addresses. Pods are to renew their leases every three seconds: it takes nothing less.
    fn with(site: &Site, addresses: &str) -> Self {
        let log = site.rkt.path("dnsmasq.log");
        fs::write(&log, "").unwrap();
        let running = site.outside.start(&format!(
            "exec dnsmasq --keep-in-foreground --conf-file=/dev/null --user=root --pid-file= --no-hosts \
             --no-resolv --interface=up0 --bind-interfaces --dhcp-range={addresses},255.255.255.0,2m \
             --dhcp-option=option:router,10.99.0.2 --dhcp-option=option:dns-server,10.99.0.2 \
             --dhcp-option=option:domain-name,pods.example --dhcp-option=option:T1,3 --no-ping \
             --dhcp-option=121,10.77.0.0/16,10.99.0.2,0.0.0.0/0,10.99.0.2,10.78.0.0/16,0.0.0.0 \
             --dhcp-authoritative --dhcp-leasefile={} --address=/where.example/10.77.0.7 --log-dhcp --log-facility={}",
            site.rkt.word("dnsmasq.leases"),
            log.display()
        ));
        let server = Self { log, running };
        server.waits_for("started", 1);
        server
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until it has said this so many times.
    #[track_caller]
    fn waits_for(&self, what: &str, times: usize) {
        let said = || self.text().matches(what).count() >= times;
        wait::until(&[self.log.parent().unwrap()], &format!("{what:?} {times} times"), said);
    }
}

fn network(kind: &str, more: &Value) -> Value {
    let mut network =
        json!({"name": "leased", "type": kind, "cniVersion": "0.4.0", "ipam": {"type": "dhcp"}});
    network.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    network
}

/// The host as a switch between the outside and its pods.
fn bridged(site: &Site) {
    site.host.sh(
        "ip link add lan0 type bridge forward_delay 0; ip link set lan0 up; ip addr flush dev up0; \
         ip link set up0 master lan0; ip addr add 10.99.0.1/24 dev lan0",
    );
}

#[test]
fn a_pod_leases_its_address_and_gives_it_back() {
    each(&[Can::Networks], |flavour| {
        for (kind, more) in
            [("macvlan", json!({"master": "up0"})), ("bridge", json!({"bridge": "lan0"}))]
        {
            let site = Site::new();
            if kind == "bridge" {
                bridged(&site);
            }
            let server = Server::start(&site);
            site.network("1.conf", &network(kind, &more));
            let (pod, uuid) = site.server(flavour, &["--net=leased"]);
            let inside = |script: &str| site.rkt.run(&["enter", &uuid, "sh", "-c", script]).ok();
            let seen = inside(ADDRESSES);
            let [names, address] = seen.text().split(" eth0 10.99.0.").collect::<Vec<_>>()[..]
            else {
                panic!("{seen:#?}");
            };
            assert_eq!(names, "eth0 lo");
            let address = address.strip_suffix("/24").unwrap();
            assert!((50..=60).contains(&address.parse::<u32>().unwrap()), "{seen:#?}");
            let address = format!("10.99.0.{address}");
            let routes = inside("ip route").stdout;
            for route in ["default via 10.99.0.2 dev eth0", "10.77.0.0/16 via 10.99.0.2 dev eth0"] {
                assert!(routes.contains(route), "{kind}: {routes}");
            }
            // What the server says is on the link does not go through the router.
            assert!(routes.contains("10.78.0.0/16 dev eth0"), "{kind}: {routes}");
            let list = site.rkt.run(&["list"]).ok().stdout;
            assert!(list.contains(&format!("leased:ip4={address}")), "{list}");
            let resolv = inside("cat /etc/resolv.conf").stdout;
            assert!(resolv.contains("nameserver 10.99.0.2\n"), "{resolv}");
            let found = inside("nslookup where.example || true").stdout;
            assert!(found.contains("10.77.0.7"), "{kind}: {found}");
            inside("ping -c 1 -W 3 10.77.0.7");
            reaches(&site.outside, &format!("{address}:80"));
            // Not only once.
            server.waits_for("DHCPREQUEST(up0)", 3);
            server.waits_for("DHCPACK(up0)", 3);
            assert!(!server.text().contains("DHCPNAK"), "{}", server.text());
            let check = ["status", "--check-networks", &uuid];
            site.rkt.run(&check).ok();
            let stop = site.rkt.run(&["stop", &uuid]);
            assert_eq!(stop.code, Some(0), "{stop:#?}");
            drop(pod.wait());
            server.waits_for(&format!("DHCPRELEASE(up0) {address}"), 1);
            assert_eq!(fs::read_to_string(site.rkt.path("dnsmasq.leases")).unwrap(), "");
            drop(server.running);
        }
    });
}

#[test]
fn a_lease_that_another_network_spoils_is_given_back() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        let server = Server::start(&site);
        site.network("1.conf", &network("macvlan", &json!({"master": "up0"})));
        site.network("2.conf", &json!({"name": "spoilt", "type": "no-such-type"}));
        site.pod(flavour, "leased,spoilt", "true").refuses("Could not find plugin");
        server.waits_for("DHCPRELEASE(up0)", 1);
        drop(server.running);
    });
}

#[test]
fn a_pod_takes_another_address_when_its_lease_is_over() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        let server = Server::start(&site);
        site.network("1.conf", &network("macvlan", &json!({"master": "up0"})));
        let (pod, uuid) = site.server(flavour, &["--net=leased"]);
        let inside = |script: &str| site.rkt.run(&["enter", &uuid, "sh", "-c", script]).ok();
        let first = inside(ADDRESSES);
        assert!(first.text().starts_with("eth0 lo eth0 10.99.0."), "{first:#?}");
        server.running.signal(15);
        drop(server.running.wait());
        // It knows of no lease, and has other addresses.
        fs::remove_file(site.rkt.path("dnsmasq.leases")).unwrap();
        let server = Server::with(&site, "10.99.0.80,10.99.0.80");
        server.waits_for("DHCPNAK(up0)", 1);
        server.waits_for("DHCPACK(up0) 10.99.0.80", 1);
        wait::eventually("another address", || {
            inside(ADDRESSES).lines() == ["eth0 lo eth0 10.99.0.80/24"]
        });
        reaches(&site.outside, "10.99.0.80:80");
        let routes = inside("ip route").stdout;
        for route in ["default via 10.99.0.2 dev eth0", "10.77.0.0/16 via 10.99.0.2 dev eth0"] {
            assert!(routes.contains(route), "{routes}");
        }
        inside("ping -c 1 -W 3 10.77.0.7");
        drop((pod, server.running));
    });
}

#[test]
fn without_a_server_there_is_a_word_in_time() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        site.network("1.conf", &network("macvlan", &json!({"master": "up0"})));
        let before = site.host.state();
        let start = Instant::now();
        let sentence =
            "no DHCP server has given an address on interface \"eth0\" within 20 seconds";
        site.pod(flavour, "leased", "true").refuses(sentence);
        let (took, slack) = (start.elapsed().as_secs(), wait::deadline().as_secs() / 6);
        assert!((19..20 + slack).contains(&took), "{took} s");
        crate::networks::unchanged(&site, &before);
        // An interface without addresses of its own has nobody to ask through.
        site.network("1.conf", &network("ptp", &json!({})));
        site.pod(flavour, "leased", "true").refuses("the allocator gave no address");
    });
}

#[test]
fn who_is_interrupted_while_waiting_for_a_server_leaves_nothing() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        site.network("1.conf", &network("macvlan", &json!({"master": "up0"})));
        let before = site.host.state();
        let image = site.image();
        let words = ["--net=leased", &*image, "--", "true"];
        for signal in [2, 15] {
            let words = Rkt::run_words(&Flavour { net: &[], ..*flavour }, &words);
            let start = Instant::now();
            let running = Running::start(&mut site.rkt.command(&words));
            let joins = "until ip -all netns exec ip link show eth0 2>/dev/null | grep -q eth0; do sleep 0.1; done";
            site.host.sh(joins);
            running.signal(signal);
            let output = running.wait();
            assert_eq!(output.code, Some(254), "{output:#?}");
            assert!(output.stderr.contains("was interrupted"), "{output:#?}");
            assert!(start.elapsed().as_secs() < 19, "it has waited to the end: {output:#?}");
            crate::networks::unchanged(&site, &before);
        }
    });
}

#[test]
fn who_is_interrupted_while_a_program_works_leaves_nothing() {
    use std::os::unix::fs::PermissionsExt as _;
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        site.network("1.conf", &json!({"name": "slow", "type": "slow", "cniVersion": "0.1.0"}));
        let (program, began) = (site.rkt.top.join("local/net.d/slow"), site.rkt.word("began"));
        let script = format!(
            "#!/bin/sh\n[ $CNI_COMMAND != ADD ] || {{ echo >{began}; exec sleep 1000; }}\n"
        );
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let (before, image) = (site.host.state(), site.image());
        let words = ["--net=slow", &*image, "--", "true"];
        let words = Rkt::run_words(&Flavour { net: &[], ..*flavour }, &words);
        let running = Running::start(&mut site.rkt.command(&words));
        site.host.sh(&format!("until [ -e {began} ]; do :; done"));
        running.signal(15);
        let output = running.wait();
        assert_eq!(output.code, Some(254), "{output:#?}");
        assert!(output.stderr.contains("was interrupted"), "{output:#?}");
        crate::networks::unchanged(&site, &before);
    });
}
