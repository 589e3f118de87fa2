//! Why a pod has no machine, or lost it.

use crate::network::NetworkError;
use crate::shares::ShareError;
use crate::vmm::VmError;
use pod_host::RunError;
use pod_proto::WireError;
use std::io;

/// What the guest did that ends its pod. Its words come from the guest, as far as they may be shown.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// It has not called yet.
    #[error("the guest has not started yet")]
    Silent,
    /// It does not read what it is told.
    #[error("the guest stopped reading what it is told")]
    Deaf,
    /// It closed the wire too early.
    #[error("the guest's init ended before its pod")]
    Gone,
    /// It makes no sense.
    #[error("the guest broke the rules of the control wire")]
    Wire(#[source] WireError),
    /// Its init could not set the pod up, and said why.
    #[error("the pod cannot be set up in the guest: {0}")]
    Failed(String),
    /// The machine reset before the pod was over.
    #[error("the guest reset its machine before the pod was over; --debug shows its log")]
    Reset,
    /// Its kernel panicked.
    #[error("the guest's kernel panicked; --debug shows its log")]
    Panicked,
    /// The machine cannot go on.
    #[error("the virtual machine broke: {0}")]
    Broken(String),
    /// The monitor was killed.
    #[error("the virtual machine was killed by signal {0}")]
    Killed(i32),
    /// The monitor was killed for a system call that none of its threads has any use for.
    #[error(
        "the virtual machine broke out of its role and was killed: its guest may have taken it over"
    )]
    Escaped,
    /// The monitor ended without a word.
    #[error("the virtual machine ended with exit code {0}")]
    Ended(i32),
    /// It did not end when it was to.
    #[error("the guest did not stop in time and was killed")]
    Hung,
}

/// Why a pod did not run, or did not run to its end.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// What any stage1 may run into.
    #[error(transparent)]
    Run(#[from] RunError),
    /// What a virtual machine cannot give.
    #[error("{what}: {why}")]
    Refused {
        /// What was asked for.
        what: String,
        /// Why not.
        why: &'static str,
    },
    /// There is no hardware virtualisation to be had.
    #[error("{0}")]
    NoKvm(&'static str, #[source] io::Error),
    /// The stage1 image lacks a file.
    #[error("cannot open the guest's {what} {}", path.display())]
    Part {
        /// Which.
        what: &'static str,
        /// Where it should be.
        path: std::path::PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The machine cannot be made.
    #[error(transparent)]
    Machine(#[from] VmError),
    /// A volume of the host's.
    #[error(transparent)]
    Share(#[from] ShareError),
    /// A network interface.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// It cannot be locked up.
    #[error(transparent)]
    Jail(#[from] jail::JailError),
    /// What the guest did.
    #[error(transparent)]
    Guest(#[from] GuestError),
    /// Something cannot be said on the wire.
    #[error("cannot tell the guest what to be")]
    Say(#[source] WireError),
    /// No descriptors are left.
    #[error("cannot take a connection of the guest's")]
    Descriptors(#[source] io::Error),
    /// The guest does not run a command.
    #[error("{0}")]
    Command(String),
}

impl From<stage1_abi::PodDirError> for MachineError {
    fn from(error: stage1_abi::PodDirError) -> Self {
        Self::Run(error.into())
    }
}

impl From<sys::path::PathError> for MachineError {
    fn from(error: sys::path::PathError) -> Self {
        Self::Run(error.into())
    }
}

impl From<stage1_abi::BadArgs> for MachineError {
    fn from(error: stage1_abi::BadArgs) -> Self {
        Self::Run(error.into())
    }
}
