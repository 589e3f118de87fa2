//! Configurations of networks that programs around rkt dropped into its folder, as they dropped them; and those that an
//! attacker would.

use crate::networks::{ADDRESSES, HOST, OUTSIDE, Site, fetch, reaches};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use testkit::flavour::{Can, each};

#[test]
fn nomads_default_network() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        site.network("99-network.conf", &json!({"name": "default", "type": "ptp", "ipMasq": false,
            "ipam": {"type": "host-local", "subnet": "172.16.28.0/24", "routes": [{"dst": "0.0.0.0/0"}]}}));
        let page = site.page_outside();
        let script = format!(
            "{ADDRESSES}; ip route | head -1; {}; echo end",
            fetch(&format!("{OUTSIDE}:8000"))
        );
        let output = site.pod(flavour, "default", &script).ok();
        // Nobody hides its address, and the outside does not know it.
        let expected = ["eth0 lo eth0 172.16.28.2/24", "default via 172.16.28.1 dev eth0 ", "end"];
        assert_eq!(output.lines(), expected);
        site.outside.sh(&format!("ip route add 172.16.28.0/24 via {HOST}"));
        assert!(site.pod(flavour, "default", &script).ok().stdout.contains("from outside"));
        drop(page);
    });
}

#[test]
fn minikubes_bridge() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        site.network(
            "k8s.conf",
            &json!({"name": "rkt.kubernetes.io", "type": "bridge", "bridge": "mybridge",
            "mtu": 1460, "addIf": "true", "isGateway": true, "ipMasq": true,
            "ipam": {"type": "host-local", "subnet": "10.1.0.0/16", "gateway": "10.1.0.1",
                "routes": [{"dst": "0.0.0.0/0"}]}}),
        );
        let page = site.page_outside();
        let script = format!(
            "{ADDRESSES}; cat /sys/class/net/eth0/mtu; {}",
            fetch(&format!("{OUTSIDE}:8000"))
        );
        let output = site.pod(flavour, "rkt.kubernetes.io", &script).ok();
        assert_eq!(output.lines(), ["eth0 lo eth0 10.1.0.2/16", "1460", "from outside"]);
        assert!(site.host.sh("ip -o -4 address show mybridge").contains("10.1.0.1/16"));
        drop(page);
    });
}

#[test]
fn metals_bridge_with_fixed_addresses() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        site.network("20-metal.conf", &json!({"name": "metal0", "type": "bridge", "bridge": "metal0",
            "isGateway": true, "ipMasq": true,
            "ipam": {"type": "host-local", "subnet": "172.18.0.0/24", "routes": [{"dst": "0.0.0.0/0"}]}}));
        let (first, _) = site.server(flavour, &["--net=metal0:IP=172.18.0.21"]);
        let (second, uuid) = site.server(flavour, &["--net=metal0:IP=172.18.0.3"]);
        reaches(&site.host, "172.18.0.21:80");
        let page = site.rkt.run(&["enter", &uuid, "sh", "-c", &fetch("172.18.0.21:80")]);
        assert!(page.stdout.starts_with("hello"), "{page:#?}");
        drop((first, second));
    });
}

/// What the daemon of flannel writes on its host.
fn flannel(site: &Site) {
    site.host.sh(
        "mkdir -p /run/flannel; mount -t tmpfs none /run/flannel; printf \
         'FLANNEL_NETWORK=10.2.0.0/16\\nFLANNEL_SUBNET=10.2.7.1/24\\nFLANNEL_MTU=1472\\nFLANNEL_IPMASQ=false\\n' \
         > /run/flannel/subnet.env",
    );
}

#[test]
fn flannels_network_on_coreos() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        flannel(&site);
        let config = json!({"name": "containernet", "type": "flannel"});
        site.network("10-containernet.conf", &config);
        let page = site.page_outside();
        let script = format!(
            "{ADDRESSES}; cat /sys/class/net/eth0/mtu; ip route | grep 10.2.0.0; {}",
            fetch(&format!("{OUTSIDE}:8000"))
        );
        let output = site.pod(flavour, "containernet", &script).ok();
        let expected = ["eth0 lo eth0 10.2.7.2/24", "1472", "10.2.0.0/16 via 10.2.7.1 dev eth0 "];
        assert_eq!(output.lines()[..3], expected, "{output:#?}");
        site.rkt.collect();
        assert_eq!(
            site.host
                .sh("find /var/lib/cni/flannel /var/lib/cni/networks -name '*-*' -o -name '10.*'"),
            ""
        );
        drop(page);
    });
}

#[test]
fn flannels_list_in_kubernetes() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        flannel(&site);
        site.network(
            "10-flannel.conflist",
            &json!({"name": "cbr0", "cniVersion": "0.3.1", "plugins": [
            {"type": "flannel", "delegate": {"hairpinMode": true, "isDefaultGateway": true}},
            {"type": "portmap", "capabilities": {"portMappings": true}}]}),
        );
        let page = site.page_outside();
        let (server, uuid) = site.server(flavour, &["--net=cbr0", "--port=http:8080"]);
        reaches(&site.outside, &format!("{HOST}:8080"));
        reaches(&site.host, "10.2.7.2:80");
        assert!(site.host.sh("ip -d link show master cni0").contains("hairpin on"));
        let own = site.rkt.run(&["enter", &uuid, "sh", "-c", &fetch(&format!("{HOST}:8080"))]);
        assert!(own.stdout.starts_with("hello"), "{own:#?}");
        let out = site.rkt.run(&["enter", &uuid, "sh", "-c", &fetch(&format!("{OUTSIDE}:8000"))]);
        assert_eq!(out.text(), "from outside");
        drop((server, page));
    });
}

/// A stand-in for weave's plugin: it notes its calls and has the distribution's `bridge` do the work.
const WEAVE: &str = r#"#!/bin/sh
echo "$CNI_COMMAND" >> /opt/cni/bin/calls
jq -c '. + {type: "bridge", bridge: "weave", isGateway: true, ipMasq: true,
    ipam: {type: "host-local", subnet: "10.32.0.0/12", routes: [{dst: "0.0.0.0/0"}]}}' |
    exec /opt/cni/bin/bridge
"#;

#[test]
fn weaves_plugin_and_configuration() {
    each(&[Can::Networks], |flavour| {
        let single = json!({"name": "weave", "type": "weave-net", "hairpinMode": true});
        let list = json!({"cniVersion": "0.3.0", "name": "weave", "plugins": [
            {"name": "weave", "type": "weave-net", "hairpinMode": true},
            {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true}]});
        for (file, config) in [("10-weave.conf", single), ("10-weave.conflist", list)] {
            let site = Site::new();
            let script = site.rkt.file("weave-net", WEAVE);
            site.host.sh(&format!(
                "mkdir -p /opt/cni/bin; mount -t tmpfs none /opt/cni/bin; \
                 cp /usr/lib/cni/bridge /usr/lib/cni/host-local /opt/cni/bin; \
                 install -m 755 {script} /opt/cni/bin/weave-net"
            ));
            site.network(file, &config);
            let page = site.page_outside();
            let (server, uuid) = site.server(flavour, &["--net=weave", "--port=http:8080"]);
            reaches(&site.outside, &format!("{HOST}:8080"));
            let seen = site.rkt.run(&["enter", &uuid, "sh", "-c", ADDRESSES]);
            assert_eq!(seen.text(), "eth0 lo eth0 10.32.0.2/12", "{file}");
            let out =
                site.rkt.run(&["enter", &uuid, "sh", "-c", &fetch(&format!("{OUTSIDE}:8000"))]);
            assert_eq!(out.text(), "from outside", "{file}");
            let network = &site.rkt.status(&uuid)["networks"][0];
            assert_eq!(network["pluginPath"], "/opt/cni/bin/weave-net");
            site.rkt.run(&["stop", "--force", &uuid]).ok();
            drop((server.wait(), page));
            let calls = site.host.sh("grep -v VERSION /opt/cni/bin/calls");
            assert_eq!(calls, "ADD\nDEL\n", "{file}");
            assert_eq!(site.host.sh("find /var/lib/cni -name '10.*'"), "", "{file}");
        }
    });
}

#[test]
fn only_plain_names_lead_to_plugins() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        let marker = site.rkt.path("marker");
        let script = format!("#!/bin/sh\ntouch {}\necho '{{}}'\n", marker.display());
        fs::create_dir_all(site.rkt.top.join("local/net.d/sub")).unwrap();
        for place in ["local/evil", "local/net.d/sub/evil"] {
            let path = site.rkt.top.join(place);
            fs::write(&path, &script).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let good = json!({"type": "host-local", "subnet": "10.3.0.0/24"});
        let absolute = site.rkt.top.join("local/evil").display().to_string();
        for bad in ["../evil", "sub/evil", "..", ".", "", "evil\u{0}", "sub/../../evil", &absolute]
        {
            for config in [
                json!({"name": "n", "type": bad}),
                json!({"name": "n", "type": "ptp", "ipam": {"type": bad}}),
                json!({"name": "n", "cniVersion": "0.4.0", "plugins": [
                    {"type": "ptp", "ipam": good}, {"type": bad}]}),
            ] {
                let file = if config["plugins"].is_array() { "1.conflist" } else { "1.conf" };
                site.network(file, &config);
                let output = site.pod(flavour, "n", "echo ran");
                assert!(
                    output.code == Some(254) && output.stdout.is_empty(),
                    "{config} {output:#?}"
                );
                // An empty type of an allocator is none.
                let said = if bad.is_empty() && config["ipam"].is_object() {
                    "no address"
                } else {
                    "type"
                };
                assert!(output.stderr.contains(said), "{config} {output:#?}");
                assert!(!marker.exists(), "{config}");
                fs::remove_file(site.rkt.top.join("local/net.d").join(file)).unwrap();
            }
        }
        // Names of networks become names of folders and files.
        for bad in ["../n", "a/b", "..", "n\u{0}", "/n"] {
            site.network("1.conf", &json!({"name": bad, "type": "ptp", "ipam": good}));
            let output = site.pod(flavour, "default", "echo fine").ok();
            assert_eq!(output.text(), "fine");
            assert!(output.stderr.contains("1.conf"), "{bad:?}: {output:#?}");
            if !bad.contains('\0') {
                assert_eq!(site.pod(flavour, bad, "true").code, Some(254), "{bad:?}");
            }
        }
        let left = site.host.sh("cd /var/lib/cni; find . -type d | sort");
        assert_eq!(left, ".\n./networks\n./networks/default\n");
    });
}

/// Says in the pod's network that it is a router for this prefix.
fn advertisement(prefix: &str) -> String {
    format!(
        "python3 -c \"
import socket, struct
s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b'eth0')
p = struct.pack('!BBBBII16s', 3, 4, 64, 0xc0, 3600, 3600, b'')[:12] + struct.pack('!I', 0) + socket.inet_pton(socket.AF_INET6, '{prefix}')
s.sendto(struct.pack('!BBHBBHII', 134, 0, 0, 64, 0, 1800, 0, 0) + p, ('ff02::1', 0, 0, socket.if_nametoindex('eth0')))
\""
    )
}

#[test]
fn a_pod_that_plays_the_router_changes_nobody() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        site.network(
            "1.conf",
            &json!({"name": "b", "type": "bridge", "bridge": "bra", "isGateway": true,
            "ipam": {"type": "host-local", "subnet": "10.5.0.0/24"}}),
        );
        let (first, attacker) = site.server(flavour, &["--net=b"]);
        let (second, victim) = site.server(flavour, &["--net=b"]);
        let pod =
            |uuid: &str, script: &str| site.host.sh(&format!("ip netns exec cni-{uuid} {script}"));
        // Addresses are used once the kernel has asked whether somebody has them.
        let local = |show: &dyn Fn() -> String| {
            let mut found = String::new();
            testkit::wait::eventually("an address of the link", || {
                let text = show();
                let mut addresses: Vec<Value> = serde_json::from_str(&text).unwrap();
                let infos =
                    addresses.first_mut().map_or(Value::Null, |one| one["addr_info"].take());
                let ready = infos
                    .as_array()
                    .into_iter()
                    .flatten()
                    .find(|info| info["scope"] == "link" && info["tentative"].is_null());
                found = ready
                    .map_or_else(String::new, |info| info["local"].as_str().unwrap().to_owned());
                !found.is_empty()
            });
            found
        };
        let show = "ip -j -6 address show dev";
        local(&|| pod(&attacker, &format!("{show} eth0")));
        let neighbour = local(&|| pod(&victim, &format!("{show} eth0")));
        let bridge = local(&|| site.host.sh(&format!("{show} bra")));
        let attack = |prefix: &str| {
            pod(&attacker, &advertisement(prefix));
            // Whoever answers now has heard it.
            for target in [&neighbour, &bridge] {
                pod(&attacker, &format!("busybox ping -6 -c 1 -W 5 {target}%eth0"));
            }
        };
        let state = || {
            let seen = "sh -c 'ip -6 route; ip -6 -o address'";
            pod(&victim, seen) + &site.host.sh(seen)
        };
        assert_eq!(site.host.sh("sysctl -n net.ipv6.conf.up0.accept_ra"), "1\n");
        attack("2001:db8:bad::");
        let after = state();
        assert!(!after.contains("2001:db8:bad") && !after.contains("proto ra"), "{after}");
        // It would have been believed.
        pod(&victim, "sysctl -qw net.ipv6.conf.eth0.accept_ra=1");
        attack("2001:db8:bad:1::");
        assert!(state().contains("2001:db8:bad:1:"), "{}", state());
        drop((first, second));
    });
}
