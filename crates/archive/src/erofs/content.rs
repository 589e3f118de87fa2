//! Bytes of files into an image. What is a hole stays one.

use super::ErofsError;
use super::space::Space;
use crate::tree::shown;
use rustix::fs::{SeekFrom, Stat, copy_file_range, seek};
use rustix::io::{Errno, pread};
use std::io;
use std::os::fd::OwnedFd;
use sys::path::{At, PathError};

/// Bytes read at once.
const PIECE: usize = 128 << 10;

/// An open file of the tree.
#[derive(Debug)]
pub(super) struct Source<'a> {
    pub file: &'a OwnedFd,
    pub stat: &'a Stat,
    /// From the root of the tree.
    pub path: &'a [u8],
}

impl Source<'_> {
    pub(super) fn size(&self) -> u64 {
        self.stat.st_size.unsigned_abs()
    }

    /// All bytes of a small file.
    pub(super) fn bytes(&self) -> Result<Vec<u8>, PathError> {
        let mut bytes = vec![0; usize::try_from(self.size()).unwrap_or(0)];
        self.fill(0, &mut bytes)?;
        Ok(bytes)
    }

    fn fill(&self, at: u64, bytes: &mut [u8]) -> Result<(), PathError> {
        let (mut at, mut left) = (at, bytes);
        while !left.is_empty() {
            let n = pread(self.file, &mut *left, at).at("read", shown(self.path))?;
            if n == 0 {
                let cut = io::Error::from(io::ErrorKind::UnexpectedEof);
                return Err(PathError::new("read", shown(self.path), cut));
            }
            left = left.get_mut(n..).unwrap_or_default();
            at += n as u64;
        }
        Ok(())
    }

    /// Copies the whole file to a place in an image.
    pub(super) fn copy(&self, space: &Space<'_>, to: u64) -> Result<(), ErofsError> {
        let size = self.size();
        let stored = self.stat.st_blocks.unsigned_abs().saturating_mul(512);
        if stored >= size {
            return self.range(space, to, 0, size);
        }
        let mut at = 0;
        while at < size {
            let begin = match seek(self.file, SeekFrom::Data(at)) {
                Ok(begin) => begin.min(size),
                Err(Errno::NXIO) => return Ok(()),
                Err(error) => return Err(error).at("seek", shown(self.path))?,
            };
            let end = seek(self.file, SeekFrom::Hole(begin)).at("seek", shown(self.path))?;
            at = end.min(size);
            self.range(space, to, begin, at)?;
        }
        Ok(())
    }

    fn range(&self, space: &Space<'_>, to: u64, begin: u64, end: u64) -> Result<(), ErofsError> {
        let mut at = begin;
        if end.saturating_sub(begin) > PIECE as u64 {
            let (mut from, mut into) = (begin, to.saturating_add(begin));
            while from < end {
                let length = usize::try_from(end - from).unwrap_or(usize::MAX).min(1 << 30);
                // Reading and writing comes next, and tells which of them fails.
                let copied = copy_file_range(
                    self.file,
                    Some(&mut from),
                    space.file(),
                    Some(&mut into),
                    length,
                );
                if !matches!(copied, Ok(1..)) {
                    break;
                }
            }
            at = from;
        }
        let mut buffer =
            vec![0; usize::try_from(end.saturating_sub(at)).unwrap_or(PIECE).min(PIECE)];
        while at < end {
            let length = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
            let piece = buffer.get_mut(..length).unwrap_or_default();
            self.fill(at, piece)?;
            space.write(to.saturating_add(at), piece)?;
            at += length as u64;
        }
        Ok(())
    }
}
