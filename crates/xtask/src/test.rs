//! `test`: the whole suite, against what `dist` built.

use crate::corpus::Extent;
use crate::dist::{self, Flavours, Profile};
use crate::error::{At, TaskError};
use crate::kernel::Kernel;
use crate::lab;
use crate::say;
use crate::setup;
use crate::workspace::{Workspace, call};
use std::fs;
use std::process::{Command, Stdio};

/// `cargo xtask test [--quick] [ARGUMENTS | --all-images | --lab]`
pub(crate) fn run(workspace: &Workspace, words: &[String]) -> Result<(), TaskError> {
    let (profile, rest) = Profile::take(words);
    let (extent, rest) = Extent::take(rest);
    setup::prepare(workspace, extent)?;
    let in_lab = matches!(rest, [only] if only == "--lab") && extent == Extent::Suite;
    let flavours = if in_lab { Flavours::All(Kernel::Own) } else { Flavours::Containers };
    dist::build(workspace, profile, flavours)?;
    match (extent, rest) {
        _ if in_lab => lab::suite(workspace),
        (Extent::Suite, _) => suite(workspace, rest),
        (Extent::All, []) => all_images(workspace),
        (Extent::All, _) => {
            Err(TaskError::Usage("usage: cargo xtask test [--quick] --all-images".to_owned()))
        }
    }
}

/// The tests of real images, also those that are too long for the suite.
fn all_images(workspace: &Workspace) -> Result<(), TaskError> {
    let target = ["--package", "tests", "--test", "corpus"];
    let mut runner = if has_nextest(workspace) {
        let mut cargo = workspace.cargo(&["nextest", "run", "--run-ignored", "all"]);
        cargo.args(target);
        cargo
    } else {
        let mut cargo = workspace.cargo(&["test", "--no-fail-fast"]);
        cargo.args(target).args(["--", "--include-ignored"]);
        cargo
    };
    match call(&mut runner) {
        Err(TaskError::Program { .. }) => Err(TaskError::Tests),
        other => other,
    }
}

/// Runs the tests. The runner's summary is the last thing printed, unless tests were skipped.
pub(crate) fn suite(workspace: &Workspace, words: &[String]) -> Result<(), TaskError> {
    let mut runner = if has_nextest(workspace) {
        workspace.cargo(&["nextest", "run", "--workspace", "--no-fail-fast"])
    } else {
        workspace.cargo(&["test", "--workspace", "--no-fail-fast", "--lib", "--bins", "--tests"])
    };
    let skips = workspace.path("target/skipped-tests");
    fs::write(&skips, "").at("write", &skips)?;
    match call(runner.args(words).env("RKT_TEST_SKIPS", &skips)) {
        // The runner has said more than that.
        Err(TaskError::Program { .. }) => return Err(TaskError::Tests),
        other => other?,
    }
    let text = fs::read_to_string(&skips).at("read", &skips)?;
    none(text.lines().map(str::to_owned).collect())
}

/// A suite that skips itself proves nothing.
fn none(skipped: Vec<String>) -> Result<(), TaskError> {
    if skipped.is_empty() {
        return Ok(());
    }
    Err(TaskError::Broken { rule: "tests were skipped", found: skipped })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_that_skips_itself_fails() {
        none(Vec::new()).unwrap();
        assert!(
            none(vec!["name: Root".to_owned()]).unwrap_err().to_string().contains("name: Root")
        );
    }
}
