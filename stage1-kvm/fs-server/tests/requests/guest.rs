//! A guest without a kernel: the registers of the device, one queue, and requests made byte by byte, so that they may be
//! such as no kernel would make.

use machine_memory::{Bytes, GuestAddress};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags};
use stage1_kvm::devices::fs::Fs;
use stage1_kvm::devices::virtio::Source as Woken;
use stage1_kvm::devices::virtio::mmio::Mmio;
use stage1_kvm::shares::{Line, Shares};
use stage1_kvm::vmm::bus::Registers;
use stage1_kvm::vmm::memory::Memory;
use stage2::mounts::{Access, Source};
use stage2::{MountPlan, MountStep};
use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;
use sys::mount::Depth;
use sys::process::End;
use testkit::wait::{deadline, readable};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// The request queue, and where everything is.
const QUEUE: u32 = 1;
const TABLE: u64 = 0x1000;
const AVAILABLE: u64 = 0x2000;
const USED: u64 = 0x3000;
const ENTRIES: u16 = 16;
const QUESTION: u64 = 0x10_0000;
const ANSWER: u64 = 0x20_0000;
const ROOM: u32 = 0x1_0000;
/// Of a descriptor: another follows; the device writes.
const NEXT: u16 = 1;
const WRITE: u16 = 2;
/// Of opening: for writing, and made if missing.
const MADE: u32 = 0o101;

/// The node of the root, and numbers of requests.
pub(crate) const ROOT: u64 = 1;
pub(crate) const LOOKUP: u32 = 1;
pub(crate) const SETATTR: u32 = 4;
pub(crate) const READLINK: u32 = 5;
pub(crate) const SYMLINK: u32 = 6;
pub(crate) const MKNOD: u32 = 8;
pub(crate) const MKDIR: u32 = 9;
pub(crate) const UNLINK: u32 = 10;
pub(crate) const RMDIR: u32 = 11;
pub(crate) const LINK: u32 = 13;
pub(crate) const OPEN: u32 = 14;
pub(crate) const READ: u32 = 15;
pub(crate) const WRITE_FILE: u32 = 16;
pub(crate) const SETXATTR: u32 = 21;
pub(crate) const INIT: u32 = 26;
pub(crate) const OPENDIR: u32 = 27;
pub(crate) const READDIR: u32 = 28;
pub(crate) const CREATE: u32 = 35;
pub(crate) const RENAME: u32 = 45;

/// A folder of the host's with what may be seen in `inside` and what may not beside it.
#[derive(Debug)]
pub(crate) struct Host(PathBuf);

impl Host {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("fs-server-{}-{number}", std::process::id()));
        for name in ["inside/folder", "outside"] {
            fs::create_dir_all(path.join(name)).unwrap();
        }
        fs::write(path.join("outside/secret"), "secret").unwrap();
        fs::write(path.join("inside/file"), "public").unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Everything outside, as it was.
    pub(crate) fn is_untouched(&self) {
        let names = |folder: &str| {
            let entries = fs::read_dir(self.path(folder)).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names("outside"), ["secret"]);
        assert_eq!(names("."), ["inside", "outside"]);
        assert_eq!(fs::read(self.path("outside/secret")).unwrap(), b"secret");
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// A volume.
pub(crate) fn volume(path: &Path, access: Access, depth: Depth) -> MountStep {
    MountStep { source: Source::Host(path.to_owned()), target: "/".into(), access, depth }
}

/// The server's process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: Pid,
    pidfd: OwnedFd,
}

impl Process {
    /// How it ends, which it has to.
    pub(crate) fn end(&self) -> End {
        assert!(readable(self.pidfd.as_fd(), Instant::now() + deadline()), "the server goes on");
        sys::process::wait_for(self.pid).unwrap()
    }
}

/// The guest.
pub(crate) struct Guest {
    memory: Memory,
    device: Mmio,
    /// The other devices.
    lines: Vec<Line>,
    kick: EventFd,
    interrupt: EventFd,
    told: OwnedFd,
    unique: u64,
    asked: u16,
    user: (u32, u32),
}

/// An error of the server's answer.
pub(crate) type Errno = i32;

impl Guest {
    /// A guest with these volumes, which has greeted the server.
    pub(crate) fn new(volumes: Vec<MountStep>) -> (Self, Process) {
        Self::of_devices(volumes, 1)
    }

    /// The same with so many devices at most, of which it speaks to the first.
    pub(crate) fn of_devices(volumes: Vec<MountStep>, devices: usize) -> (Self, Process) {
        let lock = File::open("/dev/null").unwrap();
        let (mut guest, process) = Self::silent(volumes, lock.as_fd(), devices);
        guest.greet();
        (guest, process)
    }

    /// A guest whose driver has done nothing yet.
    pub(crate) fn silent(
        volumes: Vec<MountStep>,
        lock: BorrowedFd<'_>,
        devices: usize,
    ) -> (Self, Process) {
        let plan = MountPlan { steps: volumes, implicit: Vec::new() };
        let (shares, _) = Shares::take(&[plan], devices).unwrap();
        let program = Path::new(env!("CARGO_BIN_EXE_fs-server"));
        let server = shares.unwrap().serve(program, lock, None).unwrap();
        let memory = Memory::new(32 << 20).unwrap();
        let interrupt = EventFd::new(EFD_NONBLOCK).unwrap();
        let mut lines = server.lines;
        let Line { tag, socket } = lines.remove(0);
        let fs = Box::new(Fs::new(&tag, socket).unwrap());
        let told = interrupt.try_clone().unwrap();
        let mut device = Mmio::new(fs, memory.guest().clone(), told).unwrap();
        let kicks = (0..device.queue_count()).map(|_| EventFd::new(EFD_NONBLOCK).unwrap());
        let kicks: Vec<EventFd> = kicks.collect();
        let kick = kicks[QUEUE as usize].try_clone().unwrap();
        assert!(device.keep(kicks).is_empty());
        let process = Process { pid: server.pid, pidfd: server.pidfd };
        let told = own(&interrupt);
        let (unique, asked, user) = (0, 0, (0, 0));
        (Self { memory, device, lines, kick, interrupt, told, unique, asked, user }, process)
    }

    /// Who asks from now on.
    pub(crate) fn becomes(&mut self, uid: u32, gid: u32) {
        self.user = (uid, gid);
    }

    fn write(&mut self, register: u64, value: u32) {
        self.device.write(register, &value.to_le_bytes());
    }

    pub(crate) fn read(&mut self, register: u64) -> u32 {
        let mut bytes = [0; 4];
        self.device.read(register, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    /// Sets the device up, and makes the first request.
    pub(crate) fn greet(&mut self) {
        self.set_up();
        // Version 7.38; it knows of file systems below one.
        let words = [7_u32, 38, 0, 1 << 27];
        let answer = self.ask(INIT, 0, &bytes(&words)).unwrap();
        assert_eq!(&answer[..4], 7_u32.to_le_bytes());
    }

    fn set_up(&mut self) {
        for address in [AVAILABLE, USED] {
            self.memory.write(&[0; 256], GuestAddress(address)).unwrap();
        }
        self.asked = 0;
        self.write(0x70, 3);
        self.write(0x24, 1);
        self.write(0x20, 1);
        self.write(0x70, 11);
        self.write(0x30, QUEUE);
        self.write(0x38, ENTRIES.into());
        for (register, address) in [(0x80, TABLE), (0x90, AVAILABLE), (0xa0, USED)] {
            self.write(register, u32::try_from(address).unwrap());
            self.write(register + 4, 0);
        }
        self.write(0x44, 1);
        self.write(0x70, 15);
        assert_eq!(self.read(0x70), 15, "the device does not start");
    }

    /// Has the driver begin anew.
    pub(crate) fn reset(&mut self) {
        self.write(0x70, 0);
        assert_eq!(self.read(0x70), 0);
    }

    /// Puts a chain of these descriptors (address, length, flags, next) into the queue.
    pub(crate) fn kick(&mut self, chain: &[(u64, u32, u16, u16)]) {
        for (place, (address, length, flags, next)) in (0_u64..).zip(chain) {
            let mut descriptor = address.to_le_bytes().to_vec();
            descriptor.extend(length.to_le_bytes());
            descriptor.extend(flags.to_le_bytes());
            descriptor.extend(next.to_le_bytes());
            self.memory.write(&descriptor, GuestAddress(TABLE + 16 * place)).unwrap();
        }
        let slot = u64::from(self.asked % ENTRIES);
        self.memory.write(&[0, 0], GuestAddress(AVAILABLE + 4 + 2 * slot)).unwrap();
        self.asked = self.asked.wrapping_add(1);
        let asked = self.asked;
        self.claim(asked);
    }

    /// Says that so many requests were made, ever.
    pub(crate) fn claim(&mut self, count: u16) {
        self.memory.write(&count.to_le_bytes(), GuestAddress(AVAILABLE + 2)).unwrap();
        self.kick.write(1).unwrap();
    }

    /// Writes what will be asked.
    pub(crate) fn put(&mut self, question: &[u8]) {
        self.memory.write(question, GuestAddress(QUESTION)).unwrap();
    }

    /// The usual chain: so many bytes of question, and room for an answer.
    pub(crate) fn chain(length: usize) -> [(u64, u32, u16, u16); 2] {
        let length = u32::try_from(length).unwrap();
        [(QUESTION, length, NEXT, 1), (ANSWER, ROOM, WRITE, 0)]
    }

    /// Asks, and waits for the answer.
    pub(crate) fn ask(&mut self, request: u32, node: u64, body: &[u8]) -> Result<Vec<u8>, Errno> {
        let question = self.question(request, node, body);
        self.put(&question);
        self.kick(&Self::chain(question.len()));
        let end = Instant::now() + deadline();
        while self.served() != self.asked {
            assert!(readable(self.told.as_fd(), end), "no answer");
            self.interrupt.read().unwrap();
        }
        // Signalled by another process, it still tells why.
        assert_eq!(self.read(0x60) & 1, 1);
        let mut head = [0; 16];
        self.memory.guest().read_slice(&mut head, GuestAddress(ANSWER)).unwrap();
        let length = u32::from_le_bytes(head[..4].try_into().unwrap());
        let error = i32::from_le_bytes(head[4..8].try_into().unwrap());
        assert_eq!(head[8..], self.unique.to_le_bytes(), "the answer to something else");
        let mut answer = vec![0; usize::try_from(length).unwrap() - 16];
        self.memory.guest().read_slice(&mut answer, GuestAddress(ANSWER + 16)).unwrap();
        if error == 0 { Ok(answer) } else { Err(-error) }
    }

    /// A request with its head.
    pub(crate) fn question(&mut self, request: u32, node: u64, body: &[u8]) -> Vec<u8> {
        self.unique += 1;
        let (uid, gid) = self.user;
        let length = u32::try_from(40 + body.len()).unwrap();
        let mut question = bytes(&[length, request]);
        question.extend(self.unique.to_le_bytes());
        question.extend(node.to_le_bytes());
        question.extend(bytes(&[uid, gid, 77, 0]));
        question.extend(body);
        question
    }

    fn served(&self) -> u16 {
        let mut count = [0; 2];
        self.memory.guest().read_slice(&mut count, GuestAddress(USED + 2)).unwrap();
        u16::from_le_bytes(count)
    }

    /// The node of a name.
    pub(crate) fn look(&mut self, node: u64, name: &str) -> Result<Node, Errno> {
        self.ask(LOOKUP, node, &text(name)).map(|answer| Node::of(&answer))
    }

    /// The node at a path of names below the root.
    pub(crate) fn walk(&mut self, path: &str) -> u64 {
        path.split('/').fold(ROOT, |node, name| self.look(node, name).unwrap().number)
    }

    /// What is in a file.
    pub(crate) fn content(&mut self, node: u64) -> Result<Vec<u8>, Errno> {
        let opened = self.ask(OPEN, node, &bytes(&[0, 0]))?;
        let mut body = opened[..8].to_vec();
        body.extend([0; 8]);
        body.extend(bytes(&[4096, 0, 0, 0, 0, 0]));
        self.ask(READ, node, &body)
    }

    /// Makes a file and writes to it.
    pub(crate) fn create(&mut self, node: u64, name: &str, content: &str) -> Result<Node, Errno> {
        let mut body = bytes(&[MADE, 0o644, 0o022, 0]);
        body.extend(text(name));
        let made = self.ask(CREATE, node, &body)?;
        let node = Node::of(&made);
        let mut body = made[128..136].to_vec();
        body.extend([0; 8]);
        body.extend(bytes(&[u32::try_from(content.len()).unwrap(), 0, 0, 0, 0, 0]));
        body.extend(content.as_bytes());
        self.ask(WRITE_FILE, node.number, &body)?;
        Ok(node)
    }

    /// What the other devices are called.
    pub(crate) fn others(&self) -> Vec<&str> {
        self.lines.iter().map(|line| &*line.tag).collect()
    }

    /// Has the device look at its socket; why the machine cannot go on, if it cannot.
    pub(crate) fn broken(&mut self) -> Option<String> {
        let end = Instant::now() + deadline();
        let (Woken::Filled(line) | Woken::Changed(line)) = self.device.source().unwrap();
        let line = line.try_clone_to_owned().unwrap();
        assert!(readable(line.as_fd(), end), "the socket stays open");
        self.device.woken();
        self.device.broken().map(str::to_owned)
    }
}

/// What the server tells of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) number: u64,
    pub(crate) inode: u64,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
}

impl Node {
    fn of(answer: &[u8]) -> Self {
        let long = |at: usize| u64::from_le_bytes(answer[at..at + 8].try_into().unwrap());
        let word = |at: usize| u32::from_le_bytes(answer[at..at + 4].try_into().unwrap());
        Self { number: long(0), inode: long(40), mode: word(100), owner: (word(108), word(112)) }
    }
}

/// Words, as the guest writes them.
pub(crate) fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A name, as the guest writes it.
pub(crate) fn text(name: &str) -> Vec<u8> {
    name.bytes().chain([0]).collect()
}

/// The event as a descriptor of its own: the event gives it as a number only.
fn own(event: &EventFd) -> OwnedFd {
    use std::os::fd::AsRawFd;
    let none = PidfdFlags::empty();
    let myself = rustix::process::pidfd_open(rustix::process::getpid(), none).unwrap();
    let none = PidfdGetfdFlags::empty();
    rustix::process::pidfd_getfd(&myself, event.as_raw_fd(), none).unwrap()
}
