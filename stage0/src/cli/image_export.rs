//! `rkt image export`.

use std::io::ErrorKind;
use std::path::Path;

use sys::path::PathError;

use super::image_cat_manifest::find;
use super::output::Output;
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
    let (output, file) = Output::create(output, args.bool("overwrite")).map_err(refused)?;
    stage0::render::export(cx.store()?, &id, file)
        .map_err(|error| Failure::because("error exporting image", error))?;
    output.finish().map_err(|error| Failure::because("error exporting image", error))?;
    Ok(ExitCode::SUCCESS)
}

fn refused(error: PathError) -> Failure {
    if error.kind() == ErrorKind::AlreadyExists {
        Failure::new("output ACI file exists").hint("try --overwrite")
    } else {
        Failure::because("unable to open output ACI file for writing", error)
    }
}
