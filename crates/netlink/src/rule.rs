//! Rules that say which table of routes is looked at, and in which order.

use crate::address::Prefix;
use crate::link::Name;
use crate::route::{Family, Table};
use crate::wire::{Malformed, Message, Writer, fixed, flags};
use crate::{Dump, Request};
use std::fmt;

const NEW: u16 = 32;
const DELETE: u16 = 33;
const GET: u16 = 34;

const DESTINATION: u16 = 1;
const SOURCE: u16 = 2;
const IN: u16 = 3;
const PRIORITY: u16 = 6;
const MARK: u16 = 10;
const TABLE: u16 = 15;
const MASK: u16 = 16;

/// Look at a table.
const TO_TABLE: u8 = 1;

/// For packets of which all this is true, a table is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Their family.
    pub family: Family,
    /// The smaller, the earlier. Without one, the kernel chooses one before all others.
    pub priority: Option<u32>,
    /// Where they come from.
    pub from: Option<Prefix>,
    /// Where they go to.
    pub to: Option<Prefix>,
    /// The link they came in on.
    pub link: Option<Name>,
    /// Their mark, and which of its bits count.
    pub mark: Option<Mark>,
    /// The table.
    pub table: Table,
}

/// A mark of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The mark.
    pub value: u32,
    /// Which of its bits count.
    pub mask: u32,
}

impl Rule {
    /// All packets of a family.
    pub fn new(family: Family, table: Table) -> Self {
        Self { family, priority: None, from: None, to: None, link: None, mark: None, table }
    }

    /// Those from here.
    pub fn from(from: Prefix, table: Table) -> Self {
        Self { from: Some(from), ..Self::new(Family::of(from.address), table) }
    }

    /// At this place.
    #[must_use]
    pub fn priority(self, priority: u32) -> Self {
        Self { priority: Some(priority), ..self }
    }

    fn write(&self, to: &mut Writer<'_>) {
        let length = |prefix: Option<Prefix>| prefix.map_or(0, |prefix| prefix.length);
        to.fixed(&[self.family.number(), length(self.to), length(self.from), 0]);
        to.fixed(&[self.table.short(), 0, 0, TO_TABLE]);
        to.fixed(&[0; 4]);
        to.u32(TABLE, self.table.0);
        for (kind, prefix) in [(DESTINATION, self.to), (SOURCE, self.from)] {
            if let Some(prefix) = prefix {
                to.ip(kind, prefix.address);
            }
        }
        if let Some(link) = self.link {
            to.text(IN, link);
        }
        if let Some(priority) = self.priority {
            to.u32(PRIORITY, priority);
        }
        if let Some(mark) = self.mark {
            to.u32(MARK, mark.value).u32(MASK, mark.mask);
        }
    }

    fn read(message: &Message<'_>) -> Result<Option<Self>, Malformed> {
        if message.kind != NEW {
            return Ok(None);
        }
        let (head, attributes) = fixed::<12>(message.body)?;
        let [number, to, from, _, table, _, _, action, ..] = *head;
        let known = [Family::V4, Family::V6].into_iter().find(|known| known.number() == number);
        let Some(known) = known.filter(|_| action == TO_TABLE) else { return Ok(None) };
        let mut rule = Self::new(known, Table(table.into()));
        let (mut mark, mut mask) = (None, u32::MAX);
        // What the kernel leaves out.
        rule.priority = Some(0);
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                DESTINATION => rule.to = Some(Prefix { address: attribute.ip()?, length: to }),
                SOURCE => rule.from = Some(Prefix { address: attribute.ip()?, length: from }),
                IN => rule.link = Name::new(attribute.bytes()).ok(),
                PRIORITY => rule.priority = Some(attribute.u32()?),
                TABLE => rule.table = Table(attribute.u32()?),
                MARK => mark = Some(attribute.u32()?),
                MASK => mask = attribute.u32()?,
                _ => {}
            }
        }
        rule.mark = mark.map(|value| Mark { value, mask });
        Ok(Some(rule))
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{} rule", self.family.word())?;
        if let Some(from) = self.from {
            write!(to, " from {from}")?;
        }
        if let Some(destination) = self.to {
            write!(to, " to {destination}")?;
        }
        write!(to, " for table {}", self.table.0)
    }
}

/// Adds a rule. There must not be the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Add(pub Rule);

impl fmt::Display for Add {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "add {}", self.0)
    }
}

impl Request for Add {
    fn kind(&self) -> u16 {
        NEW
    }

    fn flags(&self) -> u16 {
        flags::CREATE | flags::EXCLUSIVE
    }

    fn write(&self, to: &mut Writer<'_>) {
        self.0.write(to);
    }
}

/// Deletes the first rule that is like this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delete(pub Rule);

impl fmt::Display for Delete {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "delete {}", self.0)
    }
}

impl Request for Delete {
    fn kind(&self) -> u16 {
        DELETE
    }

    fn write(&self, to: &mut Writer<'_>) {
        self.0.write(to);
    }
}

/// Asks for all rules of a family that lead to a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct All(pub Family);

impl fmt::Display for All {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "list {} rules", self.0.word())
    }
}

impl Dump for All {
    type Item = Rule;

    fn kind(&self) -> u16 {
        GET
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.fixed(&[self.0.number(), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    fn read(&self, message: &Message<'_>, into: &mut Vec<Rule>) -> Result<(), Malformed> {
        into.extend(Rule::read(message)?);
        Ok(())
    }
}
