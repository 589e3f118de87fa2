//! The file server of a pod's volumes: it serves folders and files of the host to a virtual machine, by virtiofs.
//!
//! ```text
//! handed down   3 the pod's lock, 4 the supervisor's process, a socket a device on which the machine calls, the volumes,
//!               which are mounts. How many volumes there are is the first word, and then what is the root of each device
//! root          a root of their own with the volumes in it, named 0, 1, 2…; nothing else can be reached
//! jail          a user namespace with the rights to own files, and none outside; the calls that serving files takes
//! backend       queues of requests in the guest's memory; whatever makes no sense ends the server, and so the pod
//! log           a bounded number of lines to the standard error
//! ```
//!
//! Every byte of a request is the guest's, and the library that answers it is not ours: what it may do is bounded from
//! outside.

mod root;

use fs_server::backend::{self, Backend};
use fs_server::log;
use jail::{Jail, JailError, Limits, Parent, Rights, Role, Root};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::process::ExitCode;
use std::sync::Arc;
use sys::capability::Capabilities;
use sys::descriptor::inherited;
use vhost_user_backend::VhostUserDaemon;
use virtiofsd::passthrough::{Config, PassthroughFs};
use vm_memory::{GuestMemoryAtomic, GuestMemoryMmap};

/// The numbers of what is handed down.
const LOCK: i32 = 3;
const PARENT: i32 = 4;
const SOCKETS: i32 = 5;

type Daemon = VhostUserDaemon<Arc<Backend>>;

/// What is handed down.
struct Given {
    /// Held as long as the process lives.
    _lock: OwnedFd,
    parent: OwnedFd,
    /// The socket and the root of each device.
    devices: Vec<(UnixListener, String)>,
    volumes: Vec<OwnedFd>,
}

/// What keeps the server from serving.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    /// It was not started as it has to be.
    #[error("this program is started by a pod, and by nobody else")]
    Caller,
    /// Its root cannot be made.
    #[error("cannot make the root of the file server")]
    Root(#[from] sys::path::PathError),
    /// It cannot be locked up.
    #[error(transparent)]
    Jail(#[from] JailError),
    /// A call of the kernel failed.
    #[error("{0}")]
    Kernel(&'static str, #[source] std::io::Error),
    /// The library fails before there is a guest.
    #[error("cannot serve files: {0}")]
    Daemon(String),
}

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::say(&sys::cause::chain(&error));
            ExitCode::FAILURE
        }
    }
}

impl Given {
    fn adopt() -> Option<Self> {
        let words: Vec<String> = std::env::args().skip(1).collect();
        let [count, roots @ ..] = words.as_slice() else { return None };
        let devices = i32::try_from(roots.len()).ok().filter(|count| *count > 0)?;
        let first = SOCKETS.checked_add(devices)?;
        let end = first.checked_add(count.parse().ok().filter(|count| *count > 0)?)?;
        let adopt = |number| inherited(number).ok();
        Some(Self {
            _lock: adopt(LOCK)?,
            parent: adopt(PARENT)?,
            devices: (SOCKETS..first)
                .zip(roots)
                .map(|(number, root)| Some((adopt(number)?.into(), root_of(root)?)))
                .collect::<Option<_>>()?,
            volumes: (first..end).map(adopt).collect::<Option<_>>()?,
        })
    }
}

/// The path of a device's root: a volume, or the folder with all of them.
fn root_of(word: &str) -> Option<String> {
    if word == "all" {
        return Some("/".to_owned());
    }
    word.parse::<u32>().ok().map(|number| format!("/{number}"))
}

fn serve() -> Result<(), ServeError> {
    let Given { _lock, parent, devices, volumes } = Given::adopt().ok_or(ServeError::Caller)?;
    log::start().map_err(kernel("cannot keep a log"))?;
    let limit =
        root::raise_descriptors().map_err(kernel("cannot raise the limit of open files"))?;
    let descriptors = root::own_descriptors()?;
    let root = root::build(volumes)?;
    let rights = jail::capabilities(jail::FILE_SERVER).map_err(kernel("cannot name its rights"))?;
    let jail = Jail {
        parent: Parent::from(parent),
        root: Root::Tree(root.as_fd()),
        rights: Rights::Inside(rights),
        // Its threads are few, and may be no more than a filter allows: its user is whoever started it.
        limits: Limits { files: limit, file_size: u64::MAX, threads: u64::MAX },
    };
    jail.enter()?;
    drop(root);
    log::tell_panics();
    Role::Files.restrict().map_err(kernel("cannot filter system calls"))?;

    let each = limit / u64::try_from(devices.len()).unwrap_or(u64::MAX).max(1);
    let mut daemons = Vec::new();
    for (listener, root) in devices {
        let own = descriptors.try_clone().map_err(kernel("cannot copy a descriptor"))?;
        daemons.push((listener, daemon(backend::configuration(own, each, root))?));
    }
    drop(descriptors);
    // The threads that serve were started with all rights; those that hear the machine have no use for any.
    sys::capability::hold(Capabilities::NONE).map_err(kernel("cannot drop capabilities"))?;
    let mut running = Vec::new();
    for (listener, mut daemon) in daemons {
        // It is called once.
        let started = daemon.start(&mut listener.into());
        started.map_err(|error| ServeError::Daemon(error.to_string()))?;
        running.push(daemon);
    }
    for mut daemon in running {
        // A machine that has ended is how a server ends: it closes all lines.
        if let Err(error) = daemon.wait() {
            ::log::debug!("the machine is gone: {error}");
        }
    }
    // What is left would only wait for requests.
    sys::process::leave(0)
}

fn kernel(doing: &'static str) -> impl Fn(std::io::Error) -> ServeError {
    move |error| ServeError::Kernel(doing, error)
}

/// A device with its thread, which no machine has called yet.
fn daemon(configuration: Config) -> Result<Daemon, ServeError> {
    let files = PassthroughFs::new(configuration).map_err(kernel("cannot open the volumes"))?;
    let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
    let daemon = VhostUserDaemon::new("fs".to_owned(), Arc::new(Backend::new(files)), memory);
    daemon.map_err(|error| ServeError::Daemon(error.to_string()))
}
