//! What an app wrote, kept in the pod folder: `TIME STREAM TEXT` a line, two files of 8 MiB.

use rustix::fs::{Mode, OFlags, mkdirat, openat, renameat};
use rustix::io::Errno;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{SystemTime, UNIX_EPOCH};

/// A file is set aside before it grows beyond this.
const FILE_LIMIT: usize = 8 << 20;
/// A longer line is kept in pieces of this length.
const LINE_LIMIT: usize = 16 << 10;

/// One of the two outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Output.
    Out,
    /// Diagnostics.
    Err,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Out => "stdout",
            Self::Err => "stderr",
        }
    }
}

/// The log of one app. Folder and file are made with the first line: most short apps say nothing.
#[derive(Debug)]
pub struct Log {
    parent: OwnedFd,
    folder: &'static str,
    name: String,
    open: Option<(File, usize)>,
    out: Vec<u8>,
    err: Vec<u8>,
    broken: bool,
}

impl Log {
    /// The log of this name in a folder of `parent`.
    pub fn new(parent: OwnedFd, folder: &'static str, name: &str) -> Self {
        let name = name.to_owned();
        Self { parent, folder, name, open: None, out: Vec::new(), err: Vec::new(), broken: false }
    }

    /// Takes what an app wrote; whole lines are kept at once.
    pub fn take(&mut self, stream: Stream, bytes: &[u8]) {
        let mut held = std::mem::take(self.held(stream));
        let mut lines = Vec::new();
        for part in bytes.split_inclusive(|b| *b == b'\n') {
            held.extend_from_slice(part);
            while held.last() == Some(&b'\n') || held.len() >= LINE_LIMIT {
                let rest = held.split_off(held.len().min(LINE_LIMIT));
                let text = held.strip_suffix(b"\n").unwrap_or(&held);
                line(&mut lines, stream, text);
                held = rest;
            }
        }
        *self.held(stream) = held;
        if !lines.is_empty() {
            self.write(&lines);
        }
    }

    /// Keeps what came without an end of line.
    pub fn finish(&mut self, stream: Stream) {
        let held = std::mem::take(self.held(stream));
        if !held.is_empty() {
            let mut lines = Vec::new();
            line(&mut lines, stream, &held);
            self.write(&lines);
        }
    }

    fn held(&mut self, stream: Stream) -> &mut Vec<u8> {
        match stream {
            Stream::Out => &mut self.out,
            Stream::Err => &mut self.err,
        }
    }

    /// A log that cannot be written must not stop the app: it is given up, once, aloud.
    fn write(&mut self, lines: &[u8]) {
        if self.broken {
            return;
        }
        if let Err(error) = self.try_write(lines) {
            log::warn!("the log of app {:?} ends here: {error}", self.name);
            self.broken = true;
        }
    }

    fn try_write(&mut self, lines: &[u8]) -> std::io::Result<()> {
        let (mut file, size) = match self.open.take() {
            Some((file, size)) if size.saturating_add(lines.len()) <= FILE_LIMIT => (file, size),
            Some(_) => {
                let current = self.path();
                renameat(&self.parent, current.as_str(), &self.parent, format!("{current}.1"))?;
                (self.create()?, 0)
            }
            None => (self.create()?, 0),
        };
        file.write_all(lines)?;
        self.open = Some((file, size.saturating_add(lines.len())));
        Ok(())
    }

    fn create(&self) -> std::io::Result<File> {
        match mkdirat(&self.parent, self.folder, Mode::from_raw_mode(0o750)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::NOFOLLOW;
        let mode = Mode::from_raw_mode(0o640);
        Ok(openat(self.parent.as_fd(), self.path(), flags | OFlags::CLOEXEC, mode)?.into())
    }

    fn path(&self) -> String {
        format!("{}/{}", self.folder, self.name)
    }
}

fn line(into: &mut Vec<u8>, stream: Stream, text: &[u8]) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    into.extend_from_slice(time(since.as_secs(), since.subsec_nanos()).as_bytes());
    into.push(b' ');
    into.extend_from_slice(stream.name().as_bytes());
    into.push(b' ');
    into.extend_from_slice(text);
    into.push(b'\n');
}

/// RFC 3339 with nanoseconds, UTC.
fn time(seconds: u64, nanoseconds: u32) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanoseconds:09}Z")
}

/// The date of a day since 1970, by counting in years that begin in March and in periods of 400 of them.
fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (period, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let march = (5 * day + 2) / 153;
    let month = if march < 10 { march + 3 } else { march - 9 };
    (period * 400 + year + u64::from(month <= 2), month, day - (153 * march + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn times_are_readable() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000000005Z"),
            (951_782_400, "2000-02-29T00:00:00.000000005Z"),
            (1_795_550_858, "2026-11-24T20:07:38.000000005Z"),
            (4_102_444_799, "2099-12-31T23:59:59.000000005Z"),
        ] {
            assert_eq!(time(seconds, 5), expected);
        }
    }

    #[test]
    fn lines_are_kept_whole_and_files_bounded() {
        let path = std::env::temp_dir().join(format!("nspawn-log-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        let mut log = Log::new(File::open(&path).unwrap().into(), "logs", "app");
        log.take(Stream::Out, b"one\ntw");
        log.take(Stream::Err, b"bad\n");
        log.take(Stream::Out, b"o\n\nrest");
        log.finish(Stream::Out);
        let text = fs::read_to_string(path.join("logs/app")).unwrap();
        let words: Vec<&str> =
            text.lines().filter_map(|l| l.split_once(' ')).map(|(_, rest)| rest).collect();
        let long = vec![b'x'; 1 << 20];
        for _ in 0..20 {
            log.take(Stream::Out, &long);
            log.take(Stream::Out, b"\n");
        }
        let sizes =
            ["app", "app.1"].map(|name| fs::metadata(path.join("logs").join(name)).unwrap().len());
        let count = fs::read_dir(path.join("logs")).unwrap().count();
        fs::remove_dir_all(&path).unwrap();
        assert_eq!(words, ["stdout one", "stderr bad", "stdout two", "stdout ", "stdout rest"]);
        assert!(sizes.iter().all(|size| *size <= 8 << 20), "{sizes:?}");
        assert_eq!(count, 2);
    }
}
