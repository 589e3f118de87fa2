//! What a user wishes of a pod, with its images found.

use appc::{
    AcName, Annotation, EnvVar, ExposedPort, ImageId, Isolator, Mount, PodManifest, Volume,
};
use std::collections::BTreeMap;

/// What a user wishes of one app; what is not said comes from its image.
#[derive(Debug, Clone)]
pub struct AppRequest {
    /// Its image.
    pub image: ImageId,
    /// Its name in the pod.
    pub name: Option<AcName>,
    /// The program, instead of the image's whole command line.
    pub exec: Option<String>,
    /// Further arguments.
    pub args: Vec<String>,
    /// Who runs it.
    pub user: Option<String>,
    /// As which group.
    pub group: Option<String>,
    /// Further groups.
    pub supplementary_gids: Option<Vec<i64>>,
    /// Where it starts.
    pub working_directory: Option<String>,
    /// Variables of this app.
    pub environment: Vec<EnvVar>,
    /// Volumes of this app.
    pub mounts: Vec<Mount>,
    /// Whether its root cannot be written.
    pub read_only: Option<bool>,
    /// Limits; each replaces the image's of the same name.
    pub isolators: Vec<Isolator>,
    /// What is said about it.
    pub annotations: Vec<Annotation>,
    /// Free annotations.
    pub user_annotations: BTreeMap<String, String>,
    /// Free labels.
    pub user_labels: BTreeMap<String, String>,
}

impl AppRequest {
    /// An app as its image describes it.
    pub fn of(image: ImageId) -> Self {
        Self {
            image,
            name: None,
            exec: None,
            args: Vec::new(),
            user: None,
            group: None,
            supplementary_gids: None,
            working_directory: None,
            environment: Vec::new(),
            mounts: Vec::new(),
            read_only: None,
            isolators: Vec::new(),
            annotations: Vec::new(),
            user_annotations: BTreeMap::new(),
            user_labels: BTreeMap::new(),
        }
    }
}

/// What is wished for every app.
#[derive(Debug, Clone, Default)]
pub struct Everyone {
    /// Variables set by flags.
    pub set_env: Vec<EnvVar>,
    /// Variables set by files, which flags beat.
    pub env_files: Vec<EnvVar>,
    /// The caller's own, for what nobody sets.
    pub inherited: Vec<EnvVar>,
    /// Volumes of every app.
    pub mounts: Vec<Mount>,
}

/// What runs.
#[derive(Debug, Clone)]
pub enum Content {
    /// Images with wishes.
    Apps {
        /// One app each.
        apps: Vec<AppRequest>,
        /// What is the same for all.
        everyone: Everyone,
        /// The pod's volumes.
        volumes: Vec<Volume>,
        /// What the host forwards.
        ports: Vec<ExposedPort>,
    },
    /// A pod manifest, taken as it is; its images are in the store.
    Manifest(Box<PodManifest>),
}

/// Whether roots may be stacked from shared trees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlay {
    /// Where the host can.
    IfPossible,
    /// Each pod gets a copy.
    Never,
}

/// What a user wishes of a pod.
#[derive(Debug, Clone)]
pub struct PodRequest {
    /// The image that runs it.
    pub stage1: ImageId,
    /// What runs.
    pub content: Content,
    /// How roots are made.
    pub overlay: Overlay,
}
