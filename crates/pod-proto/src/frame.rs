//! Messages on a connection: cut out of its bytes, one at a time.

use std::marker::PhantomData;

/// Bytes before a body: its length, little-endian, and the kind of message.
pub const HEADER: usize = 5;

/// Why what came is not what may come. Nothing of what the other side wrote is repeated in the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A connection begins with something else.
    #[error("the other side does not speak the pod protocol")]
    Foreign,
    /// It speaks another version.
    #[error(
        "the other side speaks version {theirs} of the pod protocol, and this is version {}",
        crate::VERSION
    )]
    Version {
        /// Its version.
        theirs: u32,
    },
    /// A preamble that no version 1 has.
    #[error("a connection with a malformed preamble")]
    Preamble,
    /// A stream without the pod's token.
    #[error("a stream with a wrong token")]
    Token,
    /// No message has this number.
    #[error("a message of the unknown kind {0}")]
    Kind(u8),
    /// A message that is longer than any of its kind.
    #[error("a message {name} of {length} bytes, where at most {limit} are allowed")]
    TooLong {
        /// Which.
        name: &'static str,
        /// How long it claims to be, in bytes.
        length: usize,
        /// How long it may be, in bytes.
        limit: usize,
    },
    /// A body that does not say what its kind says.
    #[error("a malformed message {name}: {problem}")]
    Malformed {
        /// Which.
        name: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
    /// The connection ended within a message.
    #[error("the connection ended within a message")]
    CutOff,
    /// A message that may come, but not now.
    #[error("a message {name} out of turn: {problem}")]
    OutOfTurn {
        /// Which.
        name: &'static str,
        /// Why not now.
        problem: &'static str,
    },
    /// A message that cannot be written: a path of the configuration is no UTF-8.
    #[error("cannot write the message {0}")]
    Unwritable(&'static str),
}

/// What one kind of message is called and how long its body may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// Its number on the wire.
    pub number: u8,
    /// Its name, for people.
    pub name: &'static str,
    /// Bytes of its body at most.
    pub limit: usize,
}

/// The messages of one direction.
pub trait Message: Sized {
    /// The kind of this number, if there is one.
    fn kind_of(number: u8) -> Option<Kind>;
    /// The kind of this message.
    fn kind(&self) -> Kind;
    /// Reads a body, which is within the limit.
    ///
    /// # Errors
    /// [`WireError::Malformed`].
    fn read(kind: Kind, body: &[u8]) -> Result<Self, WireError>;
    /// Writes the body.
    ///
    /// # Errors
    /// [`WireError::Unwritable`].
    fn write(&self) -> Result<Vec<u8>, WireError>;

    /// The whole message as it goes over the wire.
    ///
    /// # Errors
    /// It is too long, or cannot be written.
    fn encode(&self) -> Result<Vec<u8>, WireError> {
        let Kind { number, name, limit } = self.kind();
        let body = self.write()?;
        let too_long = || WireError::TooLong { name, length: body.len(), limit };
        let length = u32::try_from(body.len()).map_err(|_| too_long())?;
        if body.len() > limit {
            return Err(too_long());
        }
        Ok([&length.to_le_bytes()[..], &[number], &body].concat())
    }
}

/// Cuts messages out of bytes. It keeps one message at most, and no more of it than has arrived.
#[derive(Debug)]
pub struct Decoder<M> {
    held: Vec<u8>,
    failed: Option<WireError>,
    direction: PhantomData<M>,
}

impl<M> Default for Decoder<M> {
    fn default() -> Self {
        Self { held: Vec::new(), failed: None, direction: PhantomData }
    }
}

impl<M: Message> Decoder<M> {
    /// Takes bytes off the front of `input`, up to the end of a message: that message, or `None` when all was taken and
    /// more is needed. To be called until it says `None`.
    ///
    /// # Errors
    /// What came is no message. From then on that is the only answer.
    pub fn feed(&mut self, input: &mut &[u8]) -> Result<Option<M>, WireError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.advance(input).map_err(|error| self.fail(error))
    }

    /// Has every later answer be this error.
    pub(crate) fn fail(&mut self, error: WireError) -> WireError {
        self.held = Vec::new();
        self.failed = Some(error.clone());
        error
    }

    /// Says that the connection has ended.
    ///
    /// # Errors
    /// Within a message, or an error came before.
    pub fn finish(self) -> Result<(), WireError> {
        match self.failed {
            Some(error) => Err(error),
            None if self.held.is_empty() => Ok(()),
            None => Err(WireError::CutOff),
        }
    }

    fn advance(&mut self, input: &mut &[u8]) -> Result<Option<M>, WireError> {
        loop {
            let header = self.held.first_chunk::<HEADER>().copied();
            let expected = header.map(expect::<M>).transpose()?;
            let whole = expected.map_or(HEADER, |(_, length)| length.saturating_add(HEADER));
            let missing = whole.saturating_sub(self.held.len());
            if let (Some((kind, _)), 0) = (expected, missing) {
                let read = M::read(kind, self.held.get(HEADER..).unwrap_or_default());
                self.held.clear();
                // The next one is most likely small.
                self.held.shrink_to(crate::limits::SMALL_BODY);
                return read.map(Some);
            }
            let (taken, rest) = input.split_at(missing.min(input.len()));
            if taken.is_empty() {
                return Ok(None);
            }
            self.held.extend_from_slice(taken);
            *input = rest;
        }
    }
}

/// What a header announces, if that may be.
fn expect<M: Message>(header: [u8; HEADER]) -> Result<(Kind, usize), WireError> {
    let [a, b, c, d, number] = header;
    let kind = M::kind_of(number).ok_or(WireError::Kind(number))?;
    let length = usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    if length > kind.limit {
        return Err(WireError::TooLong { name: kind.name, length, limit: kind.limit });
    }
    Ok((kind, length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::FromHost;

    #[test]
    fn memory_is_taken_for_what_came_and_given_back() {
        let mut decoder = Decoder::<FromHost>::default();
        let announced = u32::try_from(crate::limits::CONFIGURE_BODY).unwrap().to_le_bytes();
        let begun = [&announced[..], &[1], &[b' '; 100]].concat();
        assert_eq!(decoder.feed(&mut begun.as_slice()), Ok(None));
        assert!(decoder.held.capacity() < 1024, "{}", decoder.held.capacity());
        let rest = vec![b' '; crate::limits::CONFIGURE_BODY];
        decoder.feed(&mut rest.as_slice()).unwrap_err();
        assert_eq!(decoder.held.capacity(), 0);
    }
}
