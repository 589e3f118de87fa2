//! What a pod wants of its networks beyond being joined: each of it reaches a plugin only if the plugin's configuration
//! declares the capability.

use crate::config::Plugin;
use crate::config::kinds::{BandwidthConfig, Rate};
use crate::ports::Forward;
use crate::request::RequestedIp;
use crate::result::Dns;
use appc::json::Json;
use std::net::IpAddr;

/// A port of the host that leads to one of the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortMapping {
    /// The port on the host.
    pub host_port: u16,
    /// The port in the pod.
    pub pod_port: u16,
    /// `tcp`, `udp`, `sctp`.
    pub protocol: String,
    /// The address on the host; `None` is every one.
    pub host_ip: Option<IpAddr>,
}

impl From<&Forward> for PortMapping {
    fn from(forward: &Forward) -> Self {
        Self {
            host_port: forward.host_port,
            pod_port: forward.pod_port,
            protocol: forward.protocol.name().to_owned(),
            host_ip: forward.host_ip,
        }
    }
}

/// What a pod wants of its networks.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wishes {
    /// Ports of the host.
    pub ports: Vec<PortMapping>,
    /// Limits of its traffic.
    pub bandwidth: BandwidthConfig,
    /// Ranges to take addresses from, as host-local writes `ranges`.
    pub ip_ranges: Option<Json>,
    /// Addresses.
    pub ips: Vec<RequestedIp>,
    /// A hardware address.
    pub mac: Option<String>,
    /// DNS.
    pub dns: Dns,
    /// Names under which others on the network may find it.
    pub aliases: Vec<String>,
    /// A device of the host.
    pub device_id: Option<String>,
    /// An identity on InfiniBand.
    pub infiniband_guid: Option<String>,
    /// The pod's control group.
    pub cgroup_path: Option<String>,
}

impl Wishes {
    /// `runtimeConfig` for a plugin: what it declares and the pod wants; `None` if there is nothing.
    pub fn runtime_config(&self, plugin: &Plugin) -> Option<Json> {
        let mut members = Vec::new();
        let mut put = |capability: &str, value: Option<Json>| {
            if let Some(value) = value.filter(|_| plugin.is_capable(capability)) {
                members.push((capability.to_owned(), value));
            }
        };
        put("portMappings", list(&self.ports, port));
        put("bandwidth", limits(&self.bandwidth));
        put("ipRanges", self.ip_ranges.clone());
        put("ips", list(&self.ips, |ip| ip.to_string().into()));
        put("mac", self.mac.as_deref().map(Json::from));
        put("dns", servers(&self.dns));
        put("aliases", list(&self.aliases, |alias| alias.as_str().into()));
        put("deviceID", self.device_id.as_deref().map(Json::from));
        put("infinibandGUID", self.infiniband_guid.as_deref().map(Json::from));
        put("cgroupPath", self.cgroup_path.as_deref().map(Json::from));
        (!members.is_empty()).then_some(Json::Object(members))
    }
}

fn list<T>(values: &[T], one: impl Fn(&T) -> Json) -> Option<Json> {
    (!values.is_empty()).then(|| Json::List(values.iter().map(one).collect()))
}

fn port(port: &PortMapping) -> Json {
    let mut members = vec![
        ("hostPort".to_owned(), u64::from(port.host_port).into()),
        ("containerPort".to_owned(), u64::from(port.pod_port).into()),
        ("protocol".to_owned(), port.protocol.as_str().into()),
    ];
    if let Some(address) = port.host_ip {
        members.push(("hostIP".to_owned(), address.to_string().into()));
    }
    Json::Object(members)
}

fn limits(limits: &BandwidthConfig) -> Option<Json> {
    let mut members = Vec::new();
    for (direction, limit) in [("ingress", limits.ingress), ("egress", limits.egress)] {
        if let Some(Rate { rate, burst }) = limit {
            members.push((format!("{direction}Rate"), rate.into()));
            members.push((format!("{direction}Burst"), burst.into()));
        }
    }
    (!members.is_empty()).then_some(Json::Object(members))
}

/// DNS as the capability spells it, which is not how results do.
fn servers(dns: &Dns) -> Option<Json> {
    let lists =
        [("servers", &dns.nameservers), ("searches", &dns.search), ("options", &dns.options)];
    let members = lists.into_iter().filter_map(|(key, values)| {
        let values = list(values, |text| text.as_str().into())?;
        Some((key.to_owned(), values))
    });
    let members: Vec<_> = members.collect();
    (!members.is_empty()).then_some(Json::Object(members))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Network;
    use crate::request::requested;
    use std::path::Path;

    #[test]
    fn only_what_is_declared_is_told() {
        let wishes = Wishes {
            ports: vec![
                PortMapping {
                    host_port: 8080,
                    pod_port: 80,
                    protocol: "tcp".into(),
                    host_ip: Some("10.0.0.1".parse().unwrap()),
                },
                PortMapping { host_port: 53, pod_port: 53, protocol: "udp".into(), host_ip: None },
            ],
            bandwidth: BandwidthConfig {
                ingress: Some(Rate { rate: 1000, burst: 2000 }),
                egress: None,
            },
            ip_ranges: Some(Json::parse(br#"[[{"subnet":"10.1.0.0/24"}]]"#).unwrap()),
            ips: vec![requested("10.1.2.3").unwrap(), requested("fd00::1/64").unwrap()],
            mac: Some("c2:11:22:33:44:55".into()),
            dns: Dns {
                nameservers: vec!["8.8.8.8".into()],
                search: vec!["a.b".into()],
                domain: Some("no word for it".into()),
                options: Vec::new(),
            },
            aliases: vec!["db".into()],
            ..Wishes::default()
        };
        let told = |capabilities: &str| {
            let text = format!(r#"{{"name":"n","type":"t","capabilities":{capabilities}}}"#);
            let network = Network::parse(Path::new("n.conf"), text.as_bytes()).unwrap();
            wishes.runtime_config(&network.plugins()[0]).map(|json| appc::json::compact(&json))
        };
        for (capabilities, expected) in [
            ("{}", None),
            (r#"{"portMappings":false,"mac":"true","cgroupPath":true}"#, None),
            (
                r#"{"portMappings":true}"#,
                Some(
                    r#"{"portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"tcp","hostIP":"10.0.0.1"},{"hostPort":53,"containerPort":53,"protocol":"udp"}]}"#,
                ),
            ),
            (
                r#"{"bandwidth":true,"mac":true}"#,
                Some(
                    r#"{"bandwidth":{"ingressRate":1000,"ingressBurst":2000},"mac":"c2:11:22:33:44:55"}"#,
                ),
            ),
            (
                r#"{"ips":true,"ipRanges":true,"aliases":true}"#,
                Some(
                    r#"{"ipRanges":[[{"subnet":"10.1.0.0/24"}]],"ips":["10.1.2.3","fd00::1/64"],"aliases":["db"]}"#,
                ),
            ),
            (r#"{"dns":true}"#, Some(r#"{"dns":{"servers":["8.8.8.8"],"searches":["a.b"]}}"#)),
        ] {
            assert_eq!(told(capabilities).as_deref(), expected, "{capabilities}");
        }
    }
}
