//! From images and wishes to a pod folder that a stage1 can run.
//!
//! In: a [`PodRequest`] whose images are in the store, its [`Stage1`], ready, and an allocated pod. Out: the pod, filled.
//! What the wishes mean together is decided by pure functions (`merge`, `ports`, `volumes`) before anything is written;
//! what is written is known to `stage1_abi`. Nothing is mounted here: that belongs to the launch of a pod.

mod error;
mod fill;
mod merge;
mod overlay;
mod ports;
mod request;
mod stage1;
mod volumes;

pub use error::PrepareError;
pub use fill::{Prepared, Stage1, prepare};
pub use request::{AppRequest, Content, Everyone, Overlay, PodRequest};
pub use stage1::{Place, Stage1Error, Stage1Wish, choose};
pub use volumes::check_flags;

pub(crate) use overlay::missing as overlay_missing;
