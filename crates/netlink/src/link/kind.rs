//! The kinds of links that can be made, and what is said of each.

use super::attribute::{INFO, INFO_DATA, INFO_KIND, NAME};
use super::request::Settings;
use super::{Change, Index, Mac, Name, Which, message};
use crate::Request;
use crate::wire::Writer;
use std::fmt;
use std::os::fd::BorrowedFd;

/// A kind of link, with what only this kind has.
#[derive(Debug, Clone)]
pub enum Kind<'ns> {
    /// Two ends of a cable.
    Veth(Peer<'ns>),
    /// A switch.
    Bridge(Bridge),
    /// A link with a hardware address of its own on its parent.
    Macvlan(MacvlanMode),
    /// The same with a character device for a machine.
    Macvtap(MacvlanMode),
    /// A link with IP addresses of its own on its parent.
    Ipvlan(IpvlanMode, IpvlanFlag),
    /// The same with a character device for a machine.
    Ipvtap(IpvlanMode, IpvlanFlag),
    /// The part of its parent's packets that have this tag.
    Vlan(u16),
    /// A link that leads nowhere.
    Dummy,
    /// A link to which packets can be redirected, so that they queue there.
    Ifb,
}

/// The other end of a cable. It cannot be brought up while it is made.
#[derive(Debug, Clone, Copy)]
pub struct Peer<'ns> {
    /// What it is called.
    pub name: Name,
    /// Its index, where it is chosen.
    pub index: Option<Index>,
    /// The largest packet.
    pub mtu: Option<u32>,
    /// Its hardware address.
    pub mac: Option<Mac>,
    /// The network namespace it is in, if that is not the socket's.
    pub namespace: Option<BorrowedFd<'ns>>,
}

impl<'ns> Peer<'ns> {
    /// One of which nothing else is said.
    pub const fn new(name: Name) -> Self {
        Self { name, index: None, mtu: None, mac: None, namespace: None }
    }

    /// With this index.
    #[must_use]
    pub const fn index(self, index: Index) -> Self {
        Self { index: Some(index), ..self }
    }

    /// With packets of up to so many bytes.
    #[must_use]
    pub const fn mtu(self, mtu: u32) -> Self {
        Self { mtu: Some(mtu), ..self }
    }

    /// With this hardware address.
    #[must_use]
    pub const fn mac(self, mac: Mac) -> Self {
        Self { mac: Some(mac), ..self }
    }

    /// In this network namespace.
    #[must_use]
    pub const fn namespace(self, namespace: BorrowedFd<'ns>) -> Self {
        Self { namespace: Some(namespace), ..self }
    }

    fn write(&self, to: &mut Writer<'_>) {
        Change::default().write(to, self.index.unwrap_or(Index(0)));
        to.text(NAME, self.name);
        let (mtu, mac, namespace) = (self.mtu, self.mac, self.namespace);
        Settings { mtu, mac, namespace, ..Settings::new() }.write(to);
    }
}

/// How a bridge works. What is not said is the kernel's choice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bridge {
    /// Whether it looks at VLAN tags.
    pub vlan_filtering: Option<bool>,
    /// The VLAN of packets without a tag; zero is none.
    pub default_vlan: Option<u16>,
    /// Whether it speaks the spanning tree protocol.
    pub spanning_tree: Option<bool>,
    /// For how long a new port only listens, in hundredths of a second.
    pub forward_delay: Option<u32>,
    /// For how long it knows a hardware address, in hundredths of a second.
    pub ageing_time: Option<u32>,
    /// Whether it listens to who wants which multicast packets.
    pub multicast_snooping: Option<bool>,
}

/// Who on one parent reaches whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MacvlanMode {
    /// Nobody another.
    Private,
    /// Others by way of the switch outside.
    Vepa,
    /// Each other.
    Bridge,
    /// There is only one, with the parent's hardware address.
    Passthru,
}

/// At which layer packets go to and from the parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IpvlanMode {
    /// Ethernet.
    L2,
    /// IP, by the parent's routes.
    L3,
    /// The same, and its packet filter sees them.
    L3s,
}

/// Who on one parent reaches whom.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum IpvlanFlag {
    /// Each other.
    #[default]
    Bridge,
    /// Nobody another.
    Private,
    /// Others by way of the router outside.
    Vepa,
}

const BRIDGE_FORWARD_DELAY: u16 = 1;
const BRIDGE_AGEING_TIME: u16 = 4;
const BRIDGE_SPANNING_TREE: u16 = 5;
const BRIDGE_VLAN_FILTERING: u16 = 7;
const BRIDGE_MULTICAST_SNOOPING: u16 = 23;
const BRIDGE_DEFAULT_VLAN: u16 = 39;
const VETH_PEER: u16 = 1;
const MODE: u16 = 1;
const IPVLAN_FLAGS: u16 = 2;
const VLAN_ID: u16 = 1;

impl Kind<'_> {
    /// The kernel's word for it.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Veth(_) => "veth",
            Self::Bridge(_) => "bridge",
            Self::Macvlan(_) => "macvlan",
            Self::Macvtap(_) => "macvtap",
            Self::Ipvlan(..) => "ipvlan",
            Self::Ipvtap(..) => "ipvtap",
            Self::Vlan(_) => "vlan",
            Self::Dummy => "dummy",
            Self::Ifb => "ifb",
        }
    }

    pub(super) fn write(&self, to: &mut Writer<'_>) {
        to.nested(INFO, |to| {
            to.attribute(INFO_KIND, self.word().as_bytes());
            if !matches!(self, Self::Dummy | Self::Ifb) {
                to.nested(INFO_DATA, |to| self.write_own(to));
            }
        });
    }

    fn write_own(&self, to: &mut Writer<'_>) {
        match self {
            Self::Veth(peer) => {
                to.nested(VETH_PEER, |to| peer.write(to));
            }
            Self::Bridge(bridge) => bridge.write(to),
            Self::Macvlan(mode) | Self::Macvtap(mode) => {
                let mode = match mode {
                    MacvlanMode::Private => 1,
                    MacvlanMode::Vepa => 2,
                    MacvlanMode::Bridge => 4,
                    MacvlanMode::Passthru => 8,
                };
                to.u32(MODE, mode);
            }
            Self::Ipvlan(mode, flag) | Self::Ipvtap(mode, flag) => {
                let mode = match mode {
                    IpvlanMode::L2 => 0,
                    IpvlanMode::L3 => 1,
                    IpvlanMode::L3s => 2,
                };
                let flag = match flag {
                    IpvlanFlag::Bridge => 0,
                    IpvlanFlag::Private => 1,
                    IpvlanFlag::Vepa => 2,
                };
                to.u16(MODE, mode).u16(IPVLAN_FLAGS, flag);
            }
            Self::Vlan(id) => {
                to.u16(VLAN_ID, *id);
            }
            Self::Dummy | Self::Ifb => {}
        }
    }
}

impl Bridge {
    fn write(&self, to: &mut Writer<'_>) {
        if let Some(delay) = self.forward_delay {
            to.u32(BRIDGE_FORWARD_DELAY, delay);
        }
        if let Some(time) = self.ageing_time {
            to.u32(BRIDGE_AGEING_TIME, time);
        }
        if let Some(on) = self.spanning_tree {
            to.u32(BRIDGE_SPANNING_TREE, on.into());
        }
        if let Some(on) = self.vlan_filtering {
            to.u8(BRIDGE_VLAN_FILTERING, on.into());
        }
        if let Some(on) = self.multicast_snooping {
            to.u8(BRIDGE_MULTICAST_SNOOPING, on.into());
        }
        if let Some(vlan) = self.default_vlan {
            to.u16(BRIDGE_DEFAULT_VLAN, vlan);
        }
    }

    /// The kernel's word for what a bridge's ports are.
    pub(super) const WORD: &'static str = "bridge";

    pub(super) fn write_info(&self, to: &mut Writer<'_>) {
        to.nested(INFO, |to| {
            to.attribute(INFO_KIND, Self::WORD.as_bytes());
            to.nested(INFO_DATA, |to| self.write(to));
        });
    }
}

/// Says of a bridge how it works.
#[derive(Debug, Clone, Copy)]
pub struct SetBridge {
    /// Which bridge.
    pub which: Which,
    /// How.
    pub bridge: Bridge,
}

impl fmt::Display for SetBridge {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "change bridge {}", self.which)
    }
}

impl Request for SetBridge {
    fn kind(&self) -> u16 {
        message::NEW
    }

    fn write(&self, to: &mut Writer<'_>) {
        self.which.write(to, Change::default());
        self.bridge.write_info(to);
    }
}
