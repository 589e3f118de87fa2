//! The ports of a bridge.

use super::attribute as at;
use super::{Bridge, Change, Index, Which, message};
use crate::Request;
use crate::wire::Writer;
use std::fmt;

const HAIRPIN: u16 = 4;
const LEARNING: u16 = 8;
const UNICAST_FLOOD: u16 = 9;
const PROXY_ARP: u16 = 10;
const MULTICAST_FLOOD: u16 = 27;
const NEIGHBOUR_SUPPRESSION: u16 = 32;
const ISOLATED: u16 = 33;

const VLAN: u16 = 2;
/// The packets without a tag are of this VLAN.
const VLAN_PVID: u16 = 2;
/// Packets of this VLAN leave without a tag.
const VLAN_UNTAGGED: u16 = 4;
/// The family of messages about a bridge's ports.
const AF_BRIDGE: u8 = 7;

/// Says of a link that belongs to a bridge how it does. What is not said stays as it is.
#[derive(Debug, Clone, Copy)]
pub struct Port {
    /// Which link.
    pub which: Which,
    /// Whether packets may leave where they came in.
    pub hairpin: Option<bool>,
    /// Whether other isolated ports are out of its reach.
    pub isolated: Option<bool>,
    /// Whether hardware addresses are learned from what comes in.
    pub learning: Option<bool>,
    /// Whether packets to unknown hardware addresses leave here, too.
    pub unicast_flood: Option<bool>,
    /// Whether multicast packets nobody asked for leave here, too.
    pub multicast_flood: Option<bool>,
    /// Whether the bridge answers for hosts beyond its other ports.
    pub proxy_arp: Option<bool>,
    /// Whether the bridge answers for neighbours that it knows.
    pub neighbour_suppression: Option<bool>,
}

impl Port {
    /// Nothing is said of this one yet.
    pub fn new(which: impl Into<Which>) -> Self {
        Self {
            which: which.into(),
            hairpin: None,
            isolated: None,
            learning: None,
            unicast_flood: None,
            multicast_flood: None,
            proxy_arp: None,
            neighbour_suppression: None,
        }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "change bridge port {}", self.which)
    }
}

impl Request for Port {
    fn kind(&self) -> u16 {
        message::NEW
    }

    fn write(&self, to: &mut Writer<'_>) {
        let options = [
            (HAIRPIN, self.hairpin),
            (ISOLATED, self.isolated),
            (LEARNING, self.learning),
            (UNICAST_FLOOD, self.unicast_flood),
            (MULTICAST_FLOOD, self.multicast_flood),
            (PROXY_ARP, self.proxy_arp),
            (NEIGHBOUR_SUPPRESSION, self.neighbour_suppression),
        ];
        // The message of the bridge's own family takes an index alone; this one takes a name, too, so that the port can be
        // made in the same batch.
        self.which.write(to, Change::default());
        to.nested(at::INFO, |to| {
            to.attribute(at::INFO_PORT_KIND, Bridge::WORD.as_bytes());
            to.nested(at::INFO_PORT_DATA, |to| {
                for (kind, option) in options {
                    if let Some(on) = option {
                        to.u8(kind, on.into());
                    }
                }
            });
        });
    }
}

/// Makes a port of a bridge part of a VLAN.
#[derive(Debug, Clone, Copy)]
pub struct PortVlan {
    /// Which link.
    pub index: Index,
    /// The VLAN.
    pub vlan: u16,
    /// Whether its packets have no tag on the port, and those without one are its.
    pub untagged: bool,
}

impl fmt::Display for PortVlan {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "add bridge port {} to VLAN {}", self.index, self.vlan)
    }
}

impl Request for PortVlan {
    fn kind(&self) -> u16 {
        message::SET
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.fixed(&[AF_BRIDGE, 0, 0, 0]);
        to.fixed(&self.index.0.to_ne_bytes());
        to.fixed(&[0; 8]);
        to.nested(at::FAMILY, |to| {
            let flags = if self.untagged { VLAN_PVID | VLAN_UNTAGGED } else { 0 };
            to.parts(VLAN, &[&flags.to_ne_bytes(), &self.vlan.to_ne_bytes()]);
        });
    }
}
