//! The device's side that is ours: queues in, answers out. What a request means is the library's matter.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{MutexGuard, PoisonError, RwLock};
use std::time::Duration;
use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost_user_backend::bitmap::BitmapMmapRegion;
use vhost_user_backend::{VhostUserBackend, VringMutex, VringState, VringT};
use virtio_queue::{QueueOwnedT, QueueT};
use virtiofsd::descriptor_utils::{Reader, Writer};
use virtiofsd::passthrough::{CachePolicy, Config, NegotiationMode, PassthroughFs};
use virtiofsd::server::Server;
use vm_memory::{GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::event::{
    EventConsumer, EventFlag, EventNotifier, new_event_consumer_and_notifier,
};

/// One for what cannot wait, one for all other requests.
const QUEUES: usize = 2;
/// The most entries of a queue.
const ENTRIES: usize = 1024;
/// Features of the device: of the standard's first version, and telling of events by their numbers.
const VERSION_1: u64 = 1 << 32;
const EVENT_NUMBERS: u64 = 1 << 29;
/// How long the guest believes what it knows of names and attributes: what the host changes shows after that.
const BELIEVED: Duration = Duration::from_secs(1);
/// Descriptors that the server needs for itself.
const OWN_DESCRIPTORS: u64 = 64;

thread_local! {
    /// Whether the thread has a working folder of its own.
    static APART: Cell<bool> = const { Cell::new(false) };
}

/// The memory of the machine.
pub type Memory = GuestMemoryAtomic<GuestMemoryMmap<BitmapMmapRegion>>;
/// A queue.
pub type Ring = VringMutex<Memory>;

/// What the guest did that no driver does.
#[derive(Debug, thiserror::Error)]
pub enum Misused {
    /// A kick came before the memory.
    #[error("a request without any memory")]
    Nowhere,
    /// A ring that makes no sense.
    #[error("a queue that makes no sense")]
    Queue(#[source] virtio_queue::Error),
    /// Buffers outside of the memory.
    #[error("a request that lies nowhere")]
    Buffers(#[source] virtiofsd::descriptor_utils::Error),
    /// No request at all.
    #[error("a request that makes no sense")]
    Request(#[source] virtiofsd::Error),
    /// The machine takes no signals.
    #[error("the machine cannot be told")]
    Signal(#[source] io::Error),
}

/// Serves the requests of one machine.
pub struct Backend {
    server: Server<PassthroughFs>,
    memory: RwLock<Option<Memory>>,
}

/// How the files below a folder are served.
pub fn configuration(descriptors: OwnedFd, limit: u64, root: String) -> Config {
    Config {
        root_dir: root,
        entry_timeout: BELIEVED,
        attr_timeout: BELIEVED,
        // What was read is forgotten at the next opening if the file has changed, and what is written is written.
        cache_policy: CachePolicy::Auto,
        writeback: false,
        proc_sfd_rawfd: Some(File::from(descriptors)),
        xattr: true,
        posix_acl: NegotiationMode::Auto,
        // What another file system is has numbers of its own: without this, two files could seem to be one.
        announce_submounts: true,
        readdirplus: true,
        // Who writes to a file takes its set-id bits away, unless they may keep them.
        killpriv_v2: true,
        guest_fd_limit: limit.saturating_sub(OWN_DESCRIPTORS),
        ..Config::default()
    }
}

impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backend").finish_non_exhaustive()
    }
}

impl Backend {
    /// A server of these files.
    pub fn new(files: PassthroughFs) -> Self {
        Self { server: Server::new(files), memory: RwLock::new(None) }
    }

    /// Serves what waits in a ring.
    ///
    /// # Errors
    /// The guest did what no driver does: it cannot be served any more.
    pub fn serve(&self, ring: &Ring) -> Result<(), Misused> {
        let memory = self.memory.read().unwrap_or_else(PoisonError::into_inner);
        let memory = memory.as_ref().ok_or(Misused::Nowhere)?;
        let mut more = true;
        // The machine may stop the ring at any moment in between: what is in it means nothing then.
        while more {
            let Some(mut state) = running(ring) else { return Ok(()) };
            state.disable_notification().map_err(Misused::Queue)?;
            drop(state);
            while self.serve_one(ring, memory)? {}
            let Some(mut state) = running(ring) else { return Ok(()) };
            more = state.enable_notification().map_err(Misused::Queue)?;
        }
        Ok(())
    }

    /// Serves one request, if there is one. The ring cannot be taken away meanwhile: what is written to the guest's memory
    /// is written while the guest waits for it.
    fn serve_one(&self, ring: &Ring, memory: &Memory) -> Result<bool, Misused> {
        let Some(mut state) = running(ring) else { return Ok(false) };
        let memory = memory.memory();
        let queue = state.get_queue_mut();
        let mut waiting = queue.iter(memory.clone()).map_err(Misused::Queue)?;
        let Some(chain) = waiting.next() else { return Ok(false) };
        let head = chain.head_index();
        let reader = Reader::new(&memory, chain.clone()).map_err(Misused::Buffers)?;
        let writer = Writer::new(&memory, chain).map_err(Misused::Buffers)?;
        let written = self.server.handle_message(reader, writer, None::<&mut ()>);
        let written = u32::try_from(written.map_err(Misused::Request)?).unwrap_or(u32::MAX);
        state.add_used(head, written).map_err(Misused::Queue)?;
        if state.needs_notification().map_err(Misused::Queue)? {
            state.signal_used_queue().map_err(Misused::Signal)?;
        }
        Ok(true)
    }
}

/// The state of a ring, which does not change as long as this is held, if the ring runs.
fn running(ring: &Ring) -> Option<MutexGuard<'_, VringState<Memory>>> {
    let state = ring.get_mut();
    (state.is_enabled() && state.get_queue().ready()).then_some(state)
}

impl VhostUserBackend for Backend {
    type Bitmap = BitmapMmapRegion;
    type Vring = Ring;

    fn num_queues(&self) -> usize {
        QUEUES
    }

    fn max_queue_size(&self) -> usize {
        ENTRIES
    }

    fn features(&self) -> u64 {
        VERSION_1 | EVENT_NUMBERS | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::REPLY_ACK | VhostUserProtocolFeatures::RESET_DEVICE
    }

    /// The machine's driver begins anew, and knows no file any more.
    fn reset_device(&self) {
        self.server.destroy();
    }

    fn set_event_idx(&self, _: bool) {}

    fn update_memory(&self, memory: Memory) -> io::Result<()> {
        *self.memory.write().unwrap_or_else(PoisonError::into_inner) = Some(memory);
        Ok(())
    }

    fn exit_event(&self, _: usize) -> Option<(EventConsumer, EventNotifier)> {
        new_event_consumer_and_notifier(EventFlag::NONBLOCK).ok()
    }

    fn handle_event(&self, event: u16, _: EventSet, rings: &[Ring], _: usize) -> io::Result<()> {
        let Some(ring) = rings.get(usize::from(event)) else { return Ok(()) };
        // The library goes to folders and sets masks; other devices have threads that do the same.
        let apart = APART.get() || sys::process::own_folder().is_ok();
        APART.set(apart);
        if !apart {
            crate::log::say("a thread cannot have a working folder of its own");
            sys::process::leave(1);
        }
        if let Err(error) = self.serve(ring) {
            // Whoever serves only some of the requests leaves the guest waiting for ever.
            crate::log::say(&format!("the guest made {}", sys::cause::chain(&error)));
            sys::process::leave(1);
        }
        Ok(())
    }
}
