//! What is written down of a group before it is made, so that whoever comes later finds it.
//!
//! ```text
//! machine.slice/web.service            the group to show to people and monitors
//! /sys/fs/cgroup/…/rkt-UUID            its folder, one a line and hierarchy
//! +memory +pids                        what the group around it passes on for its sake; only if it does
//! ```

use super::{Doors, inner_name, open_door, remove, remove_now, v2, version_of};
use crate::path::PathError;
use rustix::process::Pid;
use std::path::{Path, PathBuf};

/// A pod's control group, as it is written down.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// The group's path as the kernel would show it, without the leading slash.
    pub(super) shown: String,
    pub(super) folders: Vec<PathBuf>,
    pub(super) passed_on: Vec<&'static str>,
}

/// What the names of all pods' groups begin with.
const PREFIX: &str = "rkt-";

/// The name of a pod's control group.
pub fn pod_group(uuid: &str) -> String {
    format!("{PREFIX}{uuid}")
}

/// The controllers a record can name.
const CONTROLLERS: [&str; 3] = ["memory", "cpu", "pids"];

impl Record {
    /// Reads a record back. Folders that cannot be a pod's group are not ours to act on.
    pub fn parse(text: &str) -> Self {
        let mut lines = text.lines();
        let shown = lines.next().unwrap_or_default().to_owned();
        let mut record = Self { shown, ..Self::default() };
        for line in lines {
            if line.starts_with('+') {
                let named =
                    |c: &&'static str| line.split(' ').any(|w| w.strip_prefix('+') == Some(*c));
                record.passed_on = CONTROLLERS.into_iter().filter(|c| named(c)).collect();
                continue;
            }
            let folder = PathBuf::from(line);
            let name = folder.file_name().and_then(|last| last.to_str());
            if folder.is_absolute() && name.is_some_and(|name| name.starts_with(PREFIX)) {
                record.folders.push(folder);
            }
        }
        record
    }

    /// The record as text.
    pub fn text(&self) -> String {
        let mut text = self.shown.clone();
        for folder in &self.folders {
            text.push('\n');
            text.push_str(&folder.to_string_lossy());
        }
        if !self.passed_on.is_empty() {
            text.push('\n');
            let words: Vec<String> = self.passed_on.iter().map(|c| format!("+{c}")).collect();
            text.push_str(&words.join(" "));
        }
        text
    }

    /// The doors of the group, or of that of one app in it if there is one. What was never made is passed over.
    ///
    /// # Errors
    /// A group cannot be joined.
    pub fn doors(&self, app: Option<&str>) -> Result<Doors, PathError> {
        let mut doors = Vec::new();
        for folder in &self.folders {
            let version = version_of(folder);
            let inner = app.map(|app| folder.join(inner_name(app)));
            let door = match inner {
                Some(inner) => match open_door(&inner, version)? {
                    None => open_door(folder, version)?,
                    found => found,
                },
                None => open_door(folder, version)?,
            };
            doors.extend(door);
        }
        Ok(Doors(doors))
    }

    /// All processes in the group; none if it is gone.
    pub fn members(&self) -> Vec<Pid> {
        self.folders.iter().flat_map(|folder| super::members_below(folder)).collect()
    }

    /// Whether a process is in the group, wherever the group still exists.
    pub fn holds(&self, pid: Pid) -> bool {
        let has = |folder: &PathBuf| super::members_below(folder).contains(&pid);
        self.folders.iter().all(|folder| !folder.exists() || has(folder))
    }

    /// Kills all that is in the group; whether there was anything.
    ///
    /// # Errors
    /// A process may not be killed.
    pub fn kill(&self) -> Result<bool, PathError> {
        let mut any = false;
        for folder in &self.folders {
            any |= super::kill(folder)?;
        }
        Ok(any)
    }

    /// The record without what is not of this pod.
    #[must_use]
    pub fn of_pod(mut self, uuid: &str) -> Self {
        let name = pod_group(uuid);
        self.folders.retain(|folder| folder.file_name().is_some_and(|last| *last == *name));
        self
    }

    /// Removes the group, whose processes have ended, with the groups in it.
    ///
    /// # Errors
    /// Something still lives in it after a short while.
    pub fn remove(&self) -> Result<(), PathError> {
        let mut outcome = Ok(());
        for folder in &self.folders {
            // What one hierarchy keeps is no reason to leave the others.
            outcome = outcome.and(remove(folder));
            self.give_back(folder, None);
        }
        outcome
    }

    /// Removes the group if it is empty now; else it is left.
    ///
    /// # Errors
    /// Something lives in it.
    pub fn remove_now(&self) -> Result<(), PathError> {
        self.folders.iter().try_for_each(|folder| remove_now(folder))
    }

    /// Removes the group when all is over but the caller, who may have moved into it.
    ///
    /// # Errors
    /// Something still lives in it after a short while.
    pub fn leave(&self) -> Result<(), PathError> {
        if !self.passed_on.is_empty() {
            for folder in &self.folders {
                let Some(parent) = folder.parent() else { continue };
                for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                    let inside = entry.file_name();
                    if inside != v2::SUPERVISOR && entry.path().is_dir() {
                        remove(&entry.path())?;
                    }
                }
                v2::take_back(folder, &self.passed_on, Some(&folder.join(v2::SUPERVISOR)));
                self.give_back(folder, Some(folder));
                v2::return_to(parent)?;
            }
        }
        self.folders.iter().try_for_each(|folder| remove(folder))
    }

    fn give_back(&self, folder: &Path, but: Option<&Path>) {
        if self.passed_on.is_empty() {
            return;
        }
        let parent = folder.parent().unwrap_or(folder);
        if !v2::take_back(parent, &self.passed_on, but) {
            log::debug!("{} goes on passing controllers on", parent.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let record = Record {
            shown: "m.slice/a.service".to_owned(),
            folders: vec![PathBuf::from("/sys/fs/cgroup/m.slice/a.service/rkt-1")],
            passed_on: vec!["memory", "pids"],
        };
        assert_eq!(Record::parse(&record.text()), record);
        let plain = Record { passed_on: Vec::new(), ..record };
        assert_eq!(Record::parse(&plain.text()), plain);
    }

    #[test]
    fn a_record_that_names_something_else_is_not_acted_on() {
        let mut text =
            "x\n/sys/fs/cgroup/memory\nrkt-1\n/etc/rkt-1/..\n/sys/fs/cgroup/pids/rkt-1".to_owned();
        text.push_str("\n/sys/fs/cgroup/pids/rkt-2");
        let record = Record::parse(&text).of_pod("1");
        assert_eq!(record.folders, [PathBuf::from("/sys/fs/cgroup/pids/rkt-1")]);
        assert_eq!(Record::parse(""), Record::default());
    }
}
