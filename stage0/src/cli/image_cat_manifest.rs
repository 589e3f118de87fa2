//! `rkt image cat-manifest`, and how all commands of the group find their image.

use stage0::image_ref::ImageRef;

use appc::{ImageId, ImageManifest};

use super::{Command, Context, ExitCode, Failure, Flag, Grammar, Parsed};

/// How it is called.
pub(crate) const COMMAND: Command = Command {
    name: "image cat-manifest",
    summary: "Inspect and print the image manifest",
    usage: "IMAGE",
    description: "IMAGE is the ID or the name of an image in the local store.",
    grammar: Grammar::Words,
    flags: &[Flag::on("pretty-print", "apply indent to format the output")],
};

/// Finds an image in the store; nothing is fetched.
pub(super) fn find(cx: &Context, image: &str) -> Result<ImageId, Failure> {
    let image = ImageRef::parse(image).map_err(Failure::alone)?;
    cx.store()?.resolve(&image).map_err(Failure::alone)
}

/// Prints the manifest of an image.
pub(crate) fn run(cx: &Context, args: &Parsed) -> Result<ExitCode, Failure> {
    let [image] = args.exactly()?;
    let id = find(cx, image)?;
    let image = cx.store()?.image(&id).map_err(Failure::alone)?;
    let manifest = ImageManifest::from_json(image.manifest())
        .map_err(|error| Failure::because("cannot read image manifest", error))?;
    cx.print(&if args.bool("pretty-print") {
        manifest.to_json_pretty("\t")
    } else {
        manifest.to_json()
    });
    Ok(ExitCode::SUCCESS)
}
