//! Entries of a tar stream: ustar, PAX and GNU headers, sparse files. Trusts nothing and keeps no state beyond an entry.

#![warn(clippy::arithmetic_side_effects)]

mod number;
mod pax;
mod sparse;

use pax::Extensions;
pub(crate) use sparse::Extent;
use std::io::{self, Read, Seek, SeekFrom};

/// The unit of a tar.
const BLOCK: usize = 512;
/// No header that only describes the next entry is larger.
const SPECIAL_SIZE: u64 = 1 << 20;
/// As many such headers may follow each other.
const SPECIAL_RUN: u32 = 16;
/// As much may follow an archive; writers pad to some kilobytes.
const TRAILING: u64 = 64 << 20;

/// A stream that is no tar, or one that lies.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The stream failed.
    #[error("the stream breaks off")]
    Read(#[source] io::Error),
    /// The stream ends inside an entry.
    #[error("the archive is cut off")]
    Truncated,
    /// A header's sum is wrong: this is no tar, or not any more.
    #[error("a header has a wrong checksum")]
    Checksum,
    /// A number in a header is none, or none that fits.
    #[error("a header has a bad {0}")]
    Number(&'static str),
    /// An extended header does not follow its grammar.
    #[error("an extended header is malformed")]
    Extension,
    /// Extended headers are too large or too many.
    #[error("extended headers are too large or too many")]
    TooManyExtensions,
    /// The map of a sparse file contradicts itself.
    #[error("the map of a sparse file is malformed")]
    Sparse,
    /// A name is empty or holds a NUL.
    #[error("an entry has an empty name or one with a NUL byte")]
    Name,
    /// It is followed by far more than the padding that writers add.
    #[error("the archive is followed by more than 64 MiB")]
    Trailing,
    /// A hard link that brings data of its own.
    #[error("a hard link has a size")]
    LinkSize,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Dir,
    Symlink,
    HardLink,
    Fifo,
    Char,
    Block,
    /// Something no unpacker here makes.
    Other,
}

/// A time stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Time {
    pub seconds: i64,
    pub nanoseconds: u32,
}

/// One entry, all headers applied.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub path: Vec<u8>,
    pub link: Vec<u8>,
    pub kind: Kind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Time,
    /// Logical size of a file.
    pub size: u64,
    pub device: (u32, u32),
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the data of a sparse file goes, ascending.
    pub extents: Option<Vec<Extent>>,
}

/// Reads a tar stream entry by entry.
pub(crate) struct TarReader<R> {
    stream: R,
    /// Bytes of the current entry's data not yet read, and of its padding.
    left: u64,
    padding: u64,
    ended: bool,
    /// The end was said, and the stream did not just break off between two entries.
    marked: bool,
}

impl<R: Read + Seek> TarReader<R> {
    /// Where the data of the current entry lies in the stream; it is passed over, by seeking.
    pub(crate) fn pass(&mut self) -> Result<u64, TarError> {
        let start = self.stream.stream_position().map_err(TarError::Read)?;
        let end = start.checked_add(self.left).and_then(|end| end.checked_add(self.padding));
        self.stream
            .seek(SeekFrom::Start(end.ok_or(TarError::Truncated)?))
            .map_err(TarError::Read)?;
        (self.left, self.padding) = (0, 0);
        Ok(start)
    }
}

impl<R: Read> TarReader<R> {
    pub(crate) fn new(stream: R) -> Self {
        Self { stream, left: 0, padding: 0, ended: false, marked: false }
    }

    /// The next entry; what was not read of the last one's data is skipped.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, TarError> {
        let mut extensions = Extensions::default();
        let mut run = 0_u32;
        loop {
            let Some(header) = self.header()? else {
                return if run == 0 { Ok(None) } else { Err(TarError::Truncated) };
            };
            let kind = header.as_bytes().get(156).copied().unwrap_or(0);
            if !matches!(kind, b'x' | b'X' | b'g' | b'L' | b'K') {
                return self.entry(&header, kind, extensions).map(Some);
            }
            run = run.saturating_add(1);
            if run > SPECIAL_RUN {
                return Err(TarError::TooManyExtensions);
            }
            let size = number::size(&header)?;
            if size > SPECIAL_SIZE {
                return Err(TarError::TooManyExtensions);
            }
            self.begin(size);
            let mut text = Vec::new();
            self.read_all(&mut text)?;
            match kind {
                b'L' => extensions.path = Some(pax::until_nul(&text).to_owned()),
                b'K' => extensions.link = Some(pax::until_nul(&text).to_owned()),
                // A global header describes nothing that an unpacker should believe.
                b'g' => pax::check(&text)?,
                _ => extensions.read(&text)?,
            }
        }
    }

    fn entry(
        &mut self,
        header: &tar::Header,
        flag: u8,
        extensions: Extensions,
    ) -> Result<Entry, TarError> {
        let mut path = match &extensions.path {
            Some(path) => path.clone(),
            None => header.path_bytes().into_owned(),
        };
        let link = extensions.link.clone().unwrap_or_else(|| link_name(header));
        if path.is_empty() || path.contains(&0) || link.contains(&0) {
            return Err(TarError::Name);
        }
        let kind = match flag {
            b'5' => Kind::Dir,
            // Before ustar a folder was a file whose name ends with a slash.
            b'0' | 0 | b'7' if path.ends_with(b"/") => Kind::Dir,
            b'0' | 0 | b'7' | b'S' => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::Symlink,
            b'3' => Kind::Char,
            b'4' => Kind::Block,
            b'6' => Kind::Fifo,
            _ => Kind::Other,
        };
        let stored = match extensions.size {
            Some(size) => size,
            None => number::size(header)?,
        };
        if kind == Kind::HardLink && stored != 0 {
            return Err(TarError::LinkSize);
        }
        self.begin(stored);
        let mut size = stored;
        let mut extents = None;
        if kind == Kind::File {
            if flag == b'S' {
                let (map, real) = self.old_sparse(header)?;
                (extents, size) = (Some(map), real);
            } else if let Some((map, real, name)) = self.pax_sparse(&extensions)? {
                (extents, size) = (Some(map), real);
                path = name.unwrap_or(path);
            }
            if let Some(map) = &extents {
                sparse::check(map, size, self.left)?;
            }
        }
        let raw = header.as_bytes();
        let field = |from: usize, to: usize| raw.get(from..to).unwrap_or_default();
        let id = |given: Option<u64>, bytes: &[u8], what| {
            let found = match given {
                Some(id) => id,
                None => number::unsigned(bytes).ok_or(TarError::Number(what))?,
            };
            // The last number means "leave as it is" to the kernel.
            u32::try_from(found).ok().filter(|id| *id < u32::MAX).ok_or(TarError::Number(what))
        };
        let small = |bytes: &[u8], what| {
            let found = number::unsigned(bytes).ok_or(TarError::Number(what))?;
            u32::try_from(found).map_err(|_| TarError::Number(what))
        };
        let ustar = field(257, 262) == b"ustar";
        let device = if ustar && matches!(kind, Kind::Char | Kind::Block) {
            (small(field(329, 337), "device number")?, small(field(337, 345), "device number")?)
        } else {
            (0, 0)
        };
        Ok(Entry {
            path,
            link,
            kind,
            mode: small(field(100, 108), "mode")? & 0o7777,
            uid: id(extensions.uid, field(108, 116), "user id")?,
            gid: id(extensions.gid, field(116, 124), "group id")?,
            mtime: match extensions.mtime {
                Some(time) => time,
                None => number::time(field(136, 148))?,
            },
            size,
            device,
            xattrs: extensions.xattrs,
            extents,
        })
    }

    fn old_sparse(&mut self, header: &tar::Header) -> Result<(Vec<Extent>, u64), TarError> {
        let raw = header.as_bytes();
        let mut map = Vec::new();
        let field = |from: usize, to: usize| raw.get(from..to).unwrap_or_default();
        sparse::old_extents(field(386, 482), &mut map)?;
        let real = number::unsigned(field(483, 495)).ok_or(TarError::Number("size"))?;
        let mut more = raw.get(482).is_some_and(|b| *b != 0);
        while more {
            let mut block = [0_u8; BLOCK];
            self.fill(&mut block)?;
            sparse::old_extents(block.get(..504).unwrap_or_default(), &mut map)?;
            more = block.get(504).is_some_and(|b| *b != 0);
        }
        Ok((map, real))
    }

    #[expect(
        clippy::type_complexity,
        reason = "the parts of a sparse member: its map, its size, its real name"
    )]
    fn pax_sparse(
        &mut self,
        extensions: &Extensions,
    ) -> Result<Option<(Vec<Extent>, u64, Option<Vec<u8>>)>, TarError> {
        let Some(found) = &extensions.sparse else { return Ok(None) };
        let map = if found.in_data {
            let mut lines = sparse::Lines::default();
            while !lines.done() {
                let mut block = [0_u8; BLOCK];
                if self.left < BLOCK as u64 {
                    return Err(TarError::Sparse);
                }
                self.fill(&mut block)?;
                self.left = self.left.saturating_sub(BLOCK as u64);
                lines.take(&block)?;
            }
            lines.extents()?
        } else {
            found.extents()?
        };
        let real = found.real.ok_or(TarError::Sparse)?;
        Ok(Some((map, real, found.name.clone())))
    }

    /// Reads data of the current entry, as it is stored; 0 at its end.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, TarError> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let Some(part) = buffer.get_mut(..most).filter(|p| !p.is_empty()) else { return Ok(0) };
        loop {
            match self.stream.read(part) {
                Ok(0) => return Err(TarError::Truncated),
                Ok(n) => {
                    self.left = self.left.saturating_sub(n as u64);
                    return Ok(n);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(TarError::Read(error)),
            }
        }
    }

    /// Fills the buffer with data of the current entry, as far as there is any.
    pub(crate) fn read_full(&mut self, buffer: &mut [u8]) -> Result<usize, TarError> {
        let mut filled = 0_usize;
        while let Some(rest) = buffer.get_mut(filled..).filter(|r| !r.is_empty()) {
            match self.read(rest)? {
                0 => break,
                n => filled = filled.saturating_add(n),
            }
        }
        Ok(filled)
    }

    /// Reads the rest of the current entry's data into memory; the caller has checked its size.
    pub(crate) fn read_all(&mut self, out: &mut Vec<u8>) -> Result<(), TarError> {
        let mut buffer = [0_u8; 4096];
        loop {
            match self.read(&mut buffer)? {
                0 => return Ok(()),
                n => out.extend_from_slice(buffer.get(..n).unwrap_or_default()),
            }
        }
    }

    /// Whether the archive has come to an end that it says is one: many a writer leaves that out, and then its archive cannot
    /// be told from one that is cut off.
    pub(crate) fn has_end(&self) -> bool {
        self.marked
    }

    /// Reads what follows the archive, so that a hash of the stream covers all of it.
    pub(crate) fn finish(mut self) -> Result<(), TarError> {
        self.skip()?;
        let mut rest = self.stream.by_ref().take(TRAILING.saturating_add(1));
        let length = crate::stream::drain(&mut rest).map_err(TarError::Read)?;
        if length > TRAILING { Err(TarError::Trailing) } else { Ok(()) }
    }

    fn begin(&mut self, size: u64) {
        self.left = size;
        self.padding = size.wrapping_neg() & (BLOCK as u64).wrapping_sub(1);
    }

    fn skip(&mut self) -> Result<(), TarError> {
        let mut buffer = [0_u8; 16 << 10];
        while self.read(&mut buffer)? > 0 {}
        self.left = std::mem::take(&mut self.padding);
        while self.read(&mut buffer)? > 0 {}
        Ok(())
    }

    /// The next header block, `None` at the end of the archive.
    fn header(&mut self) -> Result<Option<tar::Header>, TarError> {
        if self.ended {
            return Ok(None);
        }
        self.skip()?;
        let mut header = tar::Header::new_old();
        let block = header.as_mut_bytes();
        let mut filled = 0_usize;
        while let Some(rest) = block.get_mut(filled..).filter(|r| !r.is_empty()) {
            match self.stream.read(rest) {
                Ok(0) if filled == 0 => {
                    self.ended = true;
                    return Ok(None);
                }
                Ok(0) => return Err(TarError::Truncated),
                Ok(n) => filled = filled.saturating_add(n),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(TarError::Read(error)),
            }
        }
        if block.iter().all(|b| *b == 0) {
            (self.ended, self.marked) = (true, true);
            return Ok(None);
        }
        number::verify(block)?;
        Ok(Some(header))
    }

    fn fill(&mut self, block: &mut [u8]) -> Result<(), TarError> {
        match self.stream.read_exact(block) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(TarError::Truncated),
            Err(error) => Err(TarError::Read(error)),
        }
    }
}

fn link_name(header: &tar::Header) -> Vec<u8> {
    header.link_name_bytes().map(std::borrow::Cow::into_owned).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_not_followed_by_a_flood() {
        for (length, fine) in [(10 << 10, true), (TRAILING - BLOCK as u64, true), (u64::MAX, false)]
        {
            let stream = io::repeat(0).take(length.saturating_add(2 * BLOCK as u64));
            let mut tar = TarReader::new(stream);
            assert!(tar.next().unwrap().is_none());
            assert_eq!(tar.finish().is_ok(), fine, "{length}");
        }
    }
}
