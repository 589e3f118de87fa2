//! A pod that this process holds, with its phase as its type.

use super::folders::{Folder, PodsDir};
use super::{collect, watch};
use appc::PodUuid;
use rustix::fs::{CWD, Mode, OFlags, fsync, mkdirat, openat, syncfs};
use rustix::io::Errno;
use stage1_abi::{PodDir, pod_dir};
use std::marker::PhantomData;
use std::os::fd::AsFd as _;
use sys::lock::{LockFd, Mode as Lock};
use sys::path::{At as _, PathError};

/// A phase of a pod that a process may hold.
pub trait Phase {
    /// Where such a pod lies.
    const FOLDER: Folder;
}

/// Its trees and manifest are being made.
#[derive(Debug)]
pub struct Preparing;
/// Still in the `prepare` folder, but all that it needs is on disk.
#[derive(Debug)]
pub struct Filled;
/// Claimed by whoever runs it.
#[derive(Debug)]
pub struct Prepared;
/// In the `run` folder, about to become its own processes.
#[derive(Debug)]
pub struct Running;

impl Phase for Preparing {
    const FOLDER: Folder = Folder::Prepare;
}
impl Phase for Filled {
    const FOLDER: Folder = Folder::Prepare;
}
impl Phase for Prepared {
    const FOLDER: Folder = Folder::Prepared;
}
impl Phase for Running {
    const FOLDER: Folder = Folder::Run;
}

/// A pod whose exclusive lock this process holds.
#[derive(Debug)]
pub struct Pod<P: Phase> {
    uuid: PodUuid,
    lock: LockFd,
    dir: PodDir,
    phase: PhantomData<P>,
}

/// Why a pod does not get into a phase.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The kernel said no.
    #[error(transparent)]
    Path(#[from] PathError),
    /// There is no randomness for a UUID.
    #[error("cannot choose a UUID")]
    Random(#[source] std::io::Error),
    /// Somebody else took the pod away.
    #[error("pod {0} was removed or started by somebody else")]
    Lost(PodUuid),
}

impl<P: Phase> Pod<P> {
    /// Its name.
    pub fn uuid(&self) -> PodUuid {
        self.uuid
    }

    /// Its folder.
    pub fn dir(&self) -> &PodDir {
        &self.dir
    }

    /// Its lock.
    pub fn lock(&self) -> &LockFd {
        &self.lock
    }

    fn new(pods: &PodsDir, uuid: PodUuid, lock: LockFd) -> Result<Self, PathError> {
        let path = pods.pod_path(P::FOLDER, uuid);
        let fd = rustix::io::fcntl_dupfd_cloexec(&lock, 3).at("open", &path)?;
        Ok(Self { uuid, lock, dir: PodDir::from_fd(fd, path), phase: PhantomData })
    }

    /// Renames the pod into the next phase's folder. If that fails the lock drops: what stays on disk is a state that
    /// the lifecycle knows.
    fn advance<N: Phase>(self, pods: &PodsDir) -> Result<Pod<N>, CreateError> {
        if P::FOLDER != N::FOLDER && !pods.shift(self.uuid, P::FOLDER, N::FOLDER)? {
            return Err(CreateError::Lost(self.uuid));
        }
        Ok(Pod::new(pods, self.uuid, self.lock)?)
    }

    /// Deletes a pod that failed before its processes began, with what was mounted for it.
    pub fn discard(self, pods: &PodsDir) -> Result<(), collect::CollectError> {
        collect::delete_locked(pods, P::FOLDER, self.uuid, &self.dir)
    }
}

impl Pod<Preparing> {
    /// Makes a pod, with an open lock, in the `prepare` folder.
    pub fn create(pods: &PodsDir) -> Result<Self, CreateError> {
        loop {
            let mut bytes = [0_u8; 16];
            rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
                .map_err(|error| CreateError::Random(error.into()))?;
            let uuid = PodUuid::from_random(bytes);
            let path = pods.pod_path(Folder::Embryo, uuid);
            match mkdirat(CWD, &path, Mode::from_raw_mode(0o750)) {
                Ok(()) => {}
                Err(Errno::EXIST) => continue,
                Err(Errno::NOENT) => {
                    pods.make()?;
                    continue;
                }
                Err(error) => return Err(error).at("mkdir", &path)?,
            }
            // A collector takes an embryo that nobody holds for a leftover: then another one is made.
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = match openat(CWD, &path, flags, Mode::empty()) {
                Ok(fd) => fd,
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error).at("open", &path)?,
            };
            let lock = LockFd::wait(fd, Lock::Exclusive).at("flock", &path)?;
            if pods.shift(uuid, Folder::Embryo, Folder::Prepare)? {
                let pod = Self::new(pods, uuid, lock)?;
                pod.dir.write(pod_dir::CREATED, b"")?;
                return Ok(pod);
            }
        }
    }

    /// Says that manifest and trees are there.
    pub fn filled(self) -> Pod<Filled> {
        Pod { uuid: self.uuid, lock: self.lock, dir: self.dir, phase: PhantomData }
    }
}

impl Pod<Filled> {
    /// `rkt prepare` ends here: what the pod needs is on disk before it gets its place, and then the lock drops.
    pub fn finish(self, pods: &PodsDir) -> Result<PodUuid, CreateError> {
        syncfs(self.dir.as_fd()).at("syncfs", self.dir.path())?;
        let prepared = self.advance::<Prepared>(pods)?;
        let parent = pods.path().join(Folder::Prepared.name());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat(CWD, &parent, flags, Mode::empty()).at("open", &parent)?;
        fsync(folder).at("fsync", &parent)?;
        Ok(prepared.uuid)
    }

    /// `rkt run` skips `Prepared`: nobody sees the pod in between. Nothing is synced, since a running pod does not
    /// survive a power cut.
    pub fn start(self, pods: &PodsDir) -> Result<Pod<Running>, CreateError> {
        self.advance(pods)
    }
}

impl Pod<Prepared> {
    /// Takes a prepared pod for running; `None` if it is not prepared (any more). A pod runs once: of several that
    /// claim it one gets it.
    pub fn claim(pods: &PodsDir, uuid: PodUuid) -> Result<Option<Self>, PathError> {
        let path = pods.pod_path(Folder::Prepared, uuid);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = match openat(CWD, &path, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error).at("open", &path),
        };
        loop {
            let copy = rustix::io::fcntl_dupfd_cloexec(&fd, 3).at("open", &path)?;
            let lock = LockFd::attempt(copy, Lock::Exclusive).at("flock", &path)?;
            let here = rustix::fs::fstat(&fd).at("stat", &path)?;
            match rustix::fs::statat(CWD, &path, rustix::fs::AtFlags::SYMLINK_NOFOLLOW) {
                Ok(named) if (named.st_dev, named.st_ino) == (here.st_dev, here.st_ino) => {}
                Ok(_) | Err(Errno::NOENT) => return Ok(None),
                Err(error) => return Err(error).at("stat", &path),
            }
            if let Some(lock) = lock {
                return Ok(Some(Self::new(pods, uuid, lock)?));
            }
            // Its maker lets go in an instant, and another claimer moves it; waiting for the lock itself could last as
            // long as the pod of that other one runs.
            watch::pause().at("poll", &path)?;
        }
    }

    /// The pod runs from here on.
    pub fn start(self, pods: &PodsDir) -> Result<Pod<Running>, CreateError> {
        self.advance(pods)
    }
}
