//! Where the programs of plugins are.

use super::PluginError;
use crate::name::PluginType;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where administrators put plugins for rkt.
const SYSTEM: &str = "/usr/lib/rkt/plugins/net";
/// Where everybody else puts plugins.
const SHARED: &str = "/opt/cni/bin";
/// Where a stage1 has its own.
const STAGE1: &str = "usr/lib/rkt/plugins/net";
/// No variable of the environment names more folders.
const FOLDER_LIMIT: usize = 256;

/// The folders in which plugins are looked up, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginPath(Vec<PathBuf>);

impl PluginPath {
    /// The user's folder of networks, rkt's folders, those of `CNI_PATH` in the caller's environment, `/opt/cni/bin`.
    pub fn new(local_config: &Path, stage1_root: &Path, cni_path: Option<&OsStr>) -> Self {
        let mut folders =
            vec![local_config.join("net.d"), PathBuf::from(SYSTEM), stage1_root.join(STAGE1)];
        let given = cni_path.map(std::env::split_paths).into_iter().flatten();
        // A folder relative to who knows what is nobody's wish.
        folders.extend(given.filter(|folder| folder.is_absolute()).take(FOLDER_LIMIT));
        folders.push(PathBuf::from(SHARED));
        let mut seen = Vec::new();
        for folder in folders {
            // A colon would make two of it.
            if !seen.contains(&folder) && !folder.as_os_str().as_bytes().contains(&b':') {
                seen.push(folder);
            }
        }
        Self(seen)
    }

    /// These folders alone.
    pub fn of(folders: impl IntoIterator<Item = PathBuf>) -> Self {
        Self(folders.into_iter().collect())
    }

    /// The folders.
    pub fn folders(&self) -> &[PathBuf] {
        &self.0
    }

    /// The value of `CNI_PATH` for plugins, which call other plugins.
    pub fn variable(&self) -> OsString {
        std::env::join_paths(&self.0).unwrap_or_default()
    }

    /// The first regular file of this name that may be executed.
    ///
    /// # Errors
    /// There is none.
    pub fn find(&self, kind: &PluginType) -> Result<PathBuf, PluginError> {
        let paths = self.0.iter().map(|folder| folder.join(kind.as_str()));
        let usable = |path: &PathBuf| {
            path.metadata()
                .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
        };
        paths.into_iter().find(usable).ok_or_else(|| PluginError::NotFound(kind.clone()))
    }
}
