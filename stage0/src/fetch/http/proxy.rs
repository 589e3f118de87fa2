//! Which proxy a request goes through: the environment's, read as the field's other tools read it.
//!
//! `HTTPS_PROXY` and `HTTP_PROXY` by the URL's scheme, in lower case too; `NO_PROXY` lists hosts, domains (with their
//! subdomains), addresses and networks, each with a port if need be. This host itself is never asked through a proxy.

use super::url::{Url, host_and_port};
use std::net::IpAddr;

/// The proxies of the environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Proxies {
    http: Option<String>,
    https: Option<String>,
    none: Vec<Exception>,
}

/// Who is asked directly.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Exception {
    Everybody,
    Network {
        address: IpAddr,
        bits: u32,
    },
    Address {
        address: IpAddr,
        port: Option<u16>,
    },
    /// Starts with a dot.
    Domain {
        domain: String,
        itself: bool,
        port: Option<u16>,
    },
}

impl Proxies {
    /// Reads the environment.
    pub(crate) fn from_env() -> Self {
        Self::read(|name| std::env::var(name).ok())
    }

    fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let either = |upper: &str| {
            let lower = upper.to_ascii_lowercase();
            variable(upper)
                .filter(|text| !text.is_empty())
                .or_else(|| variable(&lower).filter(|text| !text.is_empty()))
        };
        // In a CGI program HTTP_PROXY is what the client sent as a header.
        let http = if variable("REQUEST_METHOD").is_some() { None } else { either("HTTP_PROXY") };
        let none = either("NO_PROXY").unwrap_or_default();
        Self {
            http,
            https: either("HTTPS_PROXY"),
            none: none.split(',').filter_map(Exception::read).collect(),
        }
    }

    /// The proxy for this URL, with its scheme.
    pub(crate) fn choose(&self, url: &Url) -> Option<String> {
        let proxy = if url.https { self.https.as_ref() } else { self.http.as_ref() }?;
        let address = url.address();
        if url.host == "localhost" || address.is_some_and(|ip| ip.to_canonical().is_loopback()) {
            return None;
        }
        if self.none.iter().any(|exception| exception.covers(&url.host, address, url.port)) {
            return None;
        }
        Some(if proxy.contains("://") { proxy.clone() } else { format!("http://{proxy}") })
    }
}

impl Exception {
    fn read(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        if text == "*" {
            return Some(Self::Everybody);
        }
        if let Some((address, bits)) = text.split_once('/')
            && let (Ok(address), Ok(bits)) = (address.parse(), bits.parse())
        {
            return Some(Self::Network { address, bits });
        }
        if let Ok(address) = text.parse() {
            return Some(Self::Address { address, port: None });
        }
        let (host, port) = host_and_port(text.strip_prefix('*').unwrap_or(&text))?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = bare.parse() {
            return Some(Self::Address { address, port });
        }
        let itself = !host.starts_with('.');
        let domain = if itself { format!(".{host}") } else { host.to_owned() };
        Some(Self::Domain { domain, itself, port })
    }

    fn covers(&self, host: &str, ip: Option<IpAddr>, at: u16) -> bool {
        match self {
            Self::Everybody => true,
            Self::Network { address, bits } => ip.is_some_and(|ip| in_network(ip, *address, *bits)),
            Self::Address { address, port } => {
                ip.is_some_and(|ip| ip.to_canonical() == address.to_canonical())
                    && port.is_none_or(|port| port == at)
            }
            Self::Domain { domain, itself, port } => {
                let same = *itself && domain.strip_prefix('.') == Some(host);
                (same || host.ends_with(domain.as_str())) && port.is_none_or(|port| port == at)
            }
        }
    }
}

fn in_network(ip: IpAddr, network: IpAddr, bits: u32) -> bool {
    let (ip, network, width) = match (ip.to_canonical(), network.to_canonical()) {
        (IpAddr::V4(ip), IpAddr::V4(network)) => {
            (u128::from(ip.to_bits()), u128::from(network.to_bits()), 32)
        }
        (IpAddr::V6(ip), IpAddr::V6(network)) => (ip.to_bits(), network.to_bits(), 128_u32),
        _ => return false,
    };
    let Some(free) = width.checked_sub(bits) else { return false };
    let (ip, network) = (ip.checked_shr(free), network.checked_shr(free));
    ip.unwrap_or_default() == network.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(pairs: &[(&str, &str)]) -> Proxies {
        Proxies::read(|name| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn choose(proxies: &Proxies, url: &str) -> Option<String> {
        proxies.choose(&Url::parse(url).unwrap())
    }

    #[test]
    fn goes_by_the_scheme() {
        let both =
            proxies(&[("HTTP_PROXY", "p:1"), ("https_proxy", "socks5://q:2"), ("HTTPS_PROXY", "")]);
        for (url, proxy) in [
            ("http://a.example/", Some("http://p:1")),
            ("https://a.example/", Some("socks5://q:2")),
            ("http://localhost/", None),
            ("http://127.0.0.1:5000/", None),
            ("https://[::1]/", None),
        ] {
            assert_eq!(choose(&both, url).as_deref(), proxy, "{url}");
        }
        let cgi = proxies(&[("HTTP_PROXY", "p:1"), ("REQUEST_METHOD", "GET")]);
        assert_eq!(choose(&cgi, "http://a.example/"), None);
        assert_eq!(choose(&proxies(&[("HTTP_PROXY", "p")]), "https://a.example/"), None);
    }

    #[test]
    fn leaves_exceptions_out() {
        for (list, url, direct) in [
            ("*", "http://a/", true),
            ("a.example", "http://a.example/", true),
            ("a.example", "http://b.a.example/", true),
            ("a.example", "http://ba.example/", false),
            (".a.example", "http://a.example/", false),
            (".a.example", "http://b.a.example/", true),
            ("*.a.example", "http://b.a.example/", true),
            ("*.a.example", "http://a.example/", false),
            ("x, A.Example ", "http://a.example/", true),
            ("a.example:81", "http://a.example/", false),
            ("a.example:80", "http://a.example/", true),
            ("10.0.0.0/8", "http://10.9.8.7/", true),
            ("10.0.0.0/8", "http://11.9.8.7/", false),
            ("10.0.0.0/8", "http://ten.example/", false),
            ("0.0.0.0/0", "http://11.9.8.7/", true),
            ("fd00::/8", "http://[fd00::1]/", true),
            ("10.1.2.3:80", "http://10.1.2.3/", true),
            ("10.1.2.3:81", "http://10.1.2.3/", false),
            ("[fd00::1]:80", "http://[fd00::1]/", true),
            ("10.0.0.0/40,,a b", "http://10.0.0.1/", false),
        ] {
            let proxies = proxies(&[("http_proxy", "p"), ("NO_PROXY", list)]);
            assert_eq!(choose(&proxies, url).is_none(), direct, "{list} {url}");
        }
    }
}
