//! What can be done with rules, and those that there are.

use super::Rule;
use crate::nft::expression::expressions;
use crate::nft::userdata::{comment, write_comment};
use crate::nft::{Chain, Family, Table, head, message};
use crate::wire::{Malformed, Message, Writer, fixed, flags};
use crate::{Dump, Request};
use std::fmt;

const TABLE: u16 = 1;
const CHAIN: u16 = 2;
const HANDLE: u16 = 3;
const EXPRESSIONS: u16 = 4;
const POSITION: u16 = 6;
const USERDATA: u16 = 7;

/// Where among the rules of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Before all others.
    First,
    /// After all others.
    Last,
    /// Before the one of this handle.
    Before(u64),
    /// After the one of this handle.
    After(u64),
    /// Instead of the one of this handle.
    Instead(u64),
}

/// Adds a rule to a chain.
#[derive(Debug, Clone)]
pub struct AddRule<'a> {
    /// Which chain.
    pub chain: Chain<'a>,
    /// The rule.
    pub rule: Rule,
    /// Where.
    pub place: Place,
}

impl<'a> AddRule<'a> {
    /// After all others.
    pub const fn last(chain: Chain<'a>, rule: Rule) -> Self {
        Self { chain, rule, place: Place::Last }
    }

    /// Before all others.
    pub const fn first(chain: Chain<'a>, rule: Rule) -> Self {
        Self { chain, rule, place: Place::First }
    }
}

impl fmt::Display for AddRule<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "add a rule to chain {}", self.chain)
    }
}

impl Request for AddRule<'_> {
    fn kind(&self) -> u16 {
        message::NEW_RULE
    }

    fn flags(&self) -> u16 {
        match self.place {
            Place::First | Place::Before(_) => flags::CREATE,
            Place::Last | Place::After(_) => flags::CREATE | flags::APPEND,
            Place::Instead(_) => flags::REPLACE,
        }
    }

    fn write(&self, to: &mut Writer<'_>) {
        head(to, self.chain.table.family);
        to.text(TABLE, self.chain.table.name).text(CHAIN, self.chain.name);
        match self.place {
            Place::First | Place::Last => {}
            Place::Before(handle) | Place::After(handle) => {
                to.be64(POSITION, handle);
            }
            Place::Instead(handle) => {
                to.be64(HANDLE, handle);
            }
        }
        to.nested(EXPRESSIONS, |to| {
            for expression in &self.rule.expressions {
                expression.write(to);
            }
        });
        write_comment(to, USERDATA, self.rule.comment.as_deref());
    }
}

/// Deletes a rule.
#[derive(Debug, Clone, Copy)]
pub struct DeleteRule<'a> {
    /// Of which chain.
    pub chain: Chain<'a>,
    /// Its number.
    pub handle: u64,
}

impl fmt::Display for DeleteRule<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "delete rule {} of chain {}", self.handle, self.chain)
    }
}

impl Request for DeleteRule<'_> {
    fn kind(&self) -> u16 {
        message::DELETE_RULE
    }

    fn write(&self, to: &mut Writer<'_>) {
        head(to, self.chain.table.family);
        to.text(TABLE, self.chain.table.name).text(CHAIN, self.chain.name);
        to.be64(HANDLE, self.handle);
    }
}

/// Deletes all rules of a chain.
#[derive(Debug, Clone, Copy)]
pub struct FlushChain<'a>(pub Chain<'a>);

impl fmt::Display for FlushChain<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "delete all rules of chain {}", self.0)
    }
}

impl Request for FlushChain<'_> {
    fn kind(&self) -> u16 {
        message::DELETE_RULE
    }

    fn write(&self, to: &mut Writer<'_>) {
        head(to, self.0.table.family);
        to.text(TABLE, self.0.table.name).text(CHAIN, self.0.name);
    }
}

/// A rule of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleRecord {
    /// The family of its table.
    pub family: Family,
    /// Its table.
    pub table: String,
    /// Its chain.
    pub chain: String,
    /// Its number.
    pub handle: u64,
    /// What it is made of, and the text about it.
    pub rule: Rule,
}

/// Asks for the rules of a table, or of one of its chains.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// Which table.
    pub table: Table<'a>,
    /// Which chain.
    pub chain: Option<&'a str>,
}

impl<'a> Rules<'a> {
    /// Those of this chain.
    pub const fn of(chain: Chain<'a>) -> Self {
        Self { table: chain.table, chain: Some(chain.name) }
    }

    /// Those of all chains of this table.
    pub const fn of_table(table: Table<'a>) -> Self {
        Self { table, chain: None }
    }
}

impl fmt::Display for Rules<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.chain {
            Some(chain) => write!(to, "list the rules of chain {} {chain}", self.table),
            None => write!(to, "list the rules of table {}", self.table),
        }
    }
}

impl Dump for Rules<'_> {
    type Item = RuleRecord;

    fn kind(&self) -> u16 {
        message::GET_RULE
    }

    fn write(&self, to: &mut Writer<'_>) {
        head(to, self.table.family);
        to.text(TABLE, self.table.name);
        if let Some(chain) = self.chain {
            to.text(CHAIN, chain);
        }
    }

    fn read(&self, message: &Message<'_>, into: &mut Vec<RuleRecord>) -> Result<(), Malformed> {
        if message.kind != message::NEW_RULE {
            return Ok(());
        }
        let ([family, ..], attributes) = fixed::<4>(message.body)?;
        let mut record = RuleRecord {
            family: Family::from_number(*family),
            table: String::new(),
            chain: String::new(),
            handle: 0,
            rule: Rule::new(),
        };
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                TABLE => record.table = attribute.text(),
                CHAIN => record.chain = attribute.text(),
                HANDLE => record.handle = attribute.be64()?,
                EXPRESSIONS => record.rule.expressions = expressions(attribute.nested())?,
                USERDATA => record.rule.comment = comment(attribute.value),
                _ => {}
            }
        }
        if record.table == self.table.name && self.chain.is_none_or(|chain| record.chain == chain) {
            into.push(record);
        }
        Ok(())
    }
}
