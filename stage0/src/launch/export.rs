//! The files of a pod that runs, where only its stage1 can give them.

use super::entry::{EntryError, command, failed};
use archive::Limits;
use archive::rewrite::{self, RewriteError};
use stage1_abi::{ExportArgs, PodDir, PodDirError, Stage1Interface};
use std::io::{self, Read as _, Write};
use std::path::PathBuf;
use std::process::{ChildStderr, Stdio};

/// As much is kept of what an entrypoint complains about.
const WORDS: u64 = 4096;

/// Why an app of a running pod cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum RunningError {
    /// A file of the pod.
    #[error(transparent)]
    Dir(#[from] PodDirError),
    /// The app has no image manifest.
    #[error("app has no image manifest")]
    NoManifest,
    /// The stage1 does not give the files.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// What it gives is none, or cannot be written.
    #[error(transparent)]
    Files(#[from] RewriteError),
}

/// Writes the root of an app of a running pod, as it is now, and the manifest of its image as an ACI that is not compressed.
/// Nothing of what the stage1 gives is believed: it may come from inside the pod.
pub fn export<W: Write>(
    dir: &PodDir,
    interface: &Stage1Interface,
    args: &ExportArgs,
    out: W,
) -> Result<W, RunningError> {
    let manifest = dir.read(&PodDir::app_file(&args.app, "manifest"))?;
    let manifest = manifest.ok_or(RunningError::NoManifest)?;
    let entry = interface.export.as_deref().ok_or(EntryError::Unsupported("export"))?;
    let mut command = command(dir, entry, args.encode())?;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let path = PathBuf::from(command.get_program());
    let failure = |source| EntryError::Execute { path: path.clone(), source };
    let mut child = command.spawn().map_err(failure)?;
    // Read beside the files, or a program that says much would wait for us while we wait for it.
    let said = child.stderr.take().map(|stderr| std::thread::spawn(move || heard(stderr)));
    let written = match child.stdout.take() {
        Some(mut files) => rewrite::aci(out, &manifest, &mut files, &Limits::default()),
        None => Err(RewriteError::Write(io::ErrorKind::BrokenPipe.into())),
    };
    let cut_off = written.as_ref().is_err_and(RewriteError::is_cut_off);
    if written.is_err() && !cut_off {
        // It has nothing more to say that anybody would hear.
        child.kill().map_err(failure)?;
    }
    let status = child.wait().map_err(failure)?;
    let said = said.and_then(|said| said.join().ok()).unwrap_or_default();
    // Why nothing more came says more than that nothing came.
    if !status.success() && (written.is_ok() || cut_off) {
        return Err(failed("export", status, &said).into());
    }
    Ok(written?)
}

/// The first of what is said, to the end of it.
fn heard(mut stderr: ChildStderr) -> Vec<u8> {
    let mut said = Vec::new();
    let first = stderr.by_ref().take(WORDS).read_to_end(&mut said);
    if let Err(error) = first.and_then(|_| io::copy(&mut stderr, &mut io::sink())) {
        log::debug!("cannot hear the stage1: {error}");
    }
    said
}
