//! A disk that is put together of files: a partition each, behind a table that is made up (UEFI 2.10, section 5).

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Bytes of a block, which the table counts in: a page. A guest that may read less reads the table, and looks for all other
/// kinds of tables, piece by piece.
pub const BLOCK: u64 = 4096;
/// The same for what is in memory.
const ROOM: usize = 4096;
/// Where partitions begin, in blocks: as aligned as anybody expects.
const ALIGNMENT: u64 = 256;
/// Entries of the table, and bytes of one.
const ENTRIES: usize = 128;
const ENTRY: usize = 128;
/// Blocks that the entries take.
const TABLE: u64 = 4;
/// Bytes of the header that its checksum covers.
const HEADER: usize = 92;
/// The type of a partition with Linux's data.
const DATA: [u8; 16] = *b"\xaf\x3d\xc6\x0f\x83\x84\x72\x47\x8e\x79\x3d\x69\xd8\x47\x7d\xe4";

/// A read-only disk.
#[derive(Debug)]
pub struct Disk {
    /// By first byte, in order.
    parts: Vec<(u64, Part)>,
    blocks: u64,
}

#[derive(Debug)]
enum Part {
    Bytes(Vec<u8>),
    File(File, u64),
}

impl Part {
    fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(_, length) => *length,
        }
    }
}

impl Disk {
    /// A disk whose partitions, from the first on, hold these files.
    ///
    /// # Errors
    /// There are more than a table has entries, or a file cannot be looked at.
    pub fn new(files: Vec<File>) -> io::Result<Self> {
        if files.len() > ENTRIES {
            return Err(io::Error::other("more than 128 partitions"));
        }
        let mut entries = vec![0; ENTRIES * ENTRY];
        let mut parts = Vec::new();
        let mut next = ALIGNMENT;
        for (place, file) in entries.chunks_exact_mut(ENTRY).zip(files) {
            let kind = file.metadata()?;
            if !kind.is_file() {
                return Err(io::Error::other("a partition must be a regular file"));
            }
            let length = kind.len();
            let blocks = length.div_ceil(BLOCK).max(1);
            entry(place, next, next + blocks - 1);
            parts.push((next * BLOCK, Part::File(file, length)));
            next = (next + blocks).next_multiple_of(ALIGNMENT);
        }
        // The copy of the table stands at the end.
        let blocks = next + TABLE + 1;
        let sum = checksum(&entries);
        let first = header((1, blocks - 1), 2, blocks, sum);
        let last = header((blocks - 1, 1), blocks - 1 - TABLE, blocks, sum);
        let start = [protection(blocks), first, entries.clone()].concat();
        parts.insert(0, (0, Part::Bytes(start)));
        parts.push(((blocks - 1 - TABLE) * BLOCK, Part::Bytes([entries, last].concat())));
        Ok(Self { parts, blocks })
    }

    /// Its size in blocks.
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Reads from this byte on. What no file has is zeros.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn read(&self, from: u64, into: &mut [u8]) -> io::Result<()> {
        let end = from.saturating_add(into.len() as u64);
        let mut gap = from;
        for (start, part) in &self.parts {
            let (low, high) = (from.max(*start), end.min(start.saturating_add(part.len())));
            if low >= high {
                continue;
            }
            range(into, from, gap..low)?.fill(0);
            gap = high;
            let room = range(into, from, low..high)?;
            match part {
                Part::File(file, _) => file.read_exact_at(room, low - start)?,
                Part::Bytes(bytes) => {
                    let skip = usize::try_from(low - start).map_err(io::Error::other)?;
                    let bytes = bytes.get(skip..).and_then(|bytes| bytes.get(..room.len()));
                    room.copy_from_slice(bytes.ok_or(io::ErrorKind::InvalidInput)?);
                }
            }
        }
        let rest = usize::try_from(gap - from).ok().and_then(|rest| into.get_mut(rest..));
        rest.unwrap_or_default().fill(0);
        Ok(())
    }
}

/// The bytes of a range of the disk in what is read from `start` on.
fn range(into: &mut [u8], start: u64, range: Range<u64>) -> io::Result<&mut [u8]> {
    let at = |place: u64| place.checked_sub(start).and_then(|at| usize::try_from(at).ok());
    let range = at(range.start).zip(at(range.end)).map(|(low, high)| low..high);
    Ok(range.and_then(|range| into.get_mut(range)).ok_or(io::ErrorKind::InvalidInput)?)
}

fn put(into: &mut [u8], at: usize, bytes: &[u8]) {
    for (to, from) in into.iter_mut().skip(at).zip(bytes) {
        *to = *from;
    }
}

fn entry(into: &mut [u8], first: u64, last: u64) {
    put(into, 0, &DATA);
    // Unlike any other of this disk, and that is all that it is for.
    put(into, 16, &first.to_le_bytes());
    put(into, 32, &first.to_le_bytes());
    put(into, 40, &last.to_le_bytes());
}

/// The header of a table at a block, whose copy is at another; `sum` is the checksum of the entries.
fn header((own, other): (u64, u64), entries_at: u64, blocks: u64, sum: u32) -> Vec<u8> {
    let mut bytes = vec![0; ROOM];
    put(&mut bytes, 0, b"EFI PART\0\0\x01\0");
    put(&mut bytes, 12, &92_u32.to_le_bytes());
    put(&mut bytes, 24, &own.to_le_bytes());
    put(&mut bytes, 32, &other.to_le_bytes());
    put(&mut bytes, 40, &(2 + TABLE).to_le_bytes());
    put(&mut bytes, 48, &(blocks - 2 - TABLE).to_le_bytes());
    put(&mut bytes, 72, &entries_at.to_le_bytes());
    put(&mut bytes, 80, &128_u32.to_le_bytes());
    put(&mut bytes, 84, &128_u32.to_le_bytes());
    put(&mut bytes, 88, &sum.to_le_bytes());
    let sum = checksum(bytes.get(..HEADER).unwrap_or_default());
    put(&mut bytes, 16, &sum.to_le_bytes());
    bytes
}

/// The first block, which tells those who know no other table that the disk is full.
fn protection(blocks: u64) -> Vec<u8> {
    let mut bytes = vec![0; ROOM];
    let size = u32::try_from(blocks - 1).unwrap_or(u32::MAX);
    put(&mut bytes, 447, &[0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0]);
    put(&mut bytes, 458, &size.to_le_bytes());
    put(&mut bytes, 510, &[0x55, 0xaa]);
    bytes
}

/// CRC-32 of IEEE 802.3, a byte at a time: a bit at a time, the table alone would take a machine half a millisecond.
fn checksum(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        let [low, ..] = sum.to_le_bytes();
        sum >> 8 ^ SUMS.get(usize::from(low ^ byte)).copied().unwrap_or_default()
    })
}

/// What each byte adds to a checksum.
static SUMS: [u32; 256] = sums();

#[expect(clippy::indexing_slicing, reason = "a constant is computed: it would be no program")]
const fn sums() -> [u32; 256] {
    let mut sums = [0; 256];
    let mut byte = 0;
    while byte < sums.len() {
        let (mut sum, mut bit) = (byte as u32, 0);
        while bit < u8::BITS {
            sum = if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 };
            bit += 1;
        }
        sums[byte] = sum;
        byte += 1;
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, Write};

    fn file(content: &[u8]) -> File {
        let name = rustix::fs::memfd_create(c"part", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let mut file = File::from(name);
        file.write_all(content).unwrap();
        file.rewind().unwrap();
        file
    }

    #[test]
    fn checksums_are_those_of_the_standard() {
        assert_eq!(checksum(b"123456789"), 0xcbf4_3926);
        assert_eq!(checksum(b""), 0);
    }

    #[test]
    fn files_lie_in_partitions() {
        let disk = Disk::new(vec![file(b"one"), file(&[7; 2000])]).unwrap();
        assert_eq!(disk.blocks(), 3 * ALIGNMENT + TABLE + 1);
        let read = |from: u64, length: usize| {
            let mut bytes = vec![1; length];
            disk.read(from, &mut bytes).unwrap();
            bytes
        };
        assert_eq!(read(ALIGNMENT * BLOCK - 1, 6), b"\0one\0\0");
        assert_eq!(read(2 * ALIGNMENT * BLOCK + 1998, 4), b"\x07\x07\0\0");
        assert_eq!(read(510, 3), b"\x55\xaa\0");
        assert_eq!(read(BLOCK - 1, 9), b"\0EFI PART");
        assert_eq!(read((disk.blocks() - 1) * BLOCK, 8), b"EFI PART");
        assert_eq!(read(disk.blocks() * BLOCK, 3), [0; 3]);
        assert_eq!(read(u64::MAX, 3), [0; 3]);
        Disk::new((0..129).map(|_| file(b"")).collect()).unwrap_err();
    }
}
