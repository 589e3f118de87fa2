//! flock(2) on folders and files: how processes see that a pod lives or that a store is in use.

use rustix::fs::{FlockOperation, flock};
use rustix::io::{Errno, FdFlags, fcntl_getfd, fcntl_setfd};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Between two looks at a lock that is waited for.
const PAUSE: Duration = Duration::from_millis(10);

#[expect(clippy::disallowed_methods, reason = "the kernel has no wait for a flock that ends")]
fn pause() {
    std::thread::sleep(PAUSE);
}

/// How a lock excludes others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Many holders at once, none of them exclusive.
    Shared,
    /// One holder.
    Exclusive,
}

/// A descriptor on which this process (or an ancestor that handed it down) holds a flock.
///
/// The lock belongs to the open file description: it ends when the last copy of the descriptor is closed.
#[derive(Debug)]
pub struct LockFd(OwnedFd);

impl LockFd {
    /// Waits for the lock.
    pub fn wait(file: OwnedFd, mode: Mode) -> io::Result<Self> {
        let how = match mode {
            Mode::Shared => FlockOperation::LockShared,
            Mode::Exclusive => FlockOperation::LockExclusive,
        };
        loop {
            match flock(&file, how) {
                Ok(()) => return Ok(Self(file)),
                Err(Errno::INTR) => {}
                Err(other) => return Err(other.into()),
            }
        }
    }

    /// Takes the lock if nobody is in the way; `None` means somebody is.
    pub fn attempt(file: OwnedFd, mode: Mode) -> io::Result<Option<Self>> {
        let how = match mode {
            Mode::Shared => FlockOperation::NonBlockingLockShared,
            Mode::Exclusive => FlockOperation::NonBlockingLockExclusive,
        };
        match flock(&file, how) {
            Ok(()) => Ok(Some(Self(file))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(other) => Err(other.into()),
        }
    }

    /// Waits for the lock, but not for ever; `None` means somebody was in the way all the time.
    pub fn within(file: BorrowedFd<'_>, mode: Mode, limit: Duration) -> io::Result<Option<Self>> {
        let end = Instant::now() + limit;
        loop {
            let copy = rustix::io::fcntl_dupfd_cloexec(file, 3)?;
            if let Some(lock) = Self::attempt(copy, mode)? {
                return Ok(Some(lock));
            }
            if Instant::now() >= end {
                return Ok(None);
            }
            pause();
        }
    }

    /// Adopts a descriptor by its number, as handed down across exec; close-on-exec is set again.
    ///
    /// # Errors
    /// The number is not an open descriptor.
    pub fn inherited(number: i32) -> io::Result<Self> {
        crate::descriptor::inherited(number).map(Self)
    }

    /// The number to hand down; close-on-exec is cleared, so that the lock survives the next exec.
    pub fn hand_down(&self) -> io::Result<i32> {
        let flags = fcntl_getfd(&self.0)?;
        fcntl_setfd(&self.0, flags.difference(FdFlags::CLOEXEC))?;
        Ok(self.0.as_raw_fd())
    }
}

impl AsFd for LockFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<LockFd> for OwnedFd {
    fn from(lock: LockFd) -> Self {
        lock.0
    }
}

/// Whether somebody holds an exclusive lock on this open folder or file; never waits and keeps nothing.
pub fn held_exclusively(file: BorrowedFd<'_>) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => {
            flock(file, FlockOperation::Unlock)?;
            Ok(false)
        }
        Err(Errno::WOULDBLOCK) => Ok(true),
        Err(other) => Err(other.into()),
    }
}

/// Takes an exclusive lock on this open folder or file unless somebody really holds it: who only looks, as
/// [`held_exclusively`] does, shares it for an instant.
pub fn exclusively_if_free(file: BorrowedFd<'_>) -> io::Result<Option<LockFd>> {
    loop {
        let copy = rustix::io::fcntl_dupfd_cloexec(file, 3)?;
        if let Some(lock) = LockFd::attempt(copy, Mode::Exclusive)? {
            return Ok(Some(lock));
        }
        if held_exclusively(file)? {
            return Ok(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn exclusive_is_seen_and_ends_with_the_descriptor() {
        let path = std::env::temp_dir().join(format!("sys-lock-{}", std::process::id()));
        let open = || OwnedFd::from(File::create(&path).unwrap());
        let held = LockFd::attempt(open(), Mode::Exclusive).unwrap().unwrap();
        assert!(held_exclusively(open().as_fd()).unwrap());
        assert!(LockFd::attempt(open(), Mode::Shared).unwrap().is_none());
        assert!(LockFd::within(open().as_fd(), Mode::Shared, 2 * PAUSE).unwrap().is_none());
        drop(held);
        assert!(!held_exclusively(open().as_fd()).unwrap());
        std::fs::remove_file(&path).unwrap();
    }
}
