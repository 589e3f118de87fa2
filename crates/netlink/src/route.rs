//! Routes.

use crate::address::{Prefix, Scope, family};
use crate::link::Index;
use crate::wire::{Attribute, Malformed, Message, Writer, fixed, flags, word};
use crate::{Dump, Request};
use std::fmt;
use std::net::IpAddr;

const NEW: u16 = 24;
const DELETE: u16 = 25;
const GET: u16 = 26;

const DESTINATION: u16 = 1;
const OUT: u16 = 4;
const GATEWAY: u16 = 5;
const PRIORITY: u16 = 6;
const SOURCE: u16 = 7;
const METRICS: u16 = 8;
const TABLE: u16 = 15;

const METRIC_MTU: u16 = 2;
const METRIC_ADVMSS: u16 = 8;

const ONLINK: u32 = 4;
/// A route that the kernel has learned for one destination.
const CLONED: u32 = 0x200;

/// A table of routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Table(pub u32);

impl Table {
    /// The one that all use.
    pub const MAIN: Self = Self(254);
    /// The one of the addresses of this host.
    pub const LOCAL: Self = Self(255);

    /// What fits into the fixed part of a message.
    pub(crate) fn short(self) -> u8 {
        u8::try_from(self.0).unwrap_or(0)
    }
}

/// What becomes of packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// They go on.
    Unicast,
    /// They are for this host.
    Local,
    /// They are for this host and all on the link.
    Broadcast,
    /// They vanish.
    Blackhole,
    /// Their sender is told that there is no way.
    Unreachable,
    /// Their sender is told that they may not.
    Prohibit,
    /// Another number.
    Other(u8),
}

impl Kind {
    const fn number(self) -> u8 {
        match self {
            Self::Unicast => 1,
            Self::Local => 2,
            Self::Broadcast => 3,
            Self::Blackhole => 6,
            Self::Unreachable => 7,
            Self::Prohibit => 8,
            Self::Other(number) => number,
        }
    }

    const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Unicast,
            2 => Self::Local,
            3 => Self::Broadcast,
            6 => Self::Blackhole,
            7 => Self::Unreachable,
            8 => Self::Prohibit,
            other => Self::Other(other),
        }
    }
}

/// Who has made a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protocol(pub u8);

impl Protocol {
    /// Whoever deletes and does not care.
    pub const ANY: Self = Self(0);
    /// The kernel, for an address.
    pub const KERNEL: Self = Self(2);
    /// Somebody when the host started.
    pub const BOOT: Self = Self(3);
    /// The administrator.
    pub const STATIC: Self = Self(4);
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where to: a length of zero is everywhere.
    pub destination: Prefix,
    /// By way of whom.
    pub gateway: Option<IpAddr>,
    /// On which link.
    pub link: Option<Index>,
    /// From which address of ours.
    pub source: Option<IpAddr>,
    /// How far it goes.
    pub scope: Scope,
    /// The table it is in.
    pub table: Table,
    /// Which is preferred: the smaller.
    pub metric: Option<u32>,
    /// The largest packet.
    pub mtu: Option<u32>,
    /// The largest segment that TCP says it takes.
    pub advmss: Option<u32>,
    /// Whether the gateway is on the link although no route says so.
    pub onlink: bool,
    /// What becomes of packets.
    pub kind: Kind,
    /// Who has made it.
    pub protocol: Protocol,
}

impl Route {
    /// To this destination, on a link.
    pub fn to(destination: Prefix, link: Index) -> Self {
        Self {
            destination,
            gateway: None,
            link: Some(link),
            source: None,
            scope: Scope::Link,
            table: Table::MAIN,
            metric: None,
            mtu: None,
            advmss: None,
            onlink: false,
            kind: Kind::Unicast,
            protocol: Protocol::BOOT,
        }
    }

    /// To this destination by way of a gateway, on the link on which that is.
    pub fn via(destination: Prefix, gateway: impl Into<IpAddr>) -> Self {
        let route = Self::to(destination, Index(0));
        Self { gateway: Some(gateway.into()), link: None, scope: Scope::Universe, ..route }
    }

    /// To everywhere by way of a gateway.
    pub fn default_via(gateway: impl Into<IpAddr>) -> Self {
        let gateway = gateway.into();
        let nothing: IpAddr = match gateway {
            IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        Self::via(Prefix::new(nothing, 0), gateway)
    }

    /// On this link.
    #[must_use]
    pub fn on(self, link: Index) -> Self {
        Self { link: Some(link), ..self }
    }

    /// From this address of ours.
    #[must_use]
    pub fn source(self, source: impl Into<IpAddr>) -> Self {
        Self { source: Some(source.into()), ..self }
    }

    /// In this table.
    #[must_use]
    pub fn table(self, table: Table) -> Self {
        Self { table, ..self }
    }

    /// With this preference.
    #[must_use]
    pub fn metric(self, metric: u32) -> Self {
        Self { metric: Some(metric), ..self }
    }

    /// The gateway is on the link, whatever other routes say.
    #[must_use]
    pub fn onlink(self) -> Self {
        Self { onlink: true, ..self }
    }

    fn write(&self, to: &mut Writer<'_>) {
        let Prefix { address, length } = self.destination;
        to.fixed(&[family(address), length, 0, 0]);
        to.fixed(&[self.table.short(), self.protocol.0, self.scope.number(), self.kind.number()]);
        to.fixed(&(if self.onlink { ONLINK } else { 0 }).to_ne_bytes());
        to.u32(TABLE, self.table.0);
        if length != 0 {
            to.ip(DESTINATION, address);
        }
        if let Some(gateway) = self.gateway {
            to.ip(GATEWAY, gateway);
        }
        if let Some(link) = self.link {
            to.u32(OUT, link.0);
        }
        if let Some(source) = self.source {
            to.ip(SOURCE, source);
        }
        if let Some(metric) = self.metric {
            to.u32(PRIORITY, metric);
        }
        if self.mtu.or(self.advmss).is_some() {
            to.nested(METRICS, |to| {
                for (kind, metric) in [(METRIC_MTU, self.mtu), (METRIC_ADVMSS, self.advmss)] {
                    if let Some(metric) = metric {
                        to.u32(kind, metric);
                    }
                }
            });
        }
    }

    fn read(message: &Message<'_>) -> Result<Option<Self>, Malformed> {
        if message.kind != NEW {
            return Ok(None);
        }
        let (head, attributes) = fixed::<12>(message.body)?;
        let [family, length, _, _, table, protocol, scope, kind, ..] = *head;
        let flags = word::<8, _>(head);
        let nothing: IpAddr = match family {
            2 => std::net::Ipv4Addr::UNSPECIFIED.into(),
            10 => std::net::Ipv6Addr::UNSPECIFIED.into(),
            _ => return Ok(None),
        };
        if flags & CLONED != 0 {
            return Ok(None);
        }
        let mut route = Self {
            destination: Prefix { address: nothing, length },
            gateway: None,
            link: None,
            source: None,
            scope: Scope::from_number(scope),
            table: Table(table.into()),
            metric: None,
            mtu: None,
            advmss: None,
            onlink: flags & ONLINK != 0,
            kind: Kind::from_number(kind),
            protocol: Protocol(protocol),
        };
        for attribute in attributes {
            route.take(&attribute?)?;
        }
        Ok(Some(route))
    }

    fn take(&mut self, attribute: &Attribute<'_>) -> Result<(), Malformed> {
        match attribute.kind {
            DESTINATION => self.destination.address = attribute.ip()?,
            GATEWAY => self.gateway = Some(attribute.ip()?),
            OUT => self.link = Some(Index(attribute.u32()?)),
            SOURCE => self.source = Some(attribute.ip()?),
            PRIORITY => self.metric = Some(attribute.u32()?),
            TABLE => self.table = Table(attribute.u32()?),
            METRICS => {
                for metric in attribute.nested() {
                    let metric = metric?;
                    match metric.kind {
                        METRIC_MTU => self.mtu = Some(metric.u32()?),
                        METRIC_ADVMSS => self.advmss = Some(metric.u32()?),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl fmt::Display for Route {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.destination.length {
            0 => to.write_str("default route")?,
            _ => write!(to, "route to {}", self.destination)?,
        }
        if let Some(gateway) = self.gateway {
            write!(to, " via {gateway}")?;
        }
        match self.link {
            Some(link) => write!(to, " on link {link}"),
            None => Ok(()),
        }
    }
}

/// What is done where there is a route with the same destination and preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It is an error.
    Refuse,
    /// The new one takes its place.
    Replace,
    /// The new one comes after it.
    Append,
}

/// Adds a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Add {
    /// The route.
    pub route: Route,
    /// What is done with one like it.
    pub existing: Existing,
}

impl Add {
    /// This one; there must not be one like it.
    pub fn new(route: Route) -> Self {
        Self { route, existing: Existing::Refuse }
    }

    /// This one, in place of one like it.
    pub fn replacing(route: Route) -> Self {
        Self { route, existing: Existing::Replace }
    }
}

impl fmt::Display for Add {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "add {}", self.route)
    }
}

impl Request for Add {
    fn kind(&self) -> u16 {
        NEW
    }

    fn flags(&self) -> u16 {
        flags::CREATE
            | match self.existing {
                Existing::Refuse => flags::EXCLUSIVE,
                Existing::Replace => flags::REPLACE,
                Existing::Append => flags::APPEND,
            }
    }

    fn write(&self, to: &mut Writer<'_>) {
        self.route.write(to);
    }
}

/// Deletes the route that is like this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delete(pub Route);

impl fmt::Display for Delete {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "delete {}", self.0)
    }
}

impl Request for Delete {
    fn kind(&self) -> u16 {
        DELETE
    }

    fn write(&self, to: &mut Writer<'_>) {
        self.0.write(to);
    }
}

/// Asks for the routes of a family in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct All {
    /// The family.
    pub family: Family,
    /// The table, or all.
    pub table: Option<Table>,
}

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// That of an address.
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::V4 => 2,
            Self::V6 => 10,
        }
    }

    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

impl fmt::Display for All {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "list {} routes", self.family.word())
    }
}

impl Dump for All {
    type Item = Route;

    fn kind(&self) -> u16 {
        GET
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.fixed(&[self.family.number(), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        // The kernel is not asked for one table: one without routes yet is an error to it.
    }

    fn read(&self, message: &Message<'_>, into: &mut Vec<Route>) -> Result<(), Malformed> {
        let wanted = |route: &Route| self.table.is_none_or(|table| route.table == table);
        into.extend(Route::read(message)?.filter(wanted));
        Ok(())
    }
}
