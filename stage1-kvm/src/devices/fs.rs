//! The file system device (virtio 1.2, section 5.11): folders of the host's, which another process serves.
//!
//! The machine has no part in it but the registers: the server reads and writes the guest's memory by itself, the guest's
//! kicks go to it, and its signals to the guest. It hears of memory and queues by vhost-user, on a socket; when that is
//! closed, the machine cannot go on.

use super::virtio::{
    Chain, Device, EVENT_NUMBERS, Misused, Remote, Rings, Source, Unserved, VERSION_1,
};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use virtio_queue::{Queue, QueueT};
use vm_memory::{GuestMemoryBackend, GuestMemoryMmap};

/// What cannot wait, and all requests. The second one holds a whole megabyte, a page an entry.
const QUEUES: [u16; 2] = [128, 1024];
/// The most bytes of a tag.
pub const TAG: usize = 36;
/// What a server must be able to do beyond the device: to say when it has done something, and to begin anew.
const PROTOCOL: VhostUserProtocolFeatures =
    VhostUserProtocolFeatures::REPLY_ACK.union(VhostUserProtocolFeatures::RESET_DEVICE);

/// The device.
pub struct Fs {
    configuration: [u8; TAG + 4],
    server: Frontend,
    /// The same socket, to see whether it is closed, and to close it.
    line: UnixStream,
    phase: Phase,
}

/// How far the server has got.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    /// It has not been spoken to.
    New,
    /// It knows whom it serves.
    Owned,
    /// These queues run.
    Running(Vec<usize>),
    /// It is of no use any more, and why.
    Broken(String),
}

impl std::fmt::Debug for Fs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fs").field("phase", &self.phase).finish_non_exhaustive()
    }
}

impl Fs {
    /// A device of this tag, whose server listens at the other end of the socket, or soon will.
    ///
    /// # Errors
    /// The tag is too long, or there are no descriptors left.
    pub fn new(tag: &str, server: UnixStream) -> io::Result<Self> {
        let mut configuration = [0; TAG + 4];
        let [name @ .., one, _, _, _] = &mut configuration;
        let place = name.get_mut(..tag.len()).filter(|place| !place.is_empty());
        place.ok_or(io::ErrorKind::InvalidInput)?.copy_from_slice(tag.as_bytes());
        *one = 1;
        let line = server.try_clone()?;
        let server = Frontend::from_stream(server, QUEUES.len() as u64);
        Ok(Self { configuration, server, line, phase: Phase::New })
    }

    /// Greets the server, once.
    fn own(&mut self) -> Result<(), vhost::Error> {
        self.server.set_owner()?;
        let offered = self.server.get_features()?;
        let wanted = self.features() | VERSION_1 | protocol_bit();
        let known = self.server.get_protocol_features()?;
        if offered & wanted != wanted || !known.contains(PROTOCOL) {
            let problem = "the server is another one";
            return Err(vhost::vhost_user::Error::InvalidOperation(problem).into());
        }
        self.server.set_protocol_features(PROTOCOL)
    }

    fn run(&mut self, rings: &Rings<'_>) -> Result<Vec<usize>, vhost::Error> {
        if self.phase == Phase::New {
            self.own()?;
            self.phase = Phase::Owned;
        }
        self.server.set_features(rings.features | protocol_bit())?;
        self.server.set_mem_table(&regions(rings.memory)?)?;
        let mut running = Vec::new();
        for (index, (queue, kick)) in rings.queues.iter().zip(rings.kicks).enumerate() {
            if !queue.ready() {
                continue;
            }
            self.server.set_vring_num(index, queue.size())?;
            self.server.set_vring_addr(index, &addresses(queue))?;
            self.server.set_vring_base(index, 0)?;
            self.server.set_vring_call(index, rings.interrupt)?;
            self.server.set_vring_kick(index, kick)?;
            self.server.set_vring_enable(index, true)?;
            running.push(index);
        }
        Ok(running)
    }

    fn halt(&mut self, running: &[usize]) -> Result<(), vhost::Error> {
        for index in running {
            self.server.get_vring_base(*index)?;
        }
        self.server.reset_device()
    }

    fn fail(&mut self, error: &vhost::Error) -> Unserved {
        let why = format!("the file server does not serve: {error}");
        // Whoever waits for the socket to be closed learns of it, too.
        if let Err(error) = self.line.shutdown(Shutdown::Both) {
            log::debug!("the file server is gone: {error}");
        }
        self.phase = Phase::Broken(why.clone());
        Unserved(why)
    }
}

fn protocol_bit() -> u64 {
    VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
}

/// The guest's memory for the server. Where it lies here is nobody else's business: guest addresses stand for ours.
fn regions(memory: &GuestMemoryMmap) -> Result<Vec<VhostUserMemoryRegionInfo>, vhost::Error> {
    let info = |region| {
        let own = VhostUserMemoryRegionInfo::from_guest_region(region)?;
        Ok(VhostUserMemoryRegionInfo { userspace_addr: own.guest_phys_addr, ..own })
    };
    memory.iter().map(info).collect()
}

fn addresses(queue: &Queue) -> VringConfigData {
    VringConfigData {
        queue_max_size: queue.max_size(),
        queue_size: queue.size(),
        flags: 0,
        desc_table_addr: queue.desc_table(),
        used_ring_addr: queue.used_ring(),
        avail_ring_addr: queue.avail_ring(),
        log_addr: None,
    }
}

impl Device for Fs {
    fn kind(&self) -> u32 {
        26
    }

    fn features(&self) -> u64 {
        EVENT_NUMBERS
    }

    fn queues(&self) -> &[u16] {
        &QUEUES
    }

    fn configuration(&self) -> &[u8] {
        &self.configuration
    }

    fn source(&self) -> Option<Source<'_>> {
        Some(Source::Filled(self.line.as_fd()))
    }

    fn woken(&mut self) {
        // What comes is an answer, and somebody's who waits for it. Nothing at all is the end.
        let looked = recv(&self.line, &mut [0_u8; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        let open = matches!(looked, Ok((1.., _)) | Err(Errno::AGAIN | Errno::INTR));
        if !open && !matches!(self.phase, Phase::Broken(_)) {
            self.phase = Phase::Broken("the file server has ended".to_owned());
        }
    }

    fn broken(&self) -> Option<&str> {
        if let Phase::Broken(why) = &self.phase { Some(why) } else { None }
    }

    fn reset(&mut self) {
        if let Phase::Running(running) = self.phase.clone() {
            match self.halt(&running) {
                Ok(()) => self.phase = Phase::Owned,
                Err(error) => drop(self.fail(&error)),
            }
        }
    }

    fn remote(&mut self) -> Option<&mut dyn Remote> {
        Some(self)
    }

    fn serve(&mut self, _: usize, _: Chain<'_>, _: &GuestMemoryMmap) -> Result<u32, Misused> {
        Err(Misused::Request("its queues are served elsewhere"))
    }
}

impl Remote for Fs {
    fn start(&mut self, rings: &Rings<'_>) -> Result<(), Unserved> {
        if let Phase::Broken(why) = &self.phase {
            return Err(Unserved(why.clone()));
        }
        match self.run(rings) {
            Ok(running) => {
                self.phase = Phase::Running(running);
                Ok(())
            }
            Err(error) => Err(self.fail(&error)),
        }
    }
}
