//! `rkt image render`.

use std::os::fd::AsFd as _;
use std::path::Path;

use super::image_cat_manifest::find;
use super::image_extract::{FLAGS, Output, content};
use super::{Command, Context, ExitCode, Failure, Grammar, Parsed};

/// How it is called.
pub(crate) const COMMAND: Command = Command {
    name: "image render",
    summary: "Render a stored image to a directory with all its dependencies",
    usage: "IMAGE OUTPUT_DIR",
    description: "IMAGE is the ID or the name of an image in the local store.",
    grammar: Grammar::Words,
    flags: FLAGS,
};

/// Writes the files that an app of the image would see into a new folder.
pub(crate) fn run(cx: &Context, args: &Parsed) -> Result<ExitCode, Failure> {
    let [image, output] = args.exactly()?;
    let id = find(cx, image)?;
    let output = Output::make(Path::new(output), args.bool("overwrite"))?;
    let done = stage0::render::render(cx.store()?, &id, output.folder.as_fd(), content(args))
        .map_err(|error| Failure::because("error rendering ACI", error));
    output.finish(done)
}
