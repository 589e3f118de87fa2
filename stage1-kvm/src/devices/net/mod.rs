//! The network device (virtio 1.2, section 5.1), one pair of queues, over a tap of the host's kernel.
//!
//! ```text
//! guest ── packets, to be summed and cut ──► header::check ──► tap     from where they lie
//! guest ◄── as much of each as was agreed on ── one buffer ◄── tap     while the guest has room; then they wait there
//! ```
//!
//! The tap is asked only when it has told of something new, and the guest is waited for only when it was seen to have no
//! room: neither side can make the other one spin. A packet that makes no sense is dropped, as one on a wire would be: who
//! sends it may be an app of the guest's; a chain that makes none is the driver's, and stops the device.

mod header;
mod packet;

use super::virtio::{Chain, Device, EVENT_NUMBERS, Misused, Served, Source, ring};
use header::{
    ADDRESS, BUFFERS, CHECKSUM, ECN, GUEST_CHECKSUM, GUEST_ECN, GUEST_TCP4, GUEST_TCP6, GUEST_UDP4,
    GUEST_UDP6, LENGTH, MERGED, MOST, MTU, STATUS, TCP4, TCP6, UDP,
};
use packet::Packet;
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use sys::tap::Offloads;
use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vm_memory::{GuestMemory, GuestMemoryMmap, Permissions, VolatileSlice};

const QUEUES: [u16; 2] = [256, 256];
/// The queue by which the guest receives; the other one sends.
const RECEIVE: usize = 0;
/// The most packets of one turn: then other devices have theirs.
const TURN: usize = 64;
/// What every tap can do for a guest that sends.
const SENT: u64 = CHECKSUM | TCP4 | TCP6 | ECN;
/// The link is up, and always is.
const UP: u16 = 1;

/// What a network device is made of.
#[derive(Debug)]
pub struct Nic {
    /// The tap, which blocks nobody and has headers of twelve bytes.
    pub tap: OwnedFd,
    /// Its address.
    pub address: [u8; 6],
    /// The largest packet, in bytes.
    pub mtu: u16,
    /// What the tap can be told to leave to the guest.
    pub offloads: Offloads,
}

/// The device.
#[derive(Debug)]
pub struct Net {
    configuration: [u8; 12],
    nic: Nic,
    agreed: u64,
    /// What the tap was last told, if it was told anything.
    told: Option<Offloads>,
    /// A packet for the guest, and how much of this is one.
    packet: Box<[u8]>,
    length: usize,
    /// Whether the tap may have more.
    readable: bool,
    sending: Sending,
    supply: Supply,
}

/// Whether the tap has room for packets, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sending {
    Free,
    /// It has none, and was not yet asked to say when it has.
    Full,
    /// It was.
    Awaited,
}

/// Whether the guest has room for packets, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Supply {
    /// Nobody needs to hear of more.
    Enough,
    /// It is to tell of new room.
    Short,
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It is gone.
    Done,
    /// The other side has no room for it.
    Waits,
}

impl Net {
    /// The device of a tap.
    pub fn new(nic: Nic) -> Self {
        let mut configuration = [0; 12];
        let pairs = 1_u16;
        let words = [UP, pairs, nic.mtu].map(u16::to_le_bytes);
        let bytes = nic.address.iter().chain(words.iter().flatten());
        for (to, from) in configuration.iter_mut().zip(bytes) {
            *to = *from;
        }
        Self {
            configuration,
            nic,
            agreed: 0,
            told: None,
            packet: vec![0; LENGTH + MOST].into_boxed_slice(),
            length: 0,
            readable: true,
            sending: Sending::Free,
            supply: Supply::Enough,
        }
    }

    /// Sends what the guest has for the tap; whether there is more.
    fn drain(&mut self, queue: &mut Queue, memory: &GuestMemoryMmap) -> Result<bool, Misused> {
        let mut packet = Packet::new();
        queue.disable_notification(memory)?;
        for _ in 0..TURN {
            if self.sending != Sending::Free {
                return Ok(false);
            }
            let Some(chain) = next(queue, memory)? else {
                if queue.enable_notification(memory)? {
                    continue;
                }
                return Ok(false);
            };
            let head = chain.head_index();
            packet.gather(chain, memory)?;
            match self.send(&mut packet) {
                Outcome::Done => ring::give_back(queue, memory, &[(head, 0)])?,
                Outcome::Waits => {
                    self.sending = Sending::Full;
                    queue.set_next_avail(queue.next_avail().wrapping_sub(1));
                }
            }
        }
        Ok(true)
    }

    fn send(&self, packet: &mut Packet<'_>) -> Outcome {
        let mtu = usize::from(self.nic.mtu);
        let header = header::check(&packet.header, packet.length, self.agreed, mtu);
        let Some(header) = header else {
            log::debug!("a packet of the guest's makes no sense");
            return Outcome::Done;
        };
        loop {
            match packet.write(self.nic.tap.as_fd(), &header) {
                Ok(()) => return Outcome::Done,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Outcome::Waits,
                Err(error) => {
                    // The link is down or gone, or the kernel finds sense in what we let pass as little as we in the rest.
                    log::debug!("a packet of the guest's is lost: {error}");
                    return Outcome::Done;
                }
            }
        }
    }

    /// Gives the guest what the tap has for it; whether there is more.
    fn fill(&mut self, queue: &mut Queue, memory: &GuestMemoryMmap) -> Result<bool, Misused> {
        if self.supply == Supply::Short {
            self.supply = Supply::Enough;
            queue.disable_notification(memory)?;
        }
        let mut room = Room::default();
        for _ in 0..TURN {
            if self.length == 0 && !self.receive() {
                return Ok(false);
            }
            match self.place(&mut room, queue, memory)? {
                Outcome::Done => self.length = 0,
                Outcome::Waits => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Takes the next packet of the tap; whether there is one.
    fn receive(&mut self) -> bool {
        while self.readable && self.agree() {
            match rustix::io::read(&self.nic.tap, &mut *self.packet) {
                Ok(length) if length > LENGTH => {
                    self.length = length;
                    return true;
                }
                Err(Errno::INTR) => {}
                // Until it tells of something new.
                other => {
                    if !matches!(other, Err(Errno::AGAIN)) {
                        log::debug!("the tap gives no packet: {other:?}");
                    }
                    self.readable = false;
                }
            }
        }
        false
    }

    /// Has the tap leave to the guest what was agreed on, and no more, before the first packet is taken; whether it does.
    fn agree(&mut self) -> bool {
        let wanted = left_to_guest(self.agreed).and(self.nic.offloads);
        // A tap that can be told nothing does everything by itself.
        if self.nic.offloads == Offloads::NONE || self.told == Some(wanted) {
            return true;
        }
        match sys::tap::leave(self.nic.tap.as_fd(), wanted) {
            Ok(()) => {
                self.told = Some(wanted);
                true
            }
            Err(error) => {
                log::warn!("a tap cannot be used: {error}");
                self.readable = false;
                false
            }
        }
    }

    /// Copies the packet into as many buffers as it needs.
    fn place<'a>(
        &mut self,
        room: &mut Room<'a>,
        queue: &mut Queue,
        memory: &'a GuestMemoryMmap,
    ) -> Result<Outcome, Misused> {
        let before = queue.next_avail();
        room.clear();
        while room.size < self.length {
            if let Some(chain) = next(queue, memory)? {
                room.add(chain, memory)?;
            } else if room.chains.len() >= usize::from(queue.size()) {
                // As much as the guest can ever have is too little.
                queue.set_next_avail(before);
                return Ok(Outcome::Done);
            } else if !queue.enable_notification(memory)? {
                // It tells of what comes beyond these.
                self.supply = Supply::Short;
                queue.set_next_avail(before);
                return Ok(Outcome::Waits);
            }
            if self.agreed & MERGED == 0 && room.size < self.length {
                queue.set_next_avail(before);
                return Ok(Outcome::Done);
            }
        }
        let count = u16::try_from(room.chains.len()).unwrap_or(u16::MAX);
        let place = self.packet.get_mut(BUFFERS..LENGTH).unwrap_or_default();
        place.copy_from_slice(&count.to_le_bytes());
        room.write(self.packet.get(..self.length).unwrap_or_default());
        ring::give_back(queue, memory, &room.chains)?;
        Ok(Outcome::Done)
    }
}

/// What a tap leaves to a guest that agreed on these features.
fn left_to_guest(agreed: u64) -> Offloads {
    if agreed & GUEST_CHECKSUM == 0 {
        return Offloads::NONE;
    }
    let each = [
        (GUEST_TCP4, Offloads::TCP4),
        (GUEST_TCP6, Offloads::TCP6),
        (GUEST_UDP4, Offloads::UDP4),
        (GUEST_UDP6, Offloads::UDP6),
    ];
    let known = each.into_iter().filter(|(feature, _)| agreed & feature != 0);
    let all = known.fold(Offloads::CHECKSUM, |all, (_, one)| all.or(one));
    let congestion = agreed & GUEST_ECN != 0 && agreed & (GUEST_TCP4 | GUEST_TCP6) != 0;
    if congestion { all.or(Offloads::ECN) } else { all }
}

/// Buffers of the guest's that a packet is copied into.
#[derive(Debug, Default)]
struct Room<'a> {
    pieces: Vec<VolatileSlice<'a>>,
    /// Each chain, and how many bytes of it are used.
    chains: Vec<(u16, u32)>,
    size: usize,
}

impl<'a> Room<'a> {
    fn clear(&mut self) {
        self.pieces.clear();
        self.chains.clear();
        self.size = 0;
    }

    fn add(&mut self, chain: Chain<'_>, memory: &'a GuestMemoryMmap) -> Result<(), Misused> {
        let (head, before) = (chain.head_index(), self.size);
        for buffer in chain.writable() {
            let length = usize::try_from(buffer.len()).unwrap_or(usize::MAX);
            let slices = GuestMemory::get_slices(memory, buffer.addr(), length, Permissions::Write)
                .map_err(virtio_queue::Error::GuestMemory)?;
            for slice in slices {
                let slice = slice.map_err(virtio_queue::Error::GuestMemory)?;
                self.size = self.size.saturating_add(slice.len());
                self.pieces.push(slice);
            }
            // No packet needs more.
            if self.size > LENGTH + MOST {
                break;
            }
        }
        // The first one has the header in one piece, as the standard wants it of every one.
        match self.size.saturating_sub(before) {
            0..LENGTH => Err(Misused::Request("no room for a packet")),
            size => {
                self.chains.push((head, u32::try_from(size).unwrap_or(u32::MAX)));
                Ok(())
            }
        }
    }

    /// Copies bytes, and notes how many each chain got.
    fn write(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        for piece in &self.pieces {
            let (now, later) = rest.split_at(piece.len().min(rest.len()));
            piece.copy_from(now);
            rest = later;
        }
        let mut left = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        for (_, used) in &mut self.chains {
            *used = left.min(*used);
            left -= *used;
        }
    }
}

/// The next chain of a queue.
fn next<'a>(queue: &mut Queue, memory: &'a GuestMemoryMmap) -> Result<Option<Chain<'a>>, Misused> {
    let chain = queue.iter(memory)?.next();
    match &chain {
        Some(chain) if chain.head_index() >= queue.size() => {
            Err(Misused::Queue(virtio_queue::Error::InvalidDescriptorIndex))
        }
        _ => Ok(chain),
    }
}

impl Device for Net {
    fn kind(&self) -> u32 {
        1
    }

    fn features(&self) -> u64 {
        let own = MTU | ADDRESS | MERGED | STATUS | EVENT_NUMBERS;
        let has = |offload| self.nic.offloads.and(offload) == offload;
        let udp = Offloads::UDP4.or(Offloads::UDP6);
        let known = [
            (Offloads::CHECKSUM, GUEST_CHECKSUM),
            (Offloads::TCP4, GUEST_TCP4),
            (Offloads::TCP6, GUEST_TCP6),
            (Offloads::ECN, GUEST_ECN),
            (udp, GUEST_UDP4 | GUEST_UDP6 | UDP),
        ];
        let left = known.into_iter().filter(|(offload, _)| has(*offload));
        left.fold(own | SENT, |all, (_, feature)| all | feature)
    }

    fn queues(&self) -> &[u16] {
        &QUEUES
    }

    fn configuration(&self) -> &[u8] {
        &self.configuration
    }

    fn source(&self) -> Option<Source<'_>> {
        Some(Source::Changed(self.nic.tap.as_fd()))
    }

    fn woken(&mut self) {
        (self.readable, self.sending) = (true, Sending::Free);
    }

    fn lacks_room(&mut self) -> bool {
        let full = self.sending == Sending::Full;
        if full {
            self.sending = Sending::Awaited;
        }
        full
    }

    fn start(&mut self, features: u64) {
        self.agreed = features;
    }

    fn reset(&mut self) {
        (self.agreed, self.length, self.supply) = (0, 0, Supply::Enough);
        (self.readable, self.sending) = (true, Sending::Free);
    }

    fn turn(
        &mut self,
        index: usize,
        queue: &mut Queue,
        memory: &GuestMemoryMmap,
    ) -> Result<Served, Misused> {
        let before = queue.next_used();
        let more =
            if index == RECEIVE { self.fill(queue, memory)? } else { self.drain(queue, memory)? };
        Ok(Served { tell: ring::wants_to_hear(queue, memory, before)?, more })
    }

    fn serve(&mut self, _: usize, _: Chain<'_>, _: &GuestMemoryMmap) -> Result<u32, Misused> {
        Err(Misused::Request("its queues are served by turns"))
    }
}

#[cfg(test)]
mod tests;
