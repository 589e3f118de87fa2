//! The part of a URL that a request needs, and where a redirect leads from there.

use std::fmt;
use std::net::IpAddr;

/// Text that is not a URL we can ask.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    /// It is not made of what URLs are made of.
    #[error("{0:?} is not a URL")]
    Form(String),
    /// Neither http nor https.
    #[error("{0:?} is neither an http nor an https URL")]
    Scheme(String),
    /// It holds a user's name, and maybe a password.
    #[error("a URL with a user name in it is not supported")]
    User,
}

/// An http or https URL without fragment.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Url {
    /// Whether TLS is spoken.
    pub(crate) https: bool,
    /// The host in lower case; IPv6 addresses stand in brackets.
    pub(crate) host: String,
    /// The port, given or not.
    pub(crate) port: u16,
    /// Path and query; starts with a slash.
    pub(crate) path: String,
}

impl Url {
    /// Reads an absolute URL.
    pub(crate) fn parse(text: &str) -> Result<Self, BadUrl> {
        let form = || BadUrl::Form(text.to_owned());
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) || text.contains('\\') {
            return Err(form());
        }
        let (scheme, rest) = text.split_once(':').ok_or_else(form)?;
        let https = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(BadUrl::Scheme(text.to_owned())),
        };
        let rest = rest.strip_prefix("//").ok_or_else(form)?;
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
        if authority.contains('@') {
            return Err(BadUrl::User);
        }
        let (host, port) = host_and_port(authority).ok_or_else(form)?;
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Self {
            https,
            host: host.to_ascii_lowercase(),
            port: port.unwrap_or(if https { 443 } else { 80 }),
            path: format!("{slash}{path}"),
        })
    }

    /// Where a `Location` seen from here leads.
    pub(crate) fn join(&self, location: &str) -> Result<Self, BadUrl> {
        let location = location.trim();
        let scheme = if self.https { "https:" } else { "http:" };
        let origin = || format!("{scheme}//{}", self.authority());
        let named = location.split_once(':').is_some_and(|(scheme, _)| {
            scheme.starts_with(|letter: char| letter.is_ascii_alphabetic())
                && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
        });
        let whole = if named {
            location.to_owned()
        } else if location.starts_with("//") {
            format!("{scheme}{location}")
        } else if location.starts_with('/') {
            format!("{}{location}", origin())
        } else {
            let path = self.path.split('?').next().unwrap_or_default();
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            format!("{}{folder}/{location}", origin())
        };
        Self::parse(&whole)
    }

    /// Host and port, as a `Host` header shows them.
    pub(crate) fn authority(&self) -> String {
        let usual = if self.https { 443 } else { 80 };
        if self.port == usual { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }

    /// Whether both name one server, spoken to in one way: what may see the same credentials.
    pub(crate) fn same_origin(&self, other: &Self) -> bool {
        (self.https, &self.host, self.port) == (other.https, &other.host, other.port)
    }

    /// The address, if the host is one.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        let bare = self.host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        bare.unwrap_or(&self.host).parse().ok()
    }

    /// The whole text, for requests. What is shown to users leaves the query out: it may hold a key.
    pub(crate) fn whole(&self) -> String {
        let scheme = if self.https { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority(), self.path)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.whole();
        match whole.split_once('?') {
            Some((start, _)) => write!(f, "{start}?..."),
            None => f.write_str(&whole),
        }
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Splits `host`, `host:port`, `[v6]` and `[v6]:port`.
pub(super) fn host_and_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = if authority.starts_with('[') {
        let end = authority.find(']')?.checked_add(1)?;
        let (host, rest) = authority.split_at_checked(end)?;
        match rest {
            "" => (host, None),
            rest => (host, Some(rest.strip_prefix(':')?)),
        }
    } else {
        match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        }
    };
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%[]:".contains(&byte);
    if host.is_empty() || !host.bytes().all(letters) {
        return None;
    }
    match port {
        None | Some("") => Some((host, None)),
        Some(port) => match port.parse() {
            Ok(0) | Err(_) => None,
            Ok(port) => Some((host, Some(port))),
        },
    }
}

/// Text for a query: everything but letters, digits and a few signs as `%XX`.
pub(crate) fn escape(text: &str) -> String {
    use fmt::Write as _;
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/:,".contains(&byte) {
            escaped.push(byte.into());
        } else {
            // Writing to a String cannot fail.
            _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_urls() {
        for (text, whole) in [
            ("https://h/a.aci", Some("https://h/a.aci")),
            ("HTTP://Host:80", Some("http://host/")),
            ("http://h:8080?x=1#f", Some("http://h:8080/?x=1")),
            ("https://[::1]:5000/v2/", Some("https://[::1]:5000/v2/")),
            ("https://h:443/x", Some("https://h/x")),
            ("ftp://h/x", None),
            ("file:///etc/shadow", None),
            ("https:///x", None),
            ("https://u:p@h/x", None),
            ("https://h:0/x", None),
            ("https://h:99999/x", None),
            ("https://h/a b", None),
            ("https://h\\@x/", None),
            ("https://h/\u{e4}", None),
            ("h/x", None),
        ] {
            assert_eq!(Url::parse(text).ok().map(|url| url.whole()).as_deref(), whole, "{text}");
        }
    }

    #[test]
    fn follows_locations() {
        let from = Url::parse("https://h:5000/v2/a/blobs/x?y=/z").unwrap();
        for (location, whole) in [
            ("/up", "https://h:5000/up"),
            ("next?t=1", "https://h:5000/v2/a/blobs/next?t=1"),
            ("//other/x", "https://other/x"),
            ("http://other:81/x", "http://other:81/x"),
            (" /spaces ", "https://h:5000/spaces"),
        ] {
            assert_eq!(from.join(location).unwrap().whole(), whole, "{location}");
        }
        for bad in ["file:///etc/shadow", "gopher://x/", "javascript:x"] {
            assert!(matches!(from.join(bad), Err(BadUrl::Scheme(_))), "{bad}");
        }
        assert!(from.same_origin(&from.join("/x").unwrap()));
        for other in ["http://h:5000/", "https://h/", "https://g:5000/"] {
            assert!(!from.same_origin(&Url::parse(other).unwrap()), "{other}");
        }
    }

    #[test]
    fn hides_queries() {
        assert_eq!(Url::parse("https://h/x?key=secret").unwrap().to_string(), "https://h/x?...");
        assert_eq!(escape("repository:a/b:pull push&x"), "repository:a/b:pull%20push%26x");
    }
}
