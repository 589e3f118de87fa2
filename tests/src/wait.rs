//! Waiting without sleeping: every wait has an event that ends it, and a deadline.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long anything may take before the test calls it hung: an emulated machine, which says that it is one, has more.
pub fn deadline() -> Duration {
    Duration::from_mins(if std::env::var_os("LAB").is_some() { 5 } else { 1 })
}

/// Waits until a descriptor can be read (a pidfd: until its process has ended); `false` when the time is over.
pub fn readable(fd: BorrowedFd<'_>, until: Instant) -> bool {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let limit = Timespec::try_from(left).unwrap();
        match poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&limit)) {
            Ok(0) => return false,
            Ok(_) => return true,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("poll: {error}"),
        }
    }
}

/// A descriptor for a process; `None` if there is none of this number.
pub fn pidfd(pid: i32) -> Option<OwnedFd> {
    pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()
}

/// Waits until a process that is not our child has ended.
pub fn gone(pid: i32) {
    if let Some(process) = pidfd(pid) {
        assert!(readable(process.as_fd(), Instant::now() + deadline()), "process {pid} goes on");
    }
}

/// Waits until `test` holds, looking again whenever something changes in one of these folders.
pub fn until(folders: &[&Path], what: &str, mut test: impl FnMut() -> bool) {
    let end = Instant::now() + deadline();
    let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
    let events = inotify::init(flags).unwrap();
    for folder in folders {
        let kinds = inotify::WatchFlags::CREATE
            | inotify::WatchFlags::MOVED_TO
            | inotify::WatchFlags::MOVED_FROM
            | inotify::WatchFlags::DELETE
            | inotify::WatchFlags::CLOSE_WRITE
            | inotify::WatchFlags::MODIFY;
        inotify::add_watch(&events, *folder, kinds).unwrap();
    }
    let mut buffer = [0; 4096];
    while !test() {
        assert!(readable(events.as_fd(), end), "{what} did not come true");
        while rustix::io::read(&events, &mut buffer).is_ok() {}
    }
}

/// Waits for something that becomes true by itself and tells nobody.
pub fn eventually(what: &str, mut test: impl FnMut() -> bool) {
    let end = Instant::now() + deadline();
    while !test() {
        assert!(Instant::now() < end, "{what} did not come true");
        std::thread::yield_now();
    }
}

/// Waits until a file is there; its folder must be.
pub fn file(path: &Path) {
    until(&[path.parent().unwrap()], &format!("{}", path.display()), || path.exists());
}

/// Waits until nobody holds an exclusive lock on a folder (it may be renamed or vanish meanwhile).
pub fn unlocked(folder: &Path) {
    let Ok(open) = File::open(folder) else { return };
    let (done, told) = mpsc::channel();
    std::thread::spawn(move || {
        let lock = sys::lock::LockFd::wait(open.into(), sys::lock::Mode::Shared);
        drop(done.send(lock.map(drop)));
    });
    let taken = told.recv_timeout(deadline());
    assert!(taken.is_ok(), "{} stays locked", folder.display());
}

/// Whether somebody holds an exclusive lock on a folder.
pub fn is_locked(folder: &Path) -> bool {
    File::open(folder).is_ok_and(|open| sys::lock::held_exclusively(open.as_fd()).unwrap())
}
