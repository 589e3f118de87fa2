//! One stream between a port of the guest's and a socket of the host's.

use super::header::{HOST, Header, NO_RECEIVE, NO_SEND, Operation, STREAM};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

/// How much of what the guest sends is kept for a host that does not read, in bytes: what it is told it may send.
pub(super) const ROOM: u32 = 64 << 10;
/// How much is read of the host's side ahead of the guest, in bytes.
const AHEAD: usize = 16 << 10;

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: UnixStream,
    guest: (u64, u32),
    port: u32,
    /// From the guest, for the host.
    inward: VecDeque<u8>,
    /// Bytes received of the guest, and of them passed on, modulo 2^32; and what of the latter the guest knows.
    received: u32,
    forwarded: u32,
    told: u32,
    /// From the host, for the guest.
    outward: VecDeque<u8>,
    /// Bytes sent to the guest, modulo 2^32, and what it said of its room.
    sent: u32,
    room: u32,
    taken: u32,
    to_guest: Flow,
    to_host: Flow,
    /// The guest has forgotten the connection, and hears no more of it.
    forgotten: bool,
}

/// How far one direction has come: both ends of it must learn that it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// More may come.
    Open,
    /// Its sender has said all.
    Ended,
    /// Its receiver knows.
    Told,
}

impl Connection {
    /// A connection that the guest has asked for by this packet.
    ///
    /// # Errors
    /// The socket cannot be used without waiting for it.
    pub(super) fn new(stream: UnixStream, request: &Header) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            guest: request.from,
            port: request.to.1,
            inward: VecDeque::new(),
            received: 0,
            forwarded: 0,
            told: 0,
            outward: VecDeque::new(),
            sent: 0,
            room: request.room,
            taken: request.forwarded,
            to_guest: Flow::Open,
            to_host: Flow::Open,
            forgotten: false,
        })
    }

    /// A packet of this connection to the guest.
    pub(super) fn header(&mut self, operation: Operation, length: u32, flags: u32) -> Header {
        self.told = self.forwarded;
        Header {
            from: (HOST, self.port),
            to: self.guest,
            length,
            kind: STREAM,
            operation: Some(operation),
            flags,
            room: ROOM,
            forwarded: self.forwarded,
        }
    }

    /// Notes what the guest says of its room.
    pub(super) fn credit(&mut self, header: &Header) {
        (self.room, self.taken) = (header.room, header.forwarded);
    }

    /// How much the guest may be sent.
    fn allowance(&self) -> usize {
        let on_the_way = self.sent.wrapping_sub(self.taken);
        usize::try_from(self.room.saturating_sub(on_the_way)).unwrap_or_default()
    }

    /// Takes bytes of the guest's; `false` if they are more than it may send.
    #[must_use]
    pub(super) fn receive(&mut self, bytes: &[u8]) -> bool {
        let waiting = u64::from(self.received.wrapping_sub(self.forwarded));
        if waiting + bytes.len() as u64 > u64::from(ROOM) || self.to_host != Flow::Open {
            return false;
        }
        self.received = self.received.wrapping_add(u32::try_from(bytes.len()).unwrap_or_default());
        self.inward.extend(bytes);
        true
    }

    /// The guest says by these flags what it will not do any more.
    pub(super) fn shut(&mut self, flags: u32) {
        if flags & NO_SEND != 0 && self.to_host == Flow::Open {
            self.to_host = Flow::Ended;
        }
        if flags & NO_RECEIVE != 0 {
            self.outward.clear();
            drop(self.stream.shutdown(Shutdown::Read));
            self.to_guest = Flow::Told;
        }
    }

    /// The guest has given the connection up. Whether something is left of it: what a guest has sent before it said that
    /// this was all is still the host's. A guest waits only some seconds for the host to read that.
    #[must_use]
    pub(super) fn forget(&mut self) -> bool {
        self.forgotten = true;
        self.outward.clear();
        self.to_guest = Flow::Told;
        self.to_host == Flow::Ended
    }

    /// Whether the guest knows of the connection.
    pub(super) fn is_known(&self) -> bool {
        !self.forgotten
    }

    /// Moves what can be moved on the host's side without waiting.
    ///
    /// # Errors
    /// That side is gone.
    pub(super) fn carry(&mut self) -> io::Result<()> {
        while !self.inward.is_empty() {
            let (front, _) = self.inward.as_slices();
            match self.stream.write(front) {
                Ok(count) => {
                    drop(self.inward.drain(..count));
                    let count = u32::try_from(count).unwrap_or_default();
                    self.forwarded = self.forwarded.wrapping_add(count);
                }
                Err(error) if waits(&error) => break,
                Err(error) => return Err(error),
            }
        }
        if self.to_host == Flow::Ended && self.inward.is_empty() {
            self.to_host = Flow::Told;
            drop(self.stream.shutdown(Shutdown::Write));
        }
        while self.outward.is_empty() && self.to_guest == Flow::Open {
            let mut bytes = [0; AHEAD];
            match self.stream.read(&mut bytes) {
                Ok(0) => self.to_guest = Flow::Ended,
                Ok(count) => self.outward.extend(bytes.iter().take(count)),
                Err(error) if waits(&error) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Which events of the host's side matter now: something to read, room to write.
    pub(super) fn interests(&self) -> (bool, bool) {
        (self.outward.is_empty() && self.to_guest == Flow::Open, !self.inward.is_empty())
    }

    /// Whether there is something to be told to the guest.
    pub(super) fn has_news(&self) -> bool {
        if self.forgotten {
            return false;
        }
        let heard = self.forwarded.wrapping_sub(self.told) > ROOM / 2;
        let data = !self.outward.is_empty() && self.allowance() > 0;
        let end = self.to_guest == Flow::Ended && self.outward.is_empty();
        data || end || heard
    }

    /// Whether both sides have said all, and it is known to them.
    pub(super) fn is_over(&self) -> bool {
        self.to_host == Flow::Told && self.to_guest == Flow::Told && self.outward.is_empty()
    }

    /// The next packet for the guest, with at most so many bytes.
    pub(super) fn next(&mut self, most: usize) -> Option<(Header, Vec<u8>)> {
        let count = self.outward.len().min(self.allowance()).min(most);
        if count > 0 {
            let bytes: Vec<u8> = self.outward.drain(..count).collect();
            let length = u32::try_from(count).unwrap_or_default();
            self.sent = self.sent.wrapping_add(length);
            return Some((self.header(Operation::Data, length, 0), bytes));
        }
        if self.to_guest == Flow::Ended && self.outward.is_empty() {
            self.to_guest = Flow::Told;
            return Some((self.header(Operation::Shutdown, 0, NO_SEND), Vec::new()));
        }
        self.has_news().then(|| (self.header(Operation::Credit, 0, 0), Vec::new()))
    }
}

fn waits(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
