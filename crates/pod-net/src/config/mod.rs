//! Networks as their files describe them.
//!
//! A file is one plugin (`.conf`, `.json`) or a list of them (`.conflist`); here both are a [`Network`], a list. What
//! plugins read stays as it was written, in order; what rkt and its drivers read is read through [`Fields`] and the types
//! of [`kinds`], each of which checks its members.
//!
//! Files come from `LOCAL-CONFIG/net.d` and from the constants here; a file that cannot be used spoils only the network
//! that it names.

mod built_in;
mod fields;
pub mod kinds;
mod load;
mod read;
#[cfg(test)]
mod tests;

pub use fields::{FieldError, Fields};
pub use load::{LoadError, Networks, SelectError, Selected, Warning};
pub use read::ConfigError;

use crate::name::{NetworkName, PluginType};
use crate::version::Version;
use appc::json::Json;
use std::path::{Path, PathBuf};

/// One plugin of a network, as configured.
#[derive(Debug, Clone, PartialEq)]
pub struct Plugin {
    kind: PluginType,
    json: Json,
    source: PathBuf,
}

impl Plugin {
    /// A plugin of this configuration, which follows from what stands in a file.
    ///
    /// # Errors
    /// As for a file.
    pub fn new(json: &Json, source: &Path) -> Result<Self, FieldError> {
        read::plugin(&Fields::new(json, source))
    }

    /// Its allocator as a plugin to be run: the program is the allocator's, the configuration stays that of this plugin.
    ///
    /// # Errors
    /// As [`Self::ipam`].
    pub fn allocator(&self) -> Result<Option<Self>, FieldError> {
        let kind = self.ipam()?.map(|ipam| ipam.kind);
        Ok(kind.map(|kind| Self { kind, json: self.json.clone(), source: self.source.clone() }))
    }

    /// The file it stands in.
    pub fn source(&self) -> &Path {
        &self.source
    }

    /// Its type.
    pub fn kind(&self) -> &PluginType {
        &self.kind
    }

    /// Everything that its configuration says.
    pub fn json(&self) -> &Json {
        &self.json
    }

    /// The members of its configuration, for typed reading.
    pub fn fields(&self) -> Fields<'_> {
        Fields::new(&self.json, &self.source)
    }

    /// Whether it asks for the network's addresses to be hidden behind the host's; wrong types are told by its driver.
    pub fn masquerades(&self) -> bool {
        self.json.get("ipMasq") == Some(&Json::Bool(true))
    }

    /// Whether it wants to be told this of a pod: `portMappings`, `bandwidth`, `ips` and so on.
    pub fn is_capable(&self, capability: &str) -> bool {
        let Some(Json::Object(members)) = self.json.get("capabilities") else { return false };
        members.iter().any(|(name, value)| name == capability && *value == Json::Bool(true))
    }

    /// The allocator of its addresses, if it has one.
    ///
    /// # Errors
    /// `ipam` is no object, or its type is no plain name.
    pub fn ipam(&self) -> Result<Option<Ipam<'_>>, FieldError> {
        let Some(fields) = self.fields().object("ipam")? else { return Ok(None) };
        let Some(kind) = fields.text("type")? else { return Ok(None) };
        let kind = PluginType::parse(kind).map_err(|error| fields.bad("type", error))?;
        Ok(Some(Ipam { kind, fields }))
    }
}

/// The part of a plugin's configuration that says where addresses come from.
#[derive(Debug, Clone)]
pub struct Ipam<'a> {
    /// The type of the allocator.
    pub kind: PluginType,
    /// Its members.
    pub fields: Fields<'a>,
}

/// Which kind of file a network stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One plugin: the plugin reads the file itself.
    Single,
    /// A list of plugins.
    List,
}

/// Where a network is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// In a file of the user.
    User,
    /// In rkt.
    BuiltIn,
}

/// A network as configured.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    name: NetworkName,
    version: Version,
    shape: Shape,
    check: bool,
    gc: bool,
    plugins: Vec<Plugin>,
    origin: Origin,
    file: String,
    text: Vec<u8>,
}

impl Network {
    /// Its name.
    pub fn name(&self) -> &NetworkName {
        &self.name
    }

    /// The version of the protocol that its plugins are spoken to in.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The kind of its file.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Whether `CHECK` may be called: not if the list says `disableCheck`.
    pub fn is_checked(&self) -> bool {
        self.check
    }

    /// Whether `GC` may be called: not if the list says `disableGC`.
    pub fn is_collected(&self) -> bool {
        self.gc
    }

    /// Its plugins in the order of `ADD`; at least one.
    pub fn plugins(&self) -> &[Plugin] {
        &self.plugins
    }

    /// Where it is configured.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// The base name of its file, by which networks are ordered.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Its file for the pod's folder: the bytes as they stood, or a list that needs no other file.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Whether one of its plugins hides its addresses behind the host's.
    pub fn masquerades(&self) -> bool {
        self.plugins.iter().any(Plugin::masquerades)
    }

    /// The first plugin of a type.
    pub fn plugin(&self, kind: &str) -> Option<&Plugin> {
        self.plugins.iter().find(|plugin| plugin.kind == kind)
    }

    /// Whether a plugin of the list forwards ports, so that nobody else should.
    pub fn forwards_ports(&self) -> bool {
        self.plugins.iter().any(|plugin| plugin.is_capable("portMappings"))
    }

    /// Reads a file of a network.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn parse(file: &Path, text: &[u8]) -> Result<Self, ConfigError> {
        read::network(file, text, Origin::User)
    }
}
