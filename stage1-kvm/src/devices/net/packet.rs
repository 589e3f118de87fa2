//! A packet in the guest's memory, on its way out: it goes to the kernel from where it lies.
#![expect(
    unsafe_code,
    reason = "the kernel reads the guest's memory, which no reference may lead to"
)]

use super::header::LENGTH;
use crate::devices::virtio::{Chain, Misused};
use rustix::io::Errno;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd};
use vm_memory::{GuestMemory, GuestMemoryMmap, Permissions};

/// The most pieces of one packet: what the kernel takes at once, with the header.
const PIECES: usize = 1023;

/// A packet, whose header was copied: the guest may change its own at any time.
#[derive(Debug)]
pub(super) struct Packet<'a> {
    pub(super) header: [u8; LENGTH],
    /// How much of the header is there.
    known: usize,
    /// The first one is kept for a header.
    pieces: Vec<libc::iovec>,
    pub(super) length: usize,
    memory: PhantomData<&'a GuestMemoryMmap>,
}

impl<'a> Packet<'a> {
    pub(super) fn new() -> Self {
        let pieces = Vec::with_capacity(20);
        Self { header: [0; LENGTH], known: 0, pieces, length: 0, memory: PhantomData }
    }

    /// Becomes the packet of a chain.
    ///
    /// # Errors
    /// The chain lies outside of memory, is cut off, or in more pieces than there can be.
    pub(super) fn gather(
        &mut self,
        chain: Chain<'_>,
        memory: &'a GuestMemoryMmap,
    ) -> Result<(), Misused> {
        self.pieces.clear();
        self.pieces.push(libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 });
        (self.known, self.length) = (0, 0);
        for buffer in chain.readable() {
            let length = usize::try_from(buffer.len()).unwrap_or(usize::MAX);
            let slices = GuestMemory::get_slices(memory, buffer.addr(), length, Permissions::Read)
                .map_err(virtio_queue::Error::GuestMemory)?;
            for slice in slices {
                let slice = slice.map_err(virtio_queue::Error::GuestMemory)?;
                let head = self.header.get_mut(self.known..).unwrap_or_default();
                let copied = if head.is_empty() { 0 } else { slice.copy_to(head) };
                self.known += copied;
                let left = slice.len().saturating_sub(copied);
                if left == 0 {
                    continue;
                }
                let rest = slice.offset(copied).map_err(|_| virtio_queue::Error::InvalidChain)?;
                if self.pieces.len() > PIECES {
                    return Err(Misused::Request("a packet in too many pieces"));
                }
                let iov_base = rest.ptr_guard().as_ptr().cast_mut().cast();
                self.pieces.push(libc::iovec { iov_base, iov_len: left });
                self.length = self.length.saturating_add(left);
            }
        }
        match self.known {
            LENGTH => Ok(()),
            _ => Err(Misused::Request("a packet without a head")),
        }
    }

    /// Writes it, behind this header, in one piece.
    pub(super) fn write(&mut self, to: BorrowedFd<'_>, header: &[u8; LENGTH]) -> Result<(), Errno> {
        if let Some(first) = self.pieces.first_mut() {
            let iov_base = header.as_ptr().cast_mut().cast();
            *first = libc::iovec { iov_base, iov_len: LENGTH };
        }
        let count = libc::c_int::try_from(self.pieces.len()).map_err(|_| Errno::INVAL)?;
        // SAFETY: the kernel reads each piece: the first is the header, which is borrowed for the call; the others lie in the
        // guest's memory, which is mapped for as long as `'a`, checked by `get_slices`, and may change while it is read.
        let written = unsafe { libc::writev(to.as_raw_fd(), self.pieces.as_ptr(), count) };
        if written >= 0 {
            return Ok(());
        }
        let error = std::io::Error::last_os_error();
        Err(Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }
}
