//! What the library that reads rings does not do: hand several chains back at once, and say whether the guest wants to hear of
//! all that was handed back since it was last asked.

use std::sync::atomic::{Ordering, fence};
use virtio_queue::{Error, Queue, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

/// Bytes before the entries of either ring, and of an entry of each.
const HEAD: u64 = 4;
const USED: u64 = 8;
const AVAILABLE: u64 = 2;
/// The flag of the available ring by which a driver wants to hear of nothing.
const SILENT: u16 = 1;

/// Hands chains back, each with the number of bytes that were written to it. The driver sees all of them or none: one that looks
/// on its own, without having been told, must not find the first part of a packet alone.
///
/// # Errors
/// A chain is none of the queue's.
pub fn give_back(
    queue: &mut Queue,
    memory: &GuestMemoryMmap,
    chains: &[(u16, u32)],
) -> Result<(), Error> {
    let mut next = queue.next_used();
    for (head, written) in chains {
        if *head >= queue.size() {
            return Err(Error::InvalidDescriptorIndex);
        }
        let place = place(queue.used_ring(), u64::from(next % queue.size()) * USED)?;
        // A number of the chain, and one of bytes, each of four.
        let entry = u64::from(*head) | u64::from(*written) << 32;
        memory.write_obj(entry.to_le(), place).map_err(Error::GuestMemory)?;
        next = next.wrapping_add(1);
    }
    queue.set_next_used(next);
    let count = GuestAddress(queue.used_ring()).0.checked_add(2).ok_or(Error::AddressOverflow)?;
    memory.store(next.to_le(), GuestAddress(count), Ordering::Release).map_err(Error::GuestMemory)
}

/// Whether the guest wants to hear of what was handed back since the used ring had this index.
///
/// # Errors
/// The ring is not in memory.
pub fn wants_to_hear(queue: &Queue, memory: &GuestMemoryMmap, since: u16) -> Result<bool, Error> {
    let now = queue.next_used();
    if now == since {
        return Ok(false);
    }
    // What was handed back is seen before the guest's wish is read.
    fence(Ordering::SeqCst);
    let read = |at| -> Result<u16, Error> {
        memory.load(at, Ordering::Relaxed).map(u16::from_le).map_err(Error::GuestMemory)
    };
    if !queue.event_idx_enabled() {
        return Ok(read(GuestAddress(queue.avail_ring()))? & SILENT == 0);
    }
    let wish = read(place(queue.avail_ring(), u64::from(queue.size()) * AVAILABLE)?)?;
    Ok(now.wrapping_sub(wish).wrapping_sub(1) < now.wrapping_sub(since))
}

fn place(ring: u64, offset: u64) -> Result<GuestAddress, Error> {
    let start = ring.checked_add(HEAD).and_then(|start| start.checked_add(offset));
    start.map(GuestAddress).ok_or(Error::AddressOverflow)
}

#[cfg(test)]
mod tests {
    use super::*;
    use virtio_queue::mock::MockSplitQueue;

    #[test]
    fn chains_come_back_together_and_the_guest_hears_of_those_it_waits_for() {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1_0000)]).unwrap();
        let mock = MockSplitQueue::new(&memory, 8);
        let mut queue: Queue = mock.create_queue().unwrap();
        queue.set_event_idx(true);
        queue.set_next_used(6);
        give_back(&mut queue, &memory, &[(3, 100), (4, 200), (5, 300)]).unwrap();
        assert_eq!((queue.next_used(), u16::from_le(mock.used().idx().load())), (9, 9));
        for (slot, head, written) in [(6, 3, 100), (7, 4, 200), (0, 5, 300)] {
            let entry = mock.used().ring().ref_at(slot).unwrap().load();
            assert_eq!((entry.id(), entry.len()), (head, written));
        }
        give_back(&mut queue, &memory, &[(8, 0)]).unwrap_err();
        // The wish stands behind the available ring: to hear when the index passes this.
        let wish = GuestAddress(mock.avail_addr().0 + 4 + 2 * 8);
        for (value, heard) in [(5, false), (6, true), (8, true), (9, false)] {
            memory.write_obj(u16::to_le(value), wish).unwrap();
            assert_eq!(wants_to_hear(&queue, &memory, 6).unwrap(), heard, "{value}");
        }
        assert!(!wants_to_hear(&queue, &memory, 9).unwrap());
        queue.set_event_idx(false);
        for (flag, heard) in [(0, true), (1, false)] {
            memory.write_obj(u16::to_le(flag), mock.avail_addr()).unwrap();
            assert_eq!(wants_to_hear(&queue, &memory, 6).unwrap(), heard);
        }
    }
}
