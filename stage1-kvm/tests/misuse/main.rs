//! Guests that misuse every device of a machine in every way that its registers and rings allow. The host says what was
//! wrong and stops that device, until it is reset; everything else goes on, as the guest then shows by using it well.
//!
//! They need a KVM, and no kernel: `cargo xtask test --lab` has one.
#![expect(clippy::unwrap_used, reason = "a test fails loudly, its helpers too")]

#[cfg(test)]
mod files;
#[cfg(test)]
mod guest;

use guest::Guest;

/// Registers (virtio 1.2, section 4.2.2).
const FEATURES_SELECT: u32 = 0x24;
const FEATURES: u32 = 0x20;
const QUEUE: u32 = 0x30;
const SIZE: u32 = 0x38;
const READY: u32 = 0x44;
const NOTIFY: u32 = 0x50;
const STATUS: u32 = 0x70;
const TABLE: u32 = 0x80;
const AVAILABLE: u32 = 0x90;
const USED: u32 = 0xa0;
const NEEDS_RESET: u32 = 64;
/// Flags of a descriptor.
const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;
/// Where a queue lies unless told otherwise, and memory for what it is about.
const RINGS: [u32; 3] = [0x20_0000, 0x20_1000, 0x20_2000];
const DATA: u32 = 0x21_0000;
const COUNTER: u32 = 0x1f_0000;
/// The end of its memory.
const END: u32 = 32 << 20;
/// How many entries a queue has unless told otherwise.
const ENTRIES: u32 = 8;

/// A device: where its registers are, and which of its queues is for requests.
#[derive(Clone, Copy)]
struct Target {
    registers: u32,
    /// Its number in the standard, as the host names it.
    kind: u32,
    queue: u32,
}

const DISK: Target = Target { registers: 0xd000_0000, kind: 2, queue: 0 };
const RANDOM: Target = Target { registers: 0xd000_1000, kind: 4, queue: 0 };
const SOCKETS: Target = Target { registers: 0xd000_2000, kind: 19, queue: 1 };
const NETWORK: Target = Target { registers: 0xd000_3000, kind: 1, queue: 1 };
const ALL: [Target; 4] = [DISK, RANDOM, SOCKETS, NETWORK];
/// The network by its other queue.
const RECEIVER: Target = Target { queue: 0, ..NETWORK };

/// A descriptor: address, length, flags, the next one.
type Descriptor = (u64, u32, u16, u16);

/// What the host says of a device that was stopped.
const SENSELESS: &str = "the guest's queue makes no sense";
const NO_ROOM: &str = "the guest's request has no sense: it has no room for a status";
const NO_HEAD: &str = "the guest's request has no sense: its head is cut off";
const NO_PACKET: &str = "the guest's request has no sense: a packet without a head";
const NO_BUFFER: &str = "the guest's request has no sense: no room for a packet";
const OUTSIDE: &str = "a queue lies outside of memory, or features were not agreed on";

impl Guest {
    fn set(&mut self, target: Target, register: u32, value: u32) {
        self.write(target.registers + register, value);
    }

    /// What a driver does, up to where it says how its queues lie.
    fn agree(&mut self, target: Target) {
        self.set(target, STATUS, 0);
        self.set(target, STATUS, 3);
        self.set(target, FEATURES_SELECT, 1);
        self.set(target, FEATURES, 1);
        self.set(target, STATUS, 11);
    }

    fn place(&mut self, target: Target, rings: [u32; 3], size: u32) {
        self.set(target, QUEUE, target.queue);
        self.set(target, SIZE, size);
        for (register, address) in [TABLE, AVAILABLE, USED].into_iter().zip(rings) {
            self.set(target, register, address);
            self.set(target, register + 4, 0);
        }
        self.set(target, READY, 1);
    }

    /// Starts the device with empty rings.
    fn start(&mut self, target: Target) {
        self.agree(target);
        self.place(target, RINGS, ENTRIES);
        self.write(RINGS[1], 0);
        self.write(RINGS[2], 0);
        self.set(target, STATUS, 15);
    }

    fn describe(&mut self, at: u32, list: &[Descriptor]) {
        for (index, (address, length, flags, next)) in (0_u32..).zip(list) {
            let at = at + 16 * index;
            self.write(at, (*address & 0xffff_ffff) as u32);
            self.write(at + 4, (*address >> 32) as u32);
            self.write(at + 8, *length);
            self.write(at + 12, u32::from(*next) << 16 | u32::from(*flags));
        }
    }

    /// Makes a chain available, and kicks.
    fn offer(&mut self, target: Target, list: &[Descriptor], head: u16) {
        self.describe(RINGS[0], list);
        self.write_half(RINGS[1] + 4, head);
        self.write_half(RINGS[1] + 2, 1);
        self.set(target, NOTIFY, target.queue);
    }

    /// Waits until the host has stopped the device.
    fn expect_stop(&mut self, target: Target) {
        self.expect(target.registers + STATUS, NEEDS_RESET, NEEDS_RESET);
    }

    /// Waits until one chain was used.
    fn expect_use(&mut self) {
        self.expect(RINGS[2], 0xffff_0000, 1 << 16);
    }

    /// Starts the device anew and has it do what it is for.
    fn use_well(&mut self, target: Target) {
        self.start(target);
        for word in 0..11 {
            self.write(DATA + 4 * word, 0);
        }
        let list = request(target);
        self.offer(target, &list, 0);
        self.expect_use();
        if target.kind == DISK.kind {
            // What the disk begins with is the protective table's sector, which ends in these; and the status is good.
            self.expect(DATA + 0x100 + 508, 0xffff_0000, 0xaa55_0000);
            self.expect(DATA + 0x1000, 0xff, 0);
        }
    }
}

/// A request that makes sense: the first sector, random bytes, a packet of either kind.
fn request(target: Target) -> Vec<Descriptor> {
    let data = u64::from(DATA);
    match target.kind {
        2 => vec![
            (data, 16, NEXT, 1),
            (data + 0x100, 512, NEXT | WRITE, 2),
            (data + 0x1000, 1, WRITE, 0),
        ],
        4 => vec![(data, 64, WRITE, 0)],
        _ => vec![(data, 44, 0, 0)],
    }
}

/// Each of these makes the rings of a device, or a chain, senseless; what the host says of it.
struct Misuse {
    list: fn(Target) -> Vec<Descriptor>,
    head: u16,
    /// What the host says, for each device; `None` where it makes do with it.
    says: [Option<&'static str>; 4],
}

/// What the host says of a device that it stops.
fn line(target: Target, text: &str) -> String {
    format!("stage1: warning: virtio device {}: {text}", target.kind)
}

/// Runs a guest that misuses a device in each of these ways, each time followed by good use.
fn misuse(target: Target, all: &[Misuse]) {
    let index = ALL.iter().position(|other| other.kind == target.kind).unwrap();
    let mut guest = Guest::default();
    let mut expected = Vec::new();
    for (letter, misuse) in ('a'..).zip(all) {
        guest.start(target);
        guest.offer(target, &(misuse.list)(target), misuse.head);
        match misuse.says[index] {
            Some(text) => {
                guest.expect_stop(target);
                expected.push(line(target, text));
            }
            None => guest.expect_use(),
        }
        guest.use_well(target);
        guest.say(letter);
    }
    let outcome = guest.live();
    let letters: String = ('a'..).take(all.len()).collect();
    assert_eq!((outcome.well, outcome.said), (true, letters), "{:#?}", outcome.told);
    assert_eq!(outcome.told, expected);
}

/// Which way the request of a device begins.
fn way(target: Target) -> u16 {
    if target.kind == RANDOM.kind { WRITE } else { 0 }
}

const fn misused(list: fn(Target) -> Vec<Descriptor>, says: [Option<&'static str>; 4]) -> Misuse {
    Misuse { list, head: 0, says }
}

/// Chains that lie nowhere.
const PLACES: [Misuse; 7] = [
    // Beyond the memory; in the hole; at the end of all addresses; across the end of memory.
    misused(|t| vec![(u64::from(END), 64, way(t), 0)], [Some(SENSELESS); 4]),
    misused(|t| vec![(0xd000_0000, 64, way(t), 0)], [Some(SENSELESS); 4]),
    misused(|t| vec![(u64::MAX - 8, 64, way(t), 0)], [Some(SENSELESS); 4]),
    misused(|t| vec![(u64::from(END) - 8, 64, way(t), 0)], [Some(SENSELESS); 4]),
    // As long as can be said, and more than that in two.
    misused(|t| vec![(0x1000, u32::MAX, way(t), 0)], [Some(SENSELESS); 4]),
    misused(
        |t| vec![(0x1000, u32::MAX, way(t) | NEXT, 1), (0x1000, u32::MAX, way(t), 0)],
        [Some(SENSELESS); 4],
    ),
    // A head that the table has not.
    Misuse { list: |t| vec![(0x1000, 64, way(t), 0)], head: 8, says: [Some(SENSELESS); 4] },
];

/// Chains of strange shapes. The disk wants to read, then to write; random numbers are written wherever they may be; a
/// packet ends where it says.
const SHAPES: [Misuse; 8] = [
    // To itself, and around.
    misused(|t| vec![(0x1000, 64, NEXT | way(t), 0)], [Some(NO_ROOM), None, None, None]),
    misused(|t| vec![(0x1000, 64, NEXT | way(t), 1), (0x2000, 64, NEXT | WRITE, 0)], [None; 4]),
    // To one that the table has not.
    misused(|t| vec![(0x1000, 64, NEXT | way(t), 8)], [Some(NO_ROOM), None, None, None]),
    // Read after written.
    misused(|_| vec![(0x1000, 64, NEXT | WRITE, 1), (0x2000, 64, 0, 0)], [None; 4]),
    // Over the rings themselves, which are whatever was written then.
    misused(|t| vec![(u64::from(RINGS[0]), 0x1000, way(t), 0)], [Some(NO_ROOM), None, None, None]),
    // Nothing at all.
    misused(|_| vec![(0, 0, 0, 0)], [Some(NO_HEAD), None, Some(NO_PACKET), Some(NO_PACKET)]),
    // Another table, which is no whole number of descriptors, and one within itself.
    misused(
        |_| vec![(0x1000, 17, INDIRECT, 0)],
        [Some(NO_HEAD), None, Some(NO_PACKET), Some(NO_PACKET)],
    ),
    misused(
        |_| vec![(RINGS[0].into(), 16, INDIRECT, 0)],
        [Some(NO_HEAD), None, Some(NO_PACKET), Some(NO_PACKET)],
    ),
];

macro_rules! for_each_device {
    ($($name:ident: $what:ident;)+) => {
        $(
            mod $name {
                use super::{$what, DISK, NETWORK, RANDOM, SOCKETS, misuse};

                #[test]
                #[ignore = "runs in the lab"]
                fn of_the_disk() {
                    misuse(DISK, &$what);
                }

                #[test]
                #[ignore = "runs in the lab"]
                fn of_random_numbers() {
                    misuse(RANDOM, &$what);
                }

                #[test]
                #[ignore = "runs in the lab"]
                fn of_sockets() {
                    misuse(SOCKETS, &$what);
                }

                #[test]
                #[ignore = "runs in the lab"]
                fn of_the_network() {
                    misuse(NETWORK, &$what);
                }
            }
        )+
    };
}

for_each_device! {
    chains_that_lie_nowhere: PLACES;
    chains_of_strange_shapes: SHAPES;
}

/// Has the guest use all devices well at last, end, and checks that it could, and that the host has said of each device no
/// more than this, beside what the library says that reads rings.
fn ends_well(mut guest: Guest, expected: &[&str]) -> Vec<String> {
    for target in ALL {
        guest.use_well(target);
        guest.say('k');
    }
    let outcome = guest.live();
    assert_eq!((outcome.well, &*outcome.said), (true, "kkkk"), "{:#?}", outcome.told);
    let known = |line: &&String| line.starts_with("stage1: warning: virtio device ");
    let lines: Vec<&String> = outcome.told.iter().filter(known).collect();
    let allowed: Vec<String> =
        ALL.iter().flat_map(|t| expected.iter().map(|text| line(*t, text))).collect();
    assert!(lines.iter().all(|line| allowed.contains(line)), "{lines:#?}");
    assert!(allowed.iter().all(|line| lines.contains(&line)), "{lines:#?}");
    outcome.told
}

#[test]
#[ignore = "runs in the lab"]
fn rings_that_lie_nowhere() {
    let mut guest = Guest::default();
    for target in ALL {
        for place in [END, END - 8, 0xd000_0000, 0xffff_fff0, RINGS[0] + 1] {
            for ring in 0..3 {
                let mut rings = RINGS;
                rings[ring] = place;
                // The last one is where it may not begin; bytes of the available ring may begin at any even place.
                guest.agree(target);
                guest.place(target, rings, ENTRIES);
                guest.set(target, STATUS, 15);
                guest.set(target, NOTIFY, target.queue);
            }
        }
        // Sizes that no queue has.
        for size in [0, 3, 1 << 15, 1 << 16, u32::MAX] {
            guest.agree(target);
            guest.place(target, RINGS, size);
            guest.set(target, STATUS, 15);
            guest.set(target, NOTIFY, target.queue);
        }
    }
    ends_well(guest, &[OUTSIDE]);
}

#[test]
#[ignore = "runs in the lab"]
fn rings_that_are_moved_and_cut_while_they_are_used() {
    let mut guest = Guest::default();
    for target in ALL {
        guest.start(target);
        guest.place(target, [END, 0xd000_0000, 0], 2);
        guest.set(target, READY, 0);
        guest.set(target, FEATURES, u32::MAX);
        guest.set(target, STATUS, 15);
        for word in 0..11 {
            guest.write(DATA + 4 * word, 0);
        }
        // It goes on where it was.
        guest.offer(target, &request(target), 0);
        guest.expect_use();
    }
    ends_well(guest, &[]);
}

#[test]
#[ignore = "runs in the lab"]
fn rings_that_promise_more_than_they_hold() {
    let mut guest = Guest::default();
    for target in ALL {
        for index in [ENTRIES as u16 + 1, 100, u16::MAX] {
            guest.start(target);
            guest.write_half(RINGS[1] + 2, index);
            guest.set(target, NOTIFY, target.queue);
            guest.expect_stop(target);
        }
    }
    ends_well(guest, &[SENSELESS]);
}

#[test]
#[ignore = "runs in the lab"]
fn registers_written_and_read_in_every_way() {
    let mut guest = Guest::default();
    for target in ALL {
        for value in [u32::MAX, 0, 0x8000_0001] {
            for register in (0..0x110).step_by(4) {
                guest.set(target, register, value);
                guest.write_half(target.registers + register + 2, value as u16);
                guest.write_byte(target.registers + register + 1, value as u8);
                guest.expect(target.registers + register, 0, 0);
            }
        }
        for offset in [0x3fe, 0xffc, 0xffe] {
            guest.set(target, offset, u32::MAX);
            guest.expect(target.registers + offset, 0, 0);
        }
    }
    // Where nobody is, and across the last device's end.
    for address in [0xd000_4000, 0xd010_0000, 0xfed0_0000, 0xcfff_fffe, 0xc000_0000] {
        guest.write(address, u32::MAX);
        guest.expect(address, 0, 0);
    }
    // Kicks of queues that there are none of, and of those that are not ready.
    for target in ALL {
        guest.agree(target);
        guest.repeat(COUNTER, 500, |guest| {
            for queue in [target.queue, 3, 0xffff, u32::MAX] {
                guest.set(target, NOTIFY, queue);
            }
        });
    }
    for target in ALL {
        guest.use_well(target);
        guest.say('k');
    }
    let outcome = guest.live();
    assert_eq!((outcome.well, &*outcome.said), (true, "kkkk"), "{:#?}", outcome.told);
}

#[test]
#[ignore = "runs in the lab"]
fn memory_that_changes_while_it_is_read() {
    let mut guest = Guest::default();
    for target in ALL {
        guest.repeat(COUNTER, 300, |guest| {
            guest.start(target);
            guest.describe(RINGS[0], &request(target));
            guest.write_half(RINGS[1] + 2, 1);
            guest.set(target, NOTIFY, target.queue);
            // The device's thread may be anywhere in it.
            for (address, length, flags) in
                [(END, 64, WRITE), (0x1000, u32::MAX, NEXT), (RINGS[0], 16, INDIRECT | NEXT)]
            {
                guest.write(RINGS[0], address);
                guest.write(RINGS[0] + 8, length);
                guest.write_half(RINGS[0] + 12, flags);
                guest.write_half(RINGS[1] + 2, 3);
                guest.set(target, NOTIFY, target.queue);
                guest.write_half(RINGS[1] + 2, 0xfff0);
            }
        });
    }
    for target in ALL {
        guest.use_well(target);
        guest.say('k');
    }
    let outcome = guest.live();
    assert_eq!((outcome.well, &*outcome.said), (true, "kkkk"), "{:#?}", outcome.told);
}

#[test]
#[ignore = "runs in the lab"]
fn a_guest_that_goes_astray_for_ever_is_told_of_for_a_while() {
    let mut guest = Guest::default();
    guest.repeat(COUNTER, 600, |guest| {
        guest.agree(DISK);
        guest.place(DISK, [END, END, END], ENTRIES);
        guest.set(DISK, STATUS, 15);
        guest.start(RANDOM);
        guest.offer(RANDOM, &[(0xd000_0000, 64, WRITE, 0)], 0);
        guest.expect_stop(RANDOM);
    });
    for target in ALL {
        guest.use_well(target);
        guest.say('k');
    }
    let outcome = guest.live();
    assert_eq!((outcome.well, &*outcome.said), (true, "kkkk"));
    let own = outcome.told.iter().filter(|line| line.contains("virtio device")).count();
    assert!(own <= 16 && outcome.told.len() <= 1000, "{own} {}", outcome.told.len());
}

/// Packets that make no sense, and more answers than anybody fetches.
#[test]
#[ignore = "runs in the lab"]
fn packets_that_make_no_sense() {
    let mut guest = Guest::default();
    let header = |to: u64, length: u32, kind: u16, operation: u16| {
        let mut words = [3, 0, to as u32, (to >> 32) as u32, 1000, 1, length, 0, 0, 0, 0];
        words[7] = u32::from(operation) << 16 | u32::from(kind);
        words
    };
    let mut packets = Vec::new();
    for to in [0, 1, 2, 3, u64::MAX] {
        for kind in [0, 1, 2] {
            for operation in [0, 1, 2, 3, 4, 5, 6, 7, 8, 0xffff] {
                packets.push(header(to, 0, kind, operation));
            }
        }
    }
    for length in [1, 65_536, 65_537, u32::MAX] {
        packets.push(header(2, length, 1, 5));
    }
    for words in packets {
        guest.start(SOCKETS);
        for (word, at) in words.into_iter().zip((DATA..).step_by(4)) {
            guest.write(at, word);
        }
        guest.offer(SOCKETS, &[(DATA.into(), 44, 0, 0)], 0);
    }
    // Calls that nobody answers to, one after the other, without a look at the answers.
    guest.start(SOCKETS);
    for (word, at) in header(2, 0, 1, 1).into_iter().zip((DATA..).step_by(4)) {
        guest.write(at, word);
    }
    guest.describe(RINGS[0], &[(DATA.into(), 44, 0, 0)]);
    for index in 1..200_u16 {
        guest.write(DATA + 16, 2000 + u32::from(index));
        guest.write_half(RINGS[1] + 4 + 2 * (u32::from(index) % 8), 0);
        guest.write_half(RINGS[1] + 2, index);
        guest.set(SOCKETS, NOTIFY, 1);
    }
    for target in ALL {
        guest.use_well(target);
        guest.say('k');
    }
    let outcome = guest.live();
    assert_eq!((outcome.well, &*outcome.said), (true, "kkkk"), "{:#?}", outcome.told);
    let own = |line: &String| line.starts_with("stage1: warning: virtio device 19: ");
    assert!(outcome.told.iter().all(own) && outcome.told.len() <= 8, "{:#?}", outcome.told);
}

#[test]
#[ignore = "runs in the lab"]
fn a_guest_that_uses_all_of_them_well() {
    let mut guest = Guest::default();
    for target in ALL {
        guest.use_well(target);
        guest.say('k');
    }
    let outcome = guest.live();
    assert!(outcome.well && outcome.said == "kkkk" && outcome.told.is_empty(), "{outcome:?}");
}

/// A network that is never silent.
#[test]
#[ignore = "runs in the lab"]
fn a_guest_that_does_not_receive_while_it_is_flooded() {
    let mut guest = Guest::default();
    guest.flooded = true;
    // No room at all, and all other devices are served as ever.
    guest.start(RECEIVER);
    for _ in 0..20 {
        for target in [DISK, RANDOM, SOCKETS] {
            guest.use_well(target);
        }
    }
    let data = u64::from(DATA);
    // Room that is none: to be read, too short for a header, nowhere, and a ring of which there is more than it holds.
    for list in [[(data, 64, 0, 0)], [(data, 11, WRITE, 0)], [(u64::from(END), 64, WRITE, 0)]] {
        guest.start(RECEIVER);
        guest.offer(RECEIVER, &list, 0);
        guest.expect_stop(RECEIVER);
    }
    guest.start(RECEIVER);
    guest.write_half(RINGS[1] + 2, 100);
    guest.set(RECEIVER, NOTIFY, 0);
    guest.expect_stop(RECEIVER);
    // Too little for any packet: each is dropped. Over the rings themselves. And at last room for one.
    guest.start(RECEIVER);
    guest.offer(RECEIVER, &[(data, 20, WRITE, 0)], 0);
    guest.use_well(DISK);
    guest.start(RECEIVER);
    guest.offer(RECEIVER, &[(u64::from(RINGS[0]), 0x1000, WRITE, 0)], 0);
    guest.use_well(DISK);
    guest.start(RECEIVER);
    guest.offer(RECEIVER, &[(data, 2048, WRITE, 0)], 0);
    guest.expect_use();
    // In one buffer, to everybody.
    guest.expect(DATA + 8, 0xffff_0000, 1 << 16);
    guest.expect(DATA + 12, u32::MAX, u32::MAX);
    guest.say('k');
    let outcome = guest.live();
    assert_eq!((outcome.well, &*outcome.said), (true, "k"), "{:#?}", outcome.told);
    let expected = [NO_BUFFER, NO_BUFFER, SENSELESS, SENSELESS].map(|text| line(NETWORK, text));
    let known = |line: &&String| line.starts_with("stage1: warning: virtio device ");
    let told: Vec<_> = outcome.told.iter().filter(known).cloned().collect();
    assert!(told.starts_with(&expected) && told.len() <= 8, "{told:#?}");
}

/// Headers that a guest should not write; the packets that follow are sent.
#[test]
#[ignore = "runs in the lab"]
fn headers_that_make_no_sense() {
    let mut guest = Guest::default();
    guest.start(NETWORK);
    guest.describe(RINGS[0], &[(DATA.into(), 1000, 0, 0)]);
    let kinds = [0, 1, 2, 3, 4, 5, 0x80, 0x81, 0xff];
    let heads = kinds.into_iter().flat_map(|kind| {
        [0, 1, 0xffff, 0x0010_0022, u32::MAX].map(|places| (kind << 8 | 1, places))
    });
    let mut index = 0;
    for (flags, places) in heads {
        guest.write(DATA, flags | 0xffff_0000);
        guest.write(DATA + 4, places << 16 | 1);
        guest.write(DATA + 8, places >> 16);
        index += 1;
        guest.write_half(RINGS[1] + 4 + 2 * ((index - 1) % ENTRIES), 0);
        guest.write_half(RINGS[1] + 2, index as u16);
        guest.set(NETWORK, NOTIFY, 1);
        guest.expect(RINGS[2], 0xffff_0000, index << 16);
    }
    ends_well(guest, &[]);
}
