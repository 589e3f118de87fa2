//! What apps write, carried to the caller's output and diagnostics and into the logs, without ever blocking on a reader
//! who does not read.

use crate::error::{Doing, RunError};
use crate::logfile::{Log, Stream};
use crate::pod::Pod;
use rustix::event::{PollFd, PollFlags};
use rustix::fs::OFlags;
use rustix::io::Errno;
use stage1_abi::{PodDir, pod_dir};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What a pipe takes without blocking once it is writable.
const PIPE_PIECE: usize = 4096;
/// What is read at once otherwise.
const PIECE: usize = 16 << 10;
/// A line of one of several apps is passed on in pieces of this length.
const LINE_LIMIT: usize = 16 << 10;

/// An output of an app.
#[derive(Debug)]
struct Source {
    app: usize,
    stream: Stream,
    fd: Option<OwnedFd>,
    /// The beginning of a line whose end has not come.
    held: Vec<u8>,
}

/// Where it goes.
#[derive(Debug)]
struct Sink {
    stream: Stream,
    /// A terminal, opened anew. It says that it can be written when it has some room, and would block until it has taken
    /// all, however long its user stops it; to change how the caller's own descriptor is, is not ours.
    terminal: Option<OwnedFd>,
    pending: Vec<u8>,
    piece: usize,
    closed: bool,
}

impl Sink {
    fn new(stream: Stream) -> Self {
        let kind = rustix::fs::fstat(standard(stream)).map(|found| found.st_mode & libc_kind::MASK);
        let piece = if kind == Ok(libc_kind::FILE) { PIECE } else { PIPE_PIECE };
        let terminal = rustix::termios::isatty(standard(stream)).then(|| {
            let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
            sys::descriptor::reopen(standard(stream), flags).ok()
        });
        Self { stream, terminal: terminal.flatten(), pending: Vec::new(), piece, closed: false }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.terminal.as_ref().map_or_else(|| standard(self.stream), AsFd::as_fd)
    }

    /// Writes what the reader takes now.
    fn flush(&mut self) {
        let length = self.pending.len().min(self.piece);
        match rustix::io::write(self.fd(), self.pending.get(..length).unwrap_or_default()) {
            Ok(written) => drop(self.pending.drain(..written)),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => {
                // The reader is gone or its disk is full: the app goes on, and so does its log.
                self.closed = true;
                self.pending.clear();
            }
        }
    }
}

/// File kinds, as stat(2) tells them.
mod libc_kind {
    pub(super) const MASK: u32 = 0o170_000;
    pub(super) const FILE: u32 = 0o100_000;
}

fn standard(stream: Stream) -> BorrowedFd<'static> {
    match stream {
        Stream::Out => rustix::stdio::stdout(),
        Stream::Err => rustix::stdio::stderr(),
    }
}

/// All outputs of a pod.
#[derive(Debug)]
pub struct Outputs {
    sources: Vec<Source>,
    sinks: [Sink; 2],
    logs: Vec<Log>,
    /// `NAME` of each app of several; none for an only app, whose output is passed on unaltered.
    names: Option<Vec<String>>,
    pids: Vec<i32>,
}

/// What a descriptor of a poll belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    /// An output of an app.
    Source(usize),
    /// The caller's output.
    Sink(usize),
}

impl Outputs {
    /// Those of a pod's apps, which carry nothing yet: to the caller, and into the logs of the pod's folder.
    ///
    /// # Errors
    /// The folder cannot be shared.
    pub fn of(pod: &Pod, dir: &PodDir) -> Result<Self, RunError> {
        let mut logs = Vec::with_capacity(pod.apps.len());
        for app in &pod.apps {
            let folder =
                rustix::io::fcntl_dupfd_cloexec(dir, 3).doing("cannot share the pod folder")?;
            logs.push(Log::new(folder, pod_dir::LOGS, &app.spec.name));
        }
        let names = || pod.apps.iter().map(|app| app.spec.name.clone()).collect();
        Ok(Self::new(logs, (pod.apps.len() > 1).then(names)))
    }

    /// Carries nothing yet.
    pub fn new(logs: Vec<Log>, names: Option<Vec<String>>) -> Self {
        let pids = vec![0; logs.len()];
        Self {
            sources: Vec::new(),
            sinks: [Sink::new(Stream::Out), Sink::new(Stream::Err)],
            logs,
            names,
            pids,
        }
    }

    /// Adds an output of an app.
    pub fn add(&mut self, app: usize, stream: Stream, fd: OwnedFd) {
        self.sources.push(Source { app, stream, fd: Some(fd), held: Vec::new() });
    }

    /// The number of an app's process, for its lines.
    pub fn started(&mut self, app: usize, pid: i32) {
        if let Some(known) = self.pids.get_mut(app) {
            *known = pid;
        }
    }

    /// What to wait for.
    pub fn interests<'a>(&'a self, into: &mut Vec<(Ready, PollFd<'a>)>) {
        for (index, source) in self.sources.iter().enumerate() {
            let full = self
                .sinks
                .iter()
                .any(|sink| sink.stream == source.stream && !sink.pending.is_empty());
            if let Some(fd) = source.fd.as_ref().filter(|_| !full) {
                into.push((Ready::Source(index), PollFd::new(fd, PollFlags::IN)));
            }
        }
        for (index, sink) in self.sinks.iter().enumerate() {
            if !sink.pending.is_empty() {
                into.push((
                    Ready::Sink(index),
                    PollFd::from_borrowed_fd(sink.fd(), PollFlags::OUT),
                ));
            }
        }
    }

    /// Whether everything was read and passed on.
    pub fn done(&self) -> bool {
        self.all_read() && self.sinks.iter().all(|sink| sink.pending.is_empty())
    }

    /// Whether everything was read, though perhaps not passed on.
    pub fn all_read(&self) -> bool {
        self.sources.iter().all(|source| source.fd.is_none())
    }

    /// Carries what is ready.
    pub fn carry(&mut self, ready: Ready) {
        match ready {
            Ready::Sink(index) => {
                if let Some(sink) = self.sinks.get_mut(index) {
                    sink.flush();
                }
            }
            Ready::Source(index) => self.read(index),
        }
    }

    fn read(&mut self, index: usize) {
        let Some(source) = self.sources.get_mut(index) else { return };
        let Some(fd) = &source.fd else { return };
        let mut buffer = [0_u8; PIECE];
        let room = self
            .sinks
            .iter()
            .find(|sink| sink.stream == source.stream)
            .map_or(PIECE, |sink| sink.piece);
        match rustix::io::read(fd.as_fd(), buffer.get_mut(..room).unwrap_or_default()) {
            Err(Errno::INTR | Errno::AGAIN) => {}
            // A terminal whose last user is gone says EIO: an end, not an error.
            Ok(0) | Err(_) => {
                source.fd = None;
                let held = std::mem::take(&mut source.held);
                let (app, stream) = (source.app, source.stream);
                if !held.is_empty() {
                    self.pass_lines(app, stream, &held, true);
                }
                if let Some(log) = self.logs.get_mut(app) {
                    log.finish(stream);
                }
            }
            Ok(length) => {
                let bytes = buffer.get(..length).unwrap_or_default();
                let (app, stream) = (source.app, source.stream);
                if let Some(log) = self.logs.get_mut(app) {
                    log.take(stream, bytes);
                }
                if self.names.is_none() {
                    self.pass(stream, bytes);
                    return;
                }
                let mut held = std::mem::take(&mut source.held);
                held.extend_from_slice(bytes);
                let whole = held.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
                let whole = if whole == 0 && held.len() >= LINE_LIMIT { held.len() } else { whole };
                let rest = held.split_off(whole);
                if let Some(source) = self.sources.get_mut(index) {
                    source.held = rest;
                }
                self.pass_lines(app, stream, &held, false);
            }
        }
    }

    fn pass_lines(&mut self, app: usize, stream: Stream, bytes: &[u8], end: bool) {
        let name =
            self.names.as_ref().and_then(|names| names.get(app)).cloned().unwrap_or_default();
        let prefix = format!("{name}[{}]: ", self.pids.get(app).copied().unwrap_or_default());
        let mut text = Vec::with_capacity(bytes.len() + prefix.len());
        for line in bytes.split_inclusive(|b| *b == b'\n') {
            text.extend_from_slice(prefix.as_bytes());
            text.extend_from_slice(line);
        }
        if end || !text.ends_with(b"\n") {
            text.push(b'\n');
        }
        self.pass(stream, &text);
    }

    fn pass(&mut self, stream: Stream, bytes: &[u8]) {
        if let Some(sink) = self.sinks.iter_mut().find(|sink| sink.stream == stream && !sink.closed)
        {
            sink.pending.extend_from_slice(bytes);
        }
    }

    /// Gives up on readers who do not read.
    pub fn abandon(&mut self) {
        for sink in &mut self.sinks {
            sink.closed = true;
            sink.pending.clear();
        }
    }
}
