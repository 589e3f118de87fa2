//! Why an app did not start, or could not be entered or stopped.

use stage1_abi::{BadArgs, PodDirError};
use stage2::identity::IdentityError;
use stage2::mounts::PlanError;
use stage2::program::Unopenable;
use stage2::spec::SpecError;
use std::io;
use sys::cgroup::CgroupError;
use sys::path::PathError;

/// A failure of an entrypoint, told in one line.
#[derive(Debug, thiserror::Error)]
pub enum FlyError {
    /// The argv does not follow the contract.
    #[error("bad arguments")]
    Args(#[from] BadArgs),
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
    /// More or less than one app.
    #[error("this flavour only supports pods of exactly one app, and this pod has {0}")]
    Apps(usize),
    /// What the app asks for cannot be had.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The volumes of the app make no sense.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Its user or group does not exist.
    #[error("cannot resolve the identity of the app")]
    Identity(#[from] IdentityError),
    /// Its program cannot be executed.
    #[error(transparent)]
    Program(#[from] Unopenable),
    /// The process could not be made what the app needs.
    #[error("unable to {what}: {reason}")]
    Start {
        /// What was tried.
        what: &'static str,
        /// The kernel's reason.
        reason: String,
    },
    /// Its control group cannot be made.
    #[error(transparent)]
    Group(#[from] CgroupError),
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
    /// Turns the failure into [`FlyError::Kernel`].
    fn doing(self, what: &'static str) -> Result<T, FlyError>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, what: &'static str) -> Result<T, FlyError> {
        self.map_err(|cause| FlyError::Kernel(what, cause.into()))
    }
}
