//! `test`: the whole suite, against what `dist` built.

use crate::dist::{self, Profile};
use crate::error::TaskError;
use crate::say;
use crate::setup;
use crate::workspace::{Workspace, call};
use std::process::{Command, Stdio};

/// `cargo xtask test [--quick] [ARGUMENTS]`
pub(crate) fn run(workspace: &Workspace, words: &[String]) -> Result<(), TaskError> {
    let (profile, rest) = Profile::take(words);
    setup::run(workspace, &[])?;
    dist::build(workspace, profile)?;
    suite(workspace, rest)
}

/// Runs the tests. The runner's summary is the last thing printed.
pub(crate) fn suite(workspace: &Workspace, words: &[String]) -> Result<(), TaskError> {
    let mut runner = if has_nextest(workspace) {
        workspace.cargo(&["nextest", "run", "--workspace", "--no-fail-fast"])
    } else {
        workspace.cargo(&["test", "--workspace", "--no-fail-fast", "--lib", "--bins", "--tests"])
    };
    match call(runner.args(words)) {
        // The runner has said more than that.
        Err(TaskError::Program { .. }) => Err(TaskError::Tests),
        other => other,
    }
}

fn has_nextest(workspace: &Workspace) -> bool {
    let mut probe: Command = workspace.cargo(&["nextest", "--version"]);
    let quiet = probe.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let found = quiet.status().is_ok_and(|status| status.success());
    if !found {
        say::line("cargo-nextest is not installed: cargo test runs the same tests");
    }
    found
}
