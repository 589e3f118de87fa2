//! Traffic control: in which order and how fast packets leave a link, and where they are sent instead.

mod filter;
mod qdisc;

pub use filter::{AddFilter, Classifier, DeleteFilters, Direction, FilterRecord, Filters};
pub use qdisc::{AddQdisc, DeleteQdisc, Qdisc, QdiscRecord, Qdiscs, TokenBucket};

use crate::link::Index;
use crate::wire::Writer;
use std::fmt;

const KIND: u16 = 1;
const OPTIONS: u16 = 2;

/// A place on a link, or a queue there, as the kernel numbers it: major and minor number of 16 bits each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Handle(pub u32);

impl Handle {
    /// None, or the kernel's choice.
    pub const NONE: Self = Self(0);
    /// Where packets leave.
    pub const ROOT: Self = Self(0xffff_ffff);
    /// Where packets come in, for what has filters alone.
    pub const INGRESS: Self = Self(0xffff_fff1);
    /// The filters of packets that come in.
    pub const FILTERS_IN: Self = Self(0xffff_fff2);
    /// The filters of packets that leave.
    pub const FILTERS_OUT: Self = Self(0xffff_fff3);
    /// The name of what has filters alone.
    pub const ONLY_FILTERS: Self = Self(0xffff_0000);

    /// The queue of this number.
    pub const fn major(number: u16) -> Self {
        let [a, b] = number.to_be_bytes();
        Self(u32::from_be_bytes([a, b, 0, 0]))
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{:x}:{:x}", self.0 >> 16, self.0 & 0xffff)
    }
}

/// The fixed part of all messages.
fn head(to: &mut Writer<'_>, link: Index, handle: Handle, parent: Handle, more: u32) {
    to.fixed(&[0; 4]);
    to.fixed(&link.0.to_ne_bytes());
    for number in [handle.0, parent.0, more] {
        to.fixed(&number.to_ne_bytes());
    }
}
