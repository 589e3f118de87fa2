//! Reads messages and attributes. Lengths are claims: each is checked against what there is before it is used.

use super::{HEADER, aligned};
use std::net::IpAddr;

/// Kinds carry two flags in their highest bits.
const KIND: u16 = 0x3fff;

/// What was read does not hold together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

/// One message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// What it is.
    pub kind: u16,
    /// Its flags.
    pub flags: u16,
    /// The request that it answers.
    pub sequence: u32,
    /// The port of the socket that asked.
    pub port: u32,
    /// What follows the header.
    pub body: &'a [u8],
}

/// The messages in a datagram. After an error there is nothing more.
#[derive(Debug, Clone)]
pub struct Messages<'a>(&'a [u8]);

impl<'a> Messages<'a> {
    /// Those of this datagram.
    pub const fn new(datagram: &'a [u8]) -> Self {
        Self(datagram)
    }

    fn read(&mut self) -> Result<Message<'a>, Malformed> {
        let short = Malformed("a message ends within its header");
        let (length, rest) = self.0.split_first_chunk::<4>().ok_or(short)?;
        let (kind, rest) = rest.split_first_chunk::<2>().ok_or(short)?;
        let (flags, rest) = rest.split_first_chunk::<2>().ok_or(short)?;
        let (sequence, rest) = rest.split_first_chunk::<4>().ok_or(short)?;
        let (port, _) = rest.split_first_chunk::<4>().ok_or(short)?;
        let long = Malformed("a message is longer than what came");
        let length = usize::try_from(u32::from_ne_bytes(*length)).map_err(|_| long)?;
        if length < HEADER {
            return Err(Malformed("a message is shorter than its header"));
        }
        let body = self.0.get(HEADER..length).ok_or(long)?;
        // The padding of the last one may be missing.
        self.0 = self.0.get(aligned(length)..).unwrap_or_default();
        Ok(Message {
            kind: u16::from_ne_bytes(*kind),
            flags: u16::from_ne_bytes(*flags),
            sequence: u32::from_ne_bytes(*sequence),
            port: u32::from_ne_bytes(*port),
            body,
        })
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let read = self.read();
        if read.is_err() {
            self.0 = &[];
        }
        Some(read)
    }
}

/// Splits the fixed part off a message's body. Attributes follow it.
pub fn fixed<const N: usize>(body: &[u8]) -> Result<(&[u8; N], Attributes<'_>), Malformed> {
    let head = body.first_chunk::<N>().ok_or(Malformed("a message lacks its fixed part"))?;
    Ok((head, Attributes::new(body.get(aligned(N)..).unwrap_or_default())))
}

/// The number in four bytes of a fixed part.
pub fn word<const AT: usize, const N: usize>(head: &[u8; N]) -> u32 {
    const { assert!(AT <= N && N - AT >= 4, "the fixed part has it") };
    let bytes = head.get(AT..).and_then(<[u8]>::first_chunk::<4>);
    u32::from_ne_bytes(bytes.copied().unwrap_or_default())
}

/// One attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Which it is, without the flags.
    pub kind: u16,
    /// What it says.
    pub value: &'a [u8],
}

/// A row of attributes. After an error there is nothing more.
#[derive(Debug, Clone)]
pub struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// Those in these bytes.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The first of this kind.
    pub fn find(&self, kind: u16) -> Result<Option<Attribute<'a>>, Malformed> {
        for attribute in self.clone() {
            let attribute = attribute?;
            if attribute.kind == kind {
                return Ok(Some(attribute));
            }
        }
        Ok(None)
    }

    fn read(&mut self) -> Result<Attribute<'a>, Malformed> {
        let short = Malformed("an attribute ends within its header");
        let (length, rest) = self.0.split_first_chunk::<2>().ok_or(short)?;
        let (kind, _) = rest.split_first_chunk::<2>().ok_or(short)?;
        let length = usize::from(u16::from_ne_bytes(*length));
        if length < 4 {
            return Err(Malformed("an attribute is shorter than its header"));
        }
        let long = Malformed("an attribute is longer than what it lies in");
        let value = self.0.get(4..length).ok_or(long)?;
        self.0 = self.0.get(aligned(length)..).unwrap_or_default();
        Ok(Attribute { kind: u16::from_ne_bytes(*kind) & KIND, value })
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<Attribute<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let read = self.read();
        if read.is_err() {
            self.0 = &[];
        }
        Some(read)
    }
}

impl<'a> Attribute<'a> {
    /// Its value, if it has exactly this length.
    pub fn exact<const N: usize>(&self) -> Result<[u8; N], Malformed> {
        self.value
            .try_into()
            .map_err(|_| Malformed("an attribute has another length than its kind"))
    }

    /// A byte.
    pub fn u8(&self) -> Result<u8, Malformed> {
        Ok(u8::from_ne_bytes(self.exact()?))
    }

    /// Two bytes of this machine's order.
    pub fn u16(&self) -> Result<u16, Malformed> {
        Ok(u16::from_ne_bytes(self.exact()?))
    }

    /// Four bytes of this machine's order.
    pub fn u32(&self) -> Result<u32, Malformed> {
        Ok(u32::from_ne_bytes(self.exact()?))
    }

    /// Four bytes of this machine's order, with a sign.
    pub fn i32(&self) -> Result<i32, Malformed> {
        Ok(i32::from_ne_bytes(self.exact()?))
    }

    /// Eight bytes of this machine's order.
    pub fn u64(&self) -> Result<u64, Malformed> {
        Ok(u64::from_ne_bytes(self.exact()?))
    }

    /// Two bytes of the network's order.
    pub fn be16(&self) -> Result<u16, Malformed> {
        Ok(u16::from_be_bytes(self.exact()?))
    }

    /// Four bytes of the network's order.
    pub fn be32(&self) -> Result<u32, Malformed> {
        Ok(u32::from_be_bytes(self.exact()?))
    }

    /// Eight bytes of the network's order.
    pub fn be64(&self) -> Result<u64, Malformed> {
        Ok(u64::from_be_bytes(self.exact()?))
    }

    /// The bytes before the first zero, or all.
    pub fn bytes(&self) -> &'a [u8] {
        self.value.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    /// The same as a text; what is none is replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }

    /// An address: its length tells its family.
    pub fn ip(&self) -> Result<IpAddr, Malformed> {
        if let Ok(octets) = self.exact::<4>() {
            return Ok(octets.into());
        }
        self.exact::<16>()
            .map(IpAddr::from)
            .map_err(|_| Malformed("an address has no length of one"))
    }

    /// The attributes that it has.
    pub const fn nested(&self) -> Attributes<'a> {
        Attributes::new(self.value)
    }
}
