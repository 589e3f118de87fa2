//! `rkt export`.

use std::io::{BufWriter, ErrorKind, Write as _};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use stage0::launch::interface_of;
use stage0::pod::{Mounts, State};
use sys::path::PathError;

use super::output::Output;
use super::{Command, Context, ExitCode, Failure, Flag, Grammar, Parsed, pods};

/// What everything that goes wrong with the output is called.
const DOING: &str = "error building aci";

/// How it is called.
pub(crate) const COMMAND: Command = Command {
    name: "export",
    summary: "Export an app from an exited pod to an ACI file",
    usage: "[--app=APPNAME] UUID OUTPUT_ACI_FILE",
    description: "The file holds the app's root with its changes, and the manifest of the app's image. Volumes are not in it.",
    grammar: Grammar::Words,
    flags: &[
        Flag::text("app", "", "name of the app to export within the specified pod"),
        Flag::bool("overwrite", "overwrite output ACI"),
        pods::UUID_FILE,
    ],
};

/// Writes an app into a file.
pub(crate) fn run(cx: &Context, args: &Parsed) -> Result<ExitCode, Failure> {
    let (output, sighting) = match pods::first(cx, args)? {
        (sighting, [output]) => (Path::new(output), sighting),
        _ => return Err(Failure::usage("a pod and an output file are needed")),
    };
    if output.extension().is_none_or(|extension| extension != "aci") {
        return Err(Failure::new(format!("extension must be .aci (given {})", output.display())));
    }
    if !matches!(sighting.state, State::Exited | State::ExitedGarbage) {
        return Err(Failure::new("pod is not exited. Only exited pods can be exported"));
    }
    let app = pods::app_name(cx, &sighting, args.value("app"), "unable to find app", "export")?;
    let mounts = Mounts::read(&pods::pods(cx)?).map_err(Failure::alone)?;
    if mounts.any_below(&sighting.dir.path().join("appsinfo")) {
        return Err(Failure::new("pod has mounts left in its roots: run rkt gc first"));
    }
    let interface = interface_of(&sighting.dir).map_err(|error| Failure::because(DOING, error))?;
    let (output, file) = Output::create(output, args.bool("overwrite")).map_err(refused)?;
    let encoder = GzEncoder::new(BufWriter::new(file), Compression::default());
    let encoder = sighting
        .export(&app, &interface, encoder)
        .map_err(|error| Failure::because(DOING, error))?;
    encoder
        .finish()
        .and_then(|mut out| out.flush())
        .map_err(|error| Failure::because(DOING, error))?;
    output.finish().map_err(|error| Failure::because(DOING, error))?;
    Ok(ExitCode::SUCCESS)
}

fn refused(error: PathError) -> Failure {
    if error.kind() == ErrorKind::AlreadyExists {
        Failure::new(format!("{DOING}: target file exists")).hint("try --overwrite")
    } else {
        Failure::because(DOING, error)
    }
}
