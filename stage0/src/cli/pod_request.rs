//! What the flags of `run` and `prepare` mean together.

use std::collections::BTreeMap;
use std::path::Path;

use appc::{
    AcIdentifier, AcName, Annotation, EnvVar, ExposedPort, Isolator, Mount, PodManifest, Quantity,
    Volume,
};
use stage0::fetch::Fetcher;
use stage0::image_ref::ImageRef;
use stage0::prepare::{
    AppRequest, Content, Everyone, Overlay, Place, PodRequest, Stage1Error, Stage1Wish,
    check_flags, choose,
};
use sys::path::At as _;

use super::fetch::policy;
use super::parse::ImageArgs;
use super::progress::Meter;
use super::{Context, Failure, Parsed, quoted};

/// What `--pod-manifest` decides alone.
const DECIDED: [&str; 6] =
    ["volume", "port", "inherit-env", "set-env", "set-env-file", "pull-policy"];

/// What was typed, checked as far as that goes without any image.
#[derive(Debug)]
pub(crate) struct Wishes {
    everyone: Everyone,
    volumes: Vec<Volume>,
    ports: Vec<ExposedPort>,
    manifest: Option<Box<PodManifest>>,
    stage1: Stage1Wish,
    overlay: Overlay,
}

impl Wishes {
    /// Reads them.
    pub(crate) fn read(args: &Parsed) -> Result<Self, Failure> {
        let manifest = args.value("pod-manifest");
        if manifest.is_some() {
            let given = |flag: &str| match flag {
                "pull-policy" => args.given(flag).is_some_and(|policy| policy != "new"),
                "inherit-env" => args.bool(flag),
                _ => args.given(flag).is_some(),
            };
            let decided = DECIDED.iter().any(|flag| given(flag))
                || args.bool("store-only")
                || args.bool("no-store");
            if decided || !args.images().is_empty() || !args.global_mounts().is_empty() {
                return Err(Failure::new("conflicting flags set with --pod-manifest (see --help)"));
            }
        } else if args.images().is_empty() {
            return Err(Failure::new(
                "must provide at least one image or specify the pod manifest",
            ));
        }
        let volumes = each(args.values("volume"), Volume::parse_flag)?;
        let mounts = each(args.global_mounts(), Mount::parse_flag)?;
        for image in args.images() {
            let own = each(image.values("mount"), Mount::parse_flag)?;
            check_flags(&volumes, own.iter().chain(&mounts))
                .map_err(|error| Failure::because("error parsing app image arguments", error))?;
        }
        Ok(Self {
            everyone: Everyone {
                set_env: args.values("set-env").into_iter().map(variable).collect(),
                env_files: env_files(&args.values("set-env-file"))?,
                inherited: if args.bool("inherit-env") { own_variables() } else { Vec::new() },
                mounts,
            },
            volumes,
            ports: each(args.values("port"), ExposedPort::parse_flag)?,
            manifest: manifest.map(read_manifest).transpose()?.map(Box::new),
            stage1: stage1_wish(args),
            overlay: if args.bool("no-overlay") { Overlay::Never } else { Overlay::IfPossible },
        })
    }

    /// Whether the host shall forward ports.
    pub(crate) fn forwards(&self) -> bool {
        !self.ports.is_empty()
    }

    /// Finds the images, the one that runs the pod first.
    pub(crate) fn find(self, cx: &Context, args: &Parsed) -> Result<PodRequest, Failure> {
        let store = cx.store()?;
        let meter = Meter::new();
        let fetcher = Fetcher::new(store, cx.insecure, policy(args)?, &meter);
        let place = Place::new(cx.config()?);
        let stage1 = choose(store, &place, &self.stage1, &|image| fetcher.fetch(image, None))
            .map_err(stage1_failure)?;
        let content = if let Some(manifest) = self.manifest {
            Content::Manifest(manifest)
        } else {
            let mut apps = Vec::with_capacity(args.images().len());
            for image in args.images() {
                let reference = ImageRef::parse(&image.image).map_err(Failure::alone)?;
                let id = fetcher.fetch(&reference, None)?;
                apps.push(app(image, AppRequest::of(id))?);
            }
            Content::Apps {
                apps,
                everyone: self.everyone,
                volumes: self.volumes,
                ports: self.ports,
            }
        };
        Ok(PodRequest { stage1, content, overlay: self.overlay })
    }
}

/// Several values of one flag.
fn each<T, E: ToString>(
    values: Vec<&str>,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<Vec<T>, Failure> {
    // Single values were looked at when the line was read.
    values
        .into_iter()
        .map(|value| parse(value).map_err(|error| Failure::usage(error.to_string())))
        .collect()
}

fn variable(text: &str) -> EnvVar {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    EnvVar { name: name.to_owned(), value: value.to_owned() }
}

/// The variables of this process, where they are text.
fn own_variables() -> Vec<EnvVar> {
    let all = std::env::vars_os();
    let texts =
        all.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    texts.map(|(name, value)| EnvVar { name, value }).collect()
}

/// One variable a line; what begins with `#` or `;` is a comment.
fn env_files(paths: &[&str]) -> Result<Vec<EnvVar>, Failure> {
    let mut all: Vec<EnvVar> = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(path).at("open", path).map_err(Failure::alone)?;
        for line in text.lines() {
            let line = line.trim_start();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            let Some((name, value)) = line.split_once('=').filter(|(name, _)| !name.is_empty())
            else {
                return Err(Failure::new(format!(
                    "{} must be specified as key=value (file {})",
                    quoted(line),
                    quoted(path)
                )));
            };
            if all.iter().any(|known| known.name == name) {
                return Err(Failure::new(format!(
                    "environment variable {} already set (file {})",
                    quoted(name),
                    quoted(path)
                )));
            }
            all.push(EnvVar { name: name.to_owned(), value: value.to_owned() });
        }
    }
    Ok(all)
}

fn read_manifest(path: &str) -> Result<PodManifest, Failure> {
    const DOING: &str = "error setting up stage0";
    let bytes =
        std::fs::read(path).at("open", path).map_err(|error| Failure::because(DOING, error))?;
    let manifest =
        PodManifest::from_json(&bytes).map_err(|error| Failure::because(DOING, error))?;
    if manifest.apps.is_empty() {
        return Err(Failure::new(format!("{DOING}: pod must contain at least one application")));
    }
    Ok(manifest)
}

fn stage1_wish(args: &Parsed) -> Stage1Wish {
    type Make = fn(String) -> Stage1Wish;
    let kinds: [(&str, Make); 5] = [
        ("stage1-path", Stage1Wish::Path),
        ("stage1-url", Stage1Wish::Url),
        ("stage1-name", Stage1Wish::Name),
        ("stage1-hash", Stage1Wish::Hash),
        ("stage1-from-dir", Stage1Wish::FromDir),
    ];
    let chosen = kinds.iter().find_map(|(flag, kind)| Some(kind(args.given(flag)?.to_owned())));
    chosen.unwrap_or(Stage1Wish::Default)
}

/// The flags of one image.
fn app(image: &ImageArgs, mut app: AppRequest) -> Result<AppRequest, Failure> {
    const DOING: &str = "error setting up stage0";
    let text = |flag| image.value(flag).filter(|value| !value.is_empty()).map(str::to_owned);
    app.name = match image.value("name") {
        Some(name) => Some(AcName::parse(name).map_err(|error| Failure::because(DOING, error))?),
        None => None,
    };
    app.exec = text("exec");
    app.args = image.args.clone().unwrap_or_default();
    app.user = text("user");
    app.group = text("group");
    app.supplementary_gids = image
        .value("supplementary-gids")
        .map(|gids| gids.split(',').filter_map(|gid| gid.parse().ok()).collect());
    app.working_directory = text("working-dir");
    app.environment = image.values("environment").into_iter().map(variable).collect();
    app.mounts = each(image.values("mount"), Mount::parse_flag)?;
    app.read_only =
        image.value("readonly-rootfs").map(|value| super::parse_bool(value) == Ok(true));
    app.isolators = isolators(image)?;
    for (name, value) in pairs(image, "annotation") {
        let name = AcIdentifier::parse(&name).map_err(Failure::alone)?;
        app.annotations.push(Annotation { name, value });
    }
    app.user_annotations = pairs(image, "user-annotation").into_iter().collect();
    app.user_labels = pairs(image, "user-label").into_iter().collect::<BTreeMap<_, _>>();
    Ok(app)
}

fn pairs(image: &ImageArgs, flag: &str) -> Vec<(String, String)> {
    let split = |text: &str| text.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
    image.values(flag).into_iter().filter_map(split).collect()
}

fn isolators(image: &ImageArgs) -> Result<Vec<Isolator>, Failure> {
    let mut isolators = Vec::new();
    for (flag, name) in [("memory", "resource/memory"), ("cpu", "resource/cpu")] {
        if let Some(text) = image.value(flag) {
            let quantity = Quantity::parse(text).map_err(Failure::alone)?;
            isolators.push(Isolator::limit(name, &quantity));
        }
    }
    for (flag, name) in
        [("cpu-shares", "os/linux/cpu-shares"), ("oom-score-adj", "os/linux/oom-score-adj")]
    {
        isolators.extend(
            image
                .value(flag)
                .and_then(|text| text.parse().ok())
                .map(|number| Isolator::number(name, number)),
        );
    }
    let set =
        |flag| image.value(flag).map(|list| list.split(',').map(str::to_owned).collect::<Vec<_>>());
    match (set("caps-retain"), set("caps-remove")) {
        (Some(_), Some(_)) => {
            return Err(Failure::new(
                "error setting up stage0: error: cannot use both --caps-retain and --caps-remove on the same image",
            ));
        }
        (Some(names), None) => {
            isolators.push(Isolator::set("os/linux/capabilities-retain-set", &names));
        }
        (None, Some(names)) => {
            isolators.push(Isolator::set("os/linux/capabilities-remove-set", &names));
        }
        (None, None) => {}
    }
    Ok(isolators)
}

/// Writes the pod's UUID where the user wants it. Who waits for the file finds all of it: it is written beside its place
/// and renamed, unless something special (a pipe, a terminal) has that place.
pub(crate) fn save_uuid(args: &Parsed, uuid: appc::PodUuid) -> Result<(), Failure> {
    let Some(path) = args.value("uuid-file-save").map(Path::new) else { return Ok(()) };
    let special = std::fs::symlink_metadata(path).is_ok_and(|found| !found.is_file());
    let write = || -> std::io::Result<()> {
        if special {
            return std::fs::write(path, uuid.to_string());
        }
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(format!(".{uuid}"));
        let aside = path.with_file_name(name);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        let done = std::fs::write(&aside, uuid.to_string())
            .and_then(|()| std::fs::set_permissions(&aside, mode))
            .and_then(|()| std::fs::rename(&aside, path));
        if done.is_err() {
            // The failure itself is what matters.
            drop(std::fs::remove_file(&aside));
        }
        done
    };
    write()
        .at("open", path)
        .map_err(|error| Failure::because("error saving pod UUID to file", error))
}

/// What is wrong with the image that runs pods, with a way out.
fn stage1_failure(error: Stage1Error) -> Failure {
    match error {
        Stage1Error::Fetch(error) => error.into(),
        error @ Stage1Error::NoDefault { .. } => {
            Failure::alone(error).hint("put it there, or name one with --stage1-path")
        }
        Stage1Error::Import { path, source } => {
            Failure::because(format!("cannot import {}", path.display()), source)
        }
        error => Failure::alone(error),
    }
}
