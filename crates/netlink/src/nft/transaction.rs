//! Changes that are made as a whole or not at all.

use super::element::ELEMENTS_AT_ONCE;
use super::{AddElements, DeleteElements, Element, Existing, Family, SetName, head, message};
use crate::wire::{Malformed, Message, Writer, fixed};
use crate::{Batch, Errno, Query, Request, RequestError, Socket};
use std::fmt;

const BEGIN: u16 = 16;
const END: u16 = 17;
const BEGIN_GENERATION: u16 = 1;
const GENERATION: u16 = 1;

/// Changes in their order.
#[derive(Debug)]
pub struct Transaction {
    batch: Batch,
}

impl Default for Transaction {
    fn default() -> Self {
        Self::new()
    }
}

impl Transaction {
    /// Of no change yet.
    pub fn new() -> Self {
        Self::beginning(None)
    }

    /// Of changes that are only made if there was none since this generation; if there was, the error is
    /// `Errno::RESTART`.
    pub fn of(generation: u32) -> Self {
        Self::beginning(Some(generation))
    }

    fn beginning(generation: Option<u32>) -> Self {
        let mut batch = Batch::new();
        batch.add(&Bracket { kind: BEGIN, generation });
        Self { batch }
    }

    /// Adds a change.
    pub fn add(&mut self, change: &impl Request) -> &mut Self {
        self.batch.add(change);
        self
    }

    /// Adds elements to a set or a map, however many they are.
    pub fn add_elements(
        &mut self,
        set: SetName<'_>,
        elements: &[Element],
        existing: Existing,
    ) -> &mut Self {
        for elements in elements.chunks(ELEMENTS_AT_ONCE) {
            self.batch.add(&AddElements { set, elements, existing });
        }
        self
    }

    /// Deletes elements of a set or a map, however many they are. All must be there.
    pub fn delete_elements(&mut self, set: SetName<'_>, elements: &[Element]) -> &mut Self {
        for elements in elements.chunks(ELEMENTS_AT_ONCE) {
            self.batch.add(&DeleteElements { set, elements });
        }
        self
    }

    /// Whether there is no change.
    pub fn is_empty(&self) -> bool {
        self.batch.len() <= 1
    }

    /// What it is to do, in words.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.batch.words().skip(1)
    }

    /// Makes all changes, or none and says which one was refused.
    pub fn commit(mut self, socket: &Socket) -> Result<(), RequestError> {
        if self.is_empty() {
            return Ok(());
        }
        self.batch.add(&Bracket { kind: END, generation: None });
        socket.transact(self.batch)
    }
}

/// The first and the last message of a transaction.
#[derive(Debug)]
struct Bracket {
    kind: u16,
    generation: Option<u32>,
}

impl fmt::Display for Bracket {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("change the packet filter")
    }
}

impl Request for Bracket {
    fn kind(&self) -> u16 {
        self.kind
    }

    fn write(&self, to: &mut Writer<'_>) {
        // The part of netfilter, in the network's order.
        to.fixed(&[0, 0, 0, 10]);
        if let Some(generation) = self.generation {
            to.be32(BEGIN_GENERATION, generation);
        }
    }
}

/// Asks for the number that grows with each transaction of anybody.
#[derive(Debug, Clone, Copy)]
pub struct Generation;

impl fmt::Display for Generation {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("ask for the packet filter's generation")
    }
}

impl Request for Generation {
    fn kind(&self) -> u16 {
        message::GET_GENERATION
    }

    fn write(&self, to: &mut Writer<'_>) {
        head(to, Family::Other(0));
    }
}

impl Query for Generation {
    type Item = u32;
    const ABSENT: &'static [Errno] = &[];

    fn read(message: &Message<'_>) -> Result<Option<u32>, Malformed> {
        if message.kind != message::NEW_GENERATION {
            return Ok(None);
        }
        let (_, attributes) = fixed::<4>(message.body)?;
        attributes.find(GENERATION)?.map(|attribute| attribute.be32()).transpose()
    }
}
