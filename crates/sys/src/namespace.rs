//! Namespaces: leaving the ones this process is in, joining those of another, and what is set inside.
#![expect(
    unsafe_code,
    reason = "unshare(2) and setns(2) have no safe wrapper that keeps our types; one ioctl"
)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

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

/// Joins namespaces: of a process, if the descriptor is a pidfd, else the one the descriptor is.
pub fn join(of: BorrowedFd<'_>, kinds: Kinds) -> io::Result<()> {
    // SAFETY: setns reads two integers and touches no memory of ours; the descriptor is borrowed for the call. The
    // wrong kind of descriptor is EINVAL, not undefined.
    let rc = unsafe { libc::setns(of.as_raw_fd(), kinds.0) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
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
