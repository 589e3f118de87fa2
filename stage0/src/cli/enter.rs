//! `rkt enter`.

use super::{Command, Context, ExitCode, Failure, Grammar, Parsed};

/// How it is called.
pub(crate) const COMMAND: Command = Command {
    name: "enter",
    summary: "Enter the namespaces of an app within a rkt pod",
    usage: "[--app=APPNAME] UUID [CMD [ARGS ...]]",
    description: "",
    grammar: Grammar::Program,
    flags: &[],
};

/// Runs it.
pub(crate) fn run(_cx: &Context, _args: &Parsed) -> Result<ExitCode, Failure> {
    Err(Failure::new("not there yet"))
}
