//! App Container Images on this host.

use super::{FetchError, Fetcher};
use crate::store::AciOrigin;
use appc::ImageId;
use rustix::fs::{CWD, Mode, OFlags};
use std::fs::File;
use std::path::{Path, PathBuf};
use sys::path::{At as _, PathError};

impl Fetcher<'_> {
    /// Imports an ACI, again if it was imported before.
    pub(super) fn file(
        &self,
        path: &Path,
        signature: Option<&Path>,
    ) -> Result<ImageId, FetchError> {
        let file = open(path).map_err(FetchError::File)?;
        if !self.insecure.image {
            let beside = || {
                let mut name = path.as_os_str().to_owned();
                name.push(".asc");
                PathBuf::from(name)
            };
            let signature = signature.map_or_else(beside, Path::to_owned);
            drop(open(&signature).map_err(FetchError::Unsigned)?);
            return Err(FetchError::Signature);
        }
        log::debug!(target: "image", "using image from file {}", path.display());
        let origin = AciOrigin { source: path.to_string_lossy().into_owned() };
        Ok(self.store.import_aci(file, &origin)?)
    }
}

/// Opens a file that is one: a FIFO would block, a device has no end.
pub(super) fn open(path: &Path) -> Result<File, PathError> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(CWD, path, flags, Mode::empty()).at("open", path)?);
    let found = file.metadata().at("stat", path)?;
    if found.is_dir() {
        return Err(PathError::new("read", path, rustix::io::Errno::ISDIR));
    }
    if !found.is_file() {
        let error = std::io::Error::other("not a regular file");
        return Err(PathError::new("read", path, error));
    }
    Ok(file)
}
