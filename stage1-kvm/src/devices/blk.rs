//! The block device (virtio 1.2, section 5.2), for reading only.

use super::disk::{BLOCK, Disk};
use super::virtio::{Chain, Device, Misused};
use std::io::{Read, Write};
use vm_memory::GuestMemoryMmap;

const QUEUES: [u16; 1] = [128];
/// Features: the most segments of a request are told; nothing can be written; the size of a block is told.
const SEGMENTS: u64 = 1 << 2;
const READ_ONLY: u64 = 1 << 5;
const BLOCK_SIZE: u64 = 1 << 6;
/// Bytes of a sector, which requests count in whatever a block is.
const SECTOR: u64 = 512;
/// Kinds of requests.
const IN: u32 = 0;
const GET_ID: u32 = 8;
/// What becomes of one.
const OK: u8 = 0;
const FAILED: u8 = 1;
const UNSUPPORTED: u8 = 2;
/// The device's name, twenty bytes.
const NAME: [u8; 20] = *b"rkt layers\0\0\0\0\0\0\0\0\0\0";
/// The most bytes of one request: what a queue full of pages can be.
const MOST: u64 = 4 << 20;
/// Bytes that are read at a time.
const PIECE: usize = 64 << 10;

/// A disk that the guest can read.
#[derive(Debug)]
pub struct Blk {
    disk: Disk,
    configuration: [u8; 24],
    /// What is read and not yet the guest's. One for all requests: to clear it for each would take longer than to read.
    piece: Box<[u8]>,
}

impl Blk {
    /// The device of a disk.
    pub fn new(disk: Disk) -> Self {
        let mut configuration = [0; 24];
        let segments = u32::from(QUEUES[0]) - 2;
        for (to, from) in configuration.iter_mut().zip(sectors(&disk).to_le_bytes()) {
            *to = from;
        }
        for (to, from) in configuration.iter_mut().skip(12).zip(segments.to_le_bytes()) {
            *to = from;
        }
        for (to, from) in configuration.iter_mut().skip(20).zip(BLOCK.to_le_bytes()) {
            *to = from;
        }
        Self { disk, configuration, piece: vec![0; PIECE].into_boxed_slice() }
    }

    /// Answers one request into `data`; its status, and how many bytes were written.
    fn answer(&mut self, kind: u32, sector: u64, length: u64, data: &mut impl Write) -> (u8, u64) {
        match kind {
            IN => match self.copy(sector, length, data) {
                Ok(()) => (OK, length),
                Err(error) => {
                    log::debug!("cannot read the guest's disk: {error}");
                    (FAILED, 0)
                }
            },
            GET_ID if length >= 20 => match data.write_all(&NAME) {
                Ok(()) => (OK, 20),
                Err(_) => (FAILED, 0),
            },
            _ => (UNSUPPORTED, 0),
        }
    }

    fn copy(&mut self, sector: u64, length: u64, data: &mut impl Write) -> std::io::Result<()> {
        let refused = || std::io::Error::other("a request beyond the end");
        let mut at = sector.checked_mul(SECTOR).ok_or_else(refused)?;
        let end = at.checked_add(length).ok_or_else(refused)?;
        if end > self.disk.blocks() * BLOCK || length > MOST {
            return Err(refused());
        }
        while at < end {
            let count = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
            let room = self.piece.get_mut(..count).unwrap_or_default();
            self.disk.read(at, room)?;
            data.write_all(room)?;
            at += count as u64;
        }
        Ok(())
    }
}

fn sectors(disk: &Disk) -> u64 {
    disk.blocks() * (BLOCK / SECTOR)
}

impl Device for Blk {
    fn kind(&self) -> u32 {
        2
    }

    fn features(&self) -> u64 {
        SEGMENTS | READ_ONLY | BLOCK_SIZE
    }

    fn queues(&self) -> &[u16] {
        &QUEUES
    }

    fn configuration(&self) -> &[u8] {
        &self.configuration
    }

    fn serve(
        &mut self,
        _: usize,
        chain: Chain<'_>,
        memory: &GuestMemoryMmap,
    ) -> Result<u32, Misused> {
        let mut request = [0; 16];
        let mut reader = chain.clone().reader::<()>(memory)?;
        reader.read_exact(&mut request).map_err(|_| Misused::Request("its head is cut off"))?;
        let mut data = chain.writer::<()>(memory)?;
        let room = data.available_bytes();
        let length = room.checked_sub(1).ok_or(Misused::Request("it has no room for a status"))?;
        let mut status = data.split_at(length).map_err(|_| Misused::Request("no status"))?;
        let [k0, k1, k2, k3, _, _, _, _, sector @ ..] = request;
        let kind = u32::from_le_bytes([k0, k1, k2, k3]);
        let sector = u64::from_le_bytes(sector);
        let (verdict, written) = self.answer(kind, sector, length as u64, &mut data);
        status.write_all(&[verdict]).map_err(|_| Misused::Request("no status"))?;
        Ok(u32::try_from(written + 1).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_answered_or_refused() {
        let mut blk = Blk::new(Disk::new(Vec::new()).unwrap());
        let sectors = sectors(&blk.disk);
        let mut ask = |kind, sector, length| {
            let mut data = Vec::new();
            (blk.answer(kind, sector, length, &mut data), data.len())
        };
        assert_eq!(ask(IN, 1, 512), ((OK, 512), 512));
        assert_eq!(ask(IN, 0, 200_000), ((OK, 200_000), 200_000));
        for (sector, length) in [(u64::MAX, 512), (1 << 50, 1), (sectors, 1), (0, MOST + 1)] {
            assert_eq!(ask(IN, sector, length), ((FAILED, 0), 0), "{sector} {length}");
        }
        assert_eq!(ask(GET_ID, 0, 20), ((OK, 20), 20));
        assert_eq!((ask(GET_ID, 0, 19).0, ask(1, 0, 512).0), ((UNSUPPORTED, 0), (UNSUPPORTED, 0)));
    }
}
