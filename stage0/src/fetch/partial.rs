//! What came of an image before its transfer broke off, kept for the next attempt of any process.
//!
//! One file in the store's `tmp`: a line that says of which state of which URL these are the first bytes, then the bytes.
//! Members of the group may put files there too, so only a file counts that its own user alone could write, and that
//! names its URL itself. A file that nobody takes up again is a leftover like others, and collected.

use super::http::{Response, content_range};
use crate::store::{Store, StoreError, hex};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, BufRead as _, Read, Seek as _, SeekFrom, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use sys::lock::{LockFd, Mode as Lock};

/// No line at the front of such a file is longer.
const LINE: u64 = 16 << 10;

/// How a server tells one state of a file from another.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct State {
    etag: Option<String>,
    modified: Option<String>,
}

impl State {
    /// By the headers of an answer. Weak tags do not tell bytes apart.
    pub(super) fn new(etag: Option<&str>, modified: Option<&str>) -> Self {
        let etag = etag.filter(|etag| etag.starts_with('"')).map(str::to_owned);
        Self { modified: modified.filter(|_| etag.is_none()).map(str::to_owned), etag }
    }

    /// What `If-Range` compares.
    pub(super) fn validator(&self) -> Option<&str> {
        self.etag.as_deref().or(self.modified.as_deref())
    }
}

#[derive(Serialize, Deserialize)]
struct Line {
    url: String,
    state: State,
}

/// The first bytes of an image.
pub(super) struct Partial<'s> {
    store: &'s Store,
    name: String,
    file: File,
    /// Where the bytes begin.
    start: u64,
    /// Of which state they are.
    pub(super) state: State,
    /// How many there are.
    pub(super) length: u64,
}

impl<'s> Partial<'s> {
    /// What is there of a URL, if it can be gone on with. The caller holds the URL's download lock.
    pub(super) fn find(store: &'s Store, url: &str) -> Option<Self> {
        let name = name(url);
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(store.cas(), &name, flags, Mode::empty()).ok()?;
        let file = own(file)?;
        let mut bytes = Vec::new();
        io::BufReader::new((&file).take(LINE)).read_until(b'\n', &mut bytes).ok()?;
        let line: Line = serde_json::from_slice(&bytes).ok()?;
        let start = u64::try_from(bytes.len()).ok()?;
        let length = file.metadata().ok()?.len().checked_sub(start)?;
        let usable = line.url == url && line.state.validator().is_some() && length > 0;
        usable.then_some(Self { store, name, file, start, state: line.state, length })
    }

    /// Begins anew.
    pub(super) fn begin(store: &'s Store, url: &str, state: State) -> Result<Self, StoreError> {
        let name = name(url);
        let failed = |error: io::Error| store.failed("open", &name, error);
        match rustix::fs::unlinkat(store.cas(), &name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(failed(error.into())),
        }
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(store.cas(), &name, flags, Mode::from_raw_mode(0o600))
            .map_err(|error| failed(error.into()))?;
        let mut file = own(file).ok_or_else(|| failed(Errno::AGAIN.into()))?;
        let line = Line { url: url.to_owned(), state: state.clone() };
        let mut bytes = serde_json::to_vec(&line).map_err(|error| failed(error.into()))?;
        bytes.push(b'\n');
        file.write_all(&bytes).map_err(failed)?;
        let start = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Ok(Self { store, name, file, start, state, length: 0 })
    }

    /// Whether an answer goes on where these bytes end.
    pub(super) fn fits(&self, response: &Response) -> bool {
        let state = State::new(response.header("etag"), response.header("last-modified"));
        let first = content_range(response).map(|(first, _)| first);
        response.status == 206 && first == Some(self.length) && state == self.state
    }

    /// The bytes that are there, and then those that come; these are kept as well.
    pub(super) fn read_on<R: Read>(&mut self, rest: R) -> io::Result<Growing<R>> {
        let mut old = self.file.try_clone()?;
        old.seek(SeekFrom::Start(self.start))?;
        let old = old.take(self.length);
        Ok(Growing { old, rest, file: self.file.try_clone()?, broken: false })
    }

    /// The image is complete, or is none: this will not be needed again.
    pub(super) fn discard(self) {
        // What stays is collected.
        let _ = rustix::fs::unlinkat(self.store.cas(), &self.name, AtFlags::empty());
    }
}

/// A partial image that grows while it is read.
pub(super) struct Growing<R> {
    old: io::Take<File>,
    rest: R,
    file: File,
    /// The rest did not come.
    pub(super) broken: bool,
}

impl<R: Read> Read for Growing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.old.limit() > 0 {
            let length = self.old.read(buffer)?;
            if length > 0 || buffer.is_empty() {
                return Ok(length);
            }
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let length = self.rest.read(buffer).inspect_err(|_| self.broken = true)?;
        // Both share one position, which is at the end once the old bytes are read.
        self.file.write_all(buffer.get(..length).unwrap_or_default())?;
        Ok(length)
    }
}

fn name(url: &str) -> String {
    format!("tmp/partial-{}", hex(&Sha256::digest(url.as_bytes())))
}

/// A regular file that nobody but this user could have written, locked against collection.
fn own(file: OwnedFd) -> Option<File> {
    let file = File::from(OwnedFd::from(LockFd::attempt(file, Lock::Exclusive).ok()??));
    let found = file.metadata().ok()?;
    let user = rustix::process::geteuid().as_raw();
    let own = found.is_file() && found.uid() == user && found.mode() & 0o777 == 0o600;
    (own && found.nlink() == 1).then_some(file)
}
