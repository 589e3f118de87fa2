//! `rkt image export`.

use super::{Command, Context, ExitCode, Failure, Grammar, Parsed};

/// How it is called.
pub(crate) const COMMAND: Command = Command {
    name: "image export",
    summary: "Export a stored image to an ACI file",
    usage: "IMAGE OUTPUT_ACI_FILE",
    description: "",
    grammar: Grammar::Words,
    flags: &[],
};

/// Runs it.
pub(crate) fn run(_cx: &Context, _args: &Parsed) -> Result<ExitCode, Failure> {
    Err(Failure::new("not there yet"))
}
