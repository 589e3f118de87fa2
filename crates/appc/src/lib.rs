//! The words of App Container images and pods: manifests, names, ids, isolators, quantities.
//!
//! Pure: bytes and strings in, values and strings out. Nothing here opens a file, resolves a name or decides whether an
//! image may run. Reading follows what the reference tools accept (keys in any case, `null` for absent, the last of two
//! equal keys); writing gives the one order and escaping that they emit, so that equal manifests have equal bytes.
//!
//! Invariant: a value of a type here satisfies that type's rules; it was made by parsing.

#![forbid(unsafe_code)]

mod id;
mod image;
pub mod image_name;
mod isolator;
pub mod json;
mod name;
mod outline;
mod pod;
mod port;
mod quantity;
mod read;
mod volume;

pub use id::{BadId, IdPrefix, ImageId, PodUuid};
pub use image::{
    Annotation, App, Dependency, EnvVar, EventHandler, HookPoint, ImageManifest, Label, MountPoint,
    arches, is_date, is_env_name,
};
pub use isolator::{BadIsolator, Isolator, Meaning};
pub use name::{AcIdentifier, AcName, BadName};
pub use outline::AppOutline;
pub use pod::{Mount, PodManifest, RuntimeApp, RuntimeImage};
pub use port::{BadPort, ExposedPort, Port};
pub use quantity::{BadQuantity, Quantity};
pub use read::ManifestError;
pub use volume::{BadVolume, Volume, VolumeKind};

/// The version of the appc specification that is implemented.
pub const SPEC_VERSION: &str = "0.8.11";
