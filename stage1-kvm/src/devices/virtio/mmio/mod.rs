//! The registers of a virtio device (virtio 1.2, section 4.2.2), version 2, in a page of their own.

use super::{Device, EVENT_NUMBERS, Rings, Source, VERSION_1};
use crate::vmm::bus::Registers;
use virtio_queue::{Queue, QueueT};
use vm_memory::GuestMemoryMmap;
use vmm_sys_util::eventfd::EventFd;

/// `virt`.
const MAGIC: u32 = 0x7472_6976;
const VERSION: u32 = 2;
/// `RKT`, for whoever looks.
const VENDOR: u32 = 0x0054_4b52;
/// Where the guest kicks a queue; its number is what is written.
pub const NOTIFY: u64 = 0x50;
/// Where the device's own configuration begins.
const CONFIGURATION: u64 = 0x100;

/// Bits of the status.
const FEATURES_OK: u32 = 8;
const DRIVER_OK: u32 = 4;
const NEEDS_RESET: u32 = 64;
/// Bits of the interrupt status: a buffer was used, the configuration has changed.
const USED: u32 = 1;
const CHANGED: u32 = 2;

/// A device with its registers.
pub struct Mmio {
    device: Box<dyn Device>,
    memory: GuestMemoryMmap,
    interrupt: EventFd,
    state: State,
    queues: Vec<Queue>,
    /// The events of the queues, where another process serves them.
    kicks: Vec<EventFd>,
    complaints: u8,
}

/// How often it is told that a driver went astray.
const MOST_COMPLAINTS: u8 = 8;

/// What the guest has written, as plain values.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    status: u32,
    interrupts: u32,
    /// Which half of the features is read, and written.
    shown: u32,
    taken: u32,
    features: u64,
    queue: u32,
}

impl std::fmt::Debug for Mmio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mmio").field("state", &self.state).finish_non_exhaustive()
    }
}

impl Mmio {
    /// Puts a device behind registers; it signals the guest by this event.
    ///
    /// # Errors
    /// The device has a queue of a size that none can have.
    pub fn new(
        device: Box<dyn Device>,
        memory: GuestMemoryMmap,
        interrupt: EventFd,
    ) -> Result<Self, virtio_queue::Error> {
        let queues =
            device.queues().iter().map(|size| Queue::new(*size)).collect::<Result<_, _>>()?;
        let (state, kicks) = (State::default(), Vec::new());
        Ok(Self { device, memory, interrupt, state, queues, kicks, complaints: 0 })
    }

    /// Keeps the events by which the queues are kicked if another process serves them; else gives them back, and somebody
    /// has to wait for them and say [`Self::kicked`].
    pub fn keep(&mut self, kicks: Vec<EventFd>) -> Vec<EventFd> {
        if self.device.remote().is_none() {
            return kicks;
        }
        self.kicks = kicks;
        Vec::new()
    }

    /// Why the machine cannot go on with this device, if it cannot.
    pub fn broken(&self) -> Option<&str> {
        self.device.broken()
    }

    /// How many queues it has.
    pub fn queue_count(&self) -> usize {
        self.queues.len()
    }

    /// What wakes the device besides the guest.
    pub fn source(&self) -> Option<Source<'_>> {
        self.device.source()
    }

    /// Whether what wakes the device besides the guest had no room since this was last asked.
    pub fn lacks_room(&mut self) -> bool {
        self.device.lacks_room()
    }

    /// The guest says that a queue has something for the device. Whether there is more to do, for [`Self::go_on`].
    pub fn kicked(&mut self, index: usize) -> bool {
        // What came by one queue may have an answer that goes by another.
        let all = 0..self.queues.len();
        let first = Some(index).filter(|index| all.contains(index));
        self.round(first.into_iter().chain(all.filter(|other| *other != index)))
    }

    /// Something else has.
    pub fn woken(&mut self) -> bool {
        self.device.woken();
        self.go_on()
    }

    /// The others have had their turn.
    pub fn go_on(&mut self) -> bool {
        self.round(0..self.queues.len())
    }

    /// Serves queues in turn. One that the device could not go on with may be served again when others have made room.
    fn round(&mut self, order: impl Iterator<Item = usize>) -> bool {
        let (mut more, mut refused) = (false, 0_u64);
        for index in order {
            more |= self.serve(index);
            if !self.device.wants(index) {
                refused |= 1 << index;
            }
        }
        let mut refused = (0..self.queues.len()).filter(|index| refused >> index & 1 == 1);
        more | refused.any(|index| self.device.wants(index))
    }

    fn serve(&mut self, index: usize) -> bool {
        if !self.kicks.is_empty() {
            return false;
        }
        if self.state.status & DRIVER_OK == 0 || self.state.status & NEEDS_RESET != 0 {
            return false;
        }
        let queue = self.queues.get_mut(index).filter(|queue| queue.ready());
        let Some(queue) = queue else { return false };
        match self.device.turn(index, queue, &self.memory) {
            Ok(served) => {
                if served.tell {
                    self.signal(USED);
                }
                served.more
            }
            Err(error) => {
                self.fail(&error.to_string());
                false
            }
        }
    }

    /// Stops a device whose driver has gone astray; the guest may reset it.
    fn fail(&mut self, why: &str) {
        // A guest may go astray as often as it likes, and is told of a few times.
        if self.complaints < MOST_COMPLAINTS {
            self.complaints += 1;
            log::warn!("virtio device {}: {why}", self.device.kind());
        }
        self.state.status |= NEEDS_RESET;
        self.signal(CHANGED);
    }

    /// Raises the interrupt, unless the guest has not yet taken notice of the last one for the same cause: it looks at its
    /// queues after it has, and each interrupt costs it two more exits.
    fn signal(&mut self, what: u32) {
        if self.state.interrupts & what == what {
            return;
        }
        self.state.interrupts |= what;
        if let Err(error) = self.interrupt.write(1) {
            log::debug!("cannot signal the guest: {error}");
        }
    }

    fn features(&self) -> u64 {
        self.device.features() | VERSION_1
    }

    fn chosen(&mut self) -> Option<&mut Queue> {
        let index = usize::try_from(self.state.queue).ok()?;
        // Nothing about a queue changes while the device may be using it.
        let active = self.state.status & DRIVER_OK != 0;
        self.queues.get_mut(index).filter(|_| !active)
    }

    fn set_status(&mut self, value: u32) {
        if value == 0 {
            self.state = State::default();
            self.queues.iter_mut().for_each(Queue::reset);
            self.device.reset();
            return;
        }
        // The driver never takes a bit back, and only the device asks for a reset.
        let mut status = value & !NEEDS_RESET | self.state.status;
        if status & FEATURES_OK != 0 {
            let known = self.state.features & !self.features() == 0;
            if !known || self.state.features & VERSION_1 == 0 {
                status &= !FEATURES_OK;
            }
        }
        let starts = status & DRIVER_OK != 0 && self.state.status & DRIVER_OK == 0;
        self.state.status = status;
        let sound = |queue: &Queue| !queue.ready() || queue.is_valid(&self.memory);
        if starts && (status & FEATURES_OK == 0 || !self.queues.iter().all(sound)) {
            self.fail("a queue lies outside of memory, or features were not agreed on");
        } else if starts && let Some(remote) = self.device.remote() {
            let rings = Rings {
                features: self.state.features,
                queues: &self.queues,
                kicks: &self.kicks,
                interrupt: &self.interrupt,
                memory: &self.memory,
            };
            if let Err(error) = remote.start(&rings) {
                self.fail(&error.to_string());
            }
        } else if starts {
            let numbers = self.state.features & EVENT_NUMBERS != 0;
            self.queues.iter_mut().for_each(|queue| queue.set_event_idx(numbers));
            self.device.start(self.state.features);
        }
    }

    fn read_register(&self, offset: u64) -> u32 {
        let queue = usize::try_from(self.state.queue).ok().and_then(|index| self.queues.get(index));
        match offset {
            0x000 => MAGIC,
            0x004 => VERSION,
            0x008 => self.device.kind(),
            0x00c => VENDOR,
            0x010 => half(self.features(), self.state.shown),
            0x034 => queue.map_or(0, |queue| queue.max_size().into()),
            0x044 => queue.map_or(0, |queue| queue.ready().into()),
            // Who serves the queues elsewhere signals the guest without a word to us: there may always be something.
            0x060 if !self.kicks.is_empty() => self.state.interrupts | USED,
            0x060 => self.state.interrupts,
            0x070 => self.state.status,
            // No memory of the device's own: a length of all ones says so.
            0x0b0..=0x0bc => u32::MAX,
            // The configuration's generation: it never changes.
            _ => 0,
        }
    }

    fn write_register(&mut self, offset: u64, value: u32) {
        match offset {
            0x014 => self.state.shown = value,
            0x020 if self.state.status & FEATURES_OK == 0 => match self.state.taken {
                0 => self.state.features = self.state.features >> 32 << 32 | u64::from(value),
                1 => {
                    let low = self.state.features & u64::from(u32::MAX);
                    self.state.features = u64::from(value) << 32 | low;
                }
                _ => {}
            },
            0x024 => self.state.taken = value,
            0x030 => self.state.queue = value,
            0x064 => self.state.interrupts &= !value,
            0x070 => self.set_status(value),
            _ => {
                if let Some(queue) = self.chosen() {
                    set_queue(queue, offset, value);
                }
            }
        }
    }
}

fn half(value: u64, which: u32) -> u32 {
    let shifted = match which {
        0 => value,
        1 => value >> 32,
        _ => 0,
    };
    u32::try_from(shifted & u64::from(u32::MAX)).unwrap_or_default()
}

fn set_queue(queue: &mut Queue, offset: u64, value: u32) {
    match offset {
        0x038 => queue.set_size(u16::try_from(value).unwrap_or(0)),
        0x044 => queue.set_ready(value == 1),
        0x080 => queue.set_desc_table_address(Some(value), None),
        0x084 => queue.set_desc_table_address(None, Some(value)),
        0x090 => queue.set_avail_ring_address(Some(value), None),
        0x094 => queue.set_avail_ring_address(None, Some(value)),
        0x0a0 => queue.set_used_ring_address(Some(value), None),
        0x0a4 => queue.set_used_ring_address(None, Some(value)),
        _ => {}
    }
}

impl Registers for Mmio {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        if let Some(from) = offset.checked_sub(CONFIGURATION) {
            let all = self.device.configuration();
            let found = usize::try_from(from).ok().and_then(|from| all.get(from..));
            for (byte, known) in data.iter_mut().zip(found.unwrap_or_default()) {
                *byte = *known;
            }
        } else if let Ok(register) = <&mut [u8; 4]>::try_from(data) {
            *register = self.read_register(offset).to_le_bytes();
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        let Ok(register) = <[u8; 4]>::try_from(data) else { return };
        let value = u32::from_le_bytes(register);
        // Instead of a kick of a queue there is no exit but an event of the kernel's, for the thread of the devices: what comes
        // here has the number of none.
        if offset != NOTIFY && offset < CONFIGURATION {
            self.write_register(offset, value);
        }
    }
}

#[cfg(test)]
mod tests;
