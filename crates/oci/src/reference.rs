//! References: how people name images in registries.

use crate::digest::{BadDigest, Digest};
use std::fmt;

/// Text that is no reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadReference {
    /// No name.
    #[error("name is missing")]
    Empty,
    /// More than 255 characters of host and path.
    #[error("name is longer than 255 characters")]
    TooLong,
    /// The registry's host.
    #[error("{0:?} is not the host of a registry")]
    Host(String),
    /// A component of the path.
    #[error(
        "{0:?} cannot be part of a name: lower-case letters, digits and single separators are expected"
    )]
    Component(String),
    /// The tag.
    #[error("{0:?} is not a tag")]
    Tag(String),
    /// The digest.
    #[error("digest is wrong")]
    Digest(#[source] BadDigest),
    /// A name that is the id of an image, or looks like one.
    #[error("{0:?} looks like the ID of an image, not like a name")]
    Id(String),
}

const DEFAULT_HOST: &str = "docker.io";
const DEFAULT_TAG: &str = "latest";
const LONGEST: usize = 255;

/// The name of an image in a registry: `[host[:port]/]path[:tag][@digest]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    host: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Reads a reference as people type it. Without a host the default registry is meant, where a name of one component
    /// gets `library/` in front; without tag and digest the tag is `latest`.
    ///
    /// # Errors
    /// See [`BadReference`].
    pub fn parse(text: &str) -> Result<Self, BadReference> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                (rest, Some(Digest::parse(digest).map_err(BadReference::Digest)?))
            }
            None => (text, None),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if name.is_empty() {
            return Err(BadReference::Empty);
        }
        if name.len() > LONGEST {
            return Err(BadReference::TooLong);
        }
        let (host, path) = match name.split_once('/') {
            Some((host, path)) if is_host(host) => (host, path),
            _ => (DEFAULT_HOST, name),
        };
        check_host(host)?;
        for component in path.split('/') {
            check_component(component)?;
        }
        if host == DEFAULT_HOST && path.len() == 64 && path.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(BadReference::Id(path.to_owned()));
        }
        if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
            return Err(BadReference::Tag(tag.chars().take(LONGEST).collect()));
        }
        let host = if matches!(host, "index.docker.io" | "registry-1.docker.io") {
            DEFAULT_HOST.to_owned()
        } else {
            host.to_ascii_lowercase()
        };
        let short = host == DEFAULT_HOST && !path.contains('/');
        Ok(Self {
            repository: if short { format!("library/{path}") } else { path.to_owned() },
            host,
            tag: tag
                .map(str::to_owned)
                .or_else(|| digest.is_none().then(|| DEFAULT_TAG.to_owned())),
            digest,
        })
    }

    /// The registry as people know it, with its port if it has one: `docker.io`, `host:5000`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The host that answers for the registry, with its port if it has one. It is part of the names of images.
    pub fn api_host(&self) -> &str {
        if self.host == DEFAULT_HOST { "registry-1.docker.io" } else { &self.host }
    }

    /// The name within the registry.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag: `latest` if neither a tag nor a digest was given.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, which wins over the tag.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// What to ask the registry's manifests for: the digest if there is one, else the tag.
    pub fn manifest(&self) -> &str {
        let digest = self.digest.as_ref().map(Digest::as_str);
        digest.or(self.tag.as_deref()).unwrap_or(DEFAULT_TAG)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// Whether the first component of a name is a host.
fn is_host(component: &str) -> bool {
    component.contains(['.', ':']) || component == "localhost"
}

fn check_host(host: &str) -> Result<(), BadReference> {
    let bad = || BadReference::Host(host.to_owned());
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').ok_or_else(bad)?;
            address.parse::<std::net::Ipv6Addr>().map_err(|_| bad())?;
            ("", if port.is_empty() { None } else { Some(port.strip_prefix(':').ok_or_else(bad)?) })
        }
        None => host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port))),
    };
    let label = |label: &str| {
        label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && label.starts_with(|c: char| c.is_ascii_alphanumeric())
            && label.ends_with(|c: char| c.is_ascii_alphanumeric())
    };
    let good_name = host.starts_with('[') || name.split('.').all(label);
    let good_port = port.is_none_or(|port| {
        port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if good_name && good_port { Ok(()) } else { Err(bad()) }
}

/// Runs of letters and digits, with one of `.`, `_`, `__` or any number of `-` between them.
fn check_component(component: &str) -> Result<(), BadReference> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separators = component.split(plain).filter(|between| !between.is_empty());
    let good = component.starts_with(plain)
        && component.ends_with(plain)
        && separators
            .clone()
            .all(|s| matches!(s, "." | "_" | "__") || s.bytes().all(|b| b == b'-'));
    if good { Ok(()) } else { Err(BadReference::Component(component.to_owned())) }
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= 128
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn what_a_reference_means() {
        let digest = format!("sha256:{HEX}");
        for (text, host, repository, manifest) in [
            ("busybox", "docker.io", "library/busybox", "latest"),
            ("busybox:1.36", "docker.io", "library/busybox", "1.36"),
            ("a/b", "docker.io", "a/b", "latest"),
            ("docker.io/busybox", "docker.io", "library/busybox", "latest"),
            ("index.docker.io/a/b:x", "docker.io", "a/b", "x"),
            ("localhost/x", "localhost", "x", "latest"),
            ("localhost:5000", "docker.io", "library/localhost", "5000"),
            ("localhost:5000/a/b:v1", "localhost:5000", "a/b", "v1"),
            ("127.0.0.1:5000/x", "127.0.0.1:5000", "x", "latest"),
            ("[::1]:5000/x:y", "[::1]:5000", "x", "y"),
            ("[::1]/x", "[::1]", "x", "latest"),
            ("Quay.IO/a--b__c.d_e/f", "quay.io", "a--b__c.d_e/f", "latest"),
            ("gcr.io/a/b/c/d:_T.-1", "gcr.io", "a/b/c/d", "_T.-1"),
            (&format!("q.io/x@{digest}"), "q.io", "x", &digest),
            (&format!("q.io/x:t@{digest}"), "q.io", "x", &digest),
            (&format!("q.io/{HEX}"), "q.io", HEX, "latest"),
            ("a/x@md5:aa", "docker.io", "a/x", "md5:aa"),
        ] {
            let found = Reference::parse(text).unwrap();
            assert_eq!(
                (found.host(), found.repository(), found.manifest()),
                (host, repository, manifest),
                "{text}"
            );
        }
        let both = Reference::parse(&format!("q.io/x:t@{digest}")).unwrap();
        assert_eq!((both.tag(), both.digest().unwrap().hex()), (Some("t"), HEX));
        assert_eq!(Reference::parse(&format!("q.io/x@{digest}")).unwrap().tag(), None);
        assert_eq!(Reference::parse("x").unwrap().api_host(), "registry-1.docker.io");
        assert_eq!(Reference::parse("q.io/x").unwrap().api_host(), "q.io");
    }

    #[test]
    fn what_is_no_reference() {
        for bad in [
            "",
            ":x",
            "@sha256:00",
            HEX,
            "A",
            "Upper/x",
            "a/",
            "/a",
            "a//b",
            "a/../b",
            "a/-b",
            "a___b",
            "a.-b",
            "a b",
            "a\n",
            "x:",
            "x:-t",
            "x:a b",
            "x@",
            "x@sha256:00",
            "x:t:u",
            "h.io:0/x",
            "h.io:99999/x",
            "h.io:+80/x",
            "h.io:/x",
            "h..io/x",
            "-h.io/x",
            "[::1/x",
            "[::1]x/x",
            "[::1]:/x",
            "u:p@h.io/x",
            "https://h.io/x",
            &"a/".repeat(200),
            &format!("x:{}", "t".repeat(129)),
        ] {
            Reference::parse(bad).unwrap_err();
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_again(
            host in "([a-z0-9]{1,5}\\.[a-z]{2}(:[1-9][0-9]{0,3})?/)?",
            // A dot in the first part makes it a host.
            path in "[a-z0-9]{1,4}([_-][a-z0-9]{1,3}){0,2}(/[a-z]{1,4}(\\.[a-z0-9]{1,3})?){0,2}",
            tag in "(:[A-Za-z0-9_][A-Za-z0-9._-]{0,9})?",
            digest in "(@sha256:[0-9a-f]{64})?",
        ) {
            let found = Reference::parse(&format!("{host}{path}{tag}{digest}")).unwrap();
            prop_assert_eq!(Reference::parse(&found.to_string()).unwrap(), found);
        }

        #[test]
        fn any_text_is_answered(text in ".*") {
            if let Ok(found) = Reference::parse(&text) {
                prop_assert!(!found.repository().contains(".."));
            }
        }
    }
}
