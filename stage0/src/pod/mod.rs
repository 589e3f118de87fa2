//! The life of pods: folders, locks and renames, as nothing else keeps a pod's state.

mod references;

use std::path::{Path, PathBuf};

/// The folders below `DATA/pods`, each of which stands for states of the pods in it.
#[derive(Debug)]
pub struct PodsDir {
    path: PathBuf,
}

impl PodsDir {
    /// The pods of a data directory, which need not exist yet.
    pub fn open(data: &Path) -> Self {
        Self { path: data.join("pods") }
    }
}
