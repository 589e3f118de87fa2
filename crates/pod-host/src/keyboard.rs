//! The caller's terminal and the app's, connected: raw keys in, sizes along, and a way out that no app can take.

use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// `^]`, which pressed three times within a second kills the pod.
const ESCAPE: u8 = 0x1d;
const TIMES: usize = 3;
const WITHIN: Duration = Duration::from_secs(1);

/// Counts how often the escape key was pressed of late.
#[derive(Debug, Default)]
pub struct Escape {
    pressed: Vec<Instant>,
}

impl Escape {
    /// Whether these keys, pressed now, complete the escape.
    pub fn pressed(&mut self, keys: &[u8], now: Instant) -> bool {
        for key in keys {
            if *key == ESCAPE {
                self.pressed.retain(|then| now.duration_since(*then) < WITHIN);
                self.pressed.push(now);
                if self.pressed.len() >= TIMES {
                    return true;
                }
            } else {
                self.pressed.clear();
            }
        }
        false
    }
}

/// The keyboard's way into the pod.
#[derive(Debug)]
pub struct Keyboard {
    master: OwnedFd,
    pending: Vec<u8>,
    open: bool,
    /// None where what comes in are no keys.
    escape: Option<Escape>,
}

/// What the keyboard said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// Keys for the app, or nothing.
    Keys,
    /// That the pod is to be killed.
    Kill,
}

impl Keyboard {
    /// Connects standard input with the master side of the app's terminal.
    ///
    /// # Errors
    /// As fcntl(2).
    pub fn new(master: OwnedFd) -> io::Result<Self> {
        Self::passing(master, Some(Escape::default()))
    }

    /// Connects standard input, whatever it is, with a socket that leads to the app's input.
    ///
    /// # Errors
    /// As fcntl(2).
    pub fn piped(socket: OwnedFd) -> io::Result<Self> {
        Self::passing(socket, None)
    }

    fn passing(master: OwnedFd, escape: Option<Escape>) -> io::Result<Self> {
        let flags = rustix::fs::fcntl_getfl(&master)?;
        rustix::fs::fcntl_setfl(&master, flags | rustix::fs::OFlags::NONBLOCK)?;
        Ok(Self { master, pending: Vec::new(), open: true, escape })
    }

    /// Gives the app's terminal the caller's size.
    pub fn resize(&self) {
        if let Err(error) = sys::terminal::copy_size(rustix::stdio::stdin(), self.master.as_fd()) {
            log::debug!("cannot set the size of the terminal: {error}");
        }
    }

    /// Whether keys can be read: not while earlier ones wait.
    pub fn wants_keys(&self) -> bool {
        self.open && self.pending.is_empty()
    }

    /// The app's side, if keys wait for it.
    pub fn full(&self) -> Option<BorrowedFd<'_>> {
        (!self.pending.is_empty()).then(|| self.master.as_fd())
    }

    /// Reads keys and passes them on.
    pub fn read(&mut self) -> Said {
        let mut keys = [0_u8; 1024];
        match rustix::io::read(rustix::stdio::stdin(), &mut keys) {
            Err(Errno::INTR | Errno::AGAIN) => Said::Keys,
            Ok(0) | Err(_) => {
                self.open = false;
                if self.escape.is_none()
                    && let Err(error) =
                        rustix::net::shutdown(&self.master, rustix::net::Shutdown::Write)
                {
                    log::debug!("cannot end the app's input: {error}");
                }
                Said::Keys
            }
            Ok(length) => {
                let keys = keys.get(..length).unwrap_or_default();
                if self.escape.as_mut().is_some_and(|e| e.pressed(keys, Instant::now())) {
                    return Said::Kill;
                }
                self.pending.extend_from_slice(keys);
                self.write();
                Said::Keys
            }
        }
    }

    /// Passes on what waits.
    pub fn write(&mut self) {
        match rustix::io::write(&self.master, &self.pending) {
            Ok(written) => drop(self.pending.drain(..written)),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => {
                self.open = false;
                self.pending.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_in_a_second_and_nothing_between() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let key = &[ESCAPE][..];
        for (presses, expected) in [
            (vec![(0, key), (400, key), (900, key)], true),
            (vec![(0, &[ESCAPE; 3][..])], true),
            (vec![(0, key), (400, key), (1_100, key)], false),
            (vec![(0, key), (1, b"x"), (2, key), (3, key)], false),
            (vec![(0, key), (900, key), (1_100, key), (1_500, key)], true),
        ] {
            let mut escape = Escape::default();
            let last = presses.iter().map(|(time, keys)| escape.pressed(keys, at(*time))).last();
            assert_eq!(last, Some(expected), "{presses:?}");
        }
    }
}
