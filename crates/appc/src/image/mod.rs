//! The image manifest: what an image is, what it depends on, and what runs in it.

use crate::isolator::{Isolator, read_set};
use crate::json::{self, Json};
use crate::name::{AcIdentifier, AcName};
use crate::port::Port;
use crate::read::{self, ManifestError, bad};
use std::collections::BTreeMap;

/// A name and a value that select an image, such as `version` or `arch`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The label.
    pub name: AcIdentifier,
    /// Free text.
    pub value: String,
}

/// A name and a value that describe something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation {
    /// The annotation.
    pub name: AcIdentifier,
    /// Free text.
    pub value: String,
}

/// A variable of the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvVar {
    /// `[A-Za-z_][A-Za-z0-9_.-]*`
    pub name: String,
    /// Any text without NUL.
    pub value: String,
}

/// When a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookPoint {
    /// Before the app; the app starts only if it succeeds.
    PreStart,
    /// After the app has ended.
    PostStop,
}

impl HookPoint {
    /// The word in a manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::PreStart => "pre-start",
            Self::PostStop => "post-stop",
        }
    }
}

/// A hook of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventHandler {
    /// When it runs.
    pub at: HookPoint,
    /// What runs.
    pub exec: Vec<String>,
}

/// A place where an app expects a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountPoint {
    /// The name that a volume may have, too.
    pub name: AcName,
    /// Where, inside the app's root.
    pub path: String,
    /// Whether the app promises not to write there.
    pub read_only: bool,
}

/// What runs in an image, and how.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct App {
    /// Program and arguments; `None` and an empty list both mean that something must be given at run time.
    pub exec: Option<Vec<String>>,
    /// Hooks, at most one a point.
    pub event_handlers: Vec<EventHandler>,
    /// User: a number, a name, or a path whose owner is meant.
    pub user: String,
    /// Group, likewise.
    pub group: String,
    /// Further groups.
    pub supplementary_gids: Vec<i64>,
    /// Absolute, or empty for `/`.
    pub working_directory: String,
    /// The environment.
    pub environment: Vec<EnvVar>,
    /// Where volumes are expected.
    pub mount_points: Vec<MountPoint>,
    /// What it listens on.
    pub ports: Vec<Port>,
    /// What it asks of the executor.
    pub isolators: Vec<Isolator>,
    /// Free annotations of the user.
    pub user_annotations: BTreeMap<String, String>,
    /// Free labels of the user.
    pub user_labels: BTreeMap<String, String>,
}

impl App {
    /// An app of user 0 and group 0 that runs this.
    pub fn running(exec: Vec<String>) -> Self {
        Self { exec: Some(exec), user: "0".into(), group: "0".into(), ..Self::default() }
    }
}

/// Another image whose files lie below this one's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// Its name.
    pub image_name: AcIdentifier,
    /// The beginning of its id, if that is fixed.
    pub image_id: Option<String>,
    /// Labels it must have.
    pub labels: Vec<Label>,
    /// Its size in bytes, 0 if unknown.
    pub size: u64,
}

/// The manifest of an image.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageManifest {
    /// The version of the specification it was written for.
    pub ac_version: String,
    /// The image's name.
    pub name: AcIdentifier,
    /// What tells it from other images of the name.
    pub labels: Vec<Label>,
    /// What runs in it.
    pub app: Option<App>,
    /// What is said about it.
    pub annotations: Vec<Annotation>,
    /// The images below it.
    pub dependencies: Vec<Dependency>,
    /// If not empty, the only paths that stay in the rendered tree.
    pub path_whitelist: Vec<String>,
}

const KIND: &str = "ImageManifest";

impl ImageManifest {
    /// A manifest of this name and nothing else.
    pub fn new(name: AcIdentifier) -> Self {
        Self {
            ac_version: crate::SPEC_VERSION.to_owned(),
            name,
            labels: Vec::new(),
            app: None,
            annotations: Vec::new(),
            dependencies: Vec::new(),
            path_whitelist: Vec::new(),
        }
    }

    /// Reads and checks a manifest.
    ///
    /// # Errors
    /// See [`ManifestError`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, ManifestError> {
        let json = read::document(bytes, KIND)?;
        let manifest = Self {
            ac_version: read::version(&json)?,
            name: read::identifier(&json, "name")?,
            labels: read_labels(&json, "labels")?,
            app: json.get("app").map(read_app).transpose()?,
            annotations: read_annotations(&json)?,
            dependencies: read::list(&json, "dependencies")?
                .iter()
                .map(read_dependency)
                .collect::<Result<_, _>>()?,
            path_whitelist: read::texts(&json, "pathWhitelist")?,
        };
        check_platform(&manifest.labels)?;
        Ok(manifest)
    }

    /// The value of a label.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|l| l.name.as_str() == name).map(|l| l.value.as_str())
    }

    /// The value of an annotation.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.iter().find(|a| a.name.as_str() == name).map(|a| a.value.as_str())
    }

    /// The manifest as JSON, in the order of the specification.
    pub fn json(&self) -> Json {
        let mut members = vec![
            ("acKind", Json::from(KIND)),
            ("acVersion", self.ac_version.as_str().into()),
            ("name", self.name.as_str().into()),
        ];
        optional(&mut members, "labels", labels_json(&self.labels));
        if let Some(app) = &self.app {
            members.push(("app", app_json(app)));
        }
        optional(&mut members, "annotations", annotations_json(&self.annotations));
        optional(
            &mut members,
            "dependencies",
            self.dependencies.iter().map(dependency_json).collect(),
        );
        optional(
            &mut members,
            "pathWhitelist",
            self.path_whitelist.iter().map(|p| p.as_str().into()).collect(),
        );
        object(members)
    }

    /// [`Self::json`] on one line.
    pub fn to_json(&self) -> String {
        json::compact(&self.json())
    }

    /// [`Self::json`], indented.
    pub fn to_json_pretty(&self, indent: &str) -> String {
        json::pretty(&self.json(), indent)
    }
}

pub(crate) fn object(members: Vec<(&str, Json)>) -> Json {
    Json::Object(members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

pub(crate) fn optional<'a>(members: &mut Vec<(&'a str, Json)>, key: &'a str, values: Vec<Json>) {
    if !values.is_empty() {
        members.push((key, Json::List(values)));
    }
}

pub(crate) fn read_labels(json: &Json, key: &str) -> Result<Vec<Label>, ManifestError> {
    let mut labels: Vec<Label> = Vec::new();
    for item in read::list(json, key)? {
        read::object(item, "label")?;
        let label =
            Label { name: read::identifier(item, "name")?, value: read::owned(item, "value")? };
        if label.name.as_str() == "name" {
            return Err(bad(key, "a label cannot be called \"name\""));
        }
        if labels.iter().any(|l| l.name == label.name) {
            return Err(bad(key, format!("label {:?} is given twice", label.name.as_str())));
        }
        labels.push(label);
    }
    Ok(labels)
}

pub(crate) fn labels_json(labels: &[Label]) -> Vec<Json> {
    labels.iter().map(|l| pair(l.name.as_str(), &l.value)).collect()
}

fn pair(name: &str, value: &str) -> Json {
    Json::object([("name", name.into()), ("value", value.into())])
}

pub(crate) fn read_annotations(json: &Json) -> Result<Vec<Annotation>, ManifestError> {
    let mut annotations: Vec<Annotation> = Vec::new();
    for item in read::list(json, "annotations")? {
        read::object(item, "annotation")?;
        let found = Annotation {
            name: read::identifier(item, "name")?,
            value: read::owned(item, "value")?,
        };
        let problem = match found.name.as_str() {
            "created" if !is_date(&found.value) => Some("must be an RFC 3339 date"),
            "homepage" | "documentation" if !is_url(&found.value) => {
                Some("must be an http or https URL")
            }
            _ => None,
        };
        if let Some(problem) = problem {
            return Err(bad(format!("annotation {:?}", found.name.as_str()), problem));
        }
        if annotations.iter().any(|a| a.name == found.name) {
            return Err(bad("annotations", format!("{:?} is given twice", found.name.as_str())));
        }
        annotations.push(found);
    }
    Ok(annotations)
}

pub(crate) fn annotations_json(annotations: &[Annotation]) -> Vec<Json> {
    annotations.iter().map(|a| pair(a.name.as_str(), &a.value)).collect()
}

fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    rest.is_some_and(|r| !r.is_empty() && !r.contains(char::is_whitespace))
}

/// Whether this is a date of RFC 3339 with an upper-case `T`, a zone, and an optional fraction after a point or a comma.
pub fn is_date(text: &str) -> bool {
    let shape = |text: &str, pattern: &str| {
        text.len() == pattern.len()
            && text
                .bytes()
                .zip(pattern.bytes())
                .all(|(t, p)| if p == b'0' { t.is_ascii_digit() } else { t == p })
    };
    let Some((start, rest)) = text.split_at_checked(19) else { return false };
    let zone = match rest.strip_prefix(['.', ',']) {
        Some(fraction) => {
            let zone = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
            if zone.len() == fraction.len() {
                return false;
            }
            zone
        }
        None => rest,
    };
    shape(start, "0000-00-00T00:00:00")
        && (zone == "Z" || shape(zone, "+00:00") || shape(zone, "-00:00"))
}

fn check_platform(labels: &[Label]) -> Result<(), ManifestError> {
    let find =
        |name: &str| labels.iter().find(|l| l.name.as_str() == name).map(|l| l.value.as_str());
    let Some(os) = find("os") else { return Ok(()) };
    let unknown = |label, value: &str, known: &[&str]| {
        let known = known.join(", ");
        Err(ManifestError::Platform { label, value: value.to_owned(), known })
    };
    let Some(arches) = arches(os) else {
        return unknown("os", os, &["linux", "freebsd", "darwin"]);
    };
    match find("arch") {
        Some(arch) if !arches.contains(&arch) => unknown("arch", arch, arches),
        _ => Ok(()),
    }
}

/// The architectures known for an operating system, by their names in appc.
pub fn arches(os: &str) -> Option<&'static [&'static str]> {
    match os {
        "linux" => Some(&[
            "amd64",
            "i386",
            "aarch64",
            "aarch64_be",
            "armv6l",
            "armv7l",
            "armv7b",
            "ppc64",
            "ppc64le",
            "s390x",
            "riscv64",
            "loong64",
        ]),
        "freebsd" => Some(&["amd64", "i386", "arm"]),
        "darwin" => Some(&["x86_64", "i386"]),
        _ => None,
    }
}

/// Whether this may be the name of an environment variable.
pub fn is_env_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

fn no_nul(what: &str, text: &str) -> Result<(), ManifestError> {
    if text.contains('\0') { Err(bad(what, "contains a NUL byte")) } else { Ok(()) }
}

pub(crate) fn read_app(json: &Json) -> Result<App, ManifestError> {
    read::object(json, "app")?;
    let required = |key: &str| match read::owned(json, key) {
        Ok(text) if text.is_empty() => Err(bad(format!("app {key}"), "is required")),
        other => other,
    };
    let working_directory = read::owned(json, "workingDirectory")?;
    if !working_directory.is_empty() && !working_directory.starts_with('/') {
        return Err(bad("workingDirectory", "must be an absolute path"));
    }
    let exec = json.get("exec").map(|_| read::texts(json, "exec")).transpose()?;
    for word in exec.iter().flatten().chain([&working_directory]) {
        no_nul("exec", word)?;
    }
    Ok(App {
        exec,
        event_handlers: read_handlers(json)?,
        user: required("user")?,
        group: required("group")?,
        supplementary_gids: read_gids(json)?,
        working_directory,
        environment: read_environment(json)?,
        mount_points: read::list(json, "mountPoints")?
            .iter()
            .map(read_mount_point)
            .collect::<Result<_, _>>()?,
        ports: read::list(json, "ports")?.iter().map(Port::read).collect::<Result<_, _>>()?,
        isolators: read_set(json)?,
        user_annotations: read::map(json, "userAnnotations")?,
        user_labels: read::map(json, "userLabels")?,
    })
}

fn read_handlers(json: &Json) -> Result<Vec<EventHandler>, ManifestError> {
    let mut handlers: Vec<EventHandler> = Vec::new();
    for item in read::list(json, "eventHandlers")? {
        let at = match read::text(item, "name")? {
            Some("pre-start") => HookPoint::PreStart,
            Some("post-stop") => HookPoint::PostStop,
            other => {
                return Err(bad(
                    "eventHandlers",
                    format!("unknown event {:?}", other.unwrap_or_default()),
                ));
            }
        };
        if handlers.iter().any(|h| h.at == at) {
            return Err(bad("eventHandlers", format!("{} is given twice", at.name())));
        }
        handlers.push(EventHandler { at, exec: read::texts(item, "exec")? });
    }
    Ok(handlers)
}

fn read_gids(json: &Json) -> Result<Vec<i64>, ManifestError> {
    let key = "supplementaryGIDs";
    let ids = read::list(json, key)?.iter().map(|value| match value {
        Json::Number(n) => n.as_i64().filter(|n| (0..i64::from(u32::MAX)).contains(n)),
        _ => None,
    });
    ids.map(|id| id.ok_or_else(|| bad(key, "must be a list of group ids"))).collect()
}

fn read_environment(json: &Json) -> Result<Vec<EnvVar>, ManifestError> {
    let mut all: Vec<EnvVar> = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for item in read::list(json, "environment")? {
        read::object(item, "environment")?;
        let variable =
            EnvVar { name: read::owned(item, "name")?, value: read::owned(item, "value")? };
        if !is_env_name(&variable.name) {
            return Err(bad(
                "environment",
                format!("{:?} is not a variable's name", variable.name),
            ));
        }
        no_nul("environment", &variable.value)?;
        if !seen.insert(variable.name.clone()) {
            return Err(bad("environment", format!("{:?} is given twice", variable.name)));
        }
        all.push(variable);
    }
    Ok(all)
}

fn read_mount_point(json: &Json) -> Result<MountPoint, ManifestError> {
    read::object(json, "mountPoint")?;
    let path = read::owned(json, "path")?;
    if path.is_empty() {
        return Err(bad("mountPoints", "path is required"));
    }
    no_nul("mountPoints", &path)?;
    let read_only = read::flag(json, "readOnly")?.unwrap_or(false);
    Ok(MountPoint { name: read::ac_name(json, "name")?, path, read_only })
}

fn read_dependency(json: &Json) -> Result<Dependency, ManifestError> {
    read::object(json, "dependency")?;
    let image_id = read::text(json, "imageID")?.filter(|t| !t.is_empty()).map(str::to_owned);
    if let Some(id) = &image_id {
        let rest = id.strip_prefix("sha512-").unwrap_or_default();
        if rest.is_empty() || rest.contains('-') {
            return Err(bad("imageID", format!("{id:?} is not an image ID")));
        }
    }
    let size = read::number(json, "size")?.unwrap_or(0);
    Ok(Dependency {
        image_name: read::identifier(json, "imageName")?,
        image_id,
        labels: read_labels(json, "labels")?,
        size: u64::try_from(size).map_err(|_| bad("size", "cannot be negative"))?,
    })
}

fn dependency_json(dependency: &Dependency) -> Json {
    let mut members = vec![("imageName", Json::from(dependency.image_name.as_str()))];
    if let Some(id) = &dependency.image_id {
        members.push(("imageID", id.as_str().into()));
    }
    optional(&mut members, "labels", labels_json(&dependency.labels));
    if dependency.size > 0 {
        members.push(("size", dependency.size.into()));
    }
    object(members)
}

pub(crate) fn map_json(map: &BTreeMap<String, String>) -> Json {
    Json::Object(map.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect())
}

pub(crate) fn app_json(app: &App) -> Json {
    let words = |list: &[String]| Json::List(list.iter().map(|w| w.as_str().into()).collect());
    let mut members = vec![("exec", app.exec.as_deref().map_or(Json::Null, words))];
    let handlers = app.event_handlers.iter();
    let handlers =
        handlers.map(|h| Json::object([("name", h.at.name().into()), ("exec", words(&h.exec))]));
    optional(&mut members, "eventHandlers", handlers.collect());
    members.push(("user", app.user.as_str().into()));
    members.push(("group", app.group.as_str().into()));
    optional(
        &mut members,
        "supplementaryGIDs",
        app.supplementary_gids.iter().map(|id| (*id).into()).collect(),
    );
    if !app.working_directory.is_empty() {
        members.push(("workingDirectory", app.working_directory.as_str().into()));
    }
    optional(
        &mut members,
        "environment",
        app.environment.iter().map(|e| pair(&e.name, &e.value)).collect(),
    );
    let points = app.mount_points.iter().map(|m| {
        let mut point =
            vec![("name", Json::from(m.name.as_str())), ("path", m.path.as_str().into())];
        if m.read_only {
            point.push(("readOnly", true.into()));
        }
        object(point)
    });
    optional(&mut members, "mountPoints", points.collect());
    optional(&mut members, "ports", app.ports.iter().map(Port::write).collect());
    optional(&mut members, "isolators", app.isolators.iter().map(Isolator::write).collect());
    for (key, map) in [("userAnnotations", &app.user_annotations), ("userLabels", &app.user_labels)]
    {
        if !map.is_empty() {
            members.push((key, map_json(map)));
        }
    }
    object(members)
}

#[cfg(test)]
mod tests;
