//! `rkt config`.

use super::{Command, Context, ExitCode, Failure, Flag, Grammar, Parsed};

/// How it is called.
pub(crate) const COMMAND: Command = Command {
    name: "config",
    summary: "Print configuration for each stage in JSON format",
    usage: "",
    description: "",
    grammar: Grammar::Words,
    flags: &[Flag::on("pretty-print", "apply indent to format the output")],
};

/// Prints the merged configuration.
pub(crate) fn run(cx: &Context, args: &Parsed) -> Result<ExitCode, Failure> {
    let config = cx.config()?;
    cx.print(&if args.bool("pretty-print") {
        appc::json::pretty(config, "\t")
    } else {
        appc::json::compact(config)
    });
    Ok(ExitCode::SUCCESS)
}
