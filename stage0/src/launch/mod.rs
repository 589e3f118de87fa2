//! The last step of stage0: a prepared pod becomes its stage1, and other commands reach the stage1 of a pod.
//!
//! In: a pod whose lock this process holds, and how to run it. Out: nothing, since the process is somebody else
//! afterwards. What a stage1 is asked for and how is written in `stage1_abi`; nothing here knows a flavour.

mod dns;
mod entry;
mod export;
mod roots;
mod run;

pub use dns::{BadDns, Dns};
pub use entry::{EntryError, check, check_networks, check_prepared, enter, gc, stop};
pub use export::{RunningError, export};
pub use run::{LaunchError, RunRequest, become_pod, check_network, check_overlay, interface_of};
