//! `rkt image render`.

use stage0::render::Extent;

use super::image_extract::{FLAGS, write};
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
    write(cx, args, Extent::Complete, "error rendering ACI")
}
