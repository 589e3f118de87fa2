//! Tables and chains.

use super::userdata::{comment, write_comment};
use super::{Chain, Existing, Family, Table, head, message};
use crate::wire::{Attribute, Malformed, Message, Writer, fixed};
use crate::{Dump, Request};
use std::fmt;

const TABLE_NAME: u16 = 1;
const TABLE_HANDLE: u16 = 4;
const TABLE_USERDATA: u16 = 6;

const CHAIN_TABLE: u16 = 1;
const CHAIN_HANDLE: u16 = 2;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_KIND: u16 = 7;
const CHAIN_USERDATA: u16 = 12;

const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;

const DROP: u32 = 0;
const ACCEPT: u32 = 1;

/// Makes a table.
#[derive(Debug, Clone, Copy)]
pub struct AddTable<'a> {
    /// Which.
    pub table: Table<'a>,
    /// What is done where there is one.
    pub existing: Existing,
    /// A text about it. One that exists keeps its own.
    pub comment: Option<&'a str>,
}

impl<'a> AddTable<'a> {
    /// This one, unless it is there.
    pub const fn new(table: Table<'a>) -> Self {
        Self { table, existing: Existing::Keep, comment: None }
    }
}

impl fmt::Display for AddTable<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "add table {}", self.table)
    }
}

impl Request for AddTable<'_> {
    fn kind(&self) -> u16 {
        message::NEW_TABLE
    }

    fn flags(&self) -> u16 {
        self.existing.flags()
    }

    fn write(&self, to: &mut Writer<'_>) {
        head(to, self.table.family);
        to.text(TABLE_NAME, self.table.name);
        write_comment(to, TABLE_USERDATA, self.comment);
    }
}

/// Deletes a table with all that is in it. It must be there: where that is not known, add it before in the same transaction.
#[derive(Debug, Clone, Copy)]
pub struct DeleteTable<'a>(pub Table<'a>);

impl fmt::Display for DeleteTable<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "delete table {}", self.0)
    }
}

impl Request for DeleteTable<'_> {
    fn kind(&self) -> u16 {
        message::DELETE_TABLE
    }

    fn write(&self, to: &mut Writer<'_>) {
        head(to, self.0.family);
        to.text(TABLE_NAME, self.0.name);
    }
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableRecord {
    /// Which packets it sees.
    pub family: Family,
    /// What it is called.
    pub name: String,
    /// Its number.
    pub handle: u64,
    /// The text about it.
    pub comment: Option<String>,
}

/// Asks for all tables, or those of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tables(pub Option<Family>);

impl fmt::Display for Tables {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("list tables")
    }
}

impl Dump for Tables {
    type Item = TableRecord;

    fn kind(&self) -> u16 {
        message::GET_TABLE
    }

    fn write(&self, to: &mut Writer<'_>) {
        head(to, self.0.unwrap_or(Family::Other(0)));
    }

    fn read(&self, message: &Message<'_>, into: &mut Vec<TableRecord>) -> Result<(), Malformed> {
        if message.kind != message::NEW_TABLE {
            return Ok(());
        }
        let ([family, ..], attributes) = fixed::<4>(message.body)?;
        let mut table = TableRecord {
            family: Family::from_number(*family),
            name: String::new(),
            handle: 0,
            comment: None,
        };
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                TABLE_NAME => table.name = attribute.text(),
                TABLE_HANDLE => table.handle = attribute.be64()?,
                TABLE_USERDATA => table.comment = comment(attribute.value),
                _ => {}
            }
        }
        into.push(table);
        Ok(())
    }
}

/// What a chain that sees packets by itself does with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainKind {
    /// Lets them go on or not.
    Filter,
    /// Changes addresses; it sees the first packet of each connection.
    Nat,
    /// Marks them before the routes are asked.
    Route,
}

impl ChainKind {
    const ALL: [Self; 3] = [Self::Filter, Self::Nat, Self::Route];

    /// The kernel's word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Nat => "nat",
            Self::Route => "route",
        }
    }
}

/// Where a chain sees packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// When they have come in.
    Prerouting,
    /// On their way to a process.
    Input,
    /// On their way to another host.
    Forward,
    /// On their way from a process.
    Output,
    /// When they leave.
    Postrouting,
    /// Another number.
    Other(u32),
}

impl Hook {
    const fn number(self) -> u32 {
        match self {
            Self::Prerouting => 0,
            Self::Input => 1,
            Self::Forward => 2,
            Self::Output => 3,
            Self::Postrouting => 4,
            Self::Other(number) => number,
        }
    }

    const fn from_number(number: u32) -> Self {
        match number {
            0 => Self::Prerouting,
            1 => Self::Input,
            2 => Self::Forward,
            3 => Self::Output,
            4 => Self::Postrouting,
            other => Self::Other(other),
        }
    }
}

/// The usual places among the chains of a hook: the smaller comes first.
pub mod priority {
    /// Where destinations are changed.
    pub const DNAT: i32 = -100;
    /// Where packets are filtered.
    pub const FILTER: i32 = 0;
    /// Where packets are marked.
    pub const MANGLE: i32 = -150;
    /// Before connections are followed.
    pub const RAW: i32 = -300;
    /// Where sources are changed.
    pub const SNAT: i32 = 100;
}

/// What becomes of a packet on which no rule has decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// It goes on.
    Accept,
    /// It is no more.
    Drop,
}

impl Policy {
    const fn number(self) -> u32 {
        match self {
            Self::Accept => ACCEPT,
            Self::Drop => DROP,
        }
    }
}

/// Where and when a chain sees packets by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Base {
    /// What it does.
    pub kind: ChainKind,
    /// Where.
    pub hook: Hook,
    /// Its place among the others: [`priority`].
    pub priority: i32,
    /// What becomes of a packet on which no rule has decided.
    pub policy: Policy,
}

impl Base {
    /// One that lets packets go on.
    pub const fn new(kind: ChainKind, hook: Hook, priority: i32) -> Self {
        Self { kind, hook, priority, policy: Policy::Accept }
    }

    /// With this policy.
    #[must_use]
    pub const fn policy(self, policy: Policy) -> Self {
        Self { policy, ..self }
    }
}

/// Makes a chain.
#[derive(Debug, Clone, Copy)]
pub struct AddChain<'a> {
    /// Which.
    pub chain: Chain<'a>,
    /// Where it sees packets by itself; else rules must lead to it.
    pub base: Option<Base>,
    /// What is done where there is one.
    pub existing: Existing,
    /// A text about it. One that exists keeps its own.
    pub comment: Option<&'a str>,
}

impl<'a> AddChain<'a> {
    /// One to which rules lead, unless it is there.
    pub const fn regular(chain: Chain<'a>) -> Self {
        Self { chain, base: None, existing: Existing::Keep, comment: None }
    }

    /// One that sees packets by itself, unless it is there.
    pub const fn base(chain: Chain<'a>, base: Base) -> Self {
        Self { chain, base: Some(base), existing: Existing::Keep, comment: None }
    }
}

impl fmt::Display for AddChain<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "add chain {}", self.chain)
    }
}

impl Request for AddChain<'_> {
    fn kind(&self) -> u16 {
        message::NEW_CHAIN
    }

    fn flags(&self) -> u16 {
        self.existing.flags()
    }

    fn write(&self, to: &mut Writer<'_>) {
        head(to, self.chain.table.family);
        to.text(CHAIN_TABLE, self.chain.table.name).text(CHAIN_NAME, self.chain.name);
        if let Some(base) = self.base {
            to.nested(CHAIN_HOOK, |to| {
                to.be32(HOOK_NUMBER, base.hook.number())
                    .attribute(HOOK_PRIORITY, &base.priority.to_be_bytes());
            });
            to.be32(CHAIN_POLICY, base.policy.number()).text(CHAIN_KIND, base.kind.word());
        }
        write_comment(to, CHAIN_USERDATA, self.comment);
    }
}

/// Deletes a chain. It must be there, without rules, and no rule may lead to it.
#[derive(Debug, Clone, Copy)]
pub struct DeleteChain<'a>(pub Chain<'a>);

impl fmt::Display for DeleteChain<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "delete chain {}", self.0)
    }
}

impl Request for DeleteChain<'_> {
    fn kind(&self) -> u16 {
        message::DELETE_CHAIN
    }

    fn write(&self, to: &mut Writer<'_>) {
        head(to, self.0.table.family);
        to.text(CHAIN_TABLE, self.0.table.name).text(CHAIN_NAME, self.0.name);
    }
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainRecord {
    /// The family of its table.
    pub family: Family,
    /// Its table.
    pub table: String,
    /// What it is called.
    pub name: String,
    /// Its number.
    pub handle: u64,
    /// Where it sees packets by itself.
    pub base: Option<Base>,
    /// The text about it.
    pub comment: Option<String>,
}

/// Asks for all chains, or those of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chains(pub Option<Family>);

impl fmt::Display for Chains {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("list chains")
    }
}

impl Dump for Chains {
    type Item = ChainRecord;

    fn kind(&self) -> u16 {
        message::GET_CHAIN
    }

    fn write(&self, to: &mut Writer<'_>) {
        head(to, self.0.unwrap_or(Family::Other(0)));
    }

    fn read(&self, message: &Message<'_>, into: &mut Vec<ChainRecord>) -> Result<(), Malformed> {
        if message.kind != message::NEW_CHAIN {
            return Ok(());
        }
        let ([family, ..], attributes) = fixed::<4>(message.body)?;
        let mut chain = ChainRecord {
            family: Family::from_number(*family),
            table: String::new(),
            name: String::new(),
            handle: 0,
            base: None,
            comment: None,
        };
        let (mut kind, mut hook, mut policy) = (None, None, Policy::Accept);
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                CHAIN_TABLE => chain.table = attribute.text(),
                CHAIN_NAME => chain.name = attribute.text(),
                CHAIN_HANDLE => chain.handle = attribute.be64()?,
                CHAIN_USERDATA => chain.comment = comment(attribute.value),
                CHAIN_HOOK => hook = read_hook(&attribute)?,
                CHAIN_POLICY if attribute.be32()? == DROP => policy = Policy::Drop,
                CHAIN_KIND => {
                    let known = |known: &ChainKind| known.word().as_bytes() == attribute.bytes();
                    kind = ChainKind::ALL.into_iter().find(known);
                }
                _ => {}
            }
        }
        if let (Some(kind), Some((hook, priority))) = (kind, hook) {
            chain.base = Some(Base { kind, hook, priority, policy });
        }
        into.push(chain);
        Ok(())
    }
}

/// Where, and the place there.
fn read_hook(attribute: &Attribute<'_>) -> Result<Option<(Hook, i32)>, Malformed> {
    let attributes = attribute.nested();
    let number = attributes.find(HOOK_NUMBER)?;
    let priority = attributes.find(HOOK_PRIORITY)?;
    let (Some(number), Some(priority)) = (number, priority) else { return Ok(None) };
    let priority = i32::from_be_bytes(priority.exact()?);
    Ok(Some((Hook::from_number(number.be32()?), priority)))
}
