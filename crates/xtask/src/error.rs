//! Why a command failed.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TaskError {
    /// It was called with words it does not know.
    #[error("{0}")]
    Usage(String),
    /// A program could not be started.
    #[error("cannot start {program}")]
    Start {
        program: String,
        #[source]
        source: io::Error,
    },
    /// A program ended badly; its own output says why.
    #[error("{program} failed: {status}")]
    Program { program: String, status: ExitStatus },
    /// A program printed something else than was expected.
    #[error("cannot understand what {program} printed: {problem}")]
    Output { program: String, problem: String },
    /// A file or folder could not be used.
    #[error("cannot {what} {}", path.display())]
    Path {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A file of the project does not have the form that a command reads.
    #[error("{file}: {problem}")]
    Form { file: &'static str, problem: String },
    /// A rule is broken, perhaps in several places.
    #[error("{rule}:\n  {}", found.join("\n  "))]
    Broken { rule: &'static str, found: Vec<String> },
    /// The machine lacks something.
    #[error("{0}")]
    Missing(String),
    /// The tests failed and said so.
    #[error("the tests failed")]
    Tests,
    /// Some parts of a whole failed or took too long.
    #[error("failed: {}", .0.join("; "))]
    Parts(Vec<String>),
}

/// Gives an I/O error its path.
pub(crate) trait At<T> {
    /// `what` completes "cannot … PATH".
    fn at(self, what: &'static str, path: impl Into<PathBuf>) -> Result<T, TaskError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, what: &'static str, path: impl Into<PathBuf>) -> Result<T, TaskError> {
        self.map_err(|source| TaskError::Path { what, path: path.into(), source })
    }
}
