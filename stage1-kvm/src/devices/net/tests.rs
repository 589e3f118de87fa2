use super::*;
use crate::devices::virtio::mmio::Mmio;
use crate::vmm::bus::Registers;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

const WRITE: u16 = 2;
const NEXT: u16 = 1;
const BASIC: u64 = CHECKSUM | TCP4 | MERGED | EVENT_NUMBERS;
const SEND: usize = 1;

/// A device on one end of a line of packets, which is no tap: it can be told nothing.
struct Wire {
    device: Mmio,
    other: OwnedFd,
    memory: GuestMemoryMmap,
}

type Descriptor = (u64, u32, u16, u16);

fn raw(address: u64, length: u32, flags: u16, next: u16) -> Descriptor {
    (address, length, flags, next)
}

/// A queue, as its driver has it.
struct Ring {
    memory: GuestMemoryMmap,
    start: u64,
    size: u16,
}

impl Ring {
    /// Two of them, for what is received and sent.
    fn pair(memory: &GuestMemoryMmap, size: u16) -> [Self; 2] {
        [0, 0x2000].map(|start| {
            let ring = Self { memory: memory.clone(), start, size };
            for place in ring.places() {
                memory.write_slice(&[0; 0x800], GuestAddress(place)).unwrap();
            }
            ring
        })
    }

    fn places(&self) -> [u64; 3] {
        [0, 0x1000, 0x1800].map(|offset| self.start + offset)
    }

    /// Describes buffers, from the first entry of the table on, and makes chains available.
    fn offer(&self, heads: &[u16], list: &[Descriptor]) {
        let [table, available, _] = self.places();
        let put = |value: u64, bytes: usize, at| {
            self.memory.write_slice(&value.to_le_bytes()[..bytes], GuestAddress(at)).unwrap();
        };
        for (at, (address, length, flags, next)) in (table..).step_by(16).zip(list) {
            put(*address, 8, at);
            put((*length).into(), 4, at + 8);
            put((*flags).into(), 2, at + 12);
            put((*next).into(), 2, at + 14);
        }
        let mut index: u16 = self.memory.read_obj(GuestAddress(available + 2)).unwrap();
        for head in heads {
            put((*head).into(), 2, available + 4 + 2 * u64::from(index % self.size));
            index = index.wrapping_add(1);
        }
        put(index.into(), 2, available + 2);
    }

    /// How many chains came back.
    fn used(&self) -> u16 {
        self.memory.read_obj(GuestAddress(self.places()[2] + 2)).unwrap()
    }

    /// How many bytes were written to the chain that came back as this one.
    fn written(&self, index: u64) -> u32 {
        self.memory.read_obj(GuestAddress(self.places()[2] + 8 + 8 * index)).unwrap()
    }

    /// The driver tells when its index passes this.
    fn wish(&self) -> u16 {
        let behind = self.places()[2] + 4 + 8 * u64::from(self.size);
        self.memory.read_obj(GuestAddress(behind)).unwrap()
    }
}

impl Wire {
    fn new(memory: &GuestMemoryMmap) -> Self {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (tap, other) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        let nic = Nic { tap, address: [2, 0, 0, 0, 0, 1], mtu: 1500, offloads: Offloads::NONE };
        let interrupt = EventFd::new(EFD_NONBLOCK).unwrap();
        let device = Mmio::new(Box::new(Net::new(nic)), memory.clone(), interrupt).unwrap();
        Self { device, other, memory: memory.clone() }
    }

    fn set(&mut self, offset: u64, value: u32) {
        self.device.write(offset, &value.to_le_bytes());
    }

    fn status(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.device.read(0x70, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn start(&mut self, features: u64, queues: [&Ring; 2]) {
        self.set(0x70, 3);
        self.set(0x20, u32::try_from(features & 0xffff_ffff).unwrap());
        self.set(0x24, 1);
        self.set(0x20, u32::try_from(features >> 32).unwrap() | 1);
        self.set(0x70, 11);
        for (index, queue) in (0..).zip(queues) {
            self.set(0x30, index);
            self.set(0x38, queue.size.into());
            for (offset, address) in [0x80, 0x90, 0xa0].into_iter().zip(queue.places()) {
                self.set(offset, u32::try_from(address).unwrap());
                self.set(offset + 4, 0);
            }
            self.set(0x44, 1);
        }
        self.set(0x70, 15);
        assert_eq!(self.status(), 15);
    }

    /// The host's next packet from the guest.
    fn hear(&self) -> Option<Vec<u8>> {
        let mut bytes = vec![0; 70_000];
        let length = rustix::io::read(&self.other, &mut bytes).ok()?;
        bytes.truncate(length);
        Some(bytes)
    }

    fn say(&self, bytes: &[u8]) {
        assert_eq!(rustix::io::write(&self.other, bytes).unwrap(), bytes.len());
    }

    fn seen(&self, address: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.memory.read_slice(&mut bytes, GuestAddress(address)).unwrap();
        bytes
    }
}

fn memory() -> GuestMemoryMmap {
    GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap()
}

#[test]
fn it_says_what_it_is() {
    let memory = memory();
    let mut wire = Wire::new(&memory);
    let mut configuration = [0; 12];
    wire.device.read(0x100, &mut configuration);
    assert_eq!(configuration, [2, 0, 0, 0, 0, 1, 1, 0, 1, 0, 0xdc, 5]);
    let mut features = [0; 4];
    wire.device.read(0x10, &mut features);
    let known = u64::from(u32::from_le_bytes(features));
    let expected = CHECKSUM | MTU | ADDRESS | TCP4 | TCP6 | ECN | MERGED | STATUS | EVENT_NUMBERS;
    // Nothing is offered that the tap would have to be told.
    assert_eq!(known, expected);
}

#[test]
fn what_a_tap_leaves_to_the_guest_is_what_was_agreed_on() {
    let checked = Offloads::CHECKSUM;
    for (agreed, left) in [
        (0, Offloads::NONE),
        (GUEST_TCP4 | GUEST_TCP6 | GUEST_ECN, Offloads::NONE),
        (GUEST_CHECKSUM, checked),
        (GUEST_CHECKSUM | GUEST_ECN, checked),
        (GUEST_CHECKSUM | GUEST_TCP6, checked.or(Offloads::TCP6)),
        (GUEST_CHECKSUM | GUEST_TCP4 | GUEST_ECN, checked.or(Offloads::TCP4).or(Offloads::ECN)),
    ] {
        assert_eq!(left_to_guest(agreed), left, "{agreed:#x}");
    }
}

#[test]
fn packets_go_out_with_what_was_understood_of_their_headers() {
    let memory = &memory();
    let [receive, send] = Ring::pair(memory, 16);
    let mut wire = Wire::new(memory);
    wire.start(BASIC, [&receive, &send]);
    // In three pieces, the header cut in the middle; its kind was not agreed on in the second packet, and the third is one
    // that only a checksum is missing of.
    memory.write_slice(&[0xf0; 5], GuestAddress(0x8000)).unwrap();
    memory.write_slice(&[0; 12], GuestAddress(0x8000)).unwrap();
    memory.write_slice(&[7; 100], GuestAddress(0x800c)).unwrap();
    memory.write_slice(&[1, 4, 54, 0, 100, 0, 34, 0, 16, 0, 0, 0], GuestAddress(0x9000)).unwrap();
    memory.write_slice(&[1, 0, 1, 1, 1, 1, 34, 0, 16, 0, 9, 9], GuestAddress(0xa000)).unwrap();
    let list = [
        raw(0x8000, 5, NEXT, 1),
        raw(0x8005, 50, NEXT, 2),
        raw(0x8037, 57, 0, 0),
        raw(0x9000, 500, 0, 0),
        raw(0xa000, 72, 0, 0),
    ];
    send.offer(&[0, 3, 4], &list);
    assert!(!wire.device.kicked(SEND));
    assert_eq!(send.used(), 3);
    assert_eq!(wire.hear(), Some([&[0; 12][..], &[7; 100]].concat()));
    let summed = [&[1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0][..], &[0; 60]].concat();
    assert_eq!((wire.hear(), wire.hear()), (Some(summed), None));
}

#[test]
fn a_packet_lies_in_as_many_buffers_as_it_needs() {
    let memory = &memory();
    let [receive, send] = Ring::pair(memory, 16);
    let mut wire = Wire::new(memory);
    wire.start(BASIC, [&receive, &send]);
    let packet: Vec<u8> = (0..2500_u32).map(|n| (n % 251) as u8).collect();
    wire.say(&packet);
    wire.device.woken();
    // Nobody has room yet; then for half of it, and then for all and one more.
    assert_eq!(receive.used(), 0);
    let list: Vec<_> = (0..5).map(|n| raw(0x8000 + 0x1000 * n, 1000, WRITE, 0)).collect();
    receive.offer(&[0, 1], &list);
    wire.device.kicked(RECEIVE);
    assert_eq!(receive.used(), 0);
    receive.offer(&[2, 3], &list);
    wire.device.kicked(RECEIVE);
    assert_eq!(receive.used(), 3);
    let lengths = [0, 1, 2].map(|n| receive.written(n));
    assert_eq!(lengths, [1000, 1000, 500]);
    let mut all =
        [wire.seen(0x8000, 1000), wire.seen(0x9000, 1000), wire.seen(0xa000, 500)].concat();
    assert_eq!(all[10..12], [3, 0]);
    all[10..12].copy_from_slice(&packet[10..12]);
    assert_eq!(all, packet);
    // What was looked at and not used is used by the next.
    wire.say(&[5; 60]);
    wire.device.woken();
    assert_eq!((receive.used(), wire.seen(0xb000, 60)[20]), (4, 5));
}

#[test]
fn who_waits_for_buffers_is_told_of_the_next_one() {
    let memory = &memory();
    let [receive, send] = Ring::pair(memory, 16);
    let mut wire = Wire::new(memory);
    wire.start(BASIC, [&receive, &send]);
    let list = [raw(0x8000, 100, WRITE, 0), raw(0x9000, 200, WRITE, 0)];
    receive.offer(&[0], &list);
    wire.say(&[5; 250]);
    wire.device.woken();
    assert_eq!((receive.used(), receive.wish()), (0, 1));
    receive.offer(&[1], &list);
    wire.device.kicked(RECEIVE);
    assert_eq!(receive.used(), 2);
}

#[test]
fn what_can_never_fit_is_dropped() {
    let memory = &memory();
    for (features, size, heads, fits) in [
        // One buffer a packet, and a small one; all that the ring can hold, and too small.
        (BASIC & !MERGED, 100, 1, false),
        (BASIC & !MERGED, 2000, 1, true),
        (BASIC, 20, 16, false),
    ] {
        let [receive, send] = Ring::pair(memory, 16);
        let mut wire = Wire::new(memory);
        wire.start(features, [&receive, &send]);
        let list: Vec<_> = (0..16).map(|n| raw(0x8000 + 0x1000 * n, size, WRITE, 0)).collect();
        let all: Vec<u16> = (0..heads).collect();
        receive.offer(&all, &list);
        wire.say(&[5; 500]);
        wire.device.woken();
        assert_eq!(receive.used(), u16::from(fits), "{size}");
        wire.say(&[6; 18]);
        wire.device.woken();
        assert_eq!((receive.used() > u16::from(fits), wire.status()), (!fits, 15), "{size}");
    }
}

#[test]
fn a_full_tap_holds_the_guest_up_and_nothing_is_lost() {
    let memory = &memory();
    let [receive, send] = Ring::pair(memory, 16);
    let mut wire = Wire::new(memory);
    wire.start(BASIC, [&receive, &send]);
    // The device's end holds some packets of this size.
    let list: Vec<_> = (0..16).map(|n| raw(0x8000 + 0x1000 * n, 1500, 0, 0)).collect();
    let heads: Vec<u16> = (0..16).collect();
    let mut sent = 0;
    while send.used() == sent {
        send.offer(&heads, &list);
        sent += 16;
        assert!(sent < 10_000, "it is never full");
        while wire.device.kicked(SEND) {}
    }
    let mut heard = 0;
    while send.used() != sent {
        let before = heard;
        while wire.hear().is_some() {
            heard += 1;
        }
        assert!(heard > before, "nothing moves");
        wire.device.woken();
    }
    while wire.hear().is_some() {
        heard += 1;
    }
    assert_eq!(heard, sent);
}

#[test]
fn one_turn_has_an_end() {
    let memory = &memory();
    let size = 128;
    let [receive, send] = Ring::pair(memory, size);
    let mut wire = Wire::new(memory);
    wire.start(BASIC, [&receive, &send]);
    // Dropped by their headers, so that the other end needs no room.
    memory.write_slice(&[0, 77], GuestAddress(0x8000)).unwrap();
    let list: Vec<_> = (0..size).map(|_| raw(0x8000, 60, 0, 0)).collect();
    let heads: Vec<u16> = (0..size).collect();
    send.offer(&heads, &list);
    assert!(wire.device.kicked(SEND));
    assert_eq!(usize::from(send.used()), TURN);
    while wire.device.go_on() {}
    assert_eq!(send.used(), size);
}

#[test]
fn chains_that_make_no_sense_stop_the_device() {
    let memory = &memory();
    for (queue, list) in [
        (SEND, vec![raw(0x8000, 11, 0, 0)]),
        (SEND, vec![raw(0, 0, 0, 0)]),
        (SEND, vec![raw(1 << 20, 100, 0, 0)]),
        (SEND, vec![raw((1 << 20) - 4, 100, 0, 0)]),
        (SEND, vec![raw(0x8000, 100, WRITE, 0)]),
        (RECEIVE, vec![raw(0x8000, 100, 0, 0)]),
        (RECEIVE, vec![raw(0x8000, 11, WRITE, 0)]),
        (RECEIVE, vec![raw(1 << 20, 100, WRITE, 0)]),
    ] {
        let [receive, send] = Ring::pair(memory, 16);
        let mut wire = Wire::new(memory);
        wire.start(BASIC, [&receive, &send]);
        wire.say(&[1; 60]);
        if queue == SEND { &send } else { &receive }.offer(&[0], &list);
        wire.device.kicked(queue);
        assert_eq!(wire.status() & 64, 64, "{list:?}");
        wire.device.kicked(queue);
        wire.set(0x70, 0);
        assert_eq!(wire.status(), 0);
    }
}
