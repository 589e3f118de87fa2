//! `rkt run`.

use pod_net::request::NetRequest;
use stage0::launch::{self, RunRequest, become_pod};
use stage0::pod::{Pod, PodsDir, Running};
use stage0::prepare::{Content, PodRequest};
use stage1_abi::Stage1Interface;

use super::pod_request::Wishes;
use super::{
    Command, Context, ExitCode, Failure, Grammar, Parsed, pods, prepare, run_flags, run_request,
};

/// How it is called.
pub(crate) const COMMAND: Command = Command {
    name: "run",
    summary: "Run image(s) in a pod in rkt",
    usage: "IMAGE [-- image-args...[---]]...",
    description: "Runs one pod with an app for each image. Flags after an image are for its app; what stands between --\n\
                  and --- are arguments of the app. The exit code is that of the first app that fails.",
    grammar: Grammar::Apps,
    flags: run_flags::RUN,
};

/// Becomes the pod.
pub(crate) fn run(cx: &Context, args: &Parsed) -> Result<ExitCode, Failure> {
    cx.require_root()?;
    let wishes = Wishes::read(args)?;
    let request = run_request::read(cx, args)?;
    if args.bool("interactive") && args.images().len() > 1 {
        return Err(Failure::new("interactive option only supports one image"));
    }
    let net = request.networks().map_err(Failure::alone)?;
    let joins = matches!(net, NetRequest::All(_) | NetRequest::Named(_));
    if wishes.forwards() && !joins {
        let net = &request.net;
        return Err(Failure::new(format!("--port flag does not work with '{net}' networking")));
    }
    let pod = wishes.find(cx, args)?;
    check_interactive(&pod, args)?;
    let stage1 = prepare::stage1(cx, &pod)?;
    launch::check(stage1.interface(), stage1.trees(), &request).map_err(Failure::alone)?;
    launch::check_network(stage1.interface(), &request, &net).map_err(Failure::alone)?;

    let pods = pods::pods(cx)?;
    let prepared = prepare::fill(cx, args, &pods, stage1, &pod)?;
    for note in &prepared.notes {
        cx.note(note);
    }
    let running = prepared
        .pod
        .start(&pods)
        .map_err(|error| Failure::because("unable to transition to run", error))?;
    Err(launch(cx, &pods, running, &prepared.interface, &request))
}

/// Refuses, before there is a pod, what cannot work.
fn check_interactive(pod: &PodRequest, args: &Parsed) -> Result<(), Failure> {
    if let Content::Manifest(manifest) = &pod.content
        && args.bool("interactive")
        && manifest.apps.len() > 1
    {
        return Err(Failure::new("interactive option only supports pods with one app"));
    }
    Ok(())
}

/// Becomes a pod that is in the `run` folder; what returns is why not, and the pod is gone.
pub(super) fn launch(
    cx: &Context,
    pods: &PodsDir,
    pod: Pod<Running>,
    interface: &Stage1Interface,
    request: &RunRequest,
) -> Failure {
    let Err(error) = become_pod(&pod, interface, request, &|line| cx.note(line));
    discard(pod.discard(pods));
    Failure::because("error running pod", error)
}

/// A pod that failed leaves nothing; if something stays, collection will find it.
pub(super) fn discard(done: Result<(), stage0::pod::CollectError>) {
    if let Err(error) = done {
        log::warn!("the pod stays until it is collected: {error}");
    }
}
