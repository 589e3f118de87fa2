//! The three descriptors that every program takes for granted.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::stdio::{stderr, stdin, stdout};

/// Opens `/dev/null` at each of 0, 1 and 2 that the caller left closed.
///
/// Else the next file that is opened (an image, a lock) would become stdout, and results would be written into it.
pub(super) fn complete() {
    let mut three = [
        PollFd::from_borrowed_fd(stdin(), PollFlags::empty()),
        PollFd::from_borrowed_fd(stdout(), PollFlags::empty()),
        PollFd::from_borrowed_fd(stderr(), PollFlags::empty()),
    ];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    if poll(&mut three, Some(&now)).is_err() {
        return;
    }
    for _ in three.iter().filter(|one| one.revents().contains(PollFlags::NVAL)) {
        // The lowest free number is the one that is missing; it stays open for as long as we live.
        if let Ok(null) = open("/dev/null", OFlags::RDWR, Mode::empty()) {
            std::mem::forget(null);
        }
    }
}
