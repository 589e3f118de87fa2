//! Why a pod did not start, or could not be entered or stopped.

use pod_net::JoinError;
use pod_net::health::HealthError;
use pod_net::request::BadNetRequest;
use stage1_abi::{BadArgs, PodDirError};
use stage2::assemble::AssembleError;
use stage2::mounts::PlanError;
use stage2::runner::StartError;
use stage2::spec::SpecError;
use std::io;
use sys::cgroup::CgroupError;
use sys::path::PathError;

/// A failure of an entrypoint. All are told in one line, before any app was started.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The argv does not follow the contract.
    #[error("bad arguments")]
    Args(#[from] BadArgs),
    /// Something that was asked for does not exist yet.
    #[error("{0}")]
    NotThere(String),
    /// The value of `--net` is none.
    #[error("error parsing --net")]
    BadNet(#[from] BadNetRequest),
    /// The pod has not joined its networks.
    #[error("failed to setup network")]
    Network(#[from] JoinError),
    /// A network of it is not as it was left.
    #[error("the pod's networks are not as they were left")]
    Ill(#[from] HealthError),
    /// Something of its networks could not be undone; what was said.
    #[error("the pod has not left its networks")]
    NotLeft,
    /// The value of `--ipc` is unknown.
    #[error("unknown value for --ipc parameter: {0}")]
    Ipc(String),
    /// The lock that stage0 holds for us is not there.
    #[error("cannot take over the pod's lock")]
    Lock(#[source] io::Error),
    /// The pod folder cannot be used.
    #[error(transparent)]
    Folder(#[from] PodDirError),
    /// A file or mount.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A manifest is not understood.
    #[error("{what}: {problem}")]
    Manifest {
        /// Whose.
        what: String,
        /// What is wrong.
        problem: String,
    },
    /// What an app asks for cannot be had.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The volumes of an app make no sense.
    #[error("cannot mount the volumes of app {app:?}")]
    Plan {
        /// The app.
        app: String,
        /// Why not.
        source: PlanError,
    },
    /// An isolator cannot be applied.
    #[error(transparent)]
    Group(#[from] CgroupError),
    /// The root of an app cannot be.
    #[error(transparent)]
    Assemble(#[from] AssembleError),
    /// A program of an app cannot be tried.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A call to the kernel failed.
    #[error("{0}")]
    Kernel(&'static str, #[source] io::Error),
    /// The pod is not there any more.
    #[error("the pod is not running")]
    Gone,
    /// The pod has no such app.
    #[error("the pod has no app {0:?}")]
    NoApp(String),
}

/// Names what was being done when the kernel refused.
pub trait Doing<T> {
    /// Turns the failure into [`RunError::Kernel`].
    fn doing(self, what: &'static str) -> Result<T, RunError>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, what: &'static str) -> Result<T, RunError> {
        self.map_err(|cause| RunError::Kernel(what, cause.into()))
    }
}
