//! The first bytes of each connection: who speaks which version, and what the connection is for.
//!
//! ```text
//!  0  "rktp"                       12  number of the app or command, little-endian
//!  4  version, little-endian       16  the pod's token
//!  8  role: 0 control, 1 stream    48
//!  9  stream: 0 input, 1 output, 2 error, 3 terminal
//! 10  owner: 0 app, 1 command      all else is zero, and all of 9…47 for the control connection
//! ```
//!
//! It has a fixed length: whoever accepts a connection reads so much, and so much only, before it knows anything.

use crate::frame::WireError;
use crate::message::Process;
use serde::{Deserialize, Serialize};
use std::fmt;

const MAGIC: [u8; 4] = *b"rktp";

/// Bytes of a preamble.
pub const LENGTH: usize = 48;

/// What tells connections of the guest's init from those of an app.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Token([u8; 32]);

impl Token {
    /// A token of these bytes, which must be random.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Whether two are the same, in a time that does not tell how much of them is.
    pub fn is(&self, other: &Self) -> bool {
        let differs = self.0.iter().zip(&other.0).fold(0, |differs, (a, b)| differs | (a ^ b));
        std::hint::black_box(differs) == 0
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.is(other)
    }
}

impl Eq for Token {}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// A stream of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stream {
    /// What it reads: from the host to the guest.
    Input,
    /// What it writes.
    Output,
    /// What it complains to.
    Error,
    /// Its terminal, both ways.
    Terminal,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preamble {
    /// Messages; the guest is ready.
    Control,
    /// One stream of a process.
    Stream {
        /// Whose.
        process: Process,
        /// Which.
        stream: Stream,
        /// That it is the guest's init who says so.
        token: Token,
    },
}

impl Preamble {
    /// The bytes.
    pub fn encode(&self) -> [u8; LENGTH] {
        let (role, token) = match self {
            Self::Control => ([0_u8; 8], [0; 32]),
            Self::Stream { process, stream, token } => {
                let stream = match stream {
                    Stream::Input => 0,
                    Stream::Output => 1,
                    Stream::Error => 2,
                    Stream::Terminal => 3,
                };
                let (owner, number) = match process {
                    Process::App(number) => (0, number),
                    Process::Exec(number) => (1, number),
                };
                let [a, b, c, d] = number.to_le_bytes();
                ([1, stream, owner, 0, a, b, c, d], token.0)
            }
        };
        let bytes = [&MAGIC[..], &crate::VERSION.to_le_bytes(), &role, &token].concat();
        // Four parts of 4, 4, 8 and 32 bytes.
        bytes.first_chunk().copied().unwrap_or([0; LENGTH])
    }

    /// Reads them. The version is looked at first: nothing else has a meaning in another one.
    ///
    /// # Errors
    /// It is no preamble, or of another version.
    pub fn decode(bytes: &[u8; LENGTH]) -> Result<Self, WireError> {
        let [m0, m1, m2, m3, v0, v1, v2, v3, role, stream, owner, zero, a, b, c, d, ..] = *bytes;
        if [m0, m1, m2, m3] != MAGIC {
            return Err(WireError::Foreign);
        }
        let theirs = u32::from_le_bytes([v0, v1, v2, v3]);
        if theirs != crate::VERSION {
            return Err(WireError::Version { theirs });
        }
        let token = *bytes.last_chunk::<32>().ok_or(WireError::Preamble)?;
        let number = u32::from_le_bytes([a, b, c, d]);
        let process = match owner {
            0 => Process::App(number),
            1 => Process::Exec(number),
            _ => return Err(WireError::Preamble),
        };
        let stream = match stream {
            0 => Stream::Input,
            1 => Stream::Output,
            2 => Stream::Error,
            3 => Stream::Terminal,
            _ => return Err(WireError::Preamble),
        };
        let found = match role {
            0 => Self::Control,
            1 => Self::Stream { process, stream, token: Token(token) },
            _ => return Err(WireError::Preamble),
        };
        // Nothing that has no meaning is passed over.
        if zero != 0 || found.encode() != *bytes { Err(WireError::Preamble) } else { Ok(found) }
    }
}
