//! What a line of a table tells about a pod.

use super::sighting::{Sighting, State};
use super::status::{Network, ViewError, networks, versioned};
use appc::{AppOutline, ImageId, PodUuid};
use stage1_abi::pod_dir;
use std::time::SystemTime;

/// An app of a pod, without how it goes.
#[derive(Debug, Clone)]
pub struct AppLine {
    /// Its name.
    pub name: String,
    /// Its image with the version; `None` if nobody knows.
    pub image_name: Option<String>,
    /// Its image.
    pub image_id: Option<ImageId>,
}

/// A pod, without what only its status tells.
#[derive(Debug, Clone)]
pub struct PodLine {
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
    /// Its apps.
    pub apps: Vec<AppLine>,
}

impl Sighting {
    /// What a table needs, at a fraction of the price of [`Self::view`].
    pub fn line(&self) -> Result<PodLine, ViewError> {
        let (dir, ran) = (&self.dir, self.state.has_run());
        let manifest = match dir.read(pod_dir::MANIFEST)? {
            Some(bytes) => AppOutline::of_pod(&bytes),
            None => Ok(Vec::new()),
        };
        let apps = self.complete(manifest)?.unwrap_or_default();
        Ok(PodLine {
            uuid: self.uuid,
            state: self.state,
            created: dir.created()?,
            started: if ran { dir.started()? } else { None },
            networks: if ran { networks(dir)? } else { Vec::new() },
            apps: apps.into_iter().map(|app| self.app_line(app)).collect(),
        })
    }

    fn app_line(&self, app: AppOutline) -> AppLine {
        let AppOutline { name, image_name: named, image_version, image_id } = app;
        AppLine {
            image_name: match named {
                Some(image) => Some(versioned(image.as_str(), image_version.as_deref())),
                None => self.image_name(name.as_str()),
            },
            name: name.to_string(),
            image_id,
        }
    }
}
