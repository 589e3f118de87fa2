//! `bench`: what it costs, measured in turn with what the kernel asks at least and with other runtimes, on the same
//! machine in the same minute. Ratios are judged, times are only shown: a machine that is busy is unfair to all.

mod engine;
mod fetch;
mod kvm;
mod net;
mod start;
pub(crate) mod stopwatch;
pub(crate) mod verdict;

use crate::dist::{self, Flavours, Profile};
use crate::error::TaskError;
use crate::say;
use crate::setup::present;
use crate::workspace::Workspace;
use std::path::Path;

const USAGE: &str = "usage: cargo xtask bench start|fetch|net|kvm [--quick] [CORPUS | guests]";

/// `cargo xtask bench start [--quick] | fetch [--quick] [CORPUS] | net [--quick] [guests] | kvm [--quick]`
pub(crate) fn run(workspace: &Workspace, words: &[String]) -> Result<(), TaskError> {
    let usage = || TaskError::Usage(USAGE.to_owned());
    let (name, rest) = words.split_first().ok_or_else(usage)?;
    let (profile, rest) = Profile::take(rest);
    match (name.as_str(), rest) {
        ("start", []) => {
            build(workspace, profile)?;
            start::run(workspace)
        }
        ("fetch", [] | [_]) => {
            let corpus = fetch::corpus(workspace, rest.first())?;
            build(workspace, profile)?;
            fetch::run(workspace, &corpus)
        }
        ("net", []) => {
            build(workspace, profile)?;
            let containers = net::run(workspace);
            net::run_guests(workspace, profile).and(containers)
        }
        ("net", [part]) if part == "guests" => net::run_guests(workspace, profile),
        (net::INSIDE, []) => net::inside(workspace),
        (net::GUESTS_INSIDE, [folder]) => net::inside_guests(Path::new(folder)),
        ("kvm", []) => kvm::run(workspace, profile),
        (kvm::INSIDE, [folder]) => kvm::inside(Path::new(folder)),
        _ => Err(usage()),
    }
}

/// Builds what is measured.
pub(crate) fn build(workspace: &Workspace, profile: Profile) -> Result<(), TaskError> {
    if profile == Profile::Quick {
        say::line("--quick: without link-time optimisation, so the figures are too high");
    }
    dist::build(workspace, profile, Flavours::Containers).map(drop)
}

/// Programs to compare with are there, or it is said which packages bring them.
fn require(programs: &[&str]) -> Result<(), TaskError> {
    let missing: Vec<&str> = programs.iter().copied().filter(|name| !present(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    Err(TaskError::Missing(format!("the comparison needs these Debian packages: {list}")))
}
