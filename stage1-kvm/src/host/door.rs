//! Where others on this host have commands run inside the pod: a socket in the pod folder.
//!
//! Whoever connects speaks the same wire as the supervisor does with the guest: an exec, then sizes of its terminal and
//! signals, or an export; it hears that the command was started, with all of the command's streams as descriptors, and how
//! it ended. The number of the command is always 0 there: the supervisor gives it another one towards the guest.

use pod_proto::config::Dialogue;
use pod_proto::frame::{Decoder, Message as _};
use pod_proto::message::{Exec, Export};
use pod_proto::{FromGuest, FromHost, Process, Stream};
use rustix::event::{PollFd, PollFlags};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use stage1_abi::PodDir;
use std::io::{self, IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use sys::signal::number;

/// The socket, in the pod folder.
const PATH: &str = "rkt/door";
/// Callers at once.
const CALLERS: usize = 64;
/// What is read at once.
const PIECE: usize = 16 << 10;

/// Somebody who wants, or has, a command run.
#[derive(Debug)]
struct Client {
    stream: UnixStream,
    decoder: Decoder<FromHost>,
    /// Its number towards the guest.
    command: Option<u32>,
    streams: Vec<(Stream, OwnedFd)>,
    /// How many streams are still to come: connections of the guest's overtake its words.
    due: usize,
    /// What is not said before they have come.
    unsaid: Vec<FromGuest>,
    over: bool,
}

/// The socket and those who came by it.
#[derive(Debug)]
pub struct Door {
    listener: UnixListener,
    clients: Vec<Client>,
    next: u32,
}

/// The way to it, which is short however deep the folder lies.
pub fn path(dir: &PodDir) -> String {
    format!("{}/{PATH}", sys::path::of_descriptor(dir.as_fd()))
}

/// What one descriptor of a poll is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    /// Somebody new.
    Knock,
    /// Somebody who is there.
    Client(usize),
}

impl Door {
    /// Opens it in a pod folder.
    ///
    /// # Errors
    /// As bind(2).
    pub fn open(dir: &PodDir) -> io::Result<Self> {
        let before = rustix::process::umask(Mode::from_raw_mode(0o177));
        let listener = UnixListener::bind(path(dir));
        rustix::process::umask(before);
        let listener = listener?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, clients: Vec::new(), next: 1 })
    }

    /// What to wait for.
    pub fn interests<'a>(&'a self, into: &mut Vec<(Ready, PollFd<'a>)>) {
        if self.clients.len() < CALLERS {
            into.push((Ready::Knock, PollFd::new(&self.listener, PollFlags::IN)));
        }
        for (index, client) in self.clients.iter().enumerate() {
            into.push((Ready::Client(index), PollFd::new(&client.stream, PollFlags::IN)));
        }
    }

    /// Deals with a descriptor that is ready: what is to be told to the guest.
    pub fn carry(&mut self, ready: Ready) -> Vec<FromHost> {
        match ready {
            Ready::Knock => {
                if let Err(error) = self.admit() {
                    log::debug!("nobody comes in: {error}");
                }
                Vec::new()
            }
            Ready::Client(index) => self.hear(index),
        }
    }

    /// Forgets those who are done. Numbers of clients are good until then.
    pub fn tidy(&mut self) {
        self.clients.retain(|client| !client.over);
    }

    fn admit(&mut self) -> io::Result<()> {
        let (stream, _) = self.listener.accept()?;
        // The mode of the socket says so already; a folder may have been copied with another one.
        let credentials = rustix::net::sockopt::socket_peercred(&stream)?;
        if credentials.uid != rustix::process::geteuid() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        stream.set_nonblocking(true)?;
        let decoder = Decoder::default();
        self.clients.push(Client {
            stream,
            decoder,
            command: None,
            streams: Vec::new(),
            due: 0,
            unsaid: Vec::new(),
            over: false,
        });
        Ok(())
    }

    fn hear(&mut self, index: usize) -> Vec<FromHost> {
        let Some(client) = self.clients.get_mut(index) else { return Vec::new() };
        let mut wanted = Vec::new();
        let mut bytes = [0; PIECE];
        let count = match client.stream.read(&mut bytes) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return wanted,
            Err(_) => 0,
        };
        let mut rest = bytes.get(..count).unwrap_or_default();
        loop {
            match client.decoder.feed(&mut rest) {
                Ok(None) => break,
                Ok(Some(message)) => {
                    if let Some(message) = client.rewrite(message, self.next) {
                        if matches!(message, FromHost::Exec(_) | FromHost::Export(_)) {
                            self.next = self.next.wrapping_add(1);
                        }
                        wanted.push(message);
                    }
                }
                Err(error) => {
                    log::debug!("a command is not understood: {error}");
                    client.over = true;
                    break;
                }
            }
        }
        // Who is gone cannot wait for its command, which hears that like the end of its terminal.
        client.over |= count == 0;
        if client.over
            && let Some(id) = client.command.take()
        {
            let hang_up = u8::try_from(number::HANGUP).unwrap_or(1);
            wanted.push(FromHost::Signal(Process::Exec(id), hang_up));
        }
        wanted
    }

    fn of(&mut self, id: u32) -> Option<&mut Client> {
        self.clients.iter_mut().find(|client| client.command == Some(id) && !client.over)
    }

    /// A stream of a command.
    pub fn opened(&mut self, id: u32, stream: Stream, fd: OwnedFd) {
        if let Some(client) = self.of(id) {
            client.streams.push((stream, fd));
            client.due = client.due.saturating_sub(1);
            client.speak();
        }
    }

    /// The guest says something of a command.
    pub fn told(&mut self, message: &FromGuest) {
        let own = Process::Exec(0);
        let (id, answer) = match message {
            FromGuest::Started(Process::Exec(id), pid) => (*id, FromGuest::Started(own, *pid)),
            FromGuest::Exited(Process::Exec(id), end) => (*id, FromGuest::Exited(own, *end)),
            FromGuest::Refused(id, why) => (*id, FromGuest::Refused(0, why.clone())),
            _ => return,
        };
        let Some(client) = self.of(id) else { return };
        if matches!(answer, FromGuest::Refused(..)) {
            // It may have failed over its streams.
            client.due = 0;
        }
        client.unsaid.push(answer);
        client.speak();
    }

    /// The guest was not told of a command.
    pub fn refused(&mut self, message: &FromHost, why: &str) {
        if let FromHost::Exec(Exec { id, .. }) | FromHost::Export(Export { id, .. }) = message {
            let why = pod_proto::text::Sentence::new(why);
            self.told(&FromGuest::Refused(*id, why));
        }
    }
}

impl Client {
    /// What it may say, with the number that the guest knows.
    fn rewrite(&mut self, message: FromHost, next: u32) -> Option<FromHost> {
        match (message, self.command) {
            (FromHost::Exec(exec), None) => {
                self.command = Some(next);
                self.due = exec.dialogue.streams().len();
                Some(FromHost::Exec(Exec { id: next, ..exec }))
            }
            (FromHost::Export(export), None) => {
                self.command = Some(next);
                self.due = Dialogue::Silent.streams().len();
                Some(FromHost::Export(Export { id: next, ..export }))
            }
            (FromHost::Resize(_, size), Some(id)) => {
                Some(FromHost::Resize(Process::Exec(id), size))
            }
            (FromHost::Signal(_, signal), Some(id)) => {
                Some(FromHost::Signal(Process::Exec(id), signal))
            }
            _ => None,
        }
    }

    /// Says what may be said by now.
    fn speak(&mut self) {
        if self.due > 0 {
            return;
        }
        for answer in std::mem::take(&mut self.unsaid) {
            if !matches!(answer, FromGuest::Started(..)) {
                self.command = None;
            }
            if let Err(error) = self.answer(&answer) {
                log::debug!("somebody who had a command run is gone: {error}");
                self.over = true;
            }
        }
    }

    fn answer(&mut self, answer: &FromGuest) -> io::Result<()> {
        let bytes = answer.encode().map_err(io::Error::other)?;
        let mut streams = std::mem::take(&mut self.streams);
        streams.sort_by_key(|(stream, _)| place(*stream));
        let handed: Vec<BorrowedFd<'_>> = streams.iter().map(|(_, fd)| fd.as_fd()).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !handed.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(&handed));
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        loop {
            match sendmsg(&self.stream, &[IoSlice::new(&bytes)], &mut ancillary, flags) {
                Err(Errno::INTR) => {}
                Ok(count) if count == bytes.len() => return Ok(()),
                Ok(_) => return Err(io::ErrorKind::WriteZero.into()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// In which order streams are handed over.
fn place(stream: Stream) -> u8 {
    match stream {
        Stream::Input | Stream::Terminal => 0,
        Stream::Output => 1,
        Stream::Error => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::visitor::Visitor;
    use pod_proto::message::End;
    use std::io::Write as _;

    #[test]
    fn nothing_is_said_before_all_streams_are_there() {
        let path = std::env::temp_dir().join(format!("kvm-door-{}", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut door = Door { listener, clients: Vec::new(), next: 5 };
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        door.clients.push(Client {
            stream: theirs,
            decoder: Decoder::default(),
            command: None,
            streams: Vec::new(),
            due: 0,
            unsaid: Vec::new(),
            over: false,
        });
        let asked = FromHost::Export(Export { id: 0, app: 1 });
        (&ours).write_all(&asked.encode().unwrap()).unwrap();
        assert_eq!(door.carry(Ready::Client(0)), [FromHost::Export(Export { id: 5, app: 1 })]);
        // One thing at a time.
        (&ours).write_all(&asked.encode().unwrap()).unwrap();
        assert_eq!(door.carry(Ready::Client(0)), []);

        let command = Process::Exec(5);
        let null = || sys::descriptor::null_device(false).unwrap();
        door.told(&FromGuest::Started(command, 9));
        door.opened(5, Stream::Error, null());
        door.told(&FromGuest::Exited(command, End::Code(0)));
        ours.set_nonblocking(true).unwrap();
        assert_eq!((&ours).read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        door.opened(5, Stream::Output, null());
        let mut visitor = Visitor::of(ours);
        let said = visitor.hear().unwrap();
        assert_eq!(said.streams.len(), 2);
        let mut messages = said.messages;
        if messages.len() < 2 {
            messages.extend(visitor.hear().unwrap().messages);
        }
        let own = Process::Exec(0);
        let expected = [FromGuest::Started(own, 9), FromGuest::Exited(own, End::Code(0))];
        assert_eq!(messages, expected);

        // Whose command was refused may ask again.
        visitor.say(&asked).unwrap();
        let again = door.carry(Ready::Client(0));
        assert_eq!(again, [FromHost::Export(Export { id: 6, app: 1 })]);
        door.refused(&again[0], "no");
        let said = visitor.hear().unwrap();
        assert_eq!(said.messages, [FromGuest::Refused(0, pod_proto::text::Sentence::new("no"))]);
    }
}
