//! The volumes of an app as data: which source is shown at which path, in which order, with which rights.

use crate::spec::wire;
use appc::{Mount, RuntimeApp, Volume, VolumeKind};
use serde::{Deserialize, Serialize};
use std::path::{Component, Path, PathBuf};
use sys::mount::Depth;

/// Where what is mounted comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Source {
    /// A folder, file or device of the host.
    Host(PathBuf),
    /// A folder of the pod's, made fresh with this mode and owner.
    Empty {
        /// Its name below the pod's volumes folder.
        name: String,
        /// Mode, with set-id and sticky bits.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
        /// Whether it starts with what the image has at the target.
        seeded: bool,
    },
}

/// Whether an app may write to a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// It may.
    ReadWrite,
    /// It may not.
    ReadOnly,
}

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MountStep {
    /// What.
    pub source: Source,
    /// Where, as the app sees it, cleaned.
    pub target: PathBuf,
    /// With which rights.
    pub access: Access,
    /// With mounts below the source, or without.
    #[serde(with = "wire::DepthWords")]
    pub depth: Depth,
}

/// The mounts of an app, parents before children.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MountPlan {
    /// In the order in which they are made.
    pub steps: Vec<MountStep>,
    /// Mount points of the image for which nobody gave a volume, and which therefore get an empty one.
    pub implicit: Vec<String>,
}

impl MountPlan {
    /// Whether something is mounted at this path or below it.
    pub fn covers(&self, path: &str) -> bool {
        self.steps.iter().any(|step| step.target.starts_with(path))
    }

    /// Whether something is mounted exactly here.
    pub fn has(&self, path: &str) -> bool {
        self.steps.iter().any(|step| step.target == Path::new(path))
    }
}

/// What flavours do differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Habits {
    /// Which of two mounts at one path counts.
    pub duplicates: Duplicates,
    /// Whether a host volume that does not say is recursive.
    pub depth: Depth,
    /// What becomes of a mount point without a volume.
    pub unfilled: Unfilled,
}

/// Which of two mounts at one path counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duplicates {
    /// The one given first.
    FirstWins,
    /// The one given last.
    LastWins,
}

/// What becomes of a mount point of the image for which there is no volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfilled {
    /// It gets an empty volume, which starts with the image's content where the image was converted from docker.
    Implicit {
        /// Whether it was.
        seeded: bool,
    },
    /// The pod does not start.
    Refused,
}

/// Mounts that make no sense.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PlanError {
    /// A mount names a volume that the pod does not have.
    #[error("could not find volume {0:?}")]
    NoVolume(String),
    /// No volume for a mount point, where one is needed.
    #[error("missing volume for mountpoint {0:?}")]
    Missing(String),
    /// A volume that this flavour cannot make.
    #[error("volume {0:?} of kind \"empty\" is not supported by this flavour")]
    Kind(String),
    /// One volume is mounted twice.
    #[error("duplicate mount given: {0:?}")]
    Duplicate(String),
    /// A mount and a mount point of one name disagree.
    #[error("conflicting path information from mount and mountpoint {0:?}")]
    Conflict(String),
    /// The mode of an empty volume is no octal number.
    #[error("bad mode {mode:?} of volume {volume:?}")]
    Mode {
        /// The volume.
        volume: String,
        /// Its mode.
        mode: String,
    },
    /// A target is not absolute.
    #[error("mount target {0:?} is not an absolute path")]
    Target(String),
}

/// Decides on the mounts of one app of a pod.
///
/// # Errors
/// See [`PlanError`].
pub fn plan(app: &RuntimeApp, volumes: &[Volume], habits: Habits) -> Result<MountPlan, PlanError> {
    let points = app.app.as_ref().map_or(&[][..], |a| a.mount_points.as_slice());
    let named = |name: &str| volumes.iter().find(|v| v.name.as_str() == name);
    let mut plan = MountPlan::default();
    for Mount { volume, path, app_volume } in &app.mounts {
        let name = volume.as_str();
        let source = app_volume
            .as_ref()
            .or_else(|| named(name))
            .ok_or_else(|| PlanError::NoVolume(name.into()))?;
        let point = points.iter().find(|p| p.name.as_str() == name);
        if habits.unfilled == Unfilled::Refused {
            if app.mounts.iter().filter(|other| other.volume.as_str() == name).count() > 1 {
                return Err(PlanError::Duplicate(name.into()));
            }
            if point.is_some_and(|p| clean(&p.path) != clean(path)) {
                return Err(PlanError::Conflict(name.into()));
            }
        }
        let read_only = source.read_only.unwrap_or_else(|| point.is_some_and(|p| p.read_only));
        plan.steps.push(step(source, path, read_only, habits)?);
    }
    for point in points {
        let name = point.name.as_str();
        let target = clean(&point.path);
        if plan.steps.iter().any(|s| Some(&s.target) == target.as_ref()) {
            continue;
        }
        let step = match (named(name), habits.unfilled) {
            (Some(volume), _) => {
                step(volume, &point.path, volume.read_only.unwrap_or(point.read_only), habits)?
            }
            (None, Unfilled::Refused) => return Err(PlanError::Missing(name.into())),
            (None, Unfilled::Implicit { seeded }) => {
                plan.implicit.push(name.to_owned());
                let name = format!("{}-{name}", app.name.as_str());
                let source = Source::Empty { name, mode: 0o755, uid: 0, gid: 0, seeded };
                let access = access(point.read_only);
                let target = target.ok_or_else(|| PlanError::Target(point.path.clone()))?;
                MountStep { source, target, access, depth: habits.depth }
            }
        };
        plan.steps.push(step);
    }
    plan.steps = in_order(plan.steps, habits.duplicates);
    Ok(plan)
}

fn step(
    volume: &Volume,
    path: &str,
    read_only: bool,
    habits: Habits,
) -> Result<MountStep, PlanError> {
    let name = volume.name.as_str().to_owned();
    let target = clean(path).ok_or_else(|| PlanError::Target(path.to_owned()))?;
    let source = match &volume.kind {
        VolumeKind::Host { source } => Source::Host(PathBuf::from(source)),
        VolumeKind::Empty { .. } if habits.unfilled == Unfilled::Refused => {
            return Err(PlanError::Kind(name));
        }
        VolumeKind::Empty { mode, uid, gid } => {
            let bad = || PlanError::Mode { volume: name.clone(), mode: mode.clone() };
            let bits = volume.mode_bits().filter(|bits| *bits <= 0o7777).ok_or_else(bad)?;
            Source::Empty { name: name.clone(), mode: bits, uid: *uid, gid: *gid, seeded: false }
        }
    };
    let depth = match volume.recursive {
        Some(true) => Depth::Recursive,
        Some(false) => Depth::Single,
        None => habits.depth,
    };
    Ok(MountStep { source, target, access: access(read_only), depth })
}

fn access(read_only: bool) -> Access {
    if read_only { Access::ReadOnly } else { Access::ReadWrite }
}

/// One step a target, parents before children.
fn in_order(steps: Vec<MountStep>, duplicates: Duplicates) -> Vec<MountStep> {
    let mut kept: Vec<MountStep> = Vec::new();
    for step in steps {
        match kept.iter_mut().find(|other| other.target == step.target) {
            None => kept.push(step),
            Some(other) if duplicates == Duplicates::LastWins => *other = step,
            Some(_) => {}
        }
    }
    kept.sort_by_key(|step| step.target.components().count());
    kept
}

/// An absolute path without `.`, `..` and double slashes; `None` for a relative one.
fn clean(path: &str) -> Option<PathBuf> {
    let path = Path::new(path);
    if !path.is_absolute() {
        return None;
    }
    let mut cleaned = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::ParentDir => drop(cleaned.pop()),
            Component::Normal(word) => cleaned.push(word),
            _ => {}
        }
    }
    Some(cleaned)
}

#[cfg(test)]
mod tests;
