//! What there is to tell about a pod, read from its folder.

use super::sighting::{Sighting, State};
use appc::json::Json;
use appc::{
    ImageId, ImageManifest, ManifestError, MountPoint, PodManifest, PodUuid, RuntimeApp, Volume,
    VolumeKind,
};
use stage1_abi::pod_dir::{self, PodDirError};
use stage1_abi::{AppStatus, PodDir};
use std::collections::BTreeMap;
use std::time::SystemTime;
use sys::path::PathError;

/// Where stage1 keeps the addresses of the pod.
const NETWORKS: &str = "net-info.json";

/// Why nothing can be told about a pod.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// A file of it.
    #[error(transparent)]
    Dir(#[from] PodDirError),
    /// Its manifest.
    #[error("pod {uuid}: bad pod manifest")]
    Manifest {
        /// The pod.
        uuid: PodUuid,
        /// What is wrong.
        #[source]
        source: ManifestError,
    },
}

impl From<PathError> for ViewError {
    fn from(error: PathError) -> Self {
        Self::Dir(error.into())
    }
}

/// One network of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// The network's name.
    pub name: String,
    /// The address in it.
    pub ip: String,
    /// The address of IPv6, where it has one.
    pub ip6: Option<String>,
    /// All that is known, under the names that are known to clients.
    pub members: Vec<(&'static str, String)>,
}

/// The state of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppState {
    /// The pod was not started.
    Created,
    /// It runs.
    Running,
    /// It is over.
    Exited,
    /// Its pod never became ready.
    Unknown,
}

impl AppState {
    /// As it is shown.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Exited => "exited",
            Self::Unknown => "unknown",
        }
    }
}

/// A volume in an app, as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountView {
    /// The volume.
    pub name: String,
    /// Where the app sees it.
    pub container_path: String,
    /// Where the host sees it.
    pub host_path: String,
    /// Whether the app cannot write it.
    pub read_only: bool,
}

/// What there is to tell about an app.
#[derive(Debug, Clone)]
pub struct AppView {
    /// Its name.
    pub name: String,
    /// Its image with the version; `None` if nobody knows.
    pub image_name: Option<String>,
    /// Its image.
    pub image_id: Option<ImageId>,
    /// Its state.
    pub state: AppState,
    /// How it ended.
    pub status: Option<AppStatus>,
    /// Its explicit mounts.
    pub mounts: Vec<MountView>,
    /// Free annotations.
    pub user_annotations: BTreeMap<String, String>,
    /// Free labels.
    pub user_labels: BTreeMap<String, String>,
}

/// What there is to tell about a pod.
#[derive(Debug, Clone)]
pub struct PodView {
    /// Its name.
    pub uuid: PodUuid,
    /// Its state.
    pub state: State,
    /// When it was made.
    pub created: Option<SystemTime>,
    /// When its processes began.
    pub started: Option<SystemTime>,
    /// Its networks.
    pub networks: Vec<Network>,
    /// The process to enter.
    pub pid: Option<i32>,
    /// Why it did not come to its end by itself, if it did not and its stage1 knows.
    pub failure: Option<String>,
    /// Its apps.
    pub apps: Vec<AppView>,
    /// Free annotations.
    pub user_annotations: BTreeMap<String, String>,
    /// Free labels.
    pub user_labels: BTreeMap<String, String>,
}

impl Sighting {
    /// The pod's manifest; `None` as long as there is none.
    pub fn manifest(&self) -> Result<Option<PodManifest>, ViewError> {
        let Some(bytes) = self.dir.read(pod_dir::MANIFEST)? else { return Ok(None) };
        PodManifest::from_json(&bytes)
            .map(Some)
            .map_err(|source| ViewError::Manifest { uuid: self.uuid, source })
    }

    /// What was read of the manifest, unless the manifest is bad for a good reason: it is being written, or who wrote it
    /// died. Only what is prepared is complete.
    pub(super) fn complete<T>(
        &self,
        read: Result<T, ManifestError>,
    ) -> Result<Option<T>, ViewError> {
        match read {
            Ok(found) => Ok(Some(found)),
            Err(_) if !self.state.has_run() && self.state != State::Prepared => Ok(None),
            Err(source) => Err(ViewError::Manifest { uuid: self.uuid, source }),
        }
    }

    /// All that the folder tells.
    pub fn view(&self) -> Result<PodView, ViewError> {
        let (dir, ran) = (&self.dir, self.state.has_run());
        let manifest = match dir.read(pod_dir::MANIFEST)? {
            Some(bytes) => self.complete(PodManifest::from_json(&bytes))?,
            None => None,
        };
        let manifest = manifest.unwrap_or_default();
        let status_dir = if ran { dir.state_dir()? } else { String::new() };
        let mut apps = Vec::with_capacity(manifest.apps.len());
        for app in &manifest.apps {
            let name = app.name.as_str();
            // A status that cannot be read is as good as none.
            let status =
                if ran { dir.status_in(&status_dir, name).unwrap_or_default() } else { None };
            apps.push(self.app(app, &manifest.volumes, status));
        }
        Ok(PodView {
            uuid: self.uuid,
            state: self.state,
            created: dir.created()?,
            started: if ran { dir.started()? } else { None },
            networks: if ran { networks(dir)? } else { Vec::new() },
            pid: if ran { dir.pid().unwrap_or_default() } else { None },
            failure: if self.state.is_over() { dir.failure()? } else { None },
            apps,
            user_annotations: manifest.user_annotations,
            user_labels: manifest.user_labels,
        })
    }

    fn app(&self, app: &RuntimeApp, volumes: &[Volume], status: Option<AppStatus>) -> AppView {
        let image_name = match &app.image.name {
            Some(name) => Some(versioned(name.as_str(), app.image.version())),
            None => self.image_name(app.name.as_str()),
        };
        let section = app.app.as_ref();
        let points = section.map_or(&[][..], |section| &section.mount_points);
        AppView {
            name: app.name.to_string(),
            image_name,
            image_id: app.image.id.clone(),
            state: match (self.state, status) {
                (_, Some(_)) => AppState::Exited,
                (State::Running, None) => AppState::Running,
                (state, None) if state.is_over() => AppState::Exited,
                (State::Prepared | State::Preparing, None) => AppState::Created,
                (_, None) => AppState::Unknown,
            },
            status,
            mounts: app
                .mounts
                .iter()
                .filter_map(|mount| {
                    let named = || volumes.iter().find(|volume| volume.name == mount.volume);
                    let volume = mount.app_volume.as_ref().or_else(named)?;
                    Some(self.mount(&mount.path, volume, points))
                })
                .collect(),
            user_annotations: section.map(|app| app.user_annotations.clone()).unwrap_or_default(),
            user_labels: section.map(|app| app.user_labels.clone()).unwrap_or_default(),
        }
    }

    fn mount(&self, path: &str, volume: &Volume, points: &[MountPoint]) -> MountView {
        let declared = points.iter().any(|point| point.name == volume.name && point.read_only);
        let host_path = match &volume.kind {
            VolumeKind::Host { source } => source.clone(),
            VolumeKind::Empty { .. } => {
                let own = self.dir.path().join(pod_dir::VOLUMES).join(volume.name.as_str());
                own.display().to_string()
            }
        };
        MountView {
            name: volume.name.to_string(),
            container_path: path.to_owned(),
            host_path,
            read_only: volume.read_only.unwrap_or(declared),
        }
    }

    /// The name in the image manifest that the pod keeps.
    pub(super) fn image_name(&self, app: &str) -> Option<String> {
        let bytes = self.dir.read(&PodDir::app_file(app, "manifest")).ok()??;
        let manifest = ImageManifest::from_json(&bytes).ok()?;
        Some(versioned(manifest.name.as_str(), manifest.label("version")))
    }
}

/// The name of an image as listings show it.
pub(super) fn versioned(name: &str, version: Option<&str>) -> String {
    match version {
        Some(version) => format!("{name}:{version}"),
        None => name.to_owned(),
    }
}

pub(super) fn networks(dir: &PodDir) -> Result<Vec<Network>, ViewError> {
    const KEYS: [&str; 7] = ["netName", "netConf", "pluginPath", "ifName", "ip", "args", "mask"];
    let Some(bytes) = dir.read(NETWORKS)? else { return Ok(Vec::new()) };
    let bad = || PodDirError::Content { path: NETWORKS.to_owned(), problem: "is not understood" };
    let Ok(Json::List(list)) = Json::parse(&bytes) else { return Err(bad().into()) };
    let text = |json: &Json, key| json.get(key).and_then(Json::as_text).unwrap_or("").to_owned();
    let network = |json: &Json| {
        let ip6 = text(json, "ip6");
        let mut members: Vec<_> = KEYS.iter().map(|key| (*key, text(json, key))).collect();
        if !ip6.is_empty() {
            members.push(("ip6", ip6.clone()));
        }
        let ip6 = Some(ip6).filter(|ip| !ip.is_empty());
        Network { name: text(json, "netName"), ip: text(json, "ip"), ip6, members }
    };
    Ok(list.iter().map(network).collect())
}
