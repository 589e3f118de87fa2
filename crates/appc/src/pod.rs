//! The pod manifest: which apps run together, on which volumes.

use crate::id::ImageId;
use crate::image::{
    Annotation, App, Label, annotations_json, app_json, labels_json, map_json, object, optional,
    read_annotations, read_app, read_labels,
};
use crate::isolator::Isolator;
use crate::json::{self, Json};
use crate::name::{AcIdentifier, AcName};
use crate::port::ExposedPort;
use crate::read::{self, ManifestError, bad};
use crate::volume::{Volume, go_bool};
use std::collections::BTreeMap;

/// Which image an app of a pod comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeImage {
    /// The image's name, for people.
    pub name: Option<AcIdentifier>,
    /// The image's id, absent in a template only.
    pub id: Option<ImageId>,
    /// The image's labels, for people.
    pub labels: Vec<Label>,
}

impl RuntimeImage {
    /// The value of the label `version`.
    pub fn version(&self) -> Option<&str> {
        let label = self.labels.iter().find(|label| label.name.as_str() == "version")?;
        Some(&label.value)
    }
}

/// A volume at a place in an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The volume.
    pub volume: AcName,
    /// Where, inside the app's root.
    pub path: String,
    /// The volume itself, where the app brings its own.
    pub app_volume: Option<Volume>,
}

impl Mount {
    /// Reads `volume=NAME,target=/PATH`.
    ///
    /// # Errors
    /// One line for the user.
    pub fn parse_flag(text: &str) -> Result<Self, String> {
        let (mut volume, mut target) = (None, None);
        for word in text.split(',') {
            let (key, value) = word
                .split_once('=')
                .ok_or_else(|| format!("{word:?} must be given as key=value"))?;
            let slot = match key {
                "volume" => &mut volume,
                "target" => &mut target,
                _ => return Err(format!("unknown mount parameter {key:?}")),
            };
            if slot.replace(value).is_some() {
                return Err(format!("duplicated mount parameter {key:?}"));
            }
        }
        let volume =
            AcName::parse(volume.ok_or("volume is missing")?).map_err(|e| e.to_string())?;
        let path = target.filter(|t| !t.is_empty()).ok_or("target is missing")?;
        if path.starts_with('/') {
            Ok(Self { volume, path: path.to_owned(), app_volume: None })
        } else {
            Err(format!("target {path:?} must be an absolute path"))
        }
    }
}

/// An app of a pod.
#[derive(Debug, Clone, PartialEq)]
pub struct RuntimeApp {
    /// Its name in the pod.
    pub name: AcName,
    /// Its image.
    pub image: RuntimeImage,
    /// What runs; replaces the image's own section entirely.
    pub app: Option<App>,
    /// Whether its root cannot be written.
    pub read_only_root_fs: bool,
    /// Volumes at places that are no mount points of the image.
    pub mounts: Vec<Mount>,
    /// What is said about it.
    pub annotations: Vec<Annotation>,
}

/// The manifest of a pod.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PodManifest {
    /// The version of the program that wrote it.
    pub ac_version: String,
    /// What runs.
    pub apps: Vec<RuntimeApp>,
    /// What it runs on.
    pub volumes: Vec<Volume>,
    /// What is asked for the pod as a whole.
    pub isolators: Vec<Isolator>,
    /// What is said about it.
    pub annotations: Vec<Annotation>,
    /// What the host forwards.
    pub ports: Vec<ExposedPort>,
    /// Free annotations of the user.
    pub user_annotations: BTreeMap<String, String>,
    /// Free labels of the user.
    pub user_labels: BTreeMap<String, String>,
}

pub(crate) const KIND: &str = "PodManifest";

impl PodManifest {
    /// Reads and checks a manifest.
    ///
    /// # Errors
    /// See [`ManifestError`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, ManifestError> {
        let json = read::document(bytes, KIND)?;
        let manifest = Self {
            ac_version: read::owned(&json, "acVersion")?,
            apps: read::list(&json, "apps")?
                .iter()
                .map(read_runtime_app)
                .collect::<Result<_, _>>()?,
            volumes: read::list(&json, "volumes")?
                .iter()
                .map(Volume::read)
                .collect::<Result<_, _>>()?,
            isolators: read::list(&json, "isolators")?
                .iter()
                .map(Isolator::read)
                .collect::<Result<_, _>>()?,
            annotations: read_annotations(&json)?,
            ports: read::list(&json, "ports")?
                .iter()
                .map(ExposedPort::read)
                .collect::<Result<_, _>>()?,
            user_annotations: read::map(&json, "userAnnotations")?,
            user_labels: read::map(&json, "userLabels")?,
        };
        if let Some(name) = repeated(manifest.apps.iter().map(|a| a.name.as_str())) {
            return Err(bad("apps", format!("app {name:?} is given twice")));
        }
        if let Some(name) = repeated(manifest.volumes.iter().map(|v| v.name.as_str())) {
            return Err(bad("volumes", format!("volume {name:?} is given twice")));
        }
        Ok(manifest)
    }

    /// The app of this name.
    pub fn app(&self, name: &str) -> Option<&RuntimeApp> {
        self.apps.iter().find(|app| app.name.as_str() == name)
    }

    /// The value of an annotation.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.iter().find(|a| a.name.as_str() == name).map(|a| a.value.as_str())
    }

    /// The manifest as JSON, in the order in which rkt writes it.
    pub fn json(&self) -> Json {
        let or_null =
            |values: Vec<Json>| if values.is_empty() { Json::Null } else { Json::List(values) };
        let mut members = vec![
            ("acVersion", Json::from(self.ac_version.as_str())),
            ("acKind", KIND.into()),
            ("apps", or_null(self.apps.iter().map(runtime_app_json).collect())),
            ("volumes", or_null(self.volumes.iter().map(Volume::write).collect())),
            ("isolators", or_null(self.isolators.iter().map(Isolator::write).collect())),
            ("annotations", or_null(annotations_json(&self.annotations))),
            ("ports", Json::List(self.ports.iter().map(ExposedPort::write).collect())),
        ];
        for (key, map) in
            [("userAnnotations", &self.user_annotations), ("userLabels", &self.user_labels)]
        {
            if !map.is_empty() {
                members.push((key, map_json(map)));
            }
        }
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

fn repeated<'a>(names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = std::collections::BTreeSet::new();
    let mut names = names;
    names.find(|name| !seen.insert(*name))
}

fn read_runtime_app(json: &Json) -> Result<RuntimeApp, ManifestError> {
    read::object(json, "app")?;
    let image = json.get("image").cloned().unwrap_or(Json::Object(Vec::new()));
    let id = read::text(&image, "id")?.filter(|t| !t.is_empty());
    Ok(RuntimeApp {
        name: read::ac_name(json, "name")?,
        image: RuntimeImage {
            name: image.get("name").map(|_| read::identifier(&image, "name")).transpose()?,
            id: id.map(|t| ImageId::parse(t).map_err(|e| bad("image id", e))).transpose()?,
            labels: read_labels(&image, "labels")?,
        },
        app: json.get("app").map(read_app).transpose()?,
        read_only_root_fs: match json.get("readOnlyRootFS") {
            Some(Json::Text(text)) => go_bool(text).unwrap_or(false),
            _ => read::flag(json, "readOnlyRootFS")?.unwrap_or(false),
        },
        mounts: read::list(json, "mounts")?.iter().map(read_mount).collect::<Result<_, _>>()?,
        annotations: read_annotations(json)?,
    })
}

fn read_mount(json: &Json) -> Result<Mount, ManifestError> {
    read::object(json, "mount")?;
    let path = read::owned(json, "path")?;
    if path.is_empty() || path.contains('\0') {
        return Err(bad("mounts", "path is required"));
    }
    let app_volume = json.get("appVolume").map(Volume::read).transpose()?;
    let volume = match (&app_volume, json.get("volume")) {
        (Some(own), None) => own.name.clone(),
        _ => read::ac_name(json, "volume")?,
    };
    Ok(Mount { volume, path, app_volume })
}

fn runtime_app_json(app: &RuntimeApp) -> Json {
    let mut image = Vec::new();
    if let Some(name) = &app.image.name {
        image.push(("name", Json::from(name.as_str())));
    }
    image.push(("id", app.image.id.as_ref().map_or("", ImageId::as_str).into()));
    optional(&mut image, "labels", labels_json(&app.image.labels));
    let mut members = vec![("name", Json::from(app.name.as_str())), ("image", object(image))];
    members.extend(app.app.as_ref().map(|a| ("app", app_json(a))));
    if app.read_only_root_fs {
        members.push(("readOnlyRootFS", true.into()));
    }
    let mounts = app.mounts.iter().map(|mount| {
        let mut members = vec![
            ("volume", Json::from(mount.volume.as_str())),
            ("path", mount.path.as_str().into()),
        ];
        members.extend(mount.app_volume.as_ref().map(|v| ("appVolume", v.write())));
        object(members)
    });
    optional(&mut members, "mounts", mounts.collect());
    optional(&mut members, "annotations", annotations_json(&app.annotations));
    object(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORDED: &str = concat!(
        r#"{"acVersion":"1.30.0+git171c416f","acKind":"PodManifest","apps":[{"name":"echo","image":{"name":"#,
        r#""example.com/echo","id":"sha512-SHA64","labels":[{"name":"version","value":"1.0"},{"name":"arch","#,
        r#""value":"amd64"},{"name":"os","value":"linux"}]},"app":{"exec":["/bin/echo","hello"],"user":"0","#,
        r#""group":"0","userAnnotations":{"k":"v"},"userLabels":{"l":"m"}},"annotations":[{"name":"x","value":"y"}]}],"#,
        r#""volumes":null,"isolators":null,"annotations":[{"name":"coreos.com/rkt/stage1/mutable","value":"false"}],"#,
        r#""ports":[]}"#
    );

    #[test]
    fn a_recorded_manifest_keeps_its_bytes() {
        let text = RECORDED.replace("SHA64", &"0a".repeat(32));
        let manifest = PodManifest::from_json(text.as_bytes()).unwrap();
        assert_eq!(manifest.to_json(), text);
        assert_eq!(manifest.app("echo").unwrap().mounts, []);
    }

    fn verdict(body: &str) -> Result<PodManifest, ManifestError> {
        PodManifest::from_json(
            format!(r#"{{"acKind":"PodManifest","acVersion":"0.8.11",{body}}}"#).as_bytes(),
        )
    }

    #[test]
    fn what_the_reference_takes() {
        for body in [
            r#""apps":[]"#,
            r#""apps":[{"name":"a","image":{}}]"#,
            r#""apps":null,"annotations":[{"name":"a.b/c","value":""}]"#,
            r#""isolators":[{"name":"who/knows","value":{}}]"#,
            r#""volumes":[{"name":"v","kind":"empty"},{"name":"w","kind":"host","source":"/x","recursive":false}]"#,
        ] {
            verdict(body).unwrap();
        }
    }

    #[test]
    fn what_is_refused() {
        for body in [
            r#""apps":[{"name":"a","image":{}},{"name":"a","image":{}}]"#,
            r#""apps":[{"name":"a.b","image":{}}]"#,
            r#""volumes":[{"name":"v","kind":"empty"},{"name":"v","kind":"empty"}]"#,
            r#""volumes":[{"name":"v","kind":"host","source":"x"}]"#,
            r#""volumes":[{"name":"v","kind":"host","source":"/x","mode":"0755"}]"#,
            r#""volumes":[{"name":"v","kind":"empty","source":"/x"}]"#,
            r#""volumes":[{"name":"v","kind":"x"}]"#,
            r#""volumes":[{"name":"v","kind":"empty","uid":"0"}]"#,
            r#""volumes":[{"name":"v","kind":"empty","uid":4294967296}]"#,
            r#""apps":[{"name":"a","image":{},"mounts":[{"volume":"","path":"/x"}]}]"#,
            r#""ports":[{"name":"a","hostPort":80,"hostIP":"x"}]"#,
            r#""ports":[{"name":"a","hostPort":99999}]"#,
        ] {
            verdict(body).unwrap_err();
        }
    }

    #[test]
    fn mount_flags() {
        let mount = Mount::parse_flag("volume=v,target=/a").unwrap();
        assert_eq!((mount.volume.as_str(), mount.path.as_str()), ("v", "/a"));
        for bad in [
            "volume=v",
            "target=/a",
            "volume=v,target=a",
            "volume=v,target=/a,x=y",
            "volume=v,volume=v",
            "",
        ] {
            Mount::parse_flag(bad).unwrap_err();
        }
    }
}
