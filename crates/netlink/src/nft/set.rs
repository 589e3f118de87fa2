//! Sets and maps.

use super::userdata::{find, put_text, put_u32, text};
use super::{Existing, Family, SetName, Table, Type, head, message};
use crate::wire::{Malformed, Message, Writer, fixed};
use crate::{Dump, Request};
use std::fmt;

const TABLE: u16 = 1;
const NAME: u16 = 2;
const FLAGS: u16 = 3;
const KEY_TYPE: u16 = 4;
const KEY_LENGTH: u16 = 5;
const DATA_TYPE: u16 = 6;
const DATA_LENGTH: u16 = 7;
const DESCRIPTION: u16 = 9;
const ID: u16 = 10;
const USERDATA: u16 = 13;
const HANDLE: u16 = 16;

const DESCRIPTION_SIZE: u16 = 1;
const DESCRIPTION_FIELDS: u16 = 2;
const FIELD: u16 = 1;
const FIELD_LENGTH: u16 = 1;

const INTERVAL: u32 = 0x4;
const MAP: u32 = 0x8;
const CONCATENATED: u32 = 0x80;

const VERDICTS: u32 = 0xffff_ff00;

/// What nft notes beside.
const NOTE_KEY_ORDER: u8 = 0;
const NOTE_DATA_ORDER: u8 = 1;
const NOTE_DATA_INTERVAL: u8 = 6;
const NOTE_COMMENT: u8 = 7;

/// What a map has for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetData {
    /// Nothing: it is a set.
    None,
    /// A verdict.
    Verdict,
    /// Values of these types.
    Values(Vec<Type>),
}

/// A set or a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// The types of a key.
    pub key: Vec<Type>,
    /// What it has for a key.
    pub data: SetData,
    /// Whether keys are ranges.
    pub interval: bool,
    /// How many elements there may be.
    pub size: Option<u32>,
    /// A text about it.
    pub comment: Option<String>,
}

impl Set {
    /// A set of keys of these types.
    pub fn of(key: impl Into<Vec<Type>>) -> Self {
        Self { key: key.into(), data: SetData::None, interval: false, size: None, comment: None }
    }

    /// A map from keys of these types to verdicts.
    pub fn verdicts(key: impl Into<Vec<Type>>) -> Self {
        Self { data: SetData::Verdict, ..Self::of(key) }
    }

    /// A map from keys of these types to values of those.
    pub fn map(key: impl Into<Vec<Type>>, data: impl Into<Vec<Type>>) -> Self {
        Self { data: SetData::Values(data.into()), ..Self::of(key) }
    }

    /// Of ranges.
    #[must_use]
    pub fn interval(self) -> Self {
        Self { interval: true, ..self }
    }

    /// With this text about it.
    #[must_use]
    pub fn comment(self, comment: impl Into<String>) -> Self {
        Self { comment: Some(comment.into()), ..self }
    }

    fn flags(&self) -> u32 {
        let mut flags = 0;
        if self.data != SetData::None {
            flags |= MAP;
        }
        if self.interval {
            flags |= INTERVAL;
        }
        if self.has_fields() {
            flags |= CONCATENATED;
        }
        flags
    }

    /// Ranges of several types are looked up field by field, and the kernel must know these.
    fn has_fields(&self) -> bool {
        self.interval && self.key.len() > 1
    }

    /// What nft notes; nothing if the comment is too long.
    fn userdata(&self) -> Option<Vec<u8>> {
        let order = |types: &[Type]| match types {
            [one] => one.byte_order(),
            _ => 0,
        };
        let mut notes = Vec::new();
        put_u32(&mut notes, NOTE_KEY_ORDER, order(&self.key));
        match &self.data {
            SetData::None => {}
            SetData::Verdict => put_u32(&mut notes, NOTE_DATA_ORDER, 0),
            SetData::Values(types) => put_u32(&mut notes, NOTE_DATA_ORDER, order(types)),
        }
        if self.data != SetData::None {
            put_u32(&mut notes, NOTE_DATA_INTERVAL, 0);
        }
        let put = |comment: &String| put_text(&mut notes, NOTE_COMMENT, comment);
        self.comment.as_ref().is_none_or(put).then_some(notes)
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.be32(FLAGS, self.flags())
            .be32(KEY_TYPE, Type::number_of(&self.key))
            .be32(KEY_LENGTH, Type::length_of(&self.key));
        match &self.data {
            SetData::None => {}
            SetData::Verdict => {
                to.be32(DATA_TYPE, VERDICTS).be32(DATA_LENGTH, 0);
            }
            SetData::Values(types) => {
                to.be32(DATA_TYPE, Type::number_of(types))
                    .be32(DATA_LENGTH, Type::length_of(types));
            }
        }
        // Nobody asks for it by this number; the kernel wants one.
        to.be32(ID, 1);
        if self.size.is_some() || self.has_fields() {
            to.nested(DESCRIPTION, |to| self.describe(to));
        }
        match self.userdata() {
            Some(notes) => {
                to.attribute(USERDATA, &notes);
            }
            None => to.refuse(),
        }
    }

    fn describe(&self, to: &mut Writer<'_>) {
        if let Some(size) = self.size {
            to.be32(DESCRIPTION_SIZE, size);
        }
        if self.has_fields() {
            to.nested(DESCRIPTION_FIELDS, |to| {
                for kind in &self.key {
                    to.nested(FIELD, |to| {
                        to.be32(FIELD_LENGTH, kind.length().into());
                    });
                }
            });
        }
    }
}

/// Makes a set or a map.
#[derive(Debug, Clone)]
pub struct AddSet<'a> {
    /// What it is called.
    pub name: SetName<'a>,
    /// What it is.
    pub set: Set,
    /// What is done where there is one. One of other types is an error in any case.
    pub existing: Existing,
}

impl<'a> AddSet<'a> {
    /// This one, unless it is there.
    pub const fn new(name: SetName<'a>, set: Set) -> Self {
        Self { name, set, existing: Existing::Keep }
    }
}

impl fmt::Display for AddSet<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.set.data == SetData::None { "set" } else { "map" };
        write!(to, "add {what} {}", self.name)
    }
}

impl Request for AddSet<'_> {
    fn kind(&self) -> u16 {
        message::NEW_SET
    }

    fn flags(&self) -> u16 {
        self.existing.flags()
    }

    fn write(&self, to: &mut Writer<'_>) {
        head(to, self.name.table.family);
        to.text(TABLE, self.name.table.name).text(NAME, self.name.name);
        self.set.write(to);
    }
}

/// Deletes a set or a map. It must be there, and no rule may look at it.
#[derive(Debug, Clone, Copy)]
pub struct DeleteSet<'a>(pub SetName<'a>);

impl fmt::Display for DeleteSet<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "delete set {}", self.0)
    }
}

impl Request for DeleteSet<'_> {
    fn kind(&self) -> u16 {
        message::DELETE_SET
    }

    fn write(&self, to: &mut Writer<'_>) {
        head(to, self.0.table.family);
        to.text(TABLE, self.0.table.name).text(NAME, self.0.name);
    }
}

/// A set or a map of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetRecord {
    /// The family of its table.
    pub family: Family,
    /// Its table.
    pub table: String,
    /// What it is called.
    pub name: String,
    /// Its number.
    pub handle: u64,
    /// What it is, if all of its types are known.
    pub set: Option<Set>,
}

/// Asks for the sets and maps of a table.
#[derive(Debug, Clone, Copy)]
pub struct Sets<'a>(pub Table<'a>);

impl fmt::Display for Sets<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "list the sets of table {}", self.0)
    }
}

impl Dump for Sets<'_> {
    type Item = SetRecord;

    fn kind(&self) -> u16 {
        message::GET_SET
    }

    fn write(&self, to: &mut Writer<'_>) {
        head(to, self.0.family);
        to.text(TABLE, self.0.name);
    }

    fn read(&self, message: &Message<'_>, into: &mut Vec<SetRecord>) -> Result<(), Malformed> {
        if message.kind != message::NEW_SET {
            return Ok(());
        }
        let ([family, ..], attributes) = fixed::<4>(message.body)?;
        let family = Family::from_number(*family);
        let (mut table, mut name) = (String::new(), String::new());
        let (mut handle, mut flags, mut size) = (0, 0, None);
        let (mut key, mut data, mut comment) = (None, Some(SetData::None), None);
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                TABLE => table = attribute.text(),
                NAME => name = attribute.text(),
                HANDLE => handle = attribute.be64()?,
                FLAGS => flags = attribute.be32()?,
                KEY_TYPE => key = Type::from_number(attribute.be32()?),
                DATA_TYPE => {
                    data = match attribute.be32()? {
                        VERDICTS => Some(SetData::Verdict),
                        number => Type::from_number(number).map(SetData::Values),
                    }
                }
                DESCRIPTION => {
                    let asked = attribute.nested().find(DESCRIPTION_SIZE)?;
                    size = asked.map(|size| size.be32()).transpose()?;
                }
                USERDATA => comment = find(attribute.value, NOTE_COMMENT).map(text),
                _ => {}
            }
        }
        let interval = flags & INTERVAL != 0;
        let set = key.zip(data).map(|(key, data)| Set { key, data, interval, size, comment });
        into.push(SetRecord { family, table, name, handle, set });
        Ok(())
    }
}
