//! `rkt rm`.

use stage0::pod::{Deleted, Folder, PodsDir, Sighting, State, delete};

use super::gc::teardown;
use super::{Command, Context, ExitCode, Failure, Grammar, Parsed, pods};

/// How it is called.
pub(crate) const COMMAND: Command = Command {
    name: "rm",
    summary: "Remove all files and resources associated with an exited pod",
    usage: "UUID ...",
    description: "",
    grammar: Grammar::Words,
    flags: &[pods::UUID_FILE],
};

/// Deletes pods, each as far as possible.
pub(crate) fn run(cx: &Context, args: &Parsed) -> Result<ExitCode, Failure> {
    cx.require_root()?;
    let pods = pods::pods(cx)?;
    let mut failed = false;
    for text in pods::named(args, &COMMAND)? {
        let done = pods
            .find(&text)
            .map_err(|error| Failure::because("cannot get pod", error))
            .and_then(|sighting| remove(cx, &pods, &sighting));
        if let Err(failure) = done {
            failed = true;
            cx.report(&failure);
        }
    }
    if failed {
        return Err(Failure::new("failed to remove one or more pods"));
    }
    Ok(ExitCode::SUCCESS)
}

fn remove(cx: &Context, pods: &PodsDir, sighting: &Sighting) -> Result<(), Failure> {
    let uuid = sighting.uuid;
    let refuse = |doing: &str| Err(Failure::new(format!("pod \"{uuid}\" is currently {doing}")));
    let note = match sighting.state {
        State::Running => return refuse("running"),
        State::Embryo | State::Preparing => return refuse("being prepared"),
        State::ExitedDeleting | State::Deleting => return refuse("being deleted"),
        State::AbortedPrepare => Some("failed prepare"),
        State::Prepared => Some("expired prepared pod"),
        State::Exited | State::ExitedGarbage | State::Garbage => None,
    };
    let to = match sighting.folder {
        Folder::Run | Folder::ExitedGarbage => Folder::ExitedGarbage,
        _ => Folder::Garbage,
    };
    if sighting.folder != to {
        if !pods.shift(uuid, sighting.folder, to).map_err(Failure::alone)? {
            return Err(Failure::new(format!(
                "pod \"{uuid}\" was removed or started by somebody else"
            )));
        }
        if let Some(what) = note {
            cx.note(&format!("moving {what} \"{uuid}\" to garbage"));
        }
    }
    let Some(marked) = pods.look(to, uuid).map_err(Failure::alone)? else {
        return Err(Failure::new(format!("pod \"{uuid}\" was removed by somebody else")));
    };
    match delete(pods, &marked, &|dir, uuid| teardown(cx, dir, uuid)) {
        Ok(Deleted::Done | Deleted::Gone) => {
            cx.print(&format!("\"{uuid}\""));
            Ok(())
        }
        Ok(Deleted::Busy) => refuse("being deleted"),
        Err(error) => Err(Failure::because(format!("unable to remove pod \"{uuid}\""), error)),
    }
}
