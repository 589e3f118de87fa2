//! Pods that were killed, and are not collected yet: they are in nobody's way.

use crate::networks::{HOST, Site, reaches};
use serde_json::json;
use testkit::flavour::{Can, each};
use testkit::{Flavour, Running};

impl Site {
    /// Starts a server, kills it, and starts it again.
    fn restarted(&self, flavour: &Flavour, flags: &[&str]) -> (Running, [String; 2]) {
        let (killed, dead) = self.server(flavour, flags);
        killed.signal(9);
        drop(killed.wait());
        let (server, living) = self.server(flavour, flags);
        (server, [dead, living])
    }
}

#[test]
fn a_killed_pod_keeps_no_port() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        let (server, [dead, living]) = site.restarted(flavour, &["--port=http:8080"]);
        reaches(&site.outside, &format!("{HOST}:8080"));
        assert!(!site.host.state().contains(&dead));
        // That one lives.
        let image = site.image();
        let words =
            [&["run"], flavour.select, &["--port=http:8080", &image, "--", "true"]].concat();
        site.rkt
            .run(&[&["--insecure-options=image"], &words[..]].concat())
            .refuses("port 8080/tcp of the host leads to another pod already");
        site.rkt.collect();
        reaches(&site.outside, &format!("{HOST}:8080"));
        site.rkt.run(&["stop", "--force", &living]).ok();
        drop(server.wait());
    });
}

#[test]
fn a_killed_pod_keeps_no_address() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        let (server, [dead, _]) =
            site.restarted(flavour, &["--net=default:IP=172.16.28.77", "--port=http:8080"]);
        reaches(&site.host, "172.16.28.77:80");
        reaches(&site.outside, &format!("{HOST}:8080"));
        assert!(!site.host.state().contains(&dead));
        drop(server);
        // The last address of a network, of whichever pod.
        site.network(
            "1.conf",
            &json!({"name": "tiny", "type": "ptp",
            "ipam": {"type": "host-local", "subnet": "10.7.0.0/30"}}),
        );
        let (server, _) = site.restarted(flavour, &["--net=tiny"]);
        reaches(&site.host, "10.7.0.2:80");
        site.pod(flavour, "tiny", "true").refuses("network full");
        drop(server);
    });
}
