//! Landlock: a process gives up paths, network ports and others' sockets and signals, for itself and all it starts.
#![expect(unsafe_code, reason = "landlock has no safe wrapper")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::null;

/// What becomes of paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paths {
    /// None can be opened, made, changed or executed.
    Forbidden,
    /// As before.
    AsBefore,
}

/// `struct landlock_ruleset_attr` of the kernel.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Ruleset {
    paths: u64,
    ports: u64,
    scopes: u64,
}

/// Asks for the version.
const VERSION: u32 = 1;

/// Gives up all that a kernel of this version can take.
fn ruleset(version: libc::c_long, paths: Paths) -> Ruleset {
    let of_paths = match version {
        ..=1 => 13,
        2 => 14,
        3 | 4 => 15,
        _ => 16,
    };
    Ruleset {
        paths: if paths == Paths::Forbidden { (1 << of_paths) - 1 } else { 0 },
        ports: if version >= 4 { 3 } else { 0 },
        scopes: if version >= 6 { 3 } else { 0 },
    }
}

/// Gives up what can be given up: ports to listen on and to connect to, abstract sockets and processes outside, and
/// paths as told. Descriptors that are open stay as good as they are. `false` if this kernel cannot do it.
///
/// # Errors
/// It can, and does not.
pub fn confine(paths: Paths) -> io::Result<bool> {
    // SAFETY: with this flag and no structure the call only returns a number.
    let version = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, null::<Ruleset>(), 0_usize, VERSION)
    };
    if version < 0 {
        let error = io::Error::last_os_error();
        // Not built in, or not switched on.
        let absent = matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EOPNOTSUPP));
        return if absent { Ok(false) } else { Err(error) };
    }
    let rules = ruleset(version, paths);
    if rules == Ruleset::default() {
        return Ok(false);
    }
    let (rules, size): (*const Ruleset, usize) = (&raw const rules, size_of::<Ruleset>());
    // SAFETY: the kernel reads `size` bytes of a live structure laid out as its own; older kernels, which know less of it,
    // only want the rest to be zeros.
    let rc = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, rules, size, 0_u32) };
    let rc = i32::try_from(rc).map_err(|_| io::ErrorKind::InvalidData)?;
    if rc < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it for us.
    let rules = unsafe { OwnedFd::from_raw_fd(rc) };
    // SAFETY: two numbers; the descriptor is owned and open.
    let rc = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules.as_raw_fd(), 0_u32) };
    if rc == 0 { Ok(true) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_asked_for_what_it_knows() {
        for (version, paths, ports, scopes) in
            [(1, 0x1fff, 0, 0), (2, 0x3fff, 0, 0), (3, 0x7fff, 0, 0), (4, 0x7fff, 3, 0)]
        {
            assert_eq!(ruleset(version, Paths::Forbidden), Ruleset { paths, ports, scopes });
        }
        let newest = Ruleset { paths: 0xffff, ports: 3, scopes: 3 };
        assert_eq!(ruleset(9, Paths::Forbidden), newest);
        assert_eq!(ruleset(9, Paths::AsBefore), Ruleset { paths: 0, ..newest });
        assert_eq!(ruleset(3, Paths::AsBefore), Ruleset::default());
    }
}
