//! Plugins of networks that are programs: what they are told, when, and what comes of what they say.

use crate::networks::{ADDRESSES, HOST, Site, fetch, reaches, unchanged};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use testkit::flavour::{Can, each};
use testkit::{Flavour, Output, Rkt, Running};

/// A plugin that notes how it is called. It adds nothing to what plugins before it made, and answers with the file
/// `answer-COMMAND` and the exit code in `exit-COMMAND` beside it, if they are there.
const SPY: &str = r#"#!/bin/sh
here=$(dirname "$0")
input=$(cat)
[ "$CNI_COMMAND" = VERSION ] && exec echo '{"cniVersion": "1.1.0",
    "supportedVersions": ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]}'
path=$(printf %s "$CNI_PATH" | tr : ' ')
jq -cn --arg cwd "$PWD" --arg input "$input" \
    '{cwd: $cwd, input: $input, env: env | with_entries(select(.key | startswith("CNI_")))}' >> "$here/calls"
if [ -e "$here/answer-$CNI_COMMAND" ]; then
    cat "$here/answer-$CNI_COMMAND"
elif [ "$CNI_COMMAND" = ADD ]; then
    printf %s "$input" | jq -c .prevResult
fi
exit "$(cat "$here/exit-$CNI_COMMAND" 2>/dev/null || echo 0)"
"#;

/// What a spy answers, and what it was told.
struct Spy<'a>(&'a Site);

impl<'a> Spy<'a> {
    /// Puts the plugin beside the networks.
    fn new(site: &'a Site) -> Self {
        let spy = Self(site);
        spy.write("spy", SPY);
        let path = site.rkt.top.join("local/net.d/spy");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        spy
    }

    fn write(&self, name: &str, text: &str) {
        let folder = self.0.rkt.top.join("local/net.d");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name), text).unwrap();
    }

    fn answers(&self, command: &str, answer: &Value) {
        self.write(&format!("answer-{command}"), &answer.to_string());
    }

    fn fails(&self, command: &str, answer: &Value) {
        self.answers(command, answer);
        self.write(&format!("exit-{command}"), "1");
    }

    fn calls(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.0.rkt.top.join("local/net.d/calls")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn commands(&self) -> Vec<String> {
        let name = |call: &Value| call["env"]["CNI_COMMAND"].as_str().unwrap().to_owned();
        self.calls().iter().map(name).collect()
    }

    /// What it was told on its standard input at the last call of a command.
    #[track_caller]
    fn told(&self, command: &str) -> Value {
        let calls = self.calls();
        let call = calls.iter().rfind(|call| call["env"]["CNI_COMMAND"] == command);
        let call = call.unwrap_or_else(|| panic!("no {command}: {calls:#?}"));
        serde_json::from_str(call["input"].as_str().unwrap()).unwrap()
    }
}

/// The program that runs plugins of the distribution, too.
fn with_plugins(site: &Site, words: &[&str]) -> Output {
    site.rkt.finish(site.rkt.command(words).env("CNI_PATH", "/usr/lib/cni"))
}

#[test]
fn a_plugin_sees_all_that_it_should() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        let spy = Spy::new(&site);
        let text = "{\n  \"name\": \"spied\", \"type\": \"spy\",\n  \"own\": [1, 2]\n}\n";
        spy.write("10-spied.conf", text);
        spy.answers("ADD", &json!({"ip4": {"ip": "10.9.0.7/24"}}));
        site.pod(flavour, "spied:IgnoreUnknown=1;COLOUR=green", "true").ok();
        let uuid = site.rkt.only_pod();
        // The pod keeps what it joined by.
        fs::remove_file(site.rkt.top.join("local/net.d/10-spied.conf")).unwrap();
        site.rkt.collect();
        assert_eq!(spy.commands(), ["ADD", "DEL", "DEL"]);
        let calls = spy.calls();
        for call in &calls {
            let env = &call["env"];
            assert_eq!(env["CNI_VERSION"], "0.1.0");
            assert_eq!(env["CNI_CONTAINERID"], uuid);
            assert_eq!(env["CNI_IFNAME"], "eth0");
            assert_eq!(env["CNI_ARGS"], "IgnoreUnknown=1;COLOUR=green");
            let path = env["CNI_PATH"].as_str().unwrap();
            let own = site.rkt.top.join("local/net.d");
            assert!(path.starts_with(&format!("{}:/usr/lib/rkt/plugins/net:", own.display())));
            assert!(path.ends_with("/usr/lib/rkt/plugins/net:/opt/cni/bin"), "{path}");
            assert_eq!(env.as_object().unwrap().len(), 7, "{env}");
            // A shell takes the line's end away.
            assert_eq!(call["input"], text.trim_end());
            let cwd = call["cwd"].as_str().unwrap();
            assert!(cwd.starts_with(site.rkt.data.to_str().unwrap()) && cwd.ends_with(&uuid));
        }
        let netns = format!("/var/run/netns/cni-{uuid}");
        assert_eq!(calls[0]["env"]["CNI_NETNS"], netns);
        assert_eq!(calls[1]["env"]["CNI_NETNS"], netns);
        assert_eq!(calls[2]["env"]["CNI_NETNS"], "");
    });
}

#[test]
fn a_plugin_that_fails_is_heard_and_everything_undone() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        let spy = Spy::new(&site);
        let first = json!({"name": "first", "type": "bridge", "bridge": "brx", "isGateway": true,
            "ipMasq": true, "ipam": {"type": "host-local", "subnet": "10.8.0.0/24"}});
        site.network("10-first.conf", &first);
        site.network(
            "20-spied.conf",
            &json!({"name": "spied", "type": "spy", "cniVersion": "0.4.0"}),
        );
        site.pod(flavour, "first", "true").ok();
        site.host.sh("while ip -o link | grep -q veth; do :; done");
        let before = site.host.state();
        spy.fails(
            "ADD",
            &json!({"cniVersion": "0.4.0", "code": 100, "msg": "no luck today",
            "details": "the moon is full"}),
        );
        let output = site.pod(flavour, "first,spied", "true").code(254);
        for word in ["\"spied\"", "no luck today", "the moon is full"] {
            assert!(output.stderr.contains(word), "{word}: {output:#?}");
        }
        assert_eq!(output.stdout, "");
        unchanged(&site, &before);
        assert_eq!(spy.commands(), ["ADD", "DEL"]);
        // One that says nothing of use.
        spy.write("answer-ADD", "oops");
        let output = site.pod(flavour, "first,spied", "true").code(254);
        assert!(output.stderr.contains("exit code 1"), "{output:#?}");
        spy.write("exit-ADD", "0");
        site.pod(flavour, "first,spied", "true").refuses("plugin \"spy\" answered badly");
        unchanged(&site, &before);
        fs::remove_file(site.rkt.top.join("local/net.d/spy")).unwrap();
        site.pod(flavour, "first,spied", "true").refuses("Could not find plugin \"spy\"");
        unchanged(&site, &before);
    });
}

#[test]
fn a_name_server_comes_from_a_plugin() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        let spy = Spy::new(&site);
        site.network("1.conf", &json!({"name": "spied", "type": "spy", "cniVersion": "1.0.0"}));
        spy.answers(
            "ADD",
            &json!({"cniVersion": "1.0.0", "ips": [], "dns": {"nameservers": ["10.6.0.1", "10.6.0.2"],
            "domain": "d.example", "search": ["a.example", "b.example"], "options": ["ndots:2"]}}),
        );
        let show = "cat /etc/resolv.conf 2>/dev/null; echo end";
        let output = site.pod(flavour, "spied", show).ok();
        for line in [
            "nameserver 10.6.0.1",
            "nameserver 10.6.0.2",
            "domain d.example",
            "search a.example b.example",
            "options ndots:2",
        ] {
            assert!(output.lines().contains(&line), "{line}: {output:#?}");
        }
        for (flag, expected) in [
            ("--dns=8.8.8.8", "# Generated by rkt run\n\nnameserver 8.8.8.8\nend\n"),
            ("--dns=none", "end\n"),
        ] {
            let output = site.pod_with(flavour, &["--net=spied", flag], show);
            assert_eq!(output.ok().stdout, expected);
        }
    });
}

#[test]
fn results_of_every_version_are_understood() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        let spy = Spy::new(&site);
        let old = json!({"ip4": {"ip": "10.9.0.7/24", "gateway": "10.9.0.1"}, "ip6": {"ip": "fd09::7/64"}});
        let lists = json!({"interfaces": [{"name": "eth0", "sandbox": "/x"}], "ips": [
            {"version": "4", "address": "10.9.0.7/24", "gateway": "10.9.0.1", "interface": 0},
            {"version": "6", "address": "fd09::7/64", "interface": 0}]});
        let new = json!({"interfaces": [{"name": "eth0", "sandbox": "/x", "mtu": 1400}], "ips": [
            {"address": "10.9.0.7/24", "gateway": "10.9.0.1", "interface": 0},
            {"address": "fd09::7/64", "interface": 0}], "routes": [{"dst": "0.0.0.0/0", "mtu": 1300}]});
        for (version, answer) in [
            ("0.1.0", &old),
            ("0.2.0", &old),
            ("0.3.0", &lists),
            ("0.3.1", &lists),
            ("0.4.0", &lists),
            ("1.0.0", &new),
            ("1.1.0", &new),
        ] {
            let config = json!({"name": "spied", "type": "spy", "cniVersion": version});
            site.network("1.conf", &config);
            let mut answer = answer.clone();
            answer["cniVersion"] = version.into();
            spy.answers("ADD", &answer);
            let (server, uuid) = site.server(flavour, &["--net=spied"]);
            let shown = &site.rkt.status(&uuid)["networks"][0];
            assert_eq!(
                (&shown["ip"], &shown["mask"]),
                (&json!("10.9.0.7"), &json!("255.255.255.0"))
            );
            let list = site.rkt.run(&["list"]).ok().stdout;
            assert!(list.contains("spied:ip4=10.9.0.7:ip6=fd09::7"), "{version}: {list}");
            site.rkt.run(&["stop", "--force", &uuid]).ok();
            drop(server.wait());
            let told = spy.told("DEL");
            assert_eq!(told["prevResult"].is_object(), version >= "0.4.0", "{version}: {told}");
            site.rkt.collect();
        }
    });
}

/// A list of a plugin that rkt does itself, and a spy.
fn list(name: &str, more: &Value) -> Value {
    let mut list = json!({"name": name, "cniVersion": "1.1.0", "plugins": [
        {"type": "ptp", "ipam": {"type": "host-local", "subnet": "10.8.0.0/24"}},
        {"type": "spy", "own": "word"}]});
    list.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    list
}

#[test]
fn plugins_are_asked_whether_they_could_and_whether_all_is_well() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        let spy = Spy::new(&site);
        site.network("1.conflist", &list("spied", &json!({})));
        let (server, uuid) = site.server(flavour, &["--net=spied"]);
        assert_eq!(spy.commands(), ["STATUS", "ADD"]);
        let check = ["status", "--check-networks", &uuid];
        assert!(site.rkt.run(&check).ok().stdout.contains("state=running"));
        let told = spy.told("CHECK");
        assert_eq!(told["own"], "word");
        assert_eq!(told["prevResult"]["ips"][0]["address"], "10.8.0.2/24", "{told}");
        spy.fails("CHECK", &json!({"code": 101, "msg": "it has a fever"}));
        site.rkt.run(&check).refuses("it has a fever");
        spy.write("exit-CHECK", "0");
        site.rkt.run(&check).ok();
        let inside = |script: &str| site.host.sh(&format!("ip netns exec cni-{uuid} {script}"));
        if flavour.can(Can::ShareAddresses) {
            inside("ip address del 10.8.0.2/24 dev eth0");
            site.rkt
                .run(&check)
                .refuses("network \"spied\": interface \"eth0\" has lost address 10.8.0.2");
        }
        inside("ip link set eth0 down");
        site.rkt.run(&check).refuses("interface \"eth0\" is down");
        inside("ip link del eth0");
        site.rkt.run(&check).refuses("interface \"eth0\" is gone");
        site.rkt.run(&["status", &uuid]).ok();
        site.rkt.run(&["stop", "--force", &uuid]).ok();
        drop(server.wait());
        site.rkt.run(&check).refuses("has no networks");
        // One that could not add a pod is not asked to.
        let before = spy.calls().len();
        spy.fails("STATUS", &json!({"code": 50, "msg": "not today"}));
        site.pod(flavour, "spied", "true").refuses("not today");
        assert!(!spy.commands()[before..].contains(&"ADD".to_owned()));
    });
}

#[test]
fn plugins_collect_what_no_living_pod_needs() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        let spy = Spy::new(&site);
        site.network("1.conflist", &list("spied", &json!({})));
        // Anybody may lock a folder that anybody may read.
        let folder = fs::File::open(site.rkt.top.join("local/net.d")).unwrap();
        folder.lock().unwrap();
        let quiet = json!({"disableGC": true, "disableCheck": true});
        site.network("2.conflist", &list("quiet", &quiet));
        let (server, living) = site.server(flavour, &["--net=spied"]);
        let (killed, dead) = site.server(flavour, &["--net=spied"]);
        killed.signal(9);
        drop(killed.wait());
        site.rkt.collect();
        let told = spy.told("GC");
        let valid = json!([{"containerID": living, "ifname": "eth0"}]);
        assert_eq!(told["cni.dev/valid-attachments"], valid, "{told}");
        assert_eq!((&told["name"], &told["own"]), (&json!("spied"), &json!("word")));
        let of = |call: &Value| call["env"]["CNI_CONTAINERID"] == dead;
        assert!(spy.calls().iter().any(|call| of(call) && call["env"]["CNI_COMMAND"] == "DEL"));
        site.rkt.run(&["stop", "--force", &living]).ok();
        drop(server.wait());
        site.rkt.collect();
        assert_eq!(spy.told("GC")["cni.dev/valid-attachments"], json!([]));
        // A list may forbid it, and being asked how it is.
        let before = spy.calls().len();
        let (server, uuid) = site.server(flavour, &["--net=quiet"]);
        site.host.sh(&format!("ip netns exec cni-{uuid} ip link set eth0 down"));
        site.rkt.run(&["status", "--check-networks", &uuid]).ok();
        site.rkt.run(&["stop", "--force", &uuid]).ok();
        drop(server.wait());
        site.rkt.collect();
        assert_eq!(spy.commands()[before..], ["STATUS", "ADD", "DEL", "DEL"]);
    });
}

#[test]
fn a_plugin_is_found_again_where_it_was() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        let _ = Spy::new(&site);
        let folder = site.rkt.folder("plugins");
        fs::rename(site.rkt.top.join("local/net.d/spy"), site.rkt.path("plugins/spy")).unwrap();
        site.network("1.conflist", &list("spied", &json!({"disableGC": true})));
        let image = site.image();
        let mut words = vec!["--insecure-options=image", "run"];
        words.extend(flavour.select);
        words.extend(["--net=spied", &image, "--", "echo up; exec sleep 1000"]);
        let killed = Running::start(site.rkt.command(&words).env("CNI_PATH", folder));
        killed.says("up");
        site.rkt.note();
        killed.signal(9);
        drop(killed.wait());
        // Who collects does not know of the folder.
        site.rkt.collect();
        let calls = fs::read_to_string(site.rkt.path("plugins/calls")).unwrap();
        let call = |line: &str| serde_json::from_str::<Value>(line).unwrap();
        let commands: Vec<Value> =
            calls.lines().map(|line| call(line)["env"]["CNI_COMMAND"].clone()).collect();
        assert_eq!(commands, ["STATUS", "ADD", "DEL"]);
    });
}

/// A pod of this image on networks that programs of the distribution serve.
pub(super) fn served(
    site: &Site,
    flavour: &Flavour,
    image: &str,
    flags: &[&str],
) -> (Running, String) {
    let file = site.rkt.word("uuid");
    let save = format!("--uuid-file-save={file}");
    let mut words = vec!["--insecure-options=image", "run", &save];
    words.extend(flavour.select);
    words.extend(flags);
    let script = "mkdir -p /www; echo hello from it > /www/index.html; httpd -p 80 -h /www && \
        echo up; exec sleep 1000";
    words.extend([image, "--", script]);
    let running = Running::start(site.rkt.command(&words).env("CNI_PATH", "/usr/lib/cni"));
    running.says("up");
    site.rkt.note();
    (running, fs::read_to_string(file).unwrap())
}

#[test]
fn lists_of_the_distributions_plugins_work() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        let ours = json!({"rkt.program": true});
        let with = |mut plugin: Value| {
            plugin.as_object_mut().unwrap().extend(ours.as_object().unwrap().clone());
            plugin
        };
        site.network(
            "1.conflist",
            &json!({"name": "listed", "cniVersion": "1.0.0", "plugins": [
            with(json!({"type": "bridge", "bridge": "brl", "isDefaultGateway": true, "ipMasq": true,
                "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.4.0.0/24"}], [{"subnet": "fd04::/64"}]]}})),
            with(json!({"type": "portmap", "capabilities": {"portMappings": true}})),
            with(json!({"type": "bandwidth", "ingressRate": 8_000_000, "ingressBurst": 8_000_000,
                "egressRate": 8_000_000, "egressBurst": 8_000_000}))]}),
        );
        site.network(
            "2.conf",
            &with(json!({"name": "mac", "cniVersion": "0.4.0", "type": "macvlan",
            "master": "up0", "ipam": {"type": "host-local", "subnet": "10.99.0.0/24",
            "rangeStart": "10.99.0.100"}})),
        );
        let (page, image) = (site.page_outside(), site.image());
        let (server, uuid) = served(&site, flavour, &image, &["--net=listed", "--port=http:8080"]);
        reaches(&site.outside, &format!("{HOST}:8080"));
        reaches(&site.host, "10.4.0.2:80");
        let queues = site.host.sh("tc qdisc show");
        assert!(queues.matches(" tbf ").count() == 2 && queues.contains("ingress"), "{queues}");
        let rules = site.host.sh("iptables-save -t nat");
        assert!(rules.contains("CNI-DN-") && rules.contains("CNI-HOSTPORT-DNAT"), "{rules}");
        // Forwarding is theirs, then.
        let own = site.host.attempt("nft list table ip rkt");
        assert!(!own.stdout.contains("8080"), "{own:#?}");
        let out = fetch("10.99.0.2:8000");
        assert_eq!(site.rkt.run(&["enter", &uuid, "sh", "-c", &out]).text(), "from outside");
        with_plugins(&site, &["stop", "--force", &uuid]).ok();
        drop(server.wait());
        let rules = site
            .host
            .sh("iptables-save -t nat; ip6tables-save -t nat; tc qdisc show; ls /run/netns; \
             ls /var/lib/cni/networks/listed");
        for gone in ["CNI-DN-", "tbf", "cni-", "10.4.0.2", "fd04::2"] {
            assert!(!rules.contains(gone), "{gone}: {rules}");
        }
        let script = format!("{ADDRESSES}; {out}");
        let words = ["--net=mac", &*image, "--", &*script];
        let words = Rkt::run_words(&Flavour { net: &[], ..*flavour }, &words);
        let output = with_plugins(&site, &words).ok();
        assert_eq!(output.lines(), ["eth0 lo eth0 10.99.0.100/24", "from outside"]);
        drop(page);
        // One that can be asked: `portmap` of this version takes the wrong rules for those of IPv6.
        site.network(
            "3.conflist",
            &json!({"name": "checked", "cniVersion": "1.0.0", "plugins": [
            with(json!({"type": "bridge", "bridge": "brc", "isDefaultGateway": true,
                "ipam": {"type": "host-local", "subnet": "10.5.0.0/24"}}))]}),
        );
        let (server, uuid) = served(&site, flavour, &image, &["--net=checked"]);
        let check = ["status", "--check-networks", &uuid];
        with_plugins(&site, &check).ok();
        if flavour.can(Can::ShareAddresses) {
            site.host.sh(&format!("ip netns exec cni-{uuid} ip route del default"));
            with_plugins(&site, &check).refuses("plugin \"bridge\" failed");
        }
        with_plugins(&site, &["stop", "--force", &uuid]).ok();
        drop(server.wait());
        let collect = ["gc", "--grace-period=0s", "--expire-prepared=0s"];
        let output = with_plugins(&site, &collect).ok();
        assert!(!output.stderr.contains("networking"), "{output:#?}");
    });
}
