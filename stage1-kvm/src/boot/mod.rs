//! What a machine starts with: a kernel, its command line and an initial file system, by the PVH protocol.

mod mapped;

use crate::arch::layout;
use crate::vmm::memory::{LARGE, Memory, MemoryError};
use linux_loader::elf::{Elf64_Ehdr, Elf64_Phdr, PT_LOAD};
use linux_loader::loader::KernelLoader;
use linux_loader::loader::elf::start_info::{
    hvm_memmap_table_entry, hvm_modlist_entry, hvm_start_info,
};
use linux_loader::loader::elf::{Elf, PvhBootCapability};
use mapped::Mapped;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use vm_memory::{ByteValued, Bytes, GuestAddress};

/// What the start information begins with.
const MAGIC: u32 = 0x336e_c578;
const VERSION: u32 = 1;
/// Kinds of memory in the map.
const USABLE: u32 = 1;
const RESERVED: u32 = 2;
const PAGE: u64 = 4096;
/// Where no kernel reaches, in bytes: beyond, segments are not looked at.
const HIGHEST: u64 = 4 << 30;

/// A kernel that cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// It is no ELF file, does not fit, or is cut off.
    #[error("cannot load the guest kernel")]
    Kernel(#[source] linux_loader::loader::Error),
    /// It cannot be read.
    #[error("cannot read the guest kernel")]
    Read(#[source] io::Error),
    /// It has no entry for the protocol.
    #[error("the guest kernel has no PVH entry: it must be an ELF kernel with CONFIG_PVH")]
    NoEntry,
    /// The initial file system cannot be read.
    #[error("cannot read the guest's initial file system")]
    Initial(#[source] io::Error),
    /// There is not enough memory between the kernel and the hole for devices.
    #[error("the guest's initial file system does not fit into its memory")]
    TooLarge,
    /// The command line is longer than the kernel takes.
    #[error("the guest's command line is longer than {} bytes", layout::COMMAND_LINE_SIZE)]
    CommandLine,
    /// Guest memory cannot be written.
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

/// What to start.
#[derive(Debug)]
pub struct Payload {
    /// An ELF kernel.
    pub kernel: File,
    /// Archives for the initial file system, one after the other.
    pub initial: Vec<File>,
    /// The kernel's command line.
    pub command_line: String,
}

/// Puts everything into memory; the address at which the first processor enters the kernel.
///
/// # Errors
/// See [`BootError`].
pub fn load(memory: &Memory, payload: &Payload, tables: &[u8]) -> Result<u64, BootError> {
    let high = Some(layout::HIGH_START);
    let mut file = Mapped::new(&payload.kernel).map_err(BootError::Read)?;
    // What is no such file is refused by who loads it.
    for page in hardly_used(&mut file).unwrap_or_default() {
        memory.keep_small(page * LARGE);
    }
    let kernel = Elf::load(memory.guest(), None, &mut file, high).map_err(BootError::Kernel)?;
    drop(file);
    let PvhBootCapability::PvhEntryPresent(entry) = kernel.pvh_boot_cap else {
        return Err(BootError::NoEntry);
    };
    let initial = load_initial(memory, &payload.initial, kernel.kernel_end)?;
    let mut line = payload.command_line.clone().into_bytes();
    line.push(0);
    if line.len() > layout::COMMAND_LINE_SIZE {
        return Err(BootError::CommandLine);
    }
    memory.write(&line, layout::COMMAND_LINE)?;
    memory.write(tables, layout::ACPI)?;
    tell(memory, initial)?;
    Ok(entry.0)
}

/// The large pages of which a kernel has only a corner, by number. Behind its end it goes on at once with what it
/// allocates.
fn hardly_used(kernel: &mut Mapped) -> io::Result<Vec<u64>> {
    kernel.rewind()?;
    let mut header = Elf64_Ehdr::default();
    kernel.read_exact(header.as_mut_slice())?;
    kernel.seek(SeekFrom::Start(header.e_phoff))?;
    let mut filled = BTreeMap::new();
    for _ in 0..header.e_phnum {
        let mut segment = Elf64_Phdr::default();
        kernel.read_exact(segment.as_mut_slice())?;
        let end = segment.p_paddr.saturating_add(segment.p_memsz).min(HIGHEST);
        let mut start = segment.p_paddr;
        while segment.p_type == PT_LOAD && start < end {
            let page = start / LARGE;
            let next = ((page + 1) * LARGE).min(end);
            *filled.entry(page).or_insert(0) += next - start;
            start = next;
        }
    }
    let last = filled.last_key_value().map(|(page, _)| *page);
    let little =
        |(page, bytes): (u64, u64)| (Some(page) != last && bytes < LARGE / 4).then_some(page);
    Ok(filled.into_iter().filter_map(little).collect())
}

/// Puts the initial file system behind the kernel; where it is, and its length.
fn load_initial(
    memory: &Memory,
    files: &[File],
    kernel_end: u64,
) -> Result<Option<(u64, u64)>, BootError> {
    let mut sizes = Vec::with_capacity(files.len());
    for file in files {
        // The kernel finds the next archive at a multiple of four.
        sizes.push(file.metadata().map_err(BootError::Initial)?.len());
    }
    let padded = |size: &u64| size.checked_next_multiple_of(4).ok_or(BootError::TooLarge);
    let mut total = 0_u64;
    for size in &sizes {
        total = total.checked_add(padded(size)?).ok_or(BootError::TooLarge)?;
    }
    if total == 0 {
        return Ok(None);
    }
    let room = total.checked_next_multiple_of(PAGE).ok_or(BootError::TooLarge)?;
    let start = kernel_end.checked_next_multiple_of(PAGE);
    let fits = |start: &u64| start.checked_add(room).is_some_and(|end| end <= memory.low_end());
    let start = start.filter(fits).ok_or(BootError::TooLarge)?;
    let mut at = start;
    for (file, size) in files.iter().zip(&sizes).filter(|(_, size)| **size > 0) {
        let count = usize::try_from(*size).map_err(|_| BootError::TooLarge)?;
        let mut file = Mapped::new(file).map_err(BootError::Initial)?;
        let read = memory.guest().read_exact_volatile_from(GuestAddress(at), &mut file, count);
        read.map_err(|error| BootError::Initial(io::Error::other(error)))?;
        at += padded(size)?;
    }
    Ok(Some((start, total)))
}

/// Writes the start information and what it points to.
fn tell(memory: &Memory, initial: Option<(u64, u64)>) -> Result<(), BootError> {
    let map = map(memory.size());
    let mut info = hvm_start_info {
        magic: MAGIC,
        version: VERSION,
        cmdline_paddr: layout::COMMAND_LINE.0,
        rsdp_paddr: layout::ACPI.0,
        memmap_paddr: layout::MEMORY_MAP.0,
        memmap_entries: u32::try_from(map.len()).unwrap_or_default(),
        ..hvm_start_info::default()
    };
    if let Some((paddr, size)) = initial {
        info.nr_modules = 1;
        info.modlist_paddr = layout::MODULES.0;
        let module = hvm_modlist_entry { paddr, size, ..hvm_modlist_entry::default() };
        memory.write(module.as_slice(), layout::MODULES)?;
    }
    let map: Vec<u8> = map.iter().flat_map(|entry| entry.as_slice().to_vec()).collect();
    memory.write(&map, layout::MEMORY_MAP)?;
    Ok(memory.write(info.as_slice(), layout::START_INFO)?)
}

/// The memory map of a machine with so many bytes.
fn map(size: u64) -> Vec<hvm_memmap_table_entry> {
    let entry = |addr, size, type_| hvm_memmap_table_entry { addr, size, type_, reserved: 0 };
    let (acpi, high) = (layout::ACPI.0, layout::HIGH_START.0);
    let mut map = vec![entry(0, layout::LOW_END, USABLE), entry(acpi, high - acpi, RESERVED)];
    for (start, size) in layout::memory(size) {
        let below = high.saturating_sub(start.0);
        map.push(entry(start.0 + below, size - below, USABLE));
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_has_what_lies_around_the_holes() {
        let found: Vec<_> = map(4 << 30).iter().map(|e| (e.addr, e.size, e.type_)).collect();
        let expected = [
            (0, 0x9_fc00, USABLE),
            (0xe_0000, 0x2_0000, RESERVED),
            (0x10_0000, (3 << 30) - 0x10_0000, USABLE),
            (1 << 32, 1 << 30, USABLE),
        ];
        assert_eq!(found, expected);
    }
}
