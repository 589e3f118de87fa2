//! What the plugins that rkt has drivers for are configured with, one type each.
//!
//! Defaults are those of the reference plugins. A member of the wrong type is an error; members that are not named here
//! are not looked at.

use super::Plugin;
use super::fields::{FieldError, Fields};
use crate::result::Dns;
use appc::json::Json;
use std::path::PathBuf;

/// Reads `dns` of a plugin or an allocator.
pub(crate) fn dns(fields: &Fields<'_>) -> Result<Dns, FieldError> {
    let Some(dns) = fields.object("dns")? else { return Ok(Dns::default()) };
    Ok(Dns {
        nameservers: dns.texts("nameservers")?,
        domain: dns.owned("domain")?,
        search: dns.texts("search")?,
        options: dns.texts("options")?,
    })
}

/// A pair of interfaces, one in the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PtpConfig {
    /// Hide the pod's addresses behind the host's.
    pub masquerade: bool,
    /// The largest packet, if not the kernel's choice.
    pub mtu: Option<u32>,
    /// DNS for the pod, beside what the allocator says.
    pub dns: Dns,
}

impl PtpConfig {
    /// Reads a plugin's configuration.
    ///
    /// # Errors
    /// A member has the wrong type.
    pub fn read(plugin: &Plugin) -> Result<Self, FieldError> {
        let fields = plugin.fields();
        Ok(Self {
            masquerade: fields.is_set("ipMasq")?,
            mtu: fields.size("mtu")?,
            dns: dns(&fields)?,
        })
    }
}

/// A bridge of the host, and a pair of interfaces.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a member of the file")]
pub struct BridgeConfig {
    /// The bridge, `cni0` if nothing is said.
    pub bridge: String,
    /// Give the bridge the gateway's address; set with `is_default_gateway`, too.
    pub is_gateway: bool,
    /// And route everything there.
    pub is_default_gateway: bool,
    /// Take other addresses of the network from the bridge.
    pub force_address: bool,
    /// Hide the network's addresses behind the host's.
    pub masquerade: bool,
    /// The largest packet, if not the kernel's choice.
    pub mtu: Option<u32>,
    /// Let packets go back to the port they came from.
    pub hairpin: bool,
    /// Let the bridge see all packets.
    pub promiscuous: bool,
    /// The VLAN of the port.
    pub vlan: Option<u16>,
    /// Drop packets with a foreign hardware address.
    pub check_mac: bool,
    /// Wait until nobody else claims the addresses.
    pub detect_duplicates: bool,
    /// Keep the pod's side down.
    pub keep_down: bool,
    /// Keep ports from each other.
    pub isolate_port: bool,
    /// DNS for the pod, beside what the allocator says.
    pub dns: Dns,
}

impl BridgeConfig {
    /// Reads a plugin's configuration.
    ///
    /// # Errors
    /// A member has the wrong type, or members contradict each other.
    pub fn read(plugin: &Plugin) -> Result<Self, FieldError> {
        let fields = plugin.fields();
        let is_default_gateway = fields.is_set("isDefaultGateway")?;
        let config = Self {
            bridge: interface(&fields, "bridge")?.unwrap_or_else(|| "cni0".to_owned()),
            is_gateway: fields.is_set("isGateway")? || is_default_gateway,
            is_default_gateway,
            force_address: fields.is_set("forceAddress")?,
            masquerade: fields.is_set("ipMasq")?,
            mtu: fields.size("mtu")?,
            hairpin: fields.is_set("hairpinMode")?,
            promiscuous: fields.is_set("promiscMode")?,
            vlan: vlan(&fields, "vlan")?,
            check_mac: fields.is_set("macspoofchk")?,
            detect_duplicates: fields.is_set("enabledad")?,
            keep_down: fields.is_set("disableContainerInterface")?,
            isolate_port: fields.is_set("portIsolation")?,
            dns: dns(&fields)?,
        };
        if config.hairpin && config.promiscuous {
            return Err(fields.bad("hairpinMode", "cannot be set together with promiscMode"));
        }
        if !fields.list("vlanTrunk")?.is_empty() {
            return Err(fields.bad("vlanTrunk", "is not supported"));
        }
        Ok(config)
    }
}

/// Which packets interfaces on one master exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MacvlanMode {
    /// Directly.
    Bridge,
    /// None.
    Private,
    /// Through the switch outside.
    Vepa,
    /// There is only one.
    Passthru,
}

/// An interface of the pod's own hardware address on one of the host's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MacvlanConfig {
    /// The interface below; that of the default route if nothing is said.
    pub master: Option<String>,
    /// Which packets interfaces on one master exchange.
    pub mode: MacvlanMode,
    /// The largest packet, if not the master's.
    pub mtu: Option<u32>,
    /// The hardware address, if not a random one.
    pub mac: Option<String>,
    /// The master is in the pod's namespace.
    pub master_in_pod: bool,
    /// How many broadcasts may wait.
    pub broadcast_queue: Option<u32>,
}

impl MacvlanConfig {
    /// Reads a plugin's configuration.
    ///
    /// # Errors
    /// A member has the wrong type.
    pub fn read(plugin: &Plugin) -> Result<Self, FieldError> {
        let fields = plugin.fields();
        let modes = [
            ("bridge", MacvlanMode::Bridge),
            ("private", MacvlanMode::Private),
            ("vepa", MacvlanMode::Vepa),
            ("passthru", MacvlanMode::Passthru),
        ];
        Ok(Self {
            master: interface(&fields, "master")?,
            mode: fields.word("mode", &modes)?.unwrap_or(MacvlanMode::Bridge),
            mtu: fields.size("mtu")?,
            mac: mac(&fields, "mac")?,
            master_in_pod: fields.is_set("linkInContainer")?,
            broadcast_queue: fields.size("bcqueuelen")?,
        })
    }
}

/// Where packets of interfaces on one master are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IpvlanMode {
    /// Like a switch.
    L2,
    /// Like a router.
    L3,
    /// Like a router that keeps track of connections.
    L3s,
}

/// An interface with the hardware address of one of the host's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpvlanConfig {
    /// The interface below; that of the default route, or of the result before, if nothing is said.
    pub master: Option<String>,
    /// Where packets are sorted.
    pub mode: IpvlanMode,
    /// The largest packet, if not the master's.
    pub mtu: Option<u32>,
    /// The master is in the pod's namespace.
    pub master_in_pod: bool,
}

impl IpvlanConfig {
    /// Reads a plugin's configuration.
    ///
    /// # Errors
    /// A member has the wrong type.
    pub fn read(plugin: &Plugin) -> Result<Self, FieldError> {
        let fields = plugin.fields();
        let modes = [("l2", IpvlanMode::L2), ("l3", IpvlanMode::L3), ("l3s", IpvlanMode::L3s)];
        Ok(Self {
            master: interface(&fields, "master")?,
            mode: fields.word("mode", &modes)?.unwrap_or(IpvlanMode::L2),
            mtu: fields.size("mtu")?,
            master_in_pod: fields.is_set("linkInContainer")?,
        })
    }
}

/// An interface for one VLAN of one of the host's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VlanConfig {
    /// The interface below; that of the default route if nothing is said.
    pub master: Option<String>,
    /// The VLAN.
    pub id: u16,
    /// The largest packet, if not the master's.
    pub mtu: Option<u32>,
    /// The master is in the pod's namespace.
    pub master_in_pod: bool,
    /// DNS for the pod, beside what the allocator says.
    pub dns: Dns,
}

impl VlanConfig {
    /// Reads a plugin's configuration.
    ///
    /// # Errors
    /// A member has the wrong type.
    pub fn read(plugin: &Plugin) -> Result<Self, FieldError> {
        let fields = plugin.fields();
        Ok(Self {
            master: interface(&fields, "master")?,
            id: vlan(&fields, "vlanId")?.unwrap_or(0),
            mtu: fields.size("mtu")?,
            master_in_pod: fields.is_set("linkInContainer")?,
            dns: dns(&fields)?,
        })
    }
}

/// How a device of the host is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceBy {
    /// By its name.
    Name(String),
    /// By its hardware address.
    HardwareAddress(String),
    /// By its path below `/sys/devices`.
    KernelPath(PathBuf),
    /// By its place on the PCI bus.
    PciBus(String),
}

/// A device of the host that moves into the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostDeviceConfig {
    /// How it is found; `None` where the pod's wishes (`deviceID`) say it.
    pub device: Option<DeviceBy>,
}

impl HostDeviceConfig {
    /// Reads a plugin's configuration.
    ///
    /// # Errors
    /// A member has the wrong type.
    pub fn read(plugin: &Plugin) -> Result<Self, FieldError> {
        let fields = plugin.fields();
        let device = if let Some(name) = interface(&fields, "device")? {
            Some(DeviceBy::Name(name))
        } else if let Some(mac) = mac(&fields, "hwaddr")? {
            Some(DeviceBy::HardwareAddress(mac))
        } else if let Some(path) = fields.text("kernelpath")? {
            Some(DeviceBy::KernelPath(device_path(&fields, path)?))
        } else {
            pci(&fields, "pciBusID")?.map(DeviceBy::PciBus)
        };
        if device.is_none() && !plugin.is_capable("deviceID") {
            let problem = "one of device, hwaddr, kernelpath, pciBusID must say which device";
            return Err(fields.bad("device", problem));
        }
        Ok(Self { device })
    }
}

/// Settings of an interface that another plugin has made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TuningConfig {
    /// Paths below `/proc/sys`, all in `net`, and values, in order.
    pub sysctl: Vec<(String, String)>,
    /// The hardware address.
    pub mac: Option<String>,
    /// The largest packet.
    pub mtu: Option<u32>,
    /// See packets for others, too.
    pub promiscuous: Option<bool>,
    /// See all multicast packets.
    pub all_multicast: Option<bool>,
    /// How many packets may wait.
    pub queue: Option<u32>,
}

impl TuningConfig {
    /// Reads a plugin's configuration.
    ///
    /// # Errors
    /// A member has the wrong type, or a setting is none of the network's.
    pub fn read(plugin: &Plugin) -> Result<Self, FieldError> {
        let fields = plugin.fields();
        let mut sysctl = fields.map("sysctl")?;
        for (name, _) in &mut sysctl {
            // `/` and `.` both separate words; a name of an interface may hold dots where `/` separates.
            let path = if name.contains('/') { name.clone() } else { name.replace('.', "/") };
            let words: Vec<&str> = path.split('/').collect();
            let odd = |w: &&str| w.is_empty() || *w == "." || *w == ".." || w.contains('\0');
            if words.first() != Some(&"net") || words.len() < 2 || words.iter().any(odd) {
                return Err(fields.bad(&format!("sysctl.{name}"), "is not a setting of a network"));
            }
            *name = path;
        }
        Ok(Self {
            sysctl,
            mac: mac(&fields, "mac")?,
            mtu: fields.size("mtu")?,
            // The plugin knows no way to switch it off.
            promiscuous: fields.flag("promisc")?.filter(|on| *on),
            all_multicast: fields.flag("allmulti")?,
            queue: fields.number("txQLen")?,
        })
    }
}

/// A limit in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Bits a second.
    pub rate: u64,
    /// Bits that may come at once.
    pub burst: u64,
}

/// Limits of an interface that another plugin has made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BandwidthConfig {
    /// Towards the pod.
    pub ingress: Option<Rate>,
    /// From the pod.
    pub egress: Option<Rate>,
}

impl BandwidthConfig {
    /// Reads a plugin's configuration.
    ///
    /// # Errors
    /// A member has the wrong type, or a rate has no burst or the other way round.
    pub fn read(plugin: &Plugin) -> Result<Self, FieldError> {
        Self::read_fields(&plugin.fields())
    }

    /// Reads limits from any object.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_fields(fields: &Fields<'_>) -> Result<Self, FieldError> {
        let one = |rate: &str, burst: &str| match (fields.size(rate)?, fields.size::<u64>(burst)?) {
            (None, None) => Ok(None),
            (Some(rate), Some(burst)) if u32::try_from(burst / 8).is_ok() => {
                Ok(Some(Rate { rate, burst }))
            }
            (Some(_), Some(_)) => Err(fields.bad(burst, "is more than the kernel can count")),
            _ => Err(fields.bad(rate, format!("{rate} and {burst} must be given together"))),
        };
        for key in ["shapedSubnets", "unshapedSubnets"] {
            if !fields.list(key)?.is_empty() {
                return Err(fields.bad(key, "is not supported"));
            }
        }
        Ok(Self {
            ingress: one("ingressRate", "ingressBurst")?,
            egress: one("egressRate", "egressBurst")?,
        })
    }
}

/// Ports of the host that lead into the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortmapConfig {
    /// Make connections work that come from the host itself or from the pod.
    pub source_nat: bool,
    /// Hide the source of every forwarded connection.
    pub masquerade_all: bool,
    /// The bit of the mark that says "masquerade this", where no chain sets it.
    pub mark_bit: u8,
    /// The chain that marks, if it is somebody else's.
    pub mark_chain: Option<String>,
    /// Further words of each IPv4 rule.
    pub conditions_v4: Vec<String>,
    /// Further words of each IPv6 rule.
    pub conditions_v6: Vec<String>,
}

impl PortmapConfig {
    /// Reads a plugin's configuration.
    ///
    /// # Errors
    /// A member has the wrong type, or members contradict each other.
    pub fn read(plugin: &Plugin) -> Result<Self, FieldError> {
        let fields = plugin.fields();
        let bit = fields.number::<u8>("markMasqBit")?;
        let mark_chain = fields.owned("externalSetMarkChain")?;
        if bit.is_some() && mark_chain.is_some() {
            return Err(
                fields.bad("externalSetMarkChain", "cannot be set together with markMasqBit")
            );
        }
        if bit.is_some_and(|bit| bit > 31) {
            return Err(fields.bad("markMasqBit", "is not between 0 and 31"));
        }
        Ok(Self {
            source_nat: fields.flag("snat")?.unwrap_or(true),
            masquerade_all: fields.is_set("masqAll")?,
            mark_bit: bit.unwrap_or(13),
            mark_chain,
            conditions_v4: fields.texts("conditionsV4")?,
            conditions_v6: fields.texts("conditionsV6")?,
        })
    }
}

/// Who lets packets pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirewallBackend {
    /// Whoever is there.
    Auto,
    /// Rules of the kernel.
    Iptables,
    /// firewalld.
    Firewalld,
}

/// Which pods may reach each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IngressPolicy {
    /// All.
    Open,
    /// Those on the same bridge.
    SameBridge,
    /// None.
    Isolated,
}

/// Rules that let a pod's packets pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirewallConfig {
    /// Who lets packets pass.
    pub backend: FirewallBackend,
    /// The chain in which administrators may overrule, `CNI-ADMIN` if nothing is said.
    pub admin_chain: String,
    /// The zone of firewalld, `trusted` if nothing is said.
    pub zone: String,
    /// Which pods may reach each other.
    pub ingress: IngressPolicy,
}

impl FirewallConfig {
    /// Reads a plugin's configuration.
    ///
    /// # Errors
    /// A member has the wrong type.
    pub fn read(plugin: &Plugin) -> Result<Self, FieldError> {
        let fields = plugin.fields();
        let backends =
            [("iptables", FirewallBackend::Iptables), ("firewalld", FirewallBackend::Firewalld)];
        let policies = [
            ("open", IngressPolicy::Open),
            ("same-bridge", IngressPolicy::SameBridge),
            ("isolated", IngressPolicy::Isolated),
        ];
        let chain = fields.owned("iptablesAdminChainName")?;
        Ok(Self {
            backend: fields.word("backend", &backends)?.unwrap_or(FirewallBackend::Auto),
            admin_chain: chain.unwrap_or_else(|| "CNI-ADMIN".to_owned()),
            zone: fields.owned("firewalldZone")?.unwrap_or_else(|| "trusted".to_owned()),
            ingress: fields.word("ingressPolicy", &policies)?.unwrap_or(IngressPolicy::Open),
        })
    }
}

/// A network that a daemon of flannel describes.
#[derive(Debug, Clone, PartialEq)]
pub struct FlannelConfig {
    /// What the daemon wrote.
    pub subnet_file: PathBuf,
    /// Where the configuration that follows from it is kept, one file a pod.
    pub data_dir: PathBuf,
    /// Members for the configuration that follows from it.
    pub delegate: Vec<(String, Json)>,
    /// Members for its allocator.
    pub ipam: Vec<(String, Json)>,
}

impl FlannelConfig {
    /// Reads a plugin's configuration.
    ///
    /// # Errors
    /// A member has the wrong type.
    pub fn read(plugin: &Plugin) -> Result<Self, FieldError> {
        let fields = plugin.fields();
        let members = |key| {
            Ok(match fields.object(key)?.map(|inside| inside.json()) {
                Some(Json::Object(members)) => members.clone(),
                _ => Vec::new(),
            })
        };
        Ok(Self {
            subnet_file: folder(&fields, "subnetFile", "/run/flannel/subnet.env")?,
            data_dir: folder(&fields, "dataDir", "/var/lib/cni/flannel")?,
            delegate: members("delegate")?,
            ipam: members("ipam")?,
        })
    }
}

/// An absolute path, or what it is if nothing is said.
pub(crate) fn folder(fields: &Fields<'_>, key: &str, default: &str) -> Result<PathBuf, FieldError> {
    let path = fields.text(key)?.unwrap_or(default);
    if path.starts_with('/') && !path.contains('\0') {
        Ok(path.into())
    } else {
        Err(fields.bad(key, format!("{path:?} is not an absolute path")))
    }
}

/// The name of an interface: what the kernel takes for one.
fn interface(fields: &Fields<'_>, key: &str) -> Result<Option<String>, FieldError> {
    let Some(name) = fields.text(key)? else { return Ok(None) };
    let odd = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    if name.len() > 15 || name == "." || name == ".." || name.contains(odd) {
        return Err(fields.bad(key, format!("{name:?} is not the name of an interface")));
    }
    Ok(Some(name.to_owned()))
}

/// A hardware address of six bytes.
fn mac(fields: &Fields<'_>, key: &str) -> Result<Option<String>, FieldError> {
    let Some(text) = fields.text(key)? else { return Ok(None) };
    let byte = |word: &str| word.len() == 2 && word.bytes().all(|b| b.is_ascii_hexdigit());
    if text.split(':').count() == 6 && text.split(':').all(byte) {
        Ok(Some(text.to_ascii_lowercase()))
    } else {
        Err(fields.bad(key, format!("{text:?} is not a hardware address")))
    }
}

fn vlan(fields: &Fields<'_>, key: &str) -> Result<Option<u16>, FieldError> {
    let id = fields.size::<u16>(key)?;
    match id {
        Some(id) if id > 4094 => Err(fields.bad(key, "is not between 0 and 4094")),
        id => Ok(id),
    }
}

fn device_path(fields: &Fields<'_>, path: &str) -> Result<PathBuf, FieldError> {
    let inside = path.starts_with("/sys/devices/") && !path.split('/').any(|word| word == "..");
    if inside && !path.contains('\0') {
        Ok(path.into())
    } else {
        Err(fields.bad("kernelpath", format!("{path:?} is not below /sys/devices")))
    }
}

/// A place on the PCI bus, `0000:00:1f.6`.
fn pci(fields: &Fields<'_>, key: &str) -> Result<Option<String>, FieldError> {
    let Some(text) = fields.text(key)? else { return Ok(None) };
    let plain = |b: u8| b.is_ascii_hexdigit() || b == b':' || b == b'.';
    if text.bytes().all(plain) && text.contains(':') && !text.contains("..") {
        Ok(Some(text.to_owned()))
    } else {
        Err(fields.bad(key, format!("{text:?} is not a place on the PCI bus")))
    }
}
