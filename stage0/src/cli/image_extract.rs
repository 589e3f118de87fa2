//! `rkt image extract`, and what `image render` shares with it.

use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use stage0::render::{Content, Extent};
use sys::path::{At as _, PathError};

use super::image_cat_manifest::find;
use super::{Command, Context, ExitCode, Failure, Flag, Grammar, Parsed};

/// How it is called.
pub(crate) const COMMAND: Command = Command {
    name: "image extract",
    summary: "Extract a stored image to a directory",
    usage: "IMAGE OUTPUT_DIR",
    description: "IMAGE is the ID or the name of an image in the local store.\n\
        The images that it depends on are left out: image render has them.",
    grammar: Grammar::Words,
    flags: FLAGS,
};

/// The flags of both commands.
pub(super) const FLAGS: &[Flag] = &[
    Flag::bool("overwrite", "overwrite output directory"),
    Flag::bool("rootfs-only", "extract rootfs only"),
];

/// Writes the files of an image into a new folder.
pub(crate) fn run(cx: &Context, args: &Parsed) -> Result<ExitCode, Failure> {
    write(cx, args, Extent::Alone, "error extracting ACI")
}

/// Writes so many of an image's files into a new folder; `doing` is what a failure of that is called.
pub(super) fn write(
    cx: &Context,
    args: &Parsed,
    extent: Extent,
    doing: &'static str,
) -> Result<ExitCode, Failure> {
    let [image, output] = args.exactly()?;
    let id = find(cx, image)?;
    let output = Output::make(Path::new(output), args.bool("overwrite"))?;
    let content = if args.bool("rootfs-only") { Content::Rootfs } else { Content::Whole };
    let done = stage0::render::extract(cx.store()?, &id, extent, output.folder.as_fd(), content)
        .map_err(|error| Failure::because(doing, error));
    output.finish(done)
}

/// A new folder that goes away again if it cannot be filled.
struct Output {
    path: PathBuf,
    folder: OwnedFd,
}

impl Output {
    /// Makes the folder; with `overwrite` what is there goes first.
    fn make(path: &Path, overwrite: bool) -> Result<Self, Failure> {
        if let Ok(there) = fs::symlink_metadata(path) {
            if !overwrite {
                return Err(Failure::new("output directory exists").hint("try --overwrite"));
            }
            let root = |found: &fs::Metadata| {
                fs::metadata("/").is_ok_and(|r| (r.dev(), r.ino()) == (found.dev(), found.ino()))
            };
            if root(&there) || fs::metadata(path).is_ok_and(|found| root(&found)) {
                return Err(Failure::new("this would delete your root filesystem. Refusing."));
            }
            remove(path)
                .map_err(|error| Failure::because("error removing existing output dir", error))?;
        }
        let failed = |error| Failure::because("error creating output directory", error);
        fs::create_dir_all(path).at("mkdir", path).map_err(failed)?;
        let folder = open(path).map_err(failed)?;
        Ok(Self { path: path.to_owned(), folder })
    }

    /// Keeps the folder, or removes it with what came into it.
    fn finish(self, done: Result<(), Failure>) -> Result<ExitCode, Failure> {
        if done.is_err() {
            // The failure itself is what matters.
            drop(remove(&self.path));
        }
        done.map(|()| ExitCode::SUCCESS)
    }
}

fn open(path: &Path) -> Result<OwnedFd, PathError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).at("open", path)
}

fn remove(path: &Path) -> Result<(), PathError> {
    let whole = std::path::absolute(path).at("stat", path)?;
    let (Some(parent), Some(name)) = (whole.parent(), whole.file_name()) else {
        return Ok(());
    };
    let parent = open(parent)?;
    archive::remove::tree(parent.as_fd(), name.as_encoded_bytes()).at("unlink", path)
}
