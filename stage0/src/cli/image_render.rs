//! `rkt image render`.

use super::{Command, Context, ExitCode, Failure, Grammar, Parsed};

/// How it is called.
pub(crate) const COMMAND: Command = Command {
    name: "image render",
    summary: "Render a stored image to a directory with all its dependencies",
    usage: "IMAGE OUTPUT_DIR",
    description: "",
    grammar: Grammar::Words,
    flags: &[],
};

/// Runs it.
pub(crate) fn run(_cx: &Context, _args: &Parsed) -> Result<ExitCode, Failure> {
    Err(Failure::new("not there yet"))
}
