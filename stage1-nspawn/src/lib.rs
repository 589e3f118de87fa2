//! The default stage1: a pod in namespaces of its own, with control groups, one supervisor and one root an app.
//!
//! ```text
//! stage0 --exec--> nspawn-run = P0   reads the pod, makes groups, pipes and volumes, clones ──► PID 1
//!                  keeps the lock, copies outputs, writes pid,                       mounts, changes the root,
//!                  status and log files, forwards signals   ◄── ready, started,      starts, reaps and stops apps
//!                  removes groups, returns the pod's code       ended (control)      by rkt's exit rule
//! ```
//!
//! P0 and PID 1 are one program without an exec between them. All mounts of a pod lie in PID 1's mount namespace (a pod
//! of several apps has one more for each), so that nothing is left to unmount on the host. Invariant: if either of the
//! two is killed, the kernel ends every process of the pod (death signal, pid namespace) and drops the lock.

pub mod assemble;
pub mod control;
pub mod enter;
pub mod isolation;
pub mod run;
pub mod stop;
pub mod supervise;
