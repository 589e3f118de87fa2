//! Network namespaces that somebody lends to a pod.

use crate::networks::{Site, fetch, reaches, serve};
use testkit::flavour::{Can, each};

#[test]
fn a_namespace_that_is_given_is_as_before_when_the_pod_has_ended() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        site.host.sh(
            "ip netns add mine; ip -n mine link set lo up; \
             ip link add out0 type veth peer name in0 netns mine; \
             ip addr add 10.55.0.1/24 dev out0; ip -6 addr add fd55::1/64 dev out0 nodad; ip link set out0 up; \
             ip -n mine addr add 10.55.0.2/24 dev in0; ip -n mine addr add 10.55.0.3/24 dev in0; \
             ip -n mine addr add fd55::2/64 dev in0 nodad; ip -n mine link set in0 up; \
             ip -n mine route add default via 10.55.0.1 metric 7; \
             ip -n mine route add 10.56.0.0/16 via 10.55.0.1 table 99; \
             ip -n mine -6 route add default via fd55::1",
        );
        // The address that the kernel makes by itself is tentative for a while.
        let has = "ip -n mine addr | sed -n '/ in0/,$p' | grep -v 'fe80\\|valid_lft'; \
             ip -n mine -4 route show table all; ip -n mine -6 route show table main | grep -v fe80; \
             tc -n mine qdisc show dev in0; ip netns exec mine cat /proc/sys/net/ipv6/conf/in0/disable_ipv6";
        let before = site.host.sh(has);
        assert!(before.contains("10.55.0.3/24"), "{before}");
        let page = serve(&site.host, "8000", &site.rkt.folder("page"));
        std::fs::write(site.rkt.path("page/index.html"), "from the host\n").unwrap();
        for _ in 0..2 {
            let script = format!("ip -o addr; {}", fetch("10.55.0.1:8000"));
            let output = site.pod(flavour, "ns:/run/netns/mine", &script).ok();
            for seen in ["10.55.0.2/24", "10.55.0.3/24", "fd55::2/64", "from the host"] {
                assert!(output.stdout.contains(seen), "{seen}: {output:#?}");
            }
            assert_eq!(site.host.sh(has), before);
        }
        // Whoever is killed cannot do it, but collection can.
        let (server, _) = site.server(flavour, &["--net=ns:/run/netns/mine"]);
        reaches(&site.host, "10.55.0.2:80");
        server.signal(9);
        drop(server.wait());
        site.rkt.collect();
        assert_eq!(site.host.sh(has), before);
        drop(page);
    });
}
