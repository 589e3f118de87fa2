//! Terminals: a pair in a pod's own devpts, raw mode that is put back, window sizes.

use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

/// Both ends of a new terminal.
#[derive(Debug)]
pub struct Pair {
    /// The end that drives it.
    pub master: OwnedFd,
    /// The end that programs see.
    pub slave: OwnedFd,
}

/// Opens a new terminal of the devpts whose `ptmx` this is.
pub fn open(ptmx: &std::ffi::CStr) -> io::Result<Pair> {
    let master =
        rustix::fs::open(ptmx, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::pty::unlockpt(&master)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags)?;
    Ok(Pair { master, slave })
}

/// Gives one terminal the size of another.
pub fn copy_size(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    Ok(tcsetwinsize(to, tcgetwinsize(from)?)?)
}

/// A terminal in raw mode; dropped, it is as it was.
#[derive(Debug)]
pub struct Raw<'a> {
    terminal: BorrowedFd<'a>,
    before: Termios,
}

impl<'a> Raw<'a> {
    /// Switches it; `None` if the descriptor is no terminal.
    pub fn of(terminal: BorrowedFd<'a>) -> io::Result<Option<Self>> {
        if !rustix::termios::isatty(terminal) {
            return Ok(None);
        }
        let before = tcgetattr(terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(terminal, OptionalActions::Now, &raw)?;
        Ok(Some(Self { terminal, before }))
    }
}

impl Drop for Raw<'_> {
    fn drop(&mut self) {
        // Nobody is left to be told if the terminal itself is gone.
        let _ = tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}
