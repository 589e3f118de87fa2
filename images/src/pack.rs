//! From a flavour and its programs to the bytes of an image, and to a file.

use crate::flavour::{Flavour, ManifestError};
use archive::write::AciWriter;
use flate2::{Compression, GzBuilder};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// An image that could not be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The flavour's table breaks a rule.
    #[error("cannot write the manifest of flavour {flavour}")]
    Manifest {
        /// The flavour.
        flavour: &'static str,
        /// The rule.
        source: ManifestError,
    },
    /// A program is missing or unreadable.
    #[error("cannot read program {}", path.display())]
    Program {
        /// The program.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A program asks for a loader or libraries, which a stage1 root does not have.
    #[error("program {} is not linked statically", .0.display())]
    NotStatic(PathBuf),
    /// The image could not be written.
    #[error("cannot write image {}", path.display())]
    Image {
        /// The image.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Writes the image of a flavour, compressed, from the programs in a folder.
///
/// # Errors
/// See [`PackError`]; `shown` is the name of the output in messages.
pub fn pack<W: Write>(
    flavour: &Flavour,
    version: &str,
    programs: &Path,
    (out, shown): (W, &Path),
) -> Result<W, PackError> {
    let manifest = flavour
        .manifest(version)
        .map_err(|source| PackError::Manifest { flavour: flavour.name, source })?
        .to_json();
    let mut members = Vec::new();
    for entrypoint in flavour.entrypoints {
        let path = programs.join(entrypoint.program);
        let bytes =
            fs::read(&path).map_err(|source| PackError::Program { path: path.clone(), source })?;
        if elf_interpreter(&bytes) {
            return Err(PackError::NotStatic(path));
        }
        members.push((entrypoint.name, bytes));
    }
    write(out, flavour, manifest.as_bytes(), &members)
        .map_err(|source| PackError::Image { path: shown.to_owned(), source })
}

fn write<W: Write>(
    out: W,
    flavour: &Flavour,
    manifest: &[u8],
    members: &[(&str, Vec<u8>)],
) -> io::Result<W> {
    let compressed = GzBuilder::new().mtime(0).write(out, Compression::best());
    let mut writer = AciWriter::new(compressed, manifest)?;
    writer.symlink("rootfs/flavor", flavour.name)?;
    for (name, bytes) in members {
        writer.file(&format!("rootfs/{name}"), 0o755, bytes)?;
    }
    writer.finish()?.finish()
}

/// Packs a flavour into `folder`. The file appears under its name when it is whole: a reader never sees half an image.
///
/// # Errors
/// See [`PackError`].
pub fn install(
    flavour: &Flavour,
    version: &str,
    programs: &Path,
    folder: &Path,
) -> Result<PathBuf, PackError> {
    let path = folder.join(flavour.file_name());
    let hidden = folder.join(format!(".{}.new", flavour.file_name()));
    let failed = |source| PackError::Image { path: path.clone(), source };
    let file = File::create(&hidden).map_err(failed)?;
    let written = pack(flavour, version, programs, (file, &path))
        .and_then(|_| fs::rename(&hidden, &path).map_err(failed));
    if written.is_err() {
        // The first failure says why, and a file that stays is overwritten by the next run.
        drop(fs::remove_file(&hidden));
    }
    written.map(|()| path)
}

/// Whether this ELF program names an interpreter; what is no 64-bit ELF program has none.
fn elf_interpreter(bytes: &[u8]) -> bool {
    const INTERPRETER: [u8; 4] = [3, 0, 0, 0];
    let number = |at: usize, width: usize| -> Option<usize> {
        let field = bytes.get(at..at.checked_add(width)?)?;
        field
            .iter()
            .rev()
            .try_fold(0_usize, |sum, byte| sum.checked_mul(256)?.checked_add(usize::from(*byte)))
    };
    let table = || {
        let (start, entry, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
        (0..count).map(|i| start.checked_add(i.checked_mul(entry)?)).collect::<Option<Vec<_>>>()
    };
    bytes.starts_with(b"\x7fELF\x02\x01")
        && table().unwrap_or_default().into_iter().any(|at| {
            at.checked_add(4).and_then(|end| bytes.get(at..end)) == Some(INTERPRETER.as_slice())
        })
}
