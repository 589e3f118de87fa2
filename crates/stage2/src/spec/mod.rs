//! What one app of a pod asks for, read out of the pod manifest and of its image's manifest.

pub mod wire;

use crate::identity::{GroupRule, Wanted};
use crate::launch::Rights;
use appc::{App, HookPoint, ImageManifest, Isolator, Meaning, RuntimeApp};
use serde::{Deserialize, Serialize};
use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStringExt as _;
use sys::capability::Capabilities;
use sys::cgroup::Limits;
use sys::process::Words;

/// The capabilities of an app that says nothing about them.
const DEFAULT_CAPABILITIES: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
/// The variables an app has unless it sets them.
const DEFAULT_ENVIRONMENT: [(&str, &str); 6] = [
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("SHELL", "/bin/sh"),
    ("USER", "root"),
    ("LOGNAME", "root"),
    ("HOME", "/root"),
    ("container", "rkt"),
];
/// The terminal of a caller that does not say what it is.
const TERMINAL: &str = "vt100";
/// The annotation that marks an image as converted from docker's formats.
const CONVERTED: &str = "appc.io/docker/repository";
/// The annotation with the signal that asks the image's app to end.
const STOP_SIGNAL: &str = "org.opencontainers.image.stopsignal";
/// The annotation that says: the image names a user and no group.
const GROUP_OF_USER: &str = "coreos.com/rkt/oci/group-of-user";

/// Whether apps keep all capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CapabilityRule {
    /// As the isolators say.
    Limited,
    /// All that the caller has, as somebody asked for.
    All,
}

/// Whether system call filters are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeccompRule {
    /// What an image asks for counts.
    Wanted,
    /// No filter, as somebody asked for.
    Off,
}

/// What the caller switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switches {
    /// Limits of capabilities.
    pub capabilities: CapabilityRule,
    /// System call filters.
    pub seccomp: SeccompRule,
}

/// The commands of an app.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Commands {
    /// The app itself.
    pub main: Vec<String>,
    /// Runs as root before it, and must succeed.
    pub pre_start: Vec<String>,
    /// Runs as root after it.
    pub post_stop: Vec<String>,
}

/// An app, ready to be resolved in its root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppSpec {
    /// Its name in the pod.
    pub name: String,
    /// What is executed.
    pub commands: Commands,
    /// Who it runs as.
    pub identity: Wanted,
    /// Where it starts, absolute.
    pub directory: String,
    /// Its variables, in order.
    pub environment: Vec<(String, String)>,
    /// What it may do.
    pub rights: Rights,
    /// What its group may use.
    #[serde(with = "wire::LimitNumbers")]
    pub limits: Limits,
    /// How readily it is killed for want of memory.
    pub oom_score_adj: Option<i32>,
    /// Whether its root is read-only.
    pub root: crate::mounts::Access,
    /// The signal that asks it to end.
    pub stop_signal: i32,
    /// Whether the image was converted from docker's formats: implicit volumes start with its content, and a working
    /// directory that is missing is made.
    pub seeded: bool,
}

/// A manifest that cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// There is nothing to execute.
    #[error("image {0:?} has an empty \"exec\" (try --exec=BINARY)")]
    NoExec(String),
    /// An isolator's value makes no sense.
    #[error("app {app:?} has a bad isolator {isolator:?}: {problem}")]
    Isolator {
        /// The app.
        app: String,
        /// The isolator.
        isolator: String,
        /// What is wrong.
        problem: String,
    },
    /// An isolator that would have to be applied and cannot be.
    #[error("app {app:?} asks for the isolator {isolator:?}, which is not there yet")]
    NotThere {
        /// The app.
        app: String,
        /// The isolator.
        isolator: String,
    },
    /// Two capability isolators contradict each other.
    #[error("app {0:?} has both a retain set and a remove set of capabilities")]
    Capabilities(String),
    /// A supplementary group is no group.
    #[error("app {app:?} has a bad supplementary group {gid}")]
    Group {
        /// The app.
        app: String,
        /// The number.
        gid: i64,
    },
    /// A text holds a NUL byte, which no argument or variable can.
    #[error("app {0:?} has an argument or variable with a NUL byte")]
    Nul(String),
    /// The working directory is relative.
    #[error("app {app:?} has a relative working directory {directory:?}")]
    Directory {
        /// The app.
        app: String,
        /// The directory.
        directory: String,
    },
}

impl AppSpec {
    /// Reads one app. What the pod manifest says of it replaces what its image says.
    ///
    /// # Errors
    /// See [`SpecError`].
    pub fn new(app: &RuntimeApp, image: &ImageManifest, rule: Switches) -> Result<Self, SpecError> {
        let name = app.name.as_str().to_owned();
        let body = app.app.as_ref().or(image.app.as_ref());
        let body = body.ok_or_else(|| SpecError::NoExec(image.name.as_str().to_owned()))?;
        let main = body.exec.clone().unwrap_or_default();
        if main.is_empty() {
            return Err(SpecError::NoExec(image.name.as_str().to_owned()));
        }
        let annotation = |wanted: &str| {
            let mut all = image.annotations.iter();
            all.find(|a| a.name.as_str() == wanted).map(|a| a.value.as_str())
        };
        let isolation = Isolation::read(&name, &body.isolators, rule)?;
        let directory = match body.working_directory.as_str() {
            "" => "/".to_owned(),
            path if path.starts_with('/') => path.to_owned(),
            path => return Err(SpecError::Directory { app: name, directory: path.to_owned() }),
        };
        Ok(Self {
            commands: Commands {
                main,
                pre_start: handler(body, HookPoint::PreStart),
                post_stop: handler(body, HookPoint::PostStop),
            },
            identity: identity(&name, body, image, annotation(GROUP_OF_USER).is_some())?,
            directory,
            environment: environment(&name, body),
            rights: isolation.rights,
            limits: isolation.limits,
            oom_score_adj: isolation.oom_score_adj,
            root: if app.read_only_root_fs {
                crate::mounts::Access::ReadOnly
            } else {
                crate::mounts::Access::ReadWrite
            },
            stop_signal: annotation(STOP_SIGNAL)
                .and_then(sys::signal::parse)
                .unwrap_or(sys::signal::number::TERMINATE),
            seeded: annotation(CONVERTED).is_some(),
            name,
        })
    }

    /// A variable of the app's.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The variables, for exec.
    ///
    /// # Errors
    /// One holds a NUL byte.
    pub fn env_words(&self) -> Result<Words, SpecError> {
        self.words(self.environment.iter().map(|(name, value)| format!("{name}={value}")))
    }

    /// The variables of a command that joins the app, for exec: the app's, and the terminal of whoever calls it.
    ///
    /// # Errors
    /// One holds a NUL byte.
    pub fn env_inside(&self, terminal: Option<OsString>) -> Result<Words, SpecError> {
        let terminal = terminal.unwrap_or_else(|| TERMINAL.into()).into_vec();
        let own = self.environment.iter().filter(|(name, _)| name != "TERM");
        let all = own.map(|(name, value)| format!("{name}={value}").into_bytes()).chain([[
            b"TERM=",
            terminal.as_slice(),
        ]
        .concat()]);
        let words: Result<Vec<CString>, _> = all.map(CString::new).collect();
        Ok(Words::new(words.map_err(|_| SpecError::Nul(self.name.clone()))?))
    }

    /// A command line, for exec.
    ///
    /// # Errors
    /// A word holds a NUL byte.
    pub fn words(&self, list: impl Iterator<Item = String>) -> Result<Words, SpecError> {
        let words: Result<Vec<CString>, _> = list.map(CString::new).collect();
        Ok(Words::new(words.map_err(|_| SpecError::Nul(self.name.clone()))?))
    }
}

fn handler(app: &App, point: HookPoint) -> Vec<String> {
    app.event_handlers.iter().find(|h| h.at == point).map(|h| h.exec.clone()).unwrap_or_default()
}

fn identity(
    name: &str,
    app: &App,
    image: &ImageManifest,
    of_user: bool,
) -> Result<Wanted, SpecError> {
    let supplementary = app.supplementary_gids.iter().map(|gid| {
        let number = u32::try_from(*gid).ok().filter(|number| *number < u32::MAX);
        number.ok_or_else(|| SpecError::Group { app: name.to_owned(), gid: *gid })
    });
    // Only where neither was overridden: a group that somebody names is that group.
    let own = image.app.as_ref();
    let untouched = own.is_some_and(|own| (&own.user, &own.group) == (&app.user, &app.group));
    Ok(Wanted {
        user: app.user.clone(),
        group: app.group.clone(),
        supplementary: supplementary.collect::<Result<_, _>>()?,
        rule: if of_user && untouched { GroupRule::OfUser } else { GroupRule::Own },
    })
}

fn environment(name: &str, app: &App) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = app
        .environment
        .iter()
        .map(|v| (v.name.clone(), v.value.clone()))
        .filter(|(n, _)| n != "AC_APP_NAME")
        .collect();
    all.push(("AC_APP_NAME".to_owned(), name.to_owned()));
    for (variable, value) in DEFAULT_ENVIRONMENT {
        if !all.iter().any(|(known, _)| known == variable) {
            all.push((variable.to_owned(), value.to_owned()));
        }
    }
    all
}

struct Isolation {
    rights: Rights,
    limits: Limits,
    oom_score_adj: Option<i32>,
}

impl Isolation {
    /// Later isolators of one kind replace earlier ones.
    fn read(app: &str, isolators: &[Isolator], rule: Switches) -> Result<Self, SpecError> {
        let (mut retain, mut remove) = (None, None);
        let mut found = Self {
            rights: Rights { capabilities: Capabilities::ALL, no_new_privileges: false },
            limits: Limits::default(),
            oom_score_adj: None,
        };
        for isolator in isolators {
            let bad = |problem: String| SpecError::Isolator {
                app: app.to_owned(),
                isolator: isolator.name.clone(),
                problem,
            };
            match isolator.meaning().map_err(|error| bad(error.to_string()))? {
                Meaning::Cpu(milli) => found.limits.cpu_milli = milli.or(found.limits.cpu_milli),
                Meaning::Memory(bytes) => found.limits.memory = bytes.or(found.limits.memory),
                Meaning::CpuShares(shares) => found.limits.cpu_shares = Some(shares),
                Meaning::Pids(count) => found.limits.pids = Some(count),
                Meaning::OomScoreAdj(score) => {
                    let score = i32::try_from(score).ok().filter(|s| (-1000..=1000).contains(s));
                    found.oom_score_adj =
                        Some(score.ok_or_else(|| bad("not within -1000…1000".to_owned()))?);
                }
                Meaning::NoNewPrivileges(on) => found.rights.no_new_privileges = on,
                Meaning::CapsRetain(names) => retain = Some(set(&names).map_err(bad)?),
                Meaning::CapsRemove(names) => remove = Some(set(&names).map_err(bad)?),
                Meaning::SeccompRetain(set, _) if no_filter(&set, "@appc.io/all") => {}
                Meaning::SeccompRemove(set, _) if no_filter(&set, "@appc.io/empty") => {}
                Meaning::SeccompRetain(..) | Meaning::SeccompRemove(..)
                    if rule.seccomp == SeccompRule::Off => {}
                Meaning::SeccompRetain(..) | Meaning::SeccompRemove(..) => {
                    return Err(SpecError::NotThere {
                        app: app.to_owned(),
                        isolator: isolator.name.clone(),
                    });
                }
                _ => log::debug!("app {app:?}: the isolator {} is ignored", isolator.name),
            }
        }
        let default = DEFAULT_CAPABILITIES.iter().filter_map(|name| Capabilities::named(name));
        let default = default.fold(Capabilities::NONE, Capabilities::union);
        found.rights.capabilities = match (rule.capabilities, retain, remove) {
            (CapabilityRule::All, ..) => Capabilities::ALL,
            (_, Some(_), Some(_)) => return Err(SpecError::Capabilities(app.to_owned())),
            (_, Some(retain), None) => retain,
            (_, None, Some(remove)) => default.without(remove),
            (_, None, None) => default,
        };
        Ok(found)
    }
}

/// Whether a set says, by this wildcard, that nothing is to be filtered.
fn no_filter(set: &[String], wildcard: &str) -> bool {
    set.len() == 1 && set.iter().all(|name| name == wildcard)
}

fn set(names: &[String]) -> Result<Capabilities, String> {
    names.iter().try_fold(Capabilities::NONE, |sum, name| {
        let one =
            Capabilities::named(name).ok_or_else(|| format!("unknown capability {name:?}"))?;
        Ok(sum.union(one))
    })
}

#[cfg(test)]
mod tests;
