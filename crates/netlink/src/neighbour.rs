//! Neighbours: which hardware address an IP address has on a link.

use crate::address::family;
use crate::link::{Index, Mac};
use crate::route::Family;
use crate::wire::{Malformed, Message, Writer, fixed, flags, word};
use crate::{Dump, Request};
use std::fmt;
use std::net::IpAddr;

const NEW: u16 = 28;
const DELETE: u16 = 29;
const GET: u16 = 30;

const DESTINATION: u16 = 1;
const HARDWARE: u16 = 2;
const LINK: u16 = 8;

/// It is never given up.
const PERMANENT: u16 = 0x80;
/// It is answered for.
const PROXY: u8 = 0x08;

/// Says for ever that a neighbour has this hardware address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Add {
    /// On which link.
    pub link: Index,
    /// Its IP address.
    pub address: IpAddr,
    /// Its hardware address.
    pub mac: Mac,
    /// Whether what is known of it is replaced rather than an error.
    pub replace: bool,
}

impl fmt::Display for Add {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "add neighbour {} at {} on link {}", self.address, self.mac, self.link)
    }
}

impl Request for Add {
    fn kind(&self) -> u16 {
        NEW
    }

    fn flags(&self) -> u16 {
        flags::CREATE | if self.replace { flags::REPLACE } else { flags::EXCLUSIVE }
    }

    fn write(&self, to: &mut Writer<'_>) {
        head(to, family(self.address), self.link, PERMANENT, 0);
        to.ip(DESTINATION, self.address).attribute(HARDWARE, &self.mac.0);
    }
}

/// Answers on a link for a neighbour that is elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddProxy {
    /// On which link.
    pub link: Index,
    /// The neighbour's IP address.
    pub address: IpAddr,
}

impl fmt::Display for AddProxy {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "answer for neighbour {} on link {}", self.address, self.link)
    }
}

impl Request for AddProxy {
    fn kind(&self) -> u16 {
        NEW
    }

    fn flags(&self) -> u16 {
        flags::CREATE | flags::REPLACE
    }

    fn write(&self, to: &mut Writer<'_>) {
        head(to, family(self.address), self.link, PERMANENT, PROXY);
        to.ip(DESTINATION, self.address);
    }
}

fn head(to: &mut Writer<'_>, family: u8, link: Index, state: u16, flags: u8) {
    to.fixed(&[family, 0, 0, 0]);
    to.fixed(&link.0.to_ne_bytes());
    let [a, b] = state.to_ne_bytes();
    to.fixed(&[a, b, flags, 0]);
}

/// Forgets a neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delete {
    /// On which link.
    pub link: Index,
    /// Its IP address.
    pub address: IpAddr,
}

impl fmt::Display for Delete {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "delete neighbour {} on link {}", self.address, self.link)
    }
}

impl Request for Delete {
    fn kind(&self) -> u16 {
        DELETE
    }

    fn write(&self, to: &mut Writer<'_>) {
        head(to, family(self.address), self.link, 0, 0);
        to.ip(DESTINATION, self.address);
    }
}

/// A neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// On which link.
    pub link: Index,
    /// Its IP address.
    pub address: IpAddr,
    /// Its hardware address, where it is known.
    pub mac: Option<Mac>,
    /// What is known of it, as the kernel numbers it.
    pub state: u16,
}

impl Record {
    /// Whether it is never given up.
    pub const fn is_permanent(&self) -> bool {
        self.state & PERMANENT != 0
    }

    fn read(message: &Message<'_>) -> Result<Option<Self>, Malformed> {
        if message.kind != NEW {
            return Ok(None);
        }
        let (head, attributes) = fixed::<12>(message.body)?;
        let [.., low, high, _, _] = *head;
        let Some(address) = attributes.find(DESTINATION)? else { return Ok(None) };
        let mac = attributes.find(HARDWARE)?.and_then(|mac| mac.exact().ok()).map(Mac);
        Ok(Some(Self {
            link: Index(word::<4, _>(head)),
            address: address.ip()?,
            mac,
            state: u16::from_ne_bytes([low, high]),
        }))
    }
}

/// Asks for the neighbours on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct All {
    /// On which link.
    pub link: Index,
    /// Of which family.
    pub family: Family,
}

impl fmt::Display for All {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "list the neighbours on link {}", self.link)
    }
}

impl Dump for All {
    type Item = Record;

    fn kind(&self) -> u16 {
        GET
    }

    fn write(&self, to: &mut Writer<'_>) {
        head(to, self.family.number(), Index(0), 0, 0);
        to.u32(LINK, self.link.0);
    }

    fn read(&self, message: &Message<'_>, into: &mut Vec<Record>) -> Result<(), Malformed> {
        into.extend(Record::read(message)?.filter(|record| record.link == self.link));
        Ok(())
    }
}
