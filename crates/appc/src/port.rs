//! Ports: what an app listens on, and which of them the host forwards.

use crate::image::object;
use crate::json::Json;
use crate::name::AcName;
use crate::read::{self, ManifestError, bad};
use std::net::IpAddr;

/// A port of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name.
    pub name: AcName,
    /// `tcp` or `udp`; other words are kept.
    pub protocol: String,
    /// The first port, 1 to 65535.
    pub port: u16,
    /// How many, at least 1.
    pub count: u32,
    /// Whether the executor passes a listening socket.
    pub socket_activated: bool,
}

impl Port {
    pub(crate) fn read(json: &Json) -> Result<Self, ManifestError> {
        read::object(json, "port")?;
        let number = read::number(json, "port")?.unwrap_or(0);
        let count = read::number(json, "count")?.filter(|c| *c != 0).unwrap_or(1);
        let port = u16::try_from(number).ok().filter(|p| *p > 0);
        let port =
            port.ok_or_else(|| bad("port", format!("{number} is not between 1 and 65535")))?;
        let count = u32::try_from(count).ok().filter(|c| u32::from(port) + *c <= 65_536);
        Ok(Self {
            name: read::ac_name(json, "name").or_else(|e| match read::text(json, "name")? {
                // The reference tools take a port without a name.
                None => AcName::sanitise(&port.to_string()).map_err(|e| bad("name", e)),
                Some(_) => Err(e),
            })?,
            protocol: read::owned(json, "protocol")?,
            port,
            count: count.ok_or_else(|| bad("port", "the range ends beyond 65535"))?,
            socket_activated: read::flag(json, "socketActivated")?.unwrap_or(false),
        })
    }

    pub(crate) fn write(&self) -> Json {
        Json::object([
            ("name", self.name.as_str().into()),
            ("protocol", self.protocol.as_str().into()),
            ("port", u64::from(self.port).into()),
            ("count", u64::from(self.count).into()),
            ("socketActivated", self.socket_activated.into()),
        ])
    }
}

/// A `--port` value that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPort {
    /// It has not the shape `NAME:[HOSTIP:]HOSTPORT`.
    #[error("port forwarding must be given as NAME:[HOSTIP:]HOSTPORT, not {0:?}")]
    Shape(String),
    /// The name is none.
    #[error(transparent)]
    Name(#[from] crate::name::BadName),
    /// The address is none.
    #[error("{0:?} is not a valid IP")]
    Address(String),
    /// The number is none.
    #[error("{0:?} is not a valid port number")]
    Number(String),
}

/// A port of the host that leads to a port of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExposedPort {
    /// The name of the app's port.
    pub name: AcName,
    /// The port on the host.
    pub host_port: u16,
    /// The address on the host; `None` is every one.
    pub host_ip: Option<IpAddr>,
    /// The pod's port, where it is not looked up by name.
    pub pod_port: Option<Port>,
}

impl ExposedPort {
    /// Reads `NAME:HOSTPORT`, `NAME:IP:HOSTPORT` or `NAME:[IP6]:HOSTPORT`.
    ///
    /// # Errors
    /// See [`BadPort`].
    pub fn parse_flag(text: &str) -> Result<Self, BadPort> {
        let shape = || BadPort::Shape(text.to_owned());
        let (name, rest) = text.split_once(':').ok_or_else(shape)?;
        let (address, number) = match rest.rsplit_once(':') {
            Some((address, number)) => (Some(address), number),
            None => (None, rest),
        };
        let host_ip = address.map(|a| {
            let bare = a.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(a);
            bare.parse::<IpAddr>().map_err(|_| BadPort::Address(a.to_owned()))
        });
        let port = number.parse::<u16>().ok().filter(|p| *p > 0);
        Ok(Self {
            name: AcName::parse(name)?,
            host_port: port.ok_or_else(|| BadPort::Number(number.to_owned()))?,
            host_ip: host_ip.transpose()?,
            pod_port: None,
        })
    }

    pub(crate) fn read(json: &Json) -> Result<Self, ManifestError> {
        read::object(json, "port")?;
        let number = read::number(json, "hostPort")?.unwrap_or(0);
        let host_port = u16::try_from(number).ok().filter(|p| *p > 0);
        let address = read::text(json, "hostIP")?.filter(|t| !t.is_empty());
        Ok(Self {
            name: read::ac_name(json, "name")?,
            host_port: host_port
                .ok_or_else(|| bad("hostPort", format!("{number} is not a port number")))?,
            host_ip: address
                .map(|a| {
                    a.parse().map_err(|_| bad("hostIP", format!("{a:?} is not an IP address")))
                })
                .transpose()?,
            pod_port: json.get("podPort").map(Port::read).transpose()?,
        })
    }

    pub(crate) fn write(&self) -> Json {
        let mut members = vec![
            ("name", Json::from(self.name.as_str())),
            ("hostPort", u64::from(self.host_port).into()),
        ];
        if let Some(address) = self.host_ip {
            members.push(("hostIP", address.to_string().into()));
        }
        if let Some(port) = &self.pod_port {
            members.push(("podPort", port.write()));
        }
        object(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarding_flags() {
        let port = ExposedPort::parse_flag("http:8080").unwrap();
        assert_eq!((port.name.as_str(), port.host_port, port.host_ip), ("http", 8080, None));
        let port = ExposedPort::parse_flag("http:127.0.0.1:80").unwrap();
        assert_eq!(port.host_ip.unwrap().to_string(), "127.0.0.1");
        assert!(ExposedPort::parse_flag("http:[::1]:80").unwrap().host_ip.unwrap().is_ipv6());
        for (bad, text) in [
            ("http:99999", "\"99999\" is not a valid port number"),
            ("http:0", "\"0\" is not a valid port number"),
            ("http:1.2.3:80", "\"1.2.3\" is not a valid IP"),
        ] {
            assert_eq!(ExposedPort::parse_flag(bad).unwrap_err().to_string(), text);
        }
        ExposedPort::parse_flag("http").unwrap_err();
        ExposedPort::parse_flag("a.b:80").unwrap_err();
    }
}
