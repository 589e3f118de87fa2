//! What can be done to links.

use super::attribute as at;
use super::{Change, Index, Kind, Mac, Name, Which, flag, message};
use crate::Request;
use crate::wire::{Writer, flags};
use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd};

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

/// What a link belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Master {
    /// Nothing.
    None,
    /// This bridge.
    Index(Index),
}

/// What is said of a link of any kind, when it is made or later. What is not said stays as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Settings<'ns> {
    /// Whether it is up.
    pub up: Option<Switch>,
    /// The largest packet.
    pub mtu: Option<u32>,
    /// Its hardware address.
    pub mac: Option<Mac>,
    /// What it belongs to.
    pub master: Option<Master>,
    /// The number of a group of links.
    pub group: Option<u32>,
    /// How many packets may wait.
    pub queue_length: Option<u32>,
    /// Whether it hears packets for others.
    pub promiscuous: Option<Switch>,
    /// Whether it hears all multicast packets.
    pub all_multicast: Option<Switch>,
    /// The network namespace in which it is made, or into which it moves.
    pub namespace: Option<BorrowedFd<'ns>>,
}

impl<'ns> Settings<'ns> {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// It is up.
    #[must_use]
    pub fn up(self) -> Self {
        Self { up: Some(Switch::On), ..self }
    }

    /// It is down.
    #[must_use]
    pub fn down(self) -> Self {
        Self { up: Some(Switch::Off), ..self }
    }

    /// The largest packet.
    #[must_use]
    pub fn mtu(self, mtu: u32) -> Self {
        Self { mtu: Some(mtu), ..self }
    }

    /// Its hardware address.
    #[must_use]
    pub fn mac(self, mac: Mac) -> Self {
        Self { mac: Some(mac), ..self }
    }

    /// It belongs to this bridge.
    #[must_use]
    pub fn master(self, bridge: Index) -> Self {
        Self { master: Some(Master::Index(bridge)), ..self }
    }

    /// It belongs to nothing.
    #[must_use]
    pub fn no_master(self) -> Self {
        Self { master: Some(Master::None), ..self }
    }

    /// The number of a group of links.
    #[must_use]
    pub fn group(self, group: u32) -> Self {
        Self { group: Some(group), ..self }
    }

    /// How many packets may wait.
    #[must_use]
    pub fn queue_length(self, packets: u32) -> Self {
        Self { queue_length: Some(packets), ..self }
    }

    /// Whether it hears packets for others.
    #[must_use]
    pub fn promiscuous(self, switch: Switch) -> Self {
        Self { promiscuous: Some(switch), ..self }
    }

    /// Whether it hears all multicast packets.
    #[must_use]
    pub fn all_multicast(self, switch: Switch) -> Self {
        Self { all_multicast: Some(switch), ..self }
    }

    /// The network namespace in which it is made, or into which it moves.
    #[must_use]
    pub fn namespace(self, namespace: BorrowedFd<'ns>) -> Self {
        Self { namespace: Some(namespace), ..self }
    }

    pub(super) fn change(&self) -> Change {
        let switches = [
            (self.up, flag::UP),
            (self.promiscuous, flag::PROMISCUOUS),
            (self.all_multicast, flag::ALL_MULTICAST),
        ];
        let mut change = Change::default();
        for (switch, bit) in switches {
            change.mask |= if switch.is_some() { bit } else { 0 };
            change.flags |= if switch == Some(Switch::On) { bit } else { 0 };
        }
        change
    }

    pub(super) fn write(&self, to: &mut Writer<'_>) {
        if let Some(mac) = self.mac {
            to.attribute(at::ADDRESS, &mac.0);
        }
        let master = self.master.map(|master| match master {
            Master::None => 0,
            Master::Index(index) => index.0,
        });
        let numbers = [
            (at::MTU, self.mtu),
            (at::MASTER, master),
            (at::GROUP, self.group),
            (at::QUEUE_LENGTH, self.queue_length),
        ];
        for (kind, number) in numbers {
            if let Some(number) = number {
                to.u32(kind, number);
            }
        }
        if let Some(namespace) = self.namespace {
            to.attribute(at::NAMESPACE, &namespace.as_raw_fd().to_ne_bytes());
        }
    }
}

/// Makes a link.
#[derive(Debug, Clone)]
pub struct Create<'ns> {
    /// What it is called.
    pub name: Name,
    /// What it is.
    pub kind: Kind<'ns>,
    /// Its index, where it is chosen.
    pub index: Option<Index>,
    /// The link it lies on, in the namespace of the socket.
    pub parent: Option<Index>,
    /// What else is said of it.
    pub settings: Settings<'ns>,
}

impl<'ns> Create<'ns> {
    /// A link of this kind, of which nothing else is said.
    pub fn new(name: Name, kind: Kind<'ns>) -> Self {
        Self { name, kind, index: None, parent: None, settings: Settings::new() }
    }

    /// With this index.
    #[must_use]
    pub fn index(self, index: Index) -> Self {
        Self { index: Some(index), ..self }
    }

    /// On this link.
    #[must_use]
    pub fn parent(self, parent: Index) -> Self {
        Self { parent: Some(parent), ..self }
    }

    /// With these settings.
    #[must_use]
    pub fn settings(self, settings: Settings<'ns>) -> Self {
        Self { settings, ..self }
    }
}

impl fmt::Display for Create<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "create {} {}", self.kind.word(), self.name)?;
        if let Kind::Veth(peer) = &self.kind {
            write!(to, " with peer {}", peer.name)?;
        }
        match self.parent {
            Some(parent) => write!(to, " on link {parent}"),
            None => Ok(()),
        }
    }
}

impl Request for Create<'_> {
    fn kind(&self) -> u16 {
        message::NEW
    }

    fn flags(&self) -> u16 {
        flags::CREATE | flags::EXCLUSIVE
    }

    fn write(&self, to: &mut Writer<'_>) {
        self.settings.change().write(to, self.index.unwrap_or(Index(0)));
        to.text(at::NAME, self.name);
        if let Some(parent) = self.parent {
            to.u32(at::LINK, parent.0);
        }
        self.settings.write(to);
        self.kind.write(to);
    }
}

/// Changes a link.
#[derive(Debug, Clone)]
pub struct Set<'ns> {
    /// Which.
    pub which: Which,
    /// To what.
    pub settings: Settings<'ns>,
}

impl<'ns> Set<'ns> {
    /// This link, to this.
    pub fn new(which: impl Into<Which>, settings: Settings<'ns>) -> Self {
        Self { which: which.into(), settings }
    }
}

impl fmt::Display for Set<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.settings {
            Settings { up: Some(Switch::On), .. } => write!(to, "bring link {} up", self.which)?,
            Settings { up: Some(Switch::Off), .. } => write!(to, "take link {} down", self.which)?,
            _ => write!(to, "change link {}", self.which)?,
        }
        match self.settings.master {
            Some(Master::Index(bridge)) => write!(to, " as a port of {bridge}"),
            Some(Master::None) => write!(to, " as a port of nothing"),
            None => Ok(()),
        }
    }
}

impl Request for Set<'_> {
    fn kind(&self) -> u16 {
        message::NEW
    }

    fn write(&self, to: &mut Writer<'_>) {
        self.which.write(to, self.settings.change());
        self.settings.write(to);
    }
}

/// Gives a link another name. It must be down, unless the kernel is 6.2 or newer.
#[derive(Debug, Clone, Copy)]
pub struct Rename {
    /// Which.
    pub index: Index,
    /// To what.
    pub name: Name,
}

impl fmt::Display for Rename {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "rename link {} to {}", self.index, self.name)
    }
}

impl Request for Rename {
    fn kind(&self) -> u16 {
        message::NEW
    }

    fn write(&self, to: &mut Writer<'_>) {
        Change::default().write(to, self.index);
        to.text(at::NAME, self.name);
    }
}

/// Moves a link into another network namespace, under another name if there is one. It is down there.
#[derive(Debug, Clone, Copy)]
pub struct Move<'ns> {
    /// Which.
    pub index: Index,
    /// Where to.
    pub namespace: BorrowedFd<'ns>,
    /// What it is called there.
    pub name: Option<Name>,
}

impl fmt::Display for Move<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "move link {} to another namespace", self.index)?;
        match self.name {
            Some(name) => write!(to, " as {name}"),
            None => Ok(()),
        }
    }
}

impl Request for Move<'_> {
    fn kind(&self) -> u16 {
        message::NEW
    }

    fn write(&self, to: &mut Writer<'_>) {
        Change::default().write(to, self.index);
        if let Some(name) = self.name {
            to.text(at::NAME, name);
        }
        to.attribute(at::NAMESPACE, &self.namespace.as_raw_fd().to_ne_bytes());
    }
}

/// Writes a text about a link, of up to 255 bytes. One that is being made takes none.
#[derive(Debug, Clone)]
pub struct SetAlias {
    /// Which.
    pub which: Which,
    /// The text. Without any it has none.
    pub alias: String,
}

impl fmt::Display for SetAlias {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "describe link {}", self.which)
    }
}

impl Request for SetAlias {
    fn kind(&self) -> u16 {
        message::NEW
    }

    fn write(&self, to: &mut Writer<'_>) {
        self.which.write(to, Change::default());
        to.attribute(at::ALIAS, self.alias.as_bytes());
    }
}

/// Gives a link another name beside its own, of up to 127 bytes.
#[derive(Debug, Clone)]
pub struct AddAltname {
    /// Which.
    pub which: Which,
    /// The name.
    pub altname: String,
}

impl fmt::Display for AddAltname {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "give link {} the further name {}", self.which, self.altname)
    }
}

impl Request for AddAltname {
    fn kind(&self) -> u16 {
        message::NEW_PROPERTY
    }

    fn flags(&self) -> u16 {
        flags::CREATE | flags::EXCLUSIVE | flags::APPEND
    }

    fn write(&self, to: &mut Writer<'_>) {
        self.which.write(to, Change::default());
        to.nested(at::PROPERTIES, |to| {
            to.text(at::ALTNAME, &self.altname);
        });
    }
}

/// Deletes a link.
#[derive(Debug, Clone, Copy)]
pub struct Delete(pub Which);

impl Delete {
    /// This one.
    pub fn new(which: impl Into<Which>) -> Self {
        Self(which.into())
    }
}

impl fmt::Display for Delete {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "delete link {}", self.0)
    }
}

impl Request for Delete {
    fn kind(&self) -> u16 {
        message::DELETE
    }

    fn write(&self, to: &mut Writer<'_>) {
        self.0.write(to, Change::default());
    }
}
