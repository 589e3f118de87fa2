//! Being told to end while a pod joins its networks, which can take minutes.
//!
//! Whoever was simply ended by the signal would leave namespaces, interfaces and addresses until they are collected. So signals
//! are held, and whoever waits for a server or a program waits for them, too, and fails: what was made is then undone, during
//! which nobody is interrupted again. A process has one set of held signals, and one state of this.

use rustix::event::{PollFd, PollFlags};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use sys::signal::{self, Set, number};

/// Whether waits end when a signal comes.
static HELD: AtomicBool = AtomicBool::new(false);
/// What asks a process to end.
const SIGNALS: [i32; 4] = [number::INTERRUPT, number::TERMINATE, number::HANGUP, number::QUIT];

/// The time in which waits end when a signal comes. The signals stay held when it is over: whoever supervises the pod reads
/// those that come later.
#[derive(Debug)]
#[must_use]
pub struct Interruptible(());

impl Interruptible {
    /// Begins it.
    ///
    /// # Errors
    /// Signals cannot be held.
    pub fn begin() -> io::Result<Self> {
        Set::of(&SIGNALS).block_only()?;
        HELD.store(true, Ordering::Relaxed);
        Ok(Self(()))
    }
}

impl Drop for Interruptible {
    fn drop(&mut self) {
        HELD.store(false, Ordering::Relaxed);
    }
}

/// What a wait looks at beside what it waits for; nothing outside of that time.
#[derive(Debug)]
pub(crate) struct Watch(Option<OwnedFd>);

impl Watch {
    pub(crate) fn new() -> io::Result<Self> {
        let held = HELD.load(Ordering::Relaxed);
        Ok(Self(held.then(|| Set::of(&SIGNALS).descriptor()).transpose()?))
    }

    pub(crate) fn interest(&self) -> Option<PollFd<'_>> {
        self.0.as_ref().map(|fd| PollFd::new(fd, PollFlags::IN))
    }

    /// Whether a signal has come. What follows it is not interrupted by another one.
    pub(crate) fn is_interrupted(&self) -> bool {
        let came = self.0.as_ref().is_some_and(|fd| matches!(signal::next(fd), Ok(Some(_))));
        if came {
            HELD.store(false, Ordering::Relaxed);
        }
        came
    }
}
