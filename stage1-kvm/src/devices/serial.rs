//! The serial line: for debugging only, since every character costs the guest some exits. What the guest writes goes to
//! a file; it never hears anything.

use std::fs::File;
use std::io::{self, Write};
use vm_superio::Trigger;
use vm_superio::serial::{NoEvents, Serial};
use vmm_sys_util::eventfd::EventFd;

/// How much of what a guest writes is kept: one that floods shall not fill the disk.
const MOST: u64 = 16 << 20;

/// The interrupt of the line.
#[derive(Debug)]
struct Line(EventFd);

impl Trigger for Line {
    type E = io::Error;

    fn trigger(&self) -> io::Result<()> {
        self.0.write(1)
    }
}

/// A file that takes so much and no more.
#[derive(Debug)]
struct Bounded {
    file: File,
    left: u64,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len() as u64;
        if let Some(left) = self.left.checked_sub(length) {
            self.left = left;
            // Once: where nobody reads, the signal that ends the machine must get through.
            rustix::io::write(&self.file, bytes)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A serial port.
pub struct SerialPort {
    inner: Serial<Line, NoEvents, Bounded>,
}

impl std::fmt::Debug for SerialPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SerialPort").finish_non_exhaustive()
    }
}

impl SerialPort {
    /// A port that writes to a file and signals an interrupt.
    pub fn new(file: File, interrupt: EventFd) -> Self {
        Self { inner: Serial::new(Line(interrupt), Bounded { file, left: MOST }) }
    }

    /// The guest reads a register.
    pub fn read(&mut self, offset: u8) -> u8 {
        self.inner.read(offset)
    }

    /// The guest writes a register.
    pub fn write(&mut self, offset: u8, value: u8) {
        if let Err(error) = self.inner.write(offset, value) {
            log::debug!("the guest's serial line: {error:?}");
        }
    }
}
