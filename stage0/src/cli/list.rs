//! `rkt list`.

use std::time::SystemTime;

use appc::json::{self, Json};
use stage0::pod::{Network, PodLine, PodView, Sighting, ViewError};

use super::table::Table;
use super::{
    Command, Context, ExitCode, Failure, Flag, Grammar, Parsed, json_format, json_pod, pods, time,
};

/// Letters of a UUID that are enough for people.
const SHORT: usize = 8;
/// Digits of an image id that are.
const SHORT_ID: usize = 12;

/// How it is called.
pub(crate) const COMMAND: Command = Command {
    name: "list",
    summary: "List pods",
    usage: "",
    description: "",
    grammar: Grammar::Words,
    flags: &[
        Flag::bool("full", "use long output format"),
        Flag::bool("no-legend", "suppress a legend with the list"),
        Flag::value("format", "", "choose the output format. Accepted values: json, json-pretty")
            .check(json_format),
    ],
};

/// Lists all pods that can be named.
pub(crate) fn run(cx: &Context, args: &Parsed) -> Result<ExitCode, Failure> {
    let [] = args.exactly()?;
    let mut problems = Vec::new();
    let json = |views: &[PodView]| Json::List(views.iter().map(json_pod::pod).collect());
    match args.value("format") {
        Some("json") => {
            cx.print(&json::compact(&json(&look(cx, Sighting::view, &mut problems)?)));
        }
        Some("json-pretty") => {
            cx.print(&json::pretty(&json(&look(cx, Sighting::view, &mut problems)?), "\t"));
        }
        _ => {
            let text = table(&look(cx, Sighting::line, &mut problems)?, args);
            if !text.is_empty() {
                cx.print(&text);
            }
        }
    }
    report(cx, &problems);
    Ok(ExitCode::SUCCESS)
}

/// What `see` finds of each pod; why it finds nothing of some goes to the problems.
fn look<T>(
    cx: &Context,
    see: fn(&Sighting) -> Result<T, ViewError>,
    problems: &mut Vec<Failure>,
) -> Result<Vec<T>, Failure> {
    let listing = pods::pods(cx)?
        .list(|sighting| match see(sighting) {
            // It was deleted while it was looked at.
            Err(_) if !sighting.is_there() && gone(cx, sighting) => None,
            found => Some(found),
        })
        .map_err(|error| Failure::because("failed to get pod handles", error))?;
    problems.extend(listing.problems.into_iter().map(Failure::alone));
    let mut found = Vec::with_capacity(listing.pods.len());
    for pod in listing.pods.into_iter().flatten() {
        match pod {
            Ok(pod) => found.push(pod),
            Err(error) => problems.push(pods::untold(error)),
        }
    }
    Ok(found)
}

fn gone(cx: &Context, sighting: &Sighting) -> bool {
    pods::pods(cx).is_ok_and(|pods| matches!(pods.find_uuid(sighting.uuid), Ok(None)))
}

fn report(cx: &Context, problems: &[Failure]) {
    if problems.is_empty() {
        return;
    }
    let line = "-".repeat(40);
    cx.note(&format!("{} error(s) encountered when listing pods:", problems.len()));
    cx.note(&line);
    for problem in problems {
        cx.report(problem);
    }
    cx.note(&line);
    cx.note("misc:");
    cx.note(&format!("  rkt's appc version: {}", appc::SPEC_VERSION));
}

/// The addresses of a pod: `NAME:ip4=ADDRESS`, and `:ip6=ADDRESS` where there is one, joined by commas.
pub(super) fn networks(networks: &[Network]) -> String {
    let one = |net: &Network| {
        let mut words = net.name.clone();
        if !net.ip.is_empty() {
            words.push_str(":ip4=");
            words.push_str(&net.ip);
        }
        if let Some(ip6) = &net.ip6 {
            words.push_str(":ip6=");
            words.push_str(ip6);
        }
        words
    };
    networks.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn table(pods: &[PodLine], args: &Parsed) -> String {
    let full = args.bool("full");
    let mut table = Table::new();
    // The cell of the image id is in the long form alone.
    let mut row = |[uuid, app, image, id]: [&str; 4], shared: [&str; 4]| {
        let id = full.then_some(id);
        table.row([uuid, app, image].into_iter().chain(id).chain(shared));
    };
    if !args.bool("no-legend") {
        row(["UUID", "APP", "IMAGE NAME", "IMAGE ID"], ["STATE", "CREATED", "STARTED", "NETWORKS"]);
    }
    let now = SystemTime::now();
    let when = |at: Option<SystemTime>| {
        if full { time::absolute(at) } else { time::relative(at, now) }
    };
    for pod in pods {
        let uuid = pod.uuid.to_string();
        let mut name = if full { &*uuid } else { uuid.get(..SHORT).unwrap_or(&uuid) };
        let created = when(pod.created);
        let started = pod.started.map(|at| when(Some(at))).unwrap_or_default();
        let networks = networks(&pod.networks);
        let mut shared = [pod.state.words(), &created, &started, &networks];
        if pod.apps.is_empty() {
            row([name, "-", "-", "-"], shared);
        }
        for app in &pod.apps {
            let image = app.image_name.as_deref().unwrap_or("--");
            let id = app.image_id.as_ref().map_or("-", |id| id.short(SHORT_ID));
            row([name, &app.name, image, id], shared);
            // Further apps of a pod leave blank what is the same.
            (name, shared) = ("", [""; 4]);
        }
    }
    table.render()
}
