//! An OCI image in the words of appc.
//!
//! The manifest made here stands for the image wherever rkt speaks of images: it is stored, listed, shown and run. It is a
//! function of the image's documents and name alone: the same input gives the same bytes, lists sorted by name.
//!
//! What appc has no word for is carried by annotations:
//!
//! | annotation | meaning |
//! |---|---|
//! | `appc.io/docker/…` | where it comes from, its entrypoint and cmd (JSON lists), in the words of the old converter |
//! | `org.opencontainers.image.{os,architecture,variant,author,created}` | the configuration's own words |
//! | `org.opencontainers.image.exposedports` | ports, with commas between them |
//! | `org.opencontainers.image.stopsignal` | the signal that asks the app to end |
//! | `coreos.com/rkt/oci/group-of-user` | `true`: the image names a user and no group, so the group is the user's own, and the groups that list the user count. The manifest's group repeats the user, as it always did |
//!
//! Labels named `org.opencontainers.image.…` win over the configuration's own words; all labels are user labels. No
//! label becomes anything else.

mod process;

use crate::config::{ImageConfig, Process};
use crate::digest::Digest;
use crate::manifest::Manifest;
use crate::platform::Platform;
use appc::json::{Json, compact};
use appc::{AcIdentifier, Annotation, ImageManifest, Label, ManifestError};
use std::collections::BTreeMap;

/// An image that cannot be put into appc's words.
#[derive(Debug, thiserror::Error)]
pub enum FormError {
    /// Nothing is left of its name.
    #[error("{0:?} cannot be the name of an image")]
    Name(String),
    /// It was built for a platform that appc does not know.
    #[error("image is for {os:?} on {architecture:?}, which is not known")]
    Platform {
        /// The operating system.
        os: String,
        /// The architecture.
        architecture: String,
    },
    /// The user or group cannot be meant.
    #[error("{0:?} is not a user and group")]
    User(String),
    /// The working directory cannot be meant.
    #[error("{0:?} is not an absolute working directory")]
    Directory(String),
    /// The path of a volume cannot be meant.
    #[error("{0:?} is not the path of a volume")]
    Volume(String),
    /// An exposed port cannot be meant.
    #[error("{0:?} is not a port")]
    Port(String),
    /// A variable's name cannot be used.
    #[error("{0:?} is not a variable's name")]
    Variable(String),
    /// An argument or variable holds a NUL, or is longer than the kernel takes.
    #[error("{0} contains a NUL byte or is longer than 128 KiB")]
    Text(&'static str),
    /// The whole breaks a rule of appc.
    #[error("image cannot be described in an appc manifest")]
    Manifest(#[source] ManifestError),
}

/// Where an image comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The host that serves it ([`crate::Reference::api_host`]), which becomes part of its name; empty for a file.
    pub registry: String,
    /// Its name there; of a file what names it best.
    pub repository: String,
    /// Its tag.
    pub tag: Option<String>,
    /// The reference as it was typed, if it came from a registry.
    pub original: Option<String>,
    /// The digest of its manifest.
    pub manifest_digest: Digest,
}

/// Describes an image in an appc manifest.
///
/// # Errors
/// See [`FormError`].
pub fn image_manifest(
    source: &Source,
    manifest: &Manifest,
    config: &ImageConfig,
) -> Result<ImageManifest, FormError> {
    let full = if source.registry.is_empty() {
        source.repository.clone()
    } else {
        format!("{}/{}", source.registry, source.repository)
    };
    let name = AcIdentifier::sanitise(&full).map_err(|_| FormError::Name(full))?;
    let mut form = ImageManifest::new(name);
    form.labels = labels(source, config)?;
    form.app = config.config.as_ref().map(process::app).transpose()?;
    form.annotations = annotations(source, manifest, config);
    // Whoever reads it back holds it to all rules, so it must not leave here breaking one.
    ImageManifest::from_json(form.to_json().as_bytes()).map_err(FormError::Manifest)?;
    Ok(form)
}

fn labels(source: &Source, config: &ImageConfig) -> Result<Vec<Label>, FormError> {
    let (os, arch) = platform(&config.platform)?;
    let label = |name: &str, value: String| {
        AcIdentifier::parse(name).ok().map(|name| Label { name, value })
    };
    let version = source.tag.clone().and_then(|tag| label("version", tag));
    Ok([label("arch", arch), label("os", os), version].into_iter().flatten().collect())
}

/// Appc's words for a platform; what is not said is this machine's.
fn platform(wanted: &Platform) -> Result<(String, String), FormError> {
    let host = Platform::host();
    let or = |text: &str, default: String| if text.is_empty() { default } else { text.to_owned() };
    let os = or(&wanted.os, host.os);
    let architecture = or(&wanted.architecture, host.architecture);
    let arch = match (os.as_str(), architecture.as_str(), wanted.variant.as_str()) {
        ("darwin", "amd64" | "x86_64", _) => "x86_64",
        (_, "amd64" | "x86_64", _) => "amd64",
        (_, "386" | "i386", _) => "i386",
        ("freebsd", "arm", _) => "arm",
        (_, "arm64" | "aarch64", _) => "aarch64",
        (_, "arm", "v7" | "v8" | "7" | "8") => "armv7l",
        (_, "arm", _) => "armv6l",
        (_, other, _) => other,
    };
    if appc::arches(&os).is_some_and(|known| known.contains(&arch)) {
        Ok((os, arch.to_owned()))
    } else {
        Err(FormError::Platform { os, architecture })
    }
}

const OPEN_CONTAINERS: &str = "org.opencontainers.image.";

fn annotations(source: &Source, manifest: &Manifest, config: &ImageConfig) -> Vec<Annotation> {
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    let mut add = |name: &str, value: &str| {
        if !value.is_empty() {
            all.insert(name.to_owned(), value.to_owned());
        }
    };
    let author = config.author.as_deref().unwrap_or_default();
    add("author", author);
    add("authors", author);
    let created = config.created.as_deref().unwrap_or_default();
    if appc::is_date(created) {
        add("created", created);
    }
    let top = manifest.layers.last().unwrap_or(&manifest.config);
    let remote = !source.registry.is_empty();
    add("appc.io/docker/imageid", if remote { top.digest.as_str() } else { top.digest.hex() });
    add("appc.io/docker/manifesthash", source.manifest_digest.as_str());
    add("appc.io/docker/registryurl", &source.registry);
    add("appc.io/docker/repository", &source.repository);
    if remote {
        add("appc.io/docker/originalname", source.original.as_deref().unwrap_or_default());
    }
    let process = config.config.clone().unwrap_or_default();
    for (name, words) in
        [("appc.io/docker/entrypoint", &process.entrypoint), ("appc.io/docker/cmd", &process.cmd)]
    {
        if !words.is_empty() {
            add(name, &compact(&Json::from(words.clone())));
        }
    }
    for (word, value) in own_words(config, &process) {
        add(&format!("{OPEN_CONTAINERS}{word}"), &value);
    }
    for (label, value) in &process.labels {
        let name = label.to_ascii_lowercase();
        if name.starts_with(OPEN_CONTAINERS) && AcIdentifier::parse(&name).is_ok() {
            add(&name, value);
        }
    }
    if process::group_of_user(&process.user) {
        add(GROUP_OF_USER, "true");
    }
    let annotation = |(name, value): (String, String)| {
        AcIdentifier::parse(&name).ok().map(|name| Annotation { name, value })
    };
    all.into_iter().filter_map(annotation).collect()
}

/// The annotation that says: the image names a user and no group.
const GROUP_OF_USER: &str = "coreos.com/rkt/oci/group-of-user";

fn own_words<'c>(config: &'c ImageConfig, process: &'c Process) -> [(&'static str, String); 7] {
    let text = |text: &'c Option<String>| text.clone().unwrap_or_default();
    [
        ("os", config.platform.os.clone()),
        ("architecture", config.platform.architecture.clone()),
        ("variant", config.platform.variant.clone()),
        ("author", text(&config.author)),
        ("created", text(&config.created)),
        ("stopsignal", text(&process.stop_signal)),
        ("exposedports", process.exposed_ports.join(",")),
    ]
}

#[cfg(test)]
mod tests;
