//! Addresses with the length of their network's prefix, and networks.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Text that is no address with a prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an address with a prefix length")]
pub struct BadCidr(pub String);

/// An address and how many of its bits name the network. The other bits are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

/// The bits of an address.
const fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// The address as a number.
pub(crate) fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The address of this number in the family of another.
pub(crate) fn from_bits(bits: u128, like: IpAddr) -> IpAddr {
    match like {
        // Numbers of this family were made from 32 bits.
        IpAddr::V4(_) => {
            IpAddr::V4(u32::try_from(bits).map_or(Ipv4Addr::BROADCAST, Ipv4Addr::from))
        }
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from(bits)),
    }
}

impl Cidr {
    /// An address with a prefix of this length; `None` if it has fewer bits.
    pub const fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        if prefix <= width(address) { Some(Self { address, prefix }) } else { None }
    }

    /// An address alone: all its bits are the prefix.
    pub const fn host(address: IpAddr) -> Self {
        Self { address, prefix: width(address) }
    }

    /// Every address of a family.
    pub const fn everything(is_ipv4: bool) -> Self {
        let address = if is_ipv4 {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        } else {
            IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        };
        Self { address, prefix: 0 }
    }

    /// The address after that of the network, which gateways have where nobody says.
    pub fn gateway(self) -> IpAddr {
        from_bits(bits(self.network().address) | 1, self.address)
    }

    /// Reads `ADDRESS/LENGTH`.
    ///
    /// # Errors
    /// It has another shape.
    pub fn parse(text: &str) -> Result<Self, BadCidr> {
        let bad = || BadCidr(text.to_owned());
        let (address, length) = text.split_once('/').ok_or_else(bad)?;
        let plain = length.bytes().all(|b| b.is_ascii_digit()) && length.len() <= 3;
        let address = address.parse().map_err(|_| bad())?;
        let length = length.parse().ok().filter(|_| plain).ok_or_else(bad)?;
        Self::new(address, length).ok_or_else(bad)
    }

    /// The address.
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// The length of the prefix.
    pub const fn prefix(self) -> u8 {
        self.prefix
    }

    /// Whether it is of IPv4.
    pub const fn is_ipv4(self) -> bool {
        self.address.is_ipv4()
    }

    /// Which bits differ within the network, as a number.
    pub(crate) fn host_mask(self) -> u128 {
        let free = u32::from(width(self.address) - self.prefix);
        1_u128.checked_shl(free).map_or(u128::MAX, |first| first - 1)
    }

    /// The first address of the network, with the same prefix.
    #[must_use]
    pub fn network(self) -> Self {
        let first = bits(self.address) & !self.host_mask();
        Self { address: from_bits(first, self.address), prefix: self.prefix }
    }

    /// The last address of the network: for IPv4 that of broadcasts.
    pub fn last(self) -> IpAddr {
        from_bits(bits(self.address) | self.host_mask(), self.address)
    }

    /// Whether an address belongs to the network.
    pub fn contains(self, address: IpAddr) -> bool {
        self.is_ipv4() == address.is_ipv4()
            && (bits(address) ^ bits(self.address)) & !self.host_mask() == 0
    }

    /// Whether two networks have an address in common.
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.address) && self.prefix <= other.prefix
            || other.contains(self.address) && other.prefix <= self.prefix
    }

    /// The mask of the prefix as an address.
    pub fn mask(self) -> IpAddr {
        let all = bits(Self::host(self.address).last()) | Self { prefix: 0, ..self }.host_mask();
        from_bits(all & !self.host_mask(), self.address)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        Cidr::parse(text).unwrap()
    }

    #[test]
    fn reading() {
        for good in ["10.1.2.3/24", "0.0.0.0/0", "1.2.3.4/32", "fd00::1/64", "::/0"] {
            assert_eq!(cidr(good).to_string(), good);
        }
        for bad in
            ["", "10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "10.0.0/8", "::/129", "1.2.3.4/+8", "/8"]
        {
            Cidr::parse(bad).unwrap_err();
        }
    }

    #[test]
    fn parts() {
        for (text, network, last, mask) in [
            ("10.1.2.3/24", "10.1.2.0/24", "10.1.2.255", "255.255.255.0"),
            ("10.1.2.3/0", "0.0.0.0/0", "255.255.255.255", "0.0.0.0"),
            ("10.1.2.3/32", "10.1.2.3/32", "10.1.2.3", "255.255.255.255"),
            ("fd00::5/120", "fd00::/120", "fd00::ff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ff00"),
            ("::1/0", "::/0", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::"),
        ] {
            let found = cidr(text);
            assert_eq!(found.network().to_string(), network, "{text}");
            assert_eq!(found.last().to_string(), last, "{text}");
            assert_eq!(found.mask().to_string(), mask, "{text}");
        }
    }

    #[test]
    fn belonging() {
        let net = cidr("10.1.2.0/24");
        for (address, inside) in
            [("10.1.2.0", true), ("10.1.2.255", true), ("10.1.3.0", false), ("::1", false)]
        {
            assert_eq!(net.contains(address.parse().unwrap()), inside, "{address}");
        }
        for (other, shared) in
            [("10.0.0.0/8", true), ("10.1.2.128/25", true), ("10.1.3.0/24", false), ("::/0", false)]
        {
            assert_eq!(net.overlaps(cidr(other)), shared, "{other}");
            assert_eq!(cidr(other).overlaps(net), shared, "{other}");
        }
    }
}
