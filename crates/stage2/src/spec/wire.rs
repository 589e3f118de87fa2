//! How an app's specification is written where it leaves the process: the forms of what `sys` defines, which knows of no
//! format. A stage1 that starts apps elsewhere sends [`AppSpec`](crate::AppSpec) and
//! [`MountPlan`](crate::MountPlan) as they are.

use serde::{Deserialize, Serialize};
use sys::cgroup::Limits;
use sys::mount::Depth;

/// [`Limits`]: a number each, or none.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Limits", deny_unknown_fields)]
pub(crate) struct LimitNumbers {
    memory: Option<u64>,
    cpu_milli: Option<u64>,
    cpu_shares: Option<u64>,
    pids: Option<u64>,
}

/// [`Depth`], in words.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Depth", rename_all = "kebab-case")]
pub(crate) enum DepthWords {
    Single,
    Recursive,
}

/// Capabilities as one number, by the kernel's bits.
pub mod capability_bits {
    use serde::{Deserialize, Deserializer, Serializer};
    use sys::capability::Capabilities;

    /// Writes the number.
    ///
    /// # Errors
    /// As the format says.
    pub fn serialize<S: Serializer>(set: &Capabilities, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(set.bits())
    }

    /// Reads the number.
    ///
    /// # Errors
    /// As the format says.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Capabilities, D::Error> {
        u64::deserialize(from).map(Capabilities::from_bits)
    }
}
