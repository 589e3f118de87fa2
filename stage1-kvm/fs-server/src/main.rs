//! The file server of a pod's volumes: it serves folders and files of the host to a virtual machine, by virtiofs.
//!
//! ```text
//! handed down   3 the socket on which the machine calls, 4 the pod's lock, 5 and up the volumes, which are mounts
//! root          a root of their own with the volumes in it, named 0, 1, 2…; nothing else can be reached
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
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::Arc;
use sys::descriptor::inherited;
use vhost_user_backend::VhostUserDaemon;
use virtiofsd::passthrough::PassthroughFs;
use vm_memory::{GuestMemoryAtomic, GuestMemoryMmap};

/// The numbers of what is handed down.
const LISTENER: i32 = 3;
const LOCK: i32 = 4;
const VOLUMES: i32 = 5;

/// What keeps the server from serving.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    /// It was not started as it has to be.
    #[error("this program is started by a pod, and by nobody else")]
    Caller,
    /// Its root cannot be made.
    #[error("cannot make the root of the file server")]
    Root(#[from] sys::path::PathError),
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
    let (listener, _lock) = (adopt(LISTENER)?, adopt(LOCK)?);
    let volumes: Vec<OwnedFd> = (VOLUMES..end).map(adopt).collect::<Result<_, _>>()?;
    log::start().map_err(|error| ServeError::Kernel("cannot keep a log", error))?;

    let limit = root::raise_descriptors()
        .map_err(|error| ServeError::Kernel("cannot raise the limit of open files", error))?;
    let entered = root::enter(volumes)?;
    let files = PassthroughFs::new(backend::configuration(entered.descriptors, limit))
        .map_err(|error| ServeError::Kernel("cannot open the volumes", error))?;
    let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
    let backend = Arc::new(Backend::new(files));
    let mut daemon = VhostUserDaemon::new("fs".to_owned(), backend, memory)
        .map_err(|error| ServeError::Daemon(error.to_string()))?;
    let mut listener = std::os::unix::net::UnixListener::from(listener).into();
    daemon.start(&mut listener).map_err(|error| ServeError::Daemon(error.to_string()))?;
    let outcome = daemon.wait();
    // A machine that has ended is how a server ends. What is left would only wait for requests.
    if let Err(error) = outcome {
        ::log::debug!("the machine is gone: {error}");
    }
    sys::process::leave(0)
}
