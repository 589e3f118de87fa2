//! `soak`: what shows only after many pods, or after a death at the wrong moment.

mod checks;
mod kill;
mod net;
mod pods;
mod scenes;
mod tracer;

use crate::bench::build;
use crate::dist::{self, Flavours, Profile};
use crate::error::TaskError;
use crate::fuzz;
use crate::kernel::Kernel;
use crate::lab;
use crate::workspace::Workspace;
use kill::Of;

const USAGE: &str = "usage: cargo xtask soak pods [--quick] [N] | soak kill [--quick] [N] [SEED] | \
                     soak net [--quick] | \
                     soak machines [--quick] [PART | kill [N] [SEED]] | soak fuzz [SECONDS]";
/// What this program is called with in the lab.
const INSIDE: &str = "kill-in-the-lab";
/// Deaths of a soak, and of one in the lab, where each takes half a minute.
const DEATHS: u64 = 300;
const DEATHS_IN_LAB: u64 = 60;

/// `cargo xtask soak pods [--quick] [N] | kill [--quick] [N] [SEED] | net [--quick] | machines [--quick] [PART | kill [N] [SEED]] | fuzz [SECONDS]`
pub(crate) fn run(workspace: &Workspace, words: &[String]) -> Result<(), TaskError> {
    let usage = || TaskError::Usage(USAGE.to_owned());
    let (name, rest) = words.split_first().ok_or_else(usage)?;
    let (profile, rest) = Profile::take(rest);
    if name == "machines" {
        return machines(workspace, profile, rest);
    }
    let numbers = numbers(rest)?;
    let (count, seed) = (numbers.first().copied(), numbers.get(1).copied());
    match (name.as_str(), numbers.as_slice()) {
        ("pods", [] | [_]) => {
            build(workspace, profile)?;
            pods::run(workspace, count.unwrap_or(500))
        }
        ("net", []) => {
            build(workspace, profile)?;
            net::run(workspace)
        }
        (net::INSIDE, []) => net::inside(workspace),
        ("kill", [] | [_] | [_, _]) => {
            build(workspace, profile)?;
            kill::run(workspace, Of::Containers, count.unwrap_or(DEATHS), seed)
        }
        ("fuzz", [] | [_]) => fuzz::all(workspace, count.unwrap_or(fuzz::SECONDS)),
        (INSIDE, [_] | [_, _]) => {
            kill::run(workspace, Of::Machines, count.unwrap_or(DEATHS_IN_LAB), seed)
        }
        _ => Err(usage()),
    }
}

fn numbers(words: &[String]) -> Result<Vec<u64>, TaskError> {
    let numbers: Result<_, _> = words.iter().map(|word| word.parse()).collect();
    numbers.map_err(|_| TaskError::Usage(USAGE.to_owned()))
}

/// What is long in the lab, one part of it, or deaths there.
fn machines(workspace: &Workspace, profile: Profile, words: &[String]) -> Result<(), TaskError> {
    let usage = || TaskError::Usage(format!("{USAGE}; parts are {}", lab::parts()));
    let build = || dist::build(workspace, profile, Flavours::All(Kernel::Own));
    match words {
        [] => {
            build()?;
            lab::machines(workspace, None)?;
            deaths(workspace, &[])
        }
        [kill, numbers @ ..] if kill == "kill" => {
            build()?;
            deaths(workspace, numbers)
        }
        [part] if lab::is_part(part) => {
            build()?;
            lab::machines(workspace, Some(part))
        }
        _ => Err(usage()),
    }
}

fn deaths(workspace: &Workspace, words: &[String]) -> Result<(), TaskError> {
    let count = numbers(words)?.first().copied().unwrap_or(DEATHS_IN_LAB).to_string();
    let seed = words.get(1).map(String::as_str);
    let call: Vec<&str> = ["soak", INSIDE, &count].into_iter().chain(seed).collect();
    lab::own_program(workspace, &call)
}
