//! Plugins as programs: which one a type names, what it is told, what it answered.
//!
//! ```text
//! search   type ─► program, along the folders of CNI_PATH
//! input    configuration + name, version, result before, wishes ─► standard input
//! exec     program, environment, input ─► output, within bounds of time and size
//! ```
//!
//! A plugin is believed as far as its configuration's author is, but not to end, to be brief or to answer well: each call
//! has a deadline, its answer a limit. Whoever calls says in which order plugins of a list come and what is undone.

mod exec;
mod input;
mod search;
#[cfg(test)]
mod tests;

pub use exec::ExecError;
pub use search::PluginPath;

use crate::config::{Network, Plugin};
use crate::name::PluginType;
use crate::request::NetworkArgs;
use crate::result::{CniResult, PluginFailure, ResultError, code};
use crate::version::Version;
use crate::wishes::Wishes;
use appc::json::Json;
use exec::Output;
use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long one call may take, unless told otherwise.
pub const LIMIT: Duration = Duration::from_mins(2);
/// How often a plugin that says "try again" is called, and how long is waited in between at first.
const TRIES: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// A plugin that could not do what it was called for.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// No program has this name.
    #[error("Could not find plugin \"{0}\"")]
    NotFound(PluginType),
    /// It could not be started or heard, or was stopped.
    #[error("cannot run plugin {plugin:?}")]
    Run {
        /// The type.
        plugin: String,
        /// Why.
        #[source]
        cause: ExecError,
    },
    /// It failed, in its own words.
    #[error("plugin {plugin:?} failed")]
    Failed {
        /// The type.
        plugin: String,
        /// What it said.
        #[source]
        failure: PluginFailure,
    },
    /// It failed without a word.
    #[error("plugin {plugin:?} {end}")]
    Ended {
        /// The type.
        plugin: String,
        /// How it ended.
        end: String,
    },
    /// Its result cannot be understood.
    #[error("plugin {plugin:?} answered badly")]
    Answer {
        /// The type.
        plugin: String,
        /// Why.
        #[source]
        cause: ResultError,
    },
    /// It does not speak the version of the configuration.
    #[error("plugin {plugin:?} does not support CNI version {wanted}, only {}", list(.known))]
    Version {
        /// The type.
        plugin: String,
        /// The version of the configuration.
        wanted: Version,
        /// What it says it speaks.
        known: Vec<Version>,
    },
}

fn list(versions: &[Version]) -> String {
    versions.iter().map(|version| version.as_str()).collect::<Vec<_>>().join(", ")
}

/// The place of a pod in one network.
#[derive(Debug, Clone, Copy)]
pub struct Attachment<'a> {
    /// The container's id: the pod's UUID.
    pub container: &'a str,
    /// The namespace; `None` if it is gone.
    pub netns: Option<&'a Path>,
    /// The name of the interface in it.
    pub ifname: &'a str,
    /// What the user wants the plugins to be told.
    pub args: &'a NetworkArgs,
    /// The plugin runs in the namespace that it sets up, and should not mind.
    pub netns_override: bool,
}

/// One of the plugins of a network, and what it is called about.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The network.
    pub network: &'a Network,
    /// The plugin, one of the network's or an allocator's stand-in.
    pub plugin: &'a Plugin,
    /// The place in the network.
    pub attachment: Attachment<'a>,
    /// What the plugins before it came to, or, for all but `ADD`, what all of them did.
    pub before: Option<&'a CniResult>,
    /// What the pod wants.
    pub wishes: &'a Wishes,
}

/// An attachment that is still in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidAttachment {
    /// The container's id.
    pub container: String,
    /// The name of the interface.
    pub ifname: String,
}

/// Whether a plugin was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// It was, and has no objection.
    Yes,
    /// It was not: the version of its configuration has no such word.
    No,
}

/// What plugins are called to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Add,
    Del,
    Check,
    Gc,
    Status,
    Version,
}

impl Verb {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Gc => "GC",
            Self::Status => "STATUS",
            Self::Version => "VERSION",
        }
    }
}

/// Runs plugins for one pod.
#[derive(Debug)]
pub struct Runner {
    path: PluginPath,
    folder: PathBuf,
    limit: Duration,
    versions: HashMap<PathBuf, Vec<Version>>,
}

impl Runner {
    /// Plugins are looked up along `path` and run in `folder`, the pod's.
    pub fn new(path: PluginPath, folder: impl Into<PathBuf>) -> Self {
        Self { path, folder: folder.into(), limit: LIMIT, versions: HashMap::new() }
    }

    /// Gives each call at most this long.
    #[must_use]
    pub fn within(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// Where plugins are looked up.
    pub fn path(&self) -> &PluginPath {
        &self.path
    }

    /// Adds the pod to a network, as far as this plugin is concerned.
    ///
    /// # Errors
    /// See [`PluginError`].
    pub fn add(&mut self, call: &Call<'_>) -> Result<CniResult, PluginError> {
        let program = self.negotiated(call.network, call.plugin)?;
        let input = input::compose(call.network, call.plugin, call.before, Some(call.wishes));
        let environment = self.environment(Verb::Add, Some(&call.attachment));
        let output = self.call(&program, call.plugin, &environment, &input)?;
        let answer = CniResult::parse(&output, call.network.version());
        answer
            .map_err(|cause| PluginError::Answer { plugin: call.plugin.kind().to_string(), cause })
    }

    /// Removes the pod from a network, as far as this plugin is concerned. What is not there any more is no failure.
    ///
    /// # Errors
    /// See [`PluginError`].
    pub fn del(&mut self, call: &Call<'_>) -> Result<(), PluginError> {
        // A plugin that does not speak the version could not have added anything; it says so itself.
        let program = self.path.find(call.plugin.kind())?;
        let before = call.before.filter(|_| call.network.version() >= Version::V0_4_0);
        let input = input::compose(call.network, call.plugin, before, Some(call.wishes));
        let environment = self.environment(Verb::Del, Some(&call.attachment));
        match self.call(&program, call.plugin, &environment, &input) {
            Ok(_) => Ok(()),
            Err(PluginError::Failed { failure, .. }) if failure.code == code::UNKNOWN_CONTAINER => {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Asks whether the pod's place in the network is as it was left. Needs version 0.4 and a list without `disableCheck`.
    ///
    /// # Errors
    /// It is not, or see [`PluginError`].
    pub fn check(&mut self, call: &Call<'_>) -> Result<Asked, PluginError> {
        if call.network.version() < Version::V0_4_0 || !call.network.is_checked() {
            return Ok(Asked::No);
        }
        let program = self.negotiated(call.network, call.plugin)?;
        let input = input::compose(call.network, call.plugin, call.before, Some(call.wishes));
        let environment = self.environment(Verb::Check, Some(&call.attachment));
        self.call(&program, call.plugin, &environment, &input).map(|_| Asked::Yes)
    }

    /// Lets a plugin drop what belongs to none of these attachments. Needs version 1.1 and a list without `disableGC`.
    ///
    /// # Errors
    /// See [`PluginError`].
    pub fn gc(
        &mut self,
        network: &Network,
        plugin: &Plugin,
        valid: &[ValidAttachment],
    ) -> Result<Asked, PluginError> {
        if network.version() < Version::V1_1_0 || !network.is_collected() {
            return Ok(Asked::No);
        }
        let program = self.negotiated(network, plugin)?;
        let input = input::with_attachments(network, plugin, valid);
        let environment = self.environment(Verb::Gc, None);
        self.call(&program, plugin, &environment, &input).map(|_| Asked::Yes)
    }

    /// Asks whether a plugin could add a pod. Needs version 1.1.
    ///
    /// # Errors
    /// It could not, or see [`PluginError`].
    pub fn status(&mut self, network: &Network, plugin: &Plugin) -> Result<Asked, PluginError> {
        if network.version() < Version::V1_1_0 {
            return Ok(Asked::No);
        }
        let program = self.negotiated(network, plugin)?;
        let input = input::compose(network, plugin, None, None);
        let environment = self.environment(Verb::Status, None);
        self.call(&program, plugin, &environment, &input).map(|_| Asked::Yes)
    }

    /// The program of a plugin that speaks the network's version. Programs of 0.1 cannot be asked.
    fn negotiated(&mut self, network: &Network, plugin: &Plugin) -> Result<PathBuf, PluginError> {
        let program = self.path.find(plugin.kind())?;
        let wanted = network.version();
        if wanted == Version::V0_1_0 {
            return Ok(program);
        }
        if !self.versions.contains_key(&program) {
            let known = self.ask_versions(&program, plugin, wanted)?;
            self.versions.insert(program.clone(), known);
        }
        let known = self.versions.get(&program).cloned().unwrap_or_default();
        if known.contains(&wanted) {
            return Ok(program);
        }
        Err(PluginError::Version { plugin: plugin.kind().to_string(), wanted, known })
    }

    fn ask_versions(
        &self,
        program: &Path,
        plugin: &Plugin,
        wanted: Version,
    ) -> Result<Vec<Version>, PluginError> {
        let input = appc::json::compact(&Json::object([("cniVersion", wanted.as_str().into())]));
        // Libraries of plugins want all variables to be there, whatever the command.
        let mut environment = self.environment(Verb::Version, None);
        for name in ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"] {
            environment.push((name, "dummy".into()));
        }
        let output = self.run(program, plugin, &environment, input.as_bytes())?;
        if !output.success {
            // The word came with 0.2.
            return Ok(vec![Version::V0_1_0]);
        }
        let json = Json::parse(&output.bytes).map_err(|error| PluginError::Answer {
            plugin: plugin.kind().to_string(),
            cause: ResultError::Syntax(error),
        })?;
        let Some(Json::List(versions)) = json.get("supportedVersions") else {
            return Ok(vec![Version::V0_1_0]);
        };
        Ok(versions.iter().filter_map(|v| Version::parse(v.as_text()?)).collect())
    }

    fn environment(
        &self,
        verb: Verb,
        attachment: Option<&Attachment<'_>>,
    ) -> Vec<(&'static str, OsString)> {
        let mut list = vec![
            // Plugins of the time before 0.2 look at it.
            ("CNI_VERSION", "0.1.0".into()),
            ("CNI_COMMAND", verb.as_str().into()),
            ("CNI_PATH", self.path.variable()),
        ];
        if let Some(attachment) = attachment {
            let netns = attachment.netns.map(|path| path.as_os_str().to_owned());
            list.push(("CNI_CONTAINERID", attachment.container.into()));
            list.push(("CNI_NETNS", netns.unwrap_or_default()));
            list.push(("CNI_IFNAME", attachment.ifname.into()));
            list.push(("CNI_ARGS", attachment.args.as_str().into()));
            if attachment.netns_override {
                list.push(("CNI_NETNS_OVERRIDE", "true".into()));
            }
        }
        list
    }

    fn run(
        &self,
        program: &Path,
        plugin: &Plugin,
        environment: &[(&'static str, OsString)],
        input: &[u8],
    ) -> Result<Output, PluginError> {
        let run = exec::run(program, &self.folder, environment, input, self.limit);
        run.map_err(|cause| PluginError::Run { plugin: plugin.kind().to_string(), cause })
    }

    /// Runs a plugin, again for a while if it says that it may work later, and returns what it wrote.
    fn call(
        &self,
        program: &Path,
        plugin: &Plugin,
        environment: &[(&'static str, OsString)],
        input: &[u8],
    ) -> Result<Vec<u8>, PluginError> {
        let end = Instant::now() + self.limit;
        let mut pause = FIRST_PAUSE;
        for attempt in 1.. {
            let output = self.run(program, plugin, environment, input)?;
            if output.success {
                return Ok(output.bytes);
            }
            let plugin = plugin.kind().to_string();
            let Some(failure) = PluginFailure::parse(&output.bytes) else {
                return Err(PluginError::Ended { plugin, end: output.end });
            };
            let last = attempt >= TRIES || Instant::now() + pause >= end;
            if failure.code != code::TRY_AGAIN || last {
                return Err(PluginError::Failed { plugin, failure });
            }
            exec::pause(pause);
            pause *= 2;
        }
        Ok(Vec::new())
    }
}
