//! The room of an image: which bytes are whose, and writing them.
//!
//! Data takes whole blocks from the end. Inodes go into blocks that are kept open in memory until they are full, a few at
//! a time, so that what does not fit behind a large one still fits behind a small one.

use super::ErofsError;
use super::format::{BLOCK, CHECKSUM_AT, SLOT, SUPER_AT, SUPER_LENGTH, Super, checksum};
use rustix::fs::ftruncate;
use rustix::io::pwrite;
use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;

/// Blocks with inodes that are open at once, beside the first one.
const OPEN: usize = 16;
/// Blocks for inodes that are taken at once, at first and at most: neighbours stay together, small images small.
const RUN: Range<u64> = 2..64;

/// A block that inodes are added to.
#[derive(Debug)]
struct OpenBlock {
    number: u64,
    bytes: Vec<u8>,
    used: usize,
}

impl OpenBlock {
    fn new(number: u64, used: usize) -> Self {
        Self { number, bytes: vec![0; BLOCK], used }
    }

    fn room(&self) -> usize {
        BLOCK.saturating_sub(self.used)
    }

    /// Takes so many bytes, which there are; tells where.
    fn take(&mut self, length: usize) -> u64 {
        let at = self.number * BLOCK as u64 + self.used as u64;
        self.used = (self.used + length).next_multiple_of(SLOT);
        at
    }
}

/// The image being written.
#[derive(Debug)]
pub(super) struct Space<'f> {
    file: BorrowedFd<'f>,
    /// The first block of none.
    next: u64,
    /// Blocks for inodes that none has begun.
    run: Range<u64>,
    run_length: u64,
    /// Has the superblock, so it stays in memory.
    first: OpenBlock,
    open: Vec<OpenBlock>,
}

impl<'f> Space<'f> {
    pub(super) fn new(file: BorrowedFd<'f>) -> io::Result<Self> {
        // What is never written has to read as zeros.
        ftruncate(file, 0)?;
        Ok(Self {
            file,
            next: 1,
            run: 1..1,
            run_length: RUN.start,
            first: OpenBlock::new(0, SUPER_AT + SUPER_LENGTH),
            open: Vec::with_capacity(OPEN),
        })
    }

    /// The file, to write blocks of data into.
    pub(super) fn file(&self) -> BorrowedFd<'f> {
        self.file
    }

    /// Takes blocks, and gives the number of the first.
    pub(super) fn blocks(&mut self, count: u64) -> Result<u32, ErofsError> {
        let first = u32::try_from(self.next).map_err(|_| ErofsError::TooLarge)?;
        self.next = self.next.checked_add(count).ok_or(ErofsError::TooLarge)?;
        if u32::try_from(self.next).is_err() { Err(ErofsError::TooLarge) } else { Ok(first) }
    }

    /// Takes bytes for an inode and what is behind it, and tells where: in one block, if they fit in one at all.
    pub(super) fn inode(&mut self, length: usize) -> Result<u64, ErofsError> {
        if length > BLOCK {
            let first = self.blocks(length.div_ceil(BLOCK) as u64)?;
            return Ok(u64::from(first) * BLOCK as u64);
        }
        let all = std::iter::once(&mut self.first).chain(&mut self.open);
        let fitting = all.filter(|block| block.room() >= length);
        if let Some(block) = fitting.min_by_key(|block| block.room()) {
            return Ok(block.take(length));
        }
        if self.open.len() >= OPEN {
            let fullest = self.open.iter().enumerate().max_by_key(|(_, block)| block.used);
            if let Some((index, _)) = fullest {
                let block = self.open.remove(index);
                self.write(block.number * BLOCK as u64, &block.bytes)?;
            }
        }
        if self.run.is_empty() {
            let first = u64::from(self.blocks(self.run_length)?);
            self.run = first..self.next;
            self.run_length = (self.run_length * 2).min(RUN.end);
        }
        let mut block = OpenBlock::new(self.run.start, 0);
        self.run.start += 1;
        let at = block.take(length);
        self.open.push(block);
        Ok(at)
    }

    /// Writes bytes that were taken for inodes.
    pub(super) fn put(&mut self, at: u64, bytes: &[u8]) -> Result<(), ErofsError> {
        let (number, offset) = (at / BLOCK as u64, (at % BLOCK as u64) as usize);
        let mut all = std::iter::once(&mut self.first).chain(&mut self.open);
        if let Some(block) = all.find(|block| block.number == number)
            && let Some(to) = block.bytes.get_mut(offset..offset.saturating_add(bytes.len()))
        {
            to.copy_from_slice(bytes);
            return Ok(());
        }
        self.write(at, bytes)
    }

    /// Writes bytes of taken blocks.
    pub(super) fn write(&self, at: u64, bytes: &[u8]) -> Result<(), ErofsError> {
        let (mut at, mut left) = (at, bytes);
        while !left.is_empty() {
            let n = pwrite(self.file, left, at).map_err(|e| ErofsError::Write(e.into()))?;
            if n == 0 {
                return Err(ErofsError::Write(io::ErrorKind::WriteZero.into()));
            }
            left = left.get(n..).unwrap_or_default();
            at += n as u64;
        }
        Ok(())
    }

    /// Writes what is still in memory and the superblock, which tells the number of blocks; gives the image's length.
    pub(super) fn finish(mut self, superblock: &Super) -> Result<u64, ErofsError> {
        if self.run.end == self.next {
            self.next = self.run.start;
        }
        let blocks = u32::try_from(self.next).map_err(|_| ErofsError::TooLarge)?;
        for block in std::mem::take(&mut self.open) {
            self.write(block.number * BLOCK as u64, &block.bytes)?;
        }
        self.put(SUPER_AT as u64, &Super { blocks, ..*superblock }.encode())?;
        let sum = checksum(self.first.bytes.get(SUPER_AT..).unwrap_or_default());
        self.put((SUPER_AT + CHECKSUM_AT) as u64, &sum.to_le_bytes())?;
        self.write(0, &self.first.bytes)?;
        let length = self.next * BLOCK as u64;
        ftruncate(self.file, length).map_err(|e| ErofsError::Write(e.into()))?;
        Ok(length)
    }
}
