//! Capabilities of the calling thread, under the names of a C library's binding: the file server's library asks for that
//! binding, and this takes its place, so that no C library has to be there to link with. It has what that library calls and
//! nothing else, and asks the kernel each time where the original remembers.
//!
//! `update` says what is to change, `apply` changes it; both are about the calling thread alone.
#![forbid(unsafe_code)]

use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
use std::cell::RefCell;

/// A capability by its number.
pub type Capability = u32;

/// Every capability that the file server has or asks for.
const NAMES: [(&str, Capability); 7] = [
    ("CHOWN", 0),
    ("DAC_OVERRIDE", 1),
    ("FOWNER", 3),
    ("FSETID", 4),
    ("SETGID", 6),
    ("SETUID", 7),
    ("SETFCAP", 31),
];

/// What can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CapabilityError {
    /// No capability of this name is used here.
    Unknown,
    /// Nothing was updated before it was to be applied.
    Nothing,
    /// The kernel refuses.
    Kernel(Errno),
}

impl std::fmt::Display for CapabilityError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown => f.write_str("no such capability"),
            Self::Nothing => f.write_str("nothing to apply"),
            Self::Kernel(errno) => errno.fmt(f),
        }
    }
}

impl std::error::Error for CapabilityError {}

/// What these functions give.
pub type Result<T> = std::result::Result<T, CapabilityError>;

/// Which sets are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Type(());

impl Type {
    /// What the thread may do now.
    pub const EFFECTIVE: Self = Self(());
}

/// Which sets are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Set {
    /// Those of the thread.
    CAPS,
    /// Those, and what it can ever have.
    BOTH,
}

/// What becomes of a capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is given up.
    DROP,
    /// It is taken up.
    ADD,
}

/// One change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CUpdate {
    /// Which.
    pub action: Action,
    /// In which set.
    pub cap_type: Type,
    /// Of which capability.
    pub capability: Capability,
}

thread_local! {
    static WANTED: RefCell<Option<CapabilitySets>> = const { RefCell::new(None) };
}

fn current() -> Result<CapabilitySets> {
    capabilities(None).map_err(CapabilityError::Kernel)
}

fn bit(capability: Capability) -> CapabilitySet {
    CapabilitySet::from_bits_retain(1_u64.checked_shl(capability).unwrap_or(0))
}

/// Begins with none.
pub fn clear(_: Set) {
    let none = CapabilitySet::empty();
    WANTED.set(Some(CapabilitySets { effective: none, permitted: none, inheritable: none }));
}

/// Begins with those that the thread has.
///
/// # Errors
/// The kernel refuses.
pub fn get_caps_process() -> Result<()> {
    WANTED.set(Some(current()?));
    Ok(())
}

/// Notes changes to those that the thread has.
///
/// # Errors
/// The kernel refuses.
pub fn update(updates: Vec<CUpdate>) -> Result<()> {
    let mut sets = current()?;
    for CUpdate { action, capability, .. } in updates {
        sets.effective.set(bit(capability), action == Action::ADD);
    }
    WANTED.set(Some(sets));
    Ok(())
}

/// Makes what was noted true.
///
/// # Errors
/// The kernel refuses, or nothing was noted.
pub fn apply(_: Set) -> Result<()> {
    let sets = WANTED.take().ok_or(CapabilityError::Nothing)?;
    set_capabilities(None, sets).map_err(CapabilityError::Kernel)
}

/// Whether the thread has it now.
pub fn have_capability(_: Type, capability: Capability) -> bool {
    current().is_ok_and(|sets| sets.effective.contains(bit(capability)))
}

/// The number of a capability.
///
/// # Errors
/// None of those used here has this name.
pub fn name_to_capability(name: &str) -> Result<Capability> {
    let found = NAMES.iter().find(|(known, _)| *known == name);
    found.map(|(_, number)| *number).ok_or(CapabilityError::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_kernels_numbers() {
        assert_eq!(name_to_capability("FSETID"), Ok(4));
        assert_eq!(name_to_capability("SETFCAP"), Ok(31));
        assert_eq!(name_to_capability("SYS_ADMIN"), Err(CapabilityError::Unknown));
    }

    #[test]
    fn nothing_is_applied_that_was_not_noted() {
        assert_eq!(apply(Set::CAPS), Err(CapabilityError::Nothing));
    }

    #[test]
    fn a_capability_is_given_up_and_taken_up_again() {
        let cap = name_to_capability("FSETID").unwrap();
        if !have_capability(Type::EFFECTIVE, cap) {
            // Whoever has it not can show half of this alone.
            let add = CUpdate { action: Action::ADD, cap_type: Type::EFFECTIVE, capability: cap };
            update(vec![add]).unwrap();
            assert_eq!(apply(Set::CAPS), Err(CapabilityError::Kernel(Errno::PERM)));
            return;
        }
        for (action, has) in [(Action::DROP, false), (Action::ADD, true)] {
            update(vec![CUpdate { action, cap_type: Type::EFFECTIVE, capability: cap }]).unwrap();
            apply(Set::CAPS).unwrap();
            assert_eq!(have_capability(Type::EFFECTIVE, cap), has);
        }
    }
}
