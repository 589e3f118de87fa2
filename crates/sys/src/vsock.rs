//! Sockets between a virtual machine and its host.
#![expect(unsafe_code, reason = "the library knows no options of such sockets")]

use nix::sys::socket::{AddressFamily, SockFlag, SockType, VsockAddr, connect, socket};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// The number of the host, as every machine sees it.
const HOST: u32 = 2;
/// The option of how long a connection may take to come about (the kernel's `include/uapi/linux/vm_sockets.h`).
const CONNECT_TIMEOUT: libc::c_int = 6;
/// That long. A host that is busy may well not answer for two seconds, which the kernel would wait.
static PATIENCE: libc::timeval = libc::timeval { tv_sec: 60, tv_usec: 0 };

/// Connects to a port of the host.
///
/// # Errors
/// Nobody listens, or this is no virtual machine.
pub fn connect_to_host(port: u32) -> io::Result<OwnedFd> {
    let fd = socket(AddressFamily::Vsock, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    be_patient(&fd)?;
    connect(fd.as_raw_fd(), &VsockAddr::new(HOST, port))?;
    Ok(fd)
}

fn be_patient(socket: &impl AsFd) -> io::Result<()> {
    let length = size_of_val(&PATIENCE) as libc::socklen_t;
    // SAFETY: the kernel reads one value of the length that is said, which lives for ever.
    let rc = unsafe {
        let (level, value) = (libc::AF_VSOCK, (&raw const PATIENCE).cast());
        libc::setsockopt(socket.as_fd().as_raw_fd(), level, CONNECT_TIMEOUT, value, length)
    };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
