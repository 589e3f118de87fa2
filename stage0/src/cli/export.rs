//! `rkt export`.

use std::fs::File;
use std::io::{BufWriter, ErrorKind, Write as _};
use std::path::Path;

use archive::rewrite::RewriteError;
use flate2::Compression;
use flate2::write::GzEncoder;
use stage0::launch::{self, RunningError, interface_of};
use stage0::pod::{Mounts, Sighting, State};
use stage1_abi::ExportArgs;
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
    description: "The file holds the app's root with its changes, and the manifest of the app's image. Volumes are not in it. A pod whose stage1 keeps the files inside is exported while it runs.",
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
    if sighting.state == State::Running {
        return export_running(cx, args, &sighting, output);
    }
    if !matches!(sighting.state, State::Exited | State::ExitedGarbage) {
        return Err(too_early());
    }
    let app = app(cx, args, &sighting)?;
    let mounts = Mounts::read(&pods::pods(cx)?).map_err(Failure::alone)?;
    if mounts.any_below(&sighting.dir.path().join("appsinfo")) {
        return Err(Failure::new("pod has mounts left in its roots: run rkt gc first"));
    }
    let interface = interface_of(&sighting.dir).map_err(|error| Failure::because(DOING, error))?;
    write(args, output, |encoder| {
        sighting.export(&app, &interface, encoder).map_err(|error| Failure::because(DOING, error))
    })
}

/// A pod that runs is exported by its stage1, if at all.
fn export_running(
    cx: &Context,
    args: &Parsed,
    sighting: &Sighting,
    output: &Path,
) -> Result<ExitCode, Failure> {
    let interface = interface_of(&sighting.dir).map_err(|error| Failure::because(DOING, error))?;
    if interface.export.is_none() {
        return Err(too_early());
    }
    cx.require_root()?;
    let app = app(cx, args, sighting)?;
    let over = || Failure::new(format!("pod \"{}\" isn't currently running", sighting.uuid));
    let pid = pods::pid(sighting)?.ok_or_else(over)?;
    let wanted = ExportArgs { pid, app };
    write(args, output, |encoder| {
        launch::export(&sighting.dir, &interface, &wanted, encoder).map_err(|error| match error {
            RunningError::Files(RewriteError::Stream(error)) => {
                Failure::because(format!("{DOING}: cannot use what the stage1 gives"), error)
            }
            error => Failure::because(DOING, error),
        })
    })
}

fn too_early() -> Failure {
    Failure::new("pod is not exited. Only exited pods can be exported")
}

fn app(cx: &Context, args: &Parsed, sighting: &Sighting) -> Result<String, Failure> {
    pods::app_name(cx, sighting, args.value("app"), "unable to find app", "export")
}

/// What an image is written to.
type Encoder = GzEncoder<BufWriter<File>>;

/// Has the output written, whole or not at all.
fn write(
    args: &Parsed,
    output: &Path,
    export: impl FnOnce(Encoder) -> Result<Encoder, Failure>,
) -> Result<ExitCode, Failure> {
    let (output, file) = Output::create(output, args.bool("overwrite")).map_err(refused)?;
    let encoder = export(GzEncoder::new(BufWriter::new(file), Compression::default()))?;
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
