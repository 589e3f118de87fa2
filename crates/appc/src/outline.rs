//! The few words of a pod manifest that a table of pods shows, read without the rest.

use crate::id::ImageId;
use crate::name::{AcIdentifier, AcName};
use crate::pod::{KIND, PodManifest, RuntimeApp};
use crate::read::{ManifestError, SIZE_LIMIT};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// An app of a pod and its image, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppOutline {
    /// Its name in the pod.
    pub name: AcName,
    /// The name of its image.
    pub image_name: Option<AcIdentifier>,
    /// The label `version` of its image.
    pub image_version: Option<String>,
    /// The id of its image.
    pub image_id: Option<ImageId>,
}

impl AppOutline {
    /// The apps of a pod manifest, in its order, for a fraction of the price of the manifest: nothing is kept but what
    /// is told, and rules for what is not told are not checked.
    ///
    /// # Errors
    /// See [`ManifestError`].
    pub fn of_pod(manifest: &[u8]) -> Result<Vec<Self>, ManifestError> {
        // A manifest that is not written as we write it is for the whole reader, which also has the better errors.
        match read(manifest) {
            Some(apps) => Ok(apps),
            None => Ok(PodManifest::from_json(manifest)?.apps.iter().map(Self::from).collect()),
        }
    }
}

impl From<&RuntimeApp> for AppOutline {
    fn from(app: &RuntimeApp) -> Self {
        Self {
            name: app.name.clone(),
            image_name: app.image.name.clone(),
            image_version: app.image.version().map(str::to_owned),
            image_id: app.image.id.clone(),
        }
    }
}

// Each form names every key there is in its canonical spelling and refuses others, so that a key in another case is
// never taken for one that is missing. Keys given twice and text with escapes are refused as well.

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PodForm<'a> {
    #[serde(rename = "acKind")]
    kind: &'a str,
    #[serde(borrow)]
    apps: Option<Vec<AppForm<'a>>>,
    #[serde(rename = "acVersion")]
    _version: Option<IgnoredAny>,
    #[serde(rename = "volumes")]
    _volumes: Option<IgnoredAny>,
    #[serde(rename = "isolators")]
    _isolators: Option<IgnoredAny>,
    #[serde(rename = "annotations")]
    _annotations: Option<IgnoredAny>,
    #[serde(rename = "ports")]
    _ports: Option<IgnoredAny>,
    #[serde(rename = "userAnnotations")]
    _user_annotations: Option<IgnoredAny>,
    #[serde(rename = "userLabels")]
    _user_labels: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AppForm<'a> {
    name: &'a str,
    #[serde(borrow)]
    image: ImageForm<'a>,
    #[serde(rename = "app")]
    _app: Option<IgnoredAny>,
    #[serde(rename = "readOnlyRootFS")]
    _read_only: Option<IgnoredAny>,
    #[serde(rename = "mounts")]
    _mounts: Option<IgnoredAny>,
    #[serde(rename = "annotations")]
    _annotations: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImageForm<'a> {
    name: Option<&'a str>,
    id: Option<&'a str>,
    #[serde(borrow)]
    labels: Option<Vec<LabelForm<'a>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LabelForm<'a> {
    name: &'a str,
    value: &'a str,
}

fn read(bytes: &[u8]) -> Option<Vec<AppOutline>> {
    if bytes.len() > SIZE_LIMIT {
        return None;
    }
    let pod: PodForm<'_> = serde_json::from_str(std::str::from_utf8(bytes).ok()?).ok()?;
    if pod.kind != KIND {
        return None;
    }
    let mut apps: Vec<AppOutline> = Vec::new();
    for app in pod.apps.unwrap_or_default() {
        let app = outline(&app)?;
        if apps.iter().any(|other| other.name == app.name) {
            return None;
        }
        apps.push(app);
    }
    Some(apps)
}

fn outline(app: &AppForm<'_>) -> Option<AppOutline> {
    let image = &app.image;
    let labels = image.labels.as_deref().unwrap_or_default();
    let version = labels.iter().find(|label| label.name == "version");
    let id = image.id.filter(|id| !id.is_empty());
    Some(AppOutline {
        name: AcName::parse(app.name).ok()?,
        image_name: image.name.map(AcIdentifier::parse).transpose().ok()?,
        image_version: version.map(|label| label.value.to_owned()),
        image_id: id.map(ImageId::parse).transpose().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str) -> Option<Vec<AppOutline>> {
        let manifest = PodManifest::from_json(text.as_bytes()).ok()?;
        Some(manifest.apps.iter().map(AppOutline::from).collect())
    }

    const ID: &str = "sha512-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn manifest(apps: &str) -> String {
        let apps = apps.replace("ID", ID);
        format!(
            r#"{{"acVersion":"1.30.0","acKind":"PodManifest","apps":{apps},"volumes":null,"isolators":null,
                "annotations":[{{"name":"a","value":"b"}}],"ports":[],"userLabels":{{"k":"v"}}}}"#
        )
    }

    #[test]
    fn what_we_write_is_read_at_once() {
        for apps in [
            "null",
            "[]",
            r#"[{"name":"a","image":{"id":""}}]"#,
            r#"[{"name":"a","image":{"name":"x.y/z","id":"ID","labels":[{"name":"os","value":"linux"}]}}]"#,
            r#"[{"name":"a","image":{"id":"ID","labels":[{"name":"version","value":"ü 1"}]},
                "app":{"exec":["/a"],"user":"0","group":"0"},"readOnlyRootFS":true,"mounts":[]},
                {"name":"b","image":{"id":"ID"},"annotations":[]}]"#,
        ] {
            let text = manifest(apps);
            let wanted = whole(&text).unwrap();
            assert_eq!(read(text.as_bytes()), Some(wanted.clone()), "{apps}");
            assert_eq!(AppOutline::of_pod(text.as_bytes()).unwrap(), wanted, "{apps}");
            let written = PodManifest::from_json(text.as_bytes()).unwrap().to_json();
            assert_eq!(read(written.as_bytes()), Some(wanted), "{written}");
        }
    }

    #[test]
    fn anything_else_is_for_the_whole_reader() {
        for apps in [
            r#"[{"Name":"a","image":{"id":"ID"}}]"#,
            r#"[{"name":"b","name":"a","image":{"id":"ID"}}]"#,
            r#"[{"name":"a","Image":{"id":"ID"}}]"#,
            r#"[{"name":"a","image":{"id":"ID","NAME":"x"}}]"#,
            r#"[{"name":"\u0061","image":{"id":"ID"}}]"#,
            r#"[{"name":"a","image":{"id":"ID"},"other":1}]"#,
            r#"[{"name":"a"}]"#,
            r#"[{"name":"A","image":{"id":"ID"}}]"#,
            r#"[{"name":"a","image":{"id":"sha512-1"}}]"#,
            r#"[{"name":"a","image":{}},{"name":"a","image":{}}]"#,
            r#"[{"name":1,"image":{}}]"#,
            "{}",
        ] {
            let text = manifest(apps);
            assert_eq!(read(text.as_bytes()), None, "{apps}");
            assert_eq!(AppOutline::of_pod(text.as_bytes()).ok(), whole(&text), "{apps}");
        }
        let other = manifest("[]").replace("PodManifest", "ImageManifest");
        let twice = manifest("[]").replace("volumes", "APPS");
        for text in [other, twice.clone(), "[".repeat(100_000), "{".to_owned(), String::new()] {
            assert_eq!(read(text.as_bytes()), None, "{text:.80}");
            assert_eq!(AppOutline::of_pod(text.as_bytes()).ok(), whole(&text), "{text:.80}");
        }
        assert_eq!(AppOutline::of_pod(twice.as_bytes()).unwrap(), []);
    }
}
