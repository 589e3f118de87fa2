//! `enter`: a command inside a running app. The supervisor has the guest run it and hands its streams over; what the
//! caller types, and what the command writes, goes past the supervisor.

use crate::configure::size_of_terminal;
use crate::error::MachineError;
use crate::visitor::{Visitor, target};
use pod_host::Doing as _;
use pod_proto::config::Dialogue;
use pod_proto::message::{End, Exec};
use pod_proto::text::Word;
use pod_proto::{FromGuest, FromHost, Process};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use stage1_abi::EnterArgs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::time::{Duration, Instant};
use sys::signal::{self, Set, number};
use sys::terminal::Raw;

/// How long a command's streams may be quiet after its end before it is clear that others keep them open.
const QUIET: Duration = Duration::from_millis(200);
/// What is carried at once, in bytes.
const PIECE: usize = 16 << 10;
/// Signals that are passed on.
const SIGNALS: [i32; 7] = [
    number::TERMINATE,
    number::HANGUP,
    number::INTERRUPT,
    number::QUIT,
    number::USER1,
    number::USER2,
    number::WINDOW,
];

/// Runs the command; its exit code.
///
/// # Errors
/// The app cannot be entered.
pub fn enter() -> Result<u8, MachineError> {
    let args = EnterArgs::decode(std::env::args_os().skip(1))?;
    let app = target(args.pid, &args.app)?;
    let terminal = size_of_terminal()?.filter(|_| rustix::termios::isatty(rustix::stdio::stdout()));
    let dialogue = terminal.map_or(Dialogue::Streams, Dialogue::Terminal);
    let exec = Exec {
        id: 0,
        app,
        command: args.command.into_iter().map(|word| Word(word.into_vec())).collect(),
        term: std::env::var_os("TERM").map(|word| Word(word.into_vec())),
        dialogue,
    };
    let mut visit = Visit::new()?;
    visit.visitor.say(&FromHost::Exec(exec))?;
    visit.attend(dialogue)
}

/// A stream, carried by us.
#[derive(Debug)]
struct Carried {
    way: Way,
    fd: Option<OwnedFd>,
    /// What was read and not yet written.
    held: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    In,
    Out,
    Err,
}

/// The conversation with the supervisor, and the streams of the command.
#[derive(Debug)]
struct Visit {
    visitor: Visitor,
    streams: Vec<Carried>,
    input_open: bool,
}

#[derive(Debug, Clone, Copy)]
enum Woken {
    Door,
    Signals,
    /// Something to be read of what this stream reads from.
    Read(usize),
    /// Room where this stream writes to.
    Write(usize),
}

impl Visit {
    fn new() -> Result<Self, MachineError> {
        Ok(Self { visitor: Visitor::new()?, streams: Vec::new(), input_open: true })
    }

    /// Carries streams until the command has ended and said all.
    fn attend(mut self, dialogue: Dialogue) -> Result<u8, MachineError> {
        let set = Set::of(&SIGNALS);
        set.block_only().doing("cannot hold signals")?;
        let signals = set.descriptor().doing("cannot wait for signals")?;
        let mut raw = None;
        let mut code = None;
        let mut last = Instant::now();
        loop {
            let out = self.streams.iter().any(|s| s.way != Way::In && !s.is_done());
            let left = match code {
                None => None,
                Some(code) if !out => return Ok(code),
                Some(code) => match QUIET.checked_sub(last.elapsed()) {
                    None if self.streams.iter().all(|s| s.held.is_empty()) => return Ok(code),
                    left => left,
                },
            };
            for woken in self.wait(&signals, left)? {
                match woken {
                    Woken::Door => match self.hear(dialogue)? {
                        None => {}
                        Some(Heard::Started) => {
                            if matches!(dialogue, Dialogue::Terminal(_)) {
                                raw = Raw::of(rustix::stdio::stdin())
                                    .doing("cannot set the terminal")?;
                            }
                        }
                        Some(Heard::Ended(ended)) => {
                            last = Instant::now();
                            code = Some(ended);
                        }
                    },
                    Woken::Signals => self.pass_signals(&signals)?,
                    Woken::Read(index) => {
                        last = Instant::now();
                        self.read(index);
                    }
                    Woken::Write(index) => {
                        last = Instant::now();
                        self.write(index);
                    }
                }
            }
            drop(code.and_then(|_| raw.take()));
        }
    }

    fn wait(&self, signals: &OwnedFd, left: Option<Duration>) -> Result<Vec<Woken>, MachineError> {
        let mut kinds = vec![Woken::Signals, Woken::Door];
        let mut fds =
            vec![PollFd::new(signals, PollFlags::IN), PollFd::new(&self.visitor, PollFlags::IN)];
        for (index, stream) in self.streams.iter().enumerate() {
            let Some((kind, fd)) = stream.interest(index, self.input_open) else { continue };
            kinds.push(kind);
            fds.push(fd);
        }
        let left = left.map(|left| Timespec { tv_sec: 0, tv_nsec: left.subsec_nanos().into() });
        match rustix::event::poll(&mut fds, left.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Vec::new()),
            Err(error) => return Err(error).doing("cannot wait").map_err(Into::into),
        }
        let woken = kinds.into_iter().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty());
        Ok(woken.map(|(kind, _)| kind).collect())
    }

    fn hear(&mut self, dialogue: Dialogue) -> Result<Option<Heard>, MachineError> {
        let said = self.visitor.hear()?;
        self.adopt(dialogue, said.streams).doing("cannot take the command's streams")?;
        let mut heard = None;
        for message in said.messages {
            match message {
                FromGuest::Started(..) => heard = Some(Heard::Started),
                FromGuest::Refused(_, why) => {
                    return Err(MachineError::Command(why.as_str().to_owned()));
                }
                FromGuest::Exited(_, End::Code(code)) => heard = Some(Heard::Ended(code)),
                // As every shell says it.
                FromGuest::Exited(_, End::Signal(signal)) => {
                    heard = Some(Heard::Ended(signal.saturating_add(128)));
                }
                _ => {}
            }
        }
        Ok(heard)
    }

    fn adopt(&mut self, dialogue: Dialogue, fds: Vec<OwnedFd>) -> io::Result<()> {
        let ways: &[Way] = match dialogue {
            Dialogue::Terminal(_) => &[Way::Out],
            _ => &[Way::In, Way::Out, Way::Err],
        };
        for (way, fd) in ways.iter().zip(fds) {
            rustix::io::ioctl_fionbio(&fd, true)?;
            if matches!(dialogue, Dialogue::Terminal(_)) {
                let copy = rustix::io::fcntl_dupfd_cloexec(&fd, 3)?;
                self.streams.push(Carried::new(Way::In, copy));
            }
            self.streams.push(Carried::new(*way, fd));
        }
        Ok(())
    }

    fn pass_signals(&mut self, signals: &OwnedFd) -> Result<(), MachineError> {
        while let Some(signal) = signal::next(signals).doing("cannot read signals")? {
            let own = Process::Exec(0);
            let message = match (signal, u8::try_from(signal)) {
                (number::WINDOW, _) => match size_of_terminal()? {
                    Some(size) => FromHost::Resize(own, size),
                    None => continue,
                },
                (_, Ok(signal)) => FromHost::Signal(own, signal),
                (_, Err(_)) => continue,
            };
            self.visitor.say(&message)?;
        }
        Ok(())
    }

    fn read(&mut self, index: usize) {
        let Some(stream) = self.streams.get_mut(index) else { return };
        let mut bytes = [0_u8; PIECE];
        let read = match (stream.way, &stream.fd) {
            (_, None) => return,
            (Way::In, Some(_)) => rustix::io::read(rustix::stdio::stdin(), &mut bytes),
            (_, Some(fd)) => rustix::io::read(fd, &mut bytes),
        };
        match read {
            Err(Errno::INTR | Errno::AGAIN) => {}
            Ok(0) | Err(_) if stream.way == Way::In => {
                self.input_open = false;
                if let Some(fd) = stream.fd.take()
                    && let Err(error) = rustix::net::shutdown(&fd, rustix::net::Shutdown::Write)
                {
                    log::debug!("cannot end the command's input: {error}");
                }
            }
            Ok(0) | Err(_) => stream.fd = None,
            Ok(count) => {
                stream.held.extend_from_slice(bytes.get(..count).unwrap_or_default());
                self.write(index);
            }
        }
    }

    fn write(&mut self, index: usize) {
        let Some(stream) = self.streams.get_mut(index) else { return };
        let Some(to) = stream.sink() else { return };
        match rustix::io::write(to, &stream.held) {
            Ok(count) => drop(stream.held.drain(..count)),
            Err(Errno::INTR | Errno::AGAIN) => {}
            // Nobody reads any more: the command finds out by what it writes.
            Err(_) => {
                stream.held.clear();
                stream.fd = None;
            }
        }
    }
}

enum Heard {
    Started,
    Ended(u8),
}

impl Carried {
    fn new(way: Way, fd: OwnedFd) -> Self {
        Self { way, fd: Some(fd), held: Vec::new() }
    }

    fn is_done(&self) -> bool {
        self.fd.is_none() && self.held.is_empty()
    }

    /// Where what was read goes.
    fn sink(&self) -> Option<BorrowedFd<'_>> {
        match self.way {
            Way::In => self.fd.as_ref().map(AsFd::as_fd),
            Way::Out => Some(rustix::stdio::stdout()),
            Way::Err => Some(rustix::stdio::stderr()),
        }
    }

    fn interest(&self, index: usize, input: bool) -> Option<(Woken, PollFd<'_>)> {
        if !self.held.is_empty() {
            let fd = PollFd::from_borrowed_fd(self.sink()?, PollFlags::OUT);
            return Some((Woken::Write(index), fd));
        }
        let fd = self.fd.as_ref()?;
        match self.way {
            Way::In if !input => None,
            Way::In => {
                let stdin = rustix::stdio::stdin();
                Some((Woken::Read(index), PollFd::from_borrowed_fd(stdin, PollFlags::IN)))
            }
            Way::Out | Way::Err => Some((Woken::Read(index), PollFd::new(fd, PollFlags::IN))),
        }
    }
}
