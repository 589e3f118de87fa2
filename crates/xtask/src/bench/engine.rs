//! podman with storage of its own, gone afterwards.

use crate::error::TaskError;
use crate::ground::{Ground, names};
use crate::say;
use crate::workspace::{call, read};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const GROUPS: &str = "/sys/fs/cgroup";

/// podman with storage of its own.
#[derive(Debug)]
pub(super) struct Engine {
    root: String,
    /// podman wants a short path here.
    state: PathBuf,
    /// The groups around its containers that it makes and leaves.
    groups: Vec<PathBuf>,
}

impl Engine {
    /// Chooses the places; podman makes what it finds missing.
    pub(super) fn new(ground: &Ground) -> Self {
        let state = std::env::temp_dir().join(format!("rkt-engine-{}", std::process::id()));
        let group = |controller: String| Path::new(GROUPS).join(controller).join("libpod_parent");
        let groups = names(Path::new(GROUPS)).into_iter().map(group).filter(|path| !path.exists());
        Self { root: ground.word("engine"), state, groups: groups.collect() }
    }

    /// The words that call it.
    pub(super) fn words(&self, words: &[&str]) -> Vec<String> {
        let state = self.state.to_string_lossy();
        let own =
            ["podman", "--root", &self.root, "--runroot", &state, "--cgroup-manager=cgroupfs"];
        own.into_iter().chain(words.iter().copied()).map(str::to_owned).collect()
    }

    /// Stores a folder as an image called `bench`.
    pub(super) fn import(&self, ground: &Ground) -> Result<(), TaskError> {
        let archive = ground.word("root.tar");
        let mut tar = Command::new("tar");
        call(tar.args(["-cf", &archive, "-C"]).arg(ground.root()).arg("."))?;
        let words = self.words(&["import", "--quiet", &archive, "bench"]);
        read(Command::new("podman").args(words.iter().skip(1))).map(drop)
    }

    /// The shell command that forgets its state; what is stored can then be moved or removed, since podman binds its
    /// storage onto itself.
    pub(super) fn release(&self) -> String {
        let (root, state) = (&self.root, self.state.display());
        format!(
            "if mountpoint -q {root}/overlay; then umount {root}/overlay; fi; rm -rf --one-file-system {state}"
        )
    }

    fn removal(&self) -> String {
        format!("{}; rm -rf --one-file-system {}", self.release(), self.root)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Err(error) = call(Command::new("sh").args(["-ec", &self.removal()])) {
            say::problem(&error);
        }
        for group in &self.groups {
            drop(fs::remove_dir(group.join("conmon")));
            drop(fs::remove_dir(group));
        }
    }
}
