//! Taps: network interfaces whose other end is a descriptor.
#![expect(unsafe_code, reason = "ioctls of the kernel's, which no library wraps")]

use rustix::fs::{Mode, OFlags};
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
const TUNSETOFFLOAD: libc::c_ulong = 0x4004_54d0;
const TUNSETSNDBUF: libc::c_ulong = 0x4004_54d4;
const TUNSETVNETHDRSZ: libc::c_ulong = 0x4004_54d8;
/// Frames of Ethernet, nothing before them but a header of virtio's.
const FLAGS: libc::c_int = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
/// Bytes of that header, as devices have it since version 1.
const HEADER: libc::c_int = 12;
/// Bytes that may be on their way through the host before who writes has to wait.
const ON_THE_WAY: libc::c_int = 1 << 20;

/// What is left undone to packets, for whoever reads the tap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offloads(u32);

impl Offloads {
    /// Packets come as they would come by a wire.
    pub const NONE: Self = Self(0);
    /// Checksums. All others need this one.
    pub const CHECKSUM: Self = Self(1);
    /// Cutting what is of TCP over IPv4.
    pub const TCP4: Self = Self(2);
    /// Cutting what is of TCP over IPv6.
    pub const TCP6: Self = Self(4);
    /// Cutting also where congestion was told of.
    pub const ECN: Self = Self(8);
    /// Cutting what is of UDP over IPv4: since Linux 6.2, and only together with the next.
    pub const UDP4: Self = Self(0x20);
    /// Cutting what is of UDP over IPv6.
    pub const UDP6: Self = Self(0x40);

    /// What both have.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What either has.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Opens the device by which taps are made, for the calling thread's network namespace.
///
/// # Errors
/// There is no such device.
pub fn open() -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(c"/dev/net/tun", flags(), Mode::empty())?)
}

/// How a tap is opened: nobody waits for it.
pub fn flags() -> OFlags {
    OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC
}

/// Makes a new tap of this name, which is gone when the descriptor is closed.
///
/// # Errors
/// There is one of that name, or the caller may not.
pub fn make(device: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    attach(device, name, libc::IFF_TUN_EXCL)?;
    set_up(device)
}

/// Has the descriptor of an interface that is a tap already (macvtap, ipvtap) carry headers, too.
///
/// # Errors
/// It is none.
pub fn adopt(device: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    attach(device, name, 0)?;
    set_up(device)
}

fn attach(device: BorrowedFd<'_>, name: &str, more: libc::c_int) -> io::Result<()> {
    if name.is_empty() || name.len() >= libc::IFNAMSIZ || name.contains(['\0', '/']) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: all-zero bytes are a valid `ifreq`: numbers, and a name that ends at once.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (FLAGS | more) as libc::c_short;
    let request: *mut libc::ifreq = &raw mut request;
    // SAFETY: the call reads and writes one `ifreq`, which lives until it is over; the descriptor is borrowed.
    let rc = unsafe { libc::ioctl(device.as_raw_fd(), TUNSETIFF, request) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn set_up(device: BorrowedFd<'_>) -> io::Result<()> {
    for (request, mut value) in [(TUNSETVNETHDRSZ, HEADER), (TUNSETSNDBUF, ON_THE_WAY)] {
        let value: *mut libc::c_int = &raw mut value;
        // SAFETY: either call reads one number, which lives until it is over; the descriptor is borrowed.
        let rc = unsafe { libc::ioctl(device.as_raw_fd(), request, value) };
        if rc != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    leave(device, Offloads::NONE)
}

/// Has the kernel leave these undone.
///
/// # Errors
/// It cannot leave one of them.
pub fn leave(tap: BorrowedFd<'_>, what: Offloads) -> io::Result<()> {
    // SAFETY: the call takes a number and touches no memory; the descriptor is borrowed.
    let rc = unsafe { libc::ioctl(tap.as_raw_fd(), TUNSETOFFLOAD, libc::c_ulong::from(what.0)) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What this kernel can leave undone. Nothing is left undone afterwards.
///
/// # Errors
/// It is no tap.
pub fn known(tap: BorrowedFd<'_>) -> io::Result<Offloads> {
    let tcp = Offloads::CHECKSUM.or(Offloads::TCP4).or(Offloads::TCP6).or(Offloads::ECN);
    let all = tcp.or(Offloads::UDP4).or(Offloads::UDP6);
    let known = [all, tcp, Offloads::CHECKSUM].into_iter().find(|set| leave(tap, *set).is_ok());
    leave(tap, Offloads::NONE)?;
    Ok(known.unwrap_or(Offloads::NONE))
}

/// The descriptor behind the node of a character device with this number, which need not be anywhere: one is made in a file
/// system that nobody else sees.
///
/// # Errors
/// There is no such device, or the caller may make no nodes.
pub fn open_by_number(major: u32, minor: u32) -> io::Result<OwnedFd> {
    use crate::mount::{self, Restrict};
    let options: [(&CStr, &CStr); 2] = [(c"size", c"4k"), (c"mode", c"0700")];
    let rights = Restrict::NO_SUID.and(Restrict::NO_EXEC);
    let folder = mount::fresh(c"tmpfs", &options, rights)?;
    let (kind, mode) = (rustix::fs::FileType::CharacterDevice, Mode::RUSR | Mode::WUSR);
    rustix::fs::mknodat(&folder, c"tap", kind, mode, rustix::fs::makedev(major, minor))?;
    Ok(rustix::fs::openat(folder.as_fd(), c"tap", flags(), Mode::empty())?)
}
