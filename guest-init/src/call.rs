//! Connections to the host: made by us, each with its preamble.

use crate::error::InitError;
use crate::words::Host;
use pod_proto::Preamble;
use rustix::fs::OFlags;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

/// Somebody to be called, again and again.
#[derive(Debug)]
pub enum Caller {
    /// The host of the machine.
    Port(u32),
    /// A socket on a machine that is not ours, found before the root was covered.
    Unix {
        /// The folder that the socket is in.
        folder: OwnedFd,
        /// Its name there.
        name: String,
    },
}

impl Caller {
    /// Whom the command line names.
    ///
    /// # Errors
    /// The folder of a socket is not there.
    pub fn new(host: &Host) -> Result<Self, InitError> {
        let path = match host {
            Host::Port(port) => return Ok(Self::Port(*port)),
            Host::Unix(path) => path,
        };
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let (Some(folder), Some(name)) = (path.parent(), name) else {
            return Err(InitError::NoHost);
        };
        let folder = File::open(folder).map_err(InitError::Call)?.into();
        Ok(Self::Unix { folder, name })
    }

    /// Makes a connection for one purpose. It does not block from then on.
    ///
    /// # Errors
    /// Nobody takes the call.
    pub fn call(&self, purpose: &Preamble) -> Result<OwnedFd, InitError> {
        self.connect(purpose).map_err(InitError::Call)
    }

    fn connect(&self, purpose: &Preamble) -> io::Result<OwnedFd> {
        let fd = match self {
            Self::Port(port) => sys::vsock::connect_to_host(*port)?,
            Self::Unix { folder, name } => {
                let (family, kind) = (AddressFamily::UNIX, SocketType::STREAM);
                let fd = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
                let path = format!("{}/{name}", sys::path::of_descriptor(folder.as_fd()));
                rustix::net::connect(&fd, &SocketAddrUnix::new(path)?)?;
                fd
            }
        };
        let mut file = File::from(fd);
        file.write_all(&purpose.encode())?;
        set_nonblocking(file.as_fd())?;
        Ok(file.into())
    }
}

/// Has calls on a descriptor return instead of waiting.
///
/// # Errors
/// As fcntl(2).
pub fn set_nonblocking(fd: impl AsFd) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(&fd)?;
    Ok(rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?)
}
