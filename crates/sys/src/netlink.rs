//! What a netlink socket can be asked for beyond what all sockets have.
#![expect(unsafe_code, reason = "these options of setsockopt(2) have no safe wrapper")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// What can be switched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// A refusal says in words why.
    Explanations,
    /// A refusal repeats the request's header alone.
    ShortRefusals,
    /// A list has only what was asked for, where the kernel can filter it.
    FilteredLists,
}

/// Switches it on.
///
/// # Errors
/// The kernel does not know it, or this is no netlink socket.
pub fn enable(socket: BorrowedFd<'_>, feature: Feature) -> io::Result<()> {
    let name = match feature {
        Feature::Explanations => libc::NETLINK_EXT_ACK,
        Feature::ShortRefusals => libc::NETLINK_CAP_ACK,
        Feature::FilteredLists => libc::NETLINK_GET_STRICT_CHK,
    };
    let on: libc::c_int = 1;
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel reads one number of the length that is said, which lives until the call is over; the
    // descriptor is borrowed for the call, and one of another kind is an error, not undefined.
    let rc = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_NETLINK,
            name,
            (&raw const on).cast(),
            length,
        )
    };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
