//! Flows that the kernel has seen: where their first packet went decides where the next ones go, also when the rules are no
//! longer those that decided it.

use crate::route::Family;
use crate::wire::{Attributes, Malformed, Message, Writer, fixed};
use crate::{Dump, Request};
use std::fmt;
use std::net::IpAddr;

/// The number of this part of netfilter.
const SUBSYSTEM: u16 = 1 << 8;
const NEW: u16 = SUBSYSTEM;
const GET: u16 = SUBSYSTEM | 0x1;
const DELETE: u16 = SUBSYSTEM | 0x2;

const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
const FILTER: u16 = 25;

const TUPLE_IP: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;

const V4: [u16; 2] = [1, 2];
const V6: [u16; 2] = [3, 4];

const PROTOCOL: u16 = 1;
const SOURCE_PORT: u16 = 2;
const DESTINATION_PORT: u16 = 3;

const FILTER_ORIGINAL: u16 = 1;
const FILTER_REPLY: u16 = 2;
const BY_PROTOCOL: u32 = 1 << 3;
const BY_DESTINATION_PORT: u32 = 1 << 5;

/// One direction of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Direction {
    /// Where its packets come from.
    pub source: IpAddr,
    /// Where they go.
    pub destination: IpAddr,
    /// The number of their protocol.
    pub protocol: u8,
    /// The port they come from.
    pub source_port: u16,
    /// The port they go to.
    pub destination_port: u16,
}

impl Direction {
    fn read(attributes: &Attributes<'_>) -> Result<Option<Self>, Malformed> {
        let Some(ip) = attributes.find(TUPLE_IP)? else { return Ok(None) };
        let Some(protocol) = attributes.find(TUPLE_PROTOCOL)? else { return Ok(None) };
        let (ip, protocol) = (ip.nested(), protocol.nested());
        let either = |at: usize| {
            let [v4, v6] = [V4, V6].map(|kinds| kinds.get(at).copied().unwrap_or_default());
            let found = ip.find(v4)?;
            if found.is_some() { Ok(found) } else { ip.find(v6) }
        };
        let (source, destination) = (either(0)?, either(1)?);
        let ends = source.zip(destination);
        let ports = protocol.find(SOURCE_PORT)?.zip(protocol.find(DESTINATION_PORT)?);
        // Not every protocol has ports.
        let Some(((source, destination), (from, to))) = ends.zip(ports) else { return Ok(None) };
        let Some(number) = protocol.find(PROTOCOL)? else { return Ok(None) };
        Ok(Some(Self {
            source: source.ip()?,
            destination: destination.ip()?,
            protocol: number.u8()?,
            source_port: from.be16()?,
            destination_port: to.be16()?,
        }))
    }

    fn write(&self, kind: u16, to: &mut Writer<'_>) {
        let [source, destination] = if self.source.is_ipv4() { V4 } else { V6 };
        to.nested(kind, |to| {
            to.nested(TUPLE_IP, |to| {
                to.ip(source, self.source).ip(destination, self.destination);
            });
            to.nested(TUPLE_PROTOCOL, |to| {
                to.u8(PROTOCOL, self.protocol);
                to.be16(SOURCE_PORT, self.source_port);
                to.be16(DESTINATION_PORT, self.destination_port);
            });
        });
    }
}

/// A flow of a protocol with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// From who began to who was asked for.
    pub original: Direction,
    /// From who answers: another than who was asked for where an address was exchanged.
    pub reply: Direction,
    id: u32,
    zone: Option<u16>,
}

impl Flow {
    fn read(message: &Message<'_>) -> Result<Option<Self>, Malformed> {
        if message.kind != NEW {
            return Ok(None);
        }
        let (_, attributes) = fixed::<4>(message.body)?;
        let direction = |kind| match attributes.find(kind)? {
            Some(tuple) => Direction::read(&tuple.nested()),
            None => Ok(None),
        };
        let Some((original, reply)) = direction(ORIGINAL)?.zip(direction(REPLY)?) else {
            return Ok(None);
        };
        let Some(id) = attributes.find(ID)? else { return Ok(None) };
        let zone = attributes.find(ZONE)?.map(|zone| zone.be16()).transpose()?;
        Ok(Some(Self { original, reply, id: id.be32()?, zone }))
    }
}

/// Asks for the flows that somebody began to a port, wherever it leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct To {
    /// Of which family.
    pub family: Family,
    /// The number of their protocol.
    pub protocol: u8,
    /// The port.
    pub port: u16,
}

impl fmt::Display for To {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "list the flows of protocol {} to port {}", self.protocol, self.port)
    }
}

impl Dump for To {
    type Item = Flow;

    fn kind(&self) -> u16 {
        GET
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.fixed(&[self.family.number(), 0, 0, 0]);
        to.nested(ORIGINAL, |to| {
            to.nested(TUPLE_PROTOCOL, |to| {
                to.u8(PROTOCOL, self.protocol).be16(DESTINATION_PORT, self.port);
            });
        });
        to.nested(FILTER, |to| {
            to.u32(FILTER_ORIGINAL, BY_PROTOCOL | BY_DESTINATION_PORT).u32(FILTER_REPLY, 0);
        });
    }

    fn read(&self, message: &Message<'_>, into: &mut Vec<Flow>) -> Result<(), Malformed> {
        let wanted = |flow: &Flow| {
            let original = flow.original;
            original.protocol == self.protocol && original.destination_port == self.port
        };
        into.extend(Flow::read(message)?.filter(wanted));
        Ok(())
    }
}

/// Forgets a flow: its next packet is a first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delete(pub Flow);

impl fmt::Display for Delete {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Direction { source, source_port, destination, destination_port, .. } = self.0.original;
        write!(
            to,
            "forget the flow from {source} {source_port} to {destination} {destination_port}"
        )
    }
}

impl Request for Delete {
    fn kind(&self) -> u16 {
        DELETE
    }

    fn write(&self, to: &mut Writer<'_>) {
        let flow = self.0;
        to.fixed(&[Family::of(flow.original.source).number(), 0, 0, 0]);
        flow.original.write(ORIGINAL, to);
        to.be32(ID, flow.id);
        if let Some(zone) = flow.zone {
            to.be16(ZONE, zone);
        }
    }
}
