//! From the bytes of one file to a network.

use super::fields::{FieldError, Fields};
use super::{Network, Origin, Plugin, Shape};
use crate::name::{NetworkName, PluginType};
use crate::version::Version;
use appc::json::Json;
use std::path::Path;
use sys::path::PathError;

/// No configuration is larger.
pub(super) const SIZE_LIMIT: usize = 1 << 20;
/// No list has more plugins.
const PLUGIN_LIMIT: usize = 64;

/// A file of a network that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] PathError),
    /// Larger than 1 MiB.
    #[error("{0}: is larger than 1 MiB")]
    TooLarge(String),
    /// It is no JSON, or nested too deeply.
    #[error("{file}: is not valid JSON")]
    Syntax {
        /// The file.
        file: String,
        /// Where, and what was expected.
        source: serde_json::Error,
    },
    /// A member breaks a rule.
    #[error(transparent)]
    Field(#[from] FieldError),
}

/// Reads a file; its extension says whether it is a plugin or a list.
pub(super) fn network(file: &Path, text: &[u8], origin: Origin) -> Result<Network, ConfigError> {
    let json = document(file, text)?;
    let fields = Fields::new(&json, file);
    let name = NetworkName::parse(fields.text("name")?.unwrap_or_default());
    let name = name.map_err(|error| fields.bad("name", error))?;
    let list = file.extension().is_some_and(|extension| extension == "conflist");
    let base = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut network = Network {
        name,
        version: version(&fields)?,
        shape: if list { Shape::List } else { Shape::Single },
        check: true,
        gc: true,
        plugins: Vec::new(),
        origin,
        file: base,
        text: text.to_vec(),
    };
    if list {
        network.check = !lenient_flag(&fields, "disableCheck")?;
        network.gc = !lenient_flag(&fields, "disableGC")?;
        for inside in fields.objects("plugins")? {
            network.plugins.push(plugin(&inside)?);
        }
        if network.plugins.len() > PLUGIN_LIMIT {
            return Err(fields.bad("plugins", "has too many elements").into());
        }
    } else {
        if fields.json().get("plugins").is_some() {
            return Err(fields.bad("plugins", "a list of plugins needs a file .conflist").into());
        }
        network.plugins.push(plugin(&fields)?);
    }
    Ok(network)
}

/// Whether the plugins of a list may also lie in files of their own.
pub(super) fn looks_further(file: &Path, text: &[u8]) -> Result<bool, ConfigError> {
    let json = document(file, text)?;
    Ok(!Fields::new(&json, file).is_set("loadOnlyInlinedPlugins")?)
}

/// Reads a file that holds one plugin of a list.
pub(super) fn plugin_file(file: &Path, text: &[u8]) -> Result<Plugin, ConfigError> {
    let json = document(file, text)?;
    Ok(plugin(&Fields::new(&json, file))?)
}

/// Adds plugins of other files to a list, and makes its text one that needs no other file.
pub(super) fn join(network: &mut Network, further: Vec<Plugin>) {
    if further.is_empty() {
        return;
    }
    network.plugins.extend(further);
    let Ok(Json::Object(members)) = Json::parse(&network.text) else { return };
    let other = |(key, _): &(String, Json)| {
        !key.eq_ignore_ascii_case("plugins") && !key.eq_ignore_ascii_case("loadOnlyInlinedPlugins")
    };
    let mut members: Vec<_> = members.into_iter().filter(other).collect();
    members.push(("loadOnlyInlinedPlugins".to_owned(), true.into()));
    let plugins: Vec<Json> = network.plugins.iter().map(|plugin| plugin.json.clone()).collect();
    members.push(("plugins".to_owned(), plugins.into()));
    network.text = appc::json::pretty(&Json::Object(members), "  ").into_bytes();
}

fn document(file: &Path, text: &[u8]) -> Result<Json, ConfigError> {
    let name = || file.display().to_string();
    if text.len() > SIZE_LIMIT {
        return Err(ConfigError::TooLarge(name()));
    }
    let json = Json::parse(text).map_err(|source| ConfigError::Syntax { file: name(), source })?;
    if matches!(json, Json::Object(_)) {
        Ok(json)
    } else {
        Err(Fields::new(&json, file).bad("configuration", "must be an object").into())
    }
}

/// A plugin, with those of its members checked that have a meaning for every plugin.
pub(super) fn plugin(fields: &Fields<'_>) -> Result<Plugin, FieldError> {
    let kind = PluginType::parse(fields.text("type")?.unwrap_or_default());
    let kind = kind.map_err(|error| fields.bad("type", error))?;
    let plugin = Plugin { kind, json: fields.json().clone(), source: fields.file().to_owned() };
    plugin
        .ipam()
        .map_err(|error| FieldError { field: fields.bad(&error.field, "").field, ..error })?;
    fields.object("capabilities")?;
    Ok(plugin)
}

/// The version to speak: the highest known of `cniVersions`, else `cniVersion`.
fn version(fields: &Fields<'_>) -> Result<Version, FieldError> {
    let offered = fields.texts("cniVersions")?;
    let best = offered.iter().filter_map(|text| Version::parse(text)).max();
    let text = fields.text("cniVersion")?.unwrap_or_default();
    // A later version than ours is fine where an earlier one is offered beside it.
    best.max(Version::parse(text)).ok_or_else(|| {
        fields.bad("cniVersion", format!("version {text:?} is not one of 0.1.0 to 1.1.0"))
    })
}

/// Lists in the wild say `true` and `"true"`.
fn lenient_flag(fields: &Fields<'_>, key: &str) -> Result<bool, FieldError> {
    match fields.json().get(key).and_then(Json::as_text) {
        Some("true") => Ok(true),
        Some("false") => Ok(false),
        _ => fields.is_set(key),
    }
}

/// The name that a file which cannot be used seems to be about.
pub(super) fn guess_name(text: &[u8]) -> Option<NetworkName> {
    let text = text.get(..text.len().min(SIZE_LIMIT))?;
    if let Ok(json) = Json::parse(text) {
        return NetworkName::parse(json.get("name")?.as_text()?).ok();
    }
    let text = String::from_utf8_lossy(text);
    let after = text.split_once("\"name\"")?.1.trim_start().strip_prefix(':')?;
    let (name, _) = after.trim_start().strip_prefix('"')?.split_once('"')?;
    NetworkName::parse(name).ok()
}
