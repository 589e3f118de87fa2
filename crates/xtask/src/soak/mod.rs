//! `soak`: what shows only after many pods, or after a death at the wrong moment.

mod checks;
mod kill;
mod pods;
mod scenes;
mod tracer;

use crate::bench::build;
use crate::dist::{self, Flavours, Profile};
use crate::error::TaskError;
use crate::kernel::Kernel;
use crate::lab;
use crate::workspace::Workspace;

const USAGE: &str = "usage: cargo xtask soak pods [--quick] [N] | soak kill [--quick] [N] [SEED] | soak machines [--quick]";

/// `cargo xtask soak pods [--quick] [N] | kill [--quick] [N] [SEED] | machines [--quick]`
pub(crate) fn run(workspace: &Workspace, words: &[String]) -> Result<(), TaskError> {
    let usage = || TaskError::Usage(USAGE.to_owned());
    let (name, rest) = words.split_first().ok_or_else(usage)?;
    let (profile, rest) = Profile::take(rest);
    let numbers: Result<Vec<u64>, _> = rest.iter().map(|word| word.parse()).collect();
    let numbers = numbers.map_err(|_| usage())?;
    match (name.as_str(), numbers.as_slice()) {
        ("pods", [] | [_]) => {
            build(workspace, profile)?;
            pods::run(workspace, numbers.first().copied().unwrap_or(500))
        }
        ("machines", []) => {
            dist::build(workspace, profile, Flavours::All(Kernel::Own))?;
            lab::all_on_machines(workspace)
        }
        ("kill", [] | [_] | [_, _]) => {
            build(workspace, profile)?;
            let count = numbers.first().copied().unwrap_or(300);
            kill::run(workspace, count, numbers.get(1).copied())
        }
        _ => Err(usage()),
    }
}
