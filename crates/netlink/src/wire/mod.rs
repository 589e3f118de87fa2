//! Messages and attributes as bytes. Writing and reading know alignment and byte order; what numbers mean is said elsewhere.
//!
//! ```text
//! message    length (4), kind (2), flags (2), sequence (4), port (4); a fixed part, then attributes; ends aligned to 4
//! attribute  length (2), kind (2), value; padded to 4. Its value may be attributes again
//! ```

mod reader;
mod writer;

pub use reader::{Attribute, Attributes, Malformed, Message, Messages, fixed, word};
pub use writer::{Header, Writer};

/// The length of a message's header.
pub const HEADER: usize = 16;

/// A message's flags.
pub mod flags {
    /// It asks for something.
    pub const REQUEST: u16 = 0x1;
    /// It is part of an answer in several messages.
    pub const MULTI: u16 = 0x2;
    /// An acknowledgement is wanted.
    pub const ACK: u16 = 0x4;
    /// What was listed changed while it was listed.
    pub const DUMP_INTERRUPTED: u16 = 0x10;
    /// All there are.
    pub const DUMP: u16 = 0x300;
    /// What is there is replaced.
    pub const REPLACE: u16 = 0x100;
    /// It must not be there yet.
    pub const EXCLUSIVE: u16 = 0x200;
    /// It is made if it is not there.
    pub const CREATE: u16 = 0x400;
    /// It goes to the end of a list.
    pub const APPEND: u16 = 0x800;
    /// A refusal repeats the header alone.
    pub const CAPPED: u16 = 0x100;
    /// A refusal has attributes.
    pub const ACK_ATTRIBUTES: u16 = 0x200;
}

/// The next multiple of four.
pub(crate) const fn aligned(length: usize) -> usize {
    length.saturating_add(3) & !3
}
