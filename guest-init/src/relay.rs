//! Streams, carried between the pipes and terminals of processes and their connections to the host.
//!
//! A process never has the connection itself: `/dev/stdout` of a socket cannot be opened, and images do that.

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};

/// What is read at once, and at most held.
const PIECE: usize = 16 << 10;
/// What a pipe holds at most, unless somebody has made it larger.
const PIPE: usize = 64 << 10;

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the host to a process.
    In,
    /// From a process to the host.
    Out,
}

/// One direction of one stream.
#[derive(Debug)]
pub struct Relay {
    way: Way,
    from: Option<OwnedFd>,
    to: Option<OwnedFd>,
    held: Vec<u8>,
}

impl Relay {
    /// Carries from one descriptor to another; neither blocks.
    pub fn new(way: Way, from: OwnedFd, to: OwnedFd) -> Self {
        Self { way, from: Some(from), to: Some(to), held: Vec::new() }
    }

    /// Which way it carries.
    pub fn way(&self) -> Way {
        self.way
    }

    /// What to wait for.
    pub fn interest(&self) -> Option<PollFd<'_>> {
        match (&self.from, &self.to) {
            (_, Some(to)) if !self.held.is_empty() => Some(PollFd::new(to, PollFlags::OUT)),
            (Some(from), _) => Some(PollFd::new(from, PollFlags::IN)),
            _ => None,
        }
    }

    /// Whether all was carried that there will be.
    pub fn is_done(&self) -> bool {
        self.from.is_none() && self.held.is_empty()
    }

    /// Carries what is ready.
    pub fn carry(&mut self) {
        if self.held.is_empty() {
            self.read();
        }
        self.write();
        if self.is_done() {
            self.close();
        }
    }

    /// Carries on until there is nothing to be read now or no room for it, but no more than a pipe holds: a writer that
    /// still lives may go on for ever.
    pub fn exhaust(&mut self) {
        for _ in 0..=PIPE / PIECE {
            self.carry();
            if self.is_done() || !self.held.is_empty() {
                return;
            }
        }
    }

    fn read(&mut self) {
        let Some(from) = &self.from else { return };
        let mut bytes = [0_u8; PIECE];
        match rustix::io::read(from, &mut bytes) {
            Err(Errno::INTR | Errno::AGAIN) => {}
            // A terminal whose last user is gone says EIO: an end, not an error.
            Ok(0) | Err(_) => self.from = None,
            // The host may have no reader: the process goes on.
            Ok(_) if self.to.is_none() => {}
            Ok(length) => self.held.extend_from_slice(bytes.get(..length).unwrap_or_default()),
        }
    }

    fn write(&mut self) {
        let Some(to) = &self.to else { return self.held.clear() };
        if self.held.is_empty() {
            return;
        }
        match rustix::io::write(to, &self.held) {
            Ok(written) => drop(self.held.drain(..written)),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => {
                self.held = Vec::new();
                self.to = None;
                if self.way == Way::In {
                    // Nobody will ever read: the host shall know.
                    self.from = None;
                }
            }
        }
    }

    /// Tells the other side that nothing more comes: by its closing for a pipe, by half of it for a connection.
    fn close(&mut self) {
        if let Some(to) = self.to.take()
            && self.way == Way::Out
            && let Err(error) = rustix::net::shutdown(to.as_fd(), Shutdown::Write)
        {
            log::debug!("cannot end a stream: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    use rustix::pipe::{PipeFlags, pipe_with};
    use std::fs::File;
    use std::io::{Read, Write};

    fn sockets() -> (OwnedFd, File) {
        let (family, kind) = (AddressFamily::UNIX, SocketType::STREAM);
        let (a, b) = socketpair(family, kind, SocketFlags::NONBLOCK, None).unwrap();
        (a, File::from(b))
    }

    #[test]
    fn an_end_is_passed_on_after_the_last_byte() {
        let (read, write) = pipe_with(PipeFlags::NONBLOCK).unwrap();
        let (ours, mut host) = sockets();
        let mut relay = Relay::new(Way::Out, read, ours);
        let mut app = File::from(write);
        app.write_all(b"one").unwrap();
        relay.carry();
        app.write_all(b"two").unwrap();
        drop(app);
        while !relay.is_done() {
            relay.carry();
        }
        let mut text = String::new();
        host.read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), relay.interest().is_none()), ("onetwo", true));
    }

    #[test]
    fn all_that_lies_in_a_pipe_is_carried_and_no_more_is_waited_for() {
        let (read, write) = pipe_with(PipeFlags::NONBLOCK).unwrap();
        let (ours, mut host) = sockets();
        let mut relay = Relay::new(Way::Out, read, ours);
        rustix::io::write(&write, &vec![7; PIPE]).unwrap();
        relay.exhaust();
        let mut all = vec![0; PIPE];
        host.read_exact(&mut all).unwrap();
        assert!(!relay.is_done());
    }

    #[test]
    fn a_reader_that_does_not_read_holds_the_writer_and_one_that_is_gone_does_not() {
        let (read, write) = pipe_with(PipeFlags::NONBLOCK).unwrap();
        let (ours, host) = sockets();
        let mut relay = Relay::new(Way::Out, read, ours);
        let mut carried = 0;
        while rustix::io::write(&write, &[1; PIECE]).is_ok() {
            carried += 1;
            (0..8).for_each(|_| relay.carry());
        }
        assert!(carried > 4 && relay.held.len() <= PIECE);
        drop(host);
        for _ in 0..100 {
            (0..8).for_each(|_| relay.carry());
            rustix::io::write(&write, &[1; PIECE]).unwrap();
        }
        assert!(relay.held.is_empty() && !relay.is_done());
    }

    #[test]
    fn who_has_closed_its_input_ends_the_stream() {
        let (read, write) = pipe_with(PipeFlags::NONBLOCK).unwrap();
        let (ours, mut host) = sockets();
        let mut relay = Relay::new(Way::In, ours, write);
        drop(read);
        host.write_all(b"x").unwrap();
        sys::signal::ignore_broken_pipes();
        relay.carry();
        assert!(relay.is_done());
        rustix::io::write(&host, b"y").unwrap_err();
    }
}
