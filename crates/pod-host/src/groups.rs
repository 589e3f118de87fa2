//! The control groups of a pod: one for all of it, and one an app inside where apps differ or have limits.

use crate::error::RunError;
use crate::scope;
use stage1_abi::{PodDir, pod_dir};
use sys::cgroup::{self, CgroupError, Group, Limits, Place, Record};

/// The groups, made and limited.
#[derive(Debug)]
pub struct Groups {
    record: Record,
    /// One an app, in their order.
    pub apps: Vec<Group>,
}

impl Groups {
    /// Makes them, for apps with these names and limits. Under systemd, a pod that was started by hand gets a scope of its own first.
    ///
    /// # Errors
    /// What an app asks for cannot be had: nothing is left then.
    pub fn make(uuid: &str, apps: &[(&str, Limits)], dir: &PodDir) -> Result<Self, RunError> {
        let limits: Vec<Limits> = apps.iter().map(|(_, limits)| *limits).collect();
        let mut place = Place::of_self(&limits)?;
        if cgroup::has_systemd() && place.is_of_a_session() {
            if let Err(error) = scope::enter(uuid) {
                log::debug!("no scope of its own for the pod: {error}");
            }
            // Also after a failure: a job that was not waited for may have been done.
            place = Place::of_self(&limits)?;
        }
        let place = place.settle(&limits)?;
        let name = cgroup::pod_group(uuid);
        let record = place.record(&name);
        // Recorded before it is made: whoever cleans up after us finds it.
        dir.write(pod_dir::SUBCGROUP, record.text().as_bytes())?;
        let apps = fill(apps, &place, &name).inspect_err(|_| leave(&record))?;
        Ok(Self { record, apps })
    }

    /// Removes them, with nobody left but the caller.
    pub fn remove(&self) {
        leave(&self.record);
    }
}

fn fill(apps: &[(&str, Limits)], place: &Place, name: &str) -> Result<Vec<Group>, CgroupError> {
    let group = place.make(name)?;
    let groups = match apps {
        [_] if !group.needs_inner() => vec![group],
        apps => apps.iter().map(|(app, _)| group.inner(app)).collect::<Result<_, _>>()?,
    };
    for ((_, limits), group) in apps.iter().zip(&groups) {
        group.limit(limits)?;
    }
    Ok(groups)
}

fn leave(record: &Record) {
    if let Err(error) = record.leave() {
        log::debug!("{error}");
    }
}
