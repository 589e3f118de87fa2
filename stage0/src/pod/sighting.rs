//! What was true of a pod when somebody looked.

use super::folders::{Folder, PodsDir};
use appc::PodUuid;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, openat, statx};
use rustix::io::Errno;
use stage1_abi::PodDir;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use sys::path::{At as _, PathError};

/// The state of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Made an instant ago.
    Embryo,
    /// Trees are being made.
    Preparing,
    /// Whoever prepared it died.
    AbortedPrepare,
    /// Ready to run.
    Prepared,
    /// Its processes live.
    Running,
    /// They do not any more.
    Exited,
    /// Marked for collection.
    ExitedGarbage,
    /// Being collected.
    ExitedDeleting,
    /// Never ran and waits for deletion.
    Garbage,
    /// Being deleted.
    Deleting,
}

impl State {
    /// The state of a pod in this folder, by whether somebody holds its lock.
    pub const fn of(folder: Folder, locked: bool) -> Self {
        match (folder, locked) {
            (Folder::Embryo, _) => Self::Embryo,
            // Who prepares a pod lets go after it has its place.
            (Folder::Prepare | Folder::Prepared, true) => Self::Preparing,
            (Folder::Prepare, false) => Self::AbortedPrepare,
            (Folder::Prepared, false) => Self::Prepared,
            (Folder::Run, true) => Self::Running,
            (Folder::Run, false) => Self::Exited,
            (Folder::ExitedGarbage, true) => Self::ExitedDeleting,
            (Folder::ExitedGarbage, false) => Self::ExitedGarbage,
            (Folder::Garbage, true) => Self::Deleting,
            (Folder::Garbage, false) => Self::Garbage,
        }
    }

    /// As it is shown.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Embryo => "embryo",
            Self::Preparing => "preparing",
            Self::AbortedPrepare => "aborted prepare",
            Self::Prepared => "prepared",
            Self::Running => "running",
            Self::Exited => "exited",
            Self::ExitedGarbage => "exited garbage",
            Self::ExitedDeleting => "exited deleting",
            Self::Garbage => "garbage",
            Self::Deleting => "deleting",
        }
    }

    /// Whether the pod was ever started.
    pub const fn has_run(self) -> bool {
        matches!(self, Self::Running | Self::Exited | Self::ExitedGarbage | Self::ExitedDeleting)
    }

    /// Whether it was started and is over.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Exited | Self::ExitedGarbage | Self::ExitedDeleting)
    }
}

/// A pod that was seen, with its open folder.
#[derive(Debug)]
pub struct Sighting {
    /// Which pod.
    pub uuid: PodUuid,
    /// Where it lay.
    pub folder: Folder,
    /// In which state it was.
    pub state: State,
    /// Its folder.
    pub dir: PodDir,
}

impl PodsDir {
    /// Looks at one pod in one folder; `None` if it is not there.
    pub fn look(&self, folder: Folder, uuid: PodUuid) -> Result<Option<Sighting>, PathError> {
        let path = self.pod_path(folder, uuid);
        sight(openat(CWD, &path, FLAGS, Mode::empty()), (folder, uuid), path)
    }

    /// The same in a folder that is open, which saves the kernel the way to it.
    pub(super) fn look_in(
        &self,
        open: &OwnedFd,
        folder: Folder,
        uuid: PodUuid,
    ) -> Result<Option<Sighting>, PathError> {
        let path = self.pod_path(folder, uuid);
        let name = path.file_name().unwrap_or_default();
        sight(openat(open, name, FLAGS, Mode::empty()), (folder, uuid), path)
    }
}

const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

fn sight(
    opened: Result<OwnedFd, Errno>,
    (folder, uuid): (Folder, PodUuid),
    path: PathBuf,
) -> Result<Option<Sighting>, PathError> {
    let fd = match opened {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error).at("open", path),
    };
    let locked = sys::lock::held_exclusively(fd.as_fd()).at("flock", &path)?;
    let dir = PodDir::from_fd(fd, path);
    Ok(Some(Sighting { uuid, folder, state: State::of(folder, locked), dir }))
}

impl Sighting {
    /// When the folder was last moved: the age that collection goes by.
    pub fn moved(&self) -> Result<SystemTime, PathError> {
        let path = self.dir.path();
        let found =
            statx(self.dir.as_fd(), "", AtFlags::EMPTY_PATH, StatxFlags::CTIME).at("stat", path)?;
        let seconds = u64::try_from(found.stx_ctime.tv_sec).unwrap_or_default();
        Ok(UNIX_EPOCH + Duration::new(seconds, found.stx_ctime.tv_nsec.min(999_999_999)))
    }

    /// Whether nobody has begun to delete it: then all that was read of it by now was there.
    pub fn is_whole(&self) -> Result<bool, PathError> {
        let path = self.dir.path();
        // Who deletes a pod holds its lock until its folder is gone. Asked the other way round, a deletion could come and
        // go between the two.
        let locked = sys::lock::held_exclusively(self.dir.as_fd()).at("flock", path)?;
        let found = rustix::fs::fstat(self.dir.as_fd()).at("stat", path)?;
        Ok(!locked && found.st_nlink > 0)
    }

    /// Whether it still lies where it was seen.
    pub fn is_there(&self) -> bool {
        let own = rustix::fs::fstat(self.dir.as_fd());
        let named = rustix::fs::statat(CWD, self.dir.path(), AtFlags::SYMLINK_NOFOLLOW);
        matches!((own, named), (Ok(own), Ok(named)) if (own.st_dev, own.st_ino) == (named.st_dev, named.st_ino))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_and_lock_make_the_state() {
        let words: Vec<_> = Folder::ALL
            .into_iter()
            .flat_map(|folder| [false, true].map(|locked| State::of(folder, locked).words()))
            .collect();
        assert_eq!(
            words,
            [
                "embryo",
                "embryo",
                "aborted prepare",
                "preparing",
                "prepared",
                "preparing",
                "exited",
                "running",
                "exited garbage",
                "exited deleting",
                "garbage",
                "deleting",
            ]
        );
    }
}
