//! Namespaces: leaving the ones this process is in, joining those of another, and what is set inside.
#![expect(
    unsafe_code,
    reason = "unshare(2) and setns(2) have no safe wrapper that keeps our types; one ioctl"
)]

use crate::process::{self, Cloned};
use rustix::fs::{Mode, OFlags};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// A set of kinds of namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kinds(pub(crate) libc::c_int);

impl Kinds {
    /// No namespace.
    pub const NONE: Self = Self(0);
    /// Mounts.
    pub const MOUNT: Self = Self(libc::CLONE_NEWNS);
    /// Process ids, of children only.
    pub const PID: Self = Self(libc::CLONE_NEWPID);
    /// Host name.
    pub const UTS: Self = Self(libc::CLONE_NEWUTS);
    /// System V IPC and POSIX message queues.
    pub const IPC: Self = Self(libc::CLONE_NEWIPC);
    /// Network.
    pub const NET: Self = Self(libc::CLONE_NEWNET);
    /// The root that control groups are seen from.
    pub const CGROUP: Self = Self(libc::CLONE_NEWCGROUP);

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Moves the calling, single-threaded process into new namespaces.
pub fn unshare(kinds: Kinds) -> io::Result<()> {
    // SAFETY: the call takes a number and touches no memory; descriptors stay as they are (CLONE_FILES is not among
    // the kinds that can be named).
    let rc = unsafe { libc::unshare(kinds.0) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes sure that the calling process has no other thread: what is taken from a thread is taken from it alone.
///
/// # Errors
/// It has.
pub fn single_threaded() -> io::Result<()> {
    // SAFETY: asks for what a process without other threads has anyway; with others the call does nothing and fails.
    let rc = unsafe { libc::unshare(libc::CLONE_THREAD) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Moves the calling, single-threaded process into a user namespace of its own, in which every user and group is who they
/// were outside. It has every capability there, and none outside. `before` is done with the rights of outside, when there
/// is no more need of a procfs.
///
/// # Errors
/// There is no procfs, or the caller may not; what `before` says comes back inside.
pub fn own_users_after<E>(before: impl FnOnce() -> Result<(), E>) -> io::Result<Result<(), E>> {
    let me = rustix::fs::open(
        "/proc/self",
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let read = |name: &str| -> io::Result<String> {
        let file = rustix::fs::openat(&me, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        std::io::read_to_string(std::fs::File::from(file))
    };
    let maps =
        [("uid_map", identity(&read("uid_map")?)?), ("gid_map", identity(&read("gid_map")?)?)];
    let (told, tell) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    // Only a process outside may say who is who inside.
    let Cloned::Parent { pid, .. } = process::clone(Kinds::NONE)? else {
        drop(tell);
        let outcome = write_maps(&me, &told, &maps);
        process::leave(outcome.err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EIO)));
    };
    drop(told);
    let outcome = before();
    // SAFETY: a number, no memory; the caller has one thread.
    let made = outcome.is_ok() && unsafe { libc::unshare(libc::CLONE_NEWUSER) } == 0;
    let refused = io::Error::last_os_error();
    let heard = if made { rustix::io::write(&tell, b"x").map(drop) } else { Ok(()) };
    // Without a word it ends, too.
    drop(tell);
    let end = process::wait_for(pid)?;
    heard?;
    match end {
        _ if outcome.is_err() => Ok(outcome),
        _ if !made => Err(refused),
        process::End::Exited(0) => Ok(outcome),
        process::End::Exited(errno) => Err(io::Error::from_raw_os_error(errno)),
        process::End::Killed(_) => Err(io::ErrorKind::Interrupted.into()),
    }
}

/// Waits for the word, and writes the maps of the process whose folder this is.
fn write_maps(of: &OwnedFd, told: &OwnedFd, maps: &[(&str, String); 2]) -> io::Result<()> {
    if rustix::io::read(told, &mut [0_u8; 1])? != 1 {
        return Ok(());
    }
    for (name, map) in maps {
        let file = rustix::fs::openat(of, *name, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
        // The kernel takes it in one piece or not at all.
        rustix::io::write(&file, map.as_bytes())?;
    }
    Ok(())
}

/// The map that changes nothing below a namespace of this map: lines of first inside, first outside, count.
fn identity(map: &str) -> io::Result<String> {
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some(first), Some(_), Some(count), None) => Ok(format!("{first} {first} {count}\n")),
            _ => Err(io::Error::from(io::ErrorKind::InvalidData)),
        }
    };
    map.lines().map(line).collect()
}

/// Joins namespaces: of a process, if the descriptor is a pidfd, else the one the descriptor is.
pub fn join(of: BorrowedFd<'_>, kinds: Kinds) -> io::Result<()> {
    // SAFETY: setns reads two integers and touches no memory of ours; the descriptor is borrowed for the call. The
    // wrong kind of descriptor is EINVAL, not undefined.
    let rc = unsafe { libc::setns(of.as_raw_fd(), kinds.0) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The network namespace of the calling thread.
pub fn network() -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::open("/proc/thread-self/ns/net", flags, Mode::empty())?)
}

/// A new network namespace that nobody is in. The calling thread is where it was afterwards.
///
/// # Errors
/// The caller may not, or cannot come back.
pub fn new_network() -> io::Result<OwnedFd> {
    let home = network()?;
    unshare(Kinds::NET)?;
    let new = network();
    join(home.as_fd(), Kinds::NET)?;
    new
}

/// Does something in another network namespace, and comes back.
///
/// # Errors
/// The thread cannot go there or, which happens only to those who lost the right on the way, cannot come back.
pub fn inside_network<T>(of: BorrowedFd<'_>, work: impl FnOnce() -> T) -> io::Result<T> {
    let home = network()?;
    join(of, Kinds::NET)?;
    let done = work();
    join(home.as_fd(), Kinds::NET)?;
    Ok(done)
}

/// Brings the loopback interface of the current network namespace up.
pub fn loopback_up() -> io::Result<()> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType};
    let socket = rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: all-zero bytes are a valid `ifreq`: numbers, and a name that ends at once.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(*b"lo") {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    let request: *mut libc::ifreq = &raw mut request;
    // SAFETY: SIOCSIFFLAGS reads one `ifreq`, which lives until the call is over; the socket is open.
    let rc = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::SIOCSIFFLAGS, request) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Names the host in the current UTS namespace.
pub fn set_hostname(name: &str) -> io::Result<()> {
    // SAFETY: the kernel reads `len` bytes of a live string; it needs no terminator.
    let rc = unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_has_whom_the_outside_has() {
        let whole = "         0          0 4294967295\n";
        assert_eq!(identity(whole).unwrap(), "0 0 4294967295\n");
        let parts = "0 1000 1\n1 100000 65535\n";
        assert_eq!(identity(parts).unwrap(), "0 0 1\n1 1 65535\n");
        identity("0 1").unwrap_err();
    }
}
