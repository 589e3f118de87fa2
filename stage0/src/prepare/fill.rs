//! Filling a pod's folder.

use super::error::{LONGEST_NAME, PrepareError};
use super::request::{Content, Overlay, PodRequest};
use super::{merge, overlay, ports, volumes};
use crate::pod::{Filled, Pod, PodsDir, Preparing};
use crate::render::{self, Ready};
use crate::store::Store;
use appc::{Annotation, ImageId, ImageManifest, PodManifest};
use archive::merge::Merged;
use rustix::fs::{CWD, Mode, OFlags, openat, symlinkat};
use stage1_abi::annotations::MUTABLE;
use stage1_abi::{AppRoots, PodDir, RootSharing, Stage1Interface, pod_dir};
use std::collections::BTreeMap;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use sys::lock::{LockFd, Mode as Lock};
use sys::path::{At as _, PathError};

/// A pod that is ready to run, and what its user should know.
#[derive(Debug)]
pub struct Prepared {
    /// The pod.
    pub pod: Pod<Filled>,
    /// What its stage1 says of itself.
    pub interface: Stage1Interface,
    /// Lines for the user.
    pub notes: Vec<String>,
}

/// The image that runs a pod, with its trees. As long as this is held, no tree is collected: until the pod's folder
/// names its trees, nobody else knows of them.
#[derive(Debug)]
pub struct Stage1 {
    trees: Trees,
    interface: Stage1Interface,
    _trees_stay: LockFd,
}

impl Stage1 {
    /// Gets it ready.
    pub fn ready(store: &Store, id: &ImageId) -> Result<Self, PrepareError> {
        let trees_stay = store.prepare_lock(Lock::Shared)?;
        log::debug!(target: "stage0", "Preparing stage1");
        let trees = Trees::of(store, id)?;
        let interface = Stage1Interface::from_manifest(&trees.manifest)
            .map_err(|source| PrepareError::Stage1 { image: id.clone(), source })?;
        Ok(Self { trees, interface, _trees_stay: trees_stay })
    }

    /// What it says of itself.
    pub fn interface(&self) -> &Stage1Interface {
        &self.interface
    }

    /// The trees it is made of, the lowest first.
    pub fn trees(&self) -> &[PathBuf] {
        &self.trees.ready.layers
    }
}

/// Fills a pod. One that cannot be filled leaves nothing.
pub fn prepare(
    pods: &PodsDir,
    store: &Store,
    pod: Pod<Preparing>,
    stage1: Stage1,
    request: &PodRequest,
) -> Result<Prepared, PrepareError> {
    match fill(store, pod.dir(), &stage1, request) {
        Ok(notes) => Ok(Prepared { pod: pod.filled(), interface: stage1.interface, notes }),
        Err(error) => {
            if let Err(left) = pod.discard(pods) {
                log::warn!("a pod that could not be prepared stays until it is collected: {left}");
            }
            Err(error)
        }
    }
}

/// An image with its trees.
#[derive(Debug)]
struct Trees {
    id: ImageId,
    ready: Ready,
    manifest: ImageManifest,
}

impl Trees {
    fn of(store: &Store, id: &ImageId) -> Result<Self, PrepareError> {
        let ready = render::ready(store, id)?;
        let manifest = ImageManifest::from_json(&ready.manifest)
            .map_err(|source| PrepareError::ImageManifest { image: id.clone(), source })?;
        Ok(Self { id: id.clone(), ready, manifest })
    }
}

fn fill(
    store: &Store,
    dir: &PodDir,
    stage1: &Stage1,
    request: &PodRequest,
) -> Result<Vec<String>, PrepareError> {
    let mut notes = Vec::new();
    let (manifest, images) = manifest(store, &request.content)?;

    let stacked = match request.overlay {
        Overlay::Never => false,
        Overlay::IfPossible => match overlay::missing(dir.as_fd()) {
            None => true,
            Some(reason) => {
                notes.push(format!("disabling overlay support: {reason:?}"));
                false
            }
        },
    };
    write_stage1(dir, stage1, stacked)?;
    dir.ensure_dir(pod_dir::APPS, 0o750)?;
    for app in &manifest.apps {
        let name = app.name.as_str();
        let Some(trees) = app.image.id.as_ref().and_then(|id| images.get(id)) else {
            return Err(PrepareError::NoImage(app.name.clone()));
        };
        write_app(dir, name, trees)?;
        if stage1.interface.app_roots == AppRoots::Erofs {
            // Whoever attaches disks stacks them itself, whatever this host can stack.
            let disks = render::disks(store, &trees.ready)?;
            dir.write(&PodDir::app_file(name, "layers"), &lines(&disks))?;
        } else if stacked {
            dir.write(&PodDir::app_file(name, "layers"), &lines(&trees.ready.layers))?;
        } else {
            copy(dir, &copied_root(&stage1.interface, name), &trees.ready.layers)?;
        }
    }
    log::debug!(target: "stage0", "Writing pod manifest");
    dir.write(pod_dir::MANIFEST, manifest.to_json().as_bytes())?;
    Ok(notes)
}

/// The pod's manifest, checked, and the trees of its images.
fn manifest(
    store: &Store,
    content: &Content,
) -> Result<(PodManifest, BTreeMap<ImageId, Trees>), PrepareError> {
    let mut images = BTreeMap::new();
    let mut manifest = match content {
        Content::Manifest(given) => {
            let mut manifest = PodManifest::clone(given);
            for app in &mut manifest.apps {
                let id = match (&app.image.id, &app.image.name) {
                    (Some(id), _) => store.find_id(id.as_str())?,
                    (None, Some(name)) => store.find_name(name, &app.image.labels)?,
                    (None, None) => return Err(PrepareError::NoImage(app.name.clone())),
                };
                let trees = Trees::of(store, &id)?;
                merge::check_labels(&trees.manifest)?;
                if app.app.is_none() {
                    app.app.clone_from(&trees.manifest.app);
                }
                if app.app.is_none() {
                    return Err(PrepareError::NoApp(id));
                }
                app.image = merge::runtime_image(&trees.manifest, &id);
                images.insert(id, trees);
            }
            manifest
        }
        Content::Apps { apps, everyone, volumes, ports } => {
            let mut merged = Vec::with_capacity(apps.len());
            for app in apps {
                let trees = Trees::of(store, &app.image)?;
                merged.push(merge::app(&trees.manifest, app, everyone)?);
                images.insert(app.image.clone(), trees);
            }
            PodManifest {
                ac_version: crate::VERSION.to_owned(),
                apps: merged,
                volumes: volumes.clone(),
                ports: ports.clone(),
                ..PodManifest::default()
            }
        }
    };
    check(&mut manifest)?;
    Ok((manifest, images))
}

fn check(manifest: &mut PodManifest) -> Result<(), PrepareError> {
    if manifest.apps.is_empty() {
        return Err(PrepareError::NoApps);
    }
    for (place, app) in manifest.apps.iter().enumerate() {
        let length = app.name.as_str().len();
        if length > LONGEST_NAME {
            return Err(PrepareError::LongName(length));
        }
        if manifest.apps.iter().take(place).any(|other| other.name == app.name) {
            return Err(PrepareError::SameName(app.name.clone()));
        }
    }
    volumes::check(manifest)?;
    ports::check(manifest)?;
    if manifest.annotation(MUTABLE).is_none()
        && let Ok(name) = appc::AcIdentifier::parse(MUTABLE)
    {
        manifest.annotations.push(Annotation { name, value: "false".to_owned() });
    }
    Ok(())
}

/// Whether a stage1's root is used as it lies in the store.
fn is_shared(interface: &Stage1Interface, layers: &[PathBuf]) -> bool {
    interface.root == RootSharing::Shared
        && interface.app_roots != AppRoots::Mounted
        && layers.len() == 1
}

fn write_stage1(dir: &PodDir, stage1: &Stage1, stacked: bool) -> Result<(), PathError> {
    let Stage1 { trees: Trees { ready, .. }, interface, .. } = stage1;
    let layers = &ready.layers;
    dir.ensure_dir(pod_dir::STAGE1, 0o755)?;
    log::debug!(target: "stage0", "Writing image manifest");
    dir.write(pod_dir::STAGE1_MANIFEST, &ready.manifest)?;
    dir.write(pod_dir::STAGE1_TREE, ready.tree_id.as_bytes())?;
    match layers.first() {
        Some(only) if is_shared(interface, layers) => {
            let link = pod_dir::STAGE1_ROOT;
            symlinkat(only, dir.as_fd(), link).at("symlink", dir.path().join(link))
        }
        _ => {
            dir.write(pod_dir::STAGE1_LAYERS, &lines(layers))?;
            dir.ensure_dir(pod_dir::STAGE1_ROOT, 0o755)?;
            if stacked {
                dir.write(pod_dir::OVERLAY_PREPARED, b"")
            } else {
                copy(dir, pod_dir::STAGE1_ROOT, layers)
            }
        }
    }
}

fn write_app(dir: &PodDir, name: &str, trees: &Trees) -> Result<(), PathError> {
    dir.ensure_dir(&format!("{}/{name}", pod_dir::APPS), 0o750)?;
    log::debug!(target: "stage0", "Loading image {}", trees.id);
    log::debug!(target: "stage0", "Writing image manifest");
    dir.write(&PodDir::app_file(name, "manifest"), &trees.ready.manifest)?;
    dir.write(&PodDir::app_file(name, "treeStoreID"), trees.ready.tree_id.as_bytes())
}

/// Where an app's root is copied to when it is not stacked.
fn copied_root(interface: &Stage1Interface, name: &str) -> String {
    match interface.app_roots {
        AppRoots::Layers | AppRoots::Erofs => PodDir::app_file(name, "rootfs"),
        AppRoots::Mounted => pod_dir::mounted_root(name),
    }
}

/// Copies a stack of layers into a folder of the pod, made first.
fn copy(dir: &PodDir, name: &str, layers: &[PathBuf]) -> Result<(), PathError> {
    let into = sys::beneath::ensure(dir.as_fd(), Path::new(name), sys::beneath::Make::Folder)
        .at("mkdir", dir.path().join(name))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut open = Vec::with_capacity(layers.len());
    for layer in layers {
        open.push(openat(CWD, layer, flags, Mode::empty()).at("open", layer)?);
    }
    // What was made may be open for its path only.
    let into = openat(&into, ".", flags, Mode::empty()).at("open", dir.path().join(name))?;
    Merged::new(open).copy_to(into.as_fd())
}

/// Paths, one a line.
fn lines(paths: &[PathBuf]) -> Vec<u8> {
    paths
        .iter()
        .flat_map(|path| path.as_os_str().as_bytes().iter().copied().chain([b'\n']))
        .collect()
}
