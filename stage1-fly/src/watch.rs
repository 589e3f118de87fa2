//! The watcher: beside an app that fly-run itself became, it learns from the kernel how that process ended.
//!
//! A pidfd tells the exit status to whoever holds it, once the real parent has reaped; older kernels do not, and then no
//! code is shown. The watcher is nobody's child that the app could notice, and holds the lock until the record is made.

use crate::error::{Doing, FlyError};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::PidfdFlags;
use stage1_abi::PodDir;
use std::os::fd::{AsFd, OwnedFd};
use sys::lock::LockFd;
use sys::namespace::Kinds;
use sys::process::{Cloned, End};
use sys::signal::{Set, number};

/// How often the kernel is asked after the end, and for how long, until the real parent has reaped.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
const TRIES: u32 = 400;

/// Leaves a watcher behind for the calling process. Returns only in the caller.
///
/// # Errors
/// No process can be made.
pub fn leave_watcher(app: &str, dir: &PodDir, lock: &LockFd) -> Result<(), FlyError> {
    let own = rustix::process::getpid();
    let pidfd =
        rustix::process::pidfd_open(own, PidfdFlags::empty()).doing("cannot hold on to the app")?;
    let clone = || sys::process::clone(Kinds::NONE).doing("cannot start the watcher");
    match clone()? {
        Cloned::Parent { pid, .. } => {
            // The one in the middle ends at once, so that the watcher is no child of the app's.
            sys::process::wait_for(pid).doing("cannot start the watcher")?;
            Ok(())
        }
        Cloned::Child => {
            if let Ok(Cloned::Child) = clone() {
                watch(app, dir, lock, &pidfd);
            }
            sys::process::leave(0)
        }
    }
}

fn watch(app: &str, dir: &PodDir, _lock: &LockFd, pidfd: &OwnedFd) {
    // A service manager asks all processes of a unit to end together with the main one: the record comes first.
    let all: Vec<i32> = (1..=number::HIGHEST).collect();
    let quiet = Set::of(&all).block_only().and_then(|()| {
        rustix::process::setsid()?;
        sys::descriptor::silence_standard()
    });
    let recorded = quiet.and_then(|()| ended(pidfd));
    if let Ok(Some(end)) = recorded {
        // Nobody hears us any more: a record that cannot be made is as if the kernel had not told.
        drop(dir.write_status(app, end.code(), end.signal()));
    }
}

fn ended(pidfd: &OwnedFd) -> std::io::Result<Option<End>> {
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    while rustix::event::poll(&mut fds, None) == Err(rustix::io::Errno::INTR) {}
    for _ in 0..TRIES {
        match sys::process::exit_status(pidfd.as_fd()) {
            Ok(None) => {}
            other => return other,
        }
        // Not reaped yet.
        match rustix::event::poll(&mut [], Some(&PAUSE)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}
