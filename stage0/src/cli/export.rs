//! `rkt export`.

use super::{Command, Context, ExitCode, Failure, Grammar, Parsed};

/// How it is called.
pub(crate) const COMMAND: Command = Command {
    name: "export",
    summary: "Export an app from an exited pod to an ACI file",
    usage: "[--app=APPNAME] UUID OUTPUT_ACI_FILE",
    description: "",
    grammar: Grammar::Words,
    flags: &[],
};

/// Runs it.
pub(crate) fn run(_cx: &Context, _args: &Parsed) -> Result<ExitCode, Failure> {
    Err(Failure::new("not there yet"))
}
