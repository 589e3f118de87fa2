//! `rkt cat-manifest`.

use super::{Command, Context, ExitCode, Failure, Flag, Grammar, Parsed, pods};

/// How it is called.
pub(crate) const COMMAND: Command = Command {
    name: "cat-manifest",
    summary: "Inspect and print the pod manifest",
    usage: "UUID",
    description: "",
    grammar: Grammar::Words,
    flags: &[Flag::on("pretty-print", "apply indent to format the output"), pods::UUID_FILE],
};

/// Prints the manifest of a pod.
pub(crate) fn run(cx: &Context, args: &Parsed) -> Result<ExitCode, Failure> {
    let sighting = pods::one(cx, args, &COMMAND)?;
    let manifest = sighting
        .manifest()
        .map_err(|error| Failure::because("cannot load pod manifest", error))?
        .ok_or_else(|| {
            let (uuid, state) = (sighting.uuid, sighting.state.words());
            Failure::new(format!("pod \"{uuid}\" has no manifest: it is {state}"))
        })?;
    cx.print(&if args.bool("pretty-print") {
        manifest.to_json_pretty("\t")
    } else {
        manifest.to_json()
    });
    Ok(ExitCode::SUCCESS)
}
