//! The control wire and the streams of a guest, as their host: who calls is read, believed or dropped; what is said to
//! the guest is kept until it takes it.

use crate::error::{GuestError, MachineError};
use pod_proto::{FromGuest, FromHost, Preamble, Process, Session, Stream, preamble};
use rustix::event::{PollFd, PollFlags};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

/// Connections that have not said yet what they are for: more than init ever has open at once.
const CALLERS: usize = 64;
/// What the guest may leave unread before it is given up, in bytes.
const UNREAD: usize = 32 << 20;
/// What is read of the wire at once.
const PIECE: usize = 16 << 10;

/// A connection that says what it is for.
#[derive(Debug)]
struct Caller {
    stream: UnixStream,
    said: Vec<u8>,
}

/// The control connection, once there is one.
#[derive(Debug)]
struct Control {
    stream: UnixStream,
    session: Session,
    unsent: Vec<u8>,
}

/// What the guest did.
#[derive(Debug)]
pub enum Event {
    /// It called for the first time.
    Called,
    /// It said this.
    Said(FromGuest),
    /// It opened this stream.
    Opened(Process, Stream, OwnedFd),
}

/// What one descriptor of a poll is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    /// The control connection.
    Control,
    /// A connection that has not said what it is for.
    Caller(usize),
}

/// All of it.
#[derive(Debug, Default)]
pub struct Wire {
    control: Option<Control>,
    callers: Vec<Caller>,
}

impl Wire {
    /// Takes a connection of the guest's. Of too many that say nothing, the oldest goes.
    ///
    /// # Errors
    /// It cannot be used without waiting for it.
    pub fn take(&mut self, stream: UnixStream) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        if self.callers.len() >= CALLERS {
            drop(self.callers.remove(0));
        }
        self.callers.push(Caller { stream, said: Vec::new() });
        Ok(())
    }

    /// What to wait for.
    pub fn interests<'a>(&'a self, into: &mut Vec<(Ready, PollFd<'a>)>) {
        if let Some(control) = &self.control {
            let mut flags = PollFlags::IN;
            flags.set(PollFlags::OUT, !control.unsent.is_empty());
            into.push((Ready::Control, PollFd::new(&control.stream, flags)));
        }
        for (index, caller) in self.callers.iter().enumerate() {
            into.push((Ready::Caller(index), PollFd::new(&caller.stream, PollFlags::IN)));
        }
    }

    /// Whether the guest has called.
    pub fn is_open(&self) -> bool {
        self.control.is_some()
    }

    /// Says something, at once or as soon as the guest listens.
    ///
    /// # Errors
    /// It may not be said now, or the guest has long stopped to listen.
    pub fn say(&mut self, message: &FromHost) -> Result<(), MachineError> {
        let Some(control) = &mut self.control else { return Err(GuestError::Silent.into()) };
        let bytes = control.session.send(message).map_err(MachineError::Say)?;
        if control.unsent.len().saturating_add(bytes.len()) > UNREAD {
            return Err(GuestError::Deaf.into());
        }
        control.unsent.extend(bytes);
        control.flush()
    }

    /// As [`Self::say`], of something that makes sense only while the pod is at some stage: if it is past that, nothing is said.
    ///
    /// # Errors
    /// The guest has long stopped to listen.
    pub fn say_in_time(&mut self, message: &FromHost) -> Result<(), MachineError> {
        match self.say(message) {
            Err(MachineError::Say(error)) => {
                log::debug!("not said: {error}");
                Ok(())
            }
            Err(MachineError::Guest(GuestError::Silent)) => Ok(()),
            other => other,
        }
    }

    /// Deals with a descriptor that is ready.
    ///
    /// # Errors
    /// The guest makes no sense on the wire. What calls without the right to is dropped, and that is all.
    pub fn carry(&mut self, ready: Ready) -> Result<Vec<Event>, MachineError> {
        match ready {
            Ready::Control => self.control.as_mut().map_or(Ok(Vec::new()), Control::carry),
            Ready::Caller(index) => Ok(self.hear(index)?.into_iter().collect()),
        }
    }

    /// Hears whoever has called and not yet said what for.
    ///
    /// # Errors
    /// As [`Self::carry`].
    pub fn hear_all(&mut self) -> Result<Vec<Event>, MachineError> {
        let heard = (0..self.callers.len()).map(|index| self.hear(index));
        heard.filter_map(Result::transpose).collect()
    }

    /// Forgets connections that were dealt with. Numbers of callers are good until then.
    pub fn tidy(&mut self) {
        self.callers.retain(|caller| caller.said.len() < preamble::LENGTH);
    }

    /// Closes the control connection: what is left of the guest has nothing more to say.
    pub fn close(&mut self) {
        self.control = None;
        self.callers.clear();
    }

    fn hear(&mut self, index: usize) -> Result<Option<Event>, MachineError> {
        let Some(caller) = self.callers.get_mut(index) else { return Ok(None) };
        if !caller.read() {
            return Ok(None);
        }
        let Ok(said) = <[u8; preamble::LENGTH]>::try_from(caller.said.as_slice()) else {
            return Ok(None);
        };
        let preamble = Preamble::decode(&said);
        let stream = caller.stream.try_clone().map_err(MachineError::Descriptors)?;
        match (&mut self.control, preamble) {
            // The first is init, before anything that it did not start itself: it must make sense.
            (None, preamble) => {
                let session = Session::new(preamble.map_err(GuestError::Wire)?);
                let session = session.map_err(GuestError::Wire)?;
                self.control = Some(Control { stream, session, unsent: Vec::new() });
                Ok(Some(Event::Called))
            }
            (Some(control), preamble) => {
                match preamble.and_then(|preamble| control.session.admit(preamble)) {
                    Ok((process, which)) => {
                        Ok(Some(Event::Opened(process, which, OwnedFd::from(stream))))
                    }
                    Err(error) => {
                        log::debug!("a connection of the guest's is dropped: {error}");
                        Ok(None)
                    }
                }
            }
        }
    }
}

impl Caller {
    /// Reads what there is of its first words; whether they are whole. One that is gone is done with, too.
    fn read(&mut self) -> bool {
        let mut bytes = [0; preamble::LENGTH];
        let missing = preamble::LENGTH.saturating_sub(self.said.len());
        match self.stream.read(bytes.get_mut(..missing).unwrap_or_default()) {
            Ok(0) => {
                self.said = vec![0; preamble::LENGTH + 1];
                false
            }
            Ok(count) => {
                self.said.extend(bytes.get(..count).unwrap_or_default());
                self.said.len() == preamble::LENGTH
            }
            Err(error) if waits(&error) => false,
            Err(_) => {
                self.said = vec![0; preamble::LENGTH + 1];
                false
            }
        }
    }
}

impl Control {
    fn carry(&mut self) -> Result<Vec<Event>, MachineError> {
        self.flush()?;
        let mut bytes = [0; PIECE];
        let mut said = Vec::new();
        match self.stream.read(&mut bytes) {
            Ok(0) => return Err(GuestError::Gone.into()),
            Ok(count) => {
                let mut rest = bytes.get(..count).unwrap_or_default();
                while let Some(message) = self.session.feed(&mut rest).map_err(GuestError::Wire)? {
                    said.push(Event::Said(message));
                }
            }
            Err(error) if waits(&error) => {}
            Err(_) => return Err(GuestError::Gone.into()),
        }
        Ok(said)
    }

    fn flush(&mut self) -> Result<(), MachineError> {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if waits(&error) => break,
                Err(_) => return Err(GuestError::Gone.into()),
            }
        }
        Ok(())
    }
}

fn waits(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
