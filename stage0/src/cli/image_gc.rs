//! `rkt image gc`.

use std::time::{Duration, SystemTime};

use super::image_rm::references;
use super::{Command, Context, ExitCode, Failure, Flag, Grammar, Parsed, time};

/// How it is called.
pub(crate) const COMMAND: Command = Command {
    name: "image gc",
    summary: "Garbage collect local store",
    usage: "",
    description: "Removes rendered trees that no pod uses, images that were not used for the grace period and that no pod\n\
        needs, and what interrupted commands left behind.",
    grammar: Grammar::Words,
    flags: &[Flag::value(
        "grace-period",
        "24h0m0s",
        "duration to wait since an image was last used before removing it",
    )
    .check(duration)],
};

fn duration(text: &str) -> Result<(), String> {
    time::parse_duration(text).map(drop)
}

/// Collects what nobody needs.
pub(crate) fn run(cx: &Context, args: &Parsed) -> Result<ExitCode, Failure> {
    let [] = args.exactly()?;
    let grace = args.value("grace-period").and_then(|text| time::parse_duration(text).ok());
    let store = cx.store()?;
    let sweep = store.sweep().map_err(Failure::alone)?;
    let pods = references(cx)?;
    let swept = sweep
        .unused_trees(&pods)
        .map_err(|error| Failure::because("failed to remove unreferenced treestores", error))?;
    for tree in &swept.trees {
        cx.note(&format!("removed treestore \"{tree}\""));
    }
    let mut removed = 0_usize;
    let mut failed = false;
    let images = store.images().map_err(|error| Failure::because("failed to get images", error))?;
    for image in images {
        let used = SystemTime::now().duration_since(image.last_used).unwrap_or(Duration::ZERO);
        if grace.is_none_or(|grace| used < grace)
            || sweep.is_in_use(&image.id, &pods).map_err(Failure::alone)?
        {
            continue;
        }
        match store.remove(&image.id) {
            Ok(_) => {
                removed += 1;
                cx.print(&format!("successfully removed aci for image: \"{}\"", image.id));
            }
            Err(error) if error.is_not_found() => {}
            Err(error) => {
                failed = true;
                let what = format!("error removing aci for image \"{}\"", image.id);
                cx.report(&Failure::because(what, error));
            }
        }
    }
    if removed > 0 {
        cx.note(&format!("{removed} image(s) successfully removed"));
    }
    sweep
        .leftovers(&pods)
        .map_err(|error| Failure::because("failed to remove leftovers", error))?;
    if failed { Err(Failure::silent()) } else { Ok(ExitCode::SUCCESS) }
}
