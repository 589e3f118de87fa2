//! Who answers at which address.

use crate::arch::cpu::{PANIC, SERIAL};
use crate::devices::serial::SerialPort;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// What a kernel may tell of, and tells: that it panics.
const PANICKED: u8 = 1;

/// A device with registers in memory.
pub trait Registers: Send {
    /// The guest reads; the offset is within the device's page.
    fn read(&mut self, offset: u64, data: &mut [u8]);
    /// The guest writes.
    fn write(&mut self, offset: u64, data: &[u8]);
}

/// What the guest's processors can reach.
#[derive(Default)]
pub struct Bus {
    serial: Option<Mutex<SerialPort>>,
    panicked: AtomicBool,
    /// By first address; each has a page.
    devices: Vec<(u64, Arc<Mutex<dyn Registers>>)>,
}

impl std::fmt::Debug for Bus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bus").field("devices", &self.devices.len()).finish_non_exhaustive()
    }
}

impl Bus {
    /// A bus with at most a serial line.
    pub fn new(serial: Option<SerialPort>) -> Self {
        Self { serial: serial.map(Mutex::new), ..Self::default() }
    }

    /// Puts a device at an address.
    pub fn add(&mut self, address: u64, device: Arc<Mutex<dyn Registers>>) {
        self.devices.push((address, device));
    }

    /// A processor reads a port. What nobody claims is all ones: kernels probe.
    pub fn port_in(&self, port: u16, data: &mut [u8]) {
        data.fill(0xff);
        if let (PANIC, [byte]) = (port, &mut *data) {
            *byte = PANICKED;
        }
        let Some(offset) = port.checked_sub(SERIAL).filter(|offset| *offset < 8) else { return };
        if let (Some(serial), [byte]) = (&self.serial, data)
            && let (Ok(mut serial), Ok(offset)) = (serial.lock(), u8::try_from(offset))
        {
            *byte = serial.read(offset);
        }
    }

    /// A processor writes a port.
    pub fn port_out(&self, port: u16, data: &[u8]) {
        if let (PANIC, [byte]) = (port, data)
            && byte & PANICKED != 0
        {
            self.panicked.store(true, Ordering::Relaxed);
        }
        let Some(offset) = port.checked_sub(SERIAL).filter(|offset| *offset < 8) else { return };
        if let (Some(serial), [byte]) = (&self.serial, data)
            && let (Ok(mut serial), Ok(offset)) = (serial.lock(), u8::try_from(offset))
        {
            serial.write(offset, *byte);
        }
    }

    /// Whether the guest's kernel has said that it panics.
    pub fn has_panicked(&self) -> bool {
        self.panicked.load(Ordering::Relaxed)
    }

    /// A processor reads where there is no memory.
    pub fn read(&self, address: u64, data: &mut [u8]) {
        data.fill(0xff);
        if let Some((offset, device)) = self.at(address)
            && let Ok(mut device) = device.lock()
        {
            device.read(offset, data);
        }
    }

    /// A processor writes where there is no memory.
    pub fn write(&self, address: u64, data: &[u8]) {
        if let Some((offset, device)) = self.at(address)
            && let Ok(mut device) = device.lock()
        {
            device.write(offset, data);
        }
    }

    fn at(&self, address: u64) -> Option<(u64, &Mutex<dyn Registers>)> {
        let size = crate::arch::layout::DEVICE_SIZE;
        self.devices.iter().find_map(|(start, device)| {
            let offset = address.checked_sub(*start).filter(|offset| *offset < size)?;
            Some((offset, &**device))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Echo(Vec<u8>);

    impl Registers for Echo {
        fn read(&mut self, offset: u64, data: &mut [u8]) {
            data.fill(u8::try_from(offset).unwrap());
        }

        fn write(&mut self, _: u64, data: &[u8]) {
            self.0.extend(data);
        }
    }

    #[test]
    fn what_nobody_claims_reads_as_ones() {
        let mut bus = Bus::new(None);
        bus.add(0x1000, Arc::new(Mutex::new(Echo(Vec::new()))));
        let read = |address| {
            let mut data = [0; 4];
            bus.read(address, &mut data);
            data
        };
        assert_eq!(read(0x1008), [8; 4]);
        assert_eq!((read(0xfff), read(0x2000), read(u64::MAX)), ([0xff; 4], [0xff; 4], [0xff; 4]));
        let mut port = [0; 2];
        bus.port_in(SERIAL, &mut port);
        assert_eq!(port, [0xff; 2]);
        bus.port_out(0, &[1]);
        let mut can = [0; 1];
        bus.port_in(PANIC, &mut can);
        assert_eq!((can, bus.has_panicked()), ([PANICKED], false));
        bus.port_out(PANIC, &[PANICKED | 2]);
        assert!(bus.has_panicked());
        bus.write(0, &[1]);
    }
}
