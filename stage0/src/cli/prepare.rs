//! `rkt prepare`.

use stage0::pod::{Pod, PodsDir};
use stage0::prepare::{PodRequest, Prepared, Stage1};

use super::pod_request::{Wishes, save_uuid};
use super::run::discard;
use super::{Command, Context, ExitCode, Failure, Grammar, Parsed, pods, run_flags};

const DOING: &str = "error setting up stage0";

/// How it is called.
pub(crate) const COMMAND: Command = Command {
    name: "prepare",
    summary: "Prepare to run image(s) in a pod in rkt",
    usage: "IMAGE [-- image-args...[---]]...",
    description: "Does all that rkt run does before the pod starts, and prints the pod's UUID for rkt run-prepared.",
    grammar: Grammar::Apps,
    flags: run_flags::PREPARE,
};

/// Prepares a pod and prints its UUID.
pub(crate) fn run(cx: &Context, args: &Parsed) -> Result<ExitCode, Failure> {
    cx.require_root()?;
    let request = Wishes::read(args)?.find(cx, args)?;
    let pods = pods::pods(cx)?;
    let prepared = fill(cx, args, &pods, stage1(cx, &request)?, &request)?;
    if !args.bool("quiet") {
        for note in &prepared.notes {
            cx.note(note);
        }
    }
    let uuid = prepared
        .pod
        .finish(&pods)
        .map_err(|error| Failure::because("unable to transition to prepared", error))?;
    cx.print(&uuid.to_string());
    Ok(ExitCode::SUCCESS)
}

/// The image that runs the pod, ready for that.
pub(super) fn stage1(cx: &Context, request: &PodRequest) -> Result<Stage1, Failure> {
    Stage1::ready(cx.store()?, &request.stage1).map_err(|error| Failure::because(DOING, error))
}

/// Makes a pod and fills it; what cannot be filled leaves nothing.
pub(super) fn fill(
    cx: &Context,
    args: &Parsed,
    pods: &PodsDir,
    stage1: Stage1,
    request: &PodRequest,
) -> Result<Prepared, Failure> {
    let store = cx.store()?;
    let created =
        Pod::create(pods).map_err(|error| Failure::because("error creating new pod", error))?;
    if let Err(failure) = save_uuid(args, created.uuid()) {
        discard(created.discard(pods));
        return Err(failure);
    }
    stage0::prepare::prepare(pods, store, created, stage1, request)
        .map_err(|error| Failure::because(DOING, error))
}
