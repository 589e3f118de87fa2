//! What the kernel answers. Pure: bytes in, values out.

use crate::wire::{Attributes, HEADER, Malformed, Message, Messages, aligned, flags};
use rustix::io::Errno;
use std::fmt;

const ERROR: u16 = 2;
const DONE: u16 = 3;
/// Kinds below are the protocol's own.
const FIRST: u16 = 16;

const MESSAGE: u16 = 1;
const OFFSET: u16 = 2;

/// The kernel said no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its reason as a number.
    pub errno: Errno,
    /// Its reason in words, where it has some.
    pub explanation: Option<String>,
    /// Which byte of the request it is about.
    pub offset: Option<u32>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.errno.to_string();
        to.write_str(text.split(" (os error").next().unwrap_or_default())?;
        match &self.explanation {
            Some(explanation) => write!(to, " ({})", explanation.trim_end_matches('.')),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Refusal {}

/// What a message is for the request that it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is over: done, or refused.
    Done(Option<Refusal>),
    /// Something that was asked for.
    Part,
}

/// Which of `count` requests, the first of which has the number `first`, is answered by a message, and how. Nothing if it
/// answers none of them.
pub fn classify(
    message: &Message<'_>,
    first: u32,
    count: usize,
) -> Result<Option<(usize, Answer)>, Malformed> {
    let offset = message.sequence.checked_sub(first).and_then(|n| usize::try_from(n).ok());
    let Some(offset) = offset.filter(|offset| *offset < count) else { return Ok(None) };
    let answer = match message.kind {
        ERROR => Answer::Done(refusal(message)?),
        DONE => Answer::Done(end(message)?),
        FIRST.. => Answer::Part,
        // Nothing, or that something was lost, which no kernel says this way.
        _ => return Ok(None),
    };
    Ok(Some((offset, answer)))
}

/// Reads an acknowledgement: zero is none.
fn refusal(message: &Message<'_>) -> Result<Option<Refusal>, Malformed> {
    let Some(errno) = errno(message.body)? else { return Ok(None) };
    let short = Malformed("a refusal does not say of what");
    let request = message.body.get(4..).ok_or(short)?;
    let length = request.first_chunk::<4>().ok_or(short)?;
    let capped = message.flags & flags::CAPPED != 0;
    let length = usize::try_from(u32::from_ne_bytes(*length)).map_err(|_| short)?;
    let skipped = if capped { HEADER } else { aligned(length) };
    explain(errno, message.flags, request.get(skipped..).unwrap_or_default()).map(Some)
}

/// Reads the end of a list, which may be a refusal, too.
fn end(message: &Message<'_>) -> Result<Option<Refusal>, Malformed> {
    if message.body.is_empty() {
        return Ok(None);
    }
    let Some(errno) = errno(message.body)? else { return Ok(None) };
    explain(errno, message.flags, message.body.get(4..).unwrap_or_default()).map(Some)
}

fn errno(body: &[u8]) -> Result<Option<Errno>, Malformed> {
    let code = body.first_chunk::<4>().ok_or(Malformed("an acknowledgement has no number"))?;
    match i32::from_ne_bytes(*code) {
        0.. => Ok(None),
        code @ -4095.. => Ok(Some(Errno::from_raw_os_error(code.saturating_neg()))),
        _ => Err(Malformed("an acknowledgement has a number that is none")),
    }
}

fn explain(errno: Errno, flags: u16, attributes: &[u8]) -> Result<Refusal, Malformed> {
    let mut refusal = Refusal { errno, explanation: None, offset: None };
    if flags & flags::ACK_ATTRIBUTES == 0 {
        return Ok(refusal);
    }
    for attribute in Attributes::new(attributes) {
        let attribute = attribute?;
        match attribute.kind {
            MESSAGE => refusal.explanation = Some(attribute.text()),
            OFFSET => refusal.offset = Some(attribute.u32()?),
            _ => {}
        }
    }
    Ok(refusal)
}

/// The end of a list.
#[derive(Debug)]
enum End {
    Ahead,
    Reached,
    Refused(Refusal),
}

/// A list that is being received.
#[derive(Debug)]
pub(super) struct Gathered<T> {
    sequence: u32,
    items: Vec<T>,
    interrupted: bool,
    end: End,
}

impl<T> Gathered<T> {
    pub(super) const fn new(sequence: u32) -> Self {
        Self { sequence, items: Vec::new(), interrupted: false, end: End::Ahead }
    }

    pub(super) const fn is_over(&self) -> bool {
        !matches!(self.end, End::Ahead)
    }

    /// Something of it is missing.
    pub(super) const fn interrupt(&mut self) {
        self.interrupted = true;
    }

    pub(super) fn take(
        &mut self,
        datagram: &[u8],
        mut read: impl FnMut(&Message<'_>, &mut Vec<T>) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        for message in Messages::new(datagram) {
            let message = message?;
            let Some((_, answer)) = classify(&message, self.sequence, 1)? else { continue };
            self.interrupted |= message.flags & flags::DUMP_INTERRUPTED != 0;
            match answer {
                Answer::Done(outcome) => {
                    self.end = outcome.map_or(End::Reached, End::Refused);
                    return Ok(());
                }
                Answer::Part => read(&message, &mut self.items)?,
            }
        }
        Ok(())
    }

    /// The list, or nothing if it changed while it was made.
    pub(super) fn finish(self) -> Result<Option<Vec<T>>, Refusal> {
        match self.end {
            // A list of nf_tables says this where the others set the flag.
            End::Refused(refusal) if refusal.errno == Errno::INTR => Ok(None),
            End::Refused(refusal) => Err(refusal),
            End::Ahead | End::Reached => Ok((!self.interrupted).then_some(self.items)),
        }
    }
}
