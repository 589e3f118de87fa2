//! `rkt run`.

use stage0::launch::{RunRequest, become_pod, check_network};
use stage0::pod::{Pod, PodsDir, Running};
use stage0::prepare::{Content, PodRequest};

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
    if wishes.forwards() && matches!(request.net.as_str(), "host" | "none") {
        let net = &request.net;
        return Err(Failure::new(format!("--port flag does not work with '{net}' networking")));
    }
    let pod = wishes.find(cx, args)?;
    check(cx, &pod, &request, args)?;

    let pods = pods::pods(cx)?;
    let prepared = prepare::fill(cx, args, &pods, &pod)?;
    for note in &prepared.notes {
        cx.note(note);
    }
    let running = prepared
        .pod
        .start(&pods)
        .map_err(|error| Failure::because("unable to transition to run", error))?;
    Err(launch(cx, &pods, running, &request))
}

/// Refuses, before there is a pod, what cannot work with the stage1.
fn check(
    cx: &Context,
    pod: &PodRequest,
    request: &RunRequest,
    args: &Parsed,
) -> Result<(), Failure> {
    if let Content::Manifest(manifest) = &pod.content
        && args.bool("interactive")
        && manifest.apps.len() > 1
    {
        return Err(Failure::new("interactive option only supports pods with one app"));
    }
    let image = cx.store()?.image(&pod.stage1).map_err(Failure::alone)?;
    let manifest = appc::ImageManifest::from_json(image.manifest())
        .map_err(|error| Failure::because("cannot use stage1 image", error))?;
    let interface = stage1_abi::Stage1Interface::from_manifest(&manifest)
        .map_err(|error| Failure::because("cannot use stage1 image", error))?;
    check_network(&interface, &request.net).map_err(Failure::alone)
}

/// Becomes a pod that is in the `run` folder; what returns is why not, and the pod is gone.
pub(super) fn launch(
    cx: &Context,
    pods: &PodsDir,
    pod: Pod<Running>,
    request: &RunRequest,
) -> Failure {
    let Err(error) = become_pod(&pod, request, &|line| cx.note(line));
    discard(pod.discard(pods));
    Failure::because("error running pod", error)
}

/// A pod that failed leaves nothing; if something stays, collection will find it.
pub(super) fn discard(done: Result<(), stage0::pod::CollectError>) {
    if let Err(error) = done {
        log::warn!("the pod stays until it is collected: {error}");
    }
}
