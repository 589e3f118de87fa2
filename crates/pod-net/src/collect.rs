//! `GC`: programs of version 1.1 are told which attachments are in use, and drop everything else that they know.
//!
//! It goes by the pods that live in a folder of pods. A pod that is joining says so in its folder before it calls anybody,
//! and shares a lock of the folder of pods while it does: nobody's new attachment is dropped for being unknown. Its file is
//! root's alone, since whoever may open a file may lock it, and it is not waited for without end.

use crate::attach::{Hand, Hands};
use crate::config::{Network, Selected};
use crate::info;
use crate::plugin::{PluginError, ValidAttachment};
use crate::saved::{self, SavedError};
use crate::teardown::Pod;
use crate::version::Version;
use rustix::fs::{Mode, OFlags};
use stage1_abi::PodDir;
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::Duration;
use sys::lock::{self, LockFd};
use sys::path::{At as _, PathError};

/// A program that could not collect.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// A folder or a lock.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The record of a pod's networks.
    #[error(transparent)]
    Info(#[from] info::InfoError),
    /// A configuration.
    #[error("network {name:?}")]
    Saved {
        /// The network.
        name: String,
        /// Why not.
        #[source]
        cause: SavedError,
    },
    /// A program.
    #[error("network {name:?}")]
    Plugin {
        /// The network.
        name: String,
        /// Why not.
        #[source]
        cause: PluginError,
    },
}

/// The file beside the folders of pods that is locked.
const LOCK: &str = ".collecting-networks";
/// How long it is waited for.
const PATIENCE: Duration = Duration::from_mins(1);

/// Whether programs of this network are ever told to collect.
fn collects(network: &Network) -> bool {
    network.version() >= Version::V1_1_0 && network.is_collected()
}

/// Keeps others from collecting while a pod joins; `None` where nobody could collect what it joins.
pub(crate) fn hold_off(dir: &PodDir, selected: &[Selected]) -> Result<Option<LockFd>, PathError> {
    if !selected.iter().any(|one| collects(&one.network)) {
        return Ok(None);
    }
    lock(dir, lock::Mode::Shared)
}

/// The lock of the folder of pods in which this pod is; `None` where it is in none.
fn lock(dir: &PodDir, mode: lock::Mode) -> Result<Option<LockFd>, PathError> {
    let Some(pods) = dir.pods() else { return Ok(None) };
    let path = pods.join(LOCK);
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let fd = rustix::fs::open(&path, flags, Mode::from_raw_mode(0o600)).at("open", &path)?;
    let late = || {
        let seconds = PATIENCE.as_secs();
        let problem = format!("others have held it for {seconds} seconds: does a plugin hang?");
        PathError::new("lock", &path, io::Error::new(io::ErrorKind::TimedOut, problem))
    };
    LockFd::within(fd.as_fd(), mode, PATIENCE).at("lock", &path)?.map(Some).ok_or_else(late)
}

/// Has the programs of a dead pod's networks collect what no pod in `living`, a folder of pods that run, needs.
pub fn collect(pod: &Pod<'_>, living: &Path) -> Vec<CollectError> {
    let mut failures = Vec::new();
    match try_collect(pod, living, &mut failures) {
        Ok(()) => {}
        Err(error) => failures.push(error),
    }
    failures
}

fn try_collect(
    pod: &Pod<'_>,
    living: &Path,
    failures: &mut Vec<CollectError>,
) -> Result<(), CollectError> {
    let mut networks = Vec::new();
    for info in info::load(pod.dir)?.unwrap_or_default() {
        match saved::network(pod.dir, &info) {
            Ok(network) => networks.extend(network.filter(collects).map(|network| (network, info))),
            Err(cause) => failures.push(CollectError::Saved { name: info.name, cause }),
        }
    }
    if networks.is_empty() {
        return Ok(());
    }
    let _alone = lock(pod.dir, lock::Mode::Exclusive)?;
    let attachments = attachments(living)?;
    for (network, info) in &networks {
        let mut hands = Hands::again(pod, info);
        let own = attachments.iter().filter(|(name, _)| name == network.name().as_str());
        let valid: Vec<ValidAttachment> = own.map(|(_, valid)| valid.clone()).collect();
        for plugin in network.plugins() {
            if hands.of(plugin) != Hand::Program {
                continue;
            }
            if let Err(cause) = hands.runner.gc(network, plugin, &valid) {
                let name = network.name().to_string();
                failures.push(CollectError::Plugin { name, cause });
            }
        }
    }
    Ok(())
}

/// The attachments of all pods in a folder that somebody holds the lock of, each with its network's name.
fn attachments(living: &Path) -> Result<Vec<(String, ValidAttachment)>, CollectError> {
    let mut found = Vec::new();
    let entries = match std::fs::read_dir(living) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        other => other.at("list", living)?,
    };
    for entry in entries {
        let entry = entry.at("list", living)?;
        // A pod that is moved away at this moment has ended.
        let Ok(dir) = PodDir::open(entry.path()) else { continue };
        if !lock::held_exclusively(dir.as_fd()).at("lock", entry.path())? {
            continue;
        }
        for info in info::load(&dir)?.unwrap_or_default() {
            let container = entry.file_name().to_string_lossy().into_owned();
            found.push((info.name, ValidAttachment { container, ifname: info.ifname }));
        }
    }
    Ok(found)
}
