//! The stage1 that gives a pod a kernel of its own: a virtual machine monitor as small as its guest needs it.
//!
//! ```text
//! vmm      memory, processors, who answers at which address; starts the machine and says how it ended
//! boot     kernel and initial file system into guest memory, and what the kernel is told of them
//! arch     what only this processor knows: CPUID, registers, ACPI tables, the map of addresses
//! devices  what the guest may speak to; every byte of it is hostile
//! shares   volumes of the host's, and the process that serves them
//! network  interfaces of the pod's network namespace, each handed to the guest by a tap
//! ```
//!
//! The pod's main process is a supervisor, which clones the monitor and stays outside:
//!
//! ```text
//! stage0 --exec--> kvm-run   reads the pod, refuses what cannot be, opens files (run, configure, size), clones ──► monitor
//!                  keeps the lock, terminal, signals, status and log files (supervise)                  machine, vmm
//!                  hears the guest over connections that the monitor hands out (host)   ◄── line ──
//! kvm-enter        asks the supervisor for a command inside, and carries its streams itself (enter, visitor, host::door)
//! kvm-export       asks it for the files of an app, and passes them on (export, visitor, host::door)
//! kvm-stop         signals the supervisor
//! ```
//!
//! Invariant: the monitor dies with its supervisor, by its death signal; it holds the pod's lock, so the pod is over when both are.

pub mod arch;
pub mod boot;
pub mod configure;
pub mod devices;
pub mod enter;
pub mod error;
pub mod export;
pub mod gc;
pub mod host;
pub mod lent;
pub mod machine;
pub mod network;
pub mod run;
pub mod shares;
pub mod size;
pub mod stop;
pub mod supervise;
pub mod visitor;
pub mod vmm;
