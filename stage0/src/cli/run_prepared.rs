//! `rkt run-prepared`.

use stage0::launch::{check_network, check_overlay, check_prepared, interface_of};
use stage0::pod::{Pod, State};

use super::run::launch;
use super::{Command, Context, ExitCode, Failure, Grammar, Parsed, pods, run_flags, run_request};

/// How it is called.
pub(crate) const COMMAND: Command = Command {
    name: "run-prepared",
    summary: "Run a prepared application pod in rkt",
    usage: "UUID",
    description: "UUID is what rkt prepare printed, or its beginning. A pod runs once.",
    grammar: Grammar::Words,
    flags: run_flags::RUN_PREPARED,
};

/// Becomes the pod.
pub(crate) fn run(cx: &Context, args: &Parsed) -> Result<ExitCode, Failure> {
    cx.require_root()?;
    let request = run_request::read(cx, args)?;
    let pods = pods::pods(cx)?;
    let sighting = pods::one(cx, args, &COMMAND)?;
    let uuid = sighting.uuid;
    let unprepared = || Failure::new(format!("pod \"{uuid}\" is not prepared"));
    // Who prepares it may be about to let go of it: the claim waits for that.
    if !matches!(sighting.state, State::Prepared | State::Preparing) {
        return Err(unprepared());
    }
    let pod = Pod::claim(&pods, uuid).map_err(Failure::alone)?.ok_or_else(unprepared)?;
    let manifest = sighting.manifest().map_err(pods::untold)?.ok_or_else(unprepared)?;
    if args.bool("interactive") && manifest.apps.len() > 1 {
        return Err(Failure::new("interactive option only supports pods with one app"));
    }
    let interface = interface_of(pod.dir())
        .map_err(|error| Failure::because("cannot use the pod's stage1", error))?;
    check_prepared(pod.dir(), &interface, &request).map_err(Failure::alone)?;
    let net = request.networks().map_err(Failure::alone)?;
    check_network(&interface, &request, &net).map_err(Failure::alone)?;
    check_overlay(pod.dir(), &interface).map_err(Failure::alone)?;
    let running =
        pod.start(&pods).map_err(|error| Failure::because("cannot transition to run", error))?;
    Err(launch(cx, &pods, running, &interface, &request))
}
