//! Processors: what they say they are, and the state in which a kernel is entered by the PVH protocol.

use super::layout;
use kvm_bindings::{
    CpuId, KVM_MAX_CPUID_ENTRIES, Msrs, kvm_cpuid_entry2, kvm_fpu, kvm_msr_entry, kvm_regs,
    kvm_segment,
};
use kvm_ioctls::{Cap, Kvm, VcpuFd};

/// The first port of the serial line.
pub const SERIAL: u16 = 0x3f8;
/// The port by which the guest's kernel says that it panics.
pub const PANIC: u16 = 0x505;
/// Its interrupt.
pub const SERIAL_INTERRUPT: u32 = 4;

/// CPUID leaf 1, ECX: the timer that needs no calibration, which KVM has but does not list.
const TSC_DEADLINE: u32 = 1 << 24;
/// CPUID leaf 1, ECX: there is a hypervisor.
const HYPERVISOR: u32 = 1 << 31;
/// CPUID leaf 1, EDX: the count of processors in EBX is valid.
const SEVERAL: u32 = 1 << 28;
/// CPUID leaf 0xb, ECX: the level of threads of a core, and of cores of a package.
const THREADS: u32 = 1 << 8;
const CORES: u32 = 2 << 8 | 1;

const MISC_ENABLE: u32 = 0x1a0;
const FAST_STRINGS: u64 = 1;
const MTRR_DEFAULT: u32 = 0x2ff;
const MTRR_ON_WRITE_BACK: u64 = 1 << 11 | 6;

/// Control register 0: protected mode, and the bit that is always on.
const PROTECTED: u64 = 1 | 1 << 4;
/// The flag that is always on.
const FLAGS: u64 = 2;
/// The limit of the smallest task state.
const TASK_LIMIT: u32 = 0x67;
/// Types of segments: code, data, a busy task state.
const CODE: u8 = 0xb;
const DATA: u8 = 3;
const TASK: u8 = 0xb;

/// Offsets of the two pins in the page of the interrupt controller, and how each is delivered: as the interrupt of a
/// legacy controller, and as one that cannot be masked.
const PINS: [(usize, u32); 2] = [(0x350, 0x700), (0x360, 0x400)];
const DELIVERY: u32 = 0x700;

/// What all processors of a machine say of themselves, as KVM supports it here.
///
/// # Errors
/// KVM does not tell.
pub fn identification(kvm: &Kvm, processors: u8) -> Result<CpuId, kvm_ioctls::Error> {
    let mut all = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)?;
    let deadline = kvm.check_extension(Cap::TscDeadlineTimer);
    for entry in all.as_mut_slice() {
        describe(entry, processors, deadline);
    }
    Ok(all)
}

/// Bits needed to number so many processors.
fn bits(processors: u8) -> u32 {
    u8::BITS - processors.saturating_sub(1).leading_zeros()
}

/// Replaces what the host says of its own packages.
fn describe(entry: &mut kvm_cpuid_entry2, processors: u8, deadline: bool) {
    let count = u32::from(processors);
    match (entry.function, entry.index) {
        (1, _) => {
            entry.ecx |= HYPERVISOR;
            if deadline {
                entry.ecx |= TSC_DEADLINE;
            }
            entry.ebx = entry.ebx & 0xff00_ffff | count << 16;
            entry.edx = if processors > 1 { entry.edx | SEVERAL } else { entry.edx & !SEVERAL };
        }
        // Cores of the package, and those that share a cache: all.
        (4, _) if entry.eax & 0x1f != 0 => {
            entry.eax = entry.eax & 0x3fff | (count - 1) << 26 | (count - 1) << 14;
        }
        (0xb | 0x1f, 0) => (entry.eax, entry.ebx, entry.ecx) = (0, 1, THREADS),
        (0xb | 0x1f, 1) => (entry.eax, entry.ebx, entry.ecx) = (bits(processors), count, CORES),
        (0xb | 0x1f, index) => (entry.eax, entry.ebx, entry.ecx) = (0, 0, index),
        (0x8000_0008, _) => entry.ecx = entry.ecx & !0xf0ff | (count - 1) | bits(processors) << 12,
        (0x8000_001d, _) if entry.eax & 0x1f != 0 => {
            entry.eax = entry.eax & 0x3fff | (count - 1) << 14;
        }
        _ => {}
    }
}

/// Numbers one processor.
fn number(entry: &mut kvm_cpuid_entry2, id: u8) {
    let id = u32::from(id);
    match entry.function {
        1 => entry.ebx = entry.ebx & 0x00ff_ffff | id << 24,
        0xb | 0x1f => entry.edx = id,
        0x8000_001e => (entry.eax, entry.ebx, entry.ecx) = (id, id, 0),
        _ => {}
    }
}

/// Makes a new processor what it is; the first is ready to enter the kernel, the others wait for it.
///
/// # Errors
/// KVM refuses.
pub fn set_up(cpu: &VcpuFd, id: u8, all: &CpuId, entry: u64) -> Result<(), kvm_ioctls::Error> {
    let mut own = all.clone();
    own.as_mut_slice().iter_mut().for_each(|entry| number(entry, id));
    cpu.set_cpuid2(&own)?;
    let msr = |index, data| kvm_msr_entry { index, data, ..kvm_msr_entry::default() };
    let msrs = [msr(MISC_ENABLE, FAST_STRINGS), msr(MTRR_DEFAULT, MTRR_ON_WRITE_BACK)];
    let msrs = Msrs::from_entries(&msrs).map_err(|_| kvm_ioctls::Error::new(libc::EINVAL))?;
    cpu.set_msrs(&msrs)?;
    pins(cpu)?;
    if id == 0 {
        enter(cpu, entry)?;
    }
    Ok(())
}

fn pins(cpu: &VcpuFd) -> Result<(), kvm_ioctls::Error> {
    let mut apic = cpu.get_lapic()?;
    for (offset, delivery) in PINS {
        if let Some(place) = apic.regs.get_mut(offset..offset + 4) {
            let mut bytes = [0; 4];
            for (byte, found) in bytes.iter_mut().zip(&*place) {
                *byte = found.cast_unsigned();
            }
            let value = u32::from_le_bytes(bytes) & !DELIVERY | delivery;
            for (found, byte) in place.iter_mut().zip(value.to_le_bytes()) {
                *found = byte.cast_signed();
            }
        }
    }
    cpu.set_lapic(&apic)
}

/// 32-bit protected mode without paging, the start information in EBX.
fn enter(cpu: &VcpuFd, entry: u64) -> Result<(), kvm_ioctls::Error> {
    let segment = |selector, type_, s| kvm_segment {
        limit: u32::MAX,
        selector,
        type_,
        s,
        present: 1,
        db: s,
        g: s,
        ..kvm_segment::default()
    };
    let mut special = cpu.get_sregs()?;
    special.cs = segment(0x08, CODE, 1);
    let data = segment(0x10, DATA, 1);
    (special.ds, special.es, special.fs, special.gs, special.ss) = (data, data, data, data, data);
    special.tr = kvm_segment { limit: TASK_LIMIT, ..segment(0x18, TASK, 0) };
    special.cr0 = PROTECTED;
    special.cr4 = 0;
    special.efer = 0;
    cpu.set_sregs(&special)?;
    cpu.set_fpu(&kvm_fpu { fcw: 0x37f, mxcsr: 0x1f80, ..kvm_fpu::default() })?;
    cpu.set_regs(&kvm_regs {
        rip: entry,
        rbx: layout::START_INFO.0,
        rflags: FLAGS,
        ..kvm_regs::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(function: u32, index: u32) -> kvm_cpuid_entry2 {
        let full = u32::MAX;
        kvm_cpuid_entry2 {
            function,
            index,
            eax: full,
            ebx: full,
            ecx: 0,
            edx: full,
            ..Default::default()
        }
    }

    #[test]
    fn a_machine_is_one_package_of_its_processors() {
        for (count, width) in [(1, 0), (2, 1), (3, 2), (4, 2), (255, 8)] {
            assert_eq!(bits(count), width, "{count}");
            let mut cores = leaf(0xb, 1);
            describe(&mut cores, count, false);
            assert_eq!((cores.eax, cores.ebx, cores.ecx), (width, u32::from(count), CORES));
        }
        let mut first = leaf(1, 0);
        describe(&mut first, 1, true);
        assert_eq!(first.ecx, HYPERVISOR | TSC_DEADLINE);
        assert_eq!((first.ebx >> 16 & 0xff, first.edx & SEVERAL), (1, 0));
        number(&mut first, 7);
        assert_eq!(first.ebx >> 24, 7);
        let mut sizes = leaf(0x8000_0008, 0);
        describe(&mut sizes, 4, false);
        assert_eq!(sizes.ecx, 3 | 2 << 12);
    }
}
