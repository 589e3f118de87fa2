//! The map of guest physical addresses.
//!
//! ```text
//! 0x0000_6000  what the kernel is told: start information, list of modules, memory map
//! 0x0002_0000  command line
//! 0x0009_fc00  end of the low memory that the kernel may use
//! 0x000e_0000  ACPI tables
//! 0x0010_0000  memory, up to 3 GiB: the kernel at 16 MiB, the initial file system behind it
//! 0xd000_0000  devices, a page each
//! 0xfec0_0000  interrupt controllers
//! 0x1_0000_0000  the rest of memory
//! ```

use vm_memory::GuestAddress;

/// The start information.
pub const START_INFO: GuestAddress = GuestAddress(0x6000);
/// The list of modules, of which there is one at most: the initial file system.
pub const MODULES: GuestAddress = GuestAddress(0x6100);
/// The memory map.
pub const MEMORY_MAP: GuestAddress = GuestAddress(0x7000);
/// The command line.
pub const COMMAND_LINE: GuestAddress = GuestAddress(0x2_0000);
/// How long the kernel lets its command line be, with the final NUL, in bytes.
pub const COMMAND_LINE_SIZE: usize = 2048;
/// The end of what is usable below the hole for firmware.
pub const LOW_END: u64 = 0x9_fc00;
/// The ACPI tables, from the root pointer on.
pub const ACPI: GuestAddress = GuestAddress(0xe_0000);
/// The end of the hole, where memory goes on and no kernel lies below.
pub const HIGH_START: GuestAddress = GuestAddress(0x10_0000);
/// Where memory ends for devices.
pub const HOLE_START: u64 = 0xc000_0000;
/// The registers of the first device.
pub const DEVICES: u64 = 0xd000_0000;
/// The room that a device has, in bytes.
pub const DEVICE_SIZE: u64 = 0x1000;
/// The interrupt of the first device: those below belonged to legacy devices.
pub const FIRST_INTERRUPT: u32 = 5;
/// The pins of the one I/O interrupt controller.
pub const INTERRUPTS: u32 = 24;
/// The I/O interrupt controller.
pub const IO_APIC: u32 = 0xfec0_0000;
/// The interrupt controller of each processor.
pub const LOCAL_APIC: u32 = 0xfee0_0000;
/// Three pages that Intel's processors need for a task state.
pub const TASK_STATE: usize = 0xfffb_d000;
/// The page after them, for an identity map.
pub const IDENTITY_MAP: u64 = 0xfffb_c000;
/// Where memory goes on above the hole.
pub const ABOVE_4G: GuestAddress = GuestAddress(1 << 32);

/// The ranges of memory of a machine with so many bytes.
pub fn memory(size: u64) -> Vec<(GuestAddress, u64)> {
    let low = size.min(HOLE_START);
    let mut ranges = vec![(GuestAddress(0), low)];
    if size > low {
        ranges.push((ABOVE_4G, size - low));
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_leaves_the_hole_to_devices() {
        assert_eq!(memory(1 << 30), [(GuestAddress(0), 1 << 30)]);
        assert_eq!(memory(4 << 30), [(GuestAddress(0), 3 << 30), (ABOVE_4G, 1 << 30)]);
    }
}
