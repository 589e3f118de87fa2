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
    let text = if args.bool("pretty-print") {
        appc::json::to_string_pretty(config, "\t")
    } else {
        appc::json::to_string(config)
    };
    cx.print(&text.map_err(|error| Failure::because("cannot print configuration", error))?);
    Ok(ExitCode::SUCCESS)
}
