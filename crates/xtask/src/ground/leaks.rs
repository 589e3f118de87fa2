//! What pods may leave outside of their folders: processes, mounts, control groups. A namespace lives as long as one of
//! the first two.

use super::MARK;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const GROUPS: &str = "/sys/fs/cgroup";

/// Everything that belongs to this folder or to one of these pods.
pub(super) fn of(folder: &Path, pods: &BTreeSet<String>) -> Vec<String> {
    let mounts = mounts_below(folder).into_iter().filter(|path| Path::new(path) != folder);
    let mut found: Vec<String> = mounts.map(|path| format!("mount {path}")).collect();
    found.extend(processes(folder, pods).into_iter().map(|pid| {
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        format!("process {pid} {}", command.replace('\0', " "))
    }));
    found.extend(groups(pods).into_iter().map(|path| format!("control group {}", path.display())));
    found
}

/// The mount points at and below a folder, in the order they were made.
pub(crate) fn mounts_below(folder: &Path) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    points.filter(|point| Path::new(point).starts_with(folder)).map(str::to_owned).collect()
}

/// Kills what was started for a folder.
pub(super) fn end(folder: &Path) {
    for pid in processes(folder, &BTreeSet::new()) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// Removes the groups of pods, the innermost first.
pub(super) fn remove_groups(pods: &BTreeSet<String>) {
    for group in groups(pods).iter().rev() {
        drop(fs::remove_dir(group));
    }
}

/// The processes of a folder: by its mark, by what they have open, by the pod in the name of their group.
fn processes(folder: &Path, pods: &BTreeSet<String>) -> Vec<i32> {
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    numbers.filter(|&pid| pid != own && belongs(pid, folder, pods)).collect()
}

fn belongs(pid: i32, folder: &Path, pods: &BTreeSet<String>) -> bool {
    let process = PathBuf::from(format!("/proc/{pid}"));
    // What has ended and waits for its parent holds nothing.
    let status = fs::read_to_string(process.join("status")).unwrap_or_default();
    if status.lines().any(|line| line.starts_with("State:") && line.contains('Z')) {
        return false;
    }
    let points = |link: PathBuf| fs::read_link(link).is_ok_and(|to| to.starts_with(folder));
    if ["cwd", "root", "exe"].iter().any(|link| points(process.join(link))) {
        return true;
    }
    let mark = [MARK.as_bytes(), b"=", folder.as_os_str().as_bytes()].concat();
    let environment = fs::read(process.join("environ")).unwrap_or_default();
    if environment.split(|&byte| byte == 0).any(|word| word == mark) {
        return true;
    }
    let groups = fs::read_to_string(process.join("cgroup")).unwrap_or_default();
    if pods.iter().any(|pod| groups.contains(pod.as_str())) {
        return true;
    }
    let open = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    open.map(|entry| entry.path()).any(points)
}

/// The control groups named after one of these pods, outer before inner.
fn groups(pods: &BTreeSet<String>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut ahead = vec![PathBuf::from(GROUPS)];
    while let Some(folder) = ahead.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let path = entry.path();
            let shown = path.to_string_lossy();
            if pods.iter().any(|pod| shown.contains(pod.as_str())) {
                found.push(path.clone());
            }
            ahead.push(path);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_marked_process_is_found_and_ended() {
        let folder = std::env::temp_dir().join(format!("rkt-leaks-{}", std::process::id()));
        let mut sleeper = Command::new("sleep");
        let mut child =
            sleeper.arg("1000").env(MARK, &folder).stdin(Stdio::null()).spawn().unwrap();
        // The mark is there once the program is.
        while fs::read_to_string(format!("/proc/{}/comm", child.id())).unwrap().trim() != "sleep" {}
        let found = of(&folder, &BTreeSet::new());
        end(&folder);
        child.wait().unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("sleep 1000"), "{found:?}");
        assert_eq!(of(&folder, &BTreeSet::new()), Vec::<String>::new());
    }
}
