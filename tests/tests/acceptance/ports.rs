//! Ports of the host that cannot lead to a pod: they are not dropped without a word.

use crate::networks::Site;
use serde_json::json;
use testkit::Image;
use testkit::flavour::{Can, each};

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
