//! Control groups: where the caller stands, groups below that place, and the limits of a group.
//!
//! One model for both versions of the interface. A [`Place`] is where this process stands in every hierarchy that could
//! limit something, a [`Group`] is one folder of the same name below each of them, and a [`Record`] is what a later
//! process needs in order to find, join, kill or remove it. Version 1 has a hierarchy for each controller; version 2 has
//! one for all, in which only a group without processes can pass controllers on. [`Place::settle`] finds where a group
//! may stand so that the limits asked for hold and none of the caller's own is escaped.

mod record;
mod unit;
mod v1;
mod v2;

pub use record::{Record, pod_group};
pub use unit::has_systemd;

use crate::path::{At, PathError};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;
use std::fs;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use unit::Unit;

/// A CPU quota is given out in slices of this length, in microseconds.
const PERIOD: u64 = 100_000;
/// The smallest quota that the kernel takes, and the largest.
const QUOTA: std::ops::RangeInclusive<u64> = 1_000..=(1 << 44) - 1;

/// How often a group is looked at until all in it are killed.
const KILL_ROUNDS: u32 = 1_000;
/// How long a group may take to become empty of what has ended, and how often it is tried: more and more seldom.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_millis(100);

/// What can be asked of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Thousandths of a processor.
    pub cpu_milli: Option<u64>,
    /// Weight against other groups.
    pub cpu_shares: Option<u64>,
    /// Number of tasks.
    pub pids: Option<u64>,
}

impl Limits {
    /// The controllers without which these limits cannot be had.
    fn controllers(&self) -> impl Iterator<Item = &'static str> {
        let cpu = self.cpu_milli.is_some() || self.cpu_shares.is_some();
        [("memory", self.memory.is_some()), ("cpu", cpu), ("pids", self.pids.is_some())]
            .into_iter()
            .filter_map(|(name, wanted)| wanted.then_some(name))
    }
}

/// What a group uses, where it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Processor time so far, in microseconds.
    pub cpu: Option<u64>,
    /// Tasks.
    pub tasks: Option<u64>,
}

/// A limit that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// No hierarchy here has the controller.
    #[error(
        "cannot apply the {0} limit: this host has no {0} controller that this process may use"
    )]
    Unavailable(&'static str),
    /// The caller's group belongs to systemd, which was not told to leave it to us.
    #[error(
        "cannot apply the {limit} limit: systemd keeps the control groups of {unit} to itself; set Delegate=yes in \
         the unit"
    )]
    NotDelegated {
        /// What was asked for.
        limit: &'static str,
        /// The unit that the caller runs in.
        unit: String,
    },
    /// The caller's group has other processes: it cannot pass controllers on, and beside it a limit would be escaped.
    #[error(
        "cannot apply the {limit} limit: other processes share the control group {group:?} with rkt; start rkt in a \
         control group of its own"
    )]
    Shared {
        /// What was asked for.
        limit: &'static str,
        /// The caller's group, as the kernel shows it.
        group: String,
    },
    /// The kernel refuses.
    #[error("cannot set up the control group")]
    Refused(#[from] PathError),
}

/// The two interfaces of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Version {
    #[default]
    One,
    Two,
}

/// One hierarchy: its controllers (version 1 only), and the folder of the caller's group in it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hierarchy {
    controllers: String,
    folder: PathBuf,
    path: String,
}

/// Where this process stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    version: Version,
    hierarchies: Vec<Hierarchy>,
    /// The group by which the host's init knows this process.
    known: String,
    seat: v2::Seat,
}

impl Place {
    /// Looks the calling process up, in the hierarchies that account for a group and those that these limits need.
    ///
    /// # Errors
    /// `/proc/self/cgroup` cannot be read.
    pub fn of_self(limits: &[Limits]) -> Result<Self, PathError> {
        let text = own_groups()?;
        let cpu = limits.iter().any(|l| l.cpu_milli.is_some() || l.cpu_shares.is_some());
        Ok(Self::of(&text, v1::here(v1::groups(&text, cpu)).collect()))
    }

    /// Looks the calling process up in one hierarchy only, for groups that are to hold processes and limit nothing.
    ///
    /// # Errors
    /// As [`Self::of_self`].
    pub fn to_hold() -> Result<Self, PathError> {
        let text = own_groups()?;
        let mut all: Vec<_> = v1::groups(&text, false).collect();
        all.sort_by_key(|(controllers, _)| !controllers.split(',').any(|c| c == "pids"));
        Ok(Self::of(&text, v1::here(all.into_iter()).take(1).collect()))
    }

    /// Without a hierarchy of version 1 it is version 2 that counts.
    fn of(text: &str, mut hierarchies: Vec<Hierarchy>) -> Self {
        let mut version = Version::One;
        if hierarchies.is_empty() {
            version = Version::Two;
            hierarchies.extend(v2::hierarchy(text));
        }
        Self { version, hierarchies, known: unit::known(text), seat: v2::Seat::default() }
    }

    /// Whether this process was started from a login or by hand, and not as a unit, or in a group, of its own.
    pub fn is_of_a_session(&self) -> bool {
        unit::is_session(&self.known)
    }

    /// Chooses where a group of the caller's may stand, so that these limits hold.
    ///
    /// # Errors
    /// They cannot, and why.
    pub fn settle(mut self, limits: &[Limits]) -> Result<Self, CgroupError> {
        if self.version == Version::Two {
            self.seat = v2::seat(self.hierarchies.first(), limits)?;
            if let (v2::Seat::Beside(_), Some(own)) = (&self.seat, self.hierarchies.first_mut()) {
                own.folder.pop();
                let (parent, _) = own.path.rsplit_once('/').unwrap_or_default();
                own.path = parent.to_owned();
            }
        }
        Ok(self)
    }

    /// What is to be known of a group of this name before it is made. It is shown as the unit it belongs to, where
    /// that is the pod's alone, else by its own path.
    pub fn record(&self, name: &str) -> Record {
        let own = self.hierarchies.first().map_or("/", |h| h.path.as_str());
        let shown = match Unit::of(&self.known) {
            Some(unit) if unit.is_for_one_pod() => self.known.clone(),
            _ => format!("{}/{name}", own.trim_end_matches('/')),
        };
        Record {
            shown: shown.trim_start_matches('/').to_owned(),
            folders: self.hierarchies.iter().map(|h| h.folder.join(name)).collect(),
            passed_on: self.seat.vacated().to_vec(),
        }
    }

    /// Makes a group of this name below the place, in every hierarchy that lets us. Where one does not, the group has
    /// no such controller, and a limit of it is refused later.
    ///
    /// # Errors
    /// Controllers that limits need cannot be passed on.
    pub fn make(&self, name: &str) -> Result<Group, CgroupError> {
        let mut leaves = Vec::new();
        for hierarchy in &self.hierarchies {
            let folder = hierarchy.folder.join(name);
            if let Err(error) = make_folder(&folder) {
                log::debug!("no group in {}: {error}", hierarchy.folder.display());
                continue;
            }
            leaves.push(Leaf {
                version: self.version,
                controllers: hierarchy.controllers.clone(),
                folder,
            });
        }
        let group = Group { leaves, passes: self.seat.controllers().to_vec() };
        if let (Some(own), Some(leaf)) = (self.hierarchies.first(), group.leaves.first()) {
            self.seat.take(&own.folder, &leaf.folder)?;
        }
        Ok(group)
    }
}

fn own_groups() -> Result<String, PathError> {
    let path = "/proc/self/cgroup";
    // In one go: std would ask the kernel how long it is, and start small.
    let mut text = String::with_capacity(4096);
    let file = fs::File::open(path).at("open", path)?;
    file.take(u64::MAX).read_to_string(&mut text).at("read", path)?;
    Ok(text)
}

#[derive(Debug)]
struct Leaf {
    version: Version,
    controllers: String,
    folder: PathBuf,
}

impl Leaf {
    fn write(&self, file: &str, text: &str) -> Result<(), PathError> {
        write(&self.folder.join(file), text)
    }

    fn open_door(&self) -> Result<OwnedFd, PathError> {
        open_door(&self.folder, self.version)?
            .ok_or_else(|| PathError::new("open", &self.folder, Errno::NOENT))
    }
}

/// Makes a group's folder, if it is not there.
fn make_folder(folder: &Path) -> Result<(), Errno> {
    match rustix::fs::mkdir(folder, Mode::from_raw_mode(0o755)) {
        Err(Errno::EXIST) => Ok(()),
        other => other,
    }
}

/// A file of the group interface takes each value in one write.
fn write(path: &Path, text: &str) -> Result<(), PathError> {
    let open =
        rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).at("open", path)?;
    rustix::io::write(&open, text.as_bytes()).at("write", path)?;
    Ok(())
}

/// What a process writes `0` to in order to join; `None` if there is no such group.
fn open_door(folder: &Path, version: Version) -> Result<Option<OwnedFd>, PathError> {
    let door = folder.join(match version {
        Version::One => "tasks",
        Version::Two => "cgroup.procs",
    });
    match rustix::fs::open(&door, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(PathError::new("open", door, error)),
    }
}

/// A group: its folder in each hierarchy where there is one.
#[derive(Debug)]
pub struct Group {
    leaves: Vec<Leaf>,
    passes: Vec<&'static str>,
}

impl Group {
    /// Whether processes that are to be limited need a group inside this one, even if there is one app only: version
    /// 2 has no limits where the supervisor is.
    pub fn needs_inner(&self) -> bool {
        !self.passes.is_empty()
    }

    /// A group inside this one, for the app of this name.
    ///
    /// # Errors
    /// Controllers that limits need cannot be passed on.
    pub fn inner(&self, app: &str) -> Result<Self, CgroupError> {
        let mut leaves = Vec::new();
        for leaf in &self.leaves {
            if !self.passes.is_empty() {
                v2::pass_on(&leaf.folder, &self.passes)?;
            }
            let folder = leaf.folder.join(inner_name(app));
            make_folder(&folder).at("mkdir", &folder)?;
            leaves.push(Leaf {
                version: leaf.version,
                controllers: leaf.controllers.clone(),
                folder,
            });
        }
        Ok(Self { leaves, passes: Vec::new() })
    }

    /// Applies what was asked for.
    ///
    /// # Errors
    /// A limit cannot be applied: then the caller must not start what it was meant for.
    pub fn limit(&self, limits: &Limits) -> Result<(), CgroupError> {
        for controller in limits.controllers() {
            let leaf = self.leaves.iter().find(|leaf| match leaf.version {
                Version::One => leaf.controllers.split(',').any(|c| c == controller),
                Version::Two => v2::has(&leaf.folder, controller),
            });
            let leaf = leaf.ok_or(CgroupError::Unavailable(controller))?;
            match leaf.version {
                Version::One => v1::limit(leaf, controller, limits)?,
                Version::Two => v2::limit(leaf, controller, limits)?,
            }
        }
        Ok(())
    }

    /// What the group uses, as far as version 2 of the interface tells.
    pub fn usage(&self) -> Usage {
        let leaf = self.leaves.iter().find(|leaf| leaf.version == Version::Two);
        leaf.map(|leaf| v2::usage(&leaf.folder)).unwrap_or_default()
    }

    /// Opens what a process writes `0` to in order to join.
    ///
    /// # Errors
    /// A file is not there.
    pub fn doors(&self) -> Result<Doors, PathError> {
        Ok(Doors(self.leaves.iter().map(Leaf::open_door).collect::<Result<_, _>>()?))
    }
}

/// The folder of an app's group inside its pod's, apart from what a supervisor needs there.
fn inner_name(app: &str) -> String {
    format!("app-{app}")
}

/// The open doors of a group. In version 1 a single thread that writes `0` moves itself, which takes no global lock and
/// waits for no grace period, unlike any write of a pid.
#[derive(Debug)]
pub struct Doors(Vec<OwnedFd>);

impl Doors {
    /// Moves the calling, single-threaded process into the group. Allocates nothing.
    pub fn enter(&self) -> io::Result<()> {
        for door in &self.0 {
            rustix::io::write(door.as_fd(), b"0")?;
        }
        Ok(())
    }
}

/// Which interface a folder belongs to.
fn version_of(folder: &Path) -> Version {
    if folder.join("cgroup.events").exists() { Version::Two } else { Version::One }
}

/// A group and all groups inside it, each before those in it.
fn tree(folder: &Path) -> Vec<PathBuf> {
    let mut all = vec![folder.to_owned()];
    let mut next = 0;
    while let Some(group) = all.get(next) {
        let inside: Vec<PathBuf> = fs::read_dir(group)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.path())
            .collect();
        all.extend(inside);
        next += 1;
    }
    all
}

/// Removes the folder of a group and of the groups in it, whose processes have ended. A folder that is gone is fine.
///
/// # Errors
/// Something still lives in it after ten seconds: whoever is killed first gives its memory back.
pub fn remove(folder: &Path) -> Result<(), PathError> {
    let (end, mut wait) = (Instant::now() + PATIENCE, PAUSE);
    loop {
        match rustix::fs::rmdir(folder) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::BUSY) => {}
            Err(other) => return Err(PathError::new("rmdir", folder, other)),
        }
        let inside = tree(folder);
        for group in inside.iter().rev() {
            let _ = rustix::fs::rmdir(group);
        }
        if Instant::now() > end {
            return Err(PathError::new("rmdir", folder, Errno::BUSY));
        }
        if folder.exists() {
            pause(wait);
            wait = (wait * 2).min(LONGEST);
        }
    }
}

/// Removes the folder of a group that has nothing in it now; one that has is left.
///
/// # Errors
/// Something lives in it.
pub fn remove_now(folder: &Path) -> Result<(), PathError> {
    match rustix::fs::rmdir(folder) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(other) => Err(PathError::new("rmdir", folder, other)),
    }
}

/// The processes in a group; none if it is gone.
pub fn members(folder: &Path) -> Vec<Pid> {
    let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect()
}

/// The processes in a group and in the groups inside it.
fn members_below(folder: &Path) -> Vec<Pid> {
    tree(folder).iter().flat_map(|group| members(group)).collect()
}

/// Kills all that is in a group and in those inside it, also what is being born there; whether there was anything.
///
/// # Errors
/// A process may not be killed.
pub fn kill(folder: &Path) -> Result<bool, PathError> {
    let mut any = false;
    for _ in 0..KILL_ROUNDS {
        let members = members_below(folder);
        if members.is_empty() {
            break;
        }
        any = true;
        // Version 2 kills the whole tree at once, from Linux 5.14 on.
        if write(&folder.join("cgroup.kill"), "1").is_err() {
            for pid in members {
                match rustix::process::kill_process(pid, rustix::process::Signal::KILL) {
                    Ok(()) | Err(Errno::SRCH) => {}
                    Err(error) => return Err(PathError::new("kill", folder, error)),
                }
            }
        }
        pause(PAUSE);
    }
    Ok(any)
}

/// A process on its way out holds its group for some time more.
fn pause(time: Duration) {
    if let Ok(pause) = time.try_into() {
        let _ = rustix::event::poll(&mut [], Some(&pause));
    }
}

/// The quota for thousandths of a processor, and its period: longer for quotas too small for the usual one.
fn quota(milli: u64) -> (u64, u64) {
    let quota = milli.saturating_mul(PERIOD / 1_000);
    if quota < *QUOTA.start() {
        (milli.saturating_mul(PERIOD / 100).max(*QUOTA.start()), PERIOD * 10)
    } else {
        (quota.min(*QUOTA.end()), PERIOD)
    }
}

/// Finds the folder of a group by the table of mounts: the first of this kind whose options satisfy `fits`.
fn mounted(
    mountinfo: &str,
    kind: &str,
    path: &str,
    fits: impl Fn(&str) -> bool,
) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (mount, rest) = line.split_once(" - ")?;
        let mut rest = rest.split(' ');
        let ours = rest.next()? == kind && fits(rest.nth(1)?);
        let mut mount = mount.split(' ');
        let (root, at) = (mount.nth(3)?, mount.next()?);
        let below = path.strip_prefix(root.trim_end_matches('/'))?;
        ours.then(|| Path::new(at).join(below.trim_start_matches('/')))
    })
}

fn has_magic(folder: &Path, magic: u64) -> bool {
    rustix::fs::statfs(folder).is_ok_and(|found| u64::try_from(found.f_type) == Ok(magic))
}

#[cfg(test)]
mod tests;
