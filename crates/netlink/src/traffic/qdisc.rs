//! How packets queue on a link.

use super::{Handle, KIND, OPTIONS, head};
use crate::link::Index;
use crate::wire::{Malformed, Message, Writer, fixed, flags, word};
use crate::{Dump, Request};
use std::fmt;
use std::time::Duration;

const NEW: u16 = 36;
const DELETE: u16 = 37;
const GET: u16 = 38;

const BUCKET_PARAMETERS: u16 = 1;
const BUCKET_RATE: u16 = 4;
const BUCKET_BURST: u16 = 6;
/// Packets are counted as Ethernet has them: the kernel then wants no table of times.
const ETHERNET: u8 = 1;

/// So much in a second, and a burst at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenBucket {
    /// Bytes a second.
    pub rate: u64,
    /// How many bytes may leave at once. No packet is larger.
    pub burst: u32,
    /// How long a packet may wait until there is no room.
    pub latency: Duration,
}

impl TokenBucket {
    /// How many bytes may wait.
    fn limit(&self) -> u32 {
        let waiting = u128::from(self.rate).saturating_mul(self.latency.as_micros());
        let waiting = waiting.checked_div(1_000_000).unwrap_or_default();
        u32::try_from(waiting).unwrap_or(u32::MAX).saturating_add(self.burst)
    }

    fn write(&self, to: &mut Writer<'_>) {
        let short = u32::try_from(self.rate).unwrap_or(u32::MAX);
        let rate = [&[0, ETHERNET, 0, 0, 0, 0, 0, 0][..], &short.to_ne_bytes()].concat();
        let limit = self.limit().to_ne_bytes();
        to.parts(BUCKET_PARAMETERS, &[&rate, &[0; 12], &limit, &[0; 8]]);
        to.u64(BUCKET_RATE, self.rate).u32(BUCKET_BURST, self.burst);
    }
}

/// How packets queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qdisc {
    /// No faster than this.
    TokenBucket(TokenBucket),
    /// Filters of packets that come in, and no queue.
    Ingress,
    /// Filters of packets that come in and of those that leave, and no queue.
    Clsact,
    /// Fair to each connection, with short queues.
    FqCodel,
    /// Not at all.
    NoQueue,
}

impl Qdisc {
    /// The kernel's word for it.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::TokenBucket(_) => "tbf",
            Self::Ingress => "ingress",
            Self::Clsact => "clsact",
            Self::FqCodel => "fq_codel",
            Self::NoQueue => "noqueue",
        }
    }

    const fn only_filters(&self) -> bool {
        matches!(self, Self::Ingress | Self::Clsact)
    }
}

/// Says how packets queue on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddQdisc {
    /// On which link.
    pub link: Index,
    /// How.
    pub qdisc: Qdisc,
    /// What the queue is called; what has filters alone has a name of its own.
    pub handle: Handle,
    /// Whether one that was there is replaced rather than an error.
    pub replace: bool,
}

impl AddQdisc {
    /// Where packets leave; one that somebody has put there is an error.
    pub const fn new(link: Index, qdisc: Qdisc) -> Self {
        Self { link, qdisc, handle: Handle::NONE, replace: false }
    }

    /// The same in place of one that is there.
    pub const fn replacing(link: Index, qdisc: Qdisc) -> Self {
        Self { link, qdisc, handle: Handle::NONE, replace: true }
    }
}

impl fmt::Display for AddQdisc {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "add qdisc {} to link {}", self.qdisc.word(), self.link)
    }
}

impl Request for AddQdisc {
    fn kind(&self) -> u16 {
        NEW
    }

    fn flags(&self) -> u16 {
        flags::CREATE | if self.replace { flags::REPLACE } else { flags::EXCLUSIVE }
    }

    fn write(&self, to: &mut Writer<'_>) {
        let (handle, parent) = if self.qdisc.only_filters() {
            (Handle::ONLY_FILTERS, Handle::INGRESS)
        } else {
            (self.handle, Handle::ROOT)
        };
        head(to, self.link, handle, parent, 0);
        to.text(KIND, self.qdisc.word());
        if let Qdisc::TokenBucket(bucket) = self.qdisc {
            to.nested(OPTIONS, |to| bucket.write(to));
        }
    }
}

/// Gives a link back its own way of queueing, or takes all of its filters away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeleteQdisc {
    /// On which link.
    pub link: Index,
    /// [`Handle::ROOT`] or [`Handle::INGRESS`].
    pub parent: Handle,
}

impl fmt::Display for DeleteQdisc {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "delete the qdisc of link {}", self.link)
    }
}

impl Request for DeleteQdisc {
    fn kind(&self) -> u16 {
        DELETE
    }

    fn write(&self, to: &mut Writer<'_>) {
        head(to, self.link, Handle::NONE, self.parent, 0);
    }
}

/// How packets queue on a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QdiscRecord {
    /// On which link.
    pub link: Index,
    /// The kernel's word for it.
    pub kind: String,
    /// What it is called.
    pub handle: Handle,
    /// Where it is.
    pub parent: Handle,
    /// Bytes a second and in a burst, if it is a bucket of tokens.
    pub rate: Option<u64>,
}

/// Asks how packets queue on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Qdiscs(pub Index);

impl fmt::Display for Qdiscs {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "list the qdiscs of link {}", self.0)
    }
}

impl Dump for Qdiscs {
    type Item = QdiscRecord;

    fn kind(&self) -> u16 {
        GET
    }

    fn write(&self, to: &mut Writer<'_>) {
        // The kernel lists those of all links, whatever is said here.
        head(to, self.0, Handle::NONE, Handle::NONE, 0);
    }

    fn read(&self, message: &Message<'_>, into: &mut Vec<QdiscRecord>) -> Result<(), Malformed> {
        if message.kind != NEW {
            return Ok(());
        }
        let (head, attributes) = fixed::<20>(message.body)?;
        let link = Index(word::<4, _>(head));
        if link != self.0 {
            return Ok(());
        }
        let kind = attributes.find(KIND)?.map(|kind| kind.text()).unwrap_or_default();
        let options = attributes.find(OPTIONS)?.filter(|_| kind == "tbf");
        let rate = options.map(|options| read_rate(options.value)).transpose()?.flatten();
        into.push(QdiscRecord {
            link,
            kind,
            handle: Handle(word::<8, _>(head)),
            parent: Handle(word::<12, _>(head)),
            rate,
        });
        Ok(())
    }
}

fn read_rate(options: &[u8]) -> Result<Option<u64>, Malformed> {
    let options = crate::wire::Attributes::new(options);
    if let Some(rate) = options.find(BUCKET_RATE)? {
        return rate.u64().map(Some);
    }
    let Some(parameters) = options.find(BUCKET_PARAMETERS)? else { return Ok(None) };
    let short = parameters.value.get(8..12).and_then(|rate| rate.first_chunk::<4>());
    Ok(short.map(|rate| u32::from_ne_bytes(*rate).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_the_burst_and_what_comes_meanwhile() {
        let latency = Duration::from_millis(25);
        let bucket = TokenBucket { rate: 1_000_000, burst: 5000, latency };
        assert_eq!(bucket.limit(), 30_000);
        let fast = TokenBucket { rate: u64::MAX, burst: 5000, latency };
        assert_eq!(fast.limit(), u32::MAX);
    }
}
