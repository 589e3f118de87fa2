//! What the guest is told to be: the pod, resolved by the host, which alone has read the manifests.

use crate::frame::WireError;
use crate::limits;
use crate::message::Size;
use crate::preamble::{Stream, Token};
use serde::{Deserialize, Serialize};
use stage2::kernel_fs::KernelPaths;
use stage2::mounts::Source;
use stage2::{AppSpec, MountPlan};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Component;

/// The pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What streams begin with.
    pub token: Token,
    /// The host name.
    pub hostname: String,
    /// Where `/etc/hosts` comes from.
    pub hosts: HostsFile,
    /// The content of `/etc/resolv.conf`, or none: then the image's own stays.
    pub resolv: Option<String>,
    /// Its network interfaces, besides the loopback interface, which is up.
    pub interfaces: Vec<Interface>,
    /// What the kernel is set to once these are there, in this order.
    pub settings: Vec<Setting>,
    /// Whether kernel paths are hidden and read-only.
    pub kernel_paths: KernelPaths,
    /// Bytes that apps may write to their roots and empty volumes, together. The guest keeps it to half of its memory.
    pub writable: u64,
    /// Folders of the host.
    pub shares: Vec<Share>,
    /// The apps, at least one, in the order in which they start.
    pub apps: Vec<AppConfig>,
    /// What the clock says.
    pub time: Time,
    /// What the random number generator starts with, beside its own.
    pub seed: Seed,
}

/// A network interface: a device of the machine's, known by its hardware address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interface {
    /// What it is called.
    pub name: String,
    /// The hardware address.
    pub mac: [u8; 6],
    /// The largest packet, in bytes.
    pub mtu: u16,
    /// Its addresses, each with a route to its network, unless one to the same network is among the routes.
    pub addresses: Vec<Network>,
    /// Further routes that leave by it, in this order.
    pub routes: Vec<Route>,
}

/// A setting of the kernel's network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// Its file: a path below `/proc/sys`, which begins with `net`.
    pub path: String,
    /// What is written to it.
    pub value: String,
}

/// An address, and how many bits of it are the network's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// The address.
    pub address: IpAddr,
    /// The bits.
    pub bits: u8,
}

/// A way to a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Where to; no bits at all are everywhere.
    pub to: Network,
    /// By way of whom; without, it is on the link.
    pub gateway: Option<IpAddr>,
    /// From which address of the pod's.
    pub source: Option<IpAddr>,
    /// Which is preferred: the smaller.
    pub metric: Option<u32>,
    /// The largest packet.
    pub mtu: Option<u32>,
    /// Whether the gateway is on the link although no other route says so.
    pub onlink: bool,
}

/// One app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppConfig {
    /// What it asks for.
    pub spec: AppSpec,
    /// Its volumes. Where one is of the host, its path is `TAG`, or `TAG/PATH` below the share of this tag.
    pub mounts: MountPlan,
    /// Its root: partitions of the block devices, counted from 1 over all devices, lowest layer first.
    pub layers: Vec<u32>,
    /// How it is talked to.
    pub dialogue: Dialogue,
}

/// How a process is talked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dialogue {
    /// Its input is empty; output and error are streams.
    Silent,
    /// All three are streams.
    Streams,
    /// It has a terminal of this size, which is one stream.
    Terminal(Size),
}

impl Dialogue {
    /// The streams that such a process has: the guest opens all of them before it tries to start it.
    pub fn streams(self) -> &'static [Stream] {
        match self {
            Self::Silent => &[Stream::Output, Stream::Error],
            Self::Streams => &[Stream::Input, Stream::Output, Stream::Error],
            Self::Terminal(_) => &[Stream::Terminal],
        }
    }
}

/// Where `/etc/hosts` comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostsFile {
    /// The image's own stays, if it has one.
    Image,
    /// The image's own stays; where there is none, it names the pod.
    Default,
    /// This is it.
    Text(String),
}

/// A folder of the host's, shared by a file system device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// The device's tag.
    pub tag: String,
}

/// A moment, since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Time {
    /// Seconds.
    pub seconds: u64,
    /// Nanoseconds within the second.
    pub nanoseconds: u32,
}

/// Random bytes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seed(pub [u8; 32]);

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed")
    }
}

impl Config {
    /// Looks at what the types do not say: counts, numbers and paths that can be had.
    ///
    /// # Errors
    /// [`WireError::Malformed`].
    pub fn check(&self) -> Result<(), WireError> {
        let bad = |problem| Err(WireError::Malformed { name: "configure", problem });
        if self.apps.is_empty() || self.apps.len() > limits::APPS {
            return bad("no apps, or too many");
        }
        if self.shares.len() > limits::SHARES {
            return bad("too many shares");
        }
        if self.shares.iter().any(|share| !is_tag(&share.tag)) {
            return bad("a share with a bad tag");
        }
        if self.interfaces.len() > limits::INTERFACES {
            return bad("too many interfaces");
        }
        for (index, interface) in self.interfaces.iter().enumerate() {
            interface.check().or_else(bad)?;
            let mut others = self.interfaces.iter().take(index);
            if others.any(|other| other.name == interface.name || other.mac == interface.mac) {
                return bad("two interfaces of one name or address");
            }
        }
        if self.settings.len() > limits::SETTINGS {
            return bad("too many settings of the network");
        }
        if !self.settings.iter().all(Setting::is_sound) {
            return bad("a setting that is none of the network's");
        }
        if self.time.nanoseconds >= 1_000_000_000 {
            return bad("a second with too many nanoseconds");
        }
        for (index, app) in self.apps.iter().enumerate() {
            if self.apps.iter().take(index).any(|other| other.spec.name == app.spec.name) {
                return bad("two apps of one name");
            }
            if !is_name(&app.spec.name) {
                return bad("an app with a bad name");
            }
            if app.layers.is_empty() || app.layers.len() > limits::LAYERS {
                return bad("an app without layers, or with too many");
            }
            if app.layers.iter().any(|layer| *layer == 0 || *layer > limits::PARTITIONS) {
                return bad("a layer on a partition that cannot be");
            }
            if !app.mounts.steps.iter().all(|step| self.can_mount(&step.source)) {
                return bad("a volume that is nowhere");
            }
        }
        Ok(())
    }

    fn can_mount(&self, source: &Source) -> bool {
        match source {
            Source::Empty { name, .. } => is_name(name),
            Source::Host(path) => {
                let mut parts = path.components();
                let tag = match parts.next() {
                    Some(Component::Normal(word)) => word.to_str(),
                    _ => None,
                };
                tag.is_some_and(|tag| self.shares.iter().any(|share| share.tag == tag))
                    && parts.all(|part| matches!(part, Component::Normal(_)))
            }
        }
    }
}

impl Setting {
    fn is_sound(&self) -> bool {
        let below = self.path.strip_prefix("net/");
        below.is_some_and(|path| path.split('/').all(is_name))
    }
}

impl Interface {
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        let odd = |letter: char| letter.is_whitespace() || letter.is_control() || letter == ':';
        let named = is_name(&self.name) && self.name.len() <= limits::INTERFACE_NAME;
        if !named || self.name == "lo" || self.name.contains(odd) {
            return Err("an interface with a bad name");
        }
        let [first, ..] = self.mac;
        if first & 1 != 0 || self.mac == [0; 6] {
            return Err("an interface with a hardware address that nobody can have");
        }
        if self.mtu < limits::LEAST_MTU {
            return Err("an interface with packets that are too small");
        }
        if self.addresses.len() > limits::ADDRESSES || self.routes.len() > limits::ROUTES {
            return Err("an interface with too many addresses or routes");
        }
        if !self.addresses.iter().all(|network| network.is_sound() && network.is_host()) {
            return Err("an interface with an address that nobody can have");
        }
        if self.routes.iter().all(Route::is_sound) { Ok(()) } else { Err("a senseless route") }
    }
}

impl Network {
    fn is_sound(&self) -> bool {
        self.bits <= if self.address.is_ipv4() { 32 } else { 128 }
    }

    fn is_host(&self) -> bool {
        !self.address.is_unspecified() && !self.address.is_multicast()
    }

    /// The network itself: the address without the bits of the host.
    #[must_use]
    pub fn network(&self) -> Self {
        let (length, address) = match self.address {
            IpAddr::V4(address) => (32_u32, u128::from(address.to_bits())),
            IpAddr::V6(address) => (128, address.to_bits()),
        };
        let host = length.saturating_sub(self.bits.into());
        // All bits at once cannot be shifted away.
        let kept = address.checked_shr(host).and_then(|kept| kept.checked_shl(host));
        let kept = kept.unwrap_or_default();
        let address = match self.address {
            IpAddr::V4(_) => Ipv4Addr::from_bits(u32::try_from(kept).unwrap_or_default()).into(),
            IpAddr::V6(_) => Ipv6Addr::from_bits(kept).into(),
        };
        Self { address, bits: self.bits }
    }
}

impl Route {
    fn is_sound(&self) -> bool {
        let same = |other: &Option<IpAddr>| {
            other.is_none_or(|other| other.is_ipv4() == self.to.address.is_ipv4())
        };
        self.to.is_sound()
            && same(&self.gateway)
            && same(&self.source)
            && (self.gateway.is_some() || !self.onlink)
    }
}

/// What may be the name of a folder.
fn is_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && name.len() <= 255 && !name.contains(['/', '\0'])
}

fn is_tag(tag: &str) -> bool {
    is_name(tag) && tag.len() <= limits::TAG
}
