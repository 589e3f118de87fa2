//! The doors to the kernel: descriptors, locks, mounts, namespaces, control groups, capabilities, terminals.
//!
//! Everything `unsafe` of the container path lives here, one wrapper a call, each with typed arguments and owned
//! descriptors. It is not a policy: what to mount or whom to trust is decided by the callers.

pub mod beneath;
pub mod capability;
pub mod cause;
pub mod cgroup;
pub mod descriptor;
pub mod landlock;
pub mod lock;
pub mod machine;
pub mod mount;
pub mod namespace;
pub mod netlink;
pub mod nss;
pub mod packet;
pub mod path;
pub mod process;
pub mod seccomp;
pub mod signal;
pub mod tap;
pub mod terminal;
pub mod vsock;
