//! Where the project lies, and programs started in it.

use crate::error::TaskError;
use crate::say;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

/// The project's folder.
#[derive(Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
    cargo: OsString,
}

impl Workspace {
    /// Finds it above this package, which cargo names when it runs us.
    pub(crate) fn find() -> Result<Self, TaskError> {
        let own = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let root = own.as_deref().and_then(|own| own.ancestors().nth(2)).map(Path::to_owned);
        let root = root.ok_or_else(|| TaskError::Usage("call this as cargo xtask".to_owned()))?;
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        Ok(Self { root, cargo })
    }

    /// A path below the project's folder.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// The project's folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A call of cargo in the project's folder.
    pub(crate) fn cargo(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.cargo);
        command.args(words).current_dir(&self.root);
        command
    }
}

/// How a command is named in messages: program and first argument.
fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
    match command.get_args().next() {
        Some(first) => format!("{name} {}", first.to_string_lossy()),
        None => name,
    }
}

/// Runs a program whose output goes to ours.
pub(crate) fn call(command: &mut Command) -> Result<(), TaskError> {
    let started = command.status();
    let status = started.map_err(|source| TaskError::Start { program: shown(command), source })?;
    ended(command, status)
}

fn ended(command: &Command, status: ExitStatus) -> Result<(), TaskError> {
    if status.success() {
        Ok(())
    } else {
        Err(TaskError::Program { program: shown(command), status })
    }
}

/// Runs a program whose output goes to ours, a line at a time, and looks at each line.
pub(crate) fn watch(command: &mut Command, mut look: impl FnMut(&str)) -> Result<(), TaskError> {
    let started = command.stdout(Stdio::piped()).spawn();
    let failed = |source| TaskError::Start { program: shown(command), source };
    let mut child = started.map_err(failed)?;
    if let Some(output) = child.stdout.take() {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        // An end of what can be read is the end of the program, or shows in its status.
        while output.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end_matches(['\r', '\n']);
            say::line(text);
            look(text);
            line.clear();
        }
    }
    let status = child.wait().map_err(failed)?;
    ended(command, status)
}

/// Runs a program; what it printed.
pub(crate) fn read(command: &mut Command) -> Result<String, TaskError> {
    let started =
        command.stdout(Stdio::piped()).spawn().and_then(std::process::Child::wait_with_output);
    let output = started.map_err(|source| TaskError::Start { program: shown(command), source })?;
    ended(command, output.status)?;
    String::from_utf8(output.stdout)
        .map_err(|error| TaskError::Output { program: shown(command), problem: error.to_string() })
}
