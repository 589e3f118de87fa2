//! Virtio: what all devices have in common, over registers in memory (virtio 1.2, sections 2 and 4.2).

pub mod mmio;
pub mod ring;

use std::os::fd::BorrowedFd;
use virtio_queue::{DescriptorChain, Queue};
use vm_memory::GuestMemoryMmap;
use vmm_sys_util::eventfd::EventFd;

/// A chain of buffers that the guest's driver made.
pub type Chain<'a> = DescriptorChain<&'a GuestMemoryMmap>;

/// The feature bit of all devices that are not of before the standard.
pub const VERSION_1: u64 = 1 << 32;
/// Events are told of by their numbers: fewer of them, both ways.
pub const EVENT_NUMBERS: u64 = 1 << 29;

/// What the guest did that no driver does. The device stops until it is reset.
#[derive(Debug, thiserror::Error)]
pub enum Misused {
    /// The rings or chains of a queue make no sense.
    #[error("the guest's queue makes no sense")]
    Queue(#[from] virtio_queue::Error),
    /// A request has not the form that the device wants.
    #[error("the guest's request has no sense: {0}")]
    Request(&'static str),
}

/// Whoever serves the queues of a device does not.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unserved(pub String);

/// What a driver has set up, for whoever serves it.
#[derive(Debug)]
pub struct Rings<'a> {
    /// What was agreed on.
    pub features: u64,
    /// The queues; not all of them need be ready.
    pub queues: &'a [Queue],
    /// The event of each queue by which the guest kicks it.
    pub kicks: &'a [EventFd],
    /// Tells the guest that something was done, in whichever queue.
    pub interrupt: &'a EventFd,
    /// The guest's memory.
    pub memory: &'a GuestMemoryMmap,
}

/// What became of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Served {
    /// The guest wants to hear of what was used.
    pub tell: bool,
    /// There is more, for when the others have had their turn.
    pub more: bool,
}

/// What a device waits for besides the guest.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// It has something to be read, for as long as it has.
    Filled(BorrowedFd<'a>),
    /// It has more to be read, or room again, each told of once.
    Changed(BorrowedFd<'a>),
}

/// A device whose queues another process serves. [`Device::reset`] ends that.
pub trait Remote {
    /// The driver is ready.
    ///
    /// # Errors
    /// The other process does not serve it.
    fn start(&mut self, rings: &Rings<'_>) -> Result<(), Unserved>;
}

/// A device behind its registers.
pub trait Device: Send {
    /// Its number in the standard.
    fn kind(&self) -> u32;

    /// The features it offers, besides the version.
    fn features(&self) -> u64;

    /// The size of each of its queues.
    fn queues(&self) -> &[u16];

    /// Its configuration, from the first byte on.
    fn configuration(&self) -> &[u8];

    /// Whether it can use a chain of this queue now.
    fn wants(&self, _queue: usize) -> bool {
        true
    }

    /// What wakes it besides the guest.
    fn source(&self) -> Option<Source<'_>> {
        None
    }

    /// It was woken.
    fn woken(&mut self) {}

    /// Whether what wakes it had no room since this was last asked. Somebody has to ask the kernel for room again then: a
    /// tap tells of its room only who has looked at it while there was none.
    fn lacks_room(&mut self) -> bool {
        false
    }

    /// Why the machine cannot go on with this device, if it cannot.
    fn broken(&self) -> Option<&str> {
        None
    }

    /// The device as one whose queues another process serves, if that is what it is.
    fn remote(&mut self) -> Option<&mut dyn Remote> {
        None
    }

    /// The driver is ready, and these features were agreed on.
    fn start(&mut self, _features: u64) {}

    /// The guest's driver begins anew.
    fn reset(&mut self) {}

    /// Does what can be done of a queue now, within bounds.
    ///
    /// # Errors
    /// The queue or a chain makes no sense.
    fn turn(
        &mut self,
        index: usize,
        queue: &mut Queue,
        memory: &GuestMemoryMmap,
    ) -> Result<Served, Misused> {
        Ok(Served { tell: serve_all(self, index, queue, memory)?, more: false })
    }

    /// Does what one chain of a queue asks for; how many bytes were written to it.
    ///
    /// # Errors
    /// The chain is none that a driver would make.
    fn serve(
        &mut self,
        queue: usize,
        chain: Chain<'_>,
        memory: &GuestMemoryMmap,
    ) -> Result<u32, Misused>;
}

/// Serves what waits in a queue; whether the guest wants to hear of it.
///
/// # Errors
/// The queue or a chain makes no sense.
pub fn serve_all<D: Device + ?Sized>(
    device: &mut D,
    index: usize,
    queue: &mut Queue,
    memory: &GuestMemoryMmap,
) -> Result<bool, Misused> {
    use virtio_queue::{QueueOwnedT, QueueT};
    let mut served = false;
    // A driver has no more than one ring full at once: what comes while we serve will be told.
    for _ in 0..queue.size() {
        if !device.wants(index) {
            break;
        }
        // Unlike popping, this tells a ring that makes no sense from an empty one.
        let Some(chain) = queue.iter(memory)?.next() else { break };
        let head = chain.head_index();
        if head >= queue.size() {
            return Err(Misused::Queue(virtio_queue::Error::InvalidDescriptorIndex));
        }
        let written = device.serve(index, chain, memory)?;
        queue.add_used(memory, head, written)?;
        served = true;
    }
    Ok(served && queue.needs_notification(memory)?)
}
