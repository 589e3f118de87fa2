//! `rkt image rm`.

use stage0::pod::PodsDir;
use stage0::store::References;

use super::image_cat_manifest::find;
use super::{Command, Context, ExitCode, Failure, Grammar, Parsed};

/// How it is called.
pub(crate) const COMMAND: Command = Command {
    name: "image rm",
    summary: "Remove one or more images with the given IDs or image names from the local store",
    usage: "IMAGE...",
    description: "Pods that were prepared from an image keep what they need of it.",
    grammar: Grammar::Words,
    flags: &[],
};

/// Removes images, and the trees that nobody needs any more.
pub(crate) fn run(cx: &Context, args: &Parsed) -> Result<ExitCode, Failure> {
    if args.words().is_empty() {
        return Err(Failure::new("must provide at least one image ID"));
    }
    let store = cx.store()?;
    let (mut removed, mut failed, mut parts) = (0_usize, false, Vec::new());
    for image in args.words() {
        let id = match find(cx, image) {
            Ok(id) => id,
            // As ever, an image that is not there is not a failure to remove it.
            Err(failure) => {
                cx.report(&failure);
                continue;
            }
        };
        match store.remove(&id) {
            Ok(had) => {
                parts.extend(had);
                removed += 1;
                cx.print(&format!("successfully removed aci for image: \"{id}\""));
            }
            Err(error) => {
                failed = true;
                cx.report(&Failure::because(
                    format!("error removing aci for image \"{id}\""),
                    error,
                ));
            }
        }
    }
    if removed > 0 {
        cx.note(&format!("{removed} image(s) successfully removed"));
    }
    if store.is_root() && !parts.is_empty() {
        // While a pod is being prepared its trees are not known yet: the next collection deletes them.
        let sweep = store.attempt_sweep().map_err(Failure::alone)?;
        if let Some(sweep) = sweep {
            sweep.parts(&parts, &references(cx)?).map_err(Failure::alone)?;
        }
    }
    if failed { Err(Failure::silent()) } else { Ok(ExitCode::SUCCESS) }
}

/// What pods need. To be asked while nobody prepares one.
pub(super) fn references(cx: &Context) -> Result<References, Failure> {
    let failed = |error| Failure::because("cannot tell what pods need", error);
    PodsDir::open(cx.data_dir()?).references().map_err(failed)
}
