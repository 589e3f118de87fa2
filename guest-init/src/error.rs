//! Why the pod cannot be.

use pod_proto::WireError;
use stage2::assemble::AssembleError;
use stage2::runner::StartError;
use stage2::spec::SpecError;
use std::io;
use sys::cgroup::CgroupError;
use sys::path::PathError;

/// A failure of init.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The command line does not say whom to call.
    #[error("neither rkt.port nor rkt.unix is on the command line")]
    NoHost,
    /// Somebody started this program who is no kernel.
    #[error("this program is the first process of a virtual machine, and of nothing else")]
    NotFirst,
    /// The host cannot be reached.
    #[error("cannot call the host")]
    Call(#[source] io::Error),
    /// The host is gone.
    #[error("the host has closed the connection")]
    Gone,
    /// What the host says is not understood.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Something is said that may not be said now.
    #[error("the host says {0} before the pod is configured")]
    TooEarly(&'static str),
    /// A file or mount.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The root of an app cannot be.
    #[error(transparent)]
    Assemble(#[from] AssembleError),
    /// What an app asks for cannot be had.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A program of an app cannot be tried.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A limit cannot be applied.
    #[error(transparent)]
    Group(#[from] CgroupError),
    /// A network interface is none of the machine's.
    #[error("the machine has no network device for {0}")]
    NoDevice(String),
    /// A network interface cannot be called that.
    #[error(transparent)]
    Interface(#[from] netlink::link::BadName),
    /// A network interface cannot be what it is to be.
    #[error(transparent)]
    Network(#[from] netlink::RequestError),
    /// A call to the kernel failed.
    #[error("{0}")]
    Kernel(&'static str, #[source] io::Error),
}

/// Names what was being done when the kernel refused.
pub trait Doing<T> {
    /// Turns the failure into [`InitError::Kernel`].
    fn doing(self, what: &'static str) -> Result<T, InitError>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, what: &'static str) -> Result<T, InitError> {
        self.map_err(|cause| InitError::Kernel(what, cause.into()))
    }
}
