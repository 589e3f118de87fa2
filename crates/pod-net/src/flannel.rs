//! Networks that a daemon of flannel describes: from what it wrote to the configuration of the plugin that does the work.
//!
//! The daemon keeps `/run/flannel/subnet.env`. A plugin `flannel` says only that it follows it: what follows is a plugin
//! `bridge` with the allocator `host-local`, unless `delegate` says otherwise. Since the daemon may write another subnet
//! later, what followed for a pod is kept under the pod's UUID, for `DEL`.

use crate::cidr::Cidr;
use crate::config::kinds::FlannelConfig;
use crate::config::{FieldError, Network, Plugin};
use appc::PodUuid;
use appc::json::{Json, compact};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::fs::{DirBuilder, File};
use std::io::{Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use sys::path::{At, PathError};

/// No file of the daemon is larger.
const ENV_LIMIT: u64 = 16 << 10;
/// No kept configuration is larger.
const KEPT_LIMIT: u64 = 1 << 20;

/// A network that cannot be had from flannel.
#[derive(Debug, thiserror::Error)]
pub enum FlannelError {
    /// A file cannot be read or written.
    #[error("cannot use flannel's network")]
    Files(#[from] PathError),
    /// The daemon's file says too little.
    #[error("{}: missing {missing}", file.display())]
    Missing {
        /// The file.
        file: PathBuf,
        /// What is missing, with commas between.
        missing: String,
    },
    /// The daemon's file says what cannot be.
    #[error("{}: bad {key}: {value:?}", file.display())]
    Value {
        /// The file.
        file: PathBuf,
        /// The variable.
        key: String,
        /// Its value.
        value: String,
    },
    /// The configuration breaks a rule.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// A kept configuration is none.
    #[error("{}: is not valid JSON", file.display())]
    Kept {
        /// The file.
        file: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}

/// What the daemon says of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubnetEnv {
    /// The whole network.
    pub network: Cidr,
    /// The part of it that this host has.
    pub subnet: Cidr,
    /// The same of IPv6, where there is some.
    pub ipv6: Option<(Cidr, Cidr)>,
    /// The largest packet.
    pub mtu: u32,
    /// The daemon itself hides addresses behind the host's.
    pub masquerades: bool,
}

impl SubnetEnv {
    /// Reads the daemon's file.
    ///
    /// # Errors
    /// See [`FlannelError`].
    pub fn read(file: &Path) -> Result<Self, FlannelError> {
        let bytes =
            read(file, ENV_LIMIT)?.ok_or_else(|| PathError::new("open", file, Errno::NOENT))?;
        Self::parse(file, &String::from_utf8_lossy(&bytes))
    }

    /// Reads the text of the daemon's file, which is named in errors.
    ///
    /// # Errors
    /// See [`FlannelError`].
    pub fn parse(file: &Path, text: &str) -> Result<Self, FlannelError> {
        let bad = |key: &str, value: &str| FlannelError::Value {
            file: file.to_owned(),
            key: key.to_owned(),
            value: value.to_owned(),
        };
        let find = |key: &str| {
            let lines = text.lines().filter_map(|line| line.trim().split_once('='));
            lines
                .filter(|(name, _)| *name == key)
                .map(|(_, value)| value.trim_matches('"'))
                .next_back()
        };
        let net = |key: &str| {
            let value = find(key);
            let parsed = value.map(|value| Cidr::parse(value).map_err(|_| bad(key, value)));
            parsed.transpose().map(|cidr| cidr.map(Cidr::network))
        };
        let network = net("FLANNEL_NETWORK")?;
        let subnet = net("FLANNEL_SUBNET")?;
        let mtu = find("FLANNEL_MTU");
        let mtu =
            mtu.map(|value| value.parse().map_err(|_| bad("FLANNEL_MTU", value))).transpose()?;
        let masquerades = match find("FLANNEL_IPMASQ") {
            None => None,
            Some("true") => Some(true),
            Some("false") => Some(false),
            Some(value) => return Err(bad("FLANNEL_IPMASQ", value)),
        };
        let ipv6 = net("FLANNEL_IPV6_NETWORK")?.zip(net("FLANNEL_IPV6_SUBNET")?);
        if let (Some(network), Some(subnet), Some(mtu), Some(masquerades)) =
            (network, subnet, mtu, masquerades)
        {
            return Ok(Self { network, subnet, ipv6, mtu, masquerades });
        }
        let needed = ["FLANNEL_NETWORK", "FLANNEL_SUBNET", "FLANNEL_MTU", "FLANNEL_IPMASQ"];
        let missing: Vec<&str> = needed.into_iter().filter(|key| find(key).is_none()).collect();
        Err(FlannelError::Missing { file: file.to_owned(), missing: missing.join(", ") })
    }
}

/// The plugin that does the work of one of type `flannel`.
///
/// # Errors
/// `delegate` says what follows from elsewhere, or a member has the wrong type.
pub fn delegate(network: &Network, plugin: &Plugin, env: &SubnetEnv) -> Result<Plugin, FieldError> {
    let config = FlannelConfig::read(plugin)?;
    let fields = plugin.fields();
    let mut members = config.delegate;
    for key in ["name", "ipam"] {
        if has(&members, key) {
            return Err(fields.bad(&format!("delegate.{key}"), "is said by flannel"));
        }
    }
    let or = |members: &mut Vec<(String, Json)>, key: &str, value: Json| {
        if !has(members, key) {
            members.push((key.to_owned(), value));
        }
    };
    or(&mut members, "type", "bridge".into());
    // One of the two has to.
    or(&mut members, "ipMasq", (!env.masquerades).into());
    or(&mut members, "mtu", u64::from(env.mtu).into());
    let bridge =
        members.iter().any(|(key, value)| key == "type" && value.as_text() == Some("bridge"));
    if bridge {
        or(&mut members, "isGateway", true.into());
    }
    members.push(("ipam".to_owned(), allocator(config.ipam, env)));
    members.push(("name".to_owned(), network.name().as_str().into()));
    members.push(("cniVersion".to_owned(), network.version().as_str().into()));
    for key in ["capabilities", "runtimeConfig", "args"] {
        if let Some(value) = plugin.json().get(key) {
            or(&mut members, key, value.clone());
        }
    }
    Plugin::new(&Json::Object(members), plugin.source())
}

fn has(members: &[(String, Json)], key: &str) -> bool {
    members.iter().any(|(name, _)| name.eq_ignore_ascii_case(key))
}

/// The allocator: the host's part of the network, and a route to the whole.
fn allocator(mut members: Vec<(String, Json)>, env: &SubnetEnv) -> Json {
    if !has(&members, "type") {
        members.push(("type".to_owned(), "host-local".into()));
    }
    let text = |cidr: Cidr| Json::from(cidr.to_string());
    let mut routes = Vec::new();
    members.retain(|(key, value)| {
        if key == "routes"
            && let Json::List(given) = value
        {
            routes.extend(given.iter().cloned());
            return false;
        }
        true
    });
    routes.push(Json::object([("dst", text(env.network))]));
    if let Some((network, subnet)) = env.ipv6 {
        let set = |subnet| Json::List(vec![Json::object([("subnet", text(subnet))])]);
        members.push(("ranges".to_owned(), Json::List(vec![set(env.subnet), set(subnet)])));
        routes.push(Json::object([("dst", text(network))]));
    } else {
        members.push(("subnet".to_owned(), text(env.subnet)));
    }
    members.push(("routes".to_owned(), Json::List(routes)));
    Json::Object(members)
}

/// Keeps what followed for a pod, for `DEL`.
///
/// # Errors
/// The kernel said no.
pub fn keep(folder: &Path, pod: &PodUuid, plugin: &Plugin) -> Result<(), PathError> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).at("mkdir", folder)?;
    let path = folder.join(pod.to_string());
    let flags =
        OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let fd = rustix::fs::open(&path, flags, Mode::from_raw_mode(0o600)).at("open", &path)?;
    File::from(fd).write_all(compact(plugin.json()).as_bytes()).at("write", &path)
}

/// What followed for a pod, if anything is kept.
///
/// # Errors
/// See [`FlannelError`].
pub fn kept(folder: &Path, pod: &PodUuid) -> Result<Option<Plugin>, FlannelError> {
    let file = folder.join(pod.to_string());
    let Some(bytes) = read(&file, KEPT_LIMIT)? else { return Ok(None) };
    // Whoever was killed while writing had added nothing yet.
    if bytes.is_empty() {
        return Ok(None);
    }
    match Json::parse(&bytes) {
        Ok(json) => Ok(Some(Plugin::new(&json, &file)?)),
        Err(source) => Err(FlannelError::Kept { file, source }),
    }
}

/// Forgets what followed for a pod; nothing kept is fine.
///
/// # Errors
/// The kernel said no.
pub fn forget(folder: &Path, pod: &PodUuid) -> Result<(), PathError> {
    let path = folder.join(pod.to_string());
    match rustix::fs::unlink(&path) {
        Err(Errno::NOENT) => Ok(()),
        other => other.at("unlink", path),
    }
}

fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, PathError> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = match rustix::fs::open(path, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        other => other.at("open", path)?,
    };
    let mut bytes = Vec::new();
    File::from(fd).take(limit).read_to_end(&mut bytes).at("read", path)?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;
    use sys::cause::chain;

    const ENV: &str = "FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_SUBNET=10.1.17.1/24\n\
                       FLANNEL_MTU=1472\nFLANNEL_IPMASQ=true\n";

    fn env(text: &str) -> Result<SubnetEnv, String> {
        SubnetEnv::parse(Path::new("subnet.env"), text).map_err(|error| error.to_string())
    }

    fn followed(file: &str, text: &str, env: &SubnetEnv) -> Result<String, String> {
        let network = Network::parse(Path::new(file), text.as_bytes()).unwrap();
        let plugin = network.plugin("flannel").unwrap();
        let delegate = delegate(&network, plugin, env);
        delegate.map(|plugin| compact(plugin.json())).map_err(|error| error.to_string())
    }

    #[test]
    fn what_the_daemon_says() {
        let found = env(ENV).unwrap();
        assert_eq!(
            (found.network.to_string(), found.subnet.to_string()),
            ("10.1.0.0/16".into(), "10.1.17.0/24".into())
        );
        assert_eq!((found.mtu, found.masquerades, found.ipv6), (1472, true, None));
        for (text, expected) in [
            (
                "",
                "subnet.env: missing FLANNEL_NETWORK, FLANNEL_SUBNET, FLANNEL_MTU, FLANNEL_IPMASQ",
            ),
            ("FLANNEL_MTU=x", "subnet.env: bad FLANNEL_MTU: \"x\""),
            ("FLANNEL_SUBNET=1.2.3.4", "subnet.env: bad FLANNEL_SUBNET: \"1.2.3.4\""),
            ("FLANNEL_IPMASQ=1", "subnet.env: bad FLANNEL_IPMASQ: \"1\""),
        ] {
            assert_eq!(env(text).unwrap_err(), expected);
        }
        let error = SubnetEnv::read(Path::new("/nowhere/subnet.env")).unwrap_err();
        assert!(chain(&error).contains("open /nowhere/subnet.env: no such file"), "{error:?}");
    }

    #[test]
    fn what_follows() {
        let plain = r#"{"name":"containernet","type":"flannel"}"#;
        let listed = r#"{"name":"cbr0","cniVersion":"0.3.1","plugins":[{"type":"flannel",
            "delegate":{"hairpinMode":true,"isDefaultGateway":true}},{"type":"portmap"}]}"#;
        let other = r#"{"name":"n","type":"flannel","delegate":{"type":"ptp","mtu":9,"ipMasq":true},
            "ipam":{"type":"x","routes":[{"dst":"0.0.0.0/0"}]}}"#;
        let dual =
            format!("{ENV}FLANNEL_IPV6_NETWORK=fd00::/48\nFLANNEL_IPV6_SUBNET=fd00:0:0:1::1/64\n");
        let ipam = r#""ipam":{"type":"host-local","subnet":"10.1.17.0/24","routes":[{"dst":"10.1.0.0/16"}]}"#;
        for (file, text, env_text, expected) in [
            (
                "10-containernet.conf",
                plain,
                ENV.to_owned(),
                format!(
                    r#"{{"type":"bridge","ipMasq":false,"mtu":1472,"isGateway":true,{ipam},"name":"containernet","cniVersion":"0.1.0"}}"#
                ),
            ),
            (
                "10-cbr0.conflist",
                listed,
                ENV.replace("true", "false"),
                format!(
                    r#"{{"hairpinMode":true,"isDefaultGateway":true,"type":"bridge","ipMasq":true,"mtu":1472,"isGateway":true,{ipam},"name":"cbr0","cniVersion":"0.3.1"}}"#
                ),
            ),
            (
                "n.conf",
                other,
                ENV.to_owned(),
                r#"{"type":"ptp","mtu":9,"ipMasq":true,"ipam":{"type":"x","subnet":"10.1.17.0/24","routes":[{"dst":"0.0.0.0/0"},{"dst":"10.1.0.0/16"}]},"name":"n","cniVersion":"0.1.0"}"#.to_owned(),
            ),
            (
                "n.conf",
                plain,
                dual,
                r#"{"type":"bridge","ipMasq":false,"mtu":1472,"isGateway":true,"ipam":{"type":"host-local","ranges":[[{"subnet":"10.1.17.0/24"}],[{"subnet":"fd00:0:0:1::/64"}]],"routes":[{"dst":"10.1.0.0/16"},{"dst":"fd00::/48"}]},"name":"containernet","cniVersion":"0.1.0"}"#.to_owned(),
            ),
        ] {
            assert_eq!(followed(file, text, &env(&env_text).unwrap()), Ok(expected), "{text}");
        }
        for (members, expected) in [
            (r#""delegate":{"name":"x"}"#, "n.conf: bad delegate.name: is said by flannel"),
            (r#""delegate":{"ipam":{}}"#, "n.conf: bad delegate.ipam: is said by flannel"),
            (r#""delegate":{"type":"../x"}"#, "n.conf: bad type: plugin type \"../x\" is not"),
        ] {
            let text = format!(r#"{{"name":"n","type":"flannel",{members}}}"#);
            let error = followed("n.conf", &text, &env(ENV).unwrap()).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn what_is_kept_for_a_pod() {
        let data = Scratch::new();
        let folder = data.path().join("deep/flannel");
        let pod = PodUuid::parse("6a2c0a3d-57c6-4b7a-a3cc-7a0c9ee5b9c6").unwrap();
        assert_eq!(kept(&folder, &pod).unwrap(), None);
        forget(&folder, &pod).unwrap();
        let json = Json::parse(br#"{"type":"bridge","x":1}"#).unwrap();
        let plugin = Plugin::new(&json, &folder.join(pod.to_string())).unwrap();
        keep(&folder, &pod, &plugin).unwrap();
        assert_eq!(kept(&folder, &pod).unwrap(), Some(plugin));
        std::fs::write(folder.join(pod.to_string()), "{").unwrap();
        kept(&folder, &pod).unwrap_err();
        std::fs::write(folder.join(pod.to_string()), "").unwrap();
        assert_eq!(kept(&folder, &pod).unwrap(), None);
        forget(&folder, &pod).unwrap();
        assert_eq!(Scratch::names_in(&folder), [""; 0]);
    }
}
