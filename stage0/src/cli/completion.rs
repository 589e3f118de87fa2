//! `rkt completion`.

use super::{Command, Context, ExitCode, Failure, Grammar, Parsed};

/// How it is called.
pub(crate) const COMMAND: Command = Command {
    name: "completion",
    summary: "Output shell completion code for the specified shell",
    usage: "SHELL",
    description: "",
    grammar: Grammar::Words,
    flags: &[],
};

/// Runs it.
pub(crate) fn run(_cx: &Context, _args: &Parsed) -> Result<ExitCode, Failure> {
    Err(Failure::new("shell type is not specified"))
}
