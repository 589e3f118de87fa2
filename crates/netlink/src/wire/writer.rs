//! Writes messages, one after the other, into one buffer.

use super::{HEADER, aligned};
use std::net::IpAddr;

/// Marks an attribute that has attributes.
const NESTED: u16 = 0x8000;

/// What a message begins with, apart from its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What it asks for.
    pub kind: u16,
    /// How.
    pub flags: u16,
    /// Which of the socket's requests it is.
    pub sequence: u32,
}

/// Writes one message at the end of a buffer. Its length is settled by [`Writer::finish`].
#[derive(Debug)]
pub struct Writer<'a> {
    bytes: &'a mut Vec<u8>,
    start: usize,
    /// Whether some length did not fit into its field.
    too_long: bool,
}

impl<'a> Writer<'a> {
    /// Begins a message.
    pub fn new(bytes: &'a mut Vec<u8>, header: Header) -> Self {
        let start = bytes.len();
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&header.kind.to_ne_bytes());
        bytes.extend_from_slice(&header.flags.to_ne_bytes());
        bytes.extend_from_slice(&header.sequence.to_ne_bytes());
        bytes.extend_from_slice(&[0; 4]);
        Self { bytes, start, too_long: false }
    }

    /// Settles the message's length. False if a length is too large for the wire: the bytes are then not to be sent.
    #[must_use]
    pub fn finish(self) -> bool {
        let length = u32::try_from(self.bytes.len().saturating_sub(self.start));
        patch(self.bytes, self.start, &length.unwrap_or_default().to_ne_bytes());
        length.is_ok() && !self.too_long
    }

    /// What was asked for has no place in a message: it is not to be sent.
    pub fn refuse(&mut self) {
        self.too_long = true;
    }

    /// Bytes as they are: the fixed part of a message.
    pub fn fixed(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self.pad();
        self
    }

    fn pad(&mut self) {
        let length = self.bytes.len().saturating_sub(self.start);
        self.bytes.resize(self.start.saturating_add(aligned(length)), 0);
    }

    /// An attribute of these bytes.
    pub fn attribute(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let at = self.open(kind);
        self.bytes.extend_from_slice(value);
        self.close(at);
        self
    }

    /// An attribute made of these parts.
    pub fn parts(&mut self, kind: u16, parts: &[&[u8]]) -> &mut Self {
        let at = self.open(kind);
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        self.close(at);
        self
    }

    /// An attribute of attributes.
    pub fn nested(&mut self, kind: u16, inner: impl FnOnce(&mut Self)) -> &mut Self {
        let at = self.open(kind | NESTED);
        inner(self);
        self.close(at);
        self
    }

    /// An attribute of attributes that are written already.
    pub fn nested_bytes(&mut self, kind: u16, inner: &[u8]) -> &mut Self {
        self.attribute(kind | NESTED, inner)
    }

    fn open(&mut self, kind: u16) -> usize {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        at
    }

    fn close(&mut self, at: usize) {
        let length = u16::try_from(self.bytes.len().saturating_sub(at));
        self.too_long |= length.is_err();
        patch(self.bytes, at, &length.unwrap_or_default().to_ne_bytes());
        self.pad();
    }

    /// A byte.
    pub fn u8(&mut self, kind: u16, value: u8) -> &mut Self {
        self.attribute(kind, &[value])
    }

    /// Two bytes of this machine's order.
    pub fn u16(&mut self, kind: u16, value: u16) -> &mut Self {
        self.attribute(kind, &value.to_ne_bytes())
    }

    /// Four bytes of this machine's order.
    pub fn u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attribute(kind, &value.to_ne_bytes())
    }

    /// Eight bytes of this machine's order.
    pub fn u64(&mut self, kind: u16, value: u64) -> &mut Self {
        self.attribute(kind, &value.to_ne_bytes())
    }

    /// Two bytes of the network's order.
    pub fn be16(&mut self, kind: u16, value: u16) -> &mut Self {
        self.attribute(kind, &value.to_be_bytes())
    }

    /// Four bytes of the network's order.
    pub fn be32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attribute(kind, &value.to_be_bytes())
    }

    /// Eight bytes of the network's order.
    pub fn be64(&mut self, kind: u16, value: u64) -> &mut Self {
        self.attribute(kind, &value.to_be_bytes())
    }

    /// A text with the zero that ends it.
    pub fn text(&mut self, kind: u16, value: impl AsRef<[u8]>) -> &mut Self {
        self.parts(kind, &[value.as_ref(), &[0]])
    }

    /// An address of either family.
    pub fn ip(&mut self, kind: u16, value: IpAddr) -> &mut Self {
        match value {
            IpAddr::V4(address) => self.attribute(kind, &address.octets()),
            IpAddr::V6(address) => self.attribute(kind, &address.octets()),
        }
    }
}

fn patch(bytes: &mut [u8], at: usize, with: &[u8]) {
    let end = at.saturating_add(with.len());
    if let Some(place) = bytes.get_mut(at..end) {
        place.copy_from_slice(with);
    }
}

const _: () = assert!(HEADER == 16, "what `Writer::new` writes");
