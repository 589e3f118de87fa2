//! How a pod was started, kept for the entrypoints that come later (`runtime-config` in the pod folder).

use crate::args::{DnsMode, RunArgs, Switch};
use serde::{Deserialize, Serialize};

/// The run-time parameters of a pod. Unknown members of a newer version are ignored, missing ones take defaults.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RuntimeConfig {
    /// What was switched on, by the names of [`Switch::name`].
    pub switches: Vec<String>,
    /// The value of `--net`.
    pub net: String,
    /// The pod's host name.
    pub hostname: String,
    /// Where resolv.conf comes from.
    pub resolv: DnsMode,
    /// Where the hosts file comes from.
    pub hosts: DnsMode,
    /// `private`, `parent` or nothing said.
    pub ipc: String,
    /// `SHIFT:COUNT` of the pod's user namespace, empty without one.
    pub private_users: String,
    /// The administrator's configuration directory, empty if it is the usual one.
    pub local_config: String,
}

impl RuntimeConfig {
    /// What of a pod's arguments its later entrypoints need.
    pub fn of(args: &RunArgs) -> Self {
        Self {
            switches: args.switches.iter().map(|s| s.name().to_owned()).collect(),
            net: args.net.clone(),
            hostname: args.hostname.clone().unwrap_or_else(|| format!("rkt-{}", args.uuid)),
            resolv: args.resolv,
            hosts: args.hosts,
            ipc: args.ipc.clone().unwrap_or_default(),
            private_users: args.private_users.clone().unwrap_or_default(),
            local_config: args.local_config.clone().unwrap_or_default(),
        }
    }

    /// Whether the pod was started with this switch.
    pub fn has(&self, switch: Switch) -> bool {
        self.switches.iter().any(|name| name == switch.name())
    }
}
