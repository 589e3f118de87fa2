//! What can go wrong with a request.

use super::Refusal;
use crate::wire::Malformed;
use rustix::io::Errno;
use std::fmt;

/// A request failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {words}")]
pub struct RequestError {
    /// What it was to do.
    pub words: String,
    /// Its place in the batch.
    pub index: usize,
    /// Why it failed.
    #[source]
    pub cause: Cause,
}

impl RequestError {
    pub(crate) fn new(words: impl fmt::Display, cause: Cause) -> Self {
        Self { words: words.to_string(), index: 0, cause }
    }

    /// The number with which the kernel refused it.
    pub fn errno(&self) -> Option<Errno> {
        match &self.cause {
            Cause::Refused(refusal) => Some(refusal.errno),
            _ => None,
        }
    }
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The kernel has no such sockets, or not for this caller.
    #[error(transparent)]
    Open(std::io::Error),
    /// The kernel said no.
    #[error(transparent)]
    Refused(Refusal),
    /// It did not reach the kernel.
    #[error("the request cannot be sent")]
    Send(#[source] Errno),
    /// Its answer could not be received.
    #[error("the answer cannot be received")]
    Receive(#[source] Errno),
    /// No answer came in time.
    #[error("the kernel does not answer")]
    Late,
    /// The answer is none.
    #[error("the kernel's answer makes no sense")]
    Malformed(#[source] Malformed),
    /// The answer is larger than any should be.
    #[error("the kernel's answer is too large")]
    Truncated,
    /// The list was never the same from its begin to its end.
    #[error("it changes faster than it can be listed")]
    Changing,
    /// It has more in it than a message can have.
    #[error("the request is too long")]
    TooLong,
}
