use super::kinds::{
    BandwidthConfig, BridgeConfig, DeviceBy, FirewallBackend, FirewallConfig, FlannelConfig,
    HostDeviceConfig, IngressPolicy, IpvlanConfig, IpvlanMode, MacvlanConfig, MacvlanMode,
    PortmapConfig, PtpConfig, Rate, TuningConfig, VlanConfig,
};
use super::*;
use crate::request::NetRequest;
use crate::scratch::Scratch;
use std::fmt::Debug;
use std::os::unix::fs::symlink;
use sys::cause::chain;

fn parse(file: &str, text: &str) -> Result<Network, ConfigError> {
    Network::parse(Path::new(file), text.as_bytes())
}

/// A plugin of these members.
fn plugin(members: &str) -> Plugin {
    let text = format!(r#"{{"name":"n","type":"t",{members}}}"#);
    parse("f.conf", &text).unwrap().plugins()[0].clone()
}

#[test]
fn a_plugin_alone_is_a_list_of_one() {
    let text = r#"{"cniVersion":"0.2.0","name":"n","type":"bridge","addIf":"true","ipMasq":true,
        "ipam":{"type":"host-local","subnet":"10.1.0.0/16"}}"#;
    let network = parse("/etc/rkt/net.d/10-n.conf", text).unwrap();
    assert_eq!(network.name(), &"n");
    assert_eq!((network.version(), network.shape()), (Version::V0_2_0, Shape::Single));
    assert_eq!((network.file(), network.text()), ("10-n.conf", text.as_bytes()));
    assert_eq!(network.plugins().len(), 1);
    assert!(network.masquerades() && network.is_checked() && !network.forwards_ports());
    let plugin = network.plugin("bridge").unwrap();
    assert_eq!(plugin.ipam().unwrap().unwrap().kind, "host-local");
    assert!(network.plugin("ptp").is_none());
}

#[test]
fn lists_keep_the_order_of_their_plugins() {
    let text = r#"{"cniVersion":"0.3.1","name":"cbr0","disableCheck":true,"plugins":[
        {"type":"flannel","delegate":{"hairpinMode":true,"isDefaultGateway":true}},
        {"type":"portmap","capabilities":{"portMappings":true}}]}"#;
    let network = parse("10-flannel.conflist", text).unwrap();
    let kinds: Vec<&str> = network.plugins().iter().map(|plugin| plugin.kind().as_str()).collect();
    assert_eq!(kinds, ["flannel", "portmap"]);
    assert!(network.forwards_ports() && !network.is_checked() && network.is_collected());
    assert_eq!(network.version(), Version::V0_3_1);
}

#[test]
fn versions_that_are_offered() {
    for (members, expected) in [
        (r#""a":1"#, Some(Version::V0_1_0)),
        (r#""cniVersion":"""#, Some(Version::V0_1_0)),
        (r#""cniVersion":"1.1.0""#, Some(Version::V1_1_0)),
        (r#""cniVersion":"9.0.0""#, None),
        (r#""cniVersion":"9.0.0","cniVersions":["9.0.0","1.0.0","0.4.0"]"#, Some(Version::V1_0_0)),
        (r#""cniVersion":"0.4.0","cniVersions":["0.3.1","1.0.0"]"#, Some(Version::V1_0_0)),
    ] {
        let text = format!(r#"{{"name":"n","type":"t",{members}}}"#);
        assert_eq!(parse("f.conf", &text).ok().map(|n| n.version()), expected, "{members}");
    }
}

#[test]
fn files_that_cannot_be_used_say_which_and_why() {
    let deep = format!(r#"{{"name":"n","type":"t","x":{}1{}}}"#, "[".repeat(200), "]".repeat(200));
    let crowd = format!(r#"{{"name":"n","plugins":[{}]}}"#, vec![r#"{"type":"t"}"#; 65].join(","));
    for (file, text, expected) in [
        ("a.conf", "{", "a.conf: is not valid JSON: EOF"),
        ("a.conf", deep.as_str(), "a.conf: is not valid JSON: recursion limit"),
        ("a.conf", "[]", "a.conf: bad configuration: must be an object"),
        ("a.conf", "{}", "a.conf: bad name: network name cannot be empty"),
        ("a.conf", r#"{"name":7}"#, "a.conf: bad name: must be a string"),
        ("a.conf", r#"{"name":"n"}"#, "a.conf: bad type: plugin type cannot be empty"),
        (
            "a.conf",
            r#"{"name":"../n","type":"t"}"#,
            "a.conf: bad name: network name \"../n\" is not",
        ),
        (
            "a.conf",
            r#"{"name":"n","type":"../t"}"#,
            "a.conf: bad type: plugin type \"../t\" is not",
        ),
        ("a.conf", r#"{"name":"n\u0000","type":"t"}"#, "a.conf: bad name: network name \"n\\0\""),
        ("a.conf", r#"{"name":"n","type":"t\u0000"}"#, "a.conf: bad type: plugin type \"t\\0\""),
        (
            "a.conf",
            r#"{"name":"n","type":"t","ipam":{"type":"a/b"}}"#,
            "a.conf: bad ipam.type: plugin type \"a/b\" is not",
        ),
        ("a.conf", r#"{"name":"n","type":"t","ipam":[]}"#, "a.conf: bad ipam: must be an object"),
        (
            "a.conf",
            r#"{"name":"n","plugins":[]}"#,
            "a.conf: bad plugins: a list of plugins needs a file .conflist",
        ),
        (
            "a.conflist",
            r#"{"name":"n","plugins":[{"type":"t"},{"type":".."}]}"#,
            "a.conflist: bad plugins[1].type: plugin type \"..\" is not",
        ),
        (
            "a.conflist",
            r#"{"name":"n","plugins":[{"type":"t","ipam":{"type":".x"}}]}"#,
            "a.conflist: bad plugins[0].ipam.type: plugin type \".x\" is not",
        ),
        (
            "a.conflist",
            r#"{"name":"n","plugins":["t"]}"#,
            "a.conflist: bad plugins: must be a list of objects",
        ),
        ("a.conflist", crowd.as_str(), "a.conflist: bad plugins: has too many elements"),
        (
            "a.conf",
            r#"{"name":"n","type":"t","cniVersion":"9.9.9"}"#,
            "a.conf: bad cniVersion: version \"9.9.9\" is not one of 0.1.0 to 1.1.0",
        ),
    ] {
        let error = chain(&parse(file, text).unwrap_err());
        assert!(error.starts_with(expected), "{text}: {error}");
    }
    let large = format!("{}{}", r#"{"name":"n","type":"t"}"#, " ".repeat(1 << 20));
    let error = parse("a.conf", &large).unwrap_err();
    assert_eq!(error.to_string(), "a.conf: is larger than 1 MiB");
}

/// What a folder's networks are, and what was said about the others.
fn loaded(folder: &Path) -> (Vec<String>, Vec<String>) {
    let networks = Networks::load(folder).unwrap();
    let shown = |n: &Network| format!("{} {} {:?}", n.file(), n.name(), n.origin());
    let all = networks.all().iter().map(shown).collect();
    let request = NetRequest::parse("all").unwrap();
    let (_, warnings) = networks.select(&request).unwrap();
    let names = |w: &Warning| chain(w).replace(&format!("{}/", folder.display()), "");
    (all, warnings.iter().map(names).collect())
}

#[test]
fn networks_without_a_folder_are_the_built_in_ones() {
    let (networks, warnings) = loaded(Path::new("/nowhere/net.d"));
    assert_eq!(
        networks,
        [
            "99-default-restricted.conf default-restricted BuiltIn",
            "99-default.conf default BuiltIn"
        ]
    );
    assert_eq!(warnings, [""; 0]);
    let networks = Networks::built_in();
    for (name, subnet, routes, masquerades) in
        [("default", "172.16.28.0/24", 1, true), ("default-restricted", "172.31.0.0/16", 0, false)]
    {
        let network = networks.find(&NetworkName::parse(name).unwrap()).unwrap();
        assert_eq!((network.version(), network.masquerades()), (Version::V0_1_0, masquerades));
        let ipam = network.plugin("ptp").unwrap().ipam().unwrap().unwrap();
        assert_eq!(ipam.kind, "host-local");
        assert_eq!(ipam.fields.text("subnet").unwrap(), Some(subnet));
        assert_eq!(ipam.fields.list("routes").unwrap().len(), routes);
    }
}

fn simple(name: &str) -> String {
    format!(r#"{{"name":"{name}","type":"ptp"}}"#)
}

#[test]
fn files_are_ordered_by_base_name_and_clash_by_the_rules() {
    let folder = Scratch::new();
    folder.write("20-a.conf", &simple("a"));
    folder.write("10-b.json", &simple("b"));
    folder.write("30-b.conf", &simple("b"));
    folder.write("99-z.conf", &simple("z"));
    folder.write("05-default.conf", &simple("default"));
    folder.write("README", "{");
    folder.write("07-bad.conf", "{");
    folder.write("08-empty.conflist", r#"{"name":"e","plugins":[]}"#);
    let (networks, warnings) = loaded(folder.path());
    assert_eq!(
        networks,
        [
            "05-default.conf default User",
            "10-b.json b User",
            "20-a.conf a User",
            "99-default-restricted.conf default-restricted BuiltIn",
            "99-z.conf z User",
        ]
    );
    assert_eq!(
        warnings,
        [
            "30-b.conf: ignored, network \"b\" is configured in \"10-b.json\" already",
            "05-default.conf: overrides the built-in network \"default\"",
            "skipping a network that cannot be used: 07-bad.conf: is not valid JSON: EOF while \
             parsing an object at line 1 column 1",
            "skipping a network that cannot be used: 08-empty.conflist: bad plugins: no plugin",
        ]
    );
}

#[test]
fn a_built_in_network_steps_aside_for_the_name_of_a_file() {
    let folder = Scratch::new();
    folder.write("99-default.conf", &simple("other"));
    let (networks, _) = loaded(folder.path());
    assert_eq!(
        networks,
        [
            "99-default-built-in.conf default BuiltIn",
            "99-default-restricted.conf default-restricted BuiltIn",
            "99-default.conf other User",
        ]
    );
}

#[test]
fn what_is_asked_for_is_selected_or_missed() {
    let folder = Scratch::new();
    folder.write("20-a.conf", &simple("a"));
    folder.write("10-b.conf", &simple("b"));
    folder.write("30-torn.conf", r#"{"type":"ptp", "name" : "torn", "#);
    folder.write("40-default.conf", r#"{"name":"default","type":"a/b"}"#);
    for (request, expected) in [
        ("a,b:IP=1.2.3.4", Ok("b<IP=1.2.3.4> a<>")),
        ("all,a:X=1", Ok("b<> a<X=1> default-restricted<>")),
        ("none", Ok("")),
        ("y,a,x", Err("networks not found: [y x]")),
        ("all,x", Err("networks not found: [x]")),
        ("torn", Err("network \"torn\" cannot be used: 30-torn.conf: is not valid JSON")),
        ("default", Err("network \"default\" cannot be used: 40-default.conf: bad type")),
    ] {
        let networks = Networks::load(folder.path()).unwrap();
        let found = networks.select(&NetRequest::parse(request).unwrap()).map(|(selected, _)| {
            let one = |s: &Selected| format!("{}<{}>", s.network.name(), s.args.as_str());
            selected.iter().map(one).collect::<Vec<_>>().join(" ")
        });
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{request}"),
            (Err(error), Err(expected)) => {
                let error = chain(&error).replace(&format!("{}/", folder.path().display()), "");
                assert!(error.starts_with(expected), "{request}: {error}");
            }
            (found, expected) => panic!("{request}: {found:?} instead of {expected:?}"),
        }
    }
}

#[test]
fn plugins_of_a_list_may_lie_in_a_folder() {
    let folder = Scratch::new();
    folder
        .write("10-a.conflist", r#"{"name":"a","cniVersion":"1.1.0","plugins":[{"type":"ptp"}]}"#);
    folder.write("a/20-y.conf", r#"{"type":"y","k":[1]}"#);
    folder.write("a/10-x.conf", r#"{"type":"x"}"#);
    folder.write("a/30-z.conflist", "{");
    folder.write(
        "20-b.conflist",
        r#"{"name":"b","loadOnlyInlinedPlugins":true,"plugins":[{"type":"ptp"}]}"#,
    );
    folder.write("b/10-x.conf", r#"{"type":"x"}"#);
    let kinds = |network: &Network| -> Vec<String> {
        network.plugins().iter().map(|plugin| plugin.kind().to_string()).collect()
    };
    let networks = Networks::load(folder.path()).unwrap();
    let find = |name| networks.find(&NetworkName::parse(name).unwrap()).unwrap();
    assert_eq!(kinds(find("a")), ["ptp", "x", "y"]);
    assert_eq!(kinds(find("b")), ["ptp"]);
    // The copy for the pod is the same network without the folder.
    let copy = Network::parse(Path::new("10-a.conflist"), find("a").text()).unwrap();
    assert_eq!(kinds(&copy), ["ptp", "x", "y"]);
    assert_eq!(copy.version(), Version::V1_1_0);
    folder.write("a/05-bad.conf", r#"{"type":"../x"}"#);
    let (networks, warnings) = loaded(folder.path());
    assert!(!networks.iter().any(|network| network.contains(" a ")), "{networks:?}");
    assert!(warnings[0].contains("a/05-bad.conf: bad type"), "{warnings:?}");
}

#[test]
fn only_regular_files_are_read() {
    let folder = Scratch::new();
    let elsewhere = Scratch::new();
    let file = elsewhere.write("k8s", &simple("linked"));
    symlink(file, folder.path().join("10-k8s.conf")).unwrap();
    symlink("/dev/zero", folder.path().join("20-zero.conf")).unwrap();
    symlink("/nowhere", folder.path().join("30-gone.conf")).unwrap();
    std::fs::create_dir(folder.path().join("40-folder.conf")).unwrap();
    let pipe = folder.path().join("50-pipe.conf");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    let (networks, warnings) = loaded(folder.path());
    assert_eq!(networks[0], "10-k8s.conf linked User");
    assert_eq!((networks.len(), warnings.len()), (3, 4), "{warnings:?}");
}

/// A reader, as text: what it read or why not.
fn read<T: Debug>(read: fn(&Plugin) -> Result<T, FieldError>, members: &str) -> Result<T, String> {
    read(&plugin(members)).map_err(|error| error.to_string())
}

#[test]
fn configurations_of_drivers() {
    let ptp =
        read(PtpConfig::read, r#""ipMasq":true,"mtu":1400,"dns":{"nameservers":["1.1.1.1"]}"#);
    let ptp = ptp.unwrap();
    assert_eq!((ptp.masquerade, ptp.mtu), (true, Some(1400)));
    assert_eq!(ptp.dns.nameservers, ["1.1.1.1"]);

    // minikube's file has a key that nobody knows, of an odd type.
    let bridge = read(
        BridgeConfig::read,
        r#""bridge":"mybridge","mtu":1460,"addIf":"true","isDefaultGateway":true,"vlan":7"#,
    )
    .unwrap();
    assert_eq!(
        (bridge.bridge.as_str(), bridge.mtu, bridge.vlan),
        ("mybridge", Some(1460), Some(7))
    );
    assert!(bridge.is_gateway && bridge.is_default_gateway && !bridge.masquerade);
    assert_eq!(read(BridgeConfig::read, r#""mtu":0"#).unwrap().bridge, "cni0");

    let macvlan =
        read(MacvlanConfig::read, r#""master":"eth0","mac":"C2:11:22:33:44:55""#).unwrap();
    assert_eq!((macvlan.master.as_deref(), macvlan.mode), (Some("eth0"), MacvlanMode::Bridge));
    assert_eq!(macvlan.mac.as_deref(), Some("c2:11:22:33:44:55"));
    let ipvlan = read(IpvlanConfig::read, r#""mode":"l3s","linkInContainer":true"#).unwrap();
    assert_eq!((ipvlan.mode, ipvlan.master_in_pod), (IpvlanMode::L3s, true));
    assert_eq!(read(VlanConfig::read, r#""vlanId":4094"#).unwrap().id, 4094);

    for (members, expected) in [
        (r#""device":"eth1""#, DeviceBy::Name("eth1".into())),
        (r#""hwaddr":"c2:11:22:33:44:55""#, DeviceBy::HardwareAddress("c2:11:22:33:44:55".into())),
        (r#""kernelpath":"/sys/devices/x""#, DeviceBy::KernelPath("/sys/devices/x".into())),
        (r#""pciBusID":"0000:00:1f.6""#, DeviceBy::PciBus("0000:00:1f.6".into())),
    ] {
        assert_eq!(read(HostDeviceConfig::read, members).unwrap().device, Some(expected));
    }
    let by_wish = read(HostDeviceConfig::read, r#""capabilities":{"deviceID":true}"#);
    assert_eq!(by_wish.unwrap().device, None);

    let tuning = read(
        TuningConfig::read,
        r#""sysctl":{"net.core.somaxconn":"500","net/ipv4/conf/eth0.1/rp_filter":"2"},"txQLen":0,
           "promisc":false,"allmulti":false"#,
    )
    .unwrap();
    assert_eq!(tuning.sysctl[0], ("net/core/somaxconn".into(), "500".into()));
    assert_eq!(
        (tuning.promiscuous, tuning.all_multicast, tuning.queue),
        (None, Some(false), Some(0))
    );

    let limits = read(BandwidthConfig::read, r#""ingressRate":1000,"ingressBurst":80"#).unwrap();
    assert_eq!(limits.ingress, Some(Rate { rate: 1000, burst: 80 }));
    assert_eq!(limits.egress, None);

    let portmap = read(PortmapConfig::read, r#""conditionsV4":["!","-s","10.0.0.0/8"]"#).unwrap();
    assert!(portmap.source_nat && portmap.mark_chain.is_none());
    assert_eq!((portmap.mark_bit, portmap.conditions_v4.len()), (13, 3));

    let firewall = read(FirewallConfig::read, r#""ingressPolicy":"same-bridge""#).unwrap();
    assert_eq!(firewall.backend, FirewallBackend::Auto);
    assert_eq!(firewall.ingress, IngressPolicy::SameBridge);
    assert_eq!((firewall.admin_chain.as_str(), firewall.zone.as_str()), ("CNI-ADMIN", "trusted"));

    let flannel = read(FlannelConfig::read, r#""delegate":{"bridge":"cbr0","mtu":1}"#).unwrap();
    assert_eq!(flannel.subnet_file, Path::new("/run/flannel/subnet.env"));
    assert_eq!(flannel.data_dir, Path::new("/var/lib/cni/flannel"));
    assert_eq!(flannel.delegate[0], ("bridge".to_owned(), "cbr0".into()));
}

fn check<T: Debug>(read: fn(&Plugin) -> Result<T, FieldError>, cases: &[(&str, &str)]) {
    for (members, expected) in cases {
        let error = self::read(read, members).unwrap_err();
        assert_eq!(error, format!("f.conf: bad {expected}"), "{members}");
    }
}

#[test]
fn known_members_of_the_wrong_type_are_named() {
    check(
        PtpConfig::read,
        &[
            (r#""ipMasq":"true""#, "ipMasq: must be true or false"),
            (r#""mtu":"1400""#, "mtu: must be a number"),
            (r#""mtu":-1"#, "mtu: is out of range"),
            (r#""mtu":1.5"#, "mtu: is out of range"),
            (r#""mtu":4294967296"#, "mtu: is out of range"),
            (r#""dns":[]"#, "dns: must be an object"),
            (r#""dns":{"nameservers":"1.1.1.1"}"#, "dns.nameservers: must be a list"),
            (r#""dns":{"search":[1]}"#, "dns.search: must be a list of strings"),
        ],
    );
    check(
        BridgeConfig::read,
        &[
            (r#""bridge":"a/b""#, "bridge: \"a/b\" is not the name of an interface"),
            (
                r#""bridge":"sixteen-letters-""#,
                "bridge: \"sixteen-letters-\" is not the name of an interface",
            ),
            (r#""vlan":4095"#, "vlan: is not between 0 and 4094"),
            (
                r#""hairpinMode":true,"promiscMode":true"#,
                "hairpinMode: cannot be set together with promiscMode",
            ),
            (r#""vlanTrunk":[{"id":1}]"#, "vlanTrunk: is not supported"),
        ],
    );
    check(
        MacvlanConfig::read,
        &[
            (r#""mode":"x""#, "mode: \"x\" is none of bridge, private, vepa, passthru"),
            (r#""mac":"c2:11""#, "mac: \"c2:11\" is not a hardware address"),
        ],
    );
    check(
        HostDeviceConfig::read,
        &[
            (
                r#""device":"""#,
                "device: one of device, hwaddr, kernelpath, pciBusID must say which device",
            ),
            (
                r#""kernelpath":"/sys/devices/../x""#,
                "kernelpath: \"/sys/devices/../x\" is not below /sys/devices",
            ),
            (r#""pciBusID":"..""#, "pciBusID: \"..\" is not a place on the PCI bus"),
        ],
    );
}

#[test]
fn known_members_of_settings_are_named() {
    check(
        TuningConfig::read,
        &[
            (r#""sysctl":{"kernel.x":"1"}"#, "sysctl.kernel.x: is not a setting of a network"),
            (
                r#""sysctl":{"net/../kernel":"1"}"#,
                "sysctl.net/../kernel: is not a setting of a network",
            ),
            (r#""sysctl":{"net.x":1}"#, "sysctl.net.x: must be a string"),
        ],
    );
    check(
        BandwidthConfig::read,
        &[
            (r#""egressRate":1"#, "egressRate: egressRate and egressBurst must be given together"),
            (
                r#""ingressRate":1,"ingressBurst":34359738376"#,
                "ingressBurst: is more than the kernel can count",
            ),
        ],
    );
    check(
        PortmapConfig::read,
        &[
            (r#""markMasqBit":32"#, "markMasqBit: is not between 0 and 31"),
            (
                r#""markMasqBit":3,"externalSetMarkChain":"K""#,
                "externalSetMarkChain: cannot be set together with markMasqBit",
            ),
        ],
    );
    check(
        FirewallConfig::read,
        &[(r#""backend":"x""#, "backend: \"x\" is none of iptables, firewalld")],
    );
    check(
        FlannelConfig::read,
        &[
            (r#""subnetFile":"x""#, "subnetFile: \"x\" is not an absolute path"),
            (r#""delegate":"x""#, "delegate: must be an object"),
        ],
    );
}
