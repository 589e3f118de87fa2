use super::*;
use crate::devices::rng::Rng;
use virtio_queue::desc::{RawDescriptor, split::Descriptor};
use virtio_queue::mock::MockSplitQueue;
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::eventfd::EFD_NONBLOCK;

const WRITE: u16 = 2;
const NEXT: u16 = 1;
const INDIRECT: u16 = 4;

fn memory() -> GuestMemoryMmap {
    GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap()
}

struct Driver {
    device: Mmio,
    interrupt: EventFd,
}

impl Driver {
    fn new(memory: &GuestMemoryMmap) -> Self {
        let interrupt = EventFd::new(EFD_NONBLOCK).unwrap();
        let told = interrupt.try_clone().unwrap();
        Self { device: Mmio::new(Box::new(Rng), memory.clone(), told).unwrap(), interrupt }
    }

    fn read(&mut self, offset: u64) -> u32 {
        let mut bytes = [0; 4];
        self.device.read(offset, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn write(&mut self, offset: u64, value: u32) {
        if offset == NOTIFY {
            self.device.kicked(value as usize);
        }
        self.device.write(offset, &value.to_le_bytes());
    }

    /// What a driver does, up to the agreement on features.
    fn agree(&mut self) {
        self.write(0x70, 3);
        self.write(0x24, 1);
        self.write(0x20, 1);
        self.write(0x70, 11);
    }

    fn start(&mut self, [table, available, used]: [GuestAddress; 3], size: u32) {
        self.agree();
        self.write(0x30, 0);
        self.write(0x38, size);
        for (offset, address) in [(0x80, table), (0x90, available), (0xa0, used)] {
            self.write(offset, u32::try_from(address.0).unwrap());
            self.write(offset + 4, 0);
        }
        self.write(0x44, 1);
        self.write(0x70, 15);
    }

    fn wants_reset(&mut self) -> bool {
        self.read(0x70) & NEEDS_RESET != 0
    }
}

fn places(queue: &MockSplitQueue<'_, GuestMemoryMmap>) -> [GuestAddress; 3] {
    [queue.desc_table_addr(), queue.avail_addr(), queue.used_addr()]
}

fn raw(address: u64, length: u32, flags: u16, next: u16) -> RawDescriptor {
    RawDescriptor::from(Descriptor::new(address, length, flags, next))
}

#[test]
fn a_driver_gets_what_it_asks_for() {
    let memory = memory();
    let queue = MockSplitQueue::new(&memory, 16);
    let mut driver = Driver::new(&memory);
    assert_eq!([0, 4, 8].map(|offset| driver.read(offset)), [MAGIC, VERSION, 4]);
    driver.write(0x14, 1);
    assert_eq!((driver.read(0x10), driver.read(0x34)), (1, 64));
    driver.start(places(&queue), 16);
    assert_eq!(driver.read(0x70), 15);
    queue.build_desc_chain(&[raw(0x8000, 100, WRITE, 0)]).unwrap();
    driver.write(NOTIFY, 0);
    assert_eq!(queue.used().idx().load(), 1);
    assert_eq!(queue.used().ring().ref_at(0).unwrap().load().len(), 100);
    let mut bytes = [0; 100];
    memory.read_slice(&mut bytes, GuestAddress(0x8000)).unwrap();
    assert!(bytes.iter().any(|byte| *byte != 0));
    assert_eq!((driver.interrupt.read().unwrap(), driver.read(0x60)), (1, USED));
    driver.write(0x64, USED);
    assert_eq!(driver.read(0x60), 0);
    driver.write(0x70, 0);
    assert_eq!((driver.read(0x70), driver.read(0x44)), (0, 0));
}

#[test]
fn features_that_nobody_offered_are_not_agreed_on() {
    let memory = memory();
    let mut driver = Driver::new(&memory);
    driver.write(0x70, 3);
    driver.write(0x20, 1 << 5);
    driver.write(0x24, 1);
    driver.write(0x20, 1);
    driver.write(0x70, 11);
    assert_eq!(driver.read(0x70) & FEATURES_OK, 0);
    // Nor is a device of before the standard.
    driver.write(0x70, 0);
    driver.write(0x70, 11);
    assert_eq!(driver.read(0x70) & FEATURES_OK, 0);
    driver.write(0x70, 15);
    assert!(driver.wants_reset());
}

#[test]
fn queues_that_make_no_sense_stop_the_device_and_nothing_else() {
    let memory = memory();
    let queue = MockSplitQueue::new(&memory, 16);
    let outside = GuestAddress(1 << 20);
    let [table, available, used] = places(&queue);
    for bad in [[outside, available, used], [table, outside, used], [table, available, outside]] {
        let mut driver = Driver::new(&memory);
        driver.start(bad, 16);
        assert!(driver.wants_reset(), "{bad:?}");
        driver.write(NOTIFY, 0);
        driver.write(NOTIFY, u32::MAX);
    }
}

#[test]
fn chains_that_make_no_sense_stop_the_device_and_nothing_else() {
    for (what, chain) in [
        ("readable only", vec![raw(0x8000, 16, 0, 0)]),
        ("outside of memory", vec![raw(1 << 20, 16, WRITE, 0)]),
        ("longer than memory", vec![raw(0x8000, u32::MAX, WRITE, 0)]),
        ("a loop", vec![raw(0x8000, 16, WRITE | NEXT, 1), raw(0x8000, 16, WRITE | NEXT, 0)]),
        ("next outside of the table", vec![raw(0x8000, 16, WRITE | NEXT, 99)]),
        ("an indirect table that was not offered", vec![raw(0x8000, 7, INDIRECT, 0)]),
    ] {
        let memory = memory();
        let queue = MockSplitQueue::new(&memory, 16);
        let mut driver = Driver::new(&memory);
        driver.start(places(&queue), 16);
        // Written as they are: the mock's own way would mend the links.
        for (index, descriptor) in (0..).zip(chain) {
            queue.desc_table().store(index, descriptor).unwrap();
        }
        queue.avail().ring().ref_at(0).unwrap().store(u16::to_le(0));
        queue.avail().idx().store(u16::to_le(1));
        driver.write(NOTIFY, 0);
        // It is refused, or served with what is there; and the next word is heard.
        driver.write(0x70, 0);
        assert_eq!(driver.read(0x70), 0, "{what}");
        driver.agree();
        assert_eq!(driver.read(0x70), 11, "{what}");
    }
}

#[test]
fn rings_cannot_move_while_the_device_runs() {
    let memory = memory();
    let queue = MockSplitQueue::new(&memory, 16);
    let mut driver = Driver::new(&memory);
    driver.start(places(&queue), 16);
    for offset in [0x80, 0x90, 0xa0, 0x84] {
        driver.write(offset, u32::MAX);
    }
    driver.write(0x38, 1);
    queue.build_desc_chain(&[raw(0x8000, 10, WRITE, 0)]).unwrap();
    driver.write(NOTIFY, 0);
    assert_eq!(queue.used().idx().load(), 1);
}

#[test]
fn odd_accesses_do_nothing() {
    let memory = memory();
    let mut driver = Driver::new(&memory);
    let mut all = [1; 8];
    driver.device.read(0, &mut all);
    assert_eq!(all, [0; 8]);
    driver.device.write(0x70, &[1]);
    driver.device.write(0x70, &[1; 8]);
    driver.device.write(u64::MAX, &[1; 4]);
    assert_eq!((driver.read(0x70), driver.read(0x101), driver.read(0xffe)), (0, 0, 0));
}
