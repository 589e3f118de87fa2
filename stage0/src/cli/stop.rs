//! `rkt stop`.

use std::time::{Duration, Instant};

use stage0::launch;
use stage0::pod::{Sighting, State, Waited, until_over};
use stage1_abi::StopArgs;

use super::{Command, Context, ExitCode, Failure, Flag, Grammar, Parsed, pods};

/// How long killed processes are waited for.
const KILLED: Duration = Duration::from_secs(5);

/// How it is called.
pub(crate) const COMMAND: Command = Command {
    name: "stop",
    summary: "Stop a pod",
    usage: "UUID ...",
    description: "The apps are asked to end, and killed if they do not do so in time.",
    grammar: Grammar::Words,
    flags: &[Flag::bool("force", "kill the pod instead of stopping it in order"), pods::UUID_FILE],
};

/// Stops pods, each as far as possible.
pub(crate) fn run(cx: &Context, args: &Parsed) -> Result<ExitCode, Failure> {
    let mut failed = 0_usize;
    for text in pods::named(args, &COMMAND)? {
        let done = pods::pods(cx)?
            .find(&text)
            .map_err(|error| Failure::because("cannot get pod", error))
            .and_then(|sighting| stop(cx, &sighting, args.bool("force")));
        if let Err(failure) = done {
            failed += 1;
            cx.report(&failure);
        }
    }
    if failed > 0 {
        return Err(Failure::new(format!("failed to stop {failed} pod(s)")));
    }
    Ok(ExitCode::SUCCESS)
}

fn stop(cx: &Context, sighting: &Sighting, force: bool) -> Result<(), Failure> {
    let uuid = sighting.uuid;
    let stopped = || cx.print(&format!("pod \"{uuid}\" is already stopped"));
    match sighting.state {
        State::Running => {}
        state if state.is_over() => {
            stopped();
            return Ok(());
        }
        _ => return Err(Failure::new(format!("pod \"{uuid}\" is not running"))),
    }
    // A pod that is starting has no process to stop yet.
    if pods::pid(sighting)?.is_none() {
        stopped();
        return Ok(());
    }
    let doing = format!("error stopping pod \"{uuid}\"");
    launch::stop(&sighting.dir, &StopArgs { force, uuid })
        .map_err(|error| Failure::because(doing.clone(), error))?;
    if force {
        // Killed processes are gone in an instant, and then the pod may be removed.
        let deadline = Instant::now() + KILLED;
        let over = until_over(&pods::pods(cx)?, uuid, Some(deadline));
        let over = over.map_err(|error| Failure::because(doing, error))?;
        if matches!(over, Waited::TimeOut) {
            return Err(Failure::new(format!("pod \"{uuid}\" was killed, and does not end")));
        }
    }
    cx.print(&format!("\"{uuid}\""));
    Ok(())
}
