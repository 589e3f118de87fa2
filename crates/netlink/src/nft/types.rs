//! The types of what rules compare: their numbers are nft's, their lengths the kernel's.

use super::{Expression, Header, Meta, Register};
use crate::link::Name;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How many bits of a type's number a further one moves it by, in the number of several.
const SHIFT: u32 = 6;
const MASK: u32 = 0x3f;

/// A type of keys and data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Type {
    /// An IPv4 address.
    Ipv4Addr,
    /// An IPv6 address.
    Ipv6Addr,
    /// A protocol above IP.
    InetProto,
    /// A port.
    InetService,
    /// The name of a link.
    Ifname,
    /// A mark of a packet.
    Mark,
}

impl Type {
    const ALL: [Self; 6] = [
        Self::Ipv4Addr,
        Self::Ipv6Addr,
        Self::InetProto,
        Self::InetService,
        Self::Ifname,
        Self::Mark,
    ];

    pub(super) const fn number(self) -> u32 {
        match self {
            Self::Ipv4Addr => 7,
            Self::Ipv6Addr => 8,
            Self::InetProto => 12,
            Self::InetService => 13,
            Self::Mark => 19,
            Self::Ifname => 41,
        }
    }

    /// Its length in bytes.
    pub const fn length(self) -> u8 {
        match self {
            Self::InetProto => 1,
            Self::InetService => 2,
            Self::Ipv4Addr | Self::Mark => 4,
            Self::Ipv6Addr | Self::Ifname => 16,
        }
    }

    /// Its length among several, in registers.
    pub(super) const fn registers(self) -> u8 {
        self.length().div_ceil(4)
    }

    /// The order of its bytes, as nft notes it: 0 does not matter, 1 is the host's, 2 the network's.
    pub(super) const fn byte_order(self) -> u32 {
        match self {
            Self::InetProto => 0,
            Self::Ifname | Self::Mark => 1,
            Self::Ipv4Addr | Self::Ipv6Addr | Self::InetService => 2,
        }
    }

    /// The number of several types.
    pub(super) fn number_of(types: &[Self]) -> u32 {
        types.iter().fold(0, |number, one| number.wrapping_shl(SHIFT) | one.number())
    }

    /// The types of a number, if all are known.
    pub(super) fn from_number(mut number: u32) -> Option<Vec<Self>> {
        let mut types = Vec::new();
        while number != 0 {
            let last = number & MASK;
            types.push(Self::ALL.into_iter().find(|known| known.number() == last)?);
            number >>= SHIFT;
        }
        types.reverse();
        Some(types)
    }

    /// The length of several types in bytes: of one its own, of more so many registers.
    pub(super) fn length_of(types: &[Self]) -> u32 {
        match types {
            [one] => one.length().into(),
            _ => types.iter().map(|one| u32::from(one.registers()).saturating_mul(4)).sum(),
        }
    }
}

/// A protocol above IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protocol(pub u8);

impl Protocol {
    /// The one of pings and errors.
    pub const ICMP: Self = Self(1);
    /// TCP.
    pub const TCP: Self = Self(6);
    /// UDP.
    pub const UDP: Self = Self(17);
    /// The one of pings, errors and neighbours.
    pub const ICMPV6: Self = Self(58);
    /// SCTP.
    pub const SCTP: Self = Self(132);
}

/// A value of some type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// An IPv4 address.
    Ipv4(Ipv4Addr),
    /// An IPv6 address.
    Ipv6(Ipv6Addr),
    /// A protocol above IP.
    Protocol(Protocol),
    /// A port.
    Port(u16),
    /// The name of a link.
    Link(Name),
    /// A mark of a packet.
    Mark(u32),
}

impl Value {
    /// Its type.
    pub const fn of(&self) -> Type {
        match self {
            Self::Ipv4(_) => Type::Ipv4Addr,
            Self::Ipv6(_) => Type::Ipv6Addr,
            Self::Protocol(_) => Type::InetProto,
            Self::Port(_) => Type::InetService,
            Self::Link(_) => Type::Ifname,
            Self::Mark(_) => Type::Mark,
        }
    }

    fn put(&self, to: &mut Vec<u8>) {
        match self {
            Self::Ipv4(address) => to.extend_from_slice(&address.octets()),
            Self::Ipv6(address) => to.extend_from_slice(&address.octets()),
            Self::Protocol(protocol) => to.push(protocol.0),
            Self::Port(port) => to.extend_from_slice(&port.to_be_bytes()),
            Self::Mark(mark) => to.extend_from_slice(&mark.to_ne_bytes()),
            Self::Link(name) => {
                let end = to.len().saturating_add(usize::from(Type::Ifname.length()));
                to.extend_from_slice(name.as_bytes());
                to.resize(end, 0);
            }
        }
    }

    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.put(&mut bytes);
        bytes
    }

    /// The bytes of several: one is as it is, of more each fills registers.
    pub(super) fn bytes_of(values: &[Self]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for value in values {
            value.put(&mut bytes);
            if values.len() > 1 {
                bytes.resize(bytes.len().next_multiple_of(4), 0);
            }
        }
        bytes
    }

    fn read(kind: Type, bytes: &[u8]) -> Option<Self> {
        Some(match kind {
            Type::Ipv4Addr => Self::Ipv4(Ipv4Addr::from(*bytes.first_chunk::<4>()?)),
            Type::Ipv6Addr => Self::Ipv6(Ipv6Addr::from(*bytes.first_chunk::<16>()?)),
            Type::InetProto => Self::Protocol(Protocol(*bytes.first()?)),
            Type::InetService => Self::Port(u16::from_be_bytes(*bytes.first_chunk()?)),
            Type::Mark => Self::Mark(u32::from_ne_bytes(*bytes.first_chunk()?)),
            Type::Ifname => {
                let name = bytes.first_chunk::<16>()?.split(|byte| *byte == 0).next()?;
                Self::Link(Name::new(name).ok()?)
            }
        })
    }

    /// Reads several of these types.
    pub(super) fn read_of(types: &[Type], mut bytes: &[u8]) -> Option<Vec<Self>> {
        let mut values = Vec::with_capacity(types.len());
        for kind in types {
            values.push(Self::read(*kind, bytes)?);
            let registers = usize::from(kind.registers());
            bytes = bytes.get(registers.saturating_mul(4)..).unwrap_or_default();
        }
        Some(values)
    }
}

impl From<IpAddr> for Value {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::Ipv4(address),
            IpAddr::V6(address) => Self::Ipv6(address),
        }
    }
}

impl From<Ipv4Addr> for Value {
    fn from(address: Ipv4Addr) -> Self {
        Self::Ipv4(address)
    }
}

impl From<Ipv6Addr> for Value {
    fn from(address: Ipv6Addr) -> Self {
        Self::Ipv6(address)
    }
}

impl From<Protocol> for Value {
    fn from(protocol: Protocol) -> Self {
        Self::Protocol(protocol)
    }
}

impl From<u16> for Value {
    fn from(port: u16) -> Self {
        Self::Port(port)
    }
}

impl From<Name> for Value {
    fn from(name: Name) -> Self {
        Self::Link(name)
    }
}

/// Something of a packet that a rule looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// The name of the link that it came in on.
    Iifname,
    /// The name of the link that it leaves on.
    Oifname,
    /// The protocol above IP.
    L4proto,
    /// Its mark.
    Mark,
    /// The source address of an IPv4 packet.
    IpSaddr,
    /// The destination address of an IPv4 packet.
    IpDaddr,
    /// The source address of an IPv6 packet.
    Ip6Saddr,
    /// The destination address of an IPv6 packet.
    Ip6Daddr,
    /// The source port.
    Sport,
    /// The destination port.
    Dport,
}

impl Field {
    /// The source address of the family of an address.
    pub const fn saddr(of: IpAddr) -> Self {
        match of {
            IpAddr::V4(_) => Self::IpSaddr,
            IpAddr::V6(_) => Self::Ip6Saddr,
        }
    }

    /// The destination address of the family of an address.
    pub const fn daddr(of: IpAddr) -> Self {
        match of {
            IpAddr::V4(_) => Self::IpDaddr,
            IpAddr::V6(_) => Self::Ip6Daddr,
        }
    }

    /// Its type.
    pub const fn of(self) -> Type {
        match self {
            Self::Iifname | Self::Oifname => Type::Ifname,
            Self::L4proto => Type::InetProto,
            Self::Mark => Type::Mark,
            Self::IpSaddr | Self::IpDaddr => Type::Ipv4Addr,
            Self::Ip6Saddr | Self::Ip6Daddr => Type::Ipv6Addr,
            Self::Sport | Self::Dport => Type::InetService,
        }
    }

    /// Loads its first bytes.
    pub(super) const fn load(self, to: Register, length: u8) -> Expression {
        let (header, offset) = match self {
            Self::Iifname => return Expression::Meta { key: Meta::Iifname, to },
            Self::Oifname => return Expression::Meta { key: Meta::Oifname, to },
            Self::L4proto => return Expression::Meta { key: Meta::L4proto, to },
            Self::Mark => return Expression::Meta { key: Meta::Mark, to },
            Self::IpSaddr => (Header::Network, 12),
            Self::IpDaddr => (Header::Network, 16),
            Self::Ip6Saddr => (Header::Network, 8),
            Self::Ip6Daddr => (Header::Network, 24),
            Self::Sport => (Header::Transport, 0),
            Self::Dport => (Header::Transport, 2),
        };
        Expression::Payload { header, offset, length, to }
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "tests know their lengths")]
mod tests {
    use super::*;

    #[test]
    fn several_types_have_one_number() {
        let types = [Type::InetProto, Type::Ipv4Addr, Type::InetService];
        assert_eq!(Type::number_of(&types), 0xc1cd);
        assert_eq!(Type::from_number(0xc1cd).as_deref(), Some(&types[..]));
        assert_eq!(Type::length_of(&types), 12);
        assert_eq!(Type::length_of(&[Type::InetService]), 2);
        assert_eq!(Type::length_of(&[Type::Ipv6Addr, Type::InetService]), 20);
        assert_eq!(Type::from_number(0xc1c2), None);
    }

    #[test]
    fn values_are_read_as_they_were_written() {
        let values = [
            Value::Link(Name::new("eth0").unwrap()),
            Value::Protocol(Protocol::TCP),
            Value::Ipv4([10, 0, 0, 1].into()),
            Value::Port(80),
            Value::Ipv6(Ipv6Addr::LOCALHOST),
            Value::Mark(7),
        ];
        let types = values.map(|value| value.of());
        let bytes = Value::bytes_of(&values);
        assert_eq!(u32::try_from(bytes.len()).unwrap(), Type::length_of(&types));
        assert_eq!(Value::read_of(&types, &bytes).as_deref(), Some(&values[..]));
        assert_eq!(Value::read_of(&types, &bytes[1..]), None);
        for value in values {
            let bytes = Value::bytes_of(&[value]);
            assert_eq!(bytes.len(), usize::from(value.of().length()));
            assert_eq!(Value::read_of(&[value.of()], &bytes), Some(vec![value]));
        }
    }
}
