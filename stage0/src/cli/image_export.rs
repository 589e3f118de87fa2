//! `rkt image export`.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use sys::path::At as _;

use super::image_cat_manifest::find;
use super::{Command, Context, ExitCode, Failure, Flag, Grammar, Parsed};

/// How it is called.
pub(crate) const COMMAND: Command = Command {
    name: "image export",
    summary: "Export a stored image to an ACI file",
    usage: "IMAGE OUTPUT_ACI_FILE",
    description: "IMAGE is the ID or the name of an image in the local store.\n\
        The file is an uncompressed ACI; of an OCI or Docker image it is its ACI form.",
    grammar: Grammar::Words,
    flags: &[Flag::bool("overwrite", "overwrite output ACI")],
};

/// Writes an image into a file.
pub(crate) fn run(cx: &Context, args: &Parsed) -> Result<ExitCode, Failure> {
    let [image, output] = args.exactly()?;
    let id = find(cx, image)?;
    let output = Path::new(output);
    let (file, written) = create(output, args.bool("overwrite"))?;
    let done = stage0::render::export(cx.store()?, &id, file)
        .map_err(|error| Failure::because("error exporting image", error))
        .and_then(|()| {
            if written == output {
                return Ok(());
            }
            fs::rename(&written, output)
                .at("rename", output)
                .map_err(|error| Failure::because("error exporting image", error))
        });
    if done.is_err() {
        // The failure itself is what matters.
        drop(fs::remove_file(&written));
    }
    done.map(|()| ExitCode::SUCCESS)
}

/// Creates the file to write, which is not the one it replaces before it is complete.
fn create(output: &Path, overwrite: bool) -> Result<(File, PathBuf), Failure> {
    let failed = |error| Failure::because("unable to open output ACI file for writing", error);
    let path = if overwrite && output.exists() {
        let mut name = OsString::from(".");
        name.push(output.file_name().unwrap_or_default());
        name.push(format!(".{}", std::process::id()));
        output.with_file_name(name)
    } else {
        output.to_owned()
    };
    match File::create_new(&path) {
        Ok(file) => Ok((file, path)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path == output => {
            Err(Failure::new("output ACI file exists").hint("try --overwrite"))
        }
        Err(error) => Err(error).at("open", &path).map_err(failed),
    }
}
