//! A pod and one network: its plugins in their order, each by a driver of ours or by a program.

use crate::allocate::{self, AllocateError};
use crate::config::kinds::{FlannelConfig, TuningConfig};
use crate::config::{FieldError, Network, Plugin, Selected};
use crate::driver::{self, Driver, DriverError, Outcome, Place};
use crate::flannel::{self, FlannelError, SubnetEnv};
use crate::info::NetInfo;
use crate::lease::Keeper;
use crate::name::{NetworkName, PluginType};
use crate::plugin::{Attachment, Call, PluginError, PluginPath, Runner};
use crate::result::CniResult;
use crate::setup::Wanted;
use crate::teardown::Pod;
use netlink::link::Name;
use stage1_abi::PodDir;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Why a pod could not join a network.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// A program.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// A driver.
    #[error("cannot set up {kind}")]
    Driver {
        /// Its type.
        kind: PluginType,
        /// Why not.
        #[source]
        cause: DriverError,
    },
    /// The allocator.
    #[error(transparent)]
    Allocate(#[from] AllocateError),
    /// What flannel says.
    #[error(transparent)]
    Flannel(#[from] FlannelError),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] FieldError),
}

/// Who does what a plugin is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hand {
    /// We do.
    Driver(Driver),
    /// A program does.
    Program,
}

/// Member of a plugin's configuration by which a program does what a driver of ours could.
const PROGRAM: &str = "rkt.program";

/// The variable that says where plugins are.
pub(crate) const CNI_PATH: &str = "CNI_PATH";

/// Everything that does what plugins are for.
#[derive(Debug)]
pub(crate) struct Hands {
    pub(crate) runner: Runner,
    own_plugins: PathBuf,
}

impl Hands {
    /// Those for a pod that joins. Plugins that lie where the administrator's networks are configured come before drivers.
    pub(crate) fn new(wanted: &Wanted<'_>) -> Self {
        let cni_path = std::env::var_os(CNI_PATH);
        Self::with(wanted.local_config, wanted.stage1_root, wanted.dir, cni_path.as_deref())
    }

    /// Those for a pod that has joined: programs are where they were then, whatever the environment of who collects it says.
    pub(crate) fn again(pod: &Pod<'_>, info: &NetInfo) -> Self {
        let cni_path = match &*info.cni_path {
            "" => std::env::var_os(CNI_PATH),
            noted => Some(noted.into()),
        };
        Self::with(pod.local_config, pod.stage1_root, pod.dir, cni_path.as_deref())
    }

    fn with(
        local_config: &Path,
        stage1_root: &Path,
        dir: &PodDir,
        cni_path: Option<&OsStr>,
    ) -> Self {
        let path = PluginPath::new(local_config, stage1_root, cni_path);
        Self { runner: Runner::new(path, dir.path()), own_plugins: local_config.join("net.d") }
    }

    /// Who does it.
    pub(crate) fn of(&self, plugin: &Plugin) -> Hand {
        let asked = plugin.json().get(PROGRAM) == Some(&appc::json::Json::Bool(true));
        match Driver::named(plugin.kind().as_str()) {
            Some(driver) if !asked && !self.overrides(plugin.kind()) => Hand::Driver(driver),
            _ => Hand::Program,
        }
    }

    /// Whether the administrator has put a program of this name beside the networks.
    pub(crate) fn overrides(&self, kind: &PluginType) -> bool {
        self.own_plugins.join(kind.as_str()).is_file()
    }
}

/// Who forwards ports to a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forwards {
    /// Its configuration does not say.
    Open,
    /// We do, since its configuration asks for what our driver does.
    Ours,
    /// A program.
    Plugin,
}

/// A network that was joined.
#[derive(Debug)]
pub struct Joined {
    /// The network.
    pub name: NetworkName,
    /// What came of it.
    pub result: CniResult,
    /// The program that was executed, or the name of what a driver does.
    pub plugin_path: String,
    /// The interface of the host's through which the host reaches the pod.
    pub gate: Option<Name>,
    /// Whether the pod's addresses are to be hidden.
    pub masquerade: bool,
    /// Who forwards ports.
    pub forwards: Forwards,
    /// Which kind of interface the pod has.
    pub driver: Option<Driver>,
    /// Whether programs had a part in it, which want to see the result again.
    pub(crate) has_programs: bool,
    /// Settings that its namespace was given: paths below `/proc/sys` and values.
    pub(crate) settings: Vec<(String, String)>,
    /// The lease of its address.
    pub(crate) lease: Option<Keeper>,
}

/// Has a pod join a network.
pub(crate) fn join(
    hands: &mut Hands,
    place: &Place<'_>,
    selected: &Selected,
) -> Result<Joined, AttachError> {
    let network = &selected.network;
    let mut joined = Joined {
        name: network.name().clone(),
        result: CniResult::default(),
        plugin_path: String::new(),
        gate: None,
        masquerade: false,
        forwards: Forwards::Open,
        driver: None,
        has_programs: false,
        settings: Vec::new(),
        lease: None,
    };
    for (at, plugin) in network.plugins().iter().enumerate() {
        let replaced = delegate(hands, place, network, plugin)?;
        let plugin = replaced.as_ref().unwrap_or(plugin);
        let hand = hands.of(plugin);
        if at == 0 {
            joined.plugin_path = match hand {
                Hand::Driver(_) => plugin.kind().to_string(),
                Hand::Program => hands.runner.path().find(plugin.kind())?.display().to_string(),
            };
        }
        if plugin.is_capable("portMappings") {
            joined.forwards = match hand {
                Hand::Driver(_) => Forwards::Ours,
                Hand::Program => Forwards::Plugin,
            };
        }
        let before = (at > 0).then_some(&joined.result);
        match hand {
            Hand::Program => {
                joined.has_programs = true;
                let call = call(place, selected, plugin, before);
                if network.version() >= crate::version::Version::V1_1_0 {
                    hands.runner.status(network, plugin)?;
                }
                joined.result = hands.runner.add(&call)?;
            }
            Hand::Driver(driver) => {
                let failed = |cause| AttachError::Driver { kind: plugin.kind().clone(), cause };
                if driver.makes_an_interface() {
                    let leased = allocate::is_leased(hands, plugin)?;
                    let given = if leased {
                        CniResult::default()
                    } else {
                        allocate::add(hands, place, selected, plugin)?
                    };
                    let mut outcome =
                        driver::make(driver, place, plugin, &given).map_err(failed)?;
                    if leased {
                        let lease = allocate::lease(place, selected, plugin, &mut outcome)?;
                        joined.lease = Some(lease);
                    }
                    let Outcome { result, gate, masquerade } = outcome;
                    joined.result = result;
                    joined.gate = gate;
                    joined.masquerade |= masquerade;
                    joined.driver = Some(driver);
                } else {
                    driver::change(driver, place, plugin, &mut joined.result).map_err(failed)?;
                }
            }
        }
        // What a program of this type takes is the same.
        if Driver::named(plugin.kind().as_str()) == Some(Driver::Tuning) {
            let config = TuningConfig::read(plugin);
            joined.settings.extend(config.map(|config| config.sysctl).unwrap_or_default());
        }
    }
    Ok(joined)
}

/// What a plugin that stands for another one stands for. It is kept for the pod's end before anything comes of it.
fn delegate(
    hands: &Hands,
    place: &Place<'_>,
    network: &Network,
    plugin: &Plugin,
) -> Result<Option<Plugin>, AttachError> {
    if hands.of(plugin) != Hand::Driver(Driver::Flannel) {
        return Ok(None);
    }
    let config = FlannelConfig::read(plugin)?;
    let env = SubnetEnv::read(&config.subnet_file)?;
    let delegate = flannel::delegate(network, plugin, &env)?;
    flannel::keep(&config.data_dir, place.pod_uuid, &delegate).map_err(FlannelError::Files)?;
    Ok(Some(delegate))
}

/// The call of a program.
fn call<'a>(
    place: &'a Place<'_>,
    selected: &'a Selected,
    plugin: &'a Plugin,
    before: Option<&'a CniResult>,
) -> Call<'a> {
    Call {
        network: &selected.network,
        plugin,
        attachment: Attachment {
            container: place.uuid,
            netns: Some(place.namespace.path()),
            ifname: place.interface_text,
            args: &selected.args,
            netns_override: false,
        },
        before,
        wishes: place.wishes,
    }
}
