//! `rkt gc`.

use std::time::{Duration, SystemTime};

use appc::PodUuid;
use stage0::launch;
use stage0::pod::{Deleted, Folder, PodsDir, Sighting, State, delete};
use stage1_abi::PodDir;

use super::{Command, Context, ExitCode, Failure, Flag, Grammar, Parsed, pods, time};

/// How it is called.
pub(crate) const COMMAND: Command = Command {
    name: "gc",
    summary: "Garbage collect rkt pods no longer in use",
    usage: "[--grace-period=duration] [--expire-prepared=duration]",
    description: "Marks pods that are over, and deletes those that were marked for the grace period.",
    grammar: Grammar::Words,
    flags: &[
        Flag::value(
            "grace-period",
            "30m0s",
            "duration to wait before discarding inactive pods from garbage",
        )
        .check(duration),
        Flag::value("expire-prepared", "24h0m0s", "duration to wait before expiring prepared pods")
            .check(duration),
        Flag::bool(
            "mark-only",
            "if set to true, pods will be moved to the garbage directories but will not be deleted",
        ),
    ],
};

fn duration(text: &str) -> Result<(), String> {
    time::parse_duration(text).map(drop)
}

/// Marks and deletes. What goes wrong with one pod is told and does not matter to the others.
pub(crate) fn run(cx: &Context, args: &Parsed) -> Result<ExitCode, Failure> {
    let [] = args.exactly()?;
    cx.require_root()?;
    let pods = pods::pods(cx)?;
    let period = |flag| {
        args.value(flag).and_then(|text| time::parse_duration(text).ok()).unwrap_or_default()
    };
    let sweep = Collection { cx, pods: &pods };
    sweep.mark(Folder::Run, State::Exited, Folder::ExitedGarbage, "pod")?;
    sweep.mark(Folder::Prepare, State::AbortedPrepare, Folder::Garbage, "failed prepare")?;
    if args.bool("mark-only") {
        return Ok(ExitCode::SUCCESS);
    }
    sweep.expire(period("expire-prepared"))?;
    sweep.collect(period("grace-period"))?;
    for folder in [Folder::Garbage, Folder::Embryo] {
        sweep.each(folder, |sighting| sweep.delete(sighting))?;
    }
    Ok(ExitCode::SUCCESS)
}

struct Collection<'a> {
    cx: &'a Context,
    pods: &'a PodsDir,
}

impl Collection<'_> {
    fn each(&self, folder: Folder, look: impl FnMut(&Sighting)) -> Result<(), Failure> {
        let problems = self
            .pods
            .list_in(folder, look)
            .map_err(|error| Failure::because("failed to get pod handles", error))?;
        for problem in problems {
            self.cx.report(&Failure::alone(problem));
        }
        Ok(())
    }

    fn mark(&self, from: Folder, state: State, to: Folder, what: &str) -> Result<(), Failure> {
        self.each(from, |sighting| {
            if sighting.state == state {
                self.shift(sighting.uuid, (from, to), what);
            }
        })
    }

    fn shift(&self, uuid: PodUuid, (from, to): (Folder, Folder), what: &str) {
        match self.pods.shift(uuid, from, to) {
            Ok(true) => self.cx.note(&format!("moving {what} \"{uuid}\" to garbage")),
            // Somebody else was faster, or runs it by now.
            Ok(false) => {}
            Err(error) => {
                let doing = format!("moving {what} \"{uuid}\" to garbage failed");
                self.cx.report(&Failure::because(doing, error));
            }
        }
    }

    fn expire(&self, age: Duration) -> Result<(), Failure> {
        let way = (Folder::Prepared, Folder::Garbage);
        self.each(Folder::Prepared, |sighting| {
            if sighting.state == State::Prepared && self.is_older(sighting, age) {
                self.shift(sighting.uuid, way, "expired prepared pod");
            }
        })
    }

    fn collect(&self, grace: Duration) -> Result<(), Failure> {
        self.each(Folder::ExitedGarbage, |sighting| {
            if self.is_older(sighting, grace) {
                self.delete(sighting);
            } else {
                let (uuid, grace) = (sighting.uuid, time::duration(grace));
                self.cx.note(&format!(
                    "pod \"{uuid}\" not removed: still within grace period ({grace})"
                ));
            }
        })
    }

    fn is_older(&self, sighting: &Sighting, age: Duration) -> bool {
        match sighting.moved() {
            // A clock that went back makes nothing old.
            Ok(moved) => SystemTime::now().duration_since(moved).is_ok_and(|passed| passed >= age),
            Err(error) => {
                self.cx.report(&Failure::alone(error));
                false
            }
        }
    }

    fn delete(&self, sighting: &Sighting) {
        let uuid = sighting.uuid;
        let ran = sighting.folder == Folder::ExitedGarbage;
        match delete(self.pods, sighting, &|dir, uuid| teardown(self.cx, dir, uuid)) {
            Ok(Deleted::Done) if sighting.folder != Folder::Embryo => {
                self.cx.print(&format!("Garbage collecting pod \"{uuid}\""));
            }
            Ok(Deleted::Busy) if ran => {
                self.cx.note(&format!("pod \"{uuid}\" is being deleted by somebody else"));
            }
            Ok(_) => {}
            Err(error) => {
                self.cx
                    .report(&Failure::because(format!("unable to delete pod \"{uuid}\""), error));
            }
        }
    }
}

/// Lets the pod's stage1 undo what it did outside of the folder; a failure does not keep the pod.
pub(super) fn teardown(cx: &Context, dir: &PodDir, uuid: PodUuid) {
    if let Err(error) = launch::gc(dir, uuid, cx.debug, cx.local_config()) {
        cx.report(&Failure::because(format!("skipping stage1 GC of pod \"{uuid}\""), error));
    }
}
