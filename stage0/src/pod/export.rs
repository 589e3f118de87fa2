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
    /// What it wrote is not on this host in the form of files.
    #[error("the pod's stage1 keeps what apps write where it cannot be exported from")]
    NoFiles,
    /// It was on this host only as long as the pod ran.
    #[error("what its apps wrote is gone: such a pod can only be exported while it runs")]
    Gone,
    /// Its root cannot be put together.
    #[error("cannot put the app's root together")]
    Root(#[source] PathError),
    /// It cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Somebody deletes it: parts may be missing, and nobody would see.
    #[error("pod was removed while it was exported")]
    Removed,
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
        if interface.app_roots == AppRoots::Erofs {
            let could = interface.export.is_some();
            return Err(if could { ExportError::Gone } else { ExportError::NoFiles });
        }
        let root = if let Some(layers) = dir.app_layers(app)? {
            self.stacked(app, interface, layers)?
        } else {
            let name = match interface.app_roots {
                AppRoots::Layers | AppRoots::Erofs => PodDir::app_file(app, "rootfs"),
                AppRoots::Mounted => pod_dir::mounted_root(app),
            };
            folder(&dir.path().join(name)).map_err(ExportError::Root)?
        };
        let out = aci(out, &manifest, &Merged::new(vec![root]), Times::Keep)?;
        // A lock of ours would keep a collector busy for as long as this takes.
        let whole = self.is_whole().map_err(PodDirError::from)?;
        if whole { Ok(out) } else { Err(ExportError::Removed) }
    }

    /// The stack that the app ran on, with what it wrote as the topmost layer; nothing can be written any more.
    fn stacked(
        &self,
        app: &str,
        interface: &Stage1Interface,
        mut layers: Vec<PathBuf>,
    ) -> Result<OwnedFd, ExportError> {
        let own = Path::new(pod_dir::OVERLAY);
        let uppers = match interface.app_roots {
            // Where they are, and where older builds put them.
            AppRoots::Layers | AppRoots::Erofs => {
                vec![PodDir::app_upper(app).into(), own.join(app).join("upper")]
            }
            AppRoots::Mounted => {
                let tree = self.dir.read_text(&PodDir::app_file(app, "treeStoreID"))?;
                vec![own.join(tree.unwrap_or_default()).join("upper").join(app)]
            }
        };
        let mut uppers = uppers.into_iter().map(|upper: PathBuf| self.dir.path().join(upper));
        layers.extend(uppers.find(|upper| upper.is_dir()));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::{Folder, PodsDir};
    use appc::{ImageManifest, PodUuid};
    use std::fs;
    use std::io;
    use sys::lock::{LockFd, Mode as Lock};

    /// Does something when the first bytes come.
    struct Then<'a>(Option<Box<dyn FnOnce() + 'a>>);

    impl Write for Then<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if let Some(then) = self.0.take() {
                then();
            }
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_pod_that_is_deleted_meanwhile_is_not_half_exported() {
        let data = std::env::temp_dir().join(format!("rkt-export-{}", std::process::id()));
        let pods = PodsDir::open(&data);
        let uuid = PodUuid::from_random([7; 16]);
        let path = pods.pod_path(Folder::Run, uuid);
        let stage1 = r#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"s","annotations":[
            {"name":"coreos.com/rkt/stage1/run","value":"/run"},
            {"name":"coreos.com/rkt/stage1/app-roots","value":"layers"}]}"#;
        let stage1 = ImageManifest::from_json(stage1.as_bytes()).unwrap();
        let interface = Stage1Interface::from_manifest(&stage1).unwrap();
        let export = |then: Box<dyn FnOnce() + '_>| {
            fs::create_dir_all(path.join("appsinfo/a/rootfs")).unwrap();
            fs::write(path.join("appsinfo/a/manifest"), "{}").unwrap();
            let pod = pods.look(Folder::Run, uuid).unwrap().unwrap();
            pod.export("a", &interface, Then(Some(then))).map(drop)
        };
        export(Box::new(|| ())).unwrap();
        // The mark of a collector takes nothing away.
        let marked = pods.pod_path(Folder::ExitedGarbage, uuid);
        fs::create_dir_all(marked.parent().unwrap()).unwrap();
        export(Box::new(|| fs::rename(&path, &marked).unwrap())).unwrap();
        fs::remove_dir_all(&marked).unwrap();
        let gone = export(Box::new(|| fs::remove_dir_all(&path).unwrap()));
        let mut held = None;
        let locked = export(Box::new(|| {
            let folder = fs::File::open(&path).unwrap();
            held = Some(LockFd::wait(folder.into(), Lock::Exclusive).unwrap());
        }));
        let disks = Stage1Interface { app_roots: AppRoots::Erofs, ..interface.clone() };
        let gives = Stage1Interface { export: Some("export".into()), ..disks.clone() };
        let pod = pods.look(Folder::Run, uuid).unwrap().unwrap();
        let inside = pod.export("a", &disks, io::sink()).map(drop);
        let late = pod.export("a", &gives, io::sink()).map(drop);
        fs::remove_dir_all(&data).unwrap();
        assert!(matches!(inside, Err(ExportError::NoFiles)), "{inside:?}");
        assert!(matches!(late, Err(ExportError::Gone)), "{late:?}");
        assert!(matches!(gone, Err(ExportError::Removed)), "{gone:?}");
        assert!(matches!(locked, Err(ExportError::Removed)), "{locked:?}");
    }
}
