//! A socket to a part of the kernel, and what is said over it.
//!
//! A batch goes out in one piece. The kernel goes through it in order and goes on after a refusal; it answers a refusal
//! always and a success only where it is asked to, which the last request of a piece does: its answer is the end of all.

mod answer;
mod batch;
mod error;

#[cfg(test)]
#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests know their lengths"
)]
mod tests;

pub use answer::{Answer, Refusal, classify};
pub use batch::{Batch, Received, Reply};
pub use error::{Cause, RequestError};

use crate::wire::{Header, Malformed, Message, Messages, Writer, flags};
use answer::Gathered;
use batch::{Limit, Piece};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, sockopt};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;
use sys::netlink::Feature;

/// The longest an answer is waited for. The kernel answers while it is asked; only a module that it loads takes time.
const PATIENCE: Duration = Duration::from_secs(20);
/// What a datagram of the kernel fits into: lists come in pieces of half of it.
const DATAGRAM: usize = 64 << 10;
/// How many bytes of answers may wait. Each takes the kernel's overhead beside its own length.
const WAITING: usize = 1 << 20;
/// What is sent at once without asking for room: the answers of so many requests fit into the smallest buffer that a host
/// gives.
const SENT: Limit = Limit { bytes: 128 << 10, requests: 64 };
/// How often a list is tried that changes while it is read.
const TRIES: usize = 16;

/// Something that the kernel is asked to do. Its `Display` says what, so that "cannot " may stand before it.
pub trait Request: fmt::Display {
    /// The kind of the message.
    fn kind(&self) -> u16;

    /// Its flags, without those of every request.
    fn flags(&self) -> u16 {
        0
    }

    /// Writes what follows the header.
    fn write(&self, to: &mut Writer<'_>);
}

/// A request that is answered with one thing.
pub trait Query: Request {
    /// The thing.
    type Item;
    /// What the kernel says where there is none.
    const ABSENT: &'static [Errno];

    /// Reads it, if the message has it.
    fn read(message: &Message<'_>) -> Result<Option<Self::Item>, Malformed>;
}

/// A question for all there are. Its `Display` is like that of a request.
pub trait Dump: fmt::Display {
    /// One of them.
    type Item;

    /// The kind of the message.
    fn kind(&self) -> u16;

    /// Writes what follows the header.
    fn write(&self, to: &mut Writer<'_>);

    /// Reads those that a message has.
    fn read(&self, message: &Message<'_>, into: &mut Vec<Self::Item>) -> Result<(), Malformed>;
}

/// A socket in the network namespace in which it was opened.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    next: Cell<u32>,
    buffer: RefCell<Vec<u8>>,
    trust: Trust,
}

/// Whose datagrams are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// The kernel's: other processes can send to a netlink socket, too.
    Kernel,
    /// Anybody's: of a pair of sockets, both are ours.
    #[cfg(test)]
    Anybody,
}

impl Socket {
    /// One to links, addresses, routes and traffic control of the caller's network namespace.
    pub fn route() -> Result<Self, RequestError> {
        let open = || {
            let socket = Self::open(None)?;
            sys::netlink::enable(socket.fd.as_fd(), Feature::FilteredLists)?;
            Ok(socket)
        };
        open().map_err(|error| RequestError::new("open a netlink socket", Cause::Open(error)))
    }

    /// One to the packet filter of the caller's network namespace.
    pub fn netfilter() -> Result<Self, RequestError> {
        Self::open(Some(netlink::NETFILTER))
            .map_err(|error| RequestError::new("open a netfilter socket", Cause::Open(error)))
    }

    /// Routing has number zero, which is no protocol.
    fn open(part: Option<rustix::net::Protocol>) -> std::io::Result<Self> {
        let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
        let fd = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, part)?;
        sys::netlink::enable(fd.as_fd(), Feature::Explanations)?;
        sys::netlink::enable(fd.as_fd(), Feature::ShortRefusals)?;
        sockopt::set_socket_timeout(&fd, sockopt::Timeout::Recv, Some(PATIENCE))?;
        // Beyond the host's limit with a right that not every caller has.
        if sockopt::set_socket_recv_buffer_size_force(&fd, WAITING).is_err() {
            sockopt::set_socket_recv_buffer_size(&fd, WAITING)?;
        }
        Ok(Self { fd, next: Cell::new(1), buffer: RefCell::default(), trust: Trust::Kernel })
    }

    /// Closes it without waiting until the kernel has freed what was deleted through it.
    pub fn close_behind(self) {
        sys::descriptor::close_behind(self.fd);
    }

    /// Does one thing.
    pub fn one(&self, request: &impl Request) -> Result<(), RequestError> {
        let mut batch = Batch::new();
        batch.add(request);
        self.run(batch).map(drop)
    }

    /// Asks for one thing.
    pub fn get<Q: Query>(&self, query: &Q) -> Result<Option<Q::Item>, RequestError> {
        let mut batch = Batch::new();
        batch.add_unless(query, Q::ABSENT);
        let replies = self.run(batch)?;
        let read = replies.first().map_or(Ok(None), Reply::read::<Q>);
        read.map_err(|error| RequestError::new(query, Cause::Malformed(error)))
    }

    /// Does what the batch says, in order. All requests are tried, also those that follow one that fails; the first
    /// failure is returned. Up to 64 requests of up to 128 KiB are sent at once.
    pub fn run(&self, mut batch: Batch) -> Result<Vec<Reply>, RequestError> {
        batch.sound()?;
        let mut replies = batch.replies();
        let mut failure = None;
        let mut from = 0;
        while let Some(piece) = batch.piece(from, SENT) {
            from = piece.requests.end;
            let failed = self.exchange(&mut batch, &piece, &mut replies)?;
            failure = failure.or(failed);
        }
        failure.map_or(Ok(replies), Err)
    }

    /// The same for a batch that is done as a whole or not at all: its first and its last request are the brackets.
    pub(crate) fn transact(&self, mut batch: Batch) -> Result<(), RequestError> {
        batch.sound()?;
        let mut replies = batch.replies();
        let Some(piece) = batch.bracketed() else { return Ok(()) };
        let length = piece.bytes.len();
        if length > SENT.bytes
            && sockopt::set_socket_send_buffer_size_force(&self.fd, length).is_err()
        {
            // Without the right to more than the host's limit, this is the most there is.
            let asked = sockopt::set_socket_send_buffer_size(&self.fd, length);
            asked.map_err(|errno| batch.error(0, Cause::Send(errno)))?;
        }
        self.exchange(&mut batch, &piece, &mut replies)?.map_or(Ok(()), Err)
    }

    /// Sends a piece and hears its answers. The first refusal comes back, an error means that answers are missing.
    fn exchange(
        &self,
        batch: &mut Batch,
        piece: &Piece,
        replies: &mut [Reply],
    ) -> Result<Option<RequestError>, RequestError> {
        let first = self.sequences(piece.requests.len());
        let bytes = batch.seal(piece, first);
        let start = piece.requests.start;
        self.send(bytes).map_err(|errno| batch.error(start, Cause::Send(errno)))?;
        let mut failure: Option<(usize, RequestError)> = None;
        // What there is an answer to has been done when the request is sent: where answers were lost, none will follow.
        let mut wait = RecvFlags::empty();
        loop {
            let received = self.receive(wait, |datagram| {
                let mut over = false;
                for message in Messages::new(datagram) {
                    let message = message?;
                    let Some((offset, answer)) = classify(&message, first, piece.requests.len())?
                    else {
                        continue;
                    };
                    let index = start.saturating_add(offset);
                    over |= index == piece.last;
                    match answer {
                        Answer::Done(None) => {}
                        Answer::Done(Some(refusal)) => {
                            over |= index == piece.decisive;
                            let errno = refusal.errno;
                            if batch.is_fine(index, errno) {
                                if let Some(reply) = replies.get_mut(index) {
                                    reply.refused = Some(errno);
                                }
                            } else if failure.as_ref().is_none_or(|(known, _)| index < *known) {
                                failure =
                                    Some((index, batch.error(index, Cause::Refused(refusal))));
                            }
                        }
                        Answer::Part => {
                            // It is not the end of its request.
                            over &= index != piece.last;
                            if let Some(reply) = replies.get_mut(index) {
                                reply.messages.push(Received::new(&message));
                            }
                        }
                    }
                }
                Ok(over)
            });
            match received {
                Ok(true) => return Ok(failure.map(|(_, error)| error)),
                Ok(false) => {}
                Err(Cause::Receive(Errno::NOBUFS)) => wait = RecvFlags::DONTWAIT,
                Err(Cause::Late) if wait == RecvFlags::DONTWAIT => {
                    let lost = || batch.error(start, Cause::Receive(Errno::NOBUFS));
                    return Err(failure.map_or_else(lost, |(_, error)| error));
                }
                Err(cause) => return Err(batch.error(start, cause)),
            }
        }
    }

    /// Lists all there are; begins anew where they change meanwhile.
    pub fn dump<D: Dump>(&self, question: &D) -> Result<Vec<D::Item>, RequestError> {
        let fail = |cause| RequestError::new(question, cause);
        for _ in 0..TRIES {
            let sequence = self.sequences(1);
            let flags = flags::REQUEST | flags::DUMP;
            let mut bytes = Vec::new();
            let mut writer =
                Writer::new(&mut bytes, Header { kind: question.kind(), flags, sequence });
            question.write(&mut writer);
            if !writer.finish() {
                return Err(fail(Cause::TooLong));
            }
            self.send(&bytes).map_err(|errno| fail(Cause::Send(errno)))?;
            let mut gathered = Gathered::new(sequence);
            while !gathered.is_over() {
                match self.receive(RecvFlags::empty(), |datagram| {
                    gathered.take(datagram, |m, i| question.read(m, i))
                }) {
                    Ok(()) => {}
                    // Something is missing: it is read to its end and begun anew.
                    Err(Cause::Receive(Errno::NOBUFS)) => gathered.interrupt(),
                    Err(cause) => return Err(fail(cause)),
                }
            }
            if let Some(items) = gathered.finish().map_err(|r| fail(Cause::Refused(r)))? {
                return Ok(items);
            }
        }
        Err(fail(Cause::Changing))
    }

    /// The first of so many new numbers of requests.
    fn sequences(&self, count: usize) -> u32 {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let first = self.next.get();
        // Zero would be a message that nobody asked for.
        let first = if first.checked_add(count).is_none() { 1 } else { first };
        self.next.set(first.saturating_add(count));
        first
    }

    fn send(&self, bytes: &[u8]) -> Result<(), Errno> {
        rustix::io::retry_on_intr(|| rustix::net::send(&self.fd, bytes, SendFlags::empty()))
            .map(drop)
    }

    /// One datagram of the kernel.
    fn receive<T>(
        &self,
        wait: RecvFlags,
        mut with: impl FnMut(&[u8]) -> Result<T, Malformed>,
    ) -> Result<T, Cause> {
        let mut buffer = self.buffer.borrow_mut();
        loop {
            buffer.clear();
            buffer.reserve(DATAGRAM);
            // With this flag, the length is that of the datagram, not of what fits.
            let asked = rustix::io::retry_on_intr(|| {
                let room = rustix::buffer::spare_capacity(&mut buffer);
                rustix::net::recvfrom(&self.fd, room, RecvFlags::TRUNC | wait)
            });
            let (_, length, sender) = match asked {
                Err(Errno::AGAIN) => return Err(Cause::Late),
                asked => asked.map_err(Cause::Receive)?,
            };
            let sender =
                sender.and_then(|address| netlink::SocketAddrNetlink::try_from(address).ok());
            if self.trust == Trust::Kernel && sender.is_none_or(|address| address.pid() != 0) {
                continue;
            }
            if length > buffer.len() {
                return Err(Cause::Truncated);
            }
            return with(&buffer).map_err(Cause::Malformed);
        }
    }
}
