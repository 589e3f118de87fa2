//! Addresses as configured, or as asked for: the type `static`. Nothing is noted, nothing is given back.

use super::{IpamError, IpamRequest};
use crate::cidr::Cidr;
use crate::config::FieldError;
use crate::config::kinds::dns;
use crate::request::RequestedIp;
use crate::result::{AssignedIp, CniResult};

/// The addresses, routes and DNS of an interface.
///
/// Addresses of arguments come beside those of the configuration; `args.cni.ips` of the configuration and the pod's wishes
/// come in their place.
///
/// # Errors
/// A member has the wrong type, or an address has no prefix.
pub fn add(request: &IpamRequest<'_>) -> Result<CniResult, IpamError> {
    let fields = request.ipam()?.fields;
    let mut ips = Vec::new();
    for inside in fields.objects("addresses")? {
        let address = inside.cidr("address")?;
        let address = address.ok_or_else(|| inside.bad("address", "is missing"))?;
        ips.push(AssignedIp { address, gateway: inside.address("gateway")?, interface: None });
    }
    let wanted = request.wanted()?;
    let whole = |wanted: Vec<RequestedIp>| -> Result<Vec<AssignedIp>, FieldError> {
        let one = |ip: RequestedIp| {
            let address = ip.prefix.and_then(|prefix| Cidr::new(ip.address, prefix));
            let bad = || fields.bad("addresses", format!("{ip} has no prefix length"));
            let address = address.ok_or_else(bad)?;
            Ok(AssignedIp { address, gateway: None, interface: None })
        };
        wanted.into_iter().map(one).collect()
    };
    let mut asked = whole(wanted.argued)?;
    for gateway in request.args.gateways()? {
        for ip in &mut asked {
            if ip.address.contains(gateway) {
                ip.gateway = Some(gateway);
            }
        }
    }
    ips.append(&mut asked);
    for instead in [wanted.configured, wanted.wished] {
        if !instead.is_empty() {
            ips = whole(instead)?;
        }
    }
    if ips.is_empty() {
        return Err(fields.bad("addresses", "no address").into());
    }
    let routes = fields.objects("routes")?;
    let routes = routes.iter().map(crate::result::route).collect::<Result<_, _>>()?;
    Ok(CniResult { interfaces: Vec::new(), ips, routes, dns: dns(&fields)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Network;
    use crate::request::{NetworkArgs, requested};
    use crate::wishes::Wishes;
    use std::path::Path;

    /// What is given to a plugin of these members, for arguments and wishes.
    fn given(members: &str, args: &str, wishes: &[&str]) -> Result<String, String> {
        let text = format!(r#"{{"name":"n","type":"t","cniVersion":"1.0.0",{members}}}"#);
        let network = Network::parse(Path::new("n.conf"), text.as_bytes()).unwrap();
        let wishes = Wishes {
            ips: wishes.iter().map(|text| requested(text).unwrap()).collect(),
            ..Wishes::default()
        };
        let result = add(&IpamRequest {
            network: network.name(),
            version: network.version(),
            plugin: &network.plugins()[0],
            container: "c",
            ifname: "eth0",
            args: &NetworkArgs::new(args),
            wishes: &wishes,
        });
        let shown = |result: CniResult| {
            let one = |ip: &AssignedIp| match ip.gateway {
                Some(gateway) => format!("{}>{gateway}", ip.address),
                None => ip.address.to_string(),
            };
            let ips: Vec<String> = result.ips.iter().map(one).collect();
            format!(
                "{} routes {} dns {}",
                ips.join(" "),
                result.routes.len(),
                !result.dns.is_empty()
            )
        };
        result.map(shown).map_err(|error| error.to_string())
    }

    #[test]
    fn addresses() {
        let two = r#""ipam":{"type":"static","addresses":[{"address":"10.10.0.1/24","gateway":"10.10.0.254"},
            {"address":"fd00::1/64"}],"routes":[{"dst":"0.0.0.0/0"}],"dns":{"nameservers":["8.8.8.8"]}}"#;
        let none = r#""ipam":{"type":"static"}"#;
        let configured = r#""ipam":{"type":"static","addresses":[{"address":"10.10.0.1/24"}]},
            "args":{"cni":{"ips":["10.10.0.2/24"]}}"#;
        let capable = r#""ipam":{"type":"static","addresses":[{"address":"10.10.0.1/24"}]},
            "capabilities":{"ips":true}"#;
        for (members, args, wishes, expected) in [
            (two, "", &[][..], "10.10.0.1/24>10.10.0.254 fd00::1/64 routes 1 dns true"),
            (
                none,
                "IP=10.9.0.1/24,10.8.0.1/16;GATEWAY=10.8.0.254",
                &[],
                "10.9.0.1/24 10.8.0.1/16>10.8.0.254 routes 0 dns false",
            ),
            (configured, "", &["10.10.0.3/24"], "10.10.0.2/24 routes 0 dns false"),
            (capable, "", &["10.10.0.3/24"], "10.10.0.3/24 routes 0 dns false"),
            (capable, "", &[], "10.10.0.1/24 routes 0 dns false"),
        ] {
            assert_eq!(given(members, args, wishes).as_deref(), Ok(expected), "{members} {args}");
        }
        for (members, args, expected) in [
            (none, "", "n.conf: bad ipam.addresses: no address"),
            (none, "IP=10.0.0.1", "n.conf: bad ipam.addresses: 10.0.0.1 has no prefix length"),
            (none, "IP=x", "network argument IP=\"x\" is not an IP address"),
            (
                r#""ipam":{"type":"static","addresses":[{}]}"#,
                "",
                "n.conf: bad ipam.addresses[0].address: is missing",
            ),
            (r#""mtu":1"#, "", "network \"n\" has no ipam"),
        ] {
            assert_eq!(given(members, args, &[]).unwrap_err(), expected, "{members} {args}");
        }
    }
}
