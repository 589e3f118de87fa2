//! Which addresses a network may give, and in which order. Pure.

use crate::cidr::{Cidr, bits, from_bits};
use crate::config::{FieldError, Fields};
use appc::json::Json;
use std::fmt;
use std::net::IpAddr;

/// Addresses of one network, from one to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The network.
    pub subnet: Cidr,
    /// The first address.
    pub start: IpAddr,
    /// The last one.
    pub end: IpAddr,
    /// The gateway, which is never given.
    pub gateway: IpAddr,
}

impl Range {
    fn contains(&self, address: IpAddr) -> bool {
        self.subnet.contains(address)
            && (bits(self.start)..=bits(self.end)).contains(&bits(address))
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.subnet.is_ipv4() == other.subnet.is_ipv4()
            && (self.contains(other.start)
                || self.contains(other.end)
                || other.contains(self.start)
                || other.contains(self.end))
    }
}

/// Ranges of one family; one address of all of them is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeSet(Vec<Range>);

impl fmt::Display for RangeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, range) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{}-{}", range.start, range.end)?;
        }
        Ok(())
    }
}

impl RangeSet {
    /// At least one range, all of one family, none sharing an address with another.
    pub(super) fn new(ranges: Vec<Range>, fields: &Fields<'_>) -> Result<Self, FieldError> {
        let Some(first) = ranges.first() else {
            return Err(fields.bad("ranges", "a range set is empty"));
        };
        if ranges.iter().any(|range| range.subnet.is_ipv4() != first.subnet.is_ipv4()) {
            return Err(fields.bad("ranges", "a range set has addresses of both families"));
        }
        for (at, range) in ranges.iter().enumerate() {
            if let Some(other) = ranges.iter().take(at).find(|other| range.overlaps(other)) {
                let problem = format!("subnets {} and {} overlap", other.subnet, range.subnet);
                return Err(fields.bad("ranges", problem));
            }
        }
        Ok(Self(ranges))
    }

    /// Whether its addresses are of IPv4.
    pub fn is_ipv4(&self) -> bool {
        self.0.first().is_some_and(|range| range.subnet.is_ipv4())
    }

    /// The range that an address is in.
    pub fn range_of(&self, address: IpAddr) -> Option<&Range> {
        self.0.iter().find(|range| range.contains(address))
    }

    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.0.iter().any(|range| other.0.iter().any(|o| range.overlaps(o)))
    }

    /// Every address that may be given, once, beginning behind the one that was given last and without gateways.
    pub fn after(&self, last: Option<IpAddr>) -> impl Iterator<Item = (IpAddr, &Range)> {
        let seat = last.and_then(|last| {
            let at = self.0.iter().position(|range| range.contains(last))?;
            Some((at, bits(last)))
        });
        let (at, last) = seat.map_or((0, None), |(at, last)| (at, Some(last)));
        let (before, behind) = self.0.split_at(at);
        let (middle, rest) = behind.split_at(behind.len().min(1));
        let ends = |range: &Range| (bits(range.start), bits(range.end));
        // The range of the last address comes twice: from behind it, and up to it at the very end.
        let upper = middle.iter().map(move |range| {
            let (start, end) = ends(range);
            (range, last.map_or(Some(start), |last| last.checked_add(1)), Some(end))
        });
        let whole = rest.iter().chain(before).map(move |range| {
            let (start, end) = ends(range);
            (range, Some(start), Some(end))
        });
        let lower = middle.iter().map(move |range| (range, Some(ends(range).0), last));
        let spans = upper.chain(whole).chain(lower);
        let addresses = spans.flat_map(|(range, start, end)| {
            let span = start.zip(end).map(|(start, end)| start..=end);
            let give = move |bits| (from_bits(bits, range.start), range);
            span.into_iter().flatten().map(give)
        });
        addresses.filter(|(address, range)| *address != range.gateway)
    }
}

/// Reads `subnet`, `rangeStart`, `rangeEnd`, `gateway`.
pub(super) fn read_range(fields: &Fields<'_>) -> Result<Range, FieldError> {
    let subnet = fields.cidr("subnet")?.ok_or_else(|| fields.bad("subnet", "is missing"))?;
    if subnet != subnet.network() {
        let problem = format!("{subnet} is an address in the network {}", subnet.network());
        return Err(fields.bad("subnet", problem));
    }
    if subnet.host_mask() < 3 {
        return Err(fields.bad("subnet", format!("network {subnet} is too small to allocate from")));
    }
    let like = subnet.address();
    let first = from_bits(bits(like) + 1, like);
    // The last address of an IPv4 network is for broadcasts.
    let broadcast = u128::from(subnet.is_ipv4());
    let last = from_bits(bits(subnet.last()) - broadcast, like);
    let inside = |key: &str, default: IpAddr| match fields.address(key)? {
        Some(address) if !subnet.contains(address) => {
            Err(fields.bad(key, format!("{address} is not in network {subnet}")))
        }
        address => Ok(address.unwrap_or(default)),
    };
    let (start, end) = (inside("rangeStart", first)?, inside("rangeEnd", last)?);
    if bits(start) > bits(end) {
        return Err(fields.bad("rangeEnd", format!("{end} is before {start}")));
    }
    let gateway = fields.address("gateway")?.unwrap_or(first);
    if gateway.is_ipv4() != subnet.is_ipv4() {
        return Err(fields.bad("gateway", format!("{gateway} is an address of the other family")));
    }
    Ok(Range { subnet, start, end, gateway })
}

/// Reads `ranges`: a list of lists of ranges.
pub(super) fn read_sets(fields: &Fields<'_>) -> Result<Vec<RangeSet>, FieldError> {
    let mut sets = Vec::new();
    for (at, set) in fields.list("ranges")?.iter().enumerate() {
        let Json::List(_) = set else {
            return Err(fields.bad("ranges", "must be a list of lists of ranges"));
        };
        let list = Json::object([("set", set.clone())]);
        let inside = fields.inside(&format!("ranges[{at}]"), &list);
        let ranges = inside.objects("set")?;
        let ranges = ranges.iter().map(read_range).collect::<Result<_, _>>()?;
        sets.push(RangeSet::new(ranges, fields)?);
    }
    Ok(sets)
}
