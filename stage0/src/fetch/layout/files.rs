//! The files of a layout, wherever they are: in a folder, or in one archive that is read in place.

use super::LayoutError;
use crate::fetch::file;
use crate::store::Store;
use archive::Limits;
use archive::members::{Members, Place};
use archive::stream::{Compression, decoder, sniff};
use std::fs::File;
use std::io::{self, Read, Seek as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use sys::path::At as _;

/// Where files are found by name.
#[derive(Debug)]
pub(super) enum Files {
    /// A folder of the host.
    Folder(PathBuf),
    /// A tar, open and not compressed.
    Archive { file: Arc<File>, members: Members },
}

impl Files {
    /// A folder; what is missing in it is seen when it is asked for.
    pub(super) fn folder(path: &Path) -> Self {
        Self::Folder(path.to_owned())
    }

    /// A tar; a compressed one is unpacked to a file without a name first.
    pub(super) fn archive(store: &Store, path: &Path) -> Result<Self, LayoutError> {
        let mut file = file::open(path).map_err(LayoutError::File)?;
        let (kind, stream) = sniff(&file).at("read", path).map_err(LayoutError::File)?;
        if kind == Compression::None {
            file.rewind().at("seek", path).map_err(LayoutError::File)?;
        } else {
            let mut plain =
                decoder(kind, stream, &Limits::default()).map_err(LayoutError::Unpack)?;
            let mut into = store.temporary()?;
            io::copy(&mut plain, into.file()).map_err(LayoutError::Unpack)?;
            drop(plain);
            file = into.file().try_clone().map_err(LayoutError::Unpack)?;
        }
        let members = Members::list(&file).map_err(LayoutError::Archive)?;
        Ok(Self::Archive { file: Arc::new(file), members })
    }

    /// Opens one file for reading from its start.
    pub(super) fn open(&self, name: &str) -> Result<Box<dyn Read + Send>, LayoutError> {
        match self {
            Self::Folder(folder) => {
                let file = file::open(&folder.join(name)).map_err(LayoutError::File)?;
                Ok(Box::new(file))
            }
            Self::Archive { .. } => Ok(Box::new(self.window(self.place(name)?))),
        }
    }

    /// Whether there is such a file.
    pub(super) fn has(&self, name: &str) -> bool {
        match self {
            Self::Folder(folder) => folder.join(name).exists(),
            Self::Archive { members, .. } => members.find(name).is_some(),
        }
    }

    /// Where in the archive a file lies.
    pub(super) fn place(&self, name: &str) -> Result<Place, LayoutError> {
        let found = match self {
            Self::Folder(_) => None,
            Self::Archive { members, .. } => members.find(name),
        };
        found.ok_or_else(|| LayoutError::Missing(name.to_owned()))
    }

    /// A part of the archive; nothing of a folder.
    pub(super) fn window(&self, place: Place) -> Window {
        match self {
            Self::Folder(_) => Window { file: None, place },
            Self::Archive { file, .. } => Window { file: Some(Arc::clone(file)), place },
        }
    }

    /// Reads a small file.
    pub(super) fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>, LayoutError> {
        let mut bytes = Vec::new();
        let mut from = self.open(name)?.take(limit.saturating_add(1));
        from.read_to_end(&mut bytes).at("read", name).map_err(LayoutError::File)?;
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit {
            return Err(LayoutError::Large { name: name.to_owned(), limit });
        }
        Ok(bytes)
    }
}

/// A part of a file; several may be read at once.
#[derive(Debug)]
pub(super) struct Window {
    file: Option<Arc<File>>,
    place: Place,
}

impl Read for Window {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(file) = &self.file else { return Ok(0) };
        let most = usize::try_from(self.place.size).unwrap_or(usize::MAX).min(buffer.len());
        let length = file.read_at(buffer.get_mut(..most).unwrap_or_default(), self.place.offset)?;
        if length == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let passed = u64::try_from(length).unwrap_or_default();
        self.place.offset = self.place.offset.saturating_add(passed);
        self.place.size = self.place.size.saturating_sub(passed);
        Ok(length)
    }
}
