//! `rkt fetch`.

use std::path::Path;

use stage0::fetch::{FetchError, Fetcher, PullPolicy};
use stage0::image_ref::ImageRef;
use stage0::render::{self, RenderError};
use stage0::store::Store;
use sys::lock::Mode;

use super::progress::Meter;
use super::run_flags::pull_policy;
use super::{Command, Context, ExitCode, Failure, Flag, Grammar, Parsed};

/// The digits of an id that are printed without `--full`.
const SHOWN_DIGITS: usize = 32;

/// How it is called.
pub(crate) const COMMAND: Command = Command {
    name: "fetch",
    summary: "Fetch image(s) and store them in the local store",
    usage: "IMAGE_URL...",
    description: "Locates and downloads remote images, and imports files, folders and archives of this host.\n\
                  An image is a URL or a file of an App Container Image, docker://REFERENCE, oci:DIR[:TAG],\n\
                  oci-archive:FILE[:TAG], docker-archive:FILE[:TAG], or the ID or name of a stored image.",
    grammar: Grammar::Images,
    flags: &[
        Flag::bool("full", "print the full image hash after fetching"),
        Flag::text(
            "signature",
            "",
            "local signature file to use in validating the preceding image",
        )
        .app(),
        Flag::value("pull-policy", "update", "when to pull an image: new, update or never")
            .check(pull_policy),
        Flag::bool("store-only", "use only available images in the store")
            .deprecated("please use --pull-policy=never"),
        Flag::bool("no-store", "fetch images ignoring the local store")
            .deprecated("please use --pull-policy=update"),
    ],
};

/// Fetches all, then prints their ids.
pub(crate) fn run(cx: &Context, args: &Parsed) -> Result<ExitCode, Failure> {
    let policy = policy(args)?;
    if args.images().is_empty() {
        return Err(Failure::new("must provide at least one image"));
    }
    let meter = Meter::new();
    let store = cx.store()?;
    let fetcher = Fetcher::new(store, cx.insecure, policy, &meter);
    let mut ids = Vec::new();
    for image in args.images() {
        let signature = image.value("signature").map(Path::new);
        let reference = ImageRef::parse(&image.image).map_err(Failure::alone)?;
        let id = fetcher.fetch(&reference, signature)?;
        if store.is_root() {
            prepare(store, &id)?;
        }
        ids.push(id);
    }
    for id in ids {
        cx.print(if args.bool("full") { id.as_str() } else { id.short(SHOWN_DIGITS) });
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes the image's trees now, so that its first run need not.
fn prepare(store: &Store, id: &appc::ImageId) -> Result<(), Failure> {
    let _lock = store.prepare_lock(Mode::Shared).map_err(Failure::alone)?;
    render::ready(store, id).map(drop).map_err(|error| {
        let dependency = matches!(error, RenderError::Plan { .. });
        let failure = Failure::because("error rendering image", error);
        // Only discovery could find them.
        if dependency { failure.hint("fetch the images that it depends on first") } else { failure }
    })
}

/// The pull policy that a command line asks for, in whichever spelling.
pub(crate) fn policy(args: &Parsed) -> Result<PullPolicy, Failure> {
    match (args.bool("store-only"), args.bool("no-store")) {
        (true, true) => Err(Failure::new("both --store-only and --no-store specified")),
        (true, false) => Ok(PullPolicy::Never),
        (false, true) => Ok(PullPolicy::Update),
        (false, false) => {
            let word = args.value("pull-policy").unwrap_or_default();
            PullPolicy::parse(word)
                .ok_or_else(|| Failure::usage(format!("unknown pull policy {word:?}")))
        }
    }
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        let hint = error.hint();
        let failure = Self::alone(error);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}
