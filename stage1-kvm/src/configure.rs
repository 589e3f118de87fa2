//! From a pod as its folder has it to what the guest is told to be: which image is which partition, what files say, the
//! time. Nothing of it starts anything.

use crate::error::MachineError;
use pod_host::{Dialogue as Talk, Pod};
use pod_net::request::NetRequest;
use pod_proto::config::{AppConfig, Dialogue, HostsFile, Interface, Seed, Setting, Share, Time};
use pod_proto::{Config, Token, limits};
use stage1_abi::{DnsMode, PodDir, RunArgs};
use stage2::{MountPlan, RootFiles};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use sys::path::At;

/// The most that is read of a file that the guest is to have, in bytes.
const LONGEST: u64 = 1 << 20;

/// What of the host the guest sees.
#[derive(Debug)]
pub struct Shown {
    /// Devices that share folders.
    pub shares: Vec<Share>,
    /// The volumes of each app, with the paths of shares.
    pub plans: Vec<MountPlan>,
    /// Interfaces of the pod's network namespace, which the guest has from then on.
    pub interfaces: Vec<Interface>,
    /// What the kernel is to be set to about them.
    pub settings: Vec<Setting>,
}

/// What the guest is told, and the images that it will find as partitions, in their order.
#[derive(Debug)]
pub struct Configured {
    /// The configuration.
    pub config: Config,
    /// The images.
    pub images: Vec<PathBuf>,
}

/// Refuses what a virtual machine cannot give; what network the pod is to have.
///
/// # Errors
/// One of them was asked for.
pub fn refuse(args: &RunArgs) -> Result<NetRequest, MachineError> {
    let refused = |what: &str, why| MachineError::Refused { what: what.to_owned(), why };
    if args.private_users.is_some() {
        let why = "users of a virtual machine are no users of the host's already";
        return Err(refused("--private-users", why));
    }
    match args.ipc.as_deref() {
        None | Some("" | "auto" | "private") => {}
        Some("parent") => {
            let why = "a pod in a virtual machine has a kernel of its own and cannot share the host's IPC";
            return Err(refused("--ipc=parent", why));
        }
        Some(other) => return Err(pod_host::RunError::Ipc(other.to_owned()).into()),
    }
    match pod_host::Network::request(args)? {
        NetRequest::Host => {
            let why = "a pod in a virtual machine has a kernel of its own and cannot share the host's network";
            Err(refused("--net=host", why))
        }
        request => Ok(request),
    }
}

/// What the guest is to be. `terminal` is the size of the caller's terminal, if the app is to have one.
///
/// # Errors
/// A file cannot be read, or there is more of something than a machine can have.
pub fn configure(
    pod: &Pod,
    dir: &PodDir,
    shown: Shown,
    dialogue: Dialogue,
) -> Result<Configured, MachineError> {
    let mut images: Vec<PathBuf> = Vec::new();
    let mut apps = Vec::with_capacity(pod.apps.len());
    for (app, mounts) in pod.apps.iter().zip(shown.plans) {
        let RootFiles::Layers { lower, .. } = &app.files else {
            return Err(too_many("a root that was copied", "a machine attaches images of roots"));
        };
        let mut layers = Vec::with_capacity(lower.len());
        for image in lower {
            let known = images.iter().position(|other| other == image);
            let index = known.unwrap_or(images.len());
            if known.is_none() {
                images.push(image.clone());
            }
            layers.push(u32::try_from(index).unwrap_or(u32::MAX).saturating_add(1));
        }
        if layers.len() > limits::LAYERS {
            return Err(too_many("an image", "it has more than 64 layers"));
        }
        apps.push(AppConfig { spec: app.spec.clone(), mounts, layers, dialogue });
    }
    if u32::try_from(images.len()).map_or(true, |count| count > limits::PARTITIONS) {
        return Err(too_many("the pod", "its images have more than 127 layers together"));
    }
    let hosts = match pod.hosts {
        DnsMode::Default => HostsFile::Default,
        DnsMode::None => HostsFile::Image,
        DnsMode::Host => HostsFile::Text(text("/etc/hosts".as_ref())?),
        DnsMode::Stage0 => HostsFile::Text(own_text(dir, "rkt/hosts")?),
    };
    let resolv = match pod.resolv {
        DnsMode::Default | DnsMode::None => None,
        DnsMode::Host => Some(text("/etc/resolv.conf".as_ref())?),
        DnsMode::Stage0 => Some(own_text(dir, "rkt/resolv.conf")?),
    };
    let config = Config {
        token: Token::new(random()?),
        hostname: pod.hostname.clone(),
        hosts,
        resolv,
        interfaces: shown.interfaces,
        settings: shown.settings,
        kernel_paths: pod.kernel_paths,
        // The guest keeps it to half of its memory.
        writable: u64::MAX,
        shares: shown.shares,
        apps,
        time: now(),
        seed: Seed(random()?),
    };
    Ok(Configured { config, images })
}

/// How apps of this pod are talked to.
///
/// # Errors
/// The terminal has no size.
pub fn dialogue(pod: &Pod) -> Result<Dialogue, MachineError> {
    Ok(match pod.dialogue {
        Talk::Copied => Dialogue::Silent,
        Talk::Interactive => match size_of_terminal()? {
            Some(size) => Dialogue::Terminal(size),
            None => Dialogue::Streams,
        },
    })
}

/// The size of the terminal that the standard input is, if it is one.
///
/// # Errors
/// The kernel does not say it.
pub fn size_of_terminal() -> Result<Option<pod_proto::message::Size>, MachineError> {
    use pod_host::Doing as _;
    if !rustix::termios::isatty(rustix::stdio::stdin()) {
        return Ok(None);
    }
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stdin());
    let size = size.doing("cannot read the size of the terminal")?;
    Ok(Some(pod_proto::message::Size { rows: size.ws_row, columns: size.ws_col }))
}

/// The time now.
fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time { seconds: since.as_secs(), nanoseconds: since.subsec_nanos() }
}

fn too_many(what: &str, why: &'static str) -> MachineError {
    MachineError::Refused { what: what.to_owned(), why }
}

fn random() -> Result<[u8; 32], MachineError> {
    use pod_host::Doing as _;
    let mut bytes = [0; 32];
    let flags = rustix::rand::GetRandomFlags::empty();
    rustix::rand::getrandom(&mut bytes[..], flags).doing("cannot have random bytes")?;
    Ok(bytes)
}

/// A file of the host's; one that is not there is empty.
fn text(path: &Path) -> Result<String, MachineError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
        other => other.at("open", path)?,
    };
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes).at("read", path)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A file of the pod folder.
fn own_text(dir: &PodDir, name: &str) -> Result<String, MachineError> {
    let bytes = dir.read(name)?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
