use super::*;
use crate::config::Network;
use crate::name::NetworkName;
use crate::plugin::{Attachment, Call, PluginPath, Runner};
use crate::request::NetworkArgs;
use crate::scratch::Scratch;
use crate::wishes::Wishes;
use appc::json::Json;
use std::collections::BTreeSet;
use std::fs;
use std::thread;
use sys::cause::chain;

const UUID: &str = "6a2c0a3d-57c6-4b7a-a3cc-7a0c9ee5b9c6";

/// A network named `n` that takes addresses below a folder.
fn network(data: &Path, version: &str, ipam: &str) -> Network {
    let text = format!(
        r#"{{"cniVersion":"{version}","name":"n","type":"host-local","capabilities":{{"ipRanges":true,"ips":true}},
            "ipam":{{"type":"host-local","dataDir":"{}",{ipam}}}}}"#,
        data.display()
    );
    Network::parse(Path::new("n.conf"), text.as_bytes()).unwrap()
}

struct Asker {
    network: Network,
    container: String,
    args: NetworkArgs,
    wishes: Wishes,
}

impl Asker {
    fn new(network: Network) -> Self {
        let (args, wishes) = (NetworkArgs::default(), Wishes::default());
        Self { network, container: UUID.to_owned(), args, wishes }
    }

    fn of(data: &Path, ipam: &str) -> Self {
        Self::new(network(data, "1.0.0", ipam))
    }

    fn request(&self) -> IpamRequest<'_> {
        IpamRequest {
            network: self.network.name(),
            version: self.network.version(),
            plugin: &self.network.plugins()[0],
            container: &self.container,
            ifname: "eth0",
            args: &self.args,
            wishes: &self.wishes,
        }
    }

    fn asking(mut self, args: &str) -> Self {
        self.args = NetworkArgs::new(args);
        self
    }

    fn owned_by(mut self, container: &str) -> Self {
        self.container = container.to_owned();
        self
    }

    /// What is given, as text.
    fn add(&self) -> Result<String, String> {
        add(&self.request()).map(|result| shown(&result)).map_err(|error| chain(&error))
    }
}

fn shown(result: &CniResult) -> String {
    let one = |ip: &AssignedIp| match ip.gateway {
        Some(gateway) => format!("{}>{gateway}", ip.address),
        None => ip.address.to_string(),
    };
    result.ips.iter().map(one).collect::<Vec<_>>().join(" ")
}

const SUBNET: &str = r#""subnet":"10.1.2.0/24""#;

#[test]
fn configurations() {
    let data = Scratch::new();
    for (ipam, expected) in [
        (SUBNET, "10.1.2.2/24>10.1.2.1"),
        (r#""subnet":"10.1.2.0/24","gateway":"10.1.2.254""#, "10.1.2.1/24>10.1.2.254"),
        (r#""subnet":"10.1.2.0/24","rangeStart":"10.1.2.9""#, "10.1.2.9/24>10.1.2.1"),
        (r#""ranges":[[{"subnet":"10.1.2.0/30"}]]"#, "10.1.2.2/30>10.1.2.1"),
        (
            r#""ranges":[[{"subnet":"10.1.2.0/24"}],[{"subnet":"fd00:1::/64"}]]"#,
            "10.1.2.2/24>10.1.2.1 fd00:1::2/64>fd00:1::1",
        ),
        (
            r#""subnet":"10.9.0.0/16","ranges":[[{"subnet":"fd00:1::/64"}]]"#,
            "10.9.0.2/16>10.9.0.1 fd00:1::2/64>fd00:1::1",
        ),
    ] {
        let asker = Asker::of(data.path(), ipam);
        assert_eq!(asker.add().as_deref(), Ok(expected), "{ipam}");
        del(&asker.request()).unwrap();
        fs::remove_dir_all(data.path().join("n")).unwrap();
    }
    for (ipam, expected) in [
        (r#""a":1"#, "ipam.ranges: no IP ranges specified"),
        (
            r#""subnet":"10.1.2.3/24""#,
            "ipam.subnet: 10.1.2.3/24 is an address in the network 10.1.2.0/24",
        ),
        (
            r#""subnet":"10.1.2.0/31""#,
            "ipam.subnet: network 10.1.2.0/31 is too small to allocate from",
        ),
        (r#""subnet":"x""#, "ipam.subnet: \"x\" is not an address with a prefix length"),
        (
            r#""subnet":"10.1.2.0/24","rangeEnd":"10.1.3.1""#,
            "ipam.rangeEnd: 10.1.3.1 is not in network 10.1.2.0/24",
        ),
        (
            r#""subnet":"10.1.2.0/24","rangeStart":"10.1.2.9","rangeEnd":"10.1.2.8""#,
            "ipam.rangeEnd: 10.1.2.8 is before 10.1.2.9",
        ),
        (
            r#""subnet":"10.1.2.0/24","gateway":"fd00::1""#,
            "ipam.gateway: fd00::1 is an address of the other family",
        ),
        (r#""ranges":[{}]"#, "ipam.ranges: must be a list of lists of ranges"),
        (r#""ranges":[[]]"#, "ipam.ranges: a range set is empty"),
        (r#""ranges":[[{}]]"#, "ipam.ranges[0].set[0].subnet: is missing"),
        (
            r#""ranges":[[{"subnet":"10.0.0.0/24"},{"subnet":"fd00::/64"}]]"#,
            "ipam.ranges: a range set has addresses of both families",
        ),
        (
            r#""ranges":[[{"subnet":"10.0.0.0/24"},{"subnet":"10.0.0.0/16"}]]"#,
            "ipam.ranges: subnets 10.0.0.0/24 and 10.0.0.0/16 overlap",
        ),
        (
            r#""ranges":[[{"subnet":"10.0.0.0/24"}],[{"subnet":"10.0.0.0/16"}]]"#,
            "ipam.ranges: range set 1 overlaps with 0",
        ),
        (r#""subnet":"10.1.2.0/24","routes":[{}]"#, "ipam.routes[0].dst: is missing"),
        (
            r#""subnet":"10.1.2.0/24","resolvConf":"x""#,
            "ipam.resolvConf: \"x\" is not an absolute path",
        ),
    ] {
        let asker = Asker::of(data.path(), ipam);
        assert_eq!(asker.add().unwrap_err(), format!("n.conf: bad {expected}"), "{ipam}");
    }
    let old = Asker::new(network(
        data.path(),
        "0.2.0",
        r#""ranges":[[{"subnet":"10.0.0.0/24"}],[{"subnet":"10.1.0.0/24"}]]"#,
    ));
    let error = old.add().unwrap_err();
    assert_eq!(error, "n.conf: bad ipam.ranges: CNI version 0.2.0 knows one address per family");
}

#[test]
fn routes_and_dns_come_along() {
    let data = Scratch::new();
    let file = data.write("resolv.conf", "nameserver 10.1.2.1\nsearch a.b\n");
    let ipam = format!(
        r#"{SUBNET},"routes":[{{"dst":"0.0.0.0/0"}},{{"dst":"10.0.0.0/8","gw":"10.1.2.7"}}],"resolvConf":"{}""#,
        file.display()
    );
    let result = add(&Asker::of(data.path(), &ipam).request()).unwrap();
    assert_eq!(result.routes.len(), 2);
    assert_eq!(result.routes[1].gw.unwrap().to_string(), "10.1.2.7");
    assert_eq!((result.dns.nameservers.len(), result.dns.search.len()), (1, 1));
    let asker = Asker::of(data.path(), &format!(r#"{SUBNET},"resolvConf":"/nowhere/x""#));
    assert!(asker.add().unwrap_err().contains("open /nowhere/x"));
}

/// The first addresses of ranges behind a last one.
fn order(ranges: &str, last: &str, count: usize) -> String {
    let data = Scratch::new();
    let asker = Asker::of(data.path(), &format!(r#""ranges":[{ranges}]"#));
    let config = HostLocalConfig::read(&asker.request()).unwrap();
    let addresses = config.sets[0].after(last.parse().ok()).take(count);
    addresses.map(|(address, _)| address.to_string()).collect::<Vec<_>>().join(" ")
}

#[test]
fn addresses_come_round() {
    let small = r#"[{"subnet":"10.0.0.0/29"}]"#;
    let two = r#"[{"subnet":"10.0.0.0/30"},{"subnet":"10.0.1.0/24","rangeStart":"10.0.1.8","rangeEnd":"10.0.1.9"}]"#;
    for (ranges, last, expected) in [
        (small, "", "10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6"),
        (small, "10.0.0.4", "10.0.0.5 10.0.0.6 10.0.0.2 10.0.0.3 10.0.0.4"),
        (small, "10.0.0.6", "10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6"),
        (small, "10.0.0.7", "10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6"),
        (small, "fd00::1", "10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6"),
        (two, "", "10.0.0.2 10.0.1.8 10.0.1.9"),
        (two, "10.0.1.8", "10.0.1.9 10.0.0.2 10.0.1.8"),
        (two, "10.0.0.2", "10.0.1.8 10.0.1.9 10.0.0.2"),
        (r#"[{"subnet":"fd00::/126"}]"#, "", "fd00::2 fd00::3"),
        (
            r#"[{"subnet":"ffff:ffff:ffff:ffff::/64","rangeStart":"ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe"}]"#,
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        ),
        (r#"[{"subnet":"255.255.255.252/30"}]"#, "255.255.255.254", "255.255.255.254"),
    ] {
        assert_eq!(order(ranges, last, 1000), expected, "{ranges} {last}");
    }
    assert_eq!(order(r#"[{"subnet":"fd00::/8"}]"#, "fd00::ffff", 2), "fd00::1:0 fd00::1:1");
    assert_eq!(order(r#"[{"subnet":"::/0"}]"#, "", 2), "::2 ::3");
}

#[test]
fn addresses_that_are_asked_for() {
    let data = Scratch::new();
    let ipam = r#""ranges":[[{"subnet":"10.1.2.0/24"}],[{"subnet":"fd00:1::/64"}]]"#;
    let none = "requested IP address \"{}\" is not available in network: n";
    let add = |args: &str| Asker::of(data.path(), ipam).asking(args).add();
    assert_eq!(add("IP=10.1.2.77").as_deref(), Ok("10.1.2.77/24>10.1.2.1 fd00:1::2/64>fd00:1::1"));
    // The search goes on behind it.
    assert_eq!(
        add("IP6=fd00:1::99/64").as_deref(),
        Ok("10.1.2.78/24>10.1.2.1 fd00:1::99/64>fd00:1::1")
    );
    for (args, address) in [
        ("IP=10.1.2.77", "10.1.2.77"),
        ("IP=10.1.2.1", "10.1.2.1"),
        ("IP=10.1.2.255", "10.1.2.255"),
        ("IP=10.1.3.1", "10.1.3.1"),
        ("IP=10.1.2.80,10.1.2.81", "10.1.2.81"),
        ("IP6=fd00:1::99", "fd00:1::99"),
    ] {
        assert_eq!(add(args).unwrap_err(), none.replace("{}", address), "{args}");
    }
    // What failed has left nothing behind.
    let mut taken: Vec<String> = fs::read_dir(data.path().join("n"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    taken.sort();
    assert_eq!(
        taken,
        [
            "10.1.2.77",
            "10.1.2.78",
            "fd00:1::2",
            "fd00:1::99",
            "last_reserved_ip.0",
            "last_reserved_ip.1",
            "lock"
        ]
    );
    let mut asker = Asker::of(data.path(), ipam);
    asker.wishes.ips = vec![crate::request::requested("10.1.2.90/24").unwrap()];
    asker.wishes.ip_ranges = Some(Json::parse(br#"[[{"subnet":"10.7.0.0/16"}]]"#).unwrap());
    assert_eq!(
        asker.add().as_deref(),
        Ok("10.7.0.2/16>10.7.0.1 10.1.2.90/24>10.1.2.1 fd00:1::3/64>fd00:1::1")
    );
    let configured = r#"{"name":"n","cniVersion":"1.0.0","type":"t","args":{"cni":{"ips":["10.1.2.91"]}},
        "ipam":{"type":"host-local","dataDir":"DATA","subnet":"10.1.2.0/24"}}"#;
    let configured = configured.replace("DATA", data.path().to_str().unwrap());
    let network = Network::parse(Path::new("n.conf"), configured.as_bytes()).unwrap();
    assert_eq!(Asker::new(network).add().as_deref(), Ok("10.1.2.91/24>10.1.2.1"));
}

#[test]
fn a_range_is_full_and_then_not() {
    let data = Scratch::new();
    let asker = |id: &str| Asker::of(data.path(), SUBNET).owned_by(id);
    let mut given = BTreeSet::new();
    for number in 0..253 {
        assert!(given.insert(asker(&format!("c{number}")).add().unwrap()), "{number}");
    }
    assert_eq!(
        asker("late").add().unwrap_err(),
        "network full: all addresses of 10.1.2.1-10.1.2.254 in network n are taken"
    );
    del(&asker("c100").request()).unwrap();
    assert_eq!(asker("late").add().as_deref(), Ok("10.1.2.102/24>10.1.2.1"));
}

#[test]
fn a_small_network_serves_one_pod_after_the_other() {
    let data = Scratch::new();
    for _ in 0..3 {
        let asker = Asker::of(data.path(), r#""subnet":"10.1.2.0/30""#);
        assert_eq!(asker.add().as_deref(), Ok("10.1.2.2/30>10.1.2.1"));
        assert!(check(&asker.request()).unwrap());
        del(&asker.request()).unwrap();
        assert!(!check(&asker.request()).unwrap());
        // Twice is fine.
        del(&asker.request()).unwrap();
    }
}

#[test]
fn only_the_owners_addresses_are_given_back() {
    let data = Scratch::new();
    let asker = Asker::of(data.path(), SUBNET);
    // Nothing there at all.
    del(&asker.request()).unwrap();
    del_known(&asker.request(), &[]).unwrap();
    assert!(!data.path().join("n").exists());
    for (name, text) in [
        ("10.1.2.10", format!("{UUID}\r\neth0")),
        ("10.1.2.11", format!("{UUID}\r\neth1")),
        ("10.1.2.12", UUID.to_owned()),
        ("10.1.2.13", format!("{UUID}0\r\neth0")),
        ("notes", format!("{UUID}\r\neth0")),
    ] {
        data.write(&format!("n/{name}"), &text);
    }
    let known = ["10.1.2.13", "10.1.2.99"].map(|address| address.parse().unwrap());
    del_known(&asker.request(), &known).unwrap();
    del(&asker.request()).unwrap();
    let names = Scratch::names_in(&data.path().join("n"));
    assert_eq!(names, ["10.1.2.11", "10.1.2.13", "lock", "notes"]);
    del_known(&asker.request(), &["10.1.2.11".parse().unwrap()]).unwrap();
    assert!(data.path().join("n/10.1.2.11").exists());
}

#[test]
fn what_killed_ones_left_is_taken_over() {
    let data = Scratch::new();
    let asker = Asker::of(data.path(), r#""subnet":"10.1.2.0/29""#);
    data.write("n/10.1.2.2", "");
    data.write("n/last_reserved_ip.0", "10.1");
    // Linked, and its maker was killed before it could remove the first name.
    data.write("n/.reserving", "other\r\neth0");
    fs::hard_link(data.path().join("n/.reserving"), data.path().join("n/10.1.2.3")).unwrap();
    assert_eq!(asker.add().as_deref(), Ok("10.1.2.2/29>10.1.2.1"));
    assert_eq!(asker.add().as_deref(), Ok("10.1.2.4/29>10.1.2.1"));
    let read = |name: &str| fs::read_to_string(data.path().join("n").join(name)).unwrap();
    assert_eq!(read("10.1.2.2"), format!("{UUID}\r\neth0"));
    assert_eq!(read("10.1.2.3"), "other\r\neth0");
    assert_eq!(read("last_reserved_ip.0"), "10.1.2.4");
    assert!(!data.path().join("n/.reserving").exists());
}

#[test]
fn leases_of_pods_that_are_gone_are_collected() {
    let data = Scratch::new();
    let gone = "00000000-57c6-4b7a-a3cc-7a0c9ee5b9c6";
    let podman = "0".repeat(64);
    for (name, text) in [
        ("10.1.2.2", format!("{UUID}\r\neth0")),
        ("10.1.2.3", format!("{gone}\r\neth0")),
        ("10.1.2.4", format!("{podman}\r\neth0")),
        ("10.1.2.5", String::new()),
        ("10.1.2.6", gone[..20].to_owned()),
        ("10.1.2.7", podman[..20].to_owned()),
        ("fd00::3", gone.to_owned()),
    ] {
        data.write(&format!("n/{name}"), &text);
    }
    let asker = Asker::of(data.path(), SUBNET);
    let mut asked = BTreeSet::new();
    let mut found = collect(&asker.request(), &mut |owner| {
        asked.insert(owner.to_owned());
        if owner == gone { Owner::Gone } else { Owner::Keep }
    })
    .unwrap();
    found.sort();
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(found, ["10.1.2.3", "10.1.2.5", "10.1.2.6", "fd00::3"]);
    assert_eq!(asked, BTreeSet::from([UUID.to_owned(), gone.to_owned()]));
    let names = Scratch::names_in(&data.path().join("n"));
    assert_eq!(names, ["10.1.2.2", "10.1.2.4", "10.1.2.7", "lock"]);
}

/// The distribution's plugin on the same folder.
struct Theirs(Runner);

const CNI: &str = "/usr/lib/cni";

impl Theirs {
    fn new() -> Self {
        assert!(
            Path::new(CNI).join("host-local").exists(),
            "{CNI}/host-local is missing: cargo xtask setup installs it"
        );
        Self(Runner::new(PluginPath::of([PathBuf::from(CNI)]), "/"))
    }

    fn call<R>(&mut self, asker: &Asker, call: impl FnOnce(&mut Runner, &Call<'_>) -> R) -> R {
        let attachment = Attachment {
            container: &asker.container,
            netns: Some(Path::new("/nowhere")),
            ifname: "eth0",
            args: &asker.args,
            netns_override: false,
        };
        let plugin = &asker.network.plugins()[0];
        let (network, wishes) = (&asker.network, &asker.wishes);
        call(&mut self.0, &Call { network, plugin, attachment, before: None, wishes })
    }

    fn add(&mut self, asker: &Asker) -> Result<String, String> {
        self.call(asker, Runner::add).map(|r| shown(&r)).map_err(|error| chain(&error))
    }

    fn del(&mut self, asker: &Asker) {
        self.call(asker, Runner::del).unwrap();
    }
}

#[test]
fn the_plugin_goes_on_where_we_stopped_and_we_where_it_did() {
    let data = Scratch::new();
    let ipam = r#""ranges":[[{"subnet":"10.1.2.0/29"},{"subnet":"10.1.3.0/30"}],[{"subnet":"fd00:1::/125"}]]"#;
    let asker = |number: usize| Asker::of(data.path(), ipam).owned_by(&format!("c{number}"));
    let mut theirs = Theirs::new();
    for (number, expected) in [
        "10.1.2.2/29>10.1.2.1 fd00:1::2/125>fd00:1::1",
        "10.1.2.3/29>10.1.2.1 fd00:1::3/125>fd00:1::1",
        "10.1.2.4/29>10.1.2.1 fd00:1::4/125>fd00:1::1",
        "10.1.2.5/29>10.1.2.1 fd00:1::5/125>fd00:1::1",
        "10.1.2.6/29>10.1.2.1 fd00:1::6/125>fd00:1::1",
        "10.1.3.2/30>10.1.3.1 fd00:1::7/125>fd00:1::1",
    ]
    .into_iter()
    .enumerate()
    {
        let asker = asker(number);
        let found = if number % 2 == 0 { theirs.add(&asker) } else { asker.add() };
        assert_eq!(found.as_deref(), Ok(expected));
    }
    assert!(asker(6).add().unwrap_err().starts_with("network full: "));
    theirs.add(&asker(6)).unwrap_err();
    // Each gives back what the other took, and both go on behind the last.
    del(&asker(2).request()).unwrap();
    theirs.del(&asker(1));
    assert_eq!(theirs.add(&asker(7)).unwrap(), "10.1.2.3/29>10.1.2.1 fd00:1::3/125>fd00:1::1");
    assert_eq!(asker(8).add().unwrap(), "10.1.2.4/29>10.1.2.1 fd00:1::4/125>fd00:1::1");
    // An address that is asked for is taken for both.
    let wish = |number| asker(number).asking("IP=10.1.2.3");
    wish(9).add().unwrap_err();
    theirs.add(&wish(9)).unwrap_err();
    del(&asker(7).request()).unwrap();
    assert_eq!(
        theirs.add(&Asker::of(data.path(), SUBNET).asking("IgnoreUnknown=1;IP=10.1.2.3")).unwrap(),
        "10.1.2.3/24>10.1.2.1"
    );
}

#[test]
fn nothing_is_given_twice_however_many_ask() {
    let data = Scratch::new();
    const EACH: usize = 40;
    let path = data.path();
    let mut all: Vec<String> = thread::scope(|scope| {
        let asker = |worker: usize, number: usize| {
            Asker::of(path, SUBNET).owned_by(&format!("w{worker}n{number}"))
        };
        let workers: Vec<_> = (0..6)
            .map(|worker| {
                scope.spawn(move || -> Vec<String> {
                    let mut theirs = Theirs::new();
                    let give = |number| {
                        let asker = asker(worker, number);
                        if worker % 3 == 0 { theirs.add(&asker) } else { asker.add() }.unwrap()
                    };
                    (0..EACH).map(give).collect()
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    all.sort();
    let count = all.len();
    all.dedup();
    assert_eq!((all.len(), count), (6 * EACH, 6 * EACH));
    assert!(!all.iter().any(|address| address.starts_with("10.1.2.1/")));
    // 253 in all.
    for number in 0..(253 - 6 * EACH) {
        Asker::of(path, SUBNET).owned_by(&format!("last{number}")).add().unwrap();
    }
    Asker::of(path, SUBNET).owned_by("late").add().unwrap_err();
    Theirs::new().add(&Asker::of(path, SUBNET).owned_by("late")).unwrap_err();
}

#[test]
fn names_cannot_lead_elsewhere() {
    // The folder is made of a name that was parsed; one that leads elsewhere is none.
    for bad in ["../x", "a/b", ".."] {
        NetworkName::parse(bad).unwrap_err();
    }
    let data = Scratch::new();
    let outside = data.write("outside", "kept");
    fs::create_dir(data.path().join("n")).unwrap();
    for name in ["10.1.2.2", "last_reserved_ip.0"] {
        std::os::unix::fs::symlink(&outside, data.path().join("n").join(name)).unwrap();
    }
    let asker = Asker::of(data.path(), SUBNET);
    asker.add().unwrap_err();
    let names = Scratch::names_in(&data.path().join("n"));
    assert_eq!(names, ["10.1.2.2", "last_reserved_ip.0", "lock"]);
    assert_eq!(fs::read_to_string(outside).unwrap(), "kept");
}
