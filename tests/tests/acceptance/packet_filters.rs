//! Packet filters that others change while pods run.

use crate::networks::{Site, reaches};
use serde_json::json;
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
