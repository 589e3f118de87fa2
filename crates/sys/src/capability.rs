//! Capability sets by name, and giving capabilities up.

use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities,
};
use std::io;

/// Every capability the kernel knows, by number.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// A set of capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities(u64);

impl Capabilities {
    /// Every one, also those that kernels to come may add.
    pub const ALL: Self = Self(u64::MAX);
    /// None.
    pub const NONE: Self = Self(0);

    /// The set with this capability, named with or without `CAP_`, in any case; `None` if there is none of that name.
    pub fn named(name: &str) -> Option<Self> {
        let name = name.to_ascii_uppercase();
        let name = name.strip_prefix("CAP_").unwrap_or(&name);
        NAMES.iter().position(|known| *known == name).map(|number| Self(1 << number))
    }

    /// The set of these bits, one a number of the kernel's.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// One bit a capability, by the kernel's numbers.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// What is in one or the other.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in this and not in the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether everything of the other is in this.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Limits what the calling thread, and all it executes, can ever have; nothing is inheritable or ambient afterwards.
///
/// Allocates nothing, so that it may run between clone and exec.
pub fn bound(keep: Capabilities) -> io::Result<()> {
    clear_ambient_capability_set()?;
    for number in 0..64 {
        if keep.0 & (1 << number) == 0 {
            match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number))
            {
                Ok(()) => {}
                // Past the last one that this kernel knows.
                Err(rustix::io::Errno::INVAL) => break,
                Err(other) => return Err(other.into()),
            }
        }
    }
    let mut sets = rustix::thread::capabilities(None)?;
    sets.inheritable = CapabilitySet::empty();
    Ok(set_capabilities(None, sets)?)
}

/// As [`bound`], for good: no program and no change of user gives more to this thread or to what it executes, and nothing
/// can be undone.
pub fn seal(keep: Capabilities) -> io::Result<()> {
    use rustix::thread::CapabilitiesSecureBits as Bits;
    // The locks of what is off keep it off. Who is not root for a while has nothing meanwhile, as ever.
    rustix::thread::set_capabilities_secure_bits(
        Bits::NO_ROOT
            | Bits::NO_ROOT_LOCKED
            | Bits::NO_SETUID_FIXUP_LOCKED
            | Bits::KEEP_CAPS_LOCKED
            | Bits::NO_CAP_AMBIENT_RAISE
            | Bits::NO_CAP_AMBIENT_RAISE_LOCKED,
    )?;
    bound(keep)
}

/// Gives the calling thread exactly these, of those that it may have.
pub fn hold(keep: Capabilities) -> io::Result<()> {
    let kept = CapabilitySet::from_bits_retain(keep.0);
    let inheritable = CapabilitySet::empty();
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable };
    Ok(set_capabilities(None, sets)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_kernel_numbers() {
        for (name, bits) in [
            ("CAP_CHOWN", 1),
            ("cap_kill", 1 << 5),
            ("SYS_ADMIN", 1 << 21),
            ("CAP_CHECKPOINT_RESTORE", 1 << 40),
        ] {
            assert_eq!(Capabilities::named(name), Some(Capabilities(bits)), "{name}");
        }
        assert_eq!(Capabilities::named("CAP_NOPE"), None);
    }

    #[test]
    fn sets_add_and_subtract() {
        let (chown, kill) = (Capabilities(1), Capabilities(32));
        assert!(chown.union(kill).contains(kill));
        assert_eq!(chown.union(kill).without(chown), kill);
        assert!(Capabilities::ALL.contains(chown));
    }
}
