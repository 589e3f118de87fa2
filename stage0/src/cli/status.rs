//! `rkt status`.

use std::time::{Duration, Instant};

use appc::json;
use stage0::launch;
use stage0::pod::{PodView, Sighting, State, Waited, until, until_over};
use stage1_abi::PodDirError;

use super::list::networks;
use super::{
    Command, Context, ExitCode, Failure, Flag, Grammar, Parsed, json_format, json_pod, parse_bool,
    pods, time,
};

/// How it is called.
pub(crate) const COMMAND: Command = Command {
    name: "status",
    summary: "Check the status of a rkt pod",
    usage: "UUID",
    description: "",
    grammar: Grammar::Words,
    flags: &[
        Flag::optional(
            "wait",
            "true",
            "false",
            "toggle waiting for the pod to finish; a duration bounds it",
        )
        .quote()
        .check(patience_check),
        Flag::optional(
            "wait-ready",
            "true",
            "false",
            "toggle waiting until the pod is ready; a duration bounds it",
        )
        .quote()
        .check(patience_check),
        Flag::bool("check-networks", "fail unless the pod's networks are as they were left"),
        Flag::value("format", "", "choose the output format. Accepted values: json, json-pretty")
            .check(json_format),
        pods::UUID_FILE,
    ],
};

/// Whether to wait, and until when.
enum Patience {
    None,
    Forever,
    Until(Instant),
}

impl Patience {
    fn deadline(&self) -> Option<Instant> {
        if let Self::Until(end) = self { Some(*end) } else { None }
    }
}

fn patience(text: &str) -> Result<Patience, String> {
    if let Ok(on) = parse_bool(text) {
        return Ok(if on { Patience::Forever } else { Patience::None });
    }
    let length: Duration = time::parse_duration(text)
        .map_err(|_| format!("{text:?} is neither a boolean nor a duration"))?;
    Ok(Patience::Until(Instant::now() + length))
}

fn patience_check(text: &str) -> Result<(), String> {
    patience(text).map(drop)
}

/// Tells what is known about a pod.
pub(crate) fn run(cx: &Context, args: &Parsed) -> Result<ExitCode, Failure> {
    let mut sighting = pods::one(cx, args, &COMMAND)?;
    let asked = |flag| patience(args.value(flag).unwrap_or("false")).map_err(Failure::usage);
    match asked("wait-ready")? {
        Patience::None => {}
        patience => wait_ready(cx, &sighting, patience.deadline())?,
    }
    match asked("wait")? {
        Patience::None => {}
        patience => {
            let doing = "error waiting for pod to finish";
            let waited = until_over(&pods::pods(cx)?, sighting.uuid, patience.deadline())
                .map_err(|error| Failure::because(doing, error))?;
            match waited {
                Waited::TimeOut => {
                    return Err(Failure::new(format!("{doing}: context deadline exceeded")));
                }
                Waited::Happened(Some(over)) => sighting = over,
                Waited::Happened(None) => {
                    return Err(Failure::new(format!(
                        "{doing}: pod \"{}\" is gone",
                        sighting.uuid
                    )));
                }
            }
        }
    }
    if matches!(asked("wait-ready")?, Patience::Forever | Patience::Until(_)) {
        sighting = pods::find(cx, &sighting.uuid.to_string())?;
    }
    if args.bool("check-networks") {
        check_networks(cx, &sighting)?;
    }
    let view =
        sighting.view().map_err(|error| Failure::because("unable to print status", error))?;
    match args.value("format") {
        Some("json") => cx.print(&json::compact(&json_pod::pod(&view))),
        Some("json-pretty") => cx.print(&json::pretty(&json_pod::pod(&view), "\t")),
        _ => cx.print(&lines(&view).join("\n")),
    }
    Ok(ExitCode::SUCCESS)
}

/// Has the pod's stage1 look at its networks.
fn check_networks(cx: &Context, sighting: &Sighting) -> Result<(), Failure> {
    let uuid = sighting.uuid;
    if sighting.state != State::Running {
        let state = sighting.state.words();
        return Err(Failure::new(format!("pod \"{uuid}\" is {state} and has no networks")));
    }
    launch::check_networks(&sighting.dir, uuid, cx.debug, cx.local_config()).map_err(|error| {
        Failure::because(format!("error checking the networks of pod \"{uuid}\""), error)
    })
}

/// Waits until the pod's supervisor says that it is ready. A pod that cannot become so is an error.
fn wait_ready(cx: &Context, first: &Sighting, deadline: Option<Instant>) -> Result<(), Failure> {
    const DOING: &str = "error waiting for pod readiness";
    let pods = pods::pods(cx)?;
    let uuid = first.uuid;
    let folders = ["prepare", "prepared", "run"].map(|name| pods.path().join(name));
    let own = pods.path().join("run").join(uuid.to_string());
    let (state, all) = (own.join("rkt"), folders.each_ref().map(std::path::PathBuf::as_path));
    let watched: Vec<_> = all.into_iter().chain([own.as_path(), state.as_path()]).collect();
    let mut ready = || -> Result<Option<Result<(), State>>, PodDirError> {
        let Some(sighting) = pods.find_uuid(uuid)? else { return Ok(Some(Err(State::Garbage))) };
        match sighting.state {
            State::Running => Ok(sighting.dir.supervisor_ready()?.then_some(Ok(()))),
            State::Preparing | State::Prepared => Ok(None),
            other => Ok(Some(Err(other))),
        }
    };
    let waited =
        until(&watched, deadline, &mut ready).map_err(|error| Failure::because(DOING, error))?;
    match waited {
        Waited::Happened(Ok(())) => Ok(()),
        Waited::Happened(Err(state)) => {
            let state = state.words();
            Err(Failure::new(format!("{DOING}: pod \"{uuid}\" is {state} and cannot become ready")))
        }
        Waited::TimeOut => Err(Failure::new(format!("{DOING}: context deadline exceeded"))),
    }
}

fn lines(pod: &PodView) -> Vec<String> {
    let mut lines = vec![
        format!("state={}", pod.state.words()),
        format!("created={}", time::absolute(pod.created)),
    ];
    lines.extend(pod.started.map(|at| format!("started={}", time::absolute(Some(at)))));
    if matches!(pod.state, State::Running | State::Exited) {
        lines.push(format!("networks={}", networks(&pod.networks)));
    }
    if !pod.state.has_run() {
        return lines;
    }
    lines.extend(pod.pid.map(|pid| format!("pid={pid}")));
    lines.push(format!("exited={}", matches!(pod.state, State::Exited | State::ExitedGarbage)));
    if pod.state != State::Running {
        let ended = pod.apps.iter().filter_map(|app| Some((app, app.status?)));
        lines.extend(ended.map(|(app, status)| format!("app-{}={}", app.name, status.code)));
        lines.extend(pod.failure.iter().map(|why| format!("failure={why}")));
    }
    lines
}
