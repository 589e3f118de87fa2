//! What of the host a pod shares, as its arguments say.

use pod_host::{Network, RunError};
use stage1_abi::RunArgs;
use std::os::fd::BorrowedFd;
use sys::namespace::Kinds;

/// The namespaces of a pod.
#[derive(Debug, Clone, Copy)]
pub struct Isolation<'a> {
    /// Those it gets.
    pub namespaces: Kinds,
    /// The network namespace that is there already, and that it goes into.
    pub network: Option<BorrowedFd<'a>>,
    /// Whether its network is made with the pod and needs a loopback interface.
    pub own_network: bool,
}

impl<'a> Isolation<'a> {
    /// The isolation that is asked for, with this network.
    ///
    /// # Errors
    /// It makes no sense.
    pub fn of(args: &RunArgs, network: &'a Network) -> Result<Self, RunError> {
        let own_network = matches!(network, Network::Loopback);
        let made = if own_network { Kinds::NET } else { Kinds::NONE };
        let namespaces = Kinds::MOUNT.and(Kinds::PID).and(Kinds::UTS).and(ipc(args)?).and(made);
        Ok(Self { namespaces, network: network.namespace(), own_network })
    }
}

/// Refuses what is not there yet, or makes no sense, before anything is made.
///
/// # Errors
/// It was asked for.
pub fn refuse(args: &RunArgs) -> Result<(), RunError> {
    if args.private_users.is_some() {
        return Err(RunError::NotThere("--private-users is not there yet".to_owned()));
    }
    ipc(args).map(drop)
}

fn ipc(args: &RunArgs) -> Result<Kinds, RunError> {
    match args.ipc.as_deref() {
        None | Some("" | "auto" | "private") => Ok(Kinds::IPC),
        Some("parent") => Ok(Kinds::NONE),
        Some(other) => Err(RunError::Ipc(other.to_owned())),
    }
}
