//! `ci`: all that must hold, part by part, each within a budget of processor minutes. A budget that is overrun is a
//! failure: a check that nobody waits for is a check that nobody runs.
//!
//! The tests come last, so that the runner's summary is the last thing printed; what the other parts found and used
//! stands above it.

use crate::error::TaskError;
use crate::say;
use crate::workspace::{Workspace, call};
use crate::{dist, fuzz, kernel, lab, layers, licences, setup, size, test, usage};
use std::time::Duration;

/// A part of the whole.
struct Part {
    name: &'static str,
    /// In processor minutes, on a machine that has built nothing yet.
    budget: u64,
    run: fn(&Workspace) -> Result<(), TaskError>,
}

const PARTS: [Part; 11] = [
    // Half of it for real images, which are built once.
    Part { name: "setup", budget: 9, run: |workspace| setup::run(workspace, &[]) },
    Part { name: "fmt", budget: 1, run: format },
    Part { name: "size", budget: 1, run: |workspace| size::run(workspace, &[]) },
    Part { name: "layers", budget: 1, run: |workspace| layers::run(workspace, &[]) },
    Part { name: "licences", budget: 1, run: |workspace| licences::run(workspace, &[]) },
    Part { name: "clippy", budget: 7, run: clippy },
    Part { name: "doc", budget: 3, run: document },
    // Nothing where it was built before: it is kept in the user's cache.
    Part { name: "kernel", budget: 20, run: |workspace| kernel::run(workspace, &[]) },
    Part { name: "dist", budget: 14, run: |workspace| dist::run(workspace, &[]) },
    Part { name: "fuzz", budget: 5, run: |workspace| fuzz::run(workspace, &[]) },
    // Emulation: a tenth of the machine's speed. The debug build of the test programs is in it.
    Part { name: "lab", budget: 24, run: lab::suite },
];
/// The debug build and the tests themselves.
const TESTS: Part =
    Part { name: "tests", budget: 22, run: |workspace| test::suite(workspace, &[]) };

/// How a part went.
struct Outcome {
    part: &'static Part,
    used: Duration,
    /// What is to be said of it where it failed.
    failure: Option<String>,
}

/// `cargo xtask ci`
pub(crate) fn run(workspace: &Workspace, words: &[String]) -> Result<(), TaskError> {
    if !words.is_empty() {
        return Err(TaskError::Usage("usage: cargo xtask ci".to_owned()));
    }
    let mut outcomes: Vec<Outcome> = PARTS.iter().map(|part| take(part, workspace)).collect();
    say::line("");
    for outcome in &outcomes {
        say::line(&outcome.row());
    }
    let tests = take(&TESTS, workspace);
    if tests.overrun() {
        say::line(&tests.row());
    }
    outcomes.push(tests);
    let bad: Vec<&Outcome> = outcomes.iter().filter(|o| o.failed() || o.overrun()).collect();
    match bad.as_slice() {
        [] => Ok(()),
        [only] if only.part.name == TESTS.name && only.failed() => Err(TaskError::Tests),
        _ => Err(TaskError::Parts(bad.iter().map(|outcome| outcome.problem()).collect())),
    }
}

fn take(part: &'static Part, workspace: &Workspace) -> Outcome {
    say::title(part.name);
    let before = usage::processor();
    let result = (part.run)(workspace);
    let failure = result.err().map(|error| {
        if !matches!(error, TaskError::Tests) {
            say::problem(&error);
        }
        say::with_causes(&error)
    });
    Outcome { part, used: usage::processor().saturating_sub(before), failure }
}

impl Outcome {
    fn failed(&self) -> bool {
        self.failure.is_some()
    }

    /// What is said of it at the end of all, where nothing that it printed is near.
    fn problem(&self) -> String {
        match &self.failure {
            Some(failure) => format!("{} ({failure})", self.part.name),
            None => self.row(),
        }
    }

    fn overrun(&self) -> bool {
        self.used > Duration::from_secs(self.part.budget * 60)
    }

    fn row(&self) -> String {
        let verdict = match (self.failed(), self.overrun()) {
            (true, _) => "FAILED",
            (false, true) => "OVER BUDGET",
            (false, false) => "ok",
        };
        let (name, used) = (self.part.name, usage::minutes(self.used));
        format!("{name:<10}{used:>5} of {:>2} processor minutes  {verdict}", self.part.budget)
    }
}

fn format(workspace: &Workspace) -> Result<(), TaskError> {
    call(&mut workspace.cargo(&["fmt", "--all", "--check"]))?;
    let fuzz = ["fmt", "--manifest-path", fuzz::MANIFEST, "--all", "--check"];
    call(&mut workspace.cargo(&fuzz))
}

fn clippy(workspace: &Workspace) -> Result<(), TaskError> {
    let words = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    call(&mut workspace.cargo(&words))
}

fn document(workspace: &Workspace) -> Result<(), TaskError> {
    let mut cargo = workspace.cargo(&["doc", "--workspace", "--no-deps", "--locked"]);
    call(cargo.env("RUSTDOCFLAGS", "-D warnings"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_takes_too_long_fails_and_says_so() {
        let took = |used, failure: Option<&str>| Outcome {
            part: &TESTS,
            used: Duration::from_secs(used),
            failure: failure.map(str::to_owned),
        };
        let limit = TESTS.budget * 60;
        assert!(!took(limit, None).overrun());
        assert!(took(limit, None).row().ends_with("ok"));
        assert!(took(limit + 1, None).overrun());
        assert!(took(limit + 1, None).row().ends_with("OVER BUDGET"));
        assert!(took(limit + 1, None).problem().ends_with("OVER BUDGET"));
        assert!(took(1, Some("one test")).row().ends_with("FAILED"));
        assert_eq!(took(1, Some("one test")).problem(), "tests (one test)");
    }
}
