//! A file that is copied into the guest's memory from the page cache, without a call for it.
//!
//! Reading it by a call costs several times as much: the kernel looks up and copies page by page, and must be ready for
//! each copy to fail.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use vm_memory::bitmap::BitmapSlice;
use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{
    FileOffset, MmapRegion, ReadVolatile, VolatileMemory, VolatileMemoryError, VolatileSlice,
};

/// How much is copied at a time, in bytes. The C library copies more by one instruction for strings, which some
/// processors, and all emulated ones, do byte by byte.
const PIECE: usize = 2048;

/// A file, and how far it is read. Whoever could cut it off could end the process: files come from a stage1 image.
#[derive(Debug)]
pub(super) struct Mapped {
    region: MmapRegion,
    position: usize,
}

impl Mapped {
    /// Maps a file. Its pages come sixteen at a time as they are touched; to ask for all at once takes four times as long.
    ///
    /// # Errors
    /// It is empty, or cannot be mapped.
    pub(super) fn new(file: &File) -> io::Result<Self> {
        let size = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        let place = FileOffset::new(file.try_clone()?, 0);
        let region = MmapRegionBuilder::new(size)
            .with_mmap_prot(libc::PROT_READ)
            .with_mmap_flags(libc::MAP_PRIVATE)
            .with_file_offset(place)
            .build()
            .map_err(io::Error::other)?;
        Ok(Self { region, position: 0 })
    }

    /// How much is left of it, and of a buffer for it.
    fn count(&self, room: usize) -> usize {
        self.region.size().saturating_sub(self.position).min(room)
    }
}

impl ReadVolatile for Mapped {
    fn read_volatile<B: BitmapSlice>(
        &mut self,
        buffer: &mut VolatileSlice<'_, B>,
    ) -> Result<usize, VolatileMemoryError> {
        let count = self.count(buffer.len());
        for start in (0..count).step_by(PIECE) {
            let length = PIECE.min(count - start);
            let from = self.region.get_slice(self.position + start, length)?;
            from.copy_to_volatile_slice(buffer.subslice(start, length)?);
        }
        self.position += count;
        Ok(count)
    }
}

impl Read for Mapped {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.count(buffer.len());
        if count > 0 {
            let from = self.region.get_slice(self.position, count).map_err(io::Error::other)?;
            from.copy_to(buffer);
        }
        self.position += count;
        Ok(count)
    }
}

impl Seek for Mapped {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (base, offset) = match to {
            SeekFrom::Start(offset) => (0, i64::try_from(offset).map_err(io::Error::other)?),
            SeekFrom::Current(offset) => (self.position, offset),
            SeekFrom::End(offset) => (self.region.size(), offset),
        };
        let position = i64::try_from(base).ok().and_then(|base| base.checked_add(offset));
        let position = position.ok_or(io::ErrorKind::InvalidInput)?;
        self.position = usize::try_from(position).map_err(|_| io::ErrorKind::InvalidInput)?;
        u64::try_from(position).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use vm_memory::VolatileSlice;

    fn mapped(bytes: &[u8]) -> Mapped {
        let name = rustix::fs::memfd_create("mapped", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let mut file = File::from(name);
        file.write_all(bytes).unwrap();
        Mapped::new(&file).unwrap()
    }

    #[test]
    fn a_mapped_file_reads_as_any_other() {
        let bytes: Vec<u8> = (0..10_000_u32).map(|n| (n % 251) as u8).collect();
        let mut file = mapped(&bytes);
        let mut head = [0; 100];
        file.read_exact(&mut head).unwrap();
        assert_eq!(head, bytes[..100]);
        for (start, length) in [(0, 10_000), (1, 5000), (4097, 2048), (9_999, 1), (7, 0)] {
            file.seek(SeekFrom::Start(start as u64)).unwrap();
            let mut room = vec![0; length];
            file.read_exact_volatile(&mut VolatileSlice::from(&mut room[..])).unwrap();
            assert_eq!(room, bytes[start..start + length]);
        }
        file.seek(SeekFrom::Start(9_999)).unwrap();
        let mut room = [7; 2];
        assert_eq!(file.read_volatile(&mut VolatileSlice::from(&mut room[..])).unwrap(), 1);
        assert_eq!((file.read(&mut room).unwrap(), room), (0, [bytes[9_999], 7]));
        assert_eq!(file.seek(SeekFrom::End(-1)).unwrap(), 9_999);
        file.seek(SeekFrom::Current(-10_000)).unwrap_err();
        file.seek(SeekFrom::Start(1 << 40)).unwrap();
        assert_eq!(file.read(&mut room).unwrap(), 0);
    }

    #[test]
    fn an_empty_file_is_refused() {
        let name = rustix::fs::memfd_create("mapped", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        Mapped::new(&File::from(name)).unwrap_err();
    }
}
