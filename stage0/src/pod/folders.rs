//! The folders below `DATA/pods`, and moves between them.

use crate::store::make_folders;
use appc::PodUuid;
use rustix::fs::{CWD, Dir, Mode, OFlags, openat, renameat};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use sys::path::{At as _, PathError};

/// One of the folders, each of which stands for two states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Folder {
    /// Made an instant ago.
    Embryo,
    /// Being prepared.
    Prepare,
    /// Ready to run.
    Prepared,
    /// Running, or over and not collected.
    Run,
    /// Over and marked.
    ExitedGarbage,
    /// Never ran, and never will.
    Garbage,
}

impl Folder {
    /// In the order in which pods pass through them.
    pub const ALL: [Self; 6] = [
        Self::Embryo,
        Self::Prepare,
        Self::Prepared,
        Self::Run,
        Self::ExitedGarbage,
        Self::Garbage,
    ];

    /// Those whose pods can be named and are listed. A pod only moves forward, so who looks in this order may see a
    /// moving pod twice but never misses it.
    pub const VISIBLE: [Self; 4] = [Self::Prepare, Self::Prepared, Self::Run, Self::ExitedGarbage];

    /// Its name on disk.
    pub fn name(self) -> &'static str {
        match self {
            Self::Embryo => "embryo",
            Self::Prepare => "prepare",
            Self::Prepared => "prepared",
            Self::Run => "run",
            Self::ExitedGarbage => "exited-garbage",
            Self::Garbage => "garbage",
        }
    }
}

/// All pods of a data directory.
#[derive(Debug, Clone)]
pub struct PodsDir {
    data: PathBuf,
    path: PathBuf,
}

impl PodsDir {
    /// The pods of a data directory, neither of which needs to exist yet.
    pub fn open(data: &Path) -> Self {
        Self { data: data.to_owned(), path: data.join("pods") }
    }

    /// `DATA/pods`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a pod lies as long as it is in this folder.
    pub fn pod_path(&self, folder: Folder, uuid: PodUuid) -> PathBuf {
        self.path.join(folder.name()).join(uuid.to_string())
    }

    /// Makes the folders.
    pub(super) fn make(&self) -> Result<(), PathError> {
        let names: Vec<String> =
            Folder::ALL.iter().map(|folder| format!("pods/{}", folder.name())).collect();
        let all: Vec<&str> =
            std::iter::once("pods").chain(names.iter().map(String::as_str)).collect();
        make_folders(&self.data, &all, 0o2750)
    }

    /// Opens a folder; `None` if it was not made yet.
    pub(super) fn open_folder(&self, folder: Folder) -> Result<Option<OwnedFd>, PathError> {
        let path = self.path.join(folder.name());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match openat(CWD, &path, flags, Mode::empty()) {
            Ok(open) => Ok(Some(open)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error).at("open", &path),
        }
    }

    /// The pods in an open folder; entries that are no UUID are nobody's business.
    pub(super) fn uuids_in(&self, open: &OwnedFd, of: Folder) -> Result<Vec<PodUuid>, PathError> {
        let read = |error| PathError::new("read", self.path.join(of.name()), error);
        let mut uuids = Vec::new();
        for entry in Dir::read_from(open).map_err(read)? {
            let entry = entry.map_err(read)?;
            let name = entry.file_name().to_str().ok();
            uuids.extend(name.and_then(|name| {
                PodUuid::parse(name).ok().filter(|uuid| uuid.to_string() == name)
            }));
        }
        uuids.sort_unstable();
        Ok(uuids)
    }

    /// The pods in a folder.
    pub(super) fn uuids(&self, folder: Folder) -> Result<Vec<PodUuid>, PathError> {
        match self.open_folder(folder)? {
            Some(open) => self.uuids_in(&open, folder),
            None => Ok(Vec::new()),
        }
    }

    /// Moves a pod; `false` if it is not there any more, as somebody else was faster.
    pub fn shift(&self, uuid: PodUuid, from: Folder, to: Folder) -> Result<bool, PathError> {
        let (old, new) = (self.pod_path(from, uuid), self.pod_path(to, uuid));
        loop {
            match renameat(CWD, &old, CWD, &new) {
                Ok(()) => return Ok(true),
                Err(Errno::NOENT) if !new.parent().is_some_and(Path::exists) => {
                    self.make()?;
                    if !old.exists() {
                        return Ok(false);
                    }
                }
                Err(Errno::NOENT) => return Ok(false),
                Err(error) => return Err(PathError::new("rename", old, error)),
            }
        }
    }
}
