//! `init` of a pod in a virtual machine: PID 1 of the guest. It is told by the host what to be and reads no manifest.
//!
//! ```text
//! boot     kernel file systems, modules of the initramfs, a root of its own, loopback      (boot)
//! call     a connection to the host, which says: here is what you are                      (call, host)
//! stand    images of the block devices, shares, one root and mount namespace an app        (images, pod)
//!          network interfaces, their addresses and routes                                 (network)
//! live     starts, reaps, copies streams, runs commands, answers; rkt's exit rule          (live, relay, exec, export)
//! end      everything is killed, streams are emptied, the code is told, the machine resets
//! ```
//!
//! Nothing in it listens: the only voice it hears is the other end of the connection that it made before any app existed.
//! Apps are started by `stage2`, as those of the container are, and are as restricted; init itself stays in a root that
//! no app sees and cannot be traced by them.
//!
//! Words of the kernel's command line that it knows, given as arguments in tests:
//!
//! | word | meaning |
//! |---|---|
//! | `rkt.port=N` | call the host at this vsock port |
//! | `rkt.disk=PREFIX` | partitions are `PREFIX1`, `PREFIX2`, …; `/dev/vda` unless told |
//! | `rkt.unix=PATH` | for tests: call at this socket, and treat the kernel as somebody else's: load no module, set no clock, exit instead of a reset |
//!
//! Invariant: the code of every app is told before the end, and if the host is gone so is the pod.

pub mod boot;
pub mod call;
pub mod error;
pub mod exec;
pub mod export;
pub mod host;
pub mod images;
pub mod live;
pub mod network;
pub mod pod;
pub mod relay;
pub mod run;
pub mod words;
