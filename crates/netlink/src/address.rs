//! IP addresses of links.

use crate::link::Index;
use crate::wire::{Malformed, Message, Writer, fixed, flags, word};
use crate::{Dump, Request};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

const NEW: u16 = 20;
const DELETE: u16 = 21;
const GET: u16 = 22;

const ADDRESS: u16 = 1;
const LOCAL: u16 = 2;
const LABEL: u16 = 3;
const BROADCAST: u16 = 4;
const FLAGS: u16 = 8;

/// An address and how many of its bits are its network's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    /// The address.
    pub address: IpAddr,
    /// The bits.
    pub length: u8,
}

impl Prefix {
    /// This address in a network of this length.
    pub fn new(address: impl Into<IpAddr>, length: u8) -> Self {
        Self { address: address.into(), length }
    }

    /// This address alone.
    pub fn host(address: impl Into<IpAddr>) -> Self {
        let address = address.into();
        Self { address, length: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// The network's own address, with the same length.
    #[must_use]
    pub fn network(self) -> Self {
        let address = match self.address {
            IpAddr::V4(address) => {
                let host = 32_u32.saturating_sub(self.length.into());
                let mask = u32::MAX.checked_shl(host).unwrap_or(0);
                Ipv4Addr::from_bits(address.to_bits() & mask).into()
            }
            IpAddr::V6(address) => {
                let host = 128_u32.saturating_sub(self.length.into());
                let mask = u128::MAX.checked_shl(host).unwrap_or(0);
                std::net::Ipv6Addr::from_bits(address.to_bits() & mask).into()
            }
        };
        Self { address, length: self.length }
    }

    /// The last address of an IPv4 network of more than two, to which packets for all are sent.
    pub fn broadcast(self) -> Option<Ipv4Addr> {
        match self.address {
            IpAddr::V4(address) if self.length < 31 => {
                let hosts = u32::MAX.checked_shr(self.length.into()).unwrap_or(0);
                Some(Ipv4Addr::from_bits(address.to_bits() | hosts))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}/{}", self.address, self.length)
    }
}

/// The kernel's number of an address's family.
pub(crate) const fn family(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 2,
        IpAddr::V6(_) => 10,
    }
}

/// How far something is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Everywhere.
    Universe,
    /// On this link.
    Link,
    /// In this host.
    Host,
    /// Another number.
    Other(u8),
}

impl Scope {
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Universe => 0,
            Self::Link => 253,
            Self::Host => 254,
            Self::Other(number) => number,
        }
    }

    pub(crate) const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Universe,
            253 => Self::Link,
            254 => Self::Host,
            other => Self::Other(other),
        }
    }
}

/// Flags of an address; they are added with `|`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags(pub u32);

impl Flags {
    /// Nobody is asked whether they have it, too.
    pub const NODAD: Self = Self(0x02);
    /// It is never given up.
    pub const PERMANENT: Self = Self(0x80);
    /// It is being found out whether somebody else has it.
    pub const TENTATIVE: Self = Self(0x40);
    /// There is no route to its network because of it.
    pub const NOPREFIXROUTE: Self = Self(0x200);

    /// Whether all of these are among them.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl std::ops::BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Gives a link an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Add {
    /// Which link.
    pub link: Index,
    /// The address, and how much of it is the network's.
    pub prefix: Prefix,
    /// The address of the one at the other end, instead of a network.
    pub peer: Option<Prefix>,
    /// The address of all.
    pub broadcast: Option<Ipv4Addr>,
    /// How far it is valid.
    pub scope: Scope,
    /// Its flags.
    pub flags: Flags,
    /// A name for it, which begins with the link's.
    pub label: Option<String>,
    /// Whether one that is there is changed rather than an error.
    pub replace: bool,
}

impl Add {
    /// This address, valid everywhere, with the network's last address as that of all.
    pub fn new(link: Index, prefix: Prefix) -> Self {
        Self {
            link,
            prefix,
            peer: None,
            broadcast: prefix.broadcast(),
            scope: Scope::Universe,
            flags: Flags::default(),
            label: None,
            replace: false,
        }
    }

    /// With these flags, too.
    #[must_use]
    pub fn flags(self, flags: Flags) -> Self {
        Self { flags: self.flags | flags, ..self }
    }

    /// One that is there is changed.
    #[must_use]
    pub fn replace(self) -> Self {
        Self { replace: true, ..self }
    }

    /// Valid as far as this.
    #[must_use]
    pub fn scope(self, scope: Scope) -> Self {
        Self { scope, ..self }
    }
}

impl fmt::Display for Add {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "add address {} to link {}", self.prefix, self.link)
    }
}

impl Request for Add {
    fn kind(&self) -> u16 {
        NEW
    }

    fn flags(&self) -> u16 {
        flags::CREATE | if self.replace { flags::REPLACE } else { flags::EXCLUSIVE }
    }

    fn write(&self, to: &mut Writer<'_>) {
        let network = self.peer.unwrap_or(self.prefix);
        head(to, self.link, self.prefix.address, network.length, self.scope);
        to.ip(LOCAL, self.prefix.address).ip(ADDRESS, network.address);
        if let Some(broadcast) = self.broadcast {
            to.attribute(BROADCAST, &broadcast.octets());
        }
        if self.flags != Flags::default() {
            to.u32(FLAGS, self.flags.0);
        }
        if let Some(label) = &self.label {
            to.text(LABEL, label);
        }
    }
}

fn head(to: &mut Writer<'_>, link: Index, address: IpAddr, length: u8, scope: Scope) {
    to.fixed(&[family(address), length, 0, scope.number()]);
    to.fixed(&link.0.to_ne_bytes());
}

/// Takes an address from a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delete {
    /// Which link.
    pub link: Index,
    /// The address, and how much of it is the network's.
    pub prefix: Prefix,
}

impl fmt::Display for Delete {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "delete address {} of link {}", self.prefix, self.link)
    }
}

impl Request for Delete {
    fn kind(&self) -> u16 {
        DELETE
    }

    fn write(&self, to: &mut Writer<'_>) {
        head(to, self.link, self.prefix.address, self.prefix.length, Scope::Universe);
        to.ip(LOCAL, self.prefix.address);
    }
}

/// An address of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The link.
    pub link: Index,
    /// The address, and how much of it is the network's.
    pub prefix: Prefix,
    /// The address of the one at the other end.
    pub peer: Option<IpAddr>,
    /// The address of all.
    pub broadcast: Option<IpAddr>,
    /// How far it is valid.
    pub scope: Scope,
    /// Its flags.
    pub flags: Flags,
    /// Its name.
    pub label: Option<String>,
}

impl Record {
    fn read(message: &Message<'_>) -> Result<Option<Self>, Malformed> {
        if message.kind != NEW {
            return Ok(None);
        }
        let (head, attributes) = fixed::<8>(message.body)?;
        let [_, length, flags, scope, ..] = *head;
        let (mut far, mut near, mut broadcast, mut label) = (None, None, None, None);
        let mut flags = Flags(flags.into());
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                ADDRESS => far = Some(attribute.ip()?),
                LOCAL => near = Some(attribute.ip()?),
                BROADCAST => broadcast = Some(attribute.ip()?),
                LABEL => label = Some(attribute.text()),
                FLAGS => flags = Flags(attribute.u32()?),
                _ => {}
            }
        }
        let address = near.or(far).ok_or(Malformed("an address is missing"))?;
        Ok(Some(Self {
            link: Index(word::<4, _>(head)),
            prefix: Prefix { address, length },
            peer: far.filter(|far| *far != address),
            broadcast,
            scope: Scope::from_number(scope),
            flags,
            label,
        }))
    }
}

/// Asks for addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum All {
    /// Those of all links.
    Links,
    /// Those of this one.
    Of(Index),
}

impl fmt::Display for All {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Links => to.write_str("list addresses"),
            Self::Of(link) => write!(to, "list the addresses of link {link}"),
        }
    }
}

impl Dump for All {
    type Item = Record;

    fn kind(&self) -> u16 {
        GET
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.fixed(&[0; 4]);
        let link = match self {
            Self::Links => Index(0),
            Self::Of(link) => *link,
        };
        to.fixed(&link.0.to_ne_bytes());
    }

    fn read(&self, message: &Message<'_>, into: &mut Vec<Record>) -> Result<(), Malformed> {
        let wanted = |record: &Record| match self {
            Self::Links => true,
            Self::Of(link) => record.link == *link,
        };
        into.extend(Record::read(message)?.filter(wanted));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_and_their_last_addresses() {
        let cases = [
            ("10.1.2.3", 24, "10.1.2.0", Some("10.1.2.255")),
            ("10.1.2.3", 0, "0.0.0.0", Some("255.255.255.255")),
            ("10.1.2.3", 30, "10.1.2.0", Some("10.1.2.3")),
            ("10.1.2.3", 31, "10.1.2.2", None),
            ("10.1.2.3", 32, "10.1.2.3", None),
            ("fd00::1:2", 64, "fd00::", None),
            ("fd00::1:2", 0, "::", None),
            ("fd00::1:2", 128, "fd00::1:2", None),
        ];
        for (address, length, network, broadcast) in cases {
            let prefix = Prefix::new(address.parse::<IpAddr>().unwrap(), length);
            assert_eq!(prefix.network().address.to_string(), network, "{prefix}");
            assert_eq!(prefix.broadcast().map(|b| b.to_string()).as_deref(), broadcast, "{prefix}");
        }
    }
}
