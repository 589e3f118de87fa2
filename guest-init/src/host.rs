//! The control connection, as init sees it: messages in and out, without ever blocking on a host that does not read.

use crate::error::{Doing, InitError};
use pod_proto::frame::Message as _;
use pod_proto::text::Sentence;
use pod_proto::{Decoder, FromGuest, FromHost};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};
use sys::cause::chain;

/// What is read at once.
const PIECE: usize = 16 << 10;
/// How long the host may take to hear why there is no pod, or none any more.
const PARTING: Duration = Duration::from_secs(5);

/// The connection.
#[derive(Debug)]
pub struct Host {
    fd: OwnedFd,
    decoder: Decoder<FromHost>,
    heard: VecDeque<FromHost>,
    unsaid: Vec<u8>,
}

impl AsFd for Host {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Host {
    /// The connection that was made for control, and does not block.
    pub fn new(fd: OwnedFd) -> Self {
        Self { fd, decoder: Decoder::default(), heard: VecDeque::new(), unsaid: Vec::new() }
    }

    /// Says something, as soon as the host takes it.
    ///
    /// # Errors
    /// The host is gone.
    pub fn say(&mut self, message: &FromGuest) -> Result<(), InitError> {
        self.unsaid.extend(message.encode()?);
        self.flush()
    }

    /// What to wait for.
    pub fn interest(&self) -> PollFlags {
        if self.unsaid.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT }
    }

    /// Says what was left unsaid, as far as the host takes it now.
    ///
    /// # Errors
    /// The host is gone.
    pub fn flush(&mut self) -> Result<(), InitError> {
        while !self.unsaid.is_empty() {
            match rustix::io::write(&self.fd, &self.unsaid) {
                Ok(written) => drop(self.unsaid.drain(..written)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(InitError::Gone),
                Err(error) => return Err(InitError::Kernel("cannot reach the host", error.into())),
            }
        }
        Ok(())
    }

    /// Listens to what there is to hear now.
    ///
    /// # Errors
    /// The host is gone, or makes no sense.
    pub fn listen(&mut self) -> Result<(), InitError> {
        let mut bytes = [0_u8; PIECE];
        match rustix::io::read(&self.fd, &mut bytes) {
            Err(Errno::INTR | Errno::AGAIN) => Ok(()),
            Ok(0) | Err(Errno::CONNRESET) => Err(InitError::Gone),
            Err(error) => Err(InitError::Kernel("cannot hear the host", error.into())),
            Ok(length) => {
                let mut rest = bytes.get(..length).unwrap_or_default();
                while let Some(message) = self.decoder.feed(&mut rest)? {
                    self.heard.push_back(message);
                }
                Ok(())
            }
        }
    }

    /// The next message that was heard.
    pub fn heard(&mut self) -> Option<FromHost> {
        self.heard.pop_front()
    }

    /// Waits for a message.
    ///
    /// # Errors
    /// As [`Self::listen`].
    pub fn wait(&mut self) -> Result<FromHost, InitError> {
        loop {
            if let Some(message) = self.heard() {
                return Ok(message);
            }
            poll(&mut [PollFd::new(&self.fd, PollFlags::IN)], None)?;
            self.listen()?;
        }
    }

    /// Says why the pod cannot go on, and waits a moment for the host to have heard it.
    pub fn give_up(mut self, error: &InitError) {
        if self.say(&FromGuest::Failed(Sentence::new(&chain(error)))).is_ok() {
            self.part(Some(PARTING));
        }
    }

    /// Says what is left unsaid and waits until the host closes, for at most this long if there is a limit.
    pub fn part(mut self, at_most: Option<Duration>) {
        let end = at_most.map(|time| Instant::now() + time);
        loop {
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            let interest = self.interest();
            let ready = poll(&mut [PollFd::new(&self.fd, interest)], left);
            let over = left.is_some_and(|left| left.is_zero()) || ready.is_err();
            if over || self.flush().is_err() || self.listen().is_err() {
                return;
            }
        }
    }
}

/// Waits until one of these is ready, for at most this long.
///
/// # Errors
/// As poll(2).
pub fn poll(fds: &mut [PollFd<'_>], at_most: Option<Duration>) -> Result<(), InitError> {
    let limit = at_most.map(|time| Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    });
    match rustix::event::poll(fds, limit.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error).doing("cannot wait"),
    }
}
