//! Image configurations: what runs in an image and how.

use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::document::{self, DocumentError, Members, bad};
use crate::manifest::Manifest;
use crate::platform::Platform;
use std::collections::BTreeMap;

/// The configuration of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageConfig {
    /// What it runs on; parts may be empty.
    pub platform: Platform,
    /// When it was made, as given.
    pub created: Option<String>,
    /// Who made it.
    pub author: Option<String>,
    /// What runs, if anything is said about it.
    pub config: Option<Process>,
    /// The digests of the layers' uncompressed tars, lowest first.
    pub diff_ids: Vec<Digest>,
}

/// What runs in an image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Process {
    /// `user`, `uid`, `user:group`, `uid:gid` or a mix; empty for root.
    pub user: String,
    /// `NAME=VALUE` each.
    pub env: Vec<String>,
    /// The program and its first arguments.
    pub entrypoint: Vec<String>,
    /// Further arguments, which a user's own replace.
    pub cmd: Vec<String>,
    /// Where it runs.
    pub working_dir: String,
    /// `PORT[/PROTOCOL]` each, sorted.
    pub exposed_ports: Vec<String>,
    /// Paths of volumes, sorted.
    pub volumes: Vec<String>,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// The signal that asks it to end.
    pub stop_signal: Option<String>,
}

impl ImageConfig {
    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// See [`DocumentError`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, DocumentError> {
        let json = document::parse(bytes)?;
        let members = Members::of(&json, "configuration")?;
        let filled = |key| Ok(members.text(key)?.filter(|t| !t.is_empty()).map(str::to_owned));
        let root = members.object("rootfs")?.ok_or_else(|| bad("rootfs", "is missing"))?;
        if root.text("type")? != Some("layers") {
            return Err(bad("rootfs type", "must be \"layers\""));
        }
        let diff_ids = root.texts("diff_ids")?.into_iter().map(|text| Digest::parse(&text));
        Ok(Self {
            platform: Platform {
                os: members.owned("os")?,
                architecture: members.owned("architecture")?,
                variant: members.owned("variant")?,
            },
            created: filled("created")?,
            author: filled("author")?,
            config: members.object("config")?.map(Process::read).transpose()?,
            diff_ids: diff_ids.collect::<Result<_, _>>().map_err(|e| bad("diff_ids", e))?,
        })
    }
}

impl Process {
    fn read(members: Members<'_>) -> Result<Self, DocumentError> {
        let mut exposed_ports = members.keys("ExposedPorts")?;
        if members.get("ExposedPorts")?.is_none() {
            // What Docker wrote before 2014: `[HOSTPORT:]PORT[/PROTOCOL]`.
            let inner = |spec: &String| spec.rsplit(':').next().unwrap_or_default().to_owned();
            exposed_ports = members.texts("PortSpecs")?.iter().map(inner).collect();
            exposed_ports.sort();
            exposed_ports.dedup();
        }
        Ok(Self {
            user: members.owned("User")?,
            env: members.texts("Env")?,
            entrypoint: members.texts("Entrypoint")?,
            cmd: members.texts("Cmd")?,
            working_dir: members.owned("WorkingDir")?,
            exposed_ports,
            volumes: members.keys("Volumes")?,
            labels: members.map("Labels")?,
            stop_signal: members
                .text("StopSignal")?
                .filter(|text| !text.is_empty())
                .map(str::to_owned),
        })
    }
}

/// A manifest and its configuration disagree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("manifest has {layers} layers, but the configuration has {diff_ids} diff_ids")]
pub struct UnequalLayers {
    /// Layers of the manifest.
    pub layers: usize,
    /// Digests in the configuration.
    pub diff_ids: usize,
}

/// The layers of an image with the digests of their uncompressed tars, lowest first.
#[derive(Debug, Clone, Copy)]
pub struct Layers<'a> {
    blobs: &'a [Descriptor],
    diff_ids: &'a [Digest],
}

impl<'a> Layers<'a> {
    /// Pairs them.
    ///
    /// # Errors
    /// There are more of the one than of the other.
    pub fn pair(manifest: &'a Manifest, config: &'a ImageConfig) -> Result<Self, UnequalLayers> {
        let (layers, diff_ids) = (manifest.layers.len(), config.diff_ids.len());
        if layers != diff_ids {
            return Err(UnequalLayers { layers, diff_ids });
        }
        Ok(Self { blobs: &manifest.layers, diff_ids: &config.diff_ids })
    }

    /// The pairs.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&'a Descriptor, &'a Digest)> + use<'a> {
        self.blobs.iter().zip(self.diff_ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(rest: &str) -> Result<ImageConfig, DocumentError> {
        let text = format!(r#"{{"architecture":"amd64","os":"linux"{rest}}}"#);
        ImageConfig::from_json(text.as_bytes())
    }

    #[test]
    fn everything_may_be_null() {
        let config = r#""config":{"User":null,"Env":null,"Entrypoint":null,"Cmd":null,"Volumes":null,
            "WorkingDir":null,"Labels":null,"OnBuild":null,"ExposedPorts":null,"StopSignal":""}"#;
        let found = read(&format!(
            r#",{config},"created":null,"rootfs":{{"type":"layers","diff_ids":null}},"new":[{{}}]"#
        ));
        let found = found.unwrap();
        assert_eq!(found.config, Some(Process::default()));
        assert_eq!((found.created, found.diff_ids.len()), (None, 0));
        let none = read(r#","config":null,"rootfs":{"type":"layers"}"#).unwrap();
        assert_eq!(none.config, None);
    }

    #[test]
    fn sets_are_sorted_and_old_ports_read() {
        let rootfs = r#","rootfs":{"type":"layers","diff_ids":[]}"#;
        let process =
            |config: &str| read(&format!(r#","config":{config}{rootfs}"#)).unwrap().config.unwrap();
        let found = process(r#"{"Volumes":{"/b":{},"/a":{}},"ExposedPorts":{"9":{},"10/udp":{}}}"#);
        assert_eq!(found.volumes, ["/a", "/b"]);
        assert_eq!(found.exposed_ports, ["10/udp", "9"]);
        let found = process(r#"{"PortSpecs":["80:8080/tcp","53"]}"#);
        assert_eq!(found.exposed_ports, ["53", "8080/tcp"]);
    }

    #[test]
    fn what_is_no_configuration() {
        let layers = r#","rootfs":{"type":"layers","diff_ids":[]}"#;
        for bad in [
            String::new(),
            r#","rootfs":{"diff_ids":[]}"#.into(),
            r#","rootfs":{"type":"tree","diff_ids":[]}"#.into(),
            r#","rootfs":{"type":"layers","diff_ids":["x"]}"#.into(),
            format!(r#","config":[]{layers}"#),
            format!(r#","config":{{"Env":"A=b"}}{layers}"#),
            format!(r#","config":{{"Env":[1]}}{layers}"#),
            format!(r#","config":{{"user":"0"}}{layers}"#),
            format!(r#","config":{{"Labels":{{"a":1}}}}{layers}"#),
            format!(r#","os":"linux"{layers}"#),
        ] {
            read(&bad).unwrap_err();
        }
    }
}
