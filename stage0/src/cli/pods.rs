//! How commands are told which pod is meant.

use std::time::Instant;

use appc::PodUuid;
use stage0::pod::{PodsDir, Sighting, ViewError, Waited, until};
use stage1_abi::PodDirError;
use sys::path::At as _;

use super::{Command, Context, Failure, Flag, Parsed};

/// `--uuid-file`.
pub(crate) const UUID_FILE: Flag =
    Flag::text("uuid-file", "", "read pod UUID from file instead of argument");

/// The pods of the data directory.
pub(crate) fn pods(cx: &Context) -> Result<PodsDir, Failure> {
    Ok(PodsDir::open(cx.data_dir()?))
}

/// The UUID in the file that `--uuid-file` names.
fn from_file(path: &str) -> Result<String, Failure> {
    const DOING: &str = "unable to resolve UUID from file";
    let text = std::fs::read_to_string(path)
        .at("open", path)
        .map_err(|error| Failure::because(DOING, error))?;
    PodUuid::parse(text.trim())
        .map(|uuid| uuid.to_string())
        .map_err(|error| Failure::because(DOING, error))
}

/// The words that name pods: the arguments, or the content of the file.
pub(crate) fn named(args: &Parsed, command: &Command) -> Result<Vec<String>, Failure> {
    match (args.value("uuid-file"), args.words()) {
        (Some(path), []) => Ok(vec![from_file(path)?]),
        (None, words) if !words.is_empty() => Ok(words.to_vec()),
        (Some(_), _) => Err(Failure::usage("a UUID and --uuid-file exclude each other")),
        (None, _) => {
            Err(Failure::usage(format!("rkt {} needs a pod UUID or --uuid-file", command.name)))
        }
    }
}

/// The one pod that is meant.
pub(crate) fn one(cx: &Context, args: &Parsed, command: &Command) -> Result<Sighting, Failure> {
    let words = named(args, command)?;
    let [text] = words.as_slice() else {
        return Err(Failure::usage(format!("1 argument is needed, not {}", words.len())));
    };
    find(cx, text)
}

/// The pod that a word means.
pub(crate) fn find(cx: &Context, text: &str) -> Result<Sighting, Failure> {
    pods(cx)?.find(text).map_err(|error| Failure::because("problem retrieving pod", error))
}

/// Why nothing can be told of a pod, with the pod's name.
pub(crate) fn untold(error: ViewError) -> Failure {
    match error {
        ViewError::Manifest { uuid, source } => {
            Failure::because(format!("pod \"{uuid}\" has a bad manifest"), source)
        }
        error @ ViewError::Dir(_) => Failure::alone(error),
    }
}

/// The process of a pod that runs, waited for while the pod starts; `None` if it ended first.
pub(crate) fn pid(sighting: &Sighting) -> Result<Option<i32>, Failure> {
    let mut look = || -> Result<Option<Option<i32>>, PodDirError> {
        if let Some(pid) = sighting.dir.pid()? {
            return Ok(Some(Some(pid)));
        }
        let path = sighting.dir.path();
        let held = sys::lock::held_exclusively(std::os::fd::AsFd::as_fd(&sighting.dir))
            .at("flock", path)?;
        Ok((!held).then_some(None))
    };
    let waited = until(&[sighting.dir.path()], None::<Instant>, &mut look)
        .map_err(|error| Failure::because("cannot tell the pod's process", error))?;
    match waited {
        Waited::Happened(pid) => Ok(pid),
        Waited::TimeOut => Ok(None),
    }
}

/// The app that is meant: the one that was named, or the only one.
pub(crate) fn app_name(
    cx: &Context,
    sighting: &Sighting,
    asked: Option<&str>,
    doing: &str,
    command: &str,
) -> Result<String, Failure> {
    let manifest = sighting
        .manifest()
        .map_err(|error| Failure::because(doing.to_owned(), error))?
        .unwrap_or_default();
    match (asked, manifest.apps.as_slice()) {
        (Some(name), _) if manifest.app(name).is_some() => Ok(name.to_owned()),
        (Some(name), _) => Err(Failure::new(format!("{doing}: app {name} is not present in pod"))),
        (None, [only]) => Ok(only.name.to_string()),
        (None, []) => Err(Failure::new(format!("{doing}: pod contains zero apps"))),
        (None, several) => {
            cx.note("pod contains multiple apps:");
            for app in several {
                cx.note(&format!("\t{}", app.name));
            }
            Err(Failure::new(format!("{doing}: specify app using \"rkt {command} --app= ...\"")))
        }
    }
}

/// The pod that is meant, and the words after it: with `--uuid-file` all words come after it.
pub(crate) fn first<'a>(
    cx: &Context,
    args: &'a Parsed,
) -> Result<(Sighting, &'a [String]), Failure> {
    if let Some(path) = args.value("uuid-file") {
        return Ok((find(cx, &from_file(path)?)?, args.words()));
    }
    match args.words() {
        [text, rest @ ..] => Ok((find(cx, text)?, rest)),
        [] => Err(Failure::usage("a pod UUID or --uuid-file is needed")),
    }
}
