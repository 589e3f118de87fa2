//! stage0: from a user's words to a prepared pod, which then becomes the pod by exec.
//!
//! The library holds everything but the words themselves: configuration, image references, fetching, the image store,
//! rendered trees, the life of pods, their preparation and their launch. It never prints and never exits: the program
//! `rkt` (its `cli`) turns results and failures into text and exit codes. It knows no flavour of stage1 by name.

pub mod config;
pub mod fetch;
pub mod image_ref;
pub mod insecure;
pub mod launch;
pub mod pod;
pub mod prepare;
pub mod render;
pub mod store;

/// The version of rkt, as it stands in `rkt version`, in pod manifests and in requests to servers.
pub const VERSION: &str = "1.30.0";
