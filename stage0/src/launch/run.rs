//! Becoming the pod.

use super::dns::Dns;
use super::{entry, roots};
use crate::pod::{Pod, Running};
use crate::prepare::overlay_missing;
use appc::{ImageManifest, ManifestError, PodManifest, PodUuid};
use pod_net::config::Networks;
use pod_net::request::{BadNetRequest, NetRequest};
use stage1_abi::annotations::BadInterface;
use stage1_abi::lock::LOCK_FD;
use stage1_abi::{
    DnsMode, Network, PodDir, PodDirError, RunArgs, RunFlag, Stage1Interface, Switch, pod_dir,
};
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use sys::path::{At as _, PathError};

/// How a pod is run.
#[derive(Debug, Clone, Default)]
pub struct RunRequest {
    /// The value of `--net`.
    pub net: String,
    /// The pod's name; `rkt-UUID` without.
    pub hostname: Option<String>,
    /// Names of servers and hosts.
    pub dns: Dns,
    /// `auto`, `private` or `parent`.
    pub ipc: Option<String>,
    /// What is on.
    pub switches: BTreeSet<Switch>,
    /// The administrator's configuration directory.
    pub local_config: Option<String>,
}

impl RunRequest {
    /// What `--net` asks for.
    ///
    /// # Errors
    /// It asks for nothing that can be.
    pub fn networks(&self) -> Result<NetRequest, LaunchError> {
        NetRequest::parse(&self.net).map_err(LaunchError::Network)
    }

    /// The same in the words of the contract.
    pub(super) fn args(&self, uuid: PodUuid) -> RunArgs {
        let mut args = RunArgs::new(uuid, self.net.clone());
        args.switches.clone_from(&self.switches);
        args.hostname.clone_from(&self.hostname);
        args.resolv = self.dns.resolv_mode();
        args.hosts = self.dns.hosts_mode();
        args.ipc.clone_from(&self.ipc);
        args.local_config.clone_from(&self.local_config);
        args
    }
}

/// Why a pod does not run.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// A file of the pod.
    #[error(transparent)]
    Dir(#[from] PodDirError),
    /// The pod has no stage1 manifest.
    #[error("pod has no stage1 manifest")]
    NoStage1,
    /// The manifest of its stage1.
    #[error("bad manifest of the pod's stage1")]
    Manifest(#[source] ManifestError),
    /// The manifest of its stage1 is that of another image.
    #[error("cannot use the pod's stage1")]
    Interface(#[source] BadInterface),
    /// A value of `--net` that is none.
    #[error("error parsing --net")]
    Network(#[source] BadNetRequest),
    /// The configuration of networks cannot be read.
    #[error("cannot read the configuration of networks")]
    Networks(#[source] pod_net::config::LoadError),
    /// A network that nobody configured.
    #[error(transparent)]
    NoNetwork(pod_net::config::SelectError),
    /// Overlays are gone since the pod was prepared.
    #[error("unable to run prepared overlay-enabled pod: overlay not supported")]
    NoOverlay,
    /// The lock cannot be handed on.
    #[error("cannot hand the pod's lock on")]
    Lock(#[source] io::Error),
    /// The stage1 does not start.
    #[error("cannot execute stage1 {}", path.display())]
    Execute {
        /// Its program.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl From<PathError> for LaunchError {
    fn from(error: PathError) -> Self {
        Self::Dir(error.into())
    }
}

/// What a pod's stage1 says of itself.
pub fn interface_of(dir: &PodDir) -> Result<Stage1Interface, LaunchError> {
    let bytes = dir.read(pod_dir::STAGE1_MANIFEST)?.ok_or(LaunchError::NoStage1)?;
    let manifest = ImageManifest::from_json(&bytes).map_err(LaunchError::Manifest)?;
    Stage1Interface::from_manifest(&manifest).map_err(LaunchError::Interface)
}

/// Refuses networks that are not configured, before there is a pod. A flavour that lives in the host's network needs none.
pub fn check_network(
    interface: &Stage1Interface,
    request: &RunRequest,
    net: &NetRequest,
) -> Result<(), LaunchError> {
    if interface.network == Network::Contained && matches!(net, NetRequest::Named(_)) {
        let folder = Path::new(request.local_config.as_deref().unwrap_or("/etc/rkt")).join("net.d");
        let networks = Networks::load(&folder).map_err(LaunchError::Networks)?;
        networks.select(net).map_err(LaunchError::NoNetwork)?;
    }
    Ok(())
}

/// Refuses a pod whose roots are to be stacked on a host that cannot do that any more.
pub fn check_overlay(dir: &PodDir, interface: &Stage1Interface) -> Result<(), LaunchError> {
    if dir.is_stacked(interface.app_roots)? && overlay_missing(dir.as_fd()).is_some() {
        return Err(LaunchError::NoOverlay);
    }
    Ok(())
}

/// Becomes the pod; returns only if that fails. `warn` gets lines for the user.
pub fn become_pod(
    pod: &Pod<Running>,
    interface: &Stage1Interface,
    request: &RunRequest,
    warn: &dyn Fn(&str),
) -> Result<Infallible, LaunchError> {
    let dir = pod.dir();
    // Mounts, links and the stage1 itself go by paths below it.
    rustix::process::fchdir(dir).at("chdir", dir.path())?;
    let private = dir.stage1_layers()?.is_some();
    if private {
        roots::mount(dir, interface, &app_names(dir)?)?;
    }
    let hostname = request.hostname.clone().unwrap_or_else(|| format!("rkt-{}", pod.uuid()));
    write_names(dir, private, &request.dns, &hostname)?;

    let (argv, left_out) = request.args(pod.uuid()).encode(interface.version);
    for flag in left_out {
        if !matches!(flag, RunFlag::Disable(_)) {
            warn(&format!(
                "--{} is ignored: the stage1 image speaks version {} of the interface, which came before it",
                flag.name(),
                interface.version
            ));
        }
    }
    let root =
        if private { dir.path().join(pod_dir::STAGE1_ROOT) } else { entry::shared_root(dir)? };
    let path = root.join(&interface.run);
    let lock = pod.lock().hand_down().map_err(LaunchError::Lock)?;
    let source = Command::new(&path)
        .args(argv)
        .env(LOCK_FD, lock.to_string())
        .env("RKT_SELINUX_CONTEXT", "")
        .env("RKT_SELINUX_MOUNT_CONTEXT", "")
        .exec();
    Err(LaunchError::Execute { path, source })
}

fn app_names(dir: &PodDir) -> Result<Vec<String>, LaunchError> {
    let bytes = dir.read(pod_dir::MANIFEST)?.unwrap_or_default();
    let manifest = PodManifest::from_json(&bytes).map_err(LaunchError::Manifest)?;
    Ok(manifest.apps.iter().map(|app| app.name.to_string()).collect())
}

/// Writes the files that flags asked for, where the stage1 looks for them.
fn write_names(dir: &PodDir, private: bool, dns: &Dns, hostname: &str) -> Result<(), LaunchError> {
    let (resolv, hosts) = if private {
        ("stage1/rootfs/etc/rkt-resolv.conf", "stage1/rootfs/etc/rkt-hosts")
    } else {
        ("rkt/resolv.conf", "rkt/hosts")
    };
    let asked = [dns.resolv_mode(), dns.hosts_mode()].contains(&DnsMode::Stage0);
    if asked && private {
        dir.ensure_dir("stage1/rootfs/etc", 0o755)?;
    } else if asked {
        dir.ensure_state()?;
    }
    for (mode, name, text) in [
        (dns.resolv_mode(), resolv, dns.resolv_conf()),
        (dns.hosts_mode(), hosts, dns.hosts(hostname)),
    ] {
        if mode == DnsMode::Stage0 {
            dir.write_readable(name, text.as_bytes())?;
        }
    }
    Ok(())
}
