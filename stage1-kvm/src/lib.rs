//! The stage1 that gives a pod a kernel of its own: a virtual machine monitor as small as its guest needs it.
//!
//! ```text
//! vmm      memory, processors, who answers at which address; starts the machine and says how it ended
//! boot     kernel and initial file system into guest memory, and what the kernel is told of them
//! arch     what only this processor knows: CPUID, registers, ACPI tables, the map of addresses
//! devices  what the guest may speak to; every byte of it is hostile
//! ```

pub mod arch;
pub mod boot;
pub mod devices;
pub mod vmm;
