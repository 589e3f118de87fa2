//! What the two sides say to each other on the control connection.

use crate::config::{Config, Dialogue, Interface, Time};
use crate::frame::{Kind, Message, WireError};
use crate::limits;
use crate::text::{Sentence, Word};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A process that the host knows of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Process {
    /// An app, by its place in the configuration.
    App(u32),
    /// A command beside the apps, by the number that the host gave it.
    Exec(u32),
}

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Characters a line.
    pub columns: u16,
}

/// A command to be run inside an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exec {
    /// Its number, new in this pod.
    pub id: u32,
    /// The app, by its place in the configuration.
    pub app: u32,
    /// The command.
    pub command: Vec<Word>,
    /// The kind of terminal of whoever asks.
    pub term: Option<Word>,
    /// How it is talked to.
    pub dialogue: Dialogue,
}

/// The files of an app, to be written as a tar to the output of a process that is treated like a command; where it fails, it
/// says why on the other stream. Both streams are those of [`Dialogue::Silent`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Export {
    /// Its number, new in this pod.
    pub id: u32,
    /// The app, by its place in the configuration.
    pub app: u32,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// By itself, with this code.
    Code(u8),
    /// By this signal.
    Signal(u8),
}

/// What something uses, where it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Used {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Processor time so far, in microseconds.
    pub cpu: Option<u64>,
    /// Tasks.
    pub tasks: Option<u64>,
}

/// What the pod uses.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// Bytes of memory that the guest's kernel manages.
    pub memory_total: u64,
    /// Bytes of it that are free.
    pub memory_free: u64,
    /// Each app, in the order of the configuration.
    pub apps: Vec<Used>,
}

/// From the host to the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromHost {
    /// Be this pod. Once, and first.
    Configure(Box<Config>),
    /// Start the apps. Once, after [`FromGuest::Ready`].
    Start,
    /// Run a command beside an app.
    Exec(Exec),
    /// A terminal has a new size.
    Resize(Process, Size),
    /// Send a signal to a process.
    Signal(Process, u8),
    /// Say what the pod uses.
    Stats,
    /// It is now this late: after a pause of the whole machine.
    SyncTime(Time),
    /// End all apps; kill those that still run after so many milliseconds. Said again with 0, it kills at once. When all
    /// have ended, the guest waits until the host has read all they wrote, or has said this once more.
    Stop(u32),
    /// Write the files of an app.
    Export(Export),
    /// An interface that the pod was configured with has these addresses and routes from now on, and no others.
    Connect(Box<Interface>),
}

/// From the guest to the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromGuest {
    /// All roots stand.
    Ready,
    /// The pod cannot be, or cannot go on, and why. Nothing follows.
    Failed(Sentence),
    /// A process runs, under this number of the guest's.
    Started(Process, u32),
    /// A command cannot be run, and why. It is as good as ended.
    Refused(u32, Sentence),
    /// A process has ended; for an app, this is what its status is.
    Exited(Process, End),
    /// What the pod uses.
    Usage(Usage),
    /// All is over, and this is the pod's code. Nothing follows: the guest resets when the host closes.
    Stopped(u8),
}

const fn kind(number: u8, name: &'static str, limit: usize) -> Kind {
    Kind { number, name, limit }
}

/// Numbers of the two directions differ, so that a connection that is echoed is noticed at once.
const HOST_KINDS: [Kind; 10] = [
    kind(1, "configure", limits::CONFIGURE_BODY),
    kind(2, "start", limits::SMALL_BODY),
    kind(3, "exec", limits::EXEC_BODY),
    kind(4, "resize", limits::SMALL_BODY),
    kind(5, "signal", limits::SMALL_BODY),
    kind(6, "stats", limits::SMALL_BODY),
    kind(7, "sync-time", limits::SMALL_BODY),
    kind(8, "stop", limits::SMALL_BODY),
    kind(9, "export", limits::SMALL_BODY),
    kind(10, "connect", limits::CONNECT_BODY),
];
const GUEST_KINDS: [Kind; 7] = [
    kind(129, "ready", limits::SMALL_BODY),
    kind(130, "failed", limits::SENTENCE_BODY),
    kind(131, "started", limits::SMALL_BODY),
    kind(132, "refused", limits::SENTENCE_BODY),
    kind(133, "exited", limits::SMALL_BODY),
    kind(134, "usage", limits::USAGE_BODY),
    kind(135, "stopped", limits::SMALL_BODY),
];

fn find(kinds: &[Kind], number: u8) -> Option<Kind> {
    kinds.iter().find(|kind| kind.number == number).copied()
}

fn json<T: DeserializeOwned>(kind: Kind, body: &[u8]) -> Result<T, WireError> {
    serde_json::from_slice(body).map_err(|error| WireError::Malformed {
        name: kind.name,
        // The parser's own text would repeat what came.
        problem: match error.classify() {
            serde_json::error::Category::Data => "a field is missing, unknown or of a wrong type",
            _ => "its body is no JSON",
        },
    })
}

fn text<T: Serialize>(kind: Kind, value: &T) -> Result<Vec<u8>, WireError> {
    serde_json::to_vec(value).map_err(|_| WireError::Unwritable(kind.name))
}

fn bad<T>(kind: Kind, problem: &'static str) -> Result<T, WireError> {
    Err(WireError::Malformed { name: kind.name, problem })
}

/// A message that has nothing but its kind.
fn empty<M>(kind: Kind, body: &[u8], message: M) -> Result<M, WireError> {
    if body.is_empty() { Ok(message) } else { bad(kind, "it has a body") }
}

fn is_signal(number: u8) -> bool {
    (1..=64).contains(&number)
}

impl Message for FromHost {
    fn kind_of(number: u8) -> Option<Kind> {
        find(&HOST_KINDS, number)
    }

    fn kind(&self) -> Kind {
        let [configure, start, exec, resize, signal, stats, sync_time, stop, export, connect] =
            HOST_KINDS;
        match self {
            Self::Configure(_) => configure,
            Self::Start => start,
            Self::Exec(_) => exec,
            Self::Resize(..) => resize,
            Self::Signal(..) => signal,
            Self::Stats => stats,
            Self::SyncTime(_) => sync_time,
            Self::Stop(_) => stop,
            Self::Export(_) => export,
            Self::Connect(_) => connect,
        }
    }

    fn read(kind: Kind, body: &[u8]) -> Result<Self, WireError> {
        Ok(match kind.number {
            1 => {
                let config: Box<Config> = json(kind, body)?;
                config.check()?;
                Self::Configure(config)
            }
            2 => empty(kind, body, Self::Start)?,
            3 => {
                let exec: Exec = json(kind, body)?;
                if exec.command.is_empty() {
                    return bad(kind, "an empty command");
                }
                Self::Exec(exec)
            }
            4 => {
                let (process, size) = json(kind, body)?;
                Self::Resize(process, size)
            }
            5 => match json(kind, body)? {
                (process, number) if is_signal(number) => Self::Signal(process, number),
                _ => return bad(kind, "no signal has this number"),
            },
            6 => empty(kind, body, Self::Stats)?,
            7 => Self::SyncTime(json(kind, body)?),
            8 => Self::Stop(json(kind, body)?),
            9 => Self::Export(json(kind, body)?),
            10 => {
                let interface: Box<Interface> = json(kind, body)?;
                if let Err(problem) = interface.check() {
                    return bad(kind, problem);
                }
                Self::Connect(interface)
            }
            other => return Err(WireError::Kind(other)),
        })
    }

    fn write(&self) -> Result<Vec<u8>, WireError> {
        let kind = self.kind();
        match self {
            Self::Configure(config) => text(kind, config),
            Self::Exec(exec) => text(kind, exec),
            Self::Resize(process, size) => text(kind, &(process, size)),
            Self::Signal(process, number) => text(kind, &(process, number)),
            Self::SyncTime(time) => text(kind, time),
            Self::Stop(grace) => text(kind, grace),
            Self::Export(export) => text(kind, export),
            Self::Connect(interface) => text(kind, interface),
            Self::Start | Self::Stats => Ok(Vec::new()),
        }
    }
}

impl Message for FromGuest {
    fn kind_of(number: u8) -> Option<Kind> {
        find(&GUEST_KINDS, number)
    }

    fn kind(&self) -> Kind {
        let [ready, failed, started, refused, exited, usage, stopped] = GUEST_KINDS;
        match self {
            Self::Ready => ready,
            Self::Failed(_) => failed,
            Self::Started(..) => started,
            Self::Refused(..) => refused,
            Self::Exited(..) => exited,
            Self::Usage(_) => usage,
            Self::Stopped(_) => stopped,
        }
    }

    fn read(kind: Kind, body: &[u8]) -> Result<Self, WireError> {
        Ok(match kind.number {
            129 => empty(kind, body, Self::Ready)?,
            130 => Self::Failed(json(kind, body)?),
            131 => {
                let (process, pid) = json(kind, body)?;
                Self::Started(process, pid)
            }
            132 => {
                let (id, sentence) = json(kind, body)?;
                Self::Refused(id, sentence)
            }
            133 => match json(kind, body)? {
                (_, End::Signal(number)) if !is_signal(number) => {
                    return bad(kind, "no signal has this number");
                }
                (process, end) => Self::Exited(process, end),
            },
            134 => {
                let usage: Usage = json(kind, body)?;
                if usage.apps.len() > limits::APPS {
                    return bad(kind, "too many apps");
                }
                Self::Usage(usage)
            }
            135 => Self::Stopped(json(kind, body)?),
            other => return Err(WireError::Kind(other)),
        })
    }

    fn write(&self) -> Result<Vec<u8>, WireError> {
        let kind = self.kind();
        match self {
            Self::Failed(sentence) => text(kind, sentence),
            Self::Started(process, pid) => text(kind, &(process, pid)),
            Self::Refused(id, sentence) => text(kind, &(id, sentence)),
            Self::Exited(process, end) => text(kind, &(process, end)),
            Self::Usage(usage) => text(kind, usage),
            Self::Stopped(code) => text(kind, code),
            Self::Ready => Ok(Vec::new()),
        }
    }
}
