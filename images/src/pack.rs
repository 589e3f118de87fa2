//! From a flavour and its programs to the bytes of an image, and to a file.

use crate::flavour::{Flavour, ManifestError};
use archive::write::AciWriter;
use flate2::{Compression, GzBuilder};
use std::fs;
use std::io;
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

/// The image of a flavour, compressed, of the programs in a folder.
///
/// # Errors
/// See [`PackError`].
pub fn pack(flavour: &Flavour, version: &str, programs: &Path) -> Result<Vec<u8>, PackError> {
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
    compress(flavour, manifest.as_bytes(), &members)
        .map_err(|source| PackError::Image { path: flavour.file_name().into(), source })
}

fn compress(
    flavour: &Flavour,
    manifest: &[u8],
    members: &[(&str, Vec<u8>)],
) -> io::Result<Vec<u8>> {
    let compressed = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    let mut writer = AciWriter::new(compressed, manifest)?;
    writer.symlink("rootfs/flavor", flavour.name)?;
    for (name, bytes) in members {
        writer.file(&format!("rootfs/{name}"), 0o755, bytes)?;
    }
    writer.finish()?.finish()
}

/// Packs a flavour into `folder`. The file appears under its name when it is whole, and an equal one stays as it is: who
/// knows it by inode and time need not read it again.
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
    let bytes = pack(flavour, version, programs)?;
    if fs::read(&path).is_ok_and(|old| old == bytes) {
        return Ok(path);
    }
    let hidden = folder.join(format!(".{}.new", flavour.file_name()));
    let written = fs::write(&hidden, bytes).and_then(|()| fs::rename(&hidden, &path));
    match written {
        Ok(()) => Ok(path),
        Err(source) => Err(PackError::Image { path, source }),
    }
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
