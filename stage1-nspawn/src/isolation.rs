//! What of the host a pod shares, as its arguments say.

use pod_host::RunError;
use stage1_abi::RunArgs;
use sys::namespace::Kinds;

/// The namespaces of a pod.
#[derive(Debug, Clone, Copy)]
pub struct Isolation {
    /// Those it gets.
    pub namespaces: Kinds,
    /// Whether its network is its own and needs a loopback interface.
    pub own_network: bool,
}

impl Isolation {
    /// The isolation that is asked for.
    ///
    /// # Errors
    /// It is not there yet, or makes no sense.
    pub fn of(args: &RunArgs) -> Result<Self, RunError> {
        let (network, own_network) = network(args)?;
        let namespaces = Kinds::MOUNT.and(Kinds::PID).and(Kinds::UTS).and(ipc(args)?).and(network);
        Ok(Self { namespaces, own_network })
    }
}

fn network(args: &RunArgs) -> Result<(Kinds, bool), RunError> {
    if args.private_users.is_some() {
        return Err(RunError::NotThere("--private-users is not there yet".to_owned()));
    }
    match args.net.as_str() {
        "none" => Ok((Kinds::NET, true)),
        "host" => Ok((Kinds::NONE, false)),
        other => Err(RunError::NotThere(format!(
            "the network {other:?} is not there yet: choose --net=none or --net=host"
        ))),
    }
}

fn ipc(args: &RunArgs) -> Result<Kinds, RunError> {
    match args.ipc.as_deref() {
        None | Some("" | "auto" | "private") => Ok(Kinds::IPC),
        Some("parent") => Ok(Kinds::NONE),
        Some(other) => Err(RunError::Ipc(other.to_owned())),
    }
}
