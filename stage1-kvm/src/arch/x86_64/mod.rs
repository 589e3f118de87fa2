//! x86-64: a machine without firmware, PCI and legacy devices, described by hardware-reduced ACPI.

pub mod acpi;
pub mod cpu;
pub mod layout;
