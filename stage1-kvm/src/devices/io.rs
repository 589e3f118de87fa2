//! One thread for all devices: waits for kicks, and takes the lock of the device that was kicked.

use super::virtio::mmio::Mmio;
use crate::vmm::gate::Pass;
use crate::vmm::{Ending, STACK};
use rustix::event::epoll;
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
    /// The guest kicks this queue by this event.
    Kick(EventFd, usize),
    /// What the device itself waits for.
    Own,
}

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
        epoll::add(&self.poll, borrowed(&kick), data, epoll::EventFlags::IN)?;
        self.sources.push(Source { device, cause: Cause::Kick(kick, queue) });
        Ok(())
    }

    /// Waits for what wakes a device besides the guest, if anything does.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn add_own(&mut self, device: Arc<Mutex<Mmio>>) -> io::Result<()> {
        let data = epoll::EventData::new_u64(self.sources.len() as u64);
        let waits = device.lock().ok().and_then(|device| {
            let source = device.source()?;
            Some(epoll::add(&self.poll, source, data, epoll::EventFlags::IN))
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
        loop {
            events.clear();
            match epoll::wait(&self.poll, rustix::buffer::spare_capacity(&mut events), None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    log::error!("devices cannot wait: {error}");
                    return;
                }
            }
            for event in &events {
                let number = event.data.u64();
                if number == STOP {
                    return;
                }
                let index = usize::try_from(number).unwrap_or(usize::MAX);
                let source = self.sources.get(index);
                if let Some(why) = source.and_then(Source::serve) {
                    drop(endings.send(Ending::Broken(why)));
                    return;
                }
            }
        }
    }
}

impl Source {
    /// Has the device do what there is to do; why the machine cannot go on, if it cannot.
    fn serve(&self) -> Option<String> {
        if let Cause::Kick(event, _) = &self.cause {
            // Only takes the event back; that there was one is known.
            drop(event.read());
        }
        let mut device = self.device.lock().ok()?;
        match self.cause {
            Cause::Kick(_, queue) => device.kicked(queue),
            Cause::Own => device.woken(),
        }
        device.broken().map(str::to_owned)
    }
}

/// The event as a descriptor.
#[expect(unsafe_code, reason = "the event gives its descriptor as a number only")]
fn borrowed(event: &EventFd) -> impl AsFd + '_ {
    use std::os::fd::AsRawFd;
    // SAFETY: the number is that of an open descriptor which the borrowed event owns.
    unsafe { std::os::fd::BorrowedFd::borrow_raw(event.as_raw_fd()) }
}
