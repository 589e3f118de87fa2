//! Links: network devices. Made, set, moved between namespaces, deleted, listed.
//!
//! A link is told by its index, which is of one network namespace, or by its name. Whoever makes a link may choose its
//! index, so that the requests that need it (addresses, routes) can follow in the same batch.

mod kind;
mod name;
mod port;
mod record;
mod request;

pub use kind::{Bridge, IpvlanFlag, IpvlanMode, Kind, MacvlanMode, Peer, SetBridge};
pub use name::{BadMac, BadName, Mac, Name};
pub use port::{Port, PortVlan};
pub use record::{All, Get, Operstate, Record, Statistics};
pub use request::{
    AddAltname, Create, Delete, Master, Move, Rename, Set, SetAlias, Settings, Switch,
};

use crate::wire::Writer;
use std::fmt;

/// The number of a link in its network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Index(pub u32);

impl Index {
    /// The loopback link, in every network namespace.
    pub const LOOPBACK: Self = Self(1);
}

impl fmt::Display for Index {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "#{}", self.0)
    }
}

/// Which link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The one of this index.
    Index(Index),
    /// The one of this name.
    Name(Name),
}

impl From<Index> for Which {
    fn from(index: Index) -> Self {
        Self::Index(index)
    }
}

impl From<Name> for Which {
    fn from(name: Name) -> Self {
        Self::Name(name)
    }
}

impl fmt::Display for Which {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(index) => index.fmt(to),
            Self::Name(name) => name.fmt(to),
        }
    }
}

impl Which {
    /// Writes the fixed part of a message about it, and its name where that is what tells it.
    fn write(self, to: &mut Writer<'_>, change: Change) {
        match self {
            Self::Index(index) => change.write(to, index),
            Self::Name(name) => {
                change.write(to, Index(0));
                to.text(attribute::NAME, name);
            }
        }
    }
}

/// Which flags of a link are set to what.
#[derive(Debug, Clone, Copy, Default)]
struct Change {
    flags: u32,
    mask: u32,
}

impl Change {
    fn write(self, to: &mut Writer<'_>, index: Index) {
        to.fixed(&[0; 4]);
        to.fixed(&index.0.to_ne_bytes());
        to.fixed(&self.flags.to_ne_bytes());
        to.fixed(&self.mask.to_ne_bytes());
    }
}

/// Kinds of messages.
mod message {
    pub(super) const NEW: u16 = 16;
    pub(super) const DELETE: u16 = 17;
    pub(super) const GET: u16 = 18;
    pub(super) const SET: u16 = 19;
    pub(super) const NEW_PROPERTY: u16 = 108;
}

/// Kinds of attributes.
mod attribute {
    pub(super) const ADDRESS: u16 = 1;
    pub(super) const NAME: u16 = 3;
    pub(super) const MTU: u16 = 4;
    pub(super) const LINK: u16 = 5;
    pub(super) const MASTER: u16 = 10;
    pub(super) const QUEUE_LENGTH: u16 = 13;
    pub(super) const OPERSTATE: u16 = 16;
    pub(super) const INFO: u16 = 18;
    pub(super) const ALIAS: u16 = 20;
    pub(super) const STATISTICS: u16 = 23;
    pub(super) const FAMILY: u16 = 26;
    pub(super) const GROUP: u16 = 27;
    pub(super) const NAMESPACE: u16 = 28;
    pub(super) const LINK_NAMESPACE: u16 = 37;
    pub(super) const PROPERTIES: u16 = 52;
    pub(super) const ALTNAME: u16 = 53;

    pub(super) const INFO_KIND: u16 = 1;
    pub(super) const INFO_DATA: u16 = 2;
    pub(super) const INFO_PORT_KIND: u16 = 4;
    pub(super) const INFO_PORT_DATA: u16 = 5;
}

/// Flags of a link.
mod flag {
    pub(super) const UP: u32 = 0x1;
    pub(super) const PROMISCUOUS: u32 = 0x100;
    pub(super) const ALL_MULTICAST: u32 = 0x200;
    pub(super) const LOWER_UP: u32 = 0x1_0000;
}
