//! The file server behind its queue, as a guest has it: requests of any shape, on a file system of their own. What it says to
//! its guest's kicks is what the program does; where it gives up, the program ends, and so does the input.

use crate::bytes::Bytes;
use fs_server::backend::{Backend, Memory, Ring, configuration};
use rustix::fs::{Mode, OFlags};
use server_memory::{Bytes as _, GuestAddress, GuestAddressSpace, GuestMemoryMmap};
use std::cell::Cell;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{Location, catch_unwind, set_hook, take_hook};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use sys::mount::{self, Depth, Propagation, Restrict};
use sys::namespace::{self, Kinds};
use vhost_user_backend::{VhostUserBackend, VringT};
use virtiofsd::passthrough::PassthroughFs;

/// The guest's memory, in bytes, and what lies in it.
const MEMORY: usize = 256 << 10;
const TABLE: u64 = 0x1000;
const AVAILABLE: u64 = 0x2000;
const USED: u64 = 0x3000;
const QUESTION: u64 = 0x1_0000;
const ANSWER: u64 = 0x2_0000;
const ENTRIES: u16 = 16;
/// Of a descriptor: another follows; the device writes.
const NEXT: u8 = 1;
const WRITE: u8 = 2;
/// The request that begins everything, and the last one that the library knows.
const INIT: u32 = 26;
const LAST: u8 = 52;
/// The most steps of one guest, and descriptors of its server: what takes more only takes longer.
const STEPS: usize = 300;
const DESCRIPTORS: u64 = 300;

/// Where panics are the library's: an offset that no file has, no room for an answer, what no kernel asks for. They end the
/// program as any request does that makes no sense, and so they are nothing that was found.
const LIBRARY: &str = "/virtiofsd-";

/// Where inputs go, and where it is said that one is over.
type Worker = Mutex<(Sender<Vec<u8>>, Receiver<bool>)>;

thread_local! {
    /// Whether this is the server's thread, and whether what panicked in it was not the library.
    static OWN: Cell<bool> = const { Cell::new(false) };
    static FOUND: Cell<bool> = const { Cell::new(false) };
}

/// The server changes the root, the users and the mask of its thread, so that it has one of its own here, too.
pub(crate) fn run(data: &[u8]) {
    static WORKER: OnceLock<Worker> = OnceLock::new();
    let worker = WORKER.get_or_init(|| {
        let (to, inputs) = channel::<Vec<u8>>();
        let (over, from) = channel();
        keep_panics();
        std::thread::spawn(move || {
            OWN.set(true);
            namespace::unshare(Kinds::MOUNT).expect("it needs root");
            mount::isolate_all(Propagation::Private).expect("mounts of its own");
            let descriptors = own_descriptors();
            while let Ok(input) = inputs.recv() {
                // Where the library panics the program ends, and with it the pod whose guest asked for that.
                let _ = catch_unwind(|| one(&descriptors, &input));
                if over.send(FOUND.get()).is_err() {
                    break;
                }
            }
        });
        Mutex::new((to, from))
    });
    let worker = worker.lock().unwrap_or_else(PoisonError::into_inner);
    worker.0.send(data.to_vec()).expect("it waits for inputs");
    assert!(!worker.1.recv().expect("it waits for inputs"), "the server panicked");
}

/// Keeps panics of the server's thread from ending the process there, where what broke something could not be written down.
fn keep_panics() {
    let usual = take_hook();
    set_hook(Box::new(move |panic| {
        if !OWN.get() {
            return usual(panic);
        }
        let at = panic.location().map(Location::file).unwrap_or_default();
        if !at.contains(LIBRARY) {
            eprintln!("{panic}");
            FOUND.set(true);
        }
    }));
}

/// As the program has them: by these the library opens again what it knows.
fn own_descriptors() -> OwnedFd {
    let tree = mount::copy_tree(rustix::fs::CWD, "/proc/self/fd", Depth::Single).expect("a procfs");
    let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(&tree, ".", folder, Mode::empty()).expect("its root")
}

fn one(descriptors: &OwnedFd, data: &[u8]) {
    // Nobody looks for a way out of what has no way out: what this thread sees is this file system alone.
    let rights = Restrict::NO_SUID.and(Restrict::NO_DEVICES);
    let options = [(c"mode", c"0755"), (c"size", c"1m"), (c"nr_inodes", c"400")];
    let root = mount::fresh(c"tmpfs", &options, rights).expect("a file system");
    mount::attach_at(root.as_fd(), c"/").expect("it covers the root");
    mount::become_root(root.as_fd()).expect("it is the root");
    drop(root);
    std::fs::create_dir("/folder").expect("room");
    std::fs::write("/file", "content").expect("room");
    std::os::unix::fs::symlink("/folder/../file", "/link").expect("room");
    let own = descriptors.try_clone().expect("a descriptor");
    let files = PassthroughFs::new(configuration(own, DESCRIPTORS, "/".to_owned()));
    let mut guest = Guest::new(Backend::new(files.expect("the root can be opened")));
    let mut bytes = Bytes(data);
    if bytes.byte() & 1 == 0 && !guest.greet() {
        return;
    }
    for _ in 0..STEPS {
        if bytes.is_empty() || !guest.step(&mut bytes) {
            break;
        }
    }
}

struct Guest {
    server: Backend,
    memory: Memory,
    ring: Ring,
    asked: u16,
    unique: u64,
}

impl Guest {
    fn new(server: Backend) -> Self {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY)]).expect("memory");
        let memory = Memory::new(memory);
        server.update_memory(memory.clone()).expect("it takes any memory");
        let ring = Ring::new(memory.clone(), 1024).expect("a queue");
        ring.set_queue_size(ENTRIES);
        ring.set_queue_info(TABLE, AVAILABLE, USED).expect("its places are sound");
        ring.set_queue_event_idx(true);
        ring.set_queue_ready(true);
        ring.set_enabled(true);
        Self { server, memory, ring, asked: 0, unique: 0 }
    }

    fn put(&self, bytes: &[u8], address: u64) {
        // Past the end it is as if it had not been tried.
        let _ = self.memory.memory().write_slice(bytes, GuestAddress(address));
    }

    fn describe(&self, slot: u8, address: u64, length: u32, flags: u8) {
        let at = TABLE + 16 * u64::from(slot);
        self.put(&address.to_le_bytes(), at);
        self.put(&length.to_le_bytes(), at + 8);
        self.put(&[flags, 0, slot.wrapping_add(1), 0], at + 12);
    }

    /// Makes what the table begins with available; whether the server goes on.
    fn kick(&mut self, head: u8) -> bool {
        let slot = u64::from(self.asked % ENTRIES);
        self.put(&[head, 0], AVAILABLE + 4 + 2 * slot);
        self.asked = self.asked.wrapping_add(1);
        self.put(&self.asked.to_le_bytes(), AVAILABLE + 2);
        self.server.serve(&self.ring).is_ok()
    }

    /// A request in so many pieces, with so much room for its answer.
    fn ask(&mut self, head: Head, body: &[u8], cut: usize, room: u32) -> bool {
        self.unique += 1;
        let length = head.length.unwrap_or(40 + body.len() as u32);
        let mut question: Vec<u8> = Vec::new();
        question.extend([length, head.request].map(u32::to_le_bytes).concat());
        question.extend([self.unique, head.node].map(u64::to_le_bytes).concat());
        question.extend([head.user, head.user, 77, 0].map(u32::to_le_bytes).concat());
        question.extend(body);
        self.put(&question, QUESTION);
        let all = question.len();
        let first = if cut == 0 || cut > all { all } else { cut };
        self.describe(0, QUESTION, first as u32, NEXT);
        let mut slot = 1;
        if first < all {
            self.describe(slot, QUESTION + first as u64, (all - first) as u32, NEXT);
            slot += 1;
        }
        // The room, too, may come in pieces.
        if room > 100 && cut % 2 == 1 {
            self.describe(slot, ANSWER + 0x8000, 50, NEXT | WRITE);
            slot += 1;
        }
        self.describe(slot, ANSWER, room, WRITE);
        self.kick(0)
    }

    /// The first request, as a kernel makes it.
    fn greet(&mut self) -> bool {
        let body = [7_u32, 38, 0, 1 << 27].map(u32::to_le_bytes).concat();
        let head = Head { request: INIT, node: 0, user: 0, length: None };
        self.ask(head, &body, 0, 0x1000)
    }

    /// Whether the server goes on.
    fn step(&mut self, bytes: &mut Bytes<'_>) -> bool {
        match bytes.byte() % 16 {
            0 => {
                // A descriptor that may be anything.
                let (slot, flags) = (bytes.byte() % 20, bytes.byte() % 8);
                let address = match bytes.byte() % 4 {
                    0 => u64::from(bytes.word()) << 32 | u64::from(bytes.word()),
                    1 => MEMORY as u64 - u64::from(bytes.byte()),
                    2 => TABLE + u64::from(bytes.half()),
                    _ => QUESTION + u64::from(bytes.byte()),
                };
                let length = bytes.word();
                self.describe(slot, address, length, flags);
                true
            }
            1 => {
                let head = bytes.byte();
                self.kick(head)
            }
            2 => {
                let claimed = bytes.half();
                self.put(&claimed.to_le_bytes(), AVAILABLE + 2);
                self.asked = claimed;
                self.server.serve(&self.ring).is_ok()
            }
            3 => {
                let at = QUESTION + u64::from(bytes.byte());
                self.put(bytes.take(64), at);
                true
            }
            4 => {
                self.server.reset_device();
                self.greet()
            }
            _ => self.request(bytes),
        }
    }

    fn request(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let request = u32::from(bytes.byte() % (LAST + 2));
        let shape = bytes.byte();
        let node = match shape % 16 {
            15 => u64::from(bytes.word()),
            near => u64::from(near),
        };
        let user = if shape & 0x10 == 0 { 0 } else { bytes.half().into() };
        let length = (shape & 0x20 != 0).then(|| bytes.word());
        let cut = if shape & 0x40 == 0 { 0 } else { usize::from(bytes.byte()) };
        let room = if shape & 0x80 == 0 { 0x4000 } else { u32::from(bytes.byte()) };
        let size = usize::from(bytes.byte());
        let body = bytes.take(size);
        self.ask(Head { request, node, user, length }, body, cut, room)
    }
}

/// What a request begins with.
struct Head {
    request: u32,
    node: u64,
    user: u32,
    /// What it says of its own length, if that is a lie.
    length: Option<u32>,
}
