//! What a rule is made of: steps that load into registers, compare, change and decide.

mod at;
mod read;
mod write;

pub(super) use read::{expressions, verdict};

/// Four bytes that a rule works with, by their number from 0 to 15.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Register(pub u8);

impl Register {
    /// The first.
    pub const FIRST: Self = Self(0);

    /// The register so many further.
    #[must_use]
    pub const fn after(self, registers: u8) -> Self {
        Self(self.0.saturating_add(registers))
    }

    fn number(self) -> u32 {
        u32::from(self.0).saturating_add(8)
    }

    /// The first of them are also numbered in groups of four.
    pub(super) fn from_number(number: u32) -> Option<Self> {
        let number = u8::try_from(number).ok()?;
        match number {
            1..=4 => Some(Self(number.saturating_sub(1).saturating_mul(4))),
            8..=23 => Some(Self(number.saturating_sub(8))),
            _ => None,
        }
    }
}

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The chain is over, and the packet may go on.
    Accept,
    /// The packet is no more.
    Drop,
    /// The chain is over; the one that jumped here goes on.
    Return,
    /// The next rule.
    Continue,
    /// This chain, and then the next rule.
    Jump(String),
    /// This chain, and then the one that jumped here.
    Goto(String),
}

impl Verdict {
    pub(super) const fn code(&self) -> i32 {
        match self {
            Self::Drop => 0,
            Self::Accept => 1,
            Self::Continue => -1,
            Self::Jump(_) => -3,
            Self::Goto(_) => -4,
            Self::Return => -5,
        }
    }
}

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Test {
    /// They are the same.
    Is,
    /// They are not.
    IsNot,
    /// The packet's is smaller.
    Less,
    /// The packet's is not larger.
    AtMost,
    /// The packet's is larger.
    Greater,
    /// The packet's is not smaller.
    AtLeast,
}

impl Test {
    pub(super) const ALL: [Self; 6] =
        [Self::Is, Self::IsNot, Self::Less, Self::AtMost, Self::Greater, Self::AtLeast];

    pub(super) const fn number(self) -> u32 {
        match self {
            Self::Is => 0,
            Self::IsNot => 1,
            Self::Less => 2,
            Self::AtMost => 3,
            Self::Greater => 4,
            Self::AtLeast => 5,
        }
    }
}

/// What is known of a packet beside its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meta {
    /// Its mark.
    Mark,
    /// The name of the link it came in on.
    Iifname,
    /// The name of the link it leaves on.
    Oifname,
    /// The family of its addresses.
    Nfproto,
    /// The protocol above IP.
    L4proto,
    /// Another number.
    Other(u32),
}

impl Meta {
    pub(super) const fn number(self) -> u32 {
        match self {
            Self::Mark => 3,
            Self::Iifname => 6,
            Self::Oifname => 7,
            Self::Nfproto => 15,
            Self::L4proto => 16,
            Self::Other(number) => number,
        }
    }

    pub(super) const fn from_number(number: u32) -> Self {
        match number {
            3 => Self::Mark,
            6 => Self::Iifname,
            7 => Self::Oifname,
            15 => Self::Nfproto,
            16 => Self::L4proto,
            other => Self::Other(other),
        }
    }
}

/// What is known of a packet's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ct {
    /// How far it is: [`State`].
    State,
    /// Which way the packet goes: 0 is that of the first.
    Direction,
    /// What was done to it: [`Status`].
    Status,
    /// Its mark.
    Mark,
    /// Another number.
    Other(u32),
}

impl Ct {
    pub(super) const fn number(self) -> u32 {
        match self {
            Self::State => 0,
            Self::Direction => 1,
            Self::Status => 2,
            Self::Mark => 3,
            Self::Other(number) => number,
        }
    }

    pub(super) const fn from_number(number: u32) -> Self {
        match number {
            0 => Self::State,
            1 => Self::Direction,
            2 => Self::Status,
            3 => Self::Mark,
            other => Self::Other(other),
        }
    }
}

/// How far a connection is; several are added with `|`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State(pub u32);

impl State {
    /// There is none that makes sense.
    pub const INVALID: Self = Self(1);
    /// Both sides have spoken.
    pub const ESTABLISHED: Self = Self(2);
    /// It belongs to another.
    pub const RELATED: Self = Self(4);
    /// This is its first packet.
    pub const NEW: Self = Self(8);
    /// It is not followed.
    pub const UNTRACKED: Self = Self(64);
}

impl std::ops::BitOr for State {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What was done to a connection; several are added with `|`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status(pub u32);

impl Status {
    /// Its source was changed.
    pub const SNAT: Self = Self(0x10);
    /// Its destination was changed.
    pub const DNAT: Self = Self(0x20);
}

impl std::ops::BitOr for Status {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A header of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// Ethernet's.
    Link,
    /// IP's.
    Network,
    /// TCP's, UDP's.
    Transport,
    /// Another number.
    Other(u32),
}

impl Header {
    pub(super) const fn number(self) -> u32 {
        match self {
            Self::Link => 0,
            Self::Network => 1,
            Self::Transport => 2,
            Self::Other(number) => number,
        }
    }

    pub(super) const fn from_number(number: u32) -> Self {
        match number {
            0 => Self::Link,
            1 => Self::Network,
            2 => Self::Transport,
            other => Self::Other(other),
        }
    }
}

/// What the routes say of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FibResult {
    /// The index of the link.
    Oif,
    /// The name of the link.
    Oifname,
    /// What kind of address it is.
    AddressType,
    /// Another number.
    Other(u32),
}

impl FibResult {
    pub(super) const fn number(self) -> u32 {
        match self {
            Self::Oif => 1,
            Self::Oifname => 2,
            Self::AddressType => 3,
            Self::Other(number) => number,
        }
    }

    pub(super) const fn from_number(number: u32) -> Self {
        match number {
            1 => Self::Oif,
            2 => Self::Oifname,
            3 => Self::AddressType,
            other => Self::Other(other),
        }
    }
}

/// Which address is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NatKind {
    /// The source.
    Source,
    /// The destination.
    Destination,
}

/// How a sender is told that its packet was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reject {
    pub(super) kind: u32,
    pub(super) code: u8,
}

impl Reject {
    /// The connection is closed. For TCP alone.
    pub const TCP_RESET: Self = Self { kind: 1, code: 0 };
    /// Nobody listens, in the words of ICMP. In tables of IPv4.
    pub const ICMP_PORT: Self = Self { kind: 0, code: 3 };
    /// Nobody listens, in the words of ICMPv6. In tables of IPv6.
    pub const ICMPV6_PORT: Self = Self { kind: 0, code: 4 };
    /// Nobody listens, in the words of the packet's family. In tables of both.
    pub const ICMPX_PORT: Self = Self { kind: 2, code: 1 };
    /// It is forbidden, in the words of the packet's family. In tables of both.
    pub const ICMPX_FORBIDDEN: Self = Self { kind: 2, code: 3 };
}

/// A step of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "registers, sets and lengths are called what they are")]
pub enum Expression {
    /// Loads what is known of the packet.
    Meta { key: Meta, to: Register },
    /// Sets what is known of the packet.
    SetMeta { key: Meta, from: Register },
    /// Loads bytes of the packet.
    Payload { header: Header, offset: u32, length: u8, to: Register },
    /// Goes on if the comparison is true.
    Compare { from: Register, test: Test, with: Vec<u8> },
    /// Keeps the bits of a mask, and turns those of another around.
    Bitwise { from: Register, to: Register, mask: Vec<u8>, xor: Vec<u8> },
    /// Goes on if a set has it, or loads what a map has for it; a map of verdicts decides.
    Lookup { set: String, from: Register, to: Option<Register>, verdict: bool, inverted: bool },
    /// Decides.
    Verdict(Verdict),
    /// Loads a value.
    Immediate { to: Register, value: Vec<u8> },
    /// Loads what is known of the connection.
    Ct { key: Ct, to: Register },
    /// Sets what is known of the connection.
    SetCt { key: Ct, from: Register },
    /// Loads what the routes say. The flags say of which address.
    Fib { result: FibResult, flags: u32, to: Register },
    /// Changes an address, and perhaps a port.
    Nat { kind: NatKind, family: u8, address: Option<Register>, port: Option<Register>, flags: u32 },
    /// Makes the source address that of the link it leaves on.
    Masquerade { flags: u32 },
    /// Makes the destination this host, and perhaps another port.
    Redirect { port: Option<Register>, flags: u32 },
    /// Counts.
    Counter { packets: u64, bytes: u64 },
    /// Refuses, and says so.
    Reject(Reject),
    /// Another step, as the kernel gave it.
    Other { name: String, data: Vec<u8> },
}

/// Routes are asked about the destination.
pub(super) const FIB_DESTINATION: u32 = 2;
/// What the kernel adds itself where there is an address, and a port.
pub(super) const NAT_IMPLIED: u32 = 0x1 | 0x2;
/// Ports are chosen at random.
pub(super) const NAT_RANDOM: u32 = 0x10;

impl Expression {
    /// The kernel's word for it.
    pub fn name(&self) -> &str {
        match self {
            Self::Meta { .. } | Self::SetMeta { .. } => "meta",
            Self::Payload { .. } => "payload",
            Self::Compare { .. } => "cmp",
            Self::Bitwise { .. } => "bitwise",
            Self::Lookup { .. } => "lookup",
            Self::Verdict(_) | Self::Immediate { .. } => "immediate",
            Self::Ct { .. } | Self::SetCt { .. } => "ct",
            Self::Fib { .. } => "fib",
            Self::Nat { .. } => "nat",
            Self::Masquerade { .. } => "masq",
            Self::Redirect { .. } => "redir",
            Self::Counter { .. } => "counter",
            Self::Reject(_) => "reject",
            Self::Other { name, .. } => name,
        }
    }
}
