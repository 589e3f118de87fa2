//! Filters: all packets of a link are sent elsewhere.

use super::{Handle, KIND, OPTIONS, head};
use crate::link::Index;
use crate::wire::{Malformed, Message, Writer, fixed, flags, word};
use crate::{Dump, Request};
use std::fmt;

const NEW: u16 = 44;
const DELETE: u16 = 45;
const GET: u16 = 46;

/// Packets of all protocols, in the network's order.
const ALL_PROTOCOLS: [u8; 2] = [0, 3];

const U32_SELECTOR: u16 = 5;
const U32_ACTIONS: u16 = 7;
const U32_TERMINAL: u8 = 1;

const MATCHALL_ACTIONS: u16 = 2;

const ACTION_KIND: u16 = 1;
const ACTION_OPTIONS: u16 = 2;
const MIRRED_PARAMETERS: u16 = 2;
/// The packet is gone.
const STOLEN: i32 = 4;
const REDIRECT_OUT: i32 = 1;
const REDIRECT_IN: i32 = 3;

/// What tells packets apart. Both take all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Classifier {
    /// Comparisons of words, here of none: nearly every kernel has it.
    U32,
    /// All packets. Not every kernel has it.
    Matchall,
}

impl Classifier {
    /// The kernel's word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::U32 => "u32",
            Self::Matchall => "matchall",
        }
    }
}

/// What becomes of packets at the other link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// They leave there.
    Out,
    /// They come in there.
    In,
}

/// Sends all packets to another link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddFilter {
    /// Those of which link.
    pub link: Index,
    /// Which of them: [`Handle::ONLY_FILTERS`] for those that come in, where there is the qdisc `ingress`,
    /// [`Handle::FILTERS_IN`] or [`Handle::FILTERS_OUT`] where there is `clsact`, else a queue.
    pub parent: Handle,
    /// Its place among the filters.
    pub priority: u16,
    /// How they are told apart.
    pub classifier: Classifier,
    /// To which link.
    pub to: Index,
    /// What becomes of them there.
    pub direction: Direction,
}

impl AddFilter {
    /// What comes in on a link, where there is the qdisc `ingress`, leaves on another.
    pub const fn redirect(link: Index, to: Index) -> Self {
        Self {
            link,
            parent: Handle::ONLY_FILTERS,
            priority: 1,
            classifier: Classifier::U32,
            to,
            direction: Direction::Out,
        }
    }
}

/// Place and protocol in one word.
fn more(priority: u16) -> u32 {
    let protocol = u16::from_ne_bytes(ALL_PROTOCOLS);
    u32::from(priority) << 16 | u32::from(protocol)
}

impl fmt::Display for AddFilter {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "redirect packets of link {} to link {}", self.link, self.to)
    }
}

impl Request for AddFilter {
    fn kind(&self) -> u16 {
        NEW
    }

    fn flags(&self) -> u16 {
        flags::CREATE | flags::EXCLUSIVE
    }

    fn write(&self, to: &mut Writer<'_>) {
        head(to, self.link, Handle::NONE, self.parent, more(self.priority));
        to.text(KIND, self.classifier.word());
        to.nested(OPTIONS, |to| match self.classifier {
            Classifier::U32 => {
                // One word, of which no bit counts.
                let selector = [U32_TERMINAL, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
                to.parts(U32_SELECTOR, &[&selector, &[0; 16]]);
                to.nested(U32_ACTIONS, |to| self.write_action(to));
            }
            Classifier::Matchall => {
                to.nested(MATCHALL_ACTIONS, |to| self.write_action(to));
            }
        });
    }
}

impl AddFilter {
    fn write_action(&self, to: &mut Writer<'_>) {
        let direction = match self.direction {
            Direction::Out => REDIRECT_OUT,
            Direction::In => REDIRECT_IN,
        };
        // The kind of an attribute is the action's place.
        to.nested(1, |to| {
            to.text(ACTION_KIND, "mirred");
            to.nested(ACTION_OPTIONS, |to| {
                let (stolen, direction) = (STOLEN.to_ne_bytes(), direction.to_ne_bytes());
                let link = self.to.0.to_ne_bytes();
                to.parts(MIRRED_PARAMETERS, &[&[0; 8], &stolen, &[0; 8], &direction, &link]);
            });
        });
    }
}

/// Deletes the filters of a place, or all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeleteFilters {
    /// Of which link.
    pub link: Index,
    /// Of which packets.
    pub parent: Handle,
    /// Those of this place, or all.
    pub priority: Option<u16>,
}

impl fmt::Display for DeleteFilters {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "delete the filters of link {}", self.link)
    }
}

impl Request for DeleteFilters {
    fn kind(&self) -> u16 {
        DELETE
    }

    fn write(&self, to: &mut Writer<'_>) {
        head(to, self.link, Handle::NONE, self.parent, self.priority.map_or(0, more));
    }
}

/// A filter of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterRecord {
    /// The kernel's word for how it tells packets apart.
    pub kind: String,
    /// Its place.
    pub priority: u16,
    /// What it is called.
    pub handle: Handle,
}

/// Asks for the filters of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filters {
    /// Of which link.
    pub link: Index,
    /// Of which packets.
    pub parent: Handle,
}

impl fmt::Display for Filters {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "list the filters of link {}", self.link)
    }
}

impl Dump for Filters {
    type Item = FilterRecord;

    fn kind(&self) -> u16 {
        GET
    }

    fn write(&self, to: &mut Writer<'_>) {
        head(to, self.link, Handle::NONE, self.parent, 0);
    }

    fn read(&self, message: &Message<'_>, into: &mut Vec<FilterRecord>) -> Result<(), Malformed> {
        if message.kind != NEW {
            return Ok(());
        }
        let (head, attributes) = fixed::<20>(message.body)?;
        let [high, low, ..] = word::<16, _>(head).to_be_bytes();
        into.push(FilterRecord {
            kind: attributes.find(KIND)?.map(|kind| kind.text()).unwrap_or_default(),
            priority: u16::from_be_bytes([high, low]),
            handle: Handle(word::<8, _>(head)),
        });
        Ok(())
    }
}
