//! The stage1 that isolates nothing: one app with the host's full rights, in a root of its own.
//!
//! ```text
//! stage0 --exec--> fly-run   clones what will be shown (host mounts, shared) ─ unshares its mounts ─ root, /dev, /proc,
//!                            /sys, /tmp, volumes ─ chroot ─► the app
//!                  with a notify socket: fly-run *becomes* the app, and a watcher records the end
//!                  otherwise: it stays the parent, passes signals on, and records the end
//! ```
//!
//! Only the app's root is private. What is bound into it stays a peer of the host's mount, so that a mount that the app
//! makes below a volume appears on the host; what is mounted before the app starts does not (`shown`). The app keeps the
//! pod's lock: as long as anything of it lives, the pod does.

pub mod enter;
pub mod error;
pub mod gc;
pub mod pod;
pub mod root;
pub mod run;
mod shown;
pub mod stop;
pub mod watch;
