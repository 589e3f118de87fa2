//! Packet filters that others change while pods run.

use crate::networks::{HOST, Site, reaches, unchanged};
use serde_json::json;
use testkit::Running;
use testkit::flavour::{Can, each};

#[test]
fn a_bridge_is_closed_though_all_rules_were_flushed() {
    each(&[Can::Networks], |flavour| {
        for joins_later in [false, true] {
            let site = Site::new();
            site.network(
                "b.conf",
                &json!({"name": "b", "type": "bridge", "bridge": "brf", "isGateway": true,
                    "ipMasq": true, "ipam": {"type": "host-local", "subnet": "10.5.0.0/24"}}),
            );
            let setting = || site.host.sh("cat /proc/sys/net/ipv4/conf/brf/route_localnet");
            let (first, one) = site.server(flavour, &["--net=b", "--port=http:8080"]);
            assert_eq!(setting(), "1\n");
            site.host.sh("nft flush ruleset");
            if joins_later {
                let (second, two) = site.server(flavour, &["--net=b", "--port=http:8081"]);
                reaches(&site.host, "127.0.0.1:8081");
                site.rkt.run(&["stop", "--force", &two]).ok();
                drop(second.wait());
                // What guards the host's loopback addresses has gone with that one.
                assert_eq!(setting(), "0\n");
            }
            site.rkt.run(&["stop", "--force", &one]).ok();
            drop(first.wait());
            assert_eq!(setting(), "0\n");
            // It is the administrator's now, and stays so when the pod is collected.
            site.host.sh("echo 1 > /proc/sys/net/ipv4/conf/brf/route_localnet");
            site.rkt.collect();
            assert_eq!(setting(), "1\n");
        }
    });
}

#[test]
fn a_table_of_iptables_legacy_keeps_no_pod_from_starting() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        site.host.sh("iptables-legacy -P FORWARD DROP");
        let before = site.host.state();
        let image = site.image();
        let mut words = vec!["--insecure-options=image", "run"];
        words.extend(flavour.select);
        let script = "mkdir /www; echo hello from it > /www/index.html; \
            httpd -p 80 -h /www && echo up; exec sleep 1000";
        words.extend(["--port=http:8080", &image, "--", script]);
        let start = || {
            // As a service may have it.
            let server = Running::start(site.rkt.command(&words).env("PATH", "/usr/bin:/bin"));
            server.says("up");
            site.rkt.note();
            server
        };
        let end = |server: Running| {
            server.signal(15);
            server.wait()
        };
        let server = start();
        reaches(&site.outside, &format!("{HOST}:8080"));
        end(server);
        unchanged(&site, &before);
        // Without the program nobody can tell what the table says.
        site.host.sh("mount --bind /dev/null $(readlink -f /usr/sbin/iptables-legacy)");
        let server = start();
        reaches(&site.host, "127.0.0.1:8080");
        let said = end(server).stderr;
        assert!(said.contains("there is no iptables-legacy: pods may be cut off"), "{said}");
    });
}
