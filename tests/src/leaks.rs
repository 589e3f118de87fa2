//! What a sandbox may not leave behind: processes, mounts, control groups.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Everything that still belongs to this folder or to one of these pods.
pub fn of(folder: &Path, pods: &[String]) -> Vec<String> {
    let mut found: Vec<String> =
        mounts_below(folder).into_iter().map(|path| format!("mount {path}")).collect();
    found.extend(processes_of(folder).into_iter().map(|pid| {
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        format!("process {pid} {}", command.replace('\0', " "))
    }));
    found.extend(groups_of(pods).into_iter().map(|path| format!("group {}", path.display())));
    found
}

/// The mount points below a folder.
pub fn mounts_below(folder: &Path) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    points.filter(|point| Path::new(point).starts_with(folder)).map(str::to_owned).collect()
}

/// The processes that were started for a folder, or have something below it open, as root or as working folder.
pub fn processes_of(folder: &Path) -> Vec<i32> {
    let own = i32::try_from(std::process::id()).unwrap();
    let numbers = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        entry.ok()?.file_name().to_str()?.parse::<i32>().ok().filter(|&pid| pid != own)
    });
    numbers.filter(|pid| belongs(*pid, folder)).collect()
}

fn belongs(pid: i32, folder: &Path) -> bool {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let points = |link: PathBuf| fs::read_link(link).is_ok_and(|to| to.starts_with(folder));
    if ["cwd", "root", "exe"].iter().any(|link| points(process.join(link))) {
        return true;
    }
    let marker = [b"RKT_TEST_SANDBOX=", folder.as_os_str().as_bytes()].concat();
    let environment = fs::read(process.join("environ")).unwrap_or_default();
    if environment.split(|&byte| byte == 0).any(|word| word == marker) {
        return true;
    }
    let open = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    open.map(|entry| entry.path()).any(points)
}

/// The control groups named after one of these pods.
pub fn groups_of(pods: &[String]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut ahead = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = ahead.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let name = entry.file_name().to_string_lossy().into_owned();
            if pods.iter().any(|uuid| name.contains(uuid)) {
                found.push(entry.path());
            }
            ahead.push(entry.path());
        }
    }
    found
}
