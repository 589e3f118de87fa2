use super::*;
use crate::version::Version;
use appc::json::{Json, compact};
use sys::cause::chain;

fn parse(text: &str, version: Version) -> Result<CniResult, String> {
    CniResult::parse(text.as_bytes(), version).map_err(|error| chain(&error))
}

/// Both addresses, routes with and without gateway.
fn full() -> CniResult {
    CniResult {
        interfaces: vec![
            Interface { name: "veth1".into(), mac: Some("0a:00".into()), ..Interface::default() },
            Interface {
                name: "eth0".into(),
                mac: Some("0b:00".into()),
                mtu: Some(1400),
                sandbox: Some("/run/netns/x".into()),
                socket_path: Some("/run/s".into()),
                pci_id: Some("0000:00:1f.6".into()),
            },
        ],
        ips: vec![
            AssignedIp {
                address: Cidr::parse("10.1.2.3/24").unwrap(),
                gateway: Some("10.1.2.1".parse().unwrap()),
                interface: Some(1),
            },
            AssignedIp {
                address: Cidr::parse("fd00::3/64").unwrap(),
                gateway: None,
                interface: Some(1),
            },
        ],
        routes: vec![
            Route {
                mtu: Some(1300),
                advmss: Some(1200),
                priority: Some(5),
                table: Some(100),
                scope: Some(253),
                ..Route::new(Cidr::parse("0.0.0.0/0").unwrap(), None)
            },
            Route::new(Cidr::parse("::/0").unwrap(), Some("fd00::1".parse().unwrap())),
        ],
        dns: Dns {
            nameservers: vec!["10.1.2.1".into()],
            domain: Some("d".into()),
            search: vec!["s".into()],
            options: vec!["ndots:2".into()],
        },
    }
}

const DNS: &str =
    r#""dns":{"nameservers":["10.1.2.1"],"domain":"d","search":["s"],"options":["ndots:2"]}"#;

/// A value in the form of each version, and what of it is left when it is read again.
#[test]
fn forms() {
    let old = |version: &str| {
        format!(
            r#"{{"cniVersion":"{version}","ip4":{{"ip":"10.1.2.3/24","gateway":"10.1.2.1","routes":[{{"dst":"0.0.0.0/0"}}]}},"ip6":{{"ip":"fd00::3/64","routes":[{{"dst":"::/0","gw":"fd00::1"}}]}},{DNS}}}"#
        )
    };
    let middle = |version: &str| {
        format!(
            r#"{{"cniVersion":"{version}","interfaces":[{{"name":"veth1","mac":"0a:00"}},{{"name":"eth0","mac":"0b:00","sandbox":"/run/netns/x"}}],"ips":[{{"version":"4","interface":1,"address":"10.1.2.3/24","gateway":"10.1.2.1"}},{{"version":"6","interface":1,"address":"fd00::3/64"}}],"routes":[{{"dst":"0.0.0.0/0"}},{{"dst":"::/0","gw":"fd00::1"}}],{DNS}}}"#
        )
    };
    let without_family =
        |text: String| text.replace(r#""version":"4","#, "").replace(r#""version":"6","#, "");
    let latest = without_family(middle("1.1.0"))
        .replace(
            r#""mac":"0b:00","sandbox":"/run/netns/x""#,
            r#""mac":"0b:00","mtu":1400,"sandbox":"/run/netns/x","socketPath":"/run/s","pciID":"0000:00:1f.6""#,
        )
        .replace(
            r#"{"dst":"0.0.0.0/0"}"#,
            r#"{"dst":"0.0.0.0/0","mtu":1300,"advmss":1200,"priority":5,"table":100,"scope":253}"#,
        );
    for (version, expected) in [
        (Version::V0_1_0, old("0.1.0")),
        (Version::V0_2_0, old("0.2.0")),
        (Version::V0_3_0, middle("0.3.0")),
        (Version::V0_3_1, middle("0.3.1")),
        (Version::V0_4_0, middle("0.4.0")),
        (Version::V1_0_0, without_family(middle("1.0.0"))),
        (Version::V1_1_0, latest),
    ] {
        let written = compact(&full().write(version));
        assert_eq!(written, expected, "{version}");
        let mut left = full();
        if version < Version::V1_1_0 {
            for interface in &mut left.interfaces {
                (interface.mtu, interface.socket_path, interface.pci_id) = (None, None, None);
            }
            left.routes.iter_mut().for_each(|route| *route = Route::new(route.dst, route.gw));
        }
        if version <= Version::V0_2_0 {
            left.interfaces.clear();
            left.ips.iter_mut().for_each(|ip| ip.interface = None);
        }
        assert_eq!(parse(&written, version).unwrap(), left, "{version}");
    }
}

#[test]
fn what_plugins_say() {
    for (text, version, addresses) in [
        ("", Version::V1_0_0, ""),
        (" \n", Version::V0_1_0, ""),
        ("{}", Version::V0_1_0, ""),
        (r#"{"dns":{}}"#, Version::V0_1_0, ""),
        (r#"{"ip4":{"ip":"10.0.0.2/8"}}"#, Version::V0_1_0, "10.0.0.2/8"),
        // Answers of the old protocol to a configuration of the new one.
        (r#"{"cniVersion":"0.2.0","ip4":{"ip":"10.0.0.2/8"}}"#, Version::V1_0_0, "10.0.0.2/8"),
        (r#"{"ip4":{"ip":"10.0.0.2/8"}}"#, Version::V1_0_0, "10.0.0.2/8"),
        (r#"{"ip4":null,"ip6":{"ip":"fd00::2/64"}}"#, Version::V0_2_0, "fd00::2/64"),
        (
            r#"{"cniVersion":"0.3.1","ips":[{"version":"4","interface":-1,"address":"10.0.0.2/8"}]}"#,
            Version::V0_3_1,
            "10.0.0.2/8",
        ),
        (
            r#"{"CNIVersion":"1.0.0","IPs":[{"Address":"10.0.0.2/8"}]}"#,
            Version::V1_0_0,
            "10.0.0.2/8",
        ),
    ] {
        let result = parse(text, version).unwrap();
        let shown: Vec<String> = result.ips.iter().map(|ip| ip.address.to_string()).collect();
        assert_eq!(shown.join(" "), addresses, "{text}");
    }
}

#[test]
fn what_cannot_be_understood() {
    for (text, expected) in [
        ("no", "result is not valid JSON: "),
        ("[]", "result: bad result: must be an object"),
        (r#"{"cniVersion":"7.0.0"}"#, "result is of the unknown version \"7.0.0\""),
        (r#"{"ips":[{}]}"#, "result: bad ips[0].address: is missing"),
        (r#"{"ips":[{"address":"10.0.0.2"}]}"#, "result: bad ips[0].address: \"10.0.0.2\""),
        (r#"{"ips":[{"address":"1.2.3.4/8","interface":0}]}"#, "result names interface 0, which"),
        (r#"{"ip4":{}}"#, "result: bad ip4.ip: is missing"),
        (r#"{"ip4":{"ip":"fd00::1/64"}}"#, "result: bad ip4.ip: is an address of the other family"),
        (r#"{"routes":[{"gw":"1.2.3.4"}]}"#, "result: bad routes[0].dst: is missing"),
        (r#"{"routes":[{"dst":"0.0.0.0/0","gw":"x"}]}"#, "result: bad routes[0].gw: \"x\" is not"),
        (r#"{"dns":{"nameservers":[1]}}"#, "result: bad dns.nameservers: must be a list of"),
        (r#"{"interfaces":{}}"#, "result: bad interfaces: must be a list"),
    ] {
        let error = parse(text, Version::V1_0_0).unwrap_err();
        assert!(error.starts_with(expected), "{text}: {error}");
    }
    let many = vec![r#"{"dst":"0.0.0.0/0"}"#; 1025].join(",");
    parse(&format!(r#"{{"routes":[{many}]}}"#), Version::V1_0_0).unwrap_err();
    let large = " ".repeat((1 << 20) + 1);
    assert_eq!(parse(&large, Version::V1_0_0).unwrap_err(), "result is larger than 1 MiB");
    CniResult::read(&Json::Null, Version::V1_0_0).unwrap_err();
}
