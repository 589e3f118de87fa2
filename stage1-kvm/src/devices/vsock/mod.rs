//! The socket device (virtio 1.2, section 5.10): streams that the guest opens to ports of the host's.
//!
//! There is no number of the machine's in the host, and no path: whoever makes the device says what a port leads to.
//! Everything is bounded: connections, what is kept of either side, answers that the guest does not fetch.

mod connection;
mod header;

use super::virtio::{Chain, Device, Misused, Source};
use connection::{Connection, ROOM};
use header::{HOST, Header, LENGTH, Operation, STREAM};
use rustix::event::epoll::{self, EventData, EventFlags};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use vm_memory::GuestMemoryMmap;

const QUEUES: [u16; 3] = [128, 128, 16];
/// The queues by which the guest receives, and sends.
const RECEIVE: usize = 0;
const SEND: usize = 1;
/// The most connections there are at once.
const MOST: usize = 256;
/// The most answers that wait for the guest to fetch them: before more are made, it must.
const ANSWERS: usize = 64;

/// Ports of the host's and of the guest's.
type Ports = (u32, u32);
/// Opens what a port of the host's leads to.
pub type Open = Box<dyn FnMut(u32) -> io::Result<UnixStream> + Send>;

/// The device.
pub struct Vsock {
    configuration: [u8; 8],
    guest: u64,
    open: Open,
    poll: OwnedFd,
    connections: BTreeMap<Ports, Connection>,
    /// Packets that carry nothing.
    answers: VecDeque<Header>,
    /// Who was served last: the others come first.
    last: Ports,
}

impl std::fmt::Debug for Vsock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vsock")
            .field("connections", &self.connections.len())
            .finish_non_exhaustive()
    }
}

impl Vsock {
    /// A device for a guest of this number.
    ///
    /// # Errors
    /// The kernel gives no descriptor.
    pub fn new(guest: u32, open: Open) -> io::Result<Self> {
        Ok(Self {
            configuration: u64::from(guest).to_le_bytes(),
            guest: guest.into(),
            open,
            poll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            connections: BTreeMap::new(),
            answers: VecDeque::new(),
            last: (0, 0),
        })
    }

    /// Refuses a packet, unless it is a refusal.
    fn refuse(&mut self, header: &Header) {
        if header.operation == Some(Operation::Reset) {
            return;
        }
        self.answers.push_back(Header {
            from: header.to,
            to: header.from,
            length: 0,
            kind: header.kind,
            operation: Some(Operation::Reset),
            flags: 0,
            room: 0,
            forwarded: 0,
        });
    }

    fn hear(&mut self, header: &Header, bytes: &[u8]) {
        let ports = (header.to.1, header.from.1);
        let meant = header.to.0 == HOST && header.from.0 == self.guest && header.kind == STREAM;
        if !meant {
            return self.refuse(header);
        }
        if header.operation == Some(Operation::Request) {
            return self.connect(ports, header);
        }
        let Some(connection) = self.connections.get_mut(&ports) else {
            return self.refuse(header);
        };
        connection.credit(header);
        let sound = match header.operation {
            Some(Operation::Data) => connection.receive(bytes),
            Some(Operation::Shutdown) => {
                connection.shut(header.flags);
                true
            }
            Some(Operation::CreditRequest) => {
                let answer = connection.header(Operation::Credit, 0, 0);
                self.answers.push_back(answer);
                true
            }
            Some(Operation::Credit) => true,
            Some(Operation::Reset) => connection.forget(),
            _ => false,
        };
        if !sound {
            self.connections.remove(&ports);
            return self.refuse(header);
        }
        self.carry(ports);
    }

    fn connect(&mut self, ports: Ports, header: &Header) {
        if let Some(known) = self.connections.get(&ports) {
            // A port that the guest uses again, while the host reads what came by it before, is no contradiction: it may
            // try again.
            if known.is_known() {
                self.connections.remove(&ports);
            }
            return self.refuse(header);
        }
        if self.connections.len() >= MOST {
            return self.refuse(header);
        }
        let opened = (self.open)(ports.0).and_then(|stream| {
            let connection = Connection::new(stream, header)?;
            let events = EventFlags::IN | EventFlags::ONESHOT;
            epoll::add(&self.poll, &connection.stream, data(ports), events)?;
            Ok(connection)
        });
        match opened {
            Ok(mut connection) => {
                self.answers.push_back(connection.header(Operation::Response, 0, 0));
                self.connections.insert(ports, connection);
            }
            Err(error) => {
                log::debug!("the guest cannot reach port {}: {error}", ports.0);
                self.refuse(header);
            }
        }
    }

    /// Moves what can be moved on the host's side of a connection, and waits for the rest.
    fn carry(&mut self, ports: Ports) {
        let Some(connection) = self.connections.get_mut(&ports) else { return };
        let mut outcome = connection.carry();
        if outcome.is_ok() {
            let (read, write) = connection.interests();
            let mut events = EventFlags::ONESHOT;
            events.set(EventFlags::IN, read);
            events.set(EventFlags::OUT, write);
            // Without an interest it must not be armed: a side that hung up would be told of for ever.
            if read || write {
                let set = epoll::modify(&self.poll, &connection.stream, data(ports), events);
                outcome = set.map_err(Into::into);
            }
        }
        if outcome.is_err() || connection.is_over() {
            if connection.is_known() {
                let answer = connection.header(Operation::Reset, 0, 0);
                self.answers.push_back(answer);
            }
            self.connections.remove(&ports);
        }
    }

    /// The next connection that has something for the guest, after the one that was served last.
    fn next(&self) -> Option<Ports> {
        let after = self
            .connections
            .range((std::ops::Bound::Excluded(self.last), std::ops::Bound::Unbounded));
        let before = self.connections.range(..=self.last);
        after.chain(before).find_map(|(ports, connection)| connection.has_news().then_some(*ports))
    }

    fn packet(&mut self, most: usize) -> Option<(Header, Vec<u8>)> {
        if let Some(answer) = self.answers.pop_front() {
            return Some((answer, Vec::new()));
        }
        let ports = self.next()?;
        self.last = ports;
        let packet = self.connections.get_mut(&ports)?.next(most);
        self.carry(ports);
        packet
    }

    fn send(&mut self, chain: Chain<'_>, memory: &GuestMemoryMmap) -> Result<u32, Misused> {
        let mut writer = chain.writer::<()>(memory)?;
        let room = writer.available_bytes();
        let most = room.checked_sub(LENGTH).ok_or(Misused::Request("no room for a packet"))?;
        let Some((header, bytes)) = self.packet(most) else { return Ok(0) };
        let written = writer.write_all(&header.encode()).and_then(|()| writer.write_all(&bytes));
        written.map_err(|_| Misused::Request("no room for a packet"))?;
        Ok(u32::try_from(LENGTH + bytes.len()).unwrap_or_default())
    }

    fn receive(&mut self, chain: Chain<'_>, memory: &GuestMemoryMmap) -> Result<(), Misused> {
        let mut reader = chain.reader::<()>(memory)?;
        let mut head = [0; LENGTH];
        reader.read_exact(&mut head).map_err(|_| Misused::Request("a packet without a head"))?;
        let header = Header::decode(&head);
        if header.length > ROOM {
            return Err(Misused::Request("a packet of more than anybody may send"));
        }
        let mut bytes = vec![0; usize::try_from(header.length).unwrap_or_default()];
        reader.read_exact(&mut bytes).map_err(|_| Misused::Request("a packet is cut off"))?;
        self.hear(&header, &bytes);
        Ok(())
    }
}

fn data((host, guest): Ports) -> EventData {
    EventData::new_u64(u64::from(host) << 32 | u64::from(guest))
}

fn ports(data: EventData) -> Ports {
    let value = data.u64();
    let half = |value: u64| u32::try_from(value & 0xffff_ffff).unwrap_or_default();
    (half(value >> 32), half(value))
}

impl Device for Vsock {
    fn kind(&self) -> u32 {
        19
    }

    fn features(&self) -> u64 {
        0
    }

    fn queues(&self) -> &[u16] {
        &QUEUES
    }

    fn configuration(&self) -> &[u8] {
        &self.configuration
    }

    fn wants(&self, queue: usize) -> bool {
        match queue {
            RECEIVE => !self.answers.is_empty() || self.next().is_some(),
            SEND => self.answers.len() < ANSWERS,
            // Events tell of a machine that was moved, which none is.
            _ => false,
        }
    }

    fn serve(
        &mut self,
        queue: usize,
        chain: Chain<'_>,
        memory: &GuestMemoryMmap,
    ) -> Result<u32, Misused> {
        if queue == RECEIVE {
            return self.send(chain, memory);
        }
        self.receive(chain, memory)?;
        Ok(0)
    }

    fn source(&self) -> Option<Source<'_>> {
        Some(Source::Filled(self.poll.as_fd()))
    }

    fn woken(&mut self) {
        let mut events = Vec::with_capacity(MOST);
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        let waited =
            epoll::wait(&self.poll, rustix::buffer::spare_capacity(&mut events), Some(&now));
        if let Err(error) = waited {
            log::debug!("sockets cannot be waited for: {error}");
        }
        for event in events {
            self.carry(ports(event.data));
        }
    }

    fn reset(&mut self) {
        self.connections.clear();
        self.answers.clear();
    }
}

#[cfg(test)]
mod tests;
