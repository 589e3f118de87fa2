//! The argv of every entrypoint, encoded by stage0 and decoded by a stage1.

use crate::annotations::InterfaceVersion;
use appc::PodUuid;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::ffi::OsString;

/// Where one of the pod's DNS files (`resolv.conf`, `hosts`) comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DnsMode {
    /// The stage1 decides: the image's own file, or a fallback.
    #[default]
    Default,
    /// The host's file.
    Host,
    /// The file that stage0 wrote into the pod folder.
    Stage0,
    /// Nothing is done.
    None,
}

impl DnsMode {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Default, "default"),
        (Self::Host, "host"),
        (Self::Stage0, "stage0"),
        (Self::None, "none"),
    ];

    /// The word on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Host => "host",
            Self::Stage0 => "stage0",
            Self::None => "none",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, name)| *name == word).map(|(mode, _)| *mode)
    }
}

/// A flag without a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Switch {
    /// Say more on stderr.
    Debug,
    /// The app gets the caller's terminal and input.
    Interactive,
    /// Apps keep all capabilities.
    DisableCapabilities,
    /// Kernel paths are neither hidden nor read-only.
    DisablePaths,
    /// Apps get no system call filter.
    DisableSeccomp,
    /// Apps may come and go while the pod runs.
    Mutable,
}

impl Switch {
    const ALL: [Self; 6] = [
        Self::Debug,
        Self::Interactive,
        Self::DisableCapabilities,
        Self::DisablePaths,
        Self::DisableSeccomp,
        Self::Mutable,
    ];

    /// The flag without its dashes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Interactive => "interactive",
            Self::DisableCapabilities => "disable-capabilities-restriction",
            Self::DisablePaths => "disable-paths",
            Self::DisableSeccomp => "disable-seccomp",
            Self::Mutable => "mutable",
        }
    }
}

/// A flag that older stage1 images do not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunFlag {
    /// `--hostname`
    Hostname,
    /// `--disable-capabilities-restriction`, `--disable-paths` or `--disable-seccomp`
    Disable(Switch),
    /// `--dns-conf-mode`
    DnsConfMode,
    /// `--ipc`
    Ipc,
}

impl RunFlag {
    /// The first interface version that understands this flag.
    pub const fn since(self) -> InterfaceVersion {
        match self {
            Self::Hostname => InterfaceVersion(2),
            Self::Disable(_) => InterfaceVersion(3),
            Self::DnsConfMode => InterfaceVersion(4),
            Self::Ipc => InterfaceVersion(6),
        }
    }

    /// The flag without its dashes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hostname => "hostname",
            Self::Disable(switch) => switch.name(),
            Self::DnsConfMode => "dns-conf-mode",
            Self::Ipc => "ipc",
        }
    }
}

/// An argv that does not follow the contract.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadArgs {
    /// A flag this version does not know.
    #[error("unknown argument {0:?}")]
    Unknown(String),
    /// A flag whose value is missing or makes no sense.
    #[error("bad value for {flag}: {value:?}")]
    Value {
        /// The flag.
        flag: &'static str,
        /// What was given.
        value: String,
    },
    /// The pod's UUID is missing or is none.
    #[error("the pod's UUID is missing or malformed")]
    Uuid,
    /// An argument is not UTF-8 where only UTF-8 makes sense.
    #[error("an argument is not UTF-8")]
    NotText,
}

/// The argv of the `run` entrypoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunArgs {
    /// The flags without a value.
    pub switches: BTreeSet<Switch>,
    /// The value of `--net`, always passed.
    pub net: String,
    /// `SHIFT:COUNT` of the user namespace.
    pub private_users: Option<String>,
    /// The token under which the pod is known to the metadata service.
    pub mds_token: Option<String>,
    /// The administrator's configuration directory.
    pub local_config: Option<String>,
    /// The host name, if one was asked for.
    pub hostname: Option<String>,
    /// Where resolv.conf comes from.
    pub resolv: DnsMode,
    /// Where the hosts file comes from.
    pub hosts: DnsMode,
    /// `auto`, `private` or `parent`, if asked for.
    pub ipc: Option<String>,
    /// The pod.
    pub uuid: PodUuid,
}

impl RunArgs {
    /// Arguments that ask for nothing but the pod and its network.
    pub fn new(uuid: PodUuid, net: impl Into<String>) -> Self {
        Self {
            switches: BTreeSet::new(),
            net: net.into(),
            private_users: None,
            mds_token: None,
            local_config: None,
            hostname: None,
            resolv: DnsMode::Default,
            hosts: DnsMode::Default,
            ipc: None,
            uuid,
        }
    }

    /// The argv after `argv[0]` that stage0 execs, and the flags left out because `version` is too old for them.
    pub fn encode(&self, version: InterfaceVersion) -> (Vec<OsString>, Vec<RunFlag>) {
        let mut argv: Vec<String> = Vec::new();
        let mut left_out = Vec::new();
        let has = |switch| self.switches.contains(&switch);
        if has(Switch::Debug) {
            argv.push("--debug".into());
        }
        argv.push(format!("--net={}", self.net));
        if has(Switch::Interactive) {
            argv.push("--interactive".into());
        }
        for (flag, value) in [
            ("private-users", &self.private_users),
            ("mds-token", &self.mds_token),
            ("local-config", &self.local_config),
        ] {
            argv.extend(value.iter().map(|v| format!("--{flag}={v}")));
        }
        let mut newer = |flag: RunFlag, text: String| {
            if version >= flag.since() {
                argv.push(text);
            } else {
                left_out.push(flag);
            }
        };
        if let Some(name) = &self.hostname {
            newer(RunFlag::Hostname, format!("--hostname={name}"));
        }
        if (self.resolv, self.hosts) != (DnsMode::Default, DnsMode::Default) {
            let modes = format!("resolv={},hosts={}", self.resolv.name(), self.hosts.name());
            newer(RunFlag::DnsConfMode, format!("--dns-conf-mode={modes}"));
        }
        for switch in [Switch::DisableCapabilities, Switch::DisablePaths, Switch::DisableSeccomp] {
            if has(switch) {
                newer(RunFlag::Disable(switch), format!("--{}", switch.name()));
            }
        }
        if let Some(mode) = &self.ipc {
            newer(RunFlag::Ipc, format!("--ipc={mode}"));
        }
        if has(Switch::Mutable) {
            argv.push("--mutable".into());
        }
        argv.push(self.uuid.to_string());
        (argv.into_iter().map(OsString::from).collect(), left_out)
    }

    /// The same argv (without `argv[0]`), read by a stage1.
    ///
    /// # Errors
    /// See [`BadArgs`].
    pub fn decode(argv: impl Iterator<Item = OsString>) -> Result<Self, BadArgs> {
        let mut words = texts(argv)?;
        let uuid = words.pop().ok_or(BadArgs::Uuid)?;
        let mut args = Self::new(PodUuid::parse(&uuid).map_err(|_| BadArgs::Uuid)?, "");
        for word in words {
            let (flag, value) = split(&word)?;
            if let Some(switch) = Switch::ALL.into_iter().find(|s| s.name() == flag) {
                match value {
                    None | Some("true") => drop(args.switches.insert(switch)),
                    Some("false") => drop(args.switches.remove(&switch)),
                    Some(other) => {
                        return Err(BadArgs::Value { flag: switch.name(), value: other.into() });
                    }
                }
                continue;
            }
            let text = || value.map(str::to_owned).ok_or_else(|| BadArgs::Unknown(word.clone()));
            match flag {
                "net" => args.net = text()?,
                "private-users" => args.private_users = Some(text()?),
                "mds-token" => args.mds_token = Some(text()?),
                "local-config" => args.local_config = Some(text()?),
                "hostname" => args.hostname = Some(text()?),
                "ipc" => args.ipc = Some(text()?),
                "dns-conf-mode" => (args.resolv, args.hosts) = dns_modes(&text()?)?,
                _ => return Err(BadArgs::Unknown(word)),
            }
        }
        Ok(args)
    }
}

/// The argv of the `enter` entrypoint: `--pid=N --appname=APP -- CMD ARGS…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnterArgs {
    /// The process to enter, as the host sees it.
    pub pid: i32,
    /// The app.
    pub app: String,
    /// The command and its arguments, at least one word.
    pub command: Vec<OsString>,
}

impl EnterArgs {
    /// The argv after `argv[0]`.
    pub fn encode(&self) -> Vec<OsString> {
        let mut argv: Vec<OsString> = vec![
            format!("--pid={}", self.pid).into(),
            format!("--appname={}", self.app).into(),
            "--".into(),
        ];
        argv.extend(self.command.iter().cloned());
        argv
    }

    /// The same argv, read by a stage1.
    ///
    /// # Errors
    /// See [`BadArgs`].
    pub fn decode(mut argv: impl Iterator<Item = OsString>) -> Result<Self, BadArgs> {
        let (pid, app) = target(&mut argv)?;
        let command: Vec<OsString> = argv.collect();
        if command.is_empty() {
            return Err(BadArgs::Value { flag: "the command", value: String::new() });
        }
        Ok(Self { pid, app, command })
    }
}

/// The argv of the `export` entrypoint: `--pid=N --appname=APP`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportArgs {
    /// The pod's process, as the host sees it.
    pub pid: i32,
    /// The app.
    pub app: String,
}

impl ExportArgs {
    /// The argv after `argv[0]`.
    pub fn encode(&self) -> Vec<OsString> {
        vec![format!("--pid={}", self.pid).into(), format!("--appname={}", self.app).into()]
    }

    /// The same argv, read by a stage1.
    ///
    /// # Errors
    /// See [`BadArgs`].
    pub fn decode(mut argv: impl Iterator<Item = OsString>) -> Result<Self, BadArgs> {
        let (pid, app) = target(&mut argv)?;
        match argv.next() {
            None => Ok(Self { pid, app }),
            Some(word) => Err(BadArgs::Unknown(word.to_string_lossy().into_owned())),
        }
    }
}

/// The process and the app that an entrypoint is called for, up to `--` or the end.
fn target(argv: &mut impl Iterator<Item = OsString>) -> Result<(i32, String), BadArgs> {
    let (mut pid, mut app) = (None, None);
    for word in argv {
        let word = word.into_string().map_err(|_| BadArgs::NotText)?;
        if word == "--" {
            break;
        }
        match split(&word)? {
            ("pid", Some(value)) => match value.parse::<i32>() {
                Ok(number) if number > 0 => pid = Some(number),
                _ => return Err(BadArgs::Value { flag: "pid", value: value.to_owned() }),
            },
            ("appname", Some(value)) => app = Some(value.to_owned()),
            _ => return Err(BadArgs::Unknown(word)),
        }
    }
    let missing = |flag| BadArgs::Value { flag, value: String::new() };
    Ok((pid.ok_or_else(|| missing("pid"))?, app.ok_or_else(|| missing("appname"))?))
}

/// The argv of the `gc` entrypoint: `[--debug] [--local-config DIR] UUID`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GcArgs {
    /// Say more on stderr.
    pub debug: bool,
    /// The administrator's configuration directory (from version 5 on, as two words).
    pub local_config: Option<String>,
    /// The pod.
    pub uuid: PodUuid,
}

impl GcArgs {
    /// The argv after `argv[0]`.
    pub fn encode(&self, version: InterfaceVersion) -> Vec<OsString> {
        let mut argv: Vec<OsString> = Vec::new();
        if self.debug {
            argv.push("--debug".into());
        }
        if let Some(dir) = self.local_config.as_ref().filter(|_| version >= InterfaceVersion(5)) {
            argv.extend(["--local-config".into(), dir.into()]);
        }
        argv.push(self.uuid.to_string().into());
        argv
    }

    /// The same argv, read by a stage1.
    ///
    /// # Errors
    /// See [`BadArgs`].
    pub fn decode(argv: impl Iterator<Item = OsString>) -> Result<Self, BadArgs> {
        let mut words = texts(argv)?;
        let uuid = words.pop().ok_or(BadArgs::Uuid)?;
        let uuid = PodUuid::parse(&uuid).map_err(|_| BadArgs::Uuid)?;
        let mut args = Self { debug: false, local_config: None, uuid };
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            match split(&word)? {
                ("debug", None | Some("true")) => args.debug = true,
                ("debug", Some("false")) => args.debug = false,
                ("local-config", Some(dir)) => args.local_config = Some(dir.to_owned()),
                ("local-config", None) => {
                    let missing = || BadArgs::Value { flag: "local-config", value: String::new() };
                    args.local_config = Some(words.next().ok_or_else(missing)?);
                }
                _ => return Err(BadArgs::Unknown(word)),
            }
        }
        Ok(args)
    }
}

/// The argv of the `stop` entrypoint: `[--force] UUID`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopArgs {
    /// Kill instead of an ordered stop.
    pub force: bool,
    /// The pod.
    pub uuid: PodUuid,
}

impl StopArgs {
    /// The argv after `argv[0]`.
    pub fn encode(&self) -> Vec<OsString> {
        let force = self.force.then(|| OsString::from("--force"));
        force.into_iter().chain([self.uuid.to_string().into()]).collect()
    }

    /// The same argv, read by a stage1.
    ///
    /// # Errors
    /// See [`BadArgs`].
    pub fn decode(argv: impl Iterator<Item = OsString>) -> Result<Self, BadArgs> {
        let mut words = texts(argv)?;
        let uuid = words.pop().ok_or(BadArgs::Uuid)?;
        let mut args =
            Self { force: false, uuid: PodUuid::parse(&uuid).map_err(|_| BadArgs::Uuid)? };
        for word in words {
            match split(&word)? {
                ("force", None | Some("true")) => args.force = true,
                ("force", Some("false")) => args.force = false,
                _ => return Err(BadArgs::Unknown(word)),
            }
        }
        Ok(args)
    }
}

fn texts(argv: impl Iterator<Item = OsString>) -> Result<Vec<String>, BadArgs> {
    argv.map(|word| word.into_string().map_err(|_| BadArgs::NotText)).collect()
}

/// `--flag=value` or `--flag`, with one dash or two.
fn split(word: &str) -> Result<(&str, Option<&str>), BadArgs> {
    let body = word.strip_prefix("--").or_else(|| word.strip_prefix('-'));
    let body = body.filter(|b| !b.is_empty()).ok_or_else(|| BadArgs::Unknown(word.to_owned()))?;
    Ok(match body.split_once('=') {
        Some((flag, value)) => (flag, Some(value)),
        None => (body, None),
    })
}

fn dns_modes(text: &str) -> Result<(DnsMode, DnsMode), BadArgs> {
    let (mut resolv, mut hosts) = (DnsMode::Default, DnsMode::Default);
    for part in text.split(',') {
        let known =
            part.split_once('=').and_then(|(file, word)| Some((file, DnsMode::parse(word)?)));
        match known {
            Some(("resolv", mode)) => resolv = mode,
            Some(("hosts", mode)) => hosts = mode,
            _ => return Err(BadArgs::Value { flag: "dns-conf-mode", value: text.to_owned() }),
        }
    }
    Ok((resolv, hosts))
}

#[cfg(test)]
mod tests;
