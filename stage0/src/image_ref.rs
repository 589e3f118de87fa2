//! How a user names an image: one word, read to one of six kinds of reference.
//!
//! The order of the tests is a contract, because the kinds overlap: `a.b:1` could be a URL's scheme, a file or a name.
//! Nothing is looked up here but whether a word without a scheme is a file that exists.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use appc::{AcIdentifier, Label};

/// The shortest beginning of an image id, in hexadecimal digits.
const SHORTEST_ID: usize = 2;
/// The shortest beginning of a manifest's digest.
const SHORTEST_DIGEST: usize = 12;

/// An image id, or the digest of an image's manifest, or the beginning of one: `sha512-ab`, `sha256:0123456789ab`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdText(String);

impl IdText {
    /// The text, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IdText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// On-disk forms that hold OCI or Docker images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LayoutForm {
    /// A folder in the OCI image layout.
    OciDir,
    /// The same as one tar file.
    OciArchive,
    /// What `docker save` writes.
    DockerArchive,
}

impl LayoutForm {
    /// The scheme under which users name it.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::OciDir => "oci",
            Self::OciArchive => "oci-archive",
            Self::DockerArchive => "docker-archive",
        }
    }
}

/// Where an image is, or what it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageRef {
    /// An id: looked up in the store, never fetched.
    Id(IdText),
    /// An ACI behind an http or https URL.
    Url(String),
    /// An ACI file.
    File(PathBuf),
    /// An appc name.
    Name {
        /// The name.
        name: AcIdentifier,
        /// The labels asked for, a version among them.
        labels: Vec<Label>,
    },
    /// An image in a registry.
    Docker(oci::Reference),
    /// An image in a folder or an archive.
    Layout {
        /// In which form.
        form: LayoutForm,
        /// The folder or the archive.
        path: PathBuf,
        /// Which image of it; the only one without.
        tag: Option<String>,
    },
}

/// Why a word names no image.
#[derive(Debug, thiserror::Error)]
pub enum BadImageRef {
    /// Too few digits to tell images apart.
    #[error("image ID too short")]
    TooShort,
    /// A location that cannot hold an ACI.
    #[error("invalid image string {0:?}")]
    Location(String),
    /// Not a name either.
    #[error("cannot use {text:?} as an image name")]
    Name {
        /// The word.
        text: String,
        /// What is wrong with it.
        #[source]
        source: appc::image_name::BadImageName,
    },
    /// A bad reference into a registry.
    #[error("cannot use {text:?} as a docker reference")]
    Docker {
        /// The word.
        text: String,
        /// What is wrong with it.
        #[source]
        source: oci::BadReference,
    },
    /// A distribution point that is not one.
    #[error("invalid distribution point {text:?}: {reason}")]
    DistributionPoint {
        /// The word.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl ImageRef {
    /// Reads a word of the command line.
    pub fn parse(text: &str) -> Result<Self, BadImageRef> {
        if let Some(id) = id(text)? {
            return Ok(Self::Id(id));
        }
        if let Some((scheme, rest)) = scheme(text) {
            match &*scheme {
                "file" => return file_url(text, rest),
                "http" | "https" => return web_url(text, rest),
                "docker" => return docker(text, rest.strip_prefix("//").unwrap_or(rest)),
                "cimd" => return distribution_point(text, rest),
                "oci" => return layout(text, LayoutForm::OciDir, rest),
                "oci-archive" => return layout(text, LayoutForm::OciArchive, rest),
                "docker-archive" => return layout(text, LayoutForm::DockerArchive, rest),
                // `my-app:v1` only looks like one.
                _ => {}
            }
        }
        let path = Path::new(text);
        let file = text.starts_with('/')
            || path.is_file()
            || !text.contains(':')
                && (text.contains("./") || path.extension().is_some_and(|end| end == "aci"));
        if file { Ok(Self::File(path.to_owned())) } else { name(text) }
    }
}

/// Whether a path ends in `.aci`, in this very spelling.
fn is_aci(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|end| end == "aci")
}

/// An id, if the word has the form of one.
fn id(text: &str) -> Result<Option<IdText>, BadImageRef> {
    for (prefix, shortest, longest) in
        [("sha512-", SHORTEST_ID, 128), ("sha256:", SHORTEST_DIGEST, 64)]
    {
        if let Some(digits) = text.strip_prefix(prefix)
            && digits.len() <= longest
            && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
        {
            if digits.len() < shortest {
                return Err(BadImageRef::TooShort);
            }
            return Ok(Some(IdText(text.to_ascii_lowercase())));
        }
    }
    Ok(None)
}

/// The scheme in front of a word, in lower case, and what follows its colon.
fn scheme(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let mut letters = scheme.chars();
    let first = letters.next()?.is_ascii_alphabetic();
    let others =
        letters.all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '+' | '-' | '.'));
    let upper = scheme.bytes().any(|byte| byte.is_ascii_uppercase());
    let lower = if upper { Cow::Owned(scheme.to_ascii_lowercase()) } else { Cow::Borrowed(scheme) };
    (first && others).then_some((lower, rest))
}

fn file_url(text: &str, rest: &str) -> Result<ImageRef, BadImageRef> {
    let invalid = || BadImageRef::Location(text.to_owned());
    // The host must be empty: `file:///x.aci`, or `file:/x.aci`.
    let path = rest.strip_prefix("//").unwrap_or(rest);
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let path = unescape(path).ok_or_else(invalid)?;
    if path.starts_with('/') && is_aci(&path) {
        Ok(ImageRef::File(PathBuf::from(path)))
    } else {
        Err(invalid())
    }
}

fn web_url(text: &str, rest: &str) -> Result<ImageRef, BadImageRef> {
    let invalid = || BadImageRef::Location(text.to_owned());
    let rest = rest.strip_prefix("//").ok_or_else(invalid)?;
    let (host, path) =
        rest.split(['?', '#']).next().unwrap_or_default().split_once('/').ok_or_else(invalid)?;
    // Spaces and control characters would end the request line early.
    let plain = !text.contains(|letter: char| letter.is_whitespace() || letter.is_control());
    if host.is_empty() || !is_aci(path) || !plain {
        return Err(invalid());
    }
    Ok(ImageRef::Url(text.to_owned()))
}

fn docker(text: &str, reference: &str) -> Result<ImageRef, BadImageRef> {
    oci::Reference::parse(reference)
        .map(ImageRef::Docker)
        .map_err(|source| BadImageRef::Docker { text: text.to_owned(), source })
}

fn name(text: &str) -> Result<ImageRef, BadImageRef> {
    appc::image_name::parse(text)
        .map(|(name, labels)| ImageRef::Name { name, labels })
        .map_err(|source| BadImageRef::Name { text: text.to_owned(), source })
}

fn layout(text: &str, form: LayoutForm, rest: &str) -> Result<ImageRef, BadImageRef> {
    // A colon may belong to the path: what exists wins.
    let (path, tag) = match rest.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') && !Path::new(rest).exists() => {
            (path, Some(tag.to_owned()))
        }
        Some(_) | None => (rest, None),
    };
    if path.is_empty() || tag.as_ref().is_some_and(String::is_empty) {
        return Err(BadImageRef::Location(text.to_owned()));
    }
    Ok(ImageRef::Layout { form, path: PathBuf::from(path), tag })
}

/// `cimd:KIND:v=0:WHAT`, the long form that other programs write down.
fn distribution_point(text: &str, rest: &str) -> Result<ImageRef, BadImageRef> {
    let invalid = |reason| BadImageRef::DistributionPoint { text: text.to_owned(), reason };
    let mut parts = rest.splitn(3, ':');
    let (Some(kind), Some(version), Some(what)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(invalid("it must have a type, a version and a value"));
    };
    let version = version.strip_prefix("v=").ok_or_else(|| invalid("the version must be v=0"))?;
    if version.parse() != Ok(0u32) {
        return Err(invalid("the version must be v=0"));
    }
    match kind {
        "appc" => {
            let (name, labels) = what.split_once('?').unwrap_or((what, ""));
            // The same image in the short form, which has one parser.
            let mut short = name.to_owned();
            for label in labels.split('&').filter(|label| !label.is_empty()) {
                let (key, value) =
                    label.split_once('=').ok_or_else(|| invalid("a label has no value"))?;
                short.push(',');
                short.push_str(key);
                short.push('=');
                short.push_str(value);
            }
            self::name(&short)
        }
        "docker" => docker(text, what),
        "aci-archive" => {
            let location =
                unescape(what).ok_or_else(|| invalid("the location is badly escaped"))?;
            match ImageRef::parse(&location)? {
                found @ (ImageRef::File(_) | ImageRef::Url(_)) => Ok(found),
                _ => Err(invalid("the location is neither a file nor a URL")),
            }
        }
        _ => Err(invalid("the type is not one of appc, aci-archive, docker")),
    }
}

/// Text with every `%XX` replaced by its byte; nothing when that is not possible.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reference in one line, for tables.
    fn show(text: &str) -> String {
        match ImageRef::parse(text) {
            Ok(ImageRef::Id(id)) => format!("id {id}"),
            Ok(ImageRef::Url(url)) => format!("url {url}"),
            Ok(ImageRef::File(path)) => format!("file {}", path.display()),
            Ok(ImageRef::Name { name, labels }) => {
                let labels = labels.iter().map(|label| format!(" {}={}", label.name, label.value));
                format!("name {name}{}", labels.collect::<Vec<_>>().concat())
            }
            Ok(ImageRef::Docker(reference)) => format!("docker {}", reference.repository()),
            Ok(ImageRef::Layout { form, path, tag }) => {
                format!("{} {} {}", form.scheme(), path.display(), tag.unwrap_or_default())
            }
            Err(error) => format!("error {error}"),
        }
    }

    #[test]
    fn decides_in_order() {
        for (text, meaning) in [
            ("sha512-ab", "id sha512-ab"),
            ("sha512-AB12", "id sha512-ab12"),
            ("sha512-a", "error image ID too short"),
            ("sha512-", "error image ID too short"),
            ("sha512-zz", "name sha512-zz"),
            ("sha256:0123456789ab", "id sha256:0123456789ab"),
            ("sha256:0123", "error image ID too short"),
            ("https://h/a.aci", "url https://h/a.aci"),
            ("https://h/a.aci?x=1#y", "url https://h/a.aci?x=1#y"),
            ("https://h/a", "error invalid image string \"https://h/a\""),
            ("https:///a.aci", "error invalid image string \"https:///a.aci\""),
            ("http://h/a b.aci", "error invalid image string \"http://h/a b.aci\""),
            ("file:///x/a.aci", "file /x/a.aci"),
            ("file:///x/a%20b.aci", "file /x/a b.aci"),
            ("file:///nope", "error invalid image string \"file:///nope\""),
            ("file://host/a.aci", "error invalid image string \"file://host/a.aci\""),
            ("docker://busybox", "docker library/busybox"),
            ("docker:busybox", "docker library/busybox"),
            ("docker://127.0.0.1:5000/a/b:1", "docker a/b"),
            ("oci:/l", "oci /l "),
            ("oci:/l:1.0", "oci /l 1.0"),
            ("oci:l/x:y/z", "oci l/x:y/z "),
            ("oci-archive:a.tar:t", "oci-archive a.tar t"),
            ("docker-archive:a.tar", "docker-archive a.tar "),
            ("oci:", "error invalid image string \"oci:\""),
            ("oci:x:", "error invalid image string \"oci:x:\""),
            ("/abs/without-extension", "file /abs/without-extension"),
            ("example.com/a:1.0", "name example.com/a version=1.0"),
            ("example.com/a:v1.7.3_coreos.0", "name example.com/a version=v1.7.3_coreos.0"),
            ("example.com/a,version=1,arch=arm64", "name example.com/a version=1 arch=arm64"),
            ("my-app:v1", "name my-app version=v1"),
            ("./foo", "file ./foo"),
            ("matchbox.aci", "file matchbox.aci"),
            ("example.com/a", "name example.com/a"),
            (
                "cimd:appc:v=0:example.com/a?version=1.0&os=linux",
                "name example.com/a version=1.0 os=linux",
            ),
            ("cimd:docker:v=0:busybox", "docker library/busybox"),
            ("cimd:aci-archive:v=0:file%3A%2F%2F%2Fx.aci", "file /x.aci"),
            ("cimd:aci-archive:v=0:https%3A%2F%2Fh%2Fx.aci", "url https://h/x.aci"),
        ] {
            assert_eq!(show(text), meaning, "{text}");
        }
    }

    #[test]
    fn refuses_what_is_neither() {
        for text in [
            "",
            "UPPER/Case",
            "a:b:c",
            "docker://",
            "docker://UPPER",
            "cimd:appc:v=1:a",
            "cimd:appc:a",
            "cimd:what:v=0:a",
            "cimd:aci-archive:v=0:name",
            "cimd:aci-archive:v=0:%zz",
        ] {
            assert!(ImageRef::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_file_that_exists_wins_over_a_name() {
        assert_eq!(show("Cargo.toml"), "file Cargo.toml");
    }
}
