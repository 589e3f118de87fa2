//! Packets of IPv4 on one interface as they are on the wire, for whoever has no address yet.
#![expect(unsafe_code, reason = "addresses of packet sockets and filters have no safe wrapper")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A hardware address.
pub type Hardware = [u8; 6];

/// A socket that hears datagrams of UDP to one port on one interface, and sends any packet of IPv4 there. It never waits.
///
/// It is one for all protocols, whose filter lets one of them in: the kernel gives such a socket each packet before traffic
/// control or another reader of the interface can take it away, and one for a single protocol only what these leave.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
    index: i32,
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl PacketSocket {
    /// Opens it in the current network namespace, on the interface of this index.
    ///
    /// # Errors
    /// The caller may not, or there is no such interface.
    pub fn open(index: u32, port: u16) -> io::Result<Self> {
        let index = i32::try_from(index).map_err(|_| io::ErrorKind::InvalidInput)?;
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: the call takes numbers and touches no memory. Without a protocol nothing is heard before the filter is set.
        let raw = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given this descriptor to us, and nobody else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        filter(fd.as_fd(), port)?;
        let address = address(index, [0; 6], libc::ETH_P_ALL);
        // SAFETY: the kernel reads one address of the length that is said, which lives until the call is over.
        let rc = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), LENGTH) };
        if rc == 0 { Ok(Self { fd, index }) } else { Err(io::Error::last_os_error()) }
    }

    /// Sends a packet, which begins with its header of IPv4.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn send(&self, to: Hardware, packet: &[u8]) -> io::Result<()> {
        let address = address(self.index, to, libc::ETH_P_IP);
        // SAFETY: the kernel reads the packet's bytes and one address, of the lengths that are said; both live until the
        // call is over.
        let rc = unsafe {
            libc::sendto(
                self.fd.as_raw_fd(),
                packet.as_ptr().cast(),
                packet.len(),
                0,
                (&raw const address).cast(),
                LENGTH,
            )
        };
        if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// The length of the next packet, which begins with its header of IPv4, and who on the link sent it; `None` if there
    /// is none. What does not fit is cut off.
    ///
    /// # Errors
    /// The kernel refuses, or the interface is gone.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, Hardware)>> {
        let mut from = address(0, [0; 6], 0);
        let mut length = LENGTH;
        // SAFETY: the kernel writes at most the buffer's length into it and one address of the length that is said into
        // `from`; both are ours alone and live until the call is over.
        let count = unsafe {
            libc::recvfrom(
                self.fd.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                0,
                (&raw mut from).cast(),
                &raw mut length,
            )
        };
        if let Ok(count) = usize::try_from(count) {
            let hardware = from.sll_addr.first_chunk().copied().unwrap_or_default();
            return Ok(Some((count, hardware)));
        }
        let error = io::Error::last_os_error();
        let none = [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted];
        if none.contains(&error.kind()) { Ok(None) } else { Err(error) }
    }
}

const LENGTH: libc::socklen_t = size_of::<libc::sockaddr_ll>() as libc::socklen_t;

fn address(index: i32, hardware: Hardware, protocol: i32) -> libc::sockaddr_ll {
    let mut sll_addr = [0; 8];
    for (to, from) in sll_addr.iter_mut().zip(hardware) {
        *to = from;
    }
    libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as libc::c_ushort,
        sll_protocol: (protocol as u16).to_be(),
        sll_ifindex: index,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr,
    }
}

/// Where a filter finds what the kernel knows of a packet: its protocol, and further on its direction.
const KNOWN: u32 = libc::SKF_AD_OFF as u32;

/// Lets only whole datagrams of UDP to this port in, from others: nothing else on the interface wakes the owner.
fn filter(socket: BorrowedFd<'_>, port: u16) -> io::Result<()> {
    let word = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut program = [
        word(0x28, 0, 0, KNOWN + libc::SKF_AD_PROTOCOL as u32),
        word(0x15, 0, 10, libc::ETH_P_IP as u32),
        word(0x30, 0, 0, KNOWN + libc::SKF_AD_PKTTYPE as u32),
        word(0x15, 8, 0, libc::PACKET_OUTGOING.into()),
        // The protocol is UDP, and this is no later part of a datagram.
        word(0x30, 0, 0, 9),
        word(0x15, 0, 6, 17),
        word(0x28, 0, 0, 6),
        word(0x45, 4, 0, 0x1fff),
        // Behind the header, however long that is: the port.
        word(0xb1, 0, 0, 0),
        word(0x48, 0, 0, 2),
        word(0x15, 0, 1, u32::from(port)),
        word(0x06, 0, 0, u32::MAX),
        word(0x06, 0, 0, 0),
    ];
    let filter =
        libc::sock_fprog { len: program.len() as libc::c_ushort, filter: program.as_mut_ptr() };
    // SAFETY: the kernel reads the program that `filter` names, of the length that it says; both live until the call is
    // over.
    let rc = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const filter).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
