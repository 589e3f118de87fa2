//! The ports of the host that lead to a pod.

use appc::{PodManifest, Port};
use std::fmt;
use std::net::IpAddr;

/// What a port belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// The protocol of this name in a manifest.
    pub fn named(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "tcp" => Some(Self::Tcp),
            "udp" => Some(Self::Udp),
            "sctp" => Some(Self::Sctp),
            _ => None,
        }
    }

    /// Its number in a packet.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One port of the host, and where it leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    /// What it belongs to.
    pub protocol: Protocol,
    /// The address of the host; `None` is every one.
    pub host_ip: Option<IpAddr>,
    /// The port of the host.
    pub host_port: u16,
    /// The port of the pod.
    pub pod_port: u16,
}

/// A port that cannot be forwarded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadForward {
    /// No app has it.
    #[error("no app of the pod has a port {0:?}")]
    Unknown(String),
    /// It is of a protocol that has no ports.
    #[error("port {name:?} has protocol {protocol:?}: only tcp, udp and sctp can be forwarded")]
    Protocol {
        /// The port.
        name: String,
        /// What its image says.
        protocol: String,
    },
    /// A range does not fit.
    #[error("the range of port {0:?} ends beyond port 65535 of the host")]
    Range(String),
}

/// What the manifest of a pod asks to be forwarded; ranges are many ports.
///
/// # Errors
/// See [`BadForward`].
pub fn of(manifest: &PodManifest) -> Result<Vec<Forward>, BadForward> {
    let mut found = Vec::new();
    for rule in &manifest.ports {
        let name = rule.name.as_str();
        let port = match &rule.pod_port {
            Some(port) => port,
            None => named(manifest, name).ok_or_else(|| BadForward::Unknown(name.to_owned()))?,
        };
        let bad =
            || BadForward::Protocol { name: name.to_owned(), protocol: port.protocol.clone() };
        let protocol = Protocol::named(&port.protocol).ok_or_else(bad)?;
        let host_ip = rule.host_ip.filter(|ip| !ip.is_unspecified());
        for offset in 0..port.count {
            let shifted = |first: u16| u16::try_from(u32::from(first).checked_add(offset)?).ok();
            let both = shifted(rule.host_port).zip(shifted(port.port));
            let (host_port, pod_port) = both.ok_or_else(|| BadForward::Range(name.to_owned()))?;
            found.push(Forward { protocol, host_ip, host_port, pod_port });
        }
    }
    Ok(found)
}

fn named<'a>(manifest: &'a PodManifest, name: &str) -> Option<&'a Port> {
    let apps = manifest.apps.iter().filter_map(|app| app.app.as_ref());
    apps.flat_map(|app| &app.ports).find(|port| port.name.as_str() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_many_ports() {
        let text = r#"{"acKind":"PodManifest","acVersion":"0.8.11","apps":[{"name":"a","image":{},"app":{
            "exec":["/x"],"user":"0","group":"0","ports":[
            {"name":"http","protocol":"tcp","port":80,"count":2,"socketActivated":false},
            {"name":"odd","protocol":"igmp","port":81,"count":1,"socketActivated":false}]}}],
            "ports":[PORTS]}"#;
        let forwards = |ports: &str| {
            let manifest = PodManifest::from_json(text.replace("PORTS", ports).as_bytes());
            of(&manifest.unwrap())
        };
        let tcp = |host_ip, host_port, pod_port| Forward {
            protocol: Protocol::Tcp,
            host_ip,
            host_port,
            pod_port,
        };
        assert_eq!(
            forwards(r#"{"name":"http","hostPort":8080}"#).unwrap(),
            [tcp(None, 8080, 80), tcp(None, 8081, 81)]
        );
        let one = Some("127.0.0.1".parse().unwrap());
        assert_eq!(
            forwards(r#"{"name":"http","hostPort":8080,"hostIP":"127.0.0.1"}"#).unwrap(),
            [tcp(one, 8080, 80), tcp(one, 8081, 81)]
        );
        let end = forwards(r#"{"name":"http","hostPort":65535}"#).unwrap_err();
        assert_eq!(end, BadForward::Range("http".to_owned()));
        let odd = forwards(r#"{"name":"odd","hostPort":1}"#).unwrap_err();
        assert!(odd.to_string().contains("\"igmp\""));
    }
}
