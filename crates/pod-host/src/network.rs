//! The network of a pod, as its arguments say: the host's, somebody's, or one of its own that joins networks.

use crate::error::{Doing as _, RunError};
use appc::PodUuid;
use pod_net::ports::{self, Forward};
use pod_net::request::NetRequest;
use pod_net::{Beside, Interruptible, Leases, PodNamespace, PodNetworks, Wanted, teardown};
use stage1_abi::{DnsMode, GcArgs, PodDir, RunArgs, pod_dir};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
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
    /// One of its own, in which the pod can begin while it joins networks: none of them says anything that the pod must
    /// know before.
    Joining(OwnedFd),
}

/// Joining that goes on while the pod begins.
#[derive(Debug)]
pub struct Later(pod_net::Joining);

impl Later {
    /// Joins the networks.
    ///
    /// # Errors
    /// One of them cannot be joined; nothing is left.
    pub fn finish(
        self,
        args: &RunArgs,
        dir: &PodDir,
        forwards: &[Forward],
    ) -> Result<(), RunError> {
        let request = Network::request(args)?;
        let pod = (args, Habitat::Namespaces);
        with_wanted(&request, pod, dir, forwards, |wanted| Ok(self.0.finish(wanted).map(drop)?))
    }
}

/// Does something with all that joining needs to know.
fn with_wanted<T>(
    request: &NetRequest,
    (args, habitat): (&RunArgs, Habitat),
    dir: &PodDir,
    forwards: &[Forward],
    work: impl FnOnce(&Wanted<'_>) -> Result<T, RunError>,
) -> Result<T, RunError> {
    let stage1_root = dir.path().join(pod_dir::STAGE1_ROOT);
    work(&Wanted {
        uuid: &args.uuid.to_string(),
        pod_uuid: &args.uuid,
        request,
        local_config: local_config(args.local_config.as_deref()),
        stage1_root: &stage1_root,
        dir,
        forwards,
        habitat,
        beside: Beside::new(dir, leave_if_over),
    })
}

impl Network {
    /// What `--net` says.
    ///
    /// # Errors
    /// It says nothing that can be.
    pub fn request(args: &RunArgs) -> Result<NetRequest, RunError> {
        Ok(NetRequest::parse(&args.net)?)
    }

    /// Makes what is asked for; what of it can be done while the pod begins is left for later.
    ///
    /// # Errors
    /// A network cannot be joined; nothing is left.
    pub fn make(
        request: &NetRequest,
        (args, habitat): (&RunArgs, Habitat),
        dir: &PodDir,
        forwards: &[Forward],
    ) -> Result<(Self, Option<Later>), RunError> {
        let left_out = match request {
            // Such a port is the host's already.
            NetRequest::Host => forwards.iter().find(|one| one.host_port != one.pod_port),
            NetRequest::Loopback | NetRequest::Namespace(_) => forwards.first(),
            NetRequest::All(_) | NetRequest::Named(_) => None,
        };
        if let Some(Forward { host_port, protocol, .. }) = left_out {
            log::warn!(
                "networking: host port {host_port}/{protocol} does not lead to the pod: nothing is forwarded with --net={}",
                args.net
            );
        }
        let network = match request {
            NetRequest::Host => Self::Host,
            NetRequest::Loopback => Self::Loopback,
            NetRequest::Namespace(path) => Self::Given(PodNamespace::open(path)?),
            NetRequest::All(_) | NetRequest::Named(_) => {
                // Nobody else looks at signals yet.
                let _interruptible = Interruptible::begin().doing("cannot hold signals")?;
                return with_wanted(request, (args, habitat), dir, forwards, |wanted| {
                    let joining = pod_net::begin(wanted)?;
                    let copy = joining.namespace().as_fd().try_clone_to_owned();
                    match copy {
                        Ok(namespace)
                            // A machine is made of what the networks gave.
                            if habitat == Habitat::Namespaces
                                && joining.is_silent_about_names(wanted) =>
                        {
                            Ok((Self::Joining(namespace), Some(Later(joining))))
                        }
                        _ => Ok((Self::Joined(joining.finish(wanted)?), None)),
                    }
                });
            }
        };
        Ok((network, None))
    }

    /// The leases of the pod's addresses, for its supervisor to tend.
    pub fn leases(&mut self) -> Leases {
        match self {
            Self::Joined(networks) => networks.leases(),
            // Who has leases is joined before it begins.
            Self::Host | Self::Loopback | Self::Given(_) | Self::Joining(_) => Leases::default(),
        }
    }

    /// The namespace that the pod must be put into, if it is there already.
    pub fn namespace(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Host | Self::Loopback => None,
            Self::Given(namespace) => Some(namespace.as_fd()),
            Self::Joined(networks) => Some(networks.namespace().as_fd()),
            Self::Joining(namespace) => Some(namespace.as_fd()),
        }
    }

    /// The names of the interfaces in a namespace that is there already.
    pub fn interfaces(&self) -> Vec<String> {
        match self {
            // Who needs to know them does not begin before they are there.
            Self::Host | Self::Loopback | Self::Joining(_) => Vec::new(),
            Self::Given(namespace) => namespace.interfaces(),
            Self::Joined(networks) => networks.interfaces(),
        }
    }

    /// The settings of the network that its configuration asks for: paths below `/proc/sys` and values, in order.
    pub fn settings(&self) -> Vec<(String, String)> {
        match self {
            Self::Joined(networks) => networks.settings(),
            Self::Host | Self::Loopback | Self::Given(_) | Self::Joining(_) => Vec::new(),
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
        if !matches!(self, Self::Joined(_) | Self::Joining(_)) {
            return;
        }
        drop(self);
        leave(&args.uuid.to_string(), args.local_config.as_deref(), dir, teardown::Depth::Own);
    }
}

/// Leaves all networks of a pod whose supervisor cannot do it any more.
pub fn leave_as_started(uuid: &str, dir: &PodDir) {
    let config = dir.runtime_config().unwrap_or_default();
    let local = Some(config.local_config.as_str()).filter(|folder| !folder.is_empty());
    leave(uuid, local, dir, teardown::Depth::Everything);
}

/// Has a pod beside that of a folder leave its networks, if it is over and gc has yet to come; whether it was.
fn leave_if_over(dir: &PodDir, uuid: &str) -> bool {
    // It becomes part of a path.
    let is_uuid = PodUuid::parse(uuid).is_ok_and(|parsed| parsed.to_string() == uuid);
    let Some(pods) = dir.pods().filter(|_| is_uuid) else {
        return false;
    };
    let mut folders = Beside::FOLDERS.into_iter();
    let Some(other) = folders.find_map(|name| PodDir::open(pods.join(name).join(uuid)).ok()) else {
        return false;
    };
    match sys::lock::exclusively_if_free(other.as_fd()) {
        // Nobody deletes it meanwhile.
        Ok(Some(_lock)) => {
            log::info!("networking: pod {uuid} is over, and leaves");
            if let Err(error) = crate::gc::end(&other, uuid) {
                log::warn!("networking: {}", sys::cause::chain(&error));
            }
            leave_as_started(uuid, &other);
            true
        }
        Ok(None) => false,
        Err(error) => {
            log::warn!("networking: cannot lock pod {uuid}: {error}");
            false
        }
    }
}

/// Leaves all networks that the pod's folder tells of; the number of failures, each of which was told.
pub fn leave(uuid: &str, local: Option<&str>, dir: &PodDir, depth: teardown::Depth) -> usize {
    let failures = with_pod(uuid, local, dir, |pod| teardown::leave(pod, depth));
    for failure in &failures {
        log::warn!("networking: {}", sys::cause::chain(failure));
    }
    failures.len()
}

/// Has the programs of a dead pod's networks drop what no living pod beside it needs; what fails is told.
pub fn collect(uuid: &str, local: Option<&str>, dir: &PodDir) {
    // Pods that run are next to the folder of those that do not.
    let Some(pods) = dir.pods() else { return };
    let living = pods.join("run");
    for failure in with_pod(uuid, local, dir, |pod| pod_net::collect::collect(pod, &living)) {
        log::warn!("networking: {}", sys::cause::chain(&failure));
    }
}

/// The `check-networks` entrypoint: whether the networks of the pod whose folder is the working directory are as they were
/// left. It lives in this.
///
/// # Errors
/// They are not, or cannot be looked at.
pub fn check(habitat: Habitat) -> Result<u8, RunError> {
    let args = GcArgs::decode(std::env::args_os().skip(1))?;
    stage1_abi::entry::start_log(args.debug);
    sys::descriptor::seal_inherited().doing("cannot seal inherited descriptors")?;
    let (dir, uuid) = (PodDir::current()?, args.uuid.to_string());
    let look = |pod: &teardown::Pod<'_>| pod_net::health::check(pod, habitat);
    let wrong = with_pod(&uuid, args.local_config.as_deref(), &dir, look)?;
    let mut wrong = wrong.into_iter();
    let Some(first) = wrong.next() else { return Ok(0) };
    let others: Vec<String> = wrong.map(|error| sys::cause::chain(&error)).collect();
    for other in others {
        log::warn!("networking: {other}");
    }
    Err(first.into())
}

/// Does something about a pod that has joined networks.
fn with_pod<T>(
    uuid: &str,
    local: Option<&str>,
    dir: &PodDir,
    work: impl FnOnce(&teardown::Pod<'_>) -> T,
) -> T {
    let stage1_root = dir.path().join(pod_dir::STAGE1_ROOT);
    work(&teardown::Pod { uuid, local_config: local_config(local), stage1_root: &stage1_root, dir })
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
