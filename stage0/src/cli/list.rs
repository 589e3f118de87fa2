//! `rkt list`.

use std::time::SystemTime;

use appc::json::{self, Json};
use stage0::pod::{PodView, Sighting};

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
    let format = args.value("format").unwrap_or_default();
    let view = if format.is_empty() { Sighting::outline } else { Sighting::view };
    let listing = pods::pods(cx)?
        .list(|sighting| match view(sighting) {
            // It was deleted while it was looked at.
            Err(_) if !sighting.is_there() && gone(cx, sighting) => None,
            found => Some(found),
        })
        .map_err(|error| Failure::because("failed to get pod handles", error))?;
    let mut problems: Vec<Failure> = listing.problems.into_iter().map(Failure::alone).collect();
    let mut views = Vec::with_capacity(listing.pods.len());
    for found in listing.pods.into_iter().flatten() {
        match found {
            Ok(view) => views.push(view),
            Err(error) => problems.push(Failure::alone(error)),
        }
    }
    match format {
        "json" => cx.print(&json::compact(&all(&views))),
        "json-pretty" => cx.print(&json::pretty(&all(&views), "\t")),
        _ => {
            let text = table(&views, args);
            if !text.is_empty() {
                cx.print(&text);
            }
        }
    }
    report(cx, &problems);
    Ok(ExitCode::SUCCESS)
}

fn gone(cx: &Context, sighting: &Sighting) -> bool {
    pods::pods(cx).is_ok_and(|pods| matches!(pods.find_uuid(sighting.uuid), Ok(None)))
}

fn all(views: &[PodView]) -> Json {
    Json::List(views.iter().map(json_pod::pod).collect())
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

/// The addresses of a pod: `NAME:ip4=ADDRESS`, joined by commas.
pub(super) fn networks(pod: &PodView) -> String {
    let kind = |ip: &str| if ip.contains(':') { "ip6" } else { "ip4" };
    let all = pod.networks.iter().map(|net| format!("{}:{}={}", net.name, kind(&net.ip), net.ip));
    all.collect::<Vec<_>>().join(", ")
}

fn table(views: &[PodView], args: &Parsed) -> String {
    let full = args.bool("full");
    let mut table = Table::new();
    if !args.bool("no-legend") {
        let id = full.then_some("IMAGE ID");
        table.row(
            ["UUID", "APP", "IMAGE NAME"]
                .into_iter()
                .chain(id)
                .chain(["STATE", "CREATED", "STARTED", "NETWORKS"]),
        );
    }
    let now = SystemTime::now();
    for pod in views {
        let when = |at: Option<SystemTime>| {
            if full { time::absolute(at) } else { time::relative(at, now) }
        };
        let uuid = pod.uuid.to_string();
        let mut shared = [
            pod.state.words().to_owned(),
            when(pod.created),
            pod.started.map(|at| when(Some(at))).unwrap_or_default(),
            networks(pod),
        ];
        let mut name = if full { uuid } else { uuid.chars().take(SHORT).collect() };
        if pod.apps.is_empty() {
            let id = full.then(|| "-".to_owned());
            let cells = [name.clone(), "-".to_owned(), "-".to_owned()];
            table.row(cells.into_iter().chain(id).chain(shared.iter().cloned()));
        }
        for app in &pod.apps {
            let image = app.image_name.clone().unwrap_or_else(|| "--".to_owned());
            let id = app
                .image_id
                .as_ref()
                .map_or_else(|| "-".to_owned(), |id| id.short(SHORT_ID).to_owned());
            let cells = [std::mem::take(&mut name), app.name.clone(), image];
            table.row(cells.into_iter().chain(full.then_some(id)).chain(shared.iter().cloned()));
            // Further apps of a pod leave blank what is the same.
            shared.iter_mut().for_each(String::clear);
        }
    }
    table.render()
}
