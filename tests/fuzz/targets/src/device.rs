//! Virtio devices behind their registers, as a guest has them: registers of any width, rings and chains of any shape, memory
//! that is written between any two of these.

use crate::bytes::Bytes;
use stage1_kvm::devices::blk::Blk;
use stage1_kvm::devices::disk::Disk;
use stage1_kvm::devices::net::{Net, Nic};
use stage1_kvm::devices::rng::Rng;
use stage1_kvm::devices::serial::SerialPort;
use stage1_kvm::devices::virtio::Device;
use stage1_kvm::devices::virtio::mmio::Mmio;
use stage1_kvm::devices::vsock::Vsock;
use stage1_kvm::vmm::bus::Registers;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::sync::{Arc, Mutex};
use sys::tap::Offloads;
use vm_memory::{Bytes as _, GuestAddress, GuestMemoryMmap};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// The guest's memory, in bytes, and where its queues begin: each has a table and two rings there.
const MEMORY: usize = 256 << 10;
const QUEUES: u64 = 0x8000;
const QUEUE: u64 = 0x4000;
/// The most steps of one guest: what takes more only takes longer.
const STEPS: usize = 2000;

/// The other ends of a guest's connections.
type Peers = Arc<Mutex<Vec<UnixStream>>>;

struct Driver {
    device: Mmio,
    memory: GuestMemoryMmap,
    peers: Peers,
    /// What was made available of each queue so far.
    offered: [u16; 4],
    /// What the driver agrees on, besides the version.
    features: u64,
}

impl Driver {
    fn new(device: Box<dyn Device>, peers: Peers) -> Self {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY)]).expect("memory");
        let interrupt = EventFd::new(EFD_NONBLOCK).expect("an event");
        let device = Mmio::new(device, memory.clone(), interrupt).expect("its queues are sound");
        Self { device, memory, peers, offered: [0; 4], features: 0 }
    }

    fn register(&mut self, offset: u64, value: u32) {
        self.device.write(offset, &value.to_le_bytes());
    }

    fn put(&self, bytes: &[u8], address: u64) {
        // Past the end it is as if it had not been tried.
        let _ = self.memory.write_slice(bytes, GuestAddress(address));
    }

    /// Does what a driver does that means well.
    fn start(&mut self, size: u32) {
        self.register(0x70, 0);
        self.register(0x70, 3);
        self.register(0x20, self.features as u32);
        self.register(0x24, 1);
        self.register(0x20, (self.features >> 32) as u32 | 1);
        self.register(0x70, 11);
        for queue in 0..4_u32 {
            let at = (QUEUES + QUEUE * u64::from(queue)) as u32;
            self.register(0x30, queue);
            self.register(0x38, size);
            for (register, offset) in [(0x80, 0), (0x90, 0x2000), (0xa0, 0x3000)] {
                self.register(register, at + offset);
                self.register(register + 4, 0);
            }
            self.register(0x44, 1);
            self.put(&[0; 4], u64::from(at) + 0x2000);
        }
        self.offered = [0; 4];
        self.register(0x70, 15);
    }

    /// Describes a buffer: mostly within memory, at times anywhere.
    fn describe(&self, bytes: &mut Bytes<'_>) {
        let queue = QUEUES + QUEUE * u64::from(bytes.byte() % 4);
        let slot = u64::from(bytes.byte());
        let address = match bytes.byte() % 8 {
            0 => u64::from(bytes.word()) << 32 | u64::from(bytes.word()),
            1 => MEMORY as u64 - u64::from(bytes.byte()),
            2 => queue + u64::from(bytes.byte()) * 16,
            _ => u64::from(bytes.half()),
        };
        let length = match bytes.byte() % 8 {
            0 => bytes.word(),
            1 => bytes.half().into(),
            _ => bytes.byte().into(),
        };
        let (flags, next) = (bytes.byte() % 8, bytes.byte());
        self.put(&address.to_le_bytes(), queue + 16 * slot);
        self.put(&length.to_le_bytes(), queue + 16 * slot + 8);
        self.put(&[flags, 0, next, 0], queue + 16 * slot + 12);
    }

    fn offer(&mut self, queue: u8, head: u16, size: u16) {
        let index = usize::from(queue % 4);
        let ring = QUEUES + QUEUE * index as u64 + 0x2000;
        let slot = self.offered[index] % size.max(1);
        self.offered[index] = self.offered[index].wrapping_add(1);
        self.put(&head.to_le_bytes(), ring + 4 + 2 * u64::from(slot));
        self.put(&self.offered[index].to_le_bytes(), ring + 2);
    }

    fn step(&mut self, bytes: &mut Bytes<'_>) {
        match bytes.byte() % 12 {
            0 => {
                let (offset, value) = (u64::from(bytes.half() % 0x120), bytes.word());
                let width = [1, 2, 4, 8][usize::from(bytes.byte() % 4)];
                let value = u64::from(value).to_le_bytes();
                self.device.write(offset, &value[..width]);
            }
            1 => {
                let mut room = [0; 8];
                let width = [1, 2, 4, 8][usize::from(bytes.byte() % 4)];
                self.device.read(u64::from(bytes.half() % 0x1000), &mut room[..width]);
            }
            2 => {
                let address = u64::from(bytes.word()) % (MEMORY as u64);
                self.put(bytes.take(16), address);
            }
            3..=5 => self.describe(bytes),
            6 => {
                let (queue, head) = (bytes.byte(), bytes.byte());
                self.offer(queue, head.into(), 8);
                self.device.kicked(usize::from(queue % 4));
            }
            7 => {
                self.device.kicked(usize::from(bytes.byte()));
            }
            8 => {
                if self.device.woken() {
                    self.device.go_on();
                }
            }
            9 => self.start(8),
            10 => {
                // A request of the disk, or the head of a packet, where buffers mostly lie.
                let address = u64::from(bytes.half());
                self.put(bytes.take(44), address);
            }
            _ => self.peer(bytes),
        }
    }

    /// The host's end of a connection says something, listens, or goes.
    fn peer(&self, bytes: &mut Bytes<'_>) {
        let mut peers = self.peers.lock().expect("nobody panicked");
        let (what, which) = (bytes.byte(), usize::from(bytes.byte()));
        if peers.is_empty() {
            return;
        }
        let index = which % peers.len();
        match what % 3 {
            0 => {
                let text = bytes.take(usize::from(what) * 8);
                let _ = peers[index].write(text);
            }
            1 => {
                let _ = peers[index].read(&mut [0; 4096]);
            }
            _ => drop(peers.swap_remove(index)),
        }
    }
}

fn run(device: Box<dyn Device>, peers: Peers, data: &[u8]) {
    run_with(device, peers, 0, Bytes(data));
}

fn run_with(device: Box<dyn Device>, peers: Peers, features: u64, mut bytes: Bytes<'_>) {
    let mut driver = Driver::new(device, peers);
    driver.features = features;
    driver.start(8);
    for _ in 0..STEPS {
        if bytes.is_empty() {
            break;
        }
        driver.step(&mut bytes);
    }
}

pub(crate) fn rng(data: &[u8]) {
    run(Box::new(Rng), Peers::default(), data);
}

pub(crate) fn blk(data: &[u8]) {
    let name = rustix::fs::memfd_create(c"disk", rustix::fs::MemfdFlags::CLOEXEC);
    let mut file = File::from(name.expect("a file"));
    file.write_all(&[7; 3000]).expect("room");
    let disk = Disk::new(vec![file]).expect("a disk");
    run(Box::new(Blk::new(disk)), Peers::default(), data);
}

pub(crate) fn vsock(data: &[u8]) {
    let peers = Peers::default();
    let kept = Arc::clone(&peers);
    let open = move |port: u32| {
        if port % 4 == 3 {
            return Err(std::io::ErrorKind::ConnectionRefused.into());
        }
        let (ours, theirs) = UnixStream::pair()?;
        theirs.set_nonblocking(true)?;
        kept.lock().expect("nobody panicked").push(theirs);
        Ok(ours)
    };
    run(Box::new(Vsock::new(3, Box::new(open)).expect("a device")), peers, data);
}

pub(crate) fn net(data: &[u8]) {
    let (tap, other) = UnixDatagram::pair().expect("a line of packets");
    tap.set_nonblocking(true).expect("it does not wait");
    other.set_nonblocking(true).expect("nor does this");
    // Only written and read, which a stream can, too.
    let peers: Peers = Arc::new(Mutex::new(vec![UnixStream::from(OwnedFd::from(other))]));
    let address = [2, 0, 0, 0, 0, 1];
    let nic = Nic { tap: tap.into(), address, mtu: 200, offloads: Offloads::NONE };
    let device = Net::new(nic);
    let mut bytes = Bytes(data);
    // All that it offers, or some: events by numbers, buffers that are merged, checksums, and packets to be cut.
    let chosen = u64::from(bytes.byte());
    let bits = [29, 15, 0, 11, 12, 13, 3, 16].into_iter().enumerate();
    let features = bits.filter(|(place, _)| chosen >> place & 1 == 1);
    let features = features.fold(0, |all, (_, bit)| all | 1 << bit) & device.features();
    run_with(Box::new(device), peers, features, bytes);
}

pub(crate) fn serial(data: &[u8]) {
    let name = rustix::fs::memfd_create(c"line", rustix::fs::MemfdFlags::CLOEXEC);
    let interrupt = EventFd::new(EFD_NONBLOCK).expect("an event");
    let mut port = SerialPort::new(File::from(name.expect("a file")), interrupt);
    let mut bytes = Bytes(data);
    while !bytes.is_empty() {
        let what = bytes.byte();
        if what & 0x80 == 0 {
            port.write(what & 0xf, bytes.byte());
        } else {
            port.read(what & 0xf);
        }
    }
}
