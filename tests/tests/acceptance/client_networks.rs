//! Configurations of networks that programs around rkt dropped into its folder, as they dropped them; and those that an
//! attacker would.

use crate::networks::{ADDRESSES, HOST, OUTSIDE, Site, fetch, octal, reaches};
use serde_json::json;
use std::fs;
use std::net::Ipv6Addr;
use std::os::unix::fs::PermissionsExt as _;
use testkit::flavour::{Can, each};
use testkit::{Flavour, Host};

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

/// Words that say in a pod's network that it is a router for a prefix.
fn advertisement(prefix: Ipv6Addr) -> String {
    let lives = 3600_u32.to_be_bytes();
    let router = [134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    let option = [&[3, 4, 64, 0xc0][..], &lives, &lives, &[0; 4], &prefix.octets()].concat();
    let packet = octal(&[&router[..], &option].concat());
    // Nobody believes what may have come from afar: with fewer hops left than there can be.
    format!(
        "printf '{packet}' | socat -u - 'IP6-SENDTO:[ff02::1]:58,so-bindtodevice=eth0,setsockopt=41:18:i255'"
    )
}

/// The address of the link that an interface has, as soon as the kernel knows that nobody else has it.
fn link_local(interface: &str, run: &dyn Fn(&str) -> String) -> String {
    let mut found = None;
    testkit::wait::eventually("an address of the link", || {
        let text = run(&format!("ip -6 -o address show dev {interface} scope link"));
        let mut words = text.split_whitespace().skip_while(|word| *word != "inet6").skip(1);
        let address = words.next().and_then(|word| word.split_once('/'));
        found = address.filter(|_| !text.contains("tentative")).map(|(one, _)| one.to_owned());
        found.is_some()
    });
    found.unwrap()
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
        let flavour = Flavour { net: &[], ..*flavour };
        let image = site.image_with_socat();
        let words = ["--net=b", &*image, "--", "echo up; exec sleep 1000"];
        let (first, attacker) = site.rkt.start_pod(&flavour, &words);
        let (second, victim) = site.rkt.start_pod(&flavour, &words);
        // Somebody who believes routers, on the same network.
        let believer = Host::new();
        site.host.wire(&believer, "bel0", &[], &[]);
        site.host.sh("ip link set bel0 master bra");
        believer.sh("sysctl -qw net.ipv6.conf.bel0.accept_ra=1");
        let inside = |uuid: &str, script: &str| {
            site.rkt.run(&["enter", uuid, "sh", "-c", script]).ok().stdout
        };
        link_local("eth0", &|script| inside(&attacker, script));
        let listeners = [
            link_local("eth0", &|script| inside(&victim, script)),
            link_local("bra", &|script| site.host.sh(script)),
            link_local("bel0", &|script| believer.sh(script)),
        ];
        assert_eq!(site.host.sh("sysctl -n net.ipv6.conf.up0.accept_ra"), "1\n");
        inside(&attacker, &advertisement("2001:db8:bad::".parse().unwrap()));
        // Whoever answers now has heard it.
        for listener in listeners {
            inside(&attacker, &format!("ping -6 -c 1 -W 5 {listener}%eth0"));
        }
        let seen = "ip -6 route; ip -6 -o address";
        let pod = inside(&victim, seen);
        assert!(!pod.contains("2001:db8:bad") && !pod.contains("default"), "{pod}");
        let host = site.host.sh(seen);
        assert!(!host.contains("2001:db8:bad") && !host.contains("proto ra"), "{host}");
        let convinced = believer.sh(seen);
        assert!(
            convinced.contains("2001:db8:bad") && convinced.contains("proto ra"),
            "{convinced}"
        );
        drop((first, second));
    });
}
