//! `size`: a file that nobody can read in one go is two files.

use crate::error::{At, TaskError};
use crate::say;
use crate::workspace::Workspace;
use std::fs;
use std::path::{Path, PathBuf};

/// Longer files are listed.
const LONG: usize = 600;
/// Longer files are refused.
const TOO_LONG: usize = 800;

/// `cargo xtask size`
pub(crate) fn run(workspace: &Workspace, _: &[String]) -> Result<(), TaskError> {
    let mut long = Vec::new();
    for path in sources(workspace.root())? {
        let lines = fs::read_to_string(&path).at("read", &path)?.lines().count();
        if lines > LONG {
            let shown = path.strip_prefix(workspace.root()).unwrap_or(&path).display().to_string();
            long.push((lines, shown));
        }
    }
    long.sort_by(|a, b| b.cmp(a));
    judge(&long)
}

fn judge(long: &[(usize, String)]) -> Result<(), TaskError> {
    let shown = |(lines, path): &(usize, String)| format!("{lines:>5} {path}");
    let (refused, listed): (Vec<_>, Vec<_>) = long.iter().partition(|(n, _)| *n > TOO_LONG);
    for file in listed {
        say::line(&shown(file));
    }
    if refused.is_empty() {
        return Ok(());
    }
    let found = refused.into_iter().map(shown).collect();
    Err(TaskError::Broken { rule: "files of more than 800 lines", found })
}

/// All Rust files of the project, without what is built or hidden.
fn sources(folder: &Path) -> Result<Vec<PathBuf>, TaskError> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).at("read", &folder)? {
            let entry = entry.at("read", &folder)?;
            let (name, kind) = (entry.file_name(), entry.file_type().at("read", entry.path())?);
            let skipped = name == "target" || name.as_encoded_bytes().starts_with(b".");
            if kind.is_dir() && !skipped {
                folders.push(entry.path());
            } else if kind.is_file() && entry.path().extension().is_some_and(|e| e == "rs") {
                found.push(entry.path());
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_longest_files_are_refused() {
        judge(&[(601, "a.rs".to_owned()), (800, "b.rs".to_owned())]).unwrap();
        let error = judge(&[(801, "a.rs".to_owned()), (700, "b.rs".to_owned())]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("801 a.rs") && !text.contains("b.rs"), "{text}");
    }

    #[test]
    fn this_file_is_found() {
        let found = sources(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
        assert!(found.iter().any(|path| path.ends_with("src/size.rs")));
    }
}
