//! Ports of the host that lead to a pod, and those that cannot: they are not dropped without a word.

use crate::networks::{HOST, Site, does_not_reach, reaches};
use serde_json::json;
use testkit::flavour::{Can, each};
use testkit::{Flavour, Image};

#[test]
fn a_port_that_cannot_be_forwarded_is_refused() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        let port = |name: &str, protocol: &str, number: u16, count: u16| json!({"name": name, "protocol": protocol, "port": number, "count": count, "socketActivated": false});
        let ports = json!([port("http", "tcp", 80, 3), port("upper", "TCP", 90, 1)]);
        let image = site.rkt.image(&Image::shell("ranges").app("ports", ports));
        let rkt = |command: &str, flags: &[&str]| {
            let mut words = vec!["--insecure-options=image", command];
            words.extend(flavour.select);
            words.extend(flags);
            words.extend([&*image, "--", "true"]);
            site.rkt.run(&words)
        };
        let before = site.host.state();
        for (flags, problem) in [
            // The network has addresses of IPv4 alone, and nothing leads from one version to the other.
            (&["--port=http:[fd99::1]:8080"][..], "no address of that version of IP"),
            (&["--port=http:[::1]:8080"], "cannot be forwarded from [::1]"),
            (
                &["--port=http:8080", "--port=upper:8082"],
                "host port 8082/tcp is forwarded more than once",
            ),
            (
                &["--port=http:8080", "--net=ns:/proc/1/ns/net"],
                "--port flag does not work with 'ns:/proc/1/ns/net' networking",
            ),
        ] {
            rkt("run", flags).refuses(problem);
        }
        crate::networks::unchanged(&site, &before);
        rkt("run", &["--port=http:8080", "--port=upper:8083"]).ok();
        // When a pod was prepared, nobody could know of its network.
        let prepared = rkt("prepare", &["--port=http:8080"]).ok();
        let output = site.rkt.run(&["run-prepared", "--net=none", prepared.text()]).ok();
        let problem = "host port 8080/tcp does not lead to the pod";
        assert!(output.stderr.contains(problem), "{output:#?}");
    });
}

#[test]
fn a_port_of_one_address_is_reached_only_there() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        site.host.sh("ip addr add 10.98.0.1/24 dev up0");
        site.outside.sh("ip addr add 10.98.0.2/24 dev up0");
        let (server, _) = site.server(flavour, &["--port=http:10.98.0.1:8080"]);
        reaches(&site.outside, "10.98.0.1:8080");
        reaches(&site.host, "10.98.0.1:8080");
        does_not_reach(&site.outside, &format!("{HOST}:8080"));
        does_not_reach(&site.host, "127.0.0.1:8080");
        drop(server);
        let flavour = Flavour { net: &[], ..*flavour };
        let image = site.image_with_socat();
        let words = ["--port=dns:127.0.0.1:5353", &*image, "--", ANSWER];
        let (server, _) = site.rkt.start_pod(&flavour, &words);
        assert_eq!(site.host.sh(&ask("127.0.0.1", 50)), "got question\n");
        assert_eq!(site.outside.sh(&ask(HOST, 1)), "");
        assert_eq!(site.host.sh(&ask("10.98.0.1", 1)), "");
        drop(server);
    });
}

/// What a pod answers datagrams by.
const ANSWER: &str = "echo up; exec socat UDP-RECVFROM:53,fork SYSTEM:'read line; echo got $line'";

/// Asks it, as often as this: it says that it is up before it listens.
fn ask(address: &str, times: u32) -> String {
    format!(
        "for try in $(seq {times}); do said=$(echo question | socat -t 2 - UDP:{address}:5353) || true; \
         if [ \"$said\" ]; then echo $said; break; fi; done"
    )
}

#[test]
fn datagrams_are_forwarded() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        let flavour = Flavour { net: &[], ..*flavour };
        let image = site.image_with_socat();
        let (server, _) = site.rkt.start_pod(&flavour, &["--port=dns:5353", &image, "--", ANSWER]);
        assert_eq!(site.outside.sh(&ask(HOST, 50)), "got question\n");
        assert_eq!(site.host.sh(&ask(HOST, 50)), "got question\n");
        assert_eq!(site.host.sh(&ask("127.0.0.1", 50)), "got question\n");
        drop(server);
    });
}
