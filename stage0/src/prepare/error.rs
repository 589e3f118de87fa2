//! Why a pod cannot be prepared.

use crate::render::RenderError;
use crate::store::StoreError;
use appc::{AcName, BadName, ImageId, ManifestError};
use stage1_abi::annotations::BadInterface;
use sys::path::PathError;

/// How long the name of an app may be, in bytes: files, control groups and mounts are named after it and a word more.
pub(super) const LONGEST_NAME: usize = 200;

/// Why a pod cannot be prepared. What users of other versions know keeps its words.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An image has no trees.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// A file of the pod.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The manifest of an image is no manifest.
    #[error("bad manifest of image {image}")]
    ImageManifest {
        /// The image.
        image: ImageId,
        /// What is wrong.
        #[source]
        source: ManifestError,
    },
    /// An image that runs pods does not say how.
    #[error("cannot use image {image} as stage1")]
    Stage1 {
        /// The image.
        image: ImageId,
        /// What is wrong.
        #[source]
        source: BadInterface,
    },
    /// No apps.
    #[error("pod must contain at least one application")]
    NoApps,
    /// Two apps of one name.
    #[error("error: multiple apps with name {0}")]
    SameName(AcName),
    /// The name of an app that no file or mount could be named after.
    #[error("error: the name of an app has {0} bytes, and {LONGEST_NAME} are the most: use --name")]
    LongName(usize),
    /// No name can be made of the image's.
    #[error("error: image name {name:?} gives no app name: use --name")]
    Name {
        /// The image's name.
        name: String,
        /// What is wrong.
        #[source]
        source: BadName,
    },
    /// Nothing to run.
    #[error("error: image {0} has no app section and --exec argument is not provided")]
    NoApp(ImageId),
    /// An app section without a program.
    #[error("error: image {0:?} has an empty \"exec\" (try --exec=BINARY)")]
    EmptyExec(String),
    /// A label that says on what an image runs.
    #[error("missing {0} label in the image manifest")]
    MissingLabel(&'static str),
    /// An operating system or architecture that nobody knows.
    #[error("bad {label} {value:?} (must be one of: {known})")]
    Label {
        /// `os` or `arch`.
        label: &'static str,
        /// What the image says.
        value: String,
        /// What it may say.
        known: String,
    },
    /// A mount of no volume.
    #[error("dangling mount point {path:?}: volume \"{volume}\" not found")]
    Dangling {
        /// Where it would be.
        path: String,
        /// The volume.
        volume: AcName,
    },
    /// Two volumes of one name.
    #[error("duplicate volume name {0:?}")]
    SameVolume(String),
    /// A port that no app has.
    #[error("port name {0:?} could not be found in any apps")]
    NoPort(String),
    /// A port that several apps have.
    #[error("port name {0:?} defined multiple apps")]
    SharedPort(String),
    /// An address of the host from which nothing can be sent on: the kernel knows it nowhere but on the host itself.
    #[error("port {0:?} cannot be forwarded from [::1]: 127.0.0.1 can be")]
    Loopback(String),
    /// Two rules for one port of the host.
    #[error("host port {port}/{protocol} is forwarded more than once")]
    SameHostPort {
        /// The number.
        port: u16,
        /// Its protocol.
        protocol: String,
    },
    /// An image of a pod manifest is not named by it.
    #[error("image of app {0} has neither an id nor a name")]
    NoImage(AcName),
}
