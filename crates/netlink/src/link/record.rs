//! What the kernel says of links.

use super::attribute as at;
use super::{Change, Index, Mac, Name, Which, flag, message};
use crate::wire::{Attribute, Attributes, Malformed, Message, Writer, fixed, word};
use crate::{Dump, Errno, Query, Request};
use std::fmt;

/// A link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its index.
    pub index: Index,
    /// Its name.
    pub name: Name,
    /// Its kind in the kernel's word; a device has none.
    pub kind: Option<String>,
    /// The kernel's word for what it belongs to.
    pub port_of: Option<String>,
    /// Its hardware address, if it has one of Ethernet's length.
    pub mac: Option<Mac>,
    /// The largest packet.
    pub mtu: u32,
    /// Its flags, as the kernel numbers them.
    pub flags: u32,
    /// Whether it works.
    pub operstate: Operstate,
    /// The bridge it belongs to.
    pub master: Option<Index>,
    /// The link that it lies on, or the other end.
    pub parent: Option<Index>,
    /// The namespace in which that is, if it is another: a number of this one.
    pub parent_namespace: Option<i32>,
    /// How many packets may wait.
    pub queue_length: Option<u32>,
    /// The number of its group.
    pub group: u32,
    /// The text about it.
    pub alias: Option<String>,
    /// Its further names.
    pub altnames: Vec<String>,
    /// Its counters.
    pub statistics: Statistics,
}

/// Whether a link works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operstate {
    /// It does not say.
    Unknown,
    /// It lacks a part.
    NotPresent,
    /// It does not.
    Down,
    /// What it lies on does not.
    LowerLayerDown,
    /// It is being tested.
    Testing,
    /// It waits for something outside.
    Dormant,
    /// It does.
    Up,
}

/// The counters of a link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Packets that came in.
    pub packets_in: u64,
    /// Packets that went out.
    pub packets_out: u64,
    /// Their bytes.
    pub bytes_in: u64,
    /// Their bytes.
    pub bytes_out: u64,
    /// Packets that came in damaged.
    pub errors_in: u64,
    /// Packets that could not go out.
    pub errors_out: u64,
    /// Packets that came in and were dropped.
    pub dropped_in: u64,
    /// Packets that were dropped before they went out.
    pub dropped_out: u64,
}

impl Record {
    /// Whether it has been brought up.
    pub const fn is_up(&self) -> bool {
        self.flags & flag::UP != 0
    }

    /// Whether it has a carrier.
    pub const fn has_carrier(&self) -> bool {
        self.flags & flag::LOWER_UP != 0
    }

    /// Whether it was told to hear packets for others.
    pub const fn is_promiscuous(&self) -> bool {
        self.flags & flag::PROMISCUOUS != 0
    }

    /// Whether it was told to hear all multicast packets.
    pub const fn hears_all_multicast(&self) -> bool {
        self.flags & flag::ALL_MULTICAST != 0
    }

    /// Reads one, if the message is about a link.
    pub fn read(message: &Message<'_>) -> Result<Option<Self>, Malformed> {
        if message.kind != message::NEW {
            return Ok(None);
        }
        let (head, attributes) = fixed::<16>(message.body)?;
        let name = attributes.find(at::NAME)?.ok_or(Malformed("a link has no name"))?;
        let mut link = Self {
            index: Index(word::<4, _>(head)),
            name: Name::new(name.bytes()).map_err(|_| Malformed("a link has no proper name"))?,
            kind: None,
            port_of: None,
            mac: None,
            mtu: 0,
            flags: word::<8, _>(head),
            operstate: Operstate::Unknown,
            master: None,
            parent: None,
            parent_namespace: None,
            queue_length: None,
            group: 0,
            alias: None,
            altnames: Vec::new(),
            statistics: Statistics::default(),
        };
        for attribute in attributes {
            link.take(&attribute?)?;
        }
        Ok(Some(link))
    }

    fn take(&mut self, attribute: &Attribute<'_>) -> Result<(), Malformed> {
        match attribute.kind {
            at::ADDRESS => self.mac = attribute.exact().ok().map(Mac),
            at::MTU => self.mtu = attribute.u32()?,
            at::LINK => self.parent = Some(Index(attribute.u32()?)).filter(|index| index.0 != 0),
            at::MASTER => self.master = Some(Index(attribute.u32()?)),
            at::QUEUE_LENGTH => self.queue_length = Some(attribute.u32()?),
            at::OPERSTATE => self.operstate = Operstate::from_number(attribute.u8()?),
            at::ALIAS => self.alias = Some(attribute.text()),
            at::GROUP => self.group = attribute.u32()?,
            at::LINK_NAMESPACE => self.parent_namespace = Some(attribute.i32()?),
            at::STATISTICS => self.statistics = Statistics::read(attribute)?,
            at::PROPERTIES => self.altnames = altnames(attribute.nested())?,
            at::INFO => {
                for inner in attribute.nested() {
                    let inner = inner?;
                    match inner.kind {
                        at::INFO_KIND => self.kind = Some(inner.text()),
                        at::INFO_PORT_KIND => self.port_of = Some(inner.text()),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn altnames(properties: Attributes<'_>) -> Result<Vec<String>, Malformed> {
    let mut names = Vec::new();
    for property in properties {
        let property = property?;
        if property.kind == at::ALTNAME {
            names.push(property.text());
        }
    }
    Ok(names)
}

impl Operstate {
    const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::NotPresent,
            2 => Self::Down,
            3 => Self::LowerLayerDown,
            4 => Self::Testing,
            5 => Self::Dormant,
            6 => Self::Up,
            _ => Self::Unknown,
        }
    }
}

impl Statistics {
    fn read(attribute: &Attribute<'_>) -> Result<Self, Malformed> {
        let (words, _) = attribute.value.as_chunks::<8>();
        let mut words = words.iter().map(|word| u64::from_ne_bytes(*word));
        let mut next = || words.next().ok_or(Malformed("a link has too few counters"));
        Ok(Self {
            packets_in: next()?,
            packets_out: next()?,
            bytes_in: next()?,
            bytes_out: next()?,
            errors_in: next()?,
            errors_out: next()?,
            dropped_in: next()?,
            dropped_out: next()?,
        })
    }
}

/// Asks for one link.
#[derive(Debug, Clone, Copy)]
pub struct Get(pub Which);

impl Get {
    /// This one.
    pub fn new(which: impl Into<Which>) -> Self {
        Self(which.into())
    }
}

impl fmt::Display for Get {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "look at link {}", self.0)
    }
}

impl Request for Get {
    fn kind(&self) -> u16 {
        message::GET
    }

    fn write(&self, to: &mut Writer<'_>) {
        self.0.write(to, Change::default());
    }
}

impl Query for Get {
    type Item = Record;
    const ABSENT: &'static [Errno] = &[Errno::NODEV];

    fn read(message: &Message<'_>) -> Result<Option<Record>, Malformed> {
        Record::read(message)
    }
}

/// Asks for all links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct All;

impl fmt::Display for All {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("list links")
    }
}

impl Dump for All {
    type Item = Record;

    fn kind(&self) -> u16 {
        message::GET
    }

    fn write(&self, to: &mut Writer<'_>) {
        Change::default().write(to, Index(0));
    }

    fn read(&self, message: &Message<'_>, into: &mut Vec<Record>) -> Result<(), Malformed> {
        into.extend(Record::read(message)?);
        Ok(())
    }
}
