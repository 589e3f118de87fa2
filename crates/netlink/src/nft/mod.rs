//! The packet filter, nf_tables: what is in it, and transactions that change it as a whole or not at all.
//!
//! ```text
//! Table ── Chain ── Rule: expressions that load, compare and decide; a comment
//!       └─ Set, Map ── Element: a key, perhaps data, a comment
//! ```
//!
//! What is written here, nft reads as its own: types of sets are numbered and described as nft does, and comments lie where
//! it looks for them. What others wrote is read as far as this module knows the expressions, and kept as bytes otherwise.

mod chain;
mod element;
mod expression;
mod rule;
mod set;
mod transaction;
mod types;
mod userdata;

pub use chain::{
    AddChain, AddTable, Base, ChainKind, ChainRecord, Chains, DeleteChain, DeleteTable, Hook,
    Policy, TableRecord, Tables, priority,
};
pub use element::{AddElements, DeleteElements, Element, ElementRecord, ElementValue, Elements};
pub use expression::{
    Ct, Expression, FibResult, Header, Meta, NatKind, Register, Reject, State, Status, Test,
    Verdict,
};
pub use rule::{AddRule, DeleteRule, FlushChain, Place, Rule, RuleRecord, Rules};
pub use set::{AddSet, DeleteSet, Set, SetData, SetRecord, Sets};
pub use transaction::{Generation, Transaction};
pub use types::{Field, Protocol, Type, Value};

use crate::wire::Writer;
use std::fmt;

/// An element of any list.
const LIST_ELEMENT: u16 = 1;

/// The part of netfilter that this is.
const SUBSYSTEM: u16 = 10 << 8;

/// A family of tables: which packets they see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
    /// Both.
    Inet,
    /// Another number.
    Other(u8),
}

impl Family {
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Inet => 1,
            Self::Ip => 2,
            Self::Ip6 => 10,
            Self::Other(number) => number,
        }
    }

    const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Inet,
            2 => Self::Ip,
            10 => Self::Ip6,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip => to.write_str("ip"),
            Self::Ip6 => to.write_str("ip6"),
            Self::Inet => to.write_str("inet"),
            Self::Other(number) => write!(to, "family {number}"),
        }
    }
}

/// The name of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Table<'a> {
    /// Which packets it sees.
    pub family: Family,
    /// What it is called.
    pub name: &'a str,
}

impl<'a> Table<'a> {
    /// This one.
    pub const fn new(family: Family, name: &'a str) -> Self {
        Self { family, name }
    }

    /// A chain in it.
    pub const fn chain(self, name: &'a str) -> Chain<'a> {
        Chain { table: self, name }
    }

    /// A set or a map in it.
    pub const fn set(self, name: &'a str) -> SetName<'a> {
        SetName { table: self, name }
    }
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{} {}", self.family, self.name)
    }
}

/// The name of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Chain<'a> {
    /// The table it is in.
    pub table: Table<'a>,
    /// What it is called.
    pub name: &'a str,
}

impl fmt::Display for Chain<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{} {}", self.table, self.name)
    }
}

/// The name of a set or a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SetName<'a> {
    /// The table it is in.
    pub table: Table<'a>,
    /// What it is called.
    pub name: &'a str,
}

impl fmt::Display for SetName<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{} {}", self.table, self.name)
    }
}

/// What is done where there is one already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and there is no error.
    Keep,
    /// It is an error.
    Refuse,
}

impl Existing {
    const fn flags(self) -> u16 {
        match self {
            Self::Keep => crate::wire::flags::CREATE,
            Self::Refuse => crate::wire::flags::CREATE | crate::wire::flags::EXCLUSIVE,
        }
    }
}

/// The fixed part of all messages.
fn head(to: &mut Writer<'_>, family: Family) {
    to.fixed(&[family.number(), 0, 0, 0]);
}

/// Kinds of messages.
mod message {
    use super::SUBSYSTEM;

    pub(super) const NEW_TABLE: u16 = SUBSYSTEM;
    pub(super) const GET_TABLE: u16 = SUBSYSTEM | 0x1;
    pub(super) const DELETE_TABLE: u16 = SUBSYSTEM | 0x2;
    pub(super) const NEW_CHAIN: u16 = SUBSYSTEM | 0x3;
    pub(super) const GET_CHAIN: u16 = SUBSYSTEM | 0x4;
    pub(super) const DELETE_CHAIN: u16 = SUBSYSTEM | 0x5;
    pub(super) const NEW_RULE: u16 = SUBSYSTEM | 0x6;
    pub(super) const GET_RULE: u16 = SUBSYSTEM | 0x7;
    pub(super) const DELETE_RULE: u16 = SUBSYSTEM | 0x8;
    pub(super) const NEW_SET: u16 = SUBSYSTEM | 0x9;
    pub(super) const GET_SET: u16 = SUBSYSTEM | 0xa;
    pub(super) const DELETE_SET: u16 = SUBSYSTEM | 0xb;
    pub(super) const NEW_ELEMENTS: u16 = SUBSYSTEM | 0xc;
    pub(super) const GET_ELEMENTS: u16 = SUBSYSTEM | 0xd;
    pub(super) const DELETE_ELEMENTS: u16 = SUBSYSTEM | 0xe;
    pub(super) const NEW_GENERATION: u16 = SUBSYSTEM | 0xf;
    pub(super) const GET_GENERATION: u16 = SUBSYSTEM | 0x10;
}
