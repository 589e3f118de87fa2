//! Why an archive is refused.

use crate::tar::TarError;
use std::fmt;
use std::io;
use sys::path::PathError;

/// The name of an entry, as far as it can be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryName(Vec<u8>);

impl From<&[u8]> for EntryName {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.get(..bytes.len().min(300)).unwrap_or(bytes).to_owned())
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// An archive that cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The bytes are no archive.
    #[error("cannot read the archive")]
    Tar(#[source] TarError),
    /// The stream could not be read to its end.
    #[error("cannot read the stream")]
    Stream(#[source] io::Error),
    /// One entry breaks a rule.
    #[error("entry {name}: {problem}")]
    Entry {
        /// The entry.
        name: EntryName,
        /// The rule.
        problem: &'static str,
    },
    /// The kernel refused to make one entry.
    #[error("entry {name}")]
    Make {
        /// The entry.
        name: EntryName,
        /// What it said.
        #[source]
        source: PathError,
    },
    /// The archive asks for more than its limits.
    #[error("the archive has more than {limit} {what}")]
    Limit {
        /// The limit.
        limit: u64,
        /// Of what.
        what: &'static str,
    },
    /// The folder itself cannot be worked on.
    #[error(transparent)]
    Folder(#[from] PathError),
}

impl UnpackError {
    pub(crate) fn entry(name: &[u8], problem: &'static str) -> Self {
        Self::Entry { name: name.into(), problem }
    }

    pub(crate) fn make(name: &[u8], operation: &'static str, cause: impl Into<io::Error>) -> Self {
        use std::os::unix::ffi::OsStrExt;
        let shown = name.get(..name.len().min(300)).unwrap_or(name);
        let path = std::ffi::OsStr::from_bytes(shown);
        Self::Make { name: name.into(), source: PathError::new(operation, path, cause) }
    }
}

impl From<TarError> for UnpackError {
    fn from(error: TarError) -> Self {
        Self::Tar(error)
    }
}
