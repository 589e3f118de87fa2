//! The file server of a pod's volumes: it serves folders and files of the host to a virtual machine, by virtiofs.
//!
//! ```text
//! handed down   3 the socket on which the machine calls, 4 the pod's lock, 5 the supervisor's process, 6 and up the volumes,
//!               which are mounts
//! root          a root of their own with the volumes in it, named 0, 1, 2…; nothing else can be reached
//! jail          a user namespace with the rights to own files, and none outside; the calls that serving files takes
//! backend       queues of requests in the guest's memory; whatever makes no sense ends the server, and so the pod
//! log           a bounded number of lines to the standard error
//! ```
//!
//! Every byte of a request is the guest's, and the library that answers it is not ours: what it may do is bounded from
//! outside.

mod backend;
mod log;
mod root;

use backend::Backend;
use jail::{Jail, JailError, Limits, Parent, Rights, Role, Root};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::process::ExitCode;
use std::sync::Arc;
use sys::capability::Capabilities;
use sys::descriptor::inherited;
use vhost_user_backend::VhostUserDaemon;
use virtiofsd::passthrough::PassthroughFs;
use vm_memory::{GuestMemoryAtomic, GuestMemoryMmap};

/// The numbers of what is handed down.
const LISTENER: i32 = 3;
const LOCK: i32 = 4;
const PARENT: i32 = 5;
const VOLUMES: i32 = 6;

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

fn serve() -> Result<(), ServeError> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let count = match words.as_slice() {
        [count] => count.parse::<i32>().ok().and_then(|count| VOLUMES.checked_add(count)),
        _ => None,
    };
    let end = count.ok_or(ServeError::Caller)?;
    let adopt = |number| inherited(number).map_err(|_| ServeError::Caller);
    let (listener, _lock, parent) = (adopt(LISTENER)?, adopt(LOCK)?, adopt(PARENT)?);
    let volumes: Vec<OwnedFd> = (VOLUMES..end).map(adopt).collect::<Result<_, _>>()?;
    log::start().map_err(|error| ServeError::Kernel("cannot keep a log", error))?;

    let limit = root::raise_descriptors()
        .map_err(|error| ServeError::Kernel("cannot raise the limit of open files", error))?;
    let descriptors = root::own_descriptors()?;
    let root = root::build(volumes)?;
    let rights = jail::capabilities(jail::FILE_SERVER)
        .map_err(|error| ServeError::Kernel("cannot name its rights", error))?;
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
    Role::Files
        .restrict()
        .map_err(|error| ServeError::Kernel("cannot filter system calls", error))?;

    let files = PassthroughFs::new(backend::configuration(descriptors, limit))
        .map_err(|error| ServeError::Kernel("cannot open the volumes", error))?;
    let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
    let backend = Arc::new(Backend::new(files));
    let mut daemon = VhostUserDaemon::new("fs".to_owned(), backend, memory)
        .map_err(|error| ServeError::Daemon(error.to_string()))?;
    // The thread that serves was started with all rights; the one that hears the machine has no use for any.
    sys::capability::hold(Capabilities::NONE)
        .map_err(|error| ServeError::Kernel("cannot drop capabilities", error))?;
    // It is called once.
    daemon
        .start(&mut UnixListener::from(listener).into())
        .map_err(|error| ServeError::Daemon(error.to_string()))?;
    let outcome = daemon.wait();
    // A machine that has ended is how a server ends. What is left would only wait for requests.
    if let Err(error) = outcome {
        ::log::debug!("the machine is gone: {error}");
    }
    sys::process::leave(0)
}
