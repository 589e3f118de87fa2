//! Leases of DHCP servers: had when a pod joins, renewed while it runs, given back at its end.
//!
//! ```text
//! join          Keeper::obtain   ─► the first lease, within [`LIMIT`]
//! supervisor    Leases           ─► what to wait for: descriptors and a point in time; `tend` does what is due
//! end           drop             ─► RELEASE
//! ```
//!
//! The socket is open only while an answer is waited for: what else comes to a pod wakes nobody.

use crate::cidr::Cidr;
use crate::driver::{self, DriverError};
use crate::interrupt::Watch;
use crate::ipam::dhcp::{Client, Did, Identity, Lease, To, datagram};
use netlink::Socket;
use netlink::link::Index;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};
use sys::packet::{Hardware, PacketSocket};

/// How long a pod's start waits for its first lease.
const LIMIT: Duration = Duration::from_secs(20);
const EVERYBODY: Hardware = [0xff; 6];
/// The largest packet that is looked at.
const LARGEST: usize = 4096;
/// How many packets are looked at in one go.
const BURST: usize = 64;

/// A lease that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// No socket, or it cannot be used.
    #[error("cannot speak DHCP on interface {interface:?}")]
    Socket {
        /// The interface.
        interface: String,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// No server.
    #[error("no DHCP server has given an address on interface {0:?} within 20 seconds")]
    Nobody(String),
    /// Somebody wants the pod to end.
    #[error("waiting for a DHCP server on interface {0:?} was interrupted")]
    Interrupted(String),
    /// The interface refuses the address.
    #[error(transparent)]
    Driver(#[from] DriverError),
}

/// One interface with a lease.
#[derive(Debug)]
pub struct Keeper {
    client: Client,
    namespace: OwnedFd,
    interface: String,
    index: Index,
    socket: Option<PacketSocket>,
    /// Points in time are counted from here.
    start: Instant,
    /// Who on the link brought the last answer.
    neighbour: Option<Hardware>,
    /// The address that the interface has.
    address: Option<Cidr>,
    /// Whether it has got another one, or none, that nobody has asked for yet.
    changed: bool,
}

/// What a turn came to.
enum Turn {
    Bound(Box<Lease>),
    Lost,
}

impl Keeper {
    /// Gets the first lease for an interface that is up, in this namespace.
    pub(crate) fn obtain(
        namespace: BorrowedFd<'_>,
        interface: &str,
        index: Index,
        identity: Identity,
    ) -> Result<(Self, Lease), LeaseError> {
        let broken = |cause| LeaseError::Socket { interface: interface.to_owned(), cause };
        let mut seed = [0; 8];
        rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty())
            .map_err(|error| broken(error.into()))?;
        let mut keeper = Self {
            client: Client::new(identity, u64::from_ne_bytes(seed), Duration::ZERO),
            namespace: namespace.try_clone_to_owned().map_err(broken)?,
            interface: interface.to_owned(),
            index,
            socket: None,
            start: Instant::now(),
            neighbour: None,
            address: None,
            changed: false,
        };
        let end = Instant::now() + LIMIT;
        let watch = Watch::new().map_err(broken)?;
        loop {
            if let Some(Turn::Bound(lease)) = keeper.turn().map_err(broken)? {
                keeper.address = Some(lease.address);
                return Ok((keeper, *lease));
            }
            let now = Instant::now();
            if now >= end {
                return Err(LeaseError::Nobody(interface.to_owned()));
            }
            let until = keeper.deadline().map_or(end, |deadline| deadline.min(end));
            let left = Timespec::try_from(until.saturating_duration_since(now)).ok();
            let mut fds: Vec<PollFd<'_>> =
                keeper.interest().into_iter().chain(watch.interest()).collect();
            match poll(&mut fds, left.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(broken(error.into())),
            }
            if watch.is_interrupted() {
                return Err(LeaseError::Interrupted(interface.to_owned()));
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.client.deadline().and_then(|at| self.start.checked_add(at))
    }

    fn interest(&self) -> Option<PollFd<'_>> {
        self.socket.as_ref().map(|socket| PollFd::new(socket, PollFlags::IN))
    }

    /// Does what is due until something comes of it or nothing is left to do.
    fn turn(&mut self) -> io::Result<Option<Turn>> {
        for _ in 0..BURST {
            let now = self.start.elapsed();
            let due = self.client.deadline().is_some_and(|at| at <= now);
            let did = match self.hear()? {
                Some(message) => self.client.receive(&message, now),
                None if due => self.client.step(now),
                None => break,
            };
            match did {
                Did::Nothing => {}
                Did::Send(to, message) => self.send(to, &message)?,
                Did::Lost => return Ok(Some(Turn::Lost)),
                Did::Bound(lease) => {
                    self.socket = None;
                    return Ok(Some(Turn::Bound(Box::new(lease))));
                }
            }
        }
        Ok(None)
    }

    /// The next message.
    fn hear(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some(socket) = &self.socket else { return Ok(None) };
        let mut buffer = [0; LARGEST];
        for _ in 0..BURST {
            let Some((count, from)) = socket.receive(&mut buffer)? else { return Ok(None) };
            if let Some(message) = buffer.get(..count).and_then(datagram::unpack) {
                self.neighbour = Some(from);
                return Ok(Some(message.to_vec()));
            }
        }
        Ok(None)
    }

    fn send(&mut self, to: To, message: &[u8]) -> io::Result<()> {
        let (from, address, hardware) = match to {
            To::Everybody => (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, EVERYBODY),
            To::EverybodyFrom(from) => (from, Ipv4Addr::BROADCAST, EVERYBODY),
            // It is reached by way of whoever brought its last answer.
            To::Server { from, server } => (from, server, self.neighbour.unwrap_or(EVERYBODY)),
        };
        let Some(packet) = datagram::pack(from, address, message) else { return Ok(()) };
        if self.socket.is_none() {
            let open = || PacketSocket::open(self.index.0, datagram::CLIENT);
            self.socket = Some(sys::namespace::inside_network(self.namespace.as_fd(), open)??);
        }
        let Some(socket) = &self.socket else { return Ok(()) };
        match socket.send(hardware, &packet) {
            // Somebody in the pod has taken the interface down, or it is full: it is tried again in its time.
            Err(error) if error.raw_os_error() == Some(Errno::NETDOWN.raw_os_error()) => Ok(()),
            Err(error) if error.raw_os_error() == Some(Errno::NOBUFS.raw_os_error()) => Ok(()),
            other => other,
        }
    }

    /// Does what is due, and gives the interface what comes of it.
    fn tend(&mut self) -> Result<(), LeaseError> {
        loop {
            let turn = self.turn();
            let turn = turn
                .map_err(|cause| LeaseError::Socket { interface: self.interface.clone(), cause })?;
            match turn {
                None => return Ok(()),
                Some(Turn::Bound(lease)) => self.apply(&lease)?,
                Some(Turn::Lost) => {
                    log::warn!(
                        "networking: the lease of interface {:?} is over: it has no address now",
                        self.interface
                    );
                    self.withdraw()?;
                }
            }
        }
    }

    fn route_socket(&self) -> Result<Socket, DriverError> {
        let socket = sys::namespace::inside_network(self.namespace.as_fd(), Socket::route);
        Ok(socket.map_err(DriverError::Enter)??)
    }

    fn apply(&mut self, lease: &Lease) -> Result<(), LeaseError> {
        if self.address == Some(lease.address) {
            return Ok(());
        }
        if self.address.is_some() {
            self.withdraw()?;
        }
        log::warn!(
            "networking: interface {:?} has another address: {}",
            self.interface,
            lease.address
        );
        driver::give(&self.route_socket()?, self.index, &lease.result())?;
        self.address = Some(lease.address);
        self.changed = true;
        Ok(())
    }

    fn withdraw(&mut self) -> Result<(), LeaseError> {
        if let Some(address) = self.address.take() {
            driver::take(&self.route_socket()?, self.index, address)?;
            self.changed = true;
        }
        Ok(())
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let Some((to, message)) = self.client.release() else { return };
        if let Err(error) = self.send(to, &message) {
            log::debug!("networking: cannot give the lease of {:?} back: {error}", self.interface);
        }
    }
}

/// The leases of a pod, for its supervisor.
#[derive(Debug, Default)]
pub struct Leases(Vec<Keeper>);

impl Leases {
    pub(crate) fn new(keepers: impl IntoIterator<Item = Keeper>) -> Self {
        Self(keepers.into_iter().collect())
    }

    /// When [`Self::tend`] must be called, if nothing comes before.
    pub fn deadline(&self) -> Option<Instant> {
        self.0.iter().filter_map(Keeper::deadline).min()
    }

    /// What comes before.
    pub fn interests(&self) -> impl Iterator<Item = PollFd<'_>> {
        self.0.iter().filter_map(Keeper::interest)
    }

    /// Does what is due. A lease that cannot be kept is given up, with a word.
    pub fn tend(&mut self) {
        self.0.retain_mut(|keeper| match keeper.tend() {
            Ok(()) => true,
            Err(error) => {
                log::warn!("networking: {}", sys::cause::chain(&error));
                false
            }
        });
    }

    /// The interfaces that have other addresses than when this was last asked, or none, each with its namespace: what lives
    /// in a machine has to be told.
    pub fn changed(&mut self) -> impl Iterator<Item = (BorrowedFd<'_>, &str)> {
        let changed = self.0.iter_mut().filter_map(|keeper| {
            let changed = std::mem::take(&mut keeper.changed);
            changed.then_some(&*keeper)
        });
        changed.map(|keeper| (keeper.namespace.as_fd(), keeper.interface.as_str()))
    }

    /// Forgets the leases in a process that is only a copy of the one that keeps them.
    pub fn forget(&mut self) {
        for mut keeper in self.0.drain(..) {
            keeper.socket = None;
            drop(keeper.client.release());
        }
    }
}
