//! The same configuration by drivers of ours and by the distribution's plugins: interfaces, addresses, routes and who
//! reaches whom must be the same.

use crate::networks::{HOST, OUTSIDE, Site, fetch};
use crate::plugins::served;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use testkit::flavour::{Can, each};
use testkit::wait::eventually;
use testkit::{Flavour, Image};

/// What one side made of a configuration.
fn made(flavour: &Flavour, plugins: &[Value], program: bool) -> String {
    let site = Site::new();
    let plugins: Vec<Value> = plugins
        .iter()
        .cloned()
        .map(|mut plugin| {
            plugin["rkt.program"] = program.into();
            plugin
        })
        .collect();
    site.network("1.conflist", &json!({"name": "n", "cniVersion": "1.0.0", "plugins": plugins}));
    let page = site.page_outside();
    // What shows all of an interface, by its path: the shell has applets of these names.
    let image =
        site.rkt.image(&Image::shell("shows").with_program("/sbin/ip").with_program("/sbin/tc"));
    let (server, uuid) = served(&site, flavour, &image, &["--net=n"]);
    let pod = |script: &str| site.rkt.run(&["enter", &uuid, "sh", "-c", script]).ok().stdout;
    let host = |script: &str| site.host.sh(script);
    // Interfaces come up behind whoever brought them up.
    eventually("addresses that nobody else has", || {
        !host("/sbin/ip address").contains("tentative")
            && !pod("/sbin/ip address").contains("tentative")
    });
    eventually("interfaces that are up", || {
        let all = pod("/sbin/ip -o link");
        all.lines().all(|link| link.contains("state UP") || link.contains("state UNKNOWN"))
    });
    let mut text = String::new();
    for (place, run) in [("pod", &pod as &dyn Fn(&str) -> String), ("host", &host)] {
        for command in [
            "/sbin/ip -j -d address",
            "/sbin/ip -j route",
            "/sbin/ip -j -6 route",
            "/sbin/tc -j qdisc",
            "sysctl -n net.ipv4.ip_forward",
        ] {
            let said = run(command);
            let value: Value = serde_json::from_str(&said).unwrap();
            writeln!(text, "{place}: {command}").unwrap();
            let items = value.as_array().cloned().unwrap_or_else(|| vec![value]);
            let mut lines: Vec<String> = items.iter().filter_map(plain).collect();
            lines.sort();
            writeln!(text, "{}", lines.join("\n")).unwrap();
        }
    }
    text.push_str(&reached(&site, &uuid));
    drop(page);
    let stop = ["stop", "--force", &uuid];
    site.rkt.finish(site.rkt.command(&stop).env("CNI_PATH", "/usr/lib/cni")).ok();
    drop(server.wait());
    let collect = ["gc", "--grace-period=0s", "--expire-prepared=0s"];
    for _ in 0..2 {
        site.rkt.finish(site.rkt.command(&collect).env("CNI_PATH", "/usr/lib/cni")).ok();
    }
    writeln!(text, "left:\n{}", plain_text(&site.host.state())).unwrap();
    text
}

/// Who reaches whom.
fn reached(site: &Site, uuid: &str) -> String {
    let pod = |script: &str| site.rkt.run(&["enter", uuid, "sh", "-c", script]);
    let mut text = String::new();
    let mut note = |what: &str, can: bool| writeln!(text, "{what}: {can}").unwrap();
    let out = pod(&fetch(&format!("{OUTSIDE}:8000")));
    note("pod to outside", out.stdout.contains("from outside"));
    note("pod to host", pod(&format!("ping -c 1 -W 1 {HOST}")).code == Some(0));
    note("pod to outside, IPv6", pod("ping -6 -c 1 -W 1 fd99::2").code == Some(0));
    note("pod to host, IPv6", pod("ping -6 -c 1 -W 1 fd99::1").code == Some(0));
    let mut ways = Vec::new();
    let own = pod("ip -4 -o addr show scope global | awk '{print $4}' | cut -d/ -f1");
    for address in own.stdout.lines() {
        let page = fetch(&format!("{address}:80"));
        let way = site.host.sh(&format!("ip -j route get {address}"));
        let way: Value = serde_json::from_str(&way).unwrap();
        ways.extend(way.as_array().unwrap().iter().filter_map(plain_way));
        note("host to pod", site.host.attempt(&page).stdout.contains("hello"));
        note("outside to pod", site.outside.attempt(&page).stdout.contains("hello"));
    }
    text + &ways.join("\n") + "\n"
}

fn plain_way(way: &Value) -> Option<String> {
    Some(format!("to a pod: {} from {}", named(way["dev"].as_str()?), way["prefsrc"]))
}

/// A record without what names it or is drawn by lot; `None` for what both sides have anyway.
fn plain(record: &Value) -> Option<String> {
    const OF_NO_ACCOUNT: [&str; 31] = [
        "ifindex",
        "link_index",
        "link_netnsid",
        "link",
        "address",
        "permaddr",
        "ifalias",
        "ageing_time",
        "valid_life_time",
        "preferred_life_time",
        "handle",
        "parent",
        "altnames",
        "bridge_id",
        "root_id",
        "hello_timer",
        "tcn_timer",
        "topology_change_timer",
        "gc_timer",
        "designated_root",
        "designated_bridge",
        "port_id",
        "id",
        "operstate",
        "hold_timer",
        // Ours ask nobody whether an address is taken, and make routes to neighbours themselves.
        "nodad",
        "noprefixroute",
        // Theirs set it to nothing, which is not asked for; ours leave the kernel's.
        "txqlen",
        "message_age_timer",
        "forward_delay_timer",
        "state",
    ];
    fn strip(value: &Value) -> Value {
        match value {
            Value::Object(members) => {
                let kept = members.iter().filter(|(key, value)| {
                    !OF_NO_ACCOUNT.contains(&key.as_str())
                        // What the kernel makes of hardware addresses.
                        && !value.as_str().is_some_and(|text| text.starts_with("fe80:"))
                });
                Value::Object(
                    kept.map(|(key, value)| (key.clone(), strip(value))).collect::<Map<_, _>>(),
                )
            }
            Value::Array(items) => {
                let link_local = |item: &&Value| {
                    item["local"].as_str().is_some_and(|text| text.starts_with("fe80:"))
                };
                Value::Array(items.iter().filter(|item| !link_local(item)).map(strip).collect())
            }
            Value::String(text) => named(text).into(),
            other => other.clone(),
        }
    }
    let text = |key: &str| record[key].as_str().unwrap_or_default();
    if text("dst").starts_with("fe80:") || text("dst").starts_with("ff00:") {
        return None;
    }
    let mut record = strip(record);
    if text("dev").starts_with("veth") && record["dst"].is_string() {
        // What the host's routes to pods say in different words, and `ip route get` in the same.
        for key in ["scope", "prefsrc"] {
            record.as_object_mut().unwrap().remove(key);
        }
    }
    Some(record.to_string())
}

/// Names that follow from a pod, or are drawn by lot.
fn named(text: &str) -> String {
    ["veth", "bw"].into_iter().find(|prefix| text.starts_with(prefix)).unwrap_or(text).to_owned()
}

/// Links, addresses, routes, names of namespaces and leases; theirs leave chains for the next pod.
fn plain_text(state: &str) -> String {
    let packet_filter = |line: &&str| {
        line.starts_with(['\t', '}']) || line.starts_with("table ") || line.trim().is_empty()
    };
    let rest = state.lines().filter(|line| !packet_filter(line) && !line.starts_with("fe80"));
    rest.map(|line| line.replace(" nodad", "")).collect::<Vec<_>>().join("\n")
}

/// Insists that both sides make the same of it.
#[track_caller]
fn alike(plugins: &[Value]) {
    each(&[Can::Networks], |flavour| {
        let (ours, theirs) = (made(flavour, plugins, false), made(flavour, plugins, true));
        let (own, other): (Vec<&str>, Vec<&str>) =
            (ours.lines().collect(), theirs.lines().collect());
        let mut differences = String::new();
        for line in own.iter().filter(|line| !other.contains(line)) {
            writeln!(differences, "ours:   {line}").unwrap();
        }
        for line in other.iter().filter(|line| !own.contains(line)) {
            writeln!(differences, "theirs: {line}").unwrap();
        }
        assert_eq!(differences, "", "{plugins:#?}");
    });
}

fn both() -> Value {
    json!({"type": "host-local", "ranges": [[{"subnet": "10.40.0.0/24", "rangeStart": "10.40.0.10",
        "rangeEnd": "10.40.0.20", "gateway": "10.40.0.1"}], [{"subnet": "fd40::/64"}]],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]})
}

fn one() -> Value {
    json!({"type": "host-local", "subnet": "10.41.0.0/24"})
}

#[test]
fn cables_are_alike() {
    alike(&[json!({"type": "ptp", "ipMasq": true, "mtu": 1400, "ipam": both()})]);
    alike(&[json!({"type": "ptp", "ipam": one()})]);
}

#[test]
fn bridges_are_alike() {
    // Theirs refuse a default route that is there already.
    let mut without_routes = both();
    without_routes["routes"] = json!([]);
    alike(&[json!({"type": "bridge", "bridge": "brp", "isDefaultGateway": true, "ipMasq": true,
        "mtu": 1440, "hairpinMode": true, "ipam": without_routes})]);
    alike(&[json!({"type": "bridge", "bridge": "brp", "isGateway": true, "ipam": one()})]);
    alike(&[json!({"type": "bridge", "bridge": "brp", "ipam": one()})]);
}

#[test]
fn interfaces_on_the_hosts_are_alike() {
    alike(&[json!({"type": "macvlan", "master": "up0", "mode": "bridge", "mtu": 1300,
        "ipam": {"type": "static", "addresses": [{"address": "10.99.0.77/24", "gateway": "10.99.0.2"},
            {"address": "fd99::77/64"}], "routes": [{"dst": "0.0.0.0/0"}, {"dst": "10.77.0.0/16", "gw": "10.99.0.1"}]}})]);
}

#[test]
fn changes_to_interfaces_are_alike() {
    alike(&[
        json!({"type": "ptp", "ipam": one()}),
        json!({"type": "tuning", "mtu": 1234, "promisc": true, "sysctl": {"net.ipv4.conf.eth0.log_martians": "1"}}),
        json!({"type": "bandwidth", "ingressRate": 8_000_000, "ingressBurst": 16_000_000,
            "egressRate": 4_000_000, "egressBurst": 8_000_000}),
    ]);
}
