//! `rkt run`.

use super::{Command, Context, ExitCode, Failure, Grammar, Parsed};

/// How it is called.
pub(crate) const COMMAND: Command = Command {
    name: "run",
    summary: "Run image(s) in a pod in rkt",
    usage: "IMAGE [-- image-args...[---]]...",
    description: "",
    grammar: Grammar::Apps,
    flags: &[],
};

/// Runs it.
pub(crate) fn run(_cx: &Context, _args: &Parsed) -> Result<ExitCode, Failure> {
    Err(Failure::new("not there yet"))
}
