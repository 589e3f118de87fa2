//! Elements of sets and maps.

use super::expression::verdict;
use super::userdata::{comment, write_comment};
use super::{Existing, LIST_ELEMENT, Set, SetData, SetName, Value, Verdict, head, message};
use crate::address::Prefix;
use crate::wire::{Attribute, Malformed, Message, Writer, fixed};
use crate::{Dump, Request};
use std::fmt;
use std::net::IpAddr;

const TABLE: u16 = 1;
const SET: u16 = 2;
const ELEMENTS: u16 = 3;

const KEY: u16 = 1;
const DATA: u16 = 2;
const FLAGS: u16 = 3;
const USERDATA: u16 = 6;
const KEY_END: u16 = 10;

const DATA_VALUE: u16 = 1;

const INTERVAL_END: u32 = 1;

/// How many elements a message may have: with the longest keys and comments they fit into one list.
pub(super) const ELEMENTS_AT_ONCE: usize = 100;

/// What a map has for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ElementValue {
    /// Nothing: it is a set's.
    None,
    /// A verdict.
    Verdict(Verdict),
    /// Bytes, as values of the map's types lie.
    Bytes(Vec<u8>),
}

/// An element of a set or a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// Its key, as values of the set's types lie.
    pub key: Vec<u8>,
    /// The last key of its range, where keys are of several types.
    pub key_end: Option<Vec<u8>>,
    /// Whether it is only where the range before it ends.
    pub ends_range: bool,
    /// What a map has for it.
    pub value: ElementValue,
    /// A text about it.
    pub comment: Option<String>,
}

impl Element {
    /// This key.
    pub fn new(key: &[Value]) -> Self {
        Self {
            key: Value::bytes_of(key),
            key_end: None,
            ends_range: false,
            value: ElementValue::None,
            comment: None,
        }
    }

    /// All keys from the first to the last, where keys are of several types.
    pub fn range(first: &[Value], last: &[Value]) -> Self {
        Self { key_end: Some(Value::bytes_of(last)), ..Self::new(first) }
    }

    /// All addresses of a network, for a set of ranges of addresses: where it begins, and where it has ended.
    pub fn network(network: Prefix) -> Vec<Self> {
        let first = network.network().address;
        let mut elements = vec![Self::new(&[first.into()])];
        if let Some(end) = end(first, network.length) {
            elements.push(Self { ends_range: true, ..Self::new(&[end.into()]) });
        }
        elements
    }

    /// For which the map has this verdict.
    #[must_use]
    pub fn verdict(self, verdict: Verdict) -> Self {
        Self { value: ElementValue::Verdict(verdict), ..self }
    }

    /// For which the map has these values.
    #[must_use]
    pub fn value(self, values: &[Value]) -> Self {
        Self { value: ElementValue::Bytes(Value::bytes_of(values)), ..self }
    }

    /// `comment "…"`: up to 127 bytes.
    #[must_use]
    pub fn comment(self, comment: impl Into<String>) -> Self {
        Self { comment: Some(comment.into()), ..self }
    }

    fn write_key(&self, to: &mut Writer<'_>) {
        if self.ends_range {
            to.be32(FLAGS, INTERVAL_END);
        }
        for (kind, key) in [(KEY, Some(&self.key)), (KEY_END, self.key_end.as_ref())] {
            if let Some(key) = key {
                to.nested(kind, |to| {
                    to.attribute(DATA_VALUE, key);
                });
            }
        }
    }

    fn write(&self, to: &mut Writer<'_>) {
        self.write_key(to);
        match &self.value {
            ElementValue::None => {}
            ElementValue::Verdict(verdict) => {
                to.nested(DATA, |to| verdict.write(to));
            }
            ElementValue::Bytes(bytes) => {
                to.nested(DATA, |to| {
                    to.attribute(DATA_VALUE, bytes);
                });
            }
        }
        write_comment(to, USERDATA, self.comment.as_deref());
    }
}

/// The address after the last one of a network, if there is one.
fn end(first: IpAddr, length: u8) -> Option<IpAddr> {
    Some(match first {
        IpAddr::V4(first) => {
            let size = 1_u32.checked_shl(32_u32.checked_sub(length.into())?)?;
            IpAddr::V4(first.to_bits().checked_add(size)?.into())
        }
        IpAddr::V6(first) => {
            let size = 1_u128.checked_shl(128_u32.checked_sub(length.into())?)?;
            IpAddr::V6(first.to_bits().checked_add(size)?.into())
        }
    })
}

fn write_list(
    to: &mut Writer<'_>,
    set: SetName<'_>,
    elements: &[Element],
    write: fn(&Element, &mut Writer<'_>),
) {
    head(to, set.table.family);
    to.text(TABLE, set.table.name).text(SET, set.name);
    to.nested(ELEMENTS, |to| {
        for element in elements {
            to.nested(LIST_ELEMENT, |to| write(element, to));
        }
    });
}

/// Adds a few elements to a set or a map; for more there is `Transaction::add_elements`. A key that is there with other
/// data is an error in any case.
#[derive(Debug, Clone, Copy)]
pub struct AddElements<'a> {
    /// To which set.
    pub set: SetName<'a>,
    /// Which.
    pub elements: &'a [Element],
    /// What is done where there is one.
    pub existing: Existing,
}

impl fmt::Display for AddElements<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "add elements to set {}", self.set)
    }
}

impl Request for AddElements<'_> {
    fn kind(&self) -> u16 {
        message::NEW_ELEMENTS
    }

    fn flags(&self) -> u16 {
        self.existing.flags()
    }

    fn write(&self, to: &mut Writer<'_>) {
        write_list(to, self.set, self.elements, Element::write);
    }
}

/// Deletes a few elements of a set or a map by their keys; for more there is `Transaction::delete_elements`. All must be
/// there.
#[derive(Debug, Clone, Copy)]
pub struct DeleteElements<'a> {
    /// Of which set.
    pub set: SetName<'a>,
    /// Which.
    pub elements: &'a [Element],
}

impl fmt::Display for DeleteElements<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "delete elements of set {}", self.set)
    }
}

impl Request for DeleteElements<'_> {
    fn kind(&self) -> u16 {
        message::DELETE_ELEMENTS
    }

    fn write(&self, to: &mut Writer<'_>) {
        write_list(to, self.set, self.elements, Element::write_key);
    }
}

/// An element of a set or a map, with what its bytes mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElementRecord {
    /// The element: it can be written again, or deleted.
    pub element: Element,
    /// Its key, if the set's types were known.
    pub key: Option<Vec<Value>>,
    /// What the map has for it, if the map's types were known.
    pub value: Option<Vec<Value>>,
}

/// Asks for the elements of a set or a map.
#[derive(Debug, Clone, Copy)]
pub struct Elements<'a> {
    /// Of which.
    pub name: SetName<'a>,
    /// What it is: its types tell what bytes mean.
    pub set: Option<&'a Set>,
}

impl fmt::Display for Elements<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "list the elements of set {}", self.name)
    }
}

impl Dump for Elements<'_> {
    type Item = ElementRecord;

    fn kind(&self) -> u16 {
        message::GET_ELEMENTS
    }

    fn write(&self, to: &mut Writer<'_>) {
        head(to, self.name.table.family);
        to.text(TABLE, self.name.table.name).text(SET, self.name.name);
    }

    fn read(&self, message: &Message<'_>, into: &mut Vec<ElementRecord>) -> Result<(), Malformed> {
        if message.kind != message::NEW_ELEMENTS {
            return Ok(());
        }
        let (_, attributes) = fixed::<4>(message.body)?;
        let Some(list) = attributes.find(ELEMENTS)? else { return Ok(()) };
        for attribute in list.nested() {
            let attribute = attribute?;
            if attribute.kind == LIST_ELEMENT {
                into.push(self.read_element(&attribute)?);
            }
        }
        Ok(())
    }
}

impl Elements<'_> {
    fn read_element(&self, attribute: &Attribute<'_>) -> Result<ElementRecord, Malformed> {
        let mut element = Element::new(&[]);
        for attribute in attribute.nested() {
            let attribute = attribute?;
            let value = || attribute.nested().find(DATA_VALUE);
            match attribute.kind {
                KEY => element.key = value()?.map(|key| key.value.to_owned()).unwrap_or_default(),
                KEY_END => element.key_end = value()?.map(|key| key.value.to_owned()),
                FLAGS => element.ends_range = attribute.be32()? & INTERVAL_END != 0,
                USERDATA => element.comment = comment(attribute.value),
                DATA => {
                    if let Some(verdict) = verdict(&attribute.nested())? {
                        element.value = ElementValue::Verdict(verdict);
                    } else if let Some(bytes) = value()? {
                        element.value = ElementValue::Bytes(bytes.value.to_owned());
                    }
                }
                _ => {}
            }
        }
        let key = self.set.and_then(|set| Value::read_of(&set.key, &element.key));
        let value = match (&element.value, self.set.map(|set| &set.data)) {
            (ElementValue::Bytes(bytes), Some(SetData::Values(types))) => {
                Value::read_of(types, bytes)
            }
            _ => None,
        };
        Ok(ElementRecord { element, key, value })
    }
}
