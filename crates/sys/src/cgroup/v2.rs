//! Version 2: one hierarchy, in which a group that passes controllers on may have no processes of its own, unless it is
//! the root. So a limit asks for more than a folder: [`seat`] finds out what the caller's group allows.

use super::unit::{Unit, has_systemd};
use super::{
    CgroupError, Hierarchy, Leaf, Limits, Usage, has_magic, make_folder, mounted, quota, write,
};
use crate::path::{At, PathError};
use std::fs;
use std::path::{Path, PathBuf};

/// `f_type` of a version 2 hierarchy.
const MAGIC: u64 = 0x6367_7270;
/// systemd marks the groups that it leaves to others; the second is for those that a user may have.
const DELEGATED: [&str; 2] = ["trusted.delegate", "user.delegate"];
/// Where whoever called goes, so that its old group may pass controllers on.
pub(super) const SUPERVISOR: &str = "supervisor";
/// The ends of the names of files that limit a group, or weigh it against others, and what stands in them when they do
/// not.
const FREE: [(&str, &[&str]); 6] = [
    (".max", &["", "max", "max 100000"]),
    (".high", &["max"]),
    (".weight", &["100", "default 100"]),
    (".idle", &["0"]),
    ("cpuset.cpus", &[""]),
    ("cpuset.mems", &[""]),
];

/// The caller's group, by what `/proc/self/cgroup` says.
pub(super) fn hierarchy(own: &str) -> Option<Hierarchy> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    // A group outside of the caller's namespace of groups is not within reach.
    if path.split('/').any(|part| part == "..") {
        return None;
    }
    let usual = Path::new("/sys/fs/cgroup").join(path.trim_start_matches('/'));
    let folder = if has_magic(&usual, MAGIC) {
        usual
    } else {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        mounted(&mounts, "cgroup2", path, |_| true).filter(|folder| has_magic(folder, MAGIC))?
    };
    Some(Hierarchy { controllers: String::new(), folder, path: path.to_owned() })
}

/// Where a group may stand, as seen from the caller's own, and the controllers that must be passed on to it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Seat {
    /// Below, limiting nothing.
    #[default]
    Plain,
    /// Below the root of the hierarchy, which may have processes.
    Root(Vec<&'static str>),
    /// Below, and the caller moves into a group in it.
    Vacated(Vec<&'static str>),
    /// Beside, below the same parent.
    Beside(Vec<&'static str>),
}

impl Seat {
    /// What is passed on to the groups in the group.
    pub(super) fn controllers(&self) -> &[&'static str] {
        match self {
            Self::Plain => &[],
            Self::Root(list) | Self::Vacated(list) | Self::Beside(list) => list,
        }
    }

    /// What a group passes on that has lost its processes to ours.
    pub(super) fn vacated(&self) -> &[&'static str] {
        if let Self::Vacated(list) = self { list } else { &[] }
    }

    /// Makes room: `group` exists, and `parent` is what it stands below.
    pub(super) fn take(&self, parent: &Path, group: &Path) -> Result<(), CgroupError> {
        if let Self::Vacated(_) = self {
            let supervisor = group.join(SUPERVISOR);
            make_folder(&supervisor).at("mkdir", &supervisor)?;
            write(&supervisor.join("cgroup.procs"), "0")?;
        }
        pass_on(parent, self.controllers())
    }
}

/// Lets the groups in a group use controllers that it has.
pub(super) fn pass_on(group: &Path, controllers: &[&'static str]) -> Result<(), CgroupError> {
    let file = group.join("cgroup.subtree_control");
    let passed = words(&file);
    let missing: Vec<String> = controllers
        .iter()
        .filter(|wanted| !passed.iter().any(|have| have == *wanted))
        .map(|name| format!("+{name}"))
        .collect();
    if !missing.is_empty() {
        write(&file, &missing.join(" "))?;
    }
    Ok(())
}

/// Takes back what a group passes on, if nobody else is there to lose it.
pub(super) fn take_back(group: &Path, controllers: &[&str], but: Option<&Path>) -> bool {
    let Ok(entries) = fs::read_dir(group) else { return false };
    let alone = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .all(|entry| but == Some(entry.path().as_path()));
    let list: Vec<String> = controllers.iter().map(|name| format!("-{name}")).collect();
    alone && write(&group.join("cgroup.subtree_control"), &list.join(" ")).is_ok()
}

fn words(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

/// What the caller's group is to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Home {
    /// It is the root of the whole hierarchy.
    Root,
    /// The caller is its only process.
    #[default]
    Alone,
    /// It has others.
    Shared,
}

/// What decides where a group may stand.
#[derive(Debug, Default)]
struct Facts {
    /// The caller's group, as the kernel shows it.
    path: String,
    /// Who lives in it.
    home: Home,
    /// The controllers it may pass on.
    available: Vec<String>,
    /// The unit it belongs to, and whether that was delegated.
    unit: Option<(Unit, bool)>,
    /// Whether its parent passes controllers on, or may start to, and no limit is escaped there.
    beside: bool,
}

impl Facts {
    fn of(own: &Hierarchy) -> Self {
        let folder = own.folder.as_path();
        let me = std::process::id().to_string();
        let unit = Unit::of(&own.path).filter(|_| has_systemd());
        let parent = folder.parent().filter(|_| own.path != "/");
        // A process of another pid namespace is shown as 0.
        let shared = words(&folder.join("cgroup.procs")).iter().any(|pid| *pid != me);
        // What systemd manages it manages even where it does not show itself, as in a container.
        let managed = own.path.split('/').any(|part| {
            [".slice", ".service", ".scope"].iter().any(|kind| part.strip_suffix(kind).is_some())
        });
        let free = !managed && is_free(folder);
        let open = parent.is_some_and(|parent| {
            is_root(parent) || words(&parent.join("cgroup.procs")).is_empty()
        });
        Self {
            path: own.path.clone(),
            home: match shared {
                _ if is_root(folder) => Home::Root,
                true => Home::Shared,
                false => Home::Alone,
            },
            available: words(&folder.join("cgroup.controllers")),
            unit: unit.map(|unit| {
                let delegated = is_delegated(&ancestor(folder, unit.depth));
                (unit, delegated)
            }),
            beside: free && open,
        }
    }

    /// The first of these controllers that cannot be passed on.
    fn lacks(&self, needed: &[&'static str]) -> Option<&'static str> {
        needed.iter().copied().find(|name| !self.available.iter().any(|have| have == name))
    }
}

/// Whether nothing limits a group or weighs it differently.
fn is_free(folder: &Path) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return false };
    entries.flatten().all(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let text = || fs::read_to_string(entry.path()).unwrap_or_else(|_| "unknown".to_owned());
        leaves_free(&name, text)
    })
}

/// Whether a file of a group limits nothing, given how to read it.
fn leaves_free(name: &str, text: impl Fn() -> String) -> bool {
    let known = FREE.iter().find(|(end, _)| name.strip_suffix(end).is_some());
    known.is_none_or(|(_, free)| free.contains(&text().trim()))
}

/// Only the root of the hierarchy has no type.
fn is_root(folder: &Path) -> bool {
    !folder.join("cgroup.type").exists()
}

fn ancestor(folder: &Path, depth: usize) -> PathBuf {
    folder.ancestors().nth(depth).unwrap_or(folder).to_owned()
}

fn is_delegated(folder: &Path) -> bool {
    let mut value = [0_u8; 8];
    DELEGATED.iter().any(|name| {
        rustix::fs::getxattr(folder, *name, &mut value)
            .is_ok_and(|length| value.get(..length) == Some(b"1"))
    })
}

/// Where a group may stand that is to hold to these limits.
pub(super) fn seat(own: Option<&Hierarchy>, limits: &[Limits]) -> Result<Seat, CgroupError> {
    let mut needed: Vec<&'static str> = Vec::new();
    for controller in limits.iter().flat_map(Limits::controllers) {
        if !needed.contains(&controller) {
            needed.push(controller);
        }
    }
    let Some(first) = needed.first() else { return Ok(Seat::Plain) };
    let own = own.ok_or(CgroupError::Unavailable(first))?;
    let mut facts = Facts::of(own);
    if facts.unit.is_none() && facts.lacks(&needed).is_some() {
        pass_down(&own.folder, &needed);
        facts = Facts::of(own);
    }
    decide(&facts, needed)
}

/// Has all groups above one pass controllers on, as far as they let us: nobody else manages them.
fn pass_down(folder: &Path, needed: &[&'static str]) {
    let above: Vec<&Path> = folder.ancestors().skip(1).filter(|f| has_magic(f, MAGIC)).collect();
    for group in above.into_iter().rev() {
        if let Err(error) = pass_on(group, needed) {
            log::debug!("{} passes nothing on: {error}", group.display());
        }
    }
}

fn decide(facts: &Facts, needed: Vec<&'static str>) -> Result<Seat, CgroupError> {
    let limit = needed.first().copied().unwrap_or_default();
    if let Some((unit, false)) = &facts.unit {
        return Err(CgroupError::NotDelegated { limit, unit: unit.name.clone() });
    }
    if let Some(name) = facts.lacks(&needed) {
        return Err(CgroupError::Unavailable(name));
    }
    match facts.home {
        Home::Root => return Ok(Seat::Root(needed)),
        Home::Alone => return Ok(Seat::Vacated(needed)),
        Home::Shared if facts.unit.is_none() && facts.beside => return Ok(Seat::Beside(needed)),
        Home::Shared => {}
    }
    Err(CgroupError::Shared { limit, group: facts.path.clone() })
}

/// Whether a group has a controller.
pub(super) fn has(folder: &Path, controller: &str) -> bool {
    folder.join(format!("{controller}.max")).exists()
}

/// Writes what is asked of one controller.
pub(super) fn limit(leaf: &Leaf, controller: &str, limits: &Limits) -> Result<(), PathError> {
    match controller {
        "memory" => {
            leaf.write("memory.max", &limits.memory.map_or("max".to_owned(), |n| n.to_string()))?;
            // As in version 1, memory and swap together stay below the limit.
            if let Err(error) = leaf.write("memory.swap.max", "0") {
                log::debug!("swap is not limited: {error}");
            }
        }
        "cpu" => {
            if let Some(milli) = limits.cpu_milli {
                let (quota, period) = quota(milli);
                leaf.write("cpu.max", &format!("{quota} {period}"))?;
            }
            if let Some(shares) = limits.cpu_shares {
                leaf.write("cpu.weight", &weight(shares).to_string())?;
            }
        }
        _ => leaf.write("pids.max", &limits.pids.map_or("max".to_owned(), |n| n.to_string()))?,
    }
    Ok(())
}

/// What a group uses. Files of controllers that it does not have are not there.
pub(super) fn usage(folder: &Path) -> Usage {
    let number = |file: &str| fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok();
    let cpu = words(&folder.join("cpu.stat"));
    let cpu = cpu.iter().skip_while(|word| *word != "usage_usec").nth(1);
    Usage {
        memory: number("memory.current"),
        cpu: cpu.and_then(|text| text.parse().ok()),
        tasks: number("pids.current"),
    }
}

/// The weight for shares, whose range is 2 to 262144, as other runtimes convert it.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9_999 / 262_142
}

/// Moves the caller back to where it came from, after all else in its group has ended.
pub(super) fn return_to(parent: &Path) -> Result<(), PathError> {
    let door = parent.join("cgroup.procs");
    fs::write(&door, "0").at("write", &door)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            path: "/a/b".to_owned(),
            available: ["cpu", "memory", "pids"].map(str::to_owned).to_vec(),
            beside: true,
            ..Facts::default()
        }
    }

    fn unit(path: &str, delegated: bool) -> Option<(Unit, bool)> {
        Unit::of(path).map(|unit| (unit, delegated))
    }

    #[test]
    fn a_place_is_found_where_limits_hold() {
        let needed = || vec!["memory", "cpu"];
        let decided = |facts: Facts| decide(&facts, needed());
        assert_eq!(decided(Facts { home: Home::Root, ..facts() }).unwrap(), Seat::Root(needed()));
        assert_eq!(decided(facts()).unwrap(), Seat::Vacated(needed()));
        assert_eq!(
            decided(Facts { home: Home::Shared, ..facts() }).unwrap(),
            Seat::Beside(needed())
        );
        let delegated = Facts { unit: unit("/m.slice/a.service", true), ..facts() };
        assert_eq!(decided(delegated).unwrap(), Seat::Vacated(needed()));
    }

    #[test]
    fn a_limit_that_would_not_hold_is_refused() {
        let told = |facts: Facts| decide(&facts, vec!["memory"]).unwrap_err().to_string();
        let limited = Facts { home: Home::Shared, beside: false, ..facts() };
        assert!(told(limited).contains("other processes share the control group \"/a/b\""));
        let unit_of = unit("/system.slice/web.service", false);
        let told_unit = told(Facts { unit: unit_of, ..facts() });
        assert!(
            told_unit.contains("web.service") && told_unit.contains("Delegate=yes"),
            "{told_unit}"
        );
        let shared = Facts { home: Home::Shared, unit: unit("/a.service", true), ..facts() };
        assert!(told(shared).contains("other processes"));
        let poor = Facts { available: vec!["cpu".to_owned()], ..facts() };
        assert!(told(poor).contains("no memory controller"));
    }

    #[test]
    fn a_limit_is_told_from_none() {
        let free = |name: &str, text: &str| leaves_free(name, || format!("{text}\n"));
        for (name, text) in [
            ("memory.max", "max"),
            ("cpu.max", "max 100000"),
            ("io.max", ""),
            ("cpu.weight", "100"),
            ("io.weight", "default 100"),
            ("cpu.idle", "0"),
            ("cpuset.cpus", ""),
            ("memory.current", "5"),
        ] {
            assert!(free(name, text), "{name} {text}");
        }
        for (name, text) in [
            ("pids.max", "100"),
            ("pids.max", "0"),
            ("memory.high", "0"),
            ("cpu.max", "50000 100000"),
            ("io.max", "8:0 rbps=1"),
            ("cpu.weight", "20"),
            ("cpu.idle", "1"),
            ("cpuset.mems", "0"),
        ] {
            assert!(!free(name, text), "{name} {text}");
        }
    }

    #[test]
    fn shares_become_weights() {
        assert_eq!([0, 2, 1024, 262_144, u64::MAX].map(weight), [1, 1, 39, 10_000, 10_000]);
    }
}
