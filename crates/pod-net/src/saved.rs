//! The networks of a pod as its folder has them on record, for everything that comes after joining.

use crate::attach::{Hand, Hands};
use crate::config::kinds::FlannelConfig;
use crate::config::{ConfigError, Network, Plugin};
use crate::driver::Driver;
use crate::flannel;
use crate::info::{self, NetInfo};
use crate::ports;
use crate::wishes::{PortMapping, Wishes};
use appc::{PodManifest, PodUuid};
use stage1_abi::{PodDir, PodDirError, pod_dir};
use std::path::PathBuf;

/// A configuration on record that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SavedError {
    /// The kernel said no.
    #[error(transparent)]
    Dir(#[from] PodDirError),
    /// It breaks a rule.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// The configuration of a network as it was when the pod joined; `None` if it is gone.
pub(crate) fn network(dir: &PodDir, info: &NetInfo) -> Result<Option<Network>, SavedError> {
    // Which file it is follows from its name alone: the record does not lead out of the folder.
    let file = info.config.rsplit('/').next().filter(|file| !file.is_empty());
    let Some(file) = file else { return Ok(None) };
    let Some(text) = dir.read(&format!("{}/{file}", info::FOLDER))? else { return Ok(None) };
    Ok(Some(Network::parse(&PathBuf::from(file), &text)?))
}

/// What the pod wants of its networks: it is told to plugins again, some of which find by it what they did. Where the
/// manifest cannot be read the pod wants nothing.
pub(crate) fn wishes(dir: &PodDir) -> Wishes {
    let manifest = dir.read(pod_dir::MANIFEST).ok().flatten();
    let manifest = manifest.and_then(|text| PodManifest::from_json(&text).ok());
    let forwards = manifest.and_then(|manifest| ports::of(&manifest).ok()).unwrap_or_default();
    Wishes { ports: forwards.iter().map(PortMapping::from).collect(), ..Wishes::default() }
}

/// What a plugin that stands for another one stood for when the pod joined.
pub(crate) fn stood_for(hands: &Hands, plugin: &Plugin, uuid: &str) -> Option<Plugin> {
    if hands.of(plugin) != Hand::Driver(Driver::Flannel) {
        return None;
    }
    let config = FlannelConfig::read(plugin).ok()?;
    flannel::kept(&config.data_dir, &PodUuid::parse(uuid).ok()?).ok()?
}
