//! The leaf of every error chain: what was done to which path, and what the kernel said.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

/// An operation on a path that failed, in one line: `open /etc/x: no such file or directory`.
///
/// It has no source of its own: its text already ends with the kernel's reason.
#[derive(Debug)]
pub struct PathError {
    operation: &'static str,
    path: PathBuf,
    cause: io::Error,
}

impl PathError {
    /// Names the operation (a system call's name, lower case) and the path of a failure.
    pub fn new(
        operation: &'static str,
        path: impl AsRef<Path>,
        cause: impl Into<io::Error>,
    ) -> Self {
        Self { operation, path: path.as_ref().to_owned(), cause: cause.into() }
    }

    /// The path that the operation was asked for.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The kind of the underlying failure.
    pub fn kind(&self) -> io::ErrorKind {
        self.cause.kind()
    }

    /// The errno of the underlying failure, where there is one.
    pub fn errno(&self) -> Option<i32> {
        self.cause.raw_os_error()
    }
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.operation, self.path.display(), Reason(&self.cause))
    }
}

impl std::error::Error for PathError {}

/// Shows an I/O error as the field's tools do: lower case, without the number.
#[derive(Debug)]
pub struct Reason<'a>(pub &'a io::Error);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let text = text.split(" (os error").next().unwrap_or(&text);
        let mut letters = text.chars();
        match (letters.next(), letters.clone().next()) {
            // "I/O" and the like stay as they are.
            (Some(first), Some(second)) if second.is_lowercase() => {
                write!(f, "{}{}", first.to_lowercase(), letters.as_str())
            }
            _ => f.write_str(text),
        }
    }
}

/// Adds the operation and the path to a bare I/O failure, so that `?` alone cannot lose them.
pub trait At<T> {
    /// Turns the error into a [`PathError`] of this operation on this path.
    fn at(self, operation: &'static str, path: impl AsRef<Path>) -> Result<T, PathError>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, operation: &'static str, path: impl AsRef<Path>) -> Result<T, PathError> {
        self.map_err(|cause| PathError::new(operation, path, cause))
    }
}

/// A path of what a descriptor is open on, for calls that take nothing else. It needs a procfs.
pub fn of_descriptor(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_one_line() {
        let missing = std::fs::read("/nowhere/x").at("open", "/nowhere/x").unwrap_err();
        assert_eq!(missing.to_string(), "open /nowhere/x: no such file or directory");
        assert_eq!(missing.errno(), Some(2));
    }

    #[test]
    fn keeps_words_that_are_not_sentences() {
        assert_eq!(Reason(&io::Error::other("I/O stopped")).to_string(), "I/O stopped");
    }
}
