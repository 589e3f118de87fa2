//! The network of a pod, as its arguments say: the host's, somebody's, or one of its own that joins networks.

use crate::error::RunError;
use pod_net::ports::{self, Forward};
use pod_net::request::NetRequest;
use pod_net::{PodNamespace, PodNetworks, Wanted, teardown};
use stage1_abi::{DnsMode, PodDir, RunArgs, pod_dir};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;

/// Where the administrator's configuration is if nobody says.
const LOCAL_CONFIG: &str = "/etc/rkt";

pub use pod_net::Habitat;

/// The network of a pod.
#[derive(Debug)]
pub enum Network {
    /// That of the caller.
    Host,
    /// One of its own with a loopback interface, which is made together with the pod's other namespaces.
    Loopback,
    /// One that somebody else has made.
    Given(PodNamespace),
    /// One of its own, which has joined networks.
    Joined(PodNetworks),
}

impl Network {
    /// What `--net` says.
    ///
    /// # Errors
    /// It says nothing that can be.
    pub fn request(args: &RunArgs) -> Result<NetRequest, RunError> {
        Ok(NetRequest::parse(&args.net)?)
    }

    /// Makes what is asked for.
    ///
    /// # Errors
    /// A network cannot be joined; nothing is left.
    pub fn make(
        request: &NetRequest,
        (args, habitat): (&RunArgs, Habitat),
        dir: &PodDir,
        forwards: &[Forward],
    ) -> Result<Self, RunError> {
        match request {
            NetRequest::Host => Ok(Self::Host),
            NetRequest::Loopback => Ok(Self::Loopback),
            NetRequest::Namespace(path) => Ok(Self::Given(PodNamespace::open(path)?)),
            NetRequest::All(_) | NetRequest::Named(_) => {
                let stage1_root = dir.path().join(pod_dir::STAGE1_ROOT);
                let wanted = Wanted {
                    uuid: &args.uuid.to_string(),
                    pod_uuid: &args.uuid,
                    request,
                    local_config: local_config(args.local_config.as_deref()),
                    stage1_root: &stage1_root,
                    dir,
                    forwards,
                    habitat,
                };
                Ok(Self::Joined(pod_net::join(&wanted)?))
            }
        }
    }

    /// The namespace that the pod must be put into, if it is there already.
    pub fn namespace(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Host | Self::Loopback => None,
            Self::Given(namespace) => Some(namespace.as_fd()),
            Self::Joined(networks) => Some(networks.namespace().as_fd()),
        }
    }

    /// The names of the interfaces in a namespace that is there already.
    pub fn interfaces(&self) -> Vec<String> {
        match self {
            Self::Host | Self::Loopback => Vec::new(),
            Self::Given(namespace) => namespace.interfaces(),
            Self::Joined(networks) => networks.interfaces(),
        }
    }

    /// Where the apps' `/etc/resolv.conf` comes from, given what flags say: what a network says is written to where flags
    /// would have it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn resolv(&self, said: DnsMode, dir: &PodDir) -> Result<DnsMode, RunError> {
        let Self::Joined(networks) = self else { return Ok(said) };
        if said != DnsMode::Default {
            return Ok(said);
        }
        let Some(text) = networks.resolv_conf() else { return Ok(said) };
        dir.write_readable("rkt/resolv.conf", text.as_bytes())?;
        Ok(DnsMode::Stage0)
    }

    /// Leaves all networks. What fails is told, and left to gc.
    pub fn leave(self, args: &RunArgs, dir: &PodDir) {
        let Self::Joined(networks) = self else { return };
        drop(networks);
        leave(&args.uuid.to_string(), args.local_config.as_deref(), dir, teardown::Depth::Own);
    }
}

/// Leaves all networks of a pod whose supervisor cannot do it any more.
pub fn leave_as_started(uuid: &str, dir: &PodDir) {
    let config = dir.runtime_config().unwrap_or_default();
    let local = Some(config.local_config.as_str()).filter(|folder| !folder.is_empty());
    leave(uuid, local, dir, teardown::Depth::Everything);
}

/// Leaves all networks that the pod's folder tells of; the number of failures, each of which was told.
pub fn leave(uuid: &str, local: Option<&str>, dir: &PodDir, depth: teardown::Depth) -> usize {
    let stage1_root = dir.path().join(pod_dir::STAGE1_ROOT);
    let pod =
        teardown::Pod { uuid, local_config: local_config(local), stage1_root: &stage1_root, dir };
    let failures = teardown::leave(&pod, depth);
    for failure in &failures {
        log::warn!("networking: {}", pod_net::told(failure));
    }
    failures.len()
}

fn local_config(said: Option<&str>) -> &Path {
    Path::new(said.unwrap_or(LOCAL_CONFIG))
}

/// The ports of the host that shall lead to a pod.
///
/// # Errors
/// One of them cannot.
pub fn forwards(manifest: &appc::PodManifest) -> Result<Vec<Forward>, RunError> {
    ports::of(manifest).map_err(|error| RunError::Manifest {
        what: "the pod manifest".to_owned(),
        problem: error.to_string(),
    })
}
