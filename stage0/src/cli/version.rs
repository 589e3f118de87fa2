//! `rkt version`.

use stage0::VERSION;

use super::{Command, Context, ExitCode, Failure, Grammar, Parsed};

/// How it is called.
pub(crate) const COMMAND: Command = Command {
    name: "version",
    summary: "Print the version and exit",
    usage: "",
    description: "",
    grammar: Grammar::Words,
    flags: &[],
};

/// Prints the five lines.
#[expect(clippy::unnecessary_wraps, reason = "it has the form of every command")]
pub(crate) fn run(cx: &Context, _args: &Parsed) -> Result<ExitCode, Failure> {
    cx.print(&format!(
        "rkt Version: {VERSION}\nappc Version: 0.8.11\nRust Version: rustc{}\nRust OS/Arch: {}/{}\nFeatures: -TPM +SDJOURNAL\n",
        env!("RUSTC_VERSION"),
        std::env::consts::OS,
        go_arch(std::env::consts::ARCH),
    ));
    Ok(ExitCode::SUCCESS)
}

/// The name that images and other tools use for an architecture.
fn go_arch(arch: &'static str) -> &'static str {
    match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
