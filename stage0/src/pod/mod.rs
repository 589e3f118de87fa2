//! The life of pods. Nothing but a folder's place and a lock on it says in which state a pod is.
//!
//! ```text
//! DATA/pods/          nobody holds its lock     somebody does
//!   embryo/UUID         (just made)               (just made)
//!   prepare/UUID        aborted prepare           preparing
//!   prepared/UUID       prepared                  preparing: its maker is about to let go
//!   run/UUID            exited                    running
//!   exited-garbage/UUID exited garbage            exited deleting
//!   garbage/UUID        garbage                   deleting
//! ```
//!
//! Every step is one rename, so it happened or it did not; who loses a race for one gets ENOENT and goes away. A pod's
//! own processes hold its lock through an inherited descriptor, so the kernel drops it however they die. [`Pod`] is a
//! pod whose lock this process holds, with its phase as its type; a [`Sighting`] is what was true when somebody looked.
//! What a pod keeps inside its folder is known to `stage1_abi::PodDir`.

mod collect;
mod export;
mod folders;
mod lookup;
mod mounts;
mod outline;
mod phase;
mod references;
mod sighting;
mod status;
mod watch;

pub use collect::{CollectError, Deleted, delete};
pub use export::ExportError;
pub use folders::{Folder, PodsDir};
pub use lookup::{FindError, Listing};
pub use mounts::Mounts;
pub use outline::{AppLine, PodLine};
pub use phase::{CreateError, Filled, Phase, Pod, Prepared, Preparing, Running};
pub use sighting::{Sighting, State};
pub use status::{AppState, AppView, MountView, Network, PodView, ViewError};
pub use watch::{Waited, until, until_over};
