//! From a flavour and its programs to the bytes of an image, and to a file.

use crate::elf;
use crate::flavour::{Content, Flavour, ManifestError};
use crate::initramfs;
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
    /// What is to be packed is missing or unreadable.
    #[error("cannot read {}", path.display())]
    Input {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A program asks for a loader or libraries, which a stage1 root does not have.
    #[error("program {} is not linked statically", .0.display())]
    NotStatic(PathBuf),
    /// The flavour has a guest, and nobody said of which kernel.
    #[error("flavour {0} needs a kernel")]
    NoKernel(&'static str),
    /// A guest's kernel cannot be loaded.
    #[error("cannot pack kernel {}", path.display())]
    Kernel {
        /// The kernel.
        path: PathBuf,
        /// What is wrong with it.
        source: elf::BadKernel,
    },
    /// The order of a kernel's modules names what is no file beside it.
    #[error("{} names something else than modules", .0.display())]
    Order(PathBuf),
    /// The image could not be written.
    #[error("cannot write image {}", path.display())]
    Image {
        /// The image.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// What images are packed of.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    /// The folder of the built programs.
    pub programs: &'a Path,
    /// The folder of a guest's kernel, `vmlinux`, and its `modules` if it has any.
    pub kernel: Option<&'a Path>,
}

impl Sources<'_> {
    fn program(&self, name: &str) -> Result<Vec<u8>, PackError> {
        let path = self.programs.join(name);
        let bytes = read(&path)?;
        if elf::asks_for_loader(&bytes) { Err(PackError::NotStatic(path)) } else { Ok(bytes) }
    }

    fn content(&self, content: Content, flavour: &Flavour) -> Result<Vec<u8>, PackError> {
        let kernel = || self.kernel.ok_or(PackError::NoKernel(flavour.name));
        match content {
            Content::Program(program) => self.program(program),
            Content::Kernel => {
                let path = kernel()?.join("vmlinux");
                elf::loaded(&read(&path)?).map_err(|source| PackError::Kernel { path, source })
            }
            Content::Initramfs { init } => initramfs::build(&self.program(init)?, kernel()?),
        }
    }
}

/// Reads a file that is to be packed.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, PackError> {
    fs::read(path).map_err(|source| PackError::Input { path: path.to_owned(), source })
}

/// A file in the root of an image.
struct Member {
    name: &'static str,
    mode: u32,
    bytes: Vec<u8>,
}

/// The image of a flavour, compressed.
///
/// # Errors
/// See [`PackError`].
pub fn pack(flavour: &Flavour, version: &str, sources: &Sources<'_>) -> Result<Vec<u8>, PackError> {
    let manifest = flavour
        .manifest(version)
        .map_err(|source| PackError::Manifest { flavour: flavour.name, source })?
        .to_json();
    let mut members = Vec::new();
    for entrypoint in flavour.entrypoints {
        let bytes = sources.program(entrypoint.program)?;
        members.push(Member { name: entrypoint.name, mode: 0o755, bytes });
    }
    for extra in flavour.extras {
        let bytes = sources.content(extra.content, flavour)?;
        let mode = if matches!(extra.content, Content::Program(_)) { 0o755 } else { 0o644 };
        members.push(Member { name: extra.name, mode, bytes });
    }
    members.sort_by_key(|member| member.name);
    compress(flavour, manifest.as_bytes(), &members)
        .map_err(|source| PackError::Image { path: flavour.file_name().into(), source })
}

fn compress(flavour: &Flavour, manifest: &[u8], members: &[Member]) -> io::Result<Vec<u8>> {
    let compressed = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    let mut writer = AciWriter::new(compressed, manifest)?;
    writer.symlink("rootfs/flavor", flavour.name)?;
    for member in members {
        writer.file(&format!("rootfs/{}", member.name), member.mode, &member.bytes)?;
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
    sources: &Sources<'_>,
    folder: &Path,
) -> Result<PathBuf, PackError> {
    let path = folder.join(flavour.file_name());
    let bytes = pack(flavour, version, sources)?;
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
