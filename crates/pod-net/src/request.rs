//! What `--net` asks for.

use crate::cidr::Cidr;
use crate::name::{BadName, NetworkName};
use std::net::IpAddr;
use std::path::PathBuf;

/// No command line needs more.
const LONGEST: usize = 64 << 10;

/// A value of `--net` that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadNetRequest {
    /// A network twice.
    #[error("found duplicate netname {0:?}")]
    Duplicate(String),
    /// Something between commas that is no name.
    #[error("bad --net")]
    Name(#[from] BadName),
    /// Arguments for what takes none.
    #[error("network {0:?} takes no arguments")]
    Arguments(&'static str),
    /// A word that says everything, and other networks beside it.
    #[error("network {0:?} cannot be combined with others")]
    Alone(&'static str),
    /// `ns:` without an absolute path.
    #[error("ns: must be followed by an absolute path, not {0:?}")]
    Namespace(String),
    /// Longer than 64 KiB.
    #[error("--net is too long")]
    Long,
}

/// What a pod's network should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetRequest {
    /// The network that the caller lives in.
    Host,
    /// A network of its own with `lo` alone.
    Loopback,
    /// A namespace that somebody else has made and set up.
    Namespace(PathBuf),
    /// Every network that is configured; those named have arguments.
    All(Vec<Wanted>),
    /// These networks.
    Named(Vec<Wanted>),
}

/// A network by name, and what its plugins are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub name: NetworkName,
    /// What its plugins are told.
    pub args: NetworkArgs,
}

impl NetRequest {
    /// Reads `host`, `none`, `ns:PATH`, `all` or `NAME[:ARGS][,NAME[:ARGS]…]`. `host` in a list wins.
    ///
    /// # Errors
    /// See [`BadNetRequest`].
    pub fn parse(text: &str) -> Result<Self, BadNetRequest> {
        if text.len() > LONGEST {
            return Err(BadNetRequest::Long);
        }
        // The rest is one path, which may hold commas.
        if let Some(path) = text.strip_prefix("ns:") {
            let bad = || BadNetRequest::Namespace(path.to_owned());
            let good = path.starts_with('/') && !path.contains('\0');
            return if good { Ok(Self::Namespace(path.into())) } else { Err(bad()) };
        }
        let mut wanted: Vec<Wanted> = Vec::new();
        let (mut host, mut none, mut all) = (false, false, false);
        for element in text.split(',') {
            let (name, args) = element.split_once(':').unwrap_or((element, ""));
            let flag = match name {
                "host" => Some(("host", &mut host)),
                "none" => Some(("none", &mut none)),
                "all" => Some(("all", &mut all)),
                "ns" => return Err(BadNetRequest::Alone("ns")),
                _ => None,
            };
            if let Some((word, flag)) = flag {
                if element.contains(':') {
                    return Err(BadNetRequest::Arguments(word));
                }
                if std::mem::replace(flag, true) {
                    return Err(BadNetRequest::Duplicate(word.to_owned()));
                }
                continue;
            }
            let name = NetworkName::parse(name)?;
            if wanted.iter().any(|other| other.name == name) {
                return Err(BadNetRequest::Duplicate(name.to_string()));
            }
            wanted.push(Wanted { name, args: NetworkArgs(args.to_owned()) });
        }
        match (host, none, all) {
            (true, ..) => Ok(Self::Host),
            (_, true, false) if wanted.is_empty() => Ok(Self::Loopback),
            (_, true, _) => Err(BadNetRequest::Alone("none")),
            (.., true) => Ok(Self::All(wanted)),
            _ => Ok(Self::Named(wanted)),
        }
    }

    /// Whether the pod gets a namespace that rkt makes.
    pub fn is_contained(&self) -> bool {
        matches!(self, Self::Loopback | Self::All(_) | Self::Named(_))
    }
}

/// Arguments that an allocator cannot use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadArgs {
    /// Not `K=V;K=V`.
    #[error("network argument {0:?} is not KEY=VALUE")]
    Pair(String),
    /// Not an address.
    #[error("network argument {key}={value:?} is not an IP address")]
    Address {
        /// The key.
        key: String,
        /// What should be an address.
        value: String,
    },
}

/// An address that is asked for, with a prefix where one was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestedIp {
    /// The address.
    pub address: IpAddr,
    /// The length of its network's prefix.
    pub prefix: Option<u8>,
}

/// Arguments of one network, as they travel in `CNI_ARGS`: `K=V;K=V`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NetworkArgs(String);

impl NetworkArgs {
    /// The text, unchecked: plugins may understand what nobody here does.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Keys and values.
    ///
    /// # Errors
    /// An element without `=`.
    pub fn pairs(&self) -> Result<Vec<(&str, &str)>, BadArgs> {
        let elements = self.0.split(';').filter(|element| !element.is_empty());
        let pair = |e: &'_ str| BadArgs::Pair(e.to_owned());
        elements.map(|element| element.split_once('=').ok_or_else(|| pair(element))).collect()
    }

    /// Addresses asked for by `IP=` and `IP6=`, one or several with commas between.
    ///
    /// # Errors
    /// See [`BadArgs`].
    pub fn addresses(&self) -> Result<Vec<RequestedIp>, BadArgs> {
        let mut found = Vec::new();
        for (key, value) in self.pairs()? {
            let family = match key {
                "IP" => None,
                "IP6" => Some(false),
                _ => continue,
            };
            for word in value.split(',').filter(|word| !word.is_empty()) {
                let ip =
                    requested(word).filter(|ip| family.is_none_or(|v4| ip.address.is_ipv4() == v4));
                found.push(ip.ok_or_else(|| BadArgs::Address {
                    key: key.to_owned(),
                    value: word.to_owned(),
                })?);
            }
        }
        Ok(found)
    }

    /// The hardware address asked for by `MAC=`, unchecked.
    ///
    /// # Errors
    /// See [`BadArgs`].
    pub fn mac(&self) -> Result<Option<String>, BadArgs> {
        let found = self.pairs()?.into_iter().rfind(|(key, _)| *key == "MAC");
        Ok(found.map(|(_, value)| value.to_owned()))
    }

    /// Addresses of gateways asked for by `GATEWAY=`, with commas between.
    ///
    /// # Errors
    /// See [`BadArgs`].
    pub fn gateways(&self) -> Result<Vec<IpAddr>, BadArgs> {
        let mut found = Vec::new();
        for (key, value) in self.pairs()?.into_iter().filter(|(key, _)| *key == "GATEWAY") {
            for word in value.split(',').filter(|word| !word.is_empty()) {
                let bad = |_| BadArgs::Address { key: key.to_owned(), value: word.to_owned() };
                found.push(word.parse().map_err(bad)?);
            }
        }
        Ok(found)
    }
}

/// Reads an address with or without a prefix.
pub(crate) fn requested(text: &str) -> Option<RequestedIp> {
    if text.contains('/') {
        let cidr = Cidr::parse(text).ok()?;
        return Some(RequestedIp { address: cidr.address(), prefix: Some(cidr.prefix()) });
    }
    text.parse().ok().map(|address| RequestedIp { address, prefix: None })
}

impl std::fmt::Display for RequestedIp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.prefix {
            Some(prefix) => write!(f, "{}/{prefix}", self.address),
            None => self.address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(request: &NetRequest) -> String {
        let list = |wanted: &[Wanted]| {
            let one = |w: &Wanted| format!("{}<{}>", w.name, w.args.as_str());
            wanted.iter().map(one).collect::<Vec<_>>().join(" ")
        };
        match request {
            NetRequest::Host => "host".into(),
            NetRequest::Loopback => "none".into(),
            NetRequest::Namespace(path) => format!("ns {}", path.display()),
            NetRequest::All(wanted) => format!("all {}", list(wanted)),
            NetRequest::Named(wanted) => list(wanted),
        }
    }

    #[test]
    fn values() {
        for (text, expected) in [
            ("default", "default<>"),
            ("host", "host"),
            ("none", "none"),
            ("all", "all "),
            ("all,default:IP=1.2.3.4", "all default<IP=1.2.3.4>"),
            ("a,b:K=V;L=W,c", "a<> b<K=V;L=W> c<>"),
            ("a:IP6=fd00::1", "a<IP6=fd00::1>"),
            ("a:", "a<>"),
            ("a,host,b", "host"),
            ("host,none", "host"),
            ("rkt.kubernetes.io", "rkt.kubernetes.io<>"),
            ("ns:/run/netns/a,b", "ns /run/netns/a,b"),
        ] {
            assert_eq!(shown(&NetRequest::parse(text).unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn what_is_none() {
        for (text, message) in [
            ("x,y,x", "found duplicate netname \"x\""),
            ("x:IP=1.2.3.4,x:IP=1.2.3.5", "found duplicate netname \"x\""),
            ("host,host", "found duplicate netname \"host\""),
            ("", "bad --net: network name cannot be empty"),
            ("a,,b", "bad --net: network name cannot be empty"),
            (":IP=1.2.3.4", "bad --net: network name cannot be empty"),
            ("a,../b", "bad --net: network name \"../b\" is not a plain name"),
            ("all:IP=1.2.3.4", "network \"all\" takes no arguments"),
            ("host:x=y", "network \"host\" takes no arguments"),
            ("none:", "network \"none\" takes no arguments"),
            ("none,a", "network \"none\" cannot be combined with others"),
            ("all,none", "network \"none\" cannot be combined with others"),
            ("a,ns:/x", "network \"ns\" cannot be combined with others"),
            ("ns:x", "ns: must be followed by an absolute path, not \"x\""),
        ] {
            let error = NetRequest::parse(text).unwrap_err();
            assert_eq!(sys::cause::chain(&error), message, "{text}");
        }
        NetRequest::parse(&"n,".repeat(40_000)).unwrap_err();
    }

    #[test]
    fn what_is_contained() {
        for (text, expected) in
            [("host", false), ("ns:/x", false), ("none", true), ("all", true), ("a", true)]
        {
            assert_eq!(NetRequest::parse(text).unwrap().is_contained(), expected, "{text}");
        }
    }

    #[test]
    fn addresses_among_arguments() {
        for (text, expected) in [
            ("", Ok("")),
            ("X=1", Ok("")),
            ("IP=10.1.2.3", Ok("10.1.2.3")),
            ("IP=10.1.2.3/24,fd00::1/64;", Ok("10.1.2.3/24 fd00::1/64")),
            ("IgnoreUnknown=1;IP=10.1.2.3;IP6=fd00::7", Ok("10.1.2.3 fd00::7")),
            ("IP=10.1.2", Err("network argument IP=\"10.1.2\" is not an IP address")),
            ("IP6=10.1.2.3", Err("network argument IP6=\"10.1.2.3\" is not an IP address")),
            ("IP", Err("network argument \"IP\" is not KEY=VALUE")),
        ] {
            let found = NetworkArgs::new(text).addresses();
            let found =
                found.map(|ips| ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
            let found = found.map_err(|error| error.to_string());
            assert_eq!(
                found.as_deref(),
                expected.map_err(str::to_owned).as_ref().copied(),
                "{text}"
            );
        }
        let args = NetworkArgs::new("GATEWAY=10.1.2.1,fd00::1;A=B=C");
        assert_eq!(args.gateways().unwrap().len(), 2);
        assert_eq!(args.pairs().unwrap()[1], ("A", "B=C"));
        NetworkArgs::new("GATEWAY=x").gateways().unwrap_err();
    }
}
