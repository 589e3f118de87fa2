//! `rkt image cat-manifest`.

use super::{Command, Context, ExitCode, Failure, Grammar, Parsed};

/// How it is called.
pub(crate) const COMMAND: Command = Command {
    name: "image cat-manifest",
    summary: "Inspect and print the image manifest",
    usage: "IMAGE",
    description: "",
    grammar: Grammar::Words,
    flags: &[],
};

/// Runs it.
pub(crate) fn run(_cx: &Context, _args: &Parsed) -> Result<ExitCode, Failure> {
    Err(Failure::new("not there yet"))
}
