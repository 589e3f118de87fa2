//! What an app of a dead pod leaves: its root, with all that was changed in it.

use super::sighting::Sighting;
use archive::merge::Merged;
use archive::write::{Times, WriteError, aci};
use rustix::fs::{CWD, Mode, OFlags, openat};
use stage1_abi::pod_dir::{self, PodDirError};
use stage1_abi::{AppRoots, PodDir, Stage1Interface};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use sys::path::{At as _, PathError};

/// Why an app cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A file of the pod.
    #[error(transparent)]
    Dir(#[from] PodDirError),
    /// The app has no image manifest.
    #[error("app has no image manifest")]
    NoManifest,
    /// Its root cannot be put together.
    #[error("cannot put the app's root together")]
    Root(#[source] PathError),
    /// It cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl Sighting {
    /// Writes an app's root, as the app left it, and the manifest of its image as an ACI that is not compressed.
    pub fn export<W: Write>(
        &self,
        app: &str,
        interface: &Stage1Interface,
        out: W,
    ) -> Result<W, ExportError> {
        let dir = &self.dir;
        let manifest =
            dir.read(&PodDir::app_file(app, "manifest"))?.ok_or(ExportError::NoManifest)?;
        let root = if let Some(layers) = dir.app_layers(app)? {
            self.stacked(app, interface, layers)?
        } else {
            let name = match interface.app_roots {
                AppRoots::Layers => PodDir::app_file(app, "rootfs"),
                AppRoots::Mounted => pod_dir::mounted_root(app),
            };
            folder(&dir.path().join(name)).map_err(ExportError::Root)?
        };
        Ok(aci(out, &manifest, &Merged::new(vec![root]), Times::Keep)?)
    }

    /// The stack that the app ran on, with what it wrote as the topmost layer; nothing can be written any more.
    fn stacked(
        &self,
        app: &str,
        interface: &Stage1Interface,
        mut layers: Vec<PathBuf>,
    ) -> Result<OwnedFd, ExportError> {
        let own = Path::new(pod_dir::OVERLAY);
        let upper = match interface.app_roots {
            AppRoots::Layers => own.join(app).join("upper"),
            AppRoots::Mounted => {
                let tree = self.dir.read_text(&PodDir::app_file(app, "treeStoreID"))?;
                own.join(tree.unwrap_or_default()).join("upper").join(app)
            }
        };
        let upper = self.dir.path().join(upper);
        if upper.is_dir() {
            layers.push(upper);
        }
        if let [only] = layers.as_slice() {
            return folder(only).map_err(ExportError::Root);
        }
        let view = sys::mount::stack(&layers).at("mount", self.dir.path());
        let view = view.map_err(ExportError::Root)?;
        // What is mounted nowhere is reached through its descriptor alone, and goes with it.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(&view, ".", flags, Mode::empty())
            .at("open", self.dir.path())
            .map_err(ExportError::Root)
    }
}

fn folder(path: &Path) -> Result<OwnedFd, PathError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).at("open", path)
}
