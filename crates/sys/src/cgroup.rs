//! Control groups: where the caller stands, leaves below that place, and the limits of a leaf.
//!
//! One model for both versions of the interface: a [`Place`] is where this process stands in every hierarchy that could
//! limit something; a [`Group`] is one folder of the same name below each of them. Version 1 has a hierarchy for each
//! controller, version 2 would be one hierarchy for all. Nothing of another part of the tree is ever touched: a leaf
//! lies below the caller's own group, so that the limits of a unit bound whatever runs in it.

use crate::path::{At, PathError};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;
use std::fs;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// `f_type` of a version 1 hierarchy.
const V1_MAGIC: u64 = 0x0027_e0eb;
/// The controllers that account for a pod, or guard it.
const ACCOUNTING: [&str; 3] = ["cpuacct", "memory", "pids"];
/// The controller that only limits.
const CPU: &str = "cpu";
/// A CPU quota is given out in slices of this length, in microseconds.
const PERIOD: u64 = 100_000;
/// The smallest quota that the kernel takes, and the largest.
const QUOTA: std::ops::RangeInclusive<u64> = 1_000..=(1 << 44) - 1;

/// How often a group is looked at until all in it are killed.
const KILL_ROUNDS: u32 = 1_000;

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

/// A limit that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// No hierarchy here has the controller.
    #[error(
        "cannot apply the {0} limit: this host has no version 1 {0} controller that this process may use"
    )]
    Unavailable(&'static str),
    /// The kernel refuses.
    #[error("cannot set up the control group")]
    Refused(#[from] PathError),
}

/// One hierarchy: its controllers, and the folder of the caller's group in it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hierarchy {
    controllers: String,
    folder: PathBuf,
    path: String,
}

/// Where this process stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    hierarchies: Vec<Hierarchy>,
}

impl Place {
    /// Looks the calling process up, in the hierarchies that account for a group and those that these limits need.
    ///
    /// # Errors
    /// `/proc/self/cgroup` cannot be read.
    pub fn of_self(limits: &[Limits]) -> Result<Self, PathError> {
        let cpu = limits.iter().any(|l| l.cpu_milli.is_some() || l.cpu_shares.is_some());
        let text = own_groups()?;
        Ok(Self { hierarchies: here(groups(&text, cpu)).collect() })
    }

    /// Looks the calling process up in one hierarchy only, for groups that are to hold processes and limit nothing.
    ///
    /// # Errors
    /// As [`Self::of_self`].
    pub fn to_hold() -> Result<Self, PathError> {
        let text = own_groups()?;
        let mut all: Vec<_> = groups(&text, false).collect();
        all.sort_by_key(|(controllers, _)| !controllers.split(',').any(|c| c == "pids"));
        Ok(Self { hierarchies: here(all.into_iter()).take(1).collect() })
    }

    /// The folders that a group of this name would be, one a hierarchy.
    pub fn folders(&self, name: &str) -> Vec<PathBuf> {
        self.hierarchies.iter().map(|h| h.folder.join(name)).collect()
    }

    /// The path of a group of this name as the kernel would show it, in the first hierarchy.
    pub fn path(&self, name: &str) -> String {
        let own = self.hierarchies.first().map_or("/", |h| h.path.as_str());
        format!("{}/{name}", own.trim_end_matches('/'))
    }

    /// Makes a group of this name below the caller's own, in every hierarchy that lets us. Where one does not, the
    /// group has no such controller, and a limit of it is refused later.
    pub fn make(&self, name: &str) -> Group {
        let mut leaves = Vec::new();
        for hierarchy in &self.hierarchies {
            let folder = hierarchy.folder.join(name);
            match rustix::fs::mkdir(&folder, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => {
                    log::debug!("no group in {}: {error}", hierarchy.controllers);
                    continue;
                }
            }
            leaves.push(Leaf { controllers: hierarchy.controllers.clone(), folder });
        }
        Group { leaves }
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

/// The folders of these groups, where their hierarchies are mounted.
fn here<'a>(groups: impl Iterator<Item = (&'a str, &'a str)>) -> impl Iterator<Item = Hierarchy> {
    let mut mounts = None;
    groups.filter_map(move |(controllers, path)| {
        let usual =
            Path::new("/sys/fs/cgroup").join(controllers).join(path.trim_start_matches('/'));
        let folder = if is_v1(&usual) {
            usual
        } else {
            // Rare, and dear: the kernel formats every mount there is.
            let mounts = mounts.get_or_insert_with(|| {
                fs::read_to_string("/proc/self/mountinfo").unwrap_or_default()
            });
            mounted(mounts, controllers, path).filter(|folder| is_v1(folder))?
        };
        Some(Hierarchy { controllers: controllers.to_owned(), folder, path: path.to_owned() })
    })
}

/// The lines of `/proc/PID/cgroup` that name a wanted version 1 controller: its controllers, the group's path.
fn groups(text: &str, cpu: bool) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(move |line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let wanted = controllers.split(',').any(|c| ACCOUNTING.contains(&c) || (cpu && c == CPU));
        wanted.then_some((controllers, path))
    })
}

fn is_v1(folder: &Path) -> bool {
    rustix::fs::statfs(folder).is_ok_and(|found| u64::try_from(found.f_type) == Ok(V1_MAGIC))
}

/// Finds the folder of a group by the table of mounts, for hosts that mount hierarchies elsewhere.
fn mounted(mountinfo: &str, controllers: &str, path: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (mount, rest) = line.split_once(" - ")?;
        let mut rest = rest.split(' ');
        let kind = rest.next()?;
        let options = rest.nth(1)?;
        let ours =
            kind == "cgroup" && controllers.split(',').all(|c| options.split(',').any(|o| o == c));
        let mut mount = mount.split(' ');
        let (root, at) = (mount.nth(3)?, mount.next()?);
        let below = path.strip_prefix(root.trim_end_matches('/'))?;
        ours.then(|| Path::new(at).join(below.trim_start_matches('/')))
    })
}

#[derive(Debug)]
struct Leaf {
    controllers: String,
    folder: PathBuf,
}

impl Leaf {
    fn has(&self, controller: &str) -> bool {
        self.controllers.split(',').any(|c| c == controller)
    }

    fn write(&self, file: &str, text: &str) -> Result<(), PathError> {
        let path = self.folder.join(file);
        let open = rustix::fs::open(&path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
            .at("open", &path)?;
        rustix::io::write(&open, text.as_bytes()).at("write", &path)?;
        Ok(())
    }
}

/// A group: its folder in each hierarchy where there is one.
#[derive(Debug)]
pub struct Group {
    leaves: Vec<Leaf>,
}

impl Group {
    /// A group inside this one.
    #[must_use]
    pub fn make(&self, name: &str) -> Self {
        let hierarchies = self.leaves.iter().map(|leaf| Hierarchy {
            controllers: leaf.controllers.clone(),
            folder: leaf.folder.clone(),
            path: String::new(),
        });
        Place { hierarchies: hierarchies.collect() }.make(name)
    }

    /// Applies what was asked for.
    ///
    /// # Errors
    /// A limit cannot be applied: then the caller must not start what it was meant for.
    pub fn limit(&self, limits: &Limits) -> Result<(), CgroupError> {
        if let Some(bytes) = limits.memory {
            let memory = self.leaf("memory")?;
            memory.write("memory.limit_in_bytes", &bytes.to_string())?;
            // Only where swap is accounted; without it, memory alone is the limit.
            if let Err(error) = memory.write("memory.memsw.limit_in_bytes", &bytes.to_string()) {
                log::debug!("swap is not limited: {error}");
            }
        }
        if let Some(milli) = limits.cpu_milli {
            let cpu = self.leaf("cpu")?;
            let (quota, period) = quota(milli);
            cpu.write("cpu.cfs_period_us", &period.to_string())?;
            cpu.write("cpu.cfs_quota_us", &quota.to_string())?;
        }
        if let Some(shares) = limits.cpu_shares {
            self.leaf("cpu")?.write("cpu.shares", &shares.to_string())?;
        }
        if let Some(count) = limits.pids {
            self.leaf("pids")?.write("pids.max", &count.to_string())?;
        }
        Ok(())
    }

    fn leaf(&self, controller: &'static str) -> Result<&Leaf, CgroupError> {
        self.leaves
            .iter()
            .find(|leaf| leaf.has(controller))
            .ok_or(CgroupError::Unavailable(controller))
    }

    /// Opens what a process writes `0` to in order to join.
    ///
    /// # Errors
    /// A file is not there.
    pub fn doors(&self) -> Result<Doors, PathError> {
        let open = |leaf: &Leaf| {
            let tasks = leaf.folder.join("tasks");
            rustix::fs::open(&tasks, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
                .at("open", &tasks)
        };
        Ok(Doors(self.leaves.iter().map(open).collect::<Result<_, _>>()?))
    }
}

/// The open `tasks` files of a group. A single thread that writes `0` moves itself, which takes no global lock and waits
/// for no grace period, unlike any write of a pid.
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

/// Opens the doors of the groups whose folders these are. A folder that was never made is passed over.
///
/// # Errors
/// A group cannot be joined.
pub fn doors_in(folders: impl Iterator<Item = PathBuf>) -> Result<Doors, PathError> {
    let mut doors = Vec::new();
    for folder in folders {
        let tasks = folder.join("tasks");
        match rustix::fs::open(&tasks, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()) {
            Ok(fd) => doors.push(fd),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(PathError::new("open", tasks, error)),
        }
    }
    Ok(Doors(doors))
}

/// Removes the folder of a group and of the groups in it, whose processes have ended. A folder that is gone is fine.
///
/// # Errors
/// Something still lives in it after a short while.
pub fn remove(folder: &Path) -> Result<(), PathError> {
    let mut left = 50;
    loop {
        match rustix::fs::rmdir(folder) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::BUSY) if left > 0 => {
                left -= 1;
                for entry in fs::read_dir(folder).at("open", folder)?.flatten() {
                    if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                        let _ = rustix::fs::rmdir(entry.path());
                    }
                }
                pause();
            }
            Err(other) => return Err(PathError::new("rmdir", folder, other)),
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

/// Kills all that is in a group, also what is being born there; whether there was anything.
///
/// # Errors
/// A process may not be killed.
pub fn kill(folder: &Path) -> Result<bool, PathError> {
    let mut any = false;
    for _ in 0..KILL_ROUNDS {
        let members = members(folder);
        if members.is_empty() {
            break;
        }
        any = true;
        for pid in members {
            match rustix::process::kill_process(pid, rustix::process::Signal::KILL) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(error) => return Err(PathError::new("kill", folder, error)),
            }
        }
        pause();
    }
    Ok(any)
}

/// A process on its way out holds its group for some microseconds more.
fn pause() {
    let pause = rustix::event::Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
    let _ = rustix::event::poll(&mut [], Some(&pause));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_stay_within_what_the_kernel_takes() {
        for (milli, expected) in [
            (500, (50_000, 100_000)),
            (2_000, (200_000, 100_000)),
            (10, (1_000, 100_000)),
            (5, (5_000, 1_000_000)),
            (0, (1_000, 1_000_000)),
            (u64::MAX, ((1 << 44) - 1, 100_000)),
        ] {
            assert_eq!(quota(milli), expected, "{milli}");
        }
    }

    #[test]
    fn own_groups_are_read_from_both_layouts() {
        let text = "9:name=systemd:/\n4:cpu,cpuacct:/a:b\n3:memory:/m\n2:freezer:/\n0::/u\n";
        let text = format!("{text}5:cpu:/c\n");
        let found: Vec<_> = groups(&text, false).collect();
        assert_eq!(found, [("cpu,cpuacct", "/a:b"), ("memory", "/m")]);
        assert_eq!(groups(&text, true).last(), Some(("cpu", "/c")));
    }

    #[test]
    fn hierarchies_mounted_elsewhere_are_found() {
        let info =
            "35 31 0:35 /docker/x /cg/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n";
        assert_eq!(mounted(info, "memory", "/docker/x/y"), Some(PathBuf::from("/cg/memory/y")));
        assert_eq!(mounted(info, "memory", "/other"), None);
        assert_eq!(mounted(info, "cpu", "/docker/x"), None);
    }

    #[test]
    fn a_group_is_made_limited_and_removed() {
        let limits = Limits {
            memory: Some(8 << 20),
            pids: Some(7),
            cpu_milli: Some(500),
            cpu_shares: Some(10),
        };
        let place = Place::of_self(&[limits]).unwrap();
        let name = format!("sys-test-{}", std::process::id());
        let group = place.make(&name);
        let inner = group.make("app");
        let applied = inner.limit(&limits);
        let file = |n: &str| {
            place.folders(&name).into_iter().map(|f| f.join("app").join(n)).find(|f| f.exists())
        };
        let read = |n: &str| fs::read_to_string(file(n).unwrap()).unwrap();
        let values = [
            read("memory.limit_in_bytes"),
            read("pids.max"),
            read("cpu.cfs_quota_us"),
            read("cpu.shares"),
        ];
        drop((group, inner));
        for folder in place.folders(&name) {
            remove(&folder).unwrap();
            remove(&folder).unwrap();
        }
        applied.unwrap();
        assert_eq!(values, ["8388608\n", "7\n", "50000\n", "10\n"]);
    }
}
