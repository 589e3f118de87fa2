//! `net-info.json`: which networks a pod has joined, in its folder.
//!
//! ```text
//! net-info.json   an array, one object a network, in the order of interfaces     written once, after all ADDs
//! net/FILE        the configuration of a network, as it was when the pod joined  written before ADD
//! ```
//!
//! The members of upstream come in its order and are always there; `ip6`, `prefix6`, `cniResult`, `cniPath` and
//! `openedBridge` stand only where they say something. Whoever reads skips networks whose configuration is gone.

use crate::cidr::Cidr;
use crate::config::{Fields, Network};
use crate::result::{CniResult, ResultError};
use crate::version::Version;
use appc::json::{Json, compact};
use rustix::fs::OFlags;
use stage1_abi::pod_dir::{PodDir, PodDirError};
use std::io;
use std::net::IpAddr;
use std::path::Path;
use sys::path::PathError;

/// The file.
pub const FILE: &str = "net-info.json";
/// The folder of configurations.
pub const FOLDER: &str = "net";
/// No pod joins more networks.
const NETWORK_LIMIT: usize = 1024;

/// A record that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum InfoError {
    /// The kernel said no, or it is too large.
    #[error("cannot read the record of the pod's networks")]
    Read(#[from] PodDirError),
    /// It is no JSON.
    #[error("net-info.json is not valid JSON")]
    Syntax(#[source] serde_json::Error),
    /// A member breaks a rule.
    #[error(transparent)]
    Field(#[from] crate::config::FieldError),
    /// The result of a network cannot be understood.
    #[error("net-info.json has a bad result")]
    Outcome(#[from] ResultError),
}

/// One network that a pod has joined.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetInfo {
    /// Its name.
    pub name: String,
    /// The saved configuration, relative to the pod's folder.
    pub config: String,
    /// The program of its first plugin; empty if rkt did it.
    pub plugin: String,
    /// The interface.
    pub ifname: String,
    /// The address of IPv4, with its prefix.
    pub ipv4: Option<Cidr>,
    /// The address of IPv6, with its prefix.
    pub ipv6: Option<Cidr>,
    /// What its plugins were told.
    pub args: String,
    /// What joining came to, where plugins want it back.
    pub result: Option<CniResult>,
    /// `CNI_PATH` of whoever had the pod join; empty if it was not set.
    pub cni_path: String,
    /// The bridge that takes packets of loopback addresses for the sake of this pod, among others, and did not before.
    pub opened: Option<String>,
}

impl NetInfo {
    fn write(&self) -> Json {
        let text = |ip: Option<IpAddr>| Json::from(ip.map(|ip| ip.to_string()).unwrap_or_default());
        let mut members = vec![
            ("netName", Json::from(self.name.as_str())),
            ("netConf", self.config.as_str().into()),
            ("pluginPath", self.plugin.as_str().into()),
            ("ifName", self.ifname.as_str().into()),
            ("ip", text(self.ipv4.map(Cidr::address))),
            ("args", self.args.as_str().into()),
            ("mask", text(self.ipv4.map(Cidr::mask))),
        ];
        if let Some(ip) = self.ipv6 {
            members.push(("ip6", ip.address().to_string().into()));
            members.push(("prefix6", u64::from(ip.prefix()).into()));
        }
        if let Some(result) = &self.result {
            members.push(("cniResult", result.write(Version::V1_1_0)));
        }
        if !self.cni_path.is_empty() {
            members.push(("cniPath", self.cni_path.as_str().into()));
        }
        if let Some(bridge) = &self.opened {
            members.push(("openedBridge", bridge.as_str().into()));
        }
        Json::Object(members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }

    fn read(fields: &Fields<'_>) -> Result<Self, InfoError> {
        let owned = |key| fields.owned(key).map(Option::unwrap_or_default);
        let ipv4 = fields.address("ip")?.filter(IpAddr::is_ipv4);
        let mask = fields.address("mask")?;
        let ipv6 = fields.address("ip6")?.filter(IpAddr::is_ipv6);
        let prefix = fields.number::<u8>("prefix6")?.unwrap_or(128);
        let result = fields.json().get("cniResult");
        Ok(Self {
            name: owned("netName")?,
            config: owned("netConf")?,
            plugin: owned("pluginPath")?,
            ifname: owned("ifName")?,
            ipv4: ipv4.and_then(|ip| with_mask(ip, mask)),
            ipv6: ipv6.and_then(|ip| Cidr::new(ip, prefix)),
            args: owned("args")?,
            result: result.map(|json| CniResult::read(json, Version::V1_1_0)).transpose()?,
            cni_path: owned("cniPath")?,
            opened: fields.owned("openedBridge")?,
        })
    }
}

/// An address with the prefix of a mask; without one it stands alone.
fn with_mask(address: IpAddr, mask: Option<IpAddr>) -> Option<Cidr> {
    let Some(mask) = mask else { return Some(Cidr::host(address)) };
    (0..=32).filter_map(|prefix| Cidr::new(address, prefix)).find(|cidr| cidr.mask() == mask)
}

/// The text of the file.
pub fn write(networks: &[NetInfo]) -> String {
    compact(&Json::List(networks.iter().map(NetInfo::write).collect()))
}

/// Reads the text of the file.
///
/// # Errors
/// See [`InfoError`].
pub fn parse(text: &[u8]) -> Result<Vec<NetInfo>, InfoError> {
    // Who is killed while writing it leaves it empty: no network was noted.
    if text.iter().all(u8::is_ascii_whitespace) {
        return Ok(Vec::new());
    }
    let json = Json::parse(text).map_err(InfoError::Syntax)?;
    let list = Json::object([("networks", json)]);
    let fields = Fields::new(&list, Path::new(FILE));
    let networks = fields.objects("networks")?;
    networks.iter().take(NETWORK_LIMIT).map(NetInfo::read).collect()
}

/// Where the configuration of a network is kept, relative to the pod's folder.
pub fn config_path(network: &Network) -> String {
    format!("{FOLDER}/{}", network.file())
}

/// Writes the file into a pod's folder, in place of what it said before.
///
/// # Errors
/// The kernel said no.
pub fn save(pod: &PodDir, networks: &[NetInfo]) -> Result<(), PathError> {
    pod.replace(FILE, write(networks).as_bytes())
}

/// The networks of a pod whose configurations are still there; `None` if it never had a record.
///
/// # Errors
/// See [`InfoError`].
pub fn load(pod: &PodDir) -> Result<Option<Vec<NetInfo>>, InfoError> {
    let Some(text) = pod.read(FILE)? else { return Ok(None) };
    let mut networks = Vec::new();
    for network in parse(&text)? {
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        match pod.open_at(&network.config, flags, rustix::fs::Mode::empty()) {
            Ok(_) => networks.push(network),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(PodDirError::from(error).into()),
        }
    }
    Ok(Some(networks))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::{AssignedIp, Interface};
    use crate::scratch::Scratch;

    fn network() -> NetInfo {
        NetInfo {
            name: "default".into(),
            config: "net/99-default.conf".into(),
            plugin: "/usr/lib/rkt/plugins/net/ptp".into(),
            ifname: "eth0".into(),
            ipv4: Some(Cidr::parse("172.16.28.2/24").unwrap()),
            args: "IP=172.16.28.2".into(),
            ..NetInfo::default()
        }
    }

    const OLD: &str = r#"{"netName":"default","netConf":"net/99-default.conf","pluginPath":"/usr/lib/rkt/plugins/net/ptp","ifName":"eth0","ip":"172.16.28.2","args":"IP=172.16.28.2","mask":"255.255.255.0""#;

    #[test]
    fn written_and_read() {
        let old = network();
        let dual = NetInfo { ipv6: Some(Cidr::parse("fd00::2/64").unwrap()), ..network() };
        let elsewhere = NetInfo { cni_path: "/a:/b".into(), ..network() };
        let opened = NetInfo { opened: Some("br0".into()), ..network() };
        let bare = NetInfo { ipv4: None, args: String::new(), ..network() };
        let whole = NetInfo {
            result: Some(CniResult {
                interfaces: vec![Interface { name: "eth0".into(), ..Interface::default() }],
                ips: vec![AssignedIp {
                    address: Cidr::parse("172.16.28.2/24").unwrap(),
                    gateway: None,
                    interface: Some(0),
                }],
                ..CniResult::default()
            }),
            ..network()
        };
        for (network, expected) in [
            (&old, format!("[{OLD}}}]")),
            (&dual, format!(r#"[{OLD},"ip6":"fd00::2","prefix6":64}}]"#)),
            (&opened, format!(r#"[{OLD},"openedBridge":"br0"}}]"#)),
            (&elsewhere, format!(r#"[{OLD},"cniPath":"/a:/b"}}]"#)),
            (
                &bare,
                format!("[{OLD}}}]")
                    .replace(r#""ip":"172.16.28.2""#, r#""ip":"""#)
                    .replace(r#""args":"IP=172.16.28.2""#, r#""args":"""#)
                    .replace("255.255.255.0", ""),
            ),
            (
                &whole,
                format!(
                    r#"[{OLD},"cniResult":{{"cniVersion":"1.1.0","interfaces":[{{"name":"eth0"}}],"ips":[{{"interface":0,"address":"172.16.28.2/24"}}],"dns":{{}}}}}}]"#
                ),
            ),
        ] {
            let text = write(std::slice::from_ref(network));
            assert_eq!(text, expected);
            assert_eq!(parse(text.as_bytes()).unwrap(), std::slice::from_ref(network));
        }
        assert_eq!(write(&[]), "[]");
        for empty in ["", " \n", "[]", "null"] {
            assert_eq!(parse(empty.as_bytes()).unwrap(), []);
        }
        for bad in ["{", "[1]", r#"[{"ip":"x"}]"#, r#"[{"netName":1}]"#, r#"[{"cniResult":1}]"#] {
            parse(bad.as_bytes()).unwrap_err();
        }
        let odd = parse(br#"[{"ip":"1.2.3.4","mask":"255.0.255.0"},{"ip":"1.2.3.4"}]"#).unwrap();
        assert_eq!((odd[0].ipv4, odd[1].ipv4.unwrap().prefix()), (None, 32));
    }

    #[test]
    fn networks_without_their_configuration_are_skipped() {
        let folder = Scratch::new();
        let pod = PodDir::open(folder.path()).unwrap();
        assert_eq!(load(&pod).unwrap(), None);
        let other = NetInfo { name: "x".into(), config: "net/10-x.conf".into(), ..network() };
        let outside = NetInfo { config: "../../../../etc/passwd".into(), ..network() };
        folder.write("net/10-x.conf", "{}");
        save(&pod, &[network(), other.clone()]).unwrap();
        assert_eq!(load(&pod).unwrap(), Some(vec![other]));
        save(&pod, &[outside]).unwrap();
        load(&pod).unwrap_err();
    }
}
