//! Requests that go out together, and their replies.

use super::{Cause, Query, Request, RequestError};
use crate::wire::{HEADER, Header, Malformed, Message, Writer, flags};
use rustix::io::Errno;
use std::ops::Range;

/// Requests in their order.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

/// What is kept of a request beside its bytes.
#[derive(Debug)]
struct Entry {
    words: String,
    start: usize,
    fine: &'static [Errno],
    sound: bool,
}

/// How much may go out at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    pub(super) bytes: usize,
    pub(super) requests: usize,
}

/// A part of a batch that goes out at once.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) bytes: Range<usize>,
    pub(super) requests: Range<usize>,
    /// The request whose answer is the end.
    pub(super) last: usize,
    /// The request whose refusal is the end, too.
    pub(super) decisive: usize,
}

impl Batch {
    /// None yet.
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), entries: Vec::new() }
    }

    /// Adds a request; the number is the place of its reply.
    pub fn add(&mut self, request: &impl Request) -> usize {
        self.add_unless(request, &[])
    }

    /// Adds a request that may fail with these errors: its reply says so, and the batch has not failed.
    pub fn add_unless(&mut self, request: &impl Request, fine: &'static [Errno]) -> usize {
        let (index, start) = (self.entries.len(), self.bytes.len());
        let flags = request.flags() | flags::REQUEST;
        let header = Header { kind: request.kind(), flags, sequence: 0 };
        let mut writer = Writer::new(&mut self.bytes, header);
        request.write(&mut writer);
        let sound = writer.finish();
        self.entries.push(Entry { words: request.to_string(), start, fine, sound });
        index
    }

    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many requests it has.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// What it is to do, in words, in order.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.words.as_str())
    }

    pub(super) fn sound(&self) -> Result<(), RequestError> {
        match self.entries.iter().position(|entry| !entry.sound) {
            Some(index) => Err(self.error(index, Cause::TooLong)),
            None => Ok(()),
        }
    }

    pub(super) fn replies(&self) -> Vec<Reply> {
        self.entries.iter().map(|_| Reply::default()).collect()
    }

    pub(super) fn error(&self, index: usize, cause: Cause) -> RequestError {
        let words = self.entries.get(index).map(|entry| entry.words.clone()).unwrap_or_default();
        RequestError { words, index, cause }
    }

    pub(super) fn is_fine(&self, index: usize, errno: Errno) -> bool {
        self.entries.get(index).is_some_and(|entry| entry.fine.contains(&errno))
    }

    fn start(&self, index: usize) -> usize {
        self.entries.get(index).map_or(self.bytes.len(), |entry| entry.start)
    }

    /// As many requests from this one on as may go out at once, but one at least.
    pub(super) fn piece(&self, from: usize, limit: Limit) -> Option<Piece> {
        if from >= self.entries.len() {
            return None;
        }
        let start = self.start(from);
        let fits = |index: &usize| {
            self.start(index.saturating_add(1)).saturating_sub(start) <= limit.bytes
        };
        let end = self.entries.len().min(from.saturating_add(limit.requests));
        let further = (from.saturating_add(1)..end).take_while(fits).count();
        let last = from.saturating_add(further);
        let end = last.saturating_add(1);
        Some(Piece { bytes: start..self.start(end), requests: from..end, last, decisive: last })
    }

    /// All of it, for a batch within brackets: the last but one ends it, and so does a refusal of the first.
    pub(super) fn bracketed(&self) -> Option<Piece> {
        let last = self.entries.len().checked_sub(2).filter(|last| *last > 0)?;
        let (bytes, requests) = (0..self.bytes.len(), 0..self.entries.len());
        Some(Piece { bytes, requests, last, decisive: 0 })
    }

    /// Numbers the requests of a piece, and has the last one acknowledged.
    pub(super) fn seal(&mut self, piece: &Piece, first: u32) -> &[u8] {
        let mut sequence = first;
        for (index, entry) in self.entries.iter().enumerate() {
            if !piece.requests.contains(&index) {
                continue;
            }
            let end = entry.start.saturating_add(HEADER);
            let header = self.bytes.get_mut(entry.start..end).unwrap_or_default();
            for (to, from) in header.iter_mut().skip(8).zip(sequence.to_ne_bytes()) {
                *to = from;
            }
            if index == piece.last {
                for (to, flag) in header.iter_mut().skip(6).zip(flags::ACK.to_ne_bytes()) {
                    *to |= flag;
                }
            }
            sequence = sequence.saturating_add(1);
        }
        self.bytes.get(piece.bytes.clone()).unwrap_or_default()
    }
}

/// What came back for a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// The error with which it was refused, where that is fine.
    pub refused: Option<Errno>,
    /// What was asked for.
    pub messages: Vec<Received>,
}

impl Reply {
    /// Reads what a query asked for.
    pub fn read<Q: Query>(&self) -> Result<Option<Q::Item>, Malformed> {
        for received in &self.messages {
            if let Some(item) = Q::read(&received.message())? {
                return Ok(Some(item));
            }
        }
        Ok(None)
    }
}

/// A message that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    kind: u16,
    body: Vec<u8>,
}

impl Received {
    pub(super) fn new(message: &Message<'_>) -> Self {
        Self { kind: message.kind, body: message.body.to_owned() }
    }

    /// The message, without its flags and numbers.
    pub fn message(&self) -> Message<'_> {
        Message { kind: self.kind, flags: 0, sequence: 0, port: 0, body: &self.body }
    }
}
