//! One thread for all devices: waits for kicks, and takes the lock of the device that was kicked.

use super::virtio;
use super::virtio::mmio::Mmio;
use crate::vmm::gate::Pass;
use crate::vmm::{Ending, STACK};
use rustix::event::{Timespec, epoll};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// What the thread waits for, until it is told to end.
#[derive(Debug)]
pub struct Loop {
    poll: OwnedFd,
    sources: Vec<Source>,
    stop: EventFd,
}

#[derive(Debug)]
struct Source {
    device: Arc<Mutex<Mmio>>,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    /// The guest kicks this queue by this event, which only has to stay open.
    Kick { _event: EventFd, queue: usize },
    /// What the device itself waits for.
    Own,
}

/// Each change is told of once.
const CHANGES: epoll::EventFlags =
    epoll::EventFlags::IN.union(epoll::EventFlags::OUT).union(epoll::EventFlags::ET);
/// The number of the event that ends the thread.
const STOP: u64 = u64::MAX;

impl Loop {
    /// A loop that waits for nothing yet.
    ///
    /// # Errors
    /// The kernel gives no descriptors.
    pub fn new() -> io::Result<Self> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let stop = EventFd::new(EFD_NONBLOCK)?;
        let data = epoll::EventData::new_u64(STOP);
        epoll::add(&poll, borrowed(&stop), data, epoll::EventFlags::IN)?;
        Ok(Self { poll, sources: Vec::new(), stop })
    }

    /// Waits for the kicks of a queue.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn add(&mut self, kick: EventFd, device: Arc<Mutex<Mmio>>, queue: usize) -> io::Result<()> {
        let data = epoll::EventData::new_u64(self.sources.len() as u64);
        // Each kick is told of once, and nobody has to take it back.
        let events = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&self.poll, borrowed(&kick), data, events)?;
        self.sources.push(Source { device, cause: Cause::Kick { _event: kick, queue } });
        Ok(())
    }

    /// Waits for what wakes a device besides the guest, if anything does.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn add_own(&mut self, device: Arc<Mutex<Mmio>>) -> io::Result<()> {
        let data = epoll::EventData::new_u64(self.sources.len() as u64);
        let waits = device.lock().ok().and_then(|device| {
            let (source, events) = match device.source()? {
                virtio::Source::Filled(source) => (source, epoll::EventFlags::IN),
                virtio::Source::Changed(source) => (source, CHANGES),
            };
            Some(epoll::add(&self.poll, source, data, events))
        });
        if let Some(outcome) = waits {
            outcome?;
            self.sources.push(Source { device, cause: Cause::Own });
        }
        Ok(())
    }

    /// Starts the thread; writing the event ends it. It also ends, and says so, when a device is so broken that the machine
    /// cannot go on.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start(
        self,
        pass: Pass,
        endings: Sender<Ending>,
    ) -> io::Result<(EventFd, JoinHandle<()>)> {
        let stop = self.stop.try_clone()?;
        let thread = std::thread::Builder::new().name("devices".to_owned()).stack_size(STACK);
        let live = move || {
            if pass.take() {
                self.live(&endings);
            }
        };
        Ok((stop, thread.spawn(live)?))
    }

    fn live(&self, endings: &Sender<Ending>) {
        let mut events = Vec::with_capacity(16);
        // Devices that have more to do than one turn allows.
        let mut busy: Vec<u64> = Vec::new();
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        loop {
            events.clear();
            let limit = (!busy.is_empty()).then_some(&now);
            match epoll::wait(&self.poll, rustix::buffer::spare_capacity(&mut events), limit) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    log::error!("devices cannot wait: {error}");
                    return;
                }
            }
            let again = std::mem::take(&mut busy).into_iter().map(|index| (index, Turn::Next));
            let woken = events.iter().map(|event| (event.data.u64(), Turn::First));
            for (number, turn) in woken.chain(again) {
                if number == STOP {
                    return;
                }
                let index = usize::try_from(number).unwrap_or(usize::MAX);
                let after =
                    self.sources.get(index).map_or(After::Idle, |own| self.serve(own, turn));
                match after {
                    After::Busy if !busy.contains(&number) => busy.push(number),
                    After::Busy | After::Idle => {}
                    After::Broken(why) => {
                        drop(endings.send(Ending::Broken(why)));
                        return;
                    }
                }
            }
        }
    }
}

/// Which turn of a device's this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Something has happened.
    First,
    /// The last one left something.
    Next,
}

/// How a device is after its turn.
#[derive(Debug)]
enum After {
    Idle,
    /// It has more to do.
    Busy,
    /// The machine cannot go on with it.
    Broken(String),
}

impl Loop {
    /// Has a device do what there is to do.
    fn serve(&self, source: &Source, turn: Turn) -> After {
        let Ok(mut device) = source.device.lock() else { return After::Idle };
        let more = match (&source.cause, turn) {
            (_, Turn::Next) => device.go_on(),
            (Cause::Kick { queue, .. }, Turn::First) => device.kicked(*queue),
            (Cause::Own, Turn::First) => device.woken(),
        };
        if device.lacks_room() {
            self.ask_for_room(source, &device);
        }
        match device.broken() {
            Some(why) => After::Broken(why.to_owned()),
            None if more => After::Busy,
            None => After::Idle,
        }
    }

    /// Has the kernel look again at what wakes a device: if there is room it says so at once, and otherwise as soon as
    /// there is some.
    fn ask_for_room(&self, source: &Source, device: &Mmio) {
        let own = self.sources.iter().position(|other| {
            matches!(other.cause, Cause::Own) && Arc::ptr_eq(&other.device, &source.device)
        });
        if let (Some(own), Some(virtio::Source::Changed(fd))) = (own, device.source()) {
            let data = epoll::EventData::new_u64(own as u64);
            if let Err(error) = epoll::modify(&self.poll, fd, data, CHANGES) {
                log::error!("a device cannot wait for room: {error}");
            }
        }
    }
}

/// The event as a descriptor.
#[expect(unsafe_code, reason = "the event gives its descriptor as a number only")]
fn borrowed(event: &EventFd) -> impl AsFd + '_ {
    use std::os::fd::AsRawFd;
    // SAFETY: the number is that of an open descriptor which the borrowed event owns.
    unsafe { std::os::fd::BorrowedFd::borrow_raw(event.as_raw_fd()) }
}
