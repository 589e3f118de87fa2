//! Waiting for something to happen to a pod.

use super::folders::{Folder, PodsDir};
use super::sighting::{Sighting, State};
use appc::PodUuid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};
use sys::lock::{LockFd, Mode as Lock};
use sys::path::{At as _, PathError};

/// What was waited for may also show where no event tells of it: then it is looked for so often.
const LOOK: Duration = Duration::from_millis(100);
/// For who is about to do one step.
const STEP: Duration = Duration::from_millis(1);

/// How waiting ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited<T> {
    /// It happened.
    Happened(T),
    /// The time was over.
    TimeOut,
}

/// Lets others do one step.
pub(super) fn pause() -> io::Result<()> {
    wait(&mut [], STEP)
}

fn wait(fds: &mut [PollFd<'_>], at_most: Duration) -> io::Result<()> {
    let time = Timespec {
        tv_sec: i64::try_from(at_most.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(at_most.subsec_nanos()),
    };
    match poll(fds, Some(&time)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Asks `test` again whenever something changes in these folders, until it has an answer.
pub fn until<T, E: From<PathError>>(
    folders: &[&Path],
    deadline: Option<Instant>,
    test: &mut dyn FnMut() -> Result<Option<T>, E>,
) -> Result<Waited<T>, E> {
    let events = events(folders)?;
    loop {
        if let Some(answer) = test()? {
            return Ok(Waited::Happened(answer));
        }
        let left = match deadline {
            None => LOOK,
            Some(end) => match end.checked_duration_since(Instant::now()) {
                Some(left) if !left.is_zero() => left.min(LOOK),
                _ => return Ok(Waited::TimeOut),
            },
        };
        let mut fds = [PollFd::new(&events, PollFlags::IN)];
        let waited = wait(&mut fds, left).and_then(|()| drain(&events));
        waited.at("poll", folders.first().copied().unwrap_or(Path::new(".")))?;
    }
}

/// A descriptor that tells of changes in folders, as far as they are there.
fn events(folders: &[&Path]) -> Result<OwnedFd, PathError> {
    let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
    let events = inotify::init(flags).at("open", Path::new("inotify"))?;
    let what = inotify::WatchFlags::CREATE
        | inotify::WatchFlags::MOVED_TO
        | inotify::WatchFlags::CLOSE_WRITE;
    for folder in folders {
        match inotify::add_watch(&events, *folder, what) {
            // A plain user may not see them all, and looks from time to time.
            Ok(_) | Err(rustix::io::Errno::NOENT | rustix::io::Errno::ACCESS) => {}
            Err(error) => return Err(error).at("open", folder),
        }
    }
    Ok(events)
}

fn drain(events: &OwnedFd) -> io::Result<()> {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = inotify::Reader::new(events.as_fd(), &mut buffer);
    loop {
        match reader.next() {
            Ok(_) => {}
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Waits until a pod is over. The kernel tells when the last process that holds its lock is gone; with a deadline the
/// lock is waited for beside the clock.
pub fn until_over(
    pods: &PodsDir,
    uuid: PodUuid,
    deadline: Option<Instant>,
) -> Result<Waited<Option<Sighting>>, PathError> {
    let folders = [Folder::Prepare, Folder::Prepared, Folder::Run, Folder::ExitedGarbage]
        .map(|folder| pods.path().join(folder.name()));
    let folders = folders.each_ref().map(std::path::PathBuf::as_path);
    loop {
        let sighting = pods.find_uuid(uuid)?;
        match sighting.as_ref().map(|sighting| sighting.state) {
            Some(State::Running) => {
                let Some(sighting) = sighting else { continue };
                if locked_beyond(&sighting, deadline)? {
                    return Ok(Waited::TimeOut);
                }
            }
            Some(State::Prepared | State::Preparing) => {
                let mut moved = || -> Result<Option<()>, PathError> {
                    let now = pods.find_uuid(uuid)?.map(|sighting| sighting.state);
                    let waits = matches!(now, Some(State::Prepared | State::Preparing));
                    Ok((!waits).then_some(()))
                };
                if until(&folders, deadline, &mut moved)? == Waited::TimeOut {
                    return Ok(Waited::TimeOut);
                }
            }
            _ => return Ok(Waited::Happened(sighting)),
        }
    }
}

/// Waits for a pod's lock; tells whether it was still held at the deadline.
fn locked_beyond(sighting: &Sighting, deadline: Option<Instant>) -> Result<bool, PathError> {
    let path = sighting.dir.path().to_owned();
    // A description of its own: what is locked through it is unlocked with it.
    let flags =
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    let folder = rustix::fs::openat(&sighting.dir, ".", flags, rustix::fs::Mode::empty())
        .at("open", &path)?;
    let lock = move || LockFd::wait(folder, Lock::Shared).map(drop).at("flock", &path);
    let Some(deadline) = deadline else { return lock().map(|()| false) };
    let (done, over) = std::sync::mpsc::channel();
    // If time is over first, it ends with the process.
    std::thread::spawn(move || done.send(lock()));
    let left = deadline.saturating_duration_since(Instant::now());
    match over.recv_timeout(left) {
        Ok(result) => result.map(|()| false),
        Err(_) => Ok(true),
    }
}
