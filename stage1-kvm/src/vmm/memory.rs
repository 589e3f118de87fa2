//! Guest memory: one file that nobody else can open, on pages as large as the host gives.
//!
//! A memfd is kept on small pages; a file on a tmpfs of our own that was mounted for it is not. It can still be shared
//! with a process that serves a device.
#![expect(
    unsafe_code,
    reason = "the guest and the kernel use this memory behind the compiler's back"
)]

use crate::arch::layout;
use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::VmFd;
use rustix::fs::{Mode, OFlags};
use rustix::mm::Advice;
use std::fs::File;
use std::io;
use sys::mount::{self, Restrict};
use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{
    Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion,
    GuestRegionMmap,
};

/// The size of large pages, in bytes.
pub(crate) const LARGE: u64 = 2 << 20;
/// The least that a kernel starts in, in bytes.
const LEAST: u64 = 32 << 20;
/// The most that addresses are planned for, in bytes.
const MOST: u64 = 1 << 40;

/// Memory that cannot be had or used.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The size is too small for any kernel, or larger than addresses reach.
    #[error("a guest cannot have {0} bytes of memory")]
    Size(u64),
    /// The kernel gives none.
    #[error("cannot make the guest's memory")]
    Make(#[source] io::Error),
    /// It cannot be mapped.
    #[error("cannot map the guest's memory: {0}")]
    Map(String),
    /// KVM does not take it.
    #[error("cannot give the guest its memory")]
    Give(#[source] kvm_ioctls::Error),
    /// Something is written where there is none.
    #[error("there is no guest memory at {0:#x}")]
    Outside(u64),
}

/// The memory of one machine.
#[derive(Debug)]
pub struct Memory {
    guest: GuestMemoryMmap,
    size: u64,
}

impl Memory {
    /// Makes it; nothing of it is used before the guest touches it.
    ///
    /// # Errors
    /// There is not so much of it.
    pub fn new(size: u64) -> Result<Self, MemoryError> {
        let size = size.checked_next_multiple_of(LARGE).ok_or(MemoryError::Size(size))?;
        if !(LEAST..=MOST).contains(&size) {
            return Err(MemoryError::Size(size));
        }
        let file = file(size).map_err(MemoryError::Make)?;
        let mut regions = Vec::new();
        let mut offset = 0;
        for (start, length) in layout::memory(size) {
            let file = file.try_clone().map_err(MemoryError::Make)?;
            let place = FileOffset::new(file, offset);
            regions.push(region(start, length, place)?);
            offset += length;
        }
        let guest =
            GuestMemoryMmap::from_regions(regions).map_err(|e| MemoryError::Map(e.to_string()))?;
        Ok(Self { guest, size })
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The end of what lies below the hole.
    pub fn low_end(&self) -> u64 {
        self.size.min(layout::HOLE_START)
    }

    /// The memory, as devices use it.
    pub fn guest(&self) -> &GuestMemoryMmap {
        &self.guest
    }

    /// Writes bytes before the guest runs.
    ///
    /// # Errors
    /// There is no memory.
    pub fn write(&self, bytes: &[u8], at: GuestAddress) -> Result<(), MemoryError> {
        self.guest.write_slice(bytes, at).map_err(|_| MemoryError::Outside(at.0))
    }

    /// Keeps the large page of this address on small ones: of what is hardly used, a large page takes longer to clear than its
    /// few parts do to come one by one. Nothing happens where there is no memory.
    pub fn keep_small(&self, at: u64) {
        let start = at / LARGE * LARGE;
        let room = usize::try_from(LARGE).unwrap_or_default();
        let Ok(page) = self.guest.get_slice(GuestAddress(start), room) else { return };
        // SAFETY: the slice is within the mapping; advice about page size changes no content.
        let advised = unsafe {
            let place = page.ptr_guard_mut();
            rustix::mm::madvise(place.as_ptr().cast(), room, Advice::LinuxNoHugepage)
        };
        if let Err(error) = advised {
            log::debug!("guest memory stays on large pages: {error}");
        }
    }

    /// Gives it to a machine.
    ///
    /// # Errors
    /// KVM refuses.
    pub fn give_to(&self, vm: &VmFd) -> Result<(), MemoryError> {
        for (slot, region) in (0_u32..).zip(self.guest.iter()) {
            let given = kvm_userspace_memory_region {
                slot,
                flags: 0,
                guest_phys_addr: region.start_addr().0,
                memory_size: region.len(),
                userspace_addr: region.as_ptr() as u64,
            };
            // SAFETY: the mapping is as long as the region and lives as long as `self`, which outlives the machine:
            // both are fields of one value, and the machine comes first there.
            unsafe { vm.set_user_memory_region(given) }.map_err(MemoryError::Give)?;
        }
        Ok(())
    }
}

/// A file without a name on a tmpfs that only this descriptor leads to.
fn file(size: u64) -> io::Result<File> {
    let room = std::ffi::CString::new(size.to_string()).map_err(io::Error::other)?;
    let rights = Restrict::NO_DEVICES.and(Restrict::NO_SUID).and(Restrict::NO_EXEC);
    let options: [(&std::ffi::CStr, &std::ffi::CStr); 3] =
        [(c"huge", c"advise"), (c"size", &room), (c"mode", c"0700")];
    // A kernel without large pages knows no such option.
    let mounted = mount::fresh(c"tmpfs", &options, rights)
        .or_else(|_| mount::fresh(c"tmpfs", &options[1..], rights))?;
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(&mounted, c".", flags, Mode::from_raw_mode(0o600))?);
    file.set_len(size)?;
    Ok(file)
}

fn region(
    start: GuestAddress,
    length: u64,
    place: FileOffset,
) -> Result<GuestRegionMmap, MemoryError> {
    let size = usize::try_from(length).map_err(|_| MemoryError::Size(length))?;
    let failed = |problem: &dyn std::fmt::Display| MemoryError::Map(problem.to_string());
    let mapping = MmapRegionBuilder::<()>::new(size)
        .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
        .with_mmap_flags(libc::MAP_SHARED | libc::MAP_NORESERVE)
        .with_file_offset(place)
        .build()
        .map_err(|e| failed(&e))?;
    // SAFETY: the range is exactly the mapping made above; advice about page size changes no content.
    let advised =
        unsafe { rustix::mm::madvise(mapping.as_ptr().cast(), size, Advice::LinuxHugepage) };
    if let Err(error) = advised {
        log::debug!("guest memory has small pages: {error}");
    }
    GuestRegionMmap::new(mapping, start).ok_or(MemoryError::Size(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_made_in_whole_large_pages() {
        let memory = Memory::new((64 << 20) + 1).unwrap();
        assert_eq!((memory.size(), memory.low_end()), (66 << 20, 66 << 20));
        memory.write(b"abc", GuestAddress(memory.size() - 3)).unwrap();
        memory.write(b"abcd", GuestAddress(memory.size() - 3)).unwrap_err();
        for bad in [0, 1 << 20, 1 << 50, u64::MAX] {
            assert!(Memory::new(bad).is_err(), "{bad}");
        }
    }
}
