//! Version 1: a hierarchy for each controller, or for a few.

use super::{Hierarchy, Leaf, Limits, has_magic, mounted, quota};
use crate::path::PathError;
use std::fs;
use std::path::Path;

/// `f_type` of a version 1 hierarchy.
const MAGIC: u64 = 0x0027_e0eb;
/// The controllers that account for a pod, or guard it.
const ACCOUNTING: [&str; 3] = ["cpuacct", "memory", "pids"];
/// The controller that only limits.
const CPU: &str = "cpu";

/// The folders of these groups, where their hierarchies are mounted.
pub(super) fn here<'a>(
    groups: impl Iterator<Item = (&'a str, &'a str)>,
) -> impl Iterator<Item = Hierarchy> {
    let mut mounts = None;
    groups.filter_map(move |(controllers, path)| {
        let usual =
            Path::new("/sys/fs/cgroup").join(controllers).join(path.trim_start_matches('/'));
        let folder = if has_magic(&usual, MAGIC) {
            usual
        } else {
            // Rare, and dear: the kernel formats every mount there is.
            let mounts = mounts.get_or_insert_with(|| {
                fs::read_to_string("/proc/self/mountinfo").unwrap_or_default()
            });
            let fits =
                |options: &str| controllers.split(',').all(|c| options.split(',').any(|o| o == c));
            mounted(mounts, "cgroup", path, fits).filter(|folder| has_magic(folder, MAGIC))?
        };
        Some(Hierarchy { controllers: controllers.to_owned(), folder, path: path.to_owned() })
    })
}

/// The lines of `/proc/PID/cgroup` that name a wanted version 1 controller: its controllers, the group's path.
pub(super) fn groups(text: &str, cpu: bool) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(move |line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let wanted = controllers.split(',').any(|c| ACCOUNTING.contains(&c) || (cpu && c == CPU));
        wanted.then_some((controllers, path))
    })
}

/// Writes what is asked of one controller.
pub(super) fn limit(leaf: &Leaf, controller: &str, limits: &Limits) -> Result<(), PathError> {
    match controller {
        "memory" => {
            let bytes = limits.memory.unwrap_or(u64::MAX).to_string();
            leaf.write("memory.limit_in_bytes", &bytes)?;
            // Only where swap is accounted; without it, memory alone is the limit.
            if let Err(error) = leaf.write("memory.memsw.limit_in_bytes", &bytes) {
                log::debug!("swap is not limited: {error}");
            }
        }
        "cpu" => {
            if let Some(milli) = limits.cpu_milli {
                let (quota, period) = quota(milli);
                leaf.write("cpu.cfs_period_us", &period.to_string())?;
                leaf.write("cpu.cfs_quota_us", &quota.to_string())?;
            }
            if let Some(shares) = limits.cpu_shares {
                leaf.write("cpu.shares", &shares.to_string())?;
            }
        }
        _ => leaf.write("pids.max", &limits.pids.map_or("max".to_owned(), |n| n.to_string()))?,
    }
    Ok(())
}
