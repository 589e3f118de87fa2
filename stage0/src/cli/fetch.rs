//! `rkt fetch`.

use super::{Command, Context, ExitCode, Failure, Grammar, Parsed};

/// How it is called.
pub(crate) const COMMAND: Command = Command {
    name: "fetch",
    summary: "Fetch image(s) and store them in the local store",
    usage: "IMAGE_URL...",
    description: "",
    grammar: Grammar::Images,
    flags: &[],
};

/// Runs it.
pub(crate) fn run(_cx: &Context, _args: &Parsed) -> Result<ExitCode, Failure> {
    Err(Failure::new("not there yet"))
}
