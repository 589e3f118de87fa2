//! One configuration file: an envelope of version and kind around that kind's fields.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sys::path::At as _;

use super::{ConfigError, Credentials, Login, NamedStage1};

/// One thing that a file says.
pub(super) enum Entry {
    Auth(String, Credentials),
    DockerAuth(String, Login),
    Data(PathBuf),
    Stage1Images(PathBuf),
    Stage1(NamedStage1),
    Stage1Location(String),
}

#[derive(Deserialize)]
#[serde(expecting = "an object with rktVersion and rktKind")]
struct Envelope {
    #[serde(rename = "rktVersion")]
    version: Option<String>,
    #[serde(rename = "rktKind")]
    kind: Option<String>,
    #[serde(flatten)]
    fields: BTreeMap<String, Value>,
}

/// The fields of a kind, and those that it does not have.
#[derive(Deserialize)]
struct Known<T> {
    #[serde(flatten)]
    fields: T,
    #[serde(flatten)]
    unknown: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct Auth {
    #[serde(default)]
    domains: Vec<String>,
    #[serde(default, rename = "type")]
    scheme: String,
    #[serde(default)]
    credentials: Value,
}

#[derive(Deserialize)]
struct OAuth {
    #[serde(default)]
    token: String,
}

#[derive(Deserialize)]
struct Aws {
    #[serde(default, rename = "accessKeyID")]
    access_key_id: String,
    #[serde(default, rename = "secretAccessKey")]
    secret_access_key: String,
    #[serde(default, rename = "awsRegion")]
    region: String,
}

#[derive(Deserialize)]
struct DockerAuth {
    #[serde(default)]
    registries: Vec<String>,
    #[serde(default)]
    credentials: Value,
}

#[derive(Deserialize)]
struct Paths {
    #[serde(default)]
    data: String,
    #[serde(default, rename = "stage1-images")]
    stage1_images: String,
}

#[derive(Deserialize)]
struct Stage1 {
    #[serde(default)]
    name: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    location: String,
}

/// Reads a file that lies in a directory named for its kinds.
pub(super) fn read(path: &Path) -> Result<Vec<Entry>, ConfigError> {
    let bytes = fs::read(path).at("open", path).map_err(ConfigError::Read)?;
    let syntax = |reason: String| ConfigError::Syntax { path: path.to_owned(), reason };
    let envelope: Envelope =
        serde_json::from_slice(&bytes).map_err(|error| syntax(error.to_string()))?;
    let kind = envelope.kind.ok_or_else(|| syntax("rktKind is missing".to_owned()))?;
    let version = envelope.version.ok_or_else(|| syntax("rktVersion is missing".to_owned()))?;
    let directory = path.parent().unwrap_or(Path::new("/"));
    let place = directory.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let parse: fn(Value, &Path) -> Result<Vec<Entry>, String> = match (place, kind.as_str()) {
        ("auth.d", "auth") => auth,
        ("auth.d", "dockerAuth") => docker_auth,
        ("paths.d", "paths") => paths,
        ("stage1.d", "stage1") => stage1,
        _ => {
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            return Err(ConfigError::Kind { directory: directory.to_owned(), file, kind });
        }
    };
    if version != "v1" {
        return Err(ConfigError::Version { path: path.to_owned(), kind, version });
    }
    parse(Value::Object(envelope.fields.into_iter().collect()), path).map_err(syntax)
}

/// The fields of a kind; others get a warning each, as they may be spelling mistakes.
fn fields<T: DeserializeOwned>(value: Value, path: &Path) -> Result<T, String> {
    let known: Known<T> = serde_json::from_value(value).map_err(|error| error.to_string())?;
    for name in known.unknown.keys() {
        log::warn!("{}: unknown field {name:?} is ignored", path.display());
    }
    Ok(known.fields)
}

fn auth(value: Value, path: &Path) -> Result<Vec<Entry>, String> {
    let auth: Auth = fields(value, path)?;
    let credentials = match auth.scheme.as_str() {
        "basic" => Credentials::Basic(login(auth.credentials, path)?),
        "oauth" => {
            let OAuth { token } = fields(auth.credentials, path)?;
            Credentials::OAuth { token: given(token, "token")? }
        }
        "aws" => {
            let aws: Aws = fields(auth.credentials, path)?;
            Credentials::Aws {
                access_key_id: given(aws.access_key_id, "accessKeyID")?,
                secret_access_key: given(aws.secret_access_key, "secretAccessKey")?,
                region: aws.region,
            }
        }
        "" => return Err("no auth type specified".to_owned()),
        other => return Err(format!("auth type {other:?} is not known")),
    };
    let domains = listed(auth.domains, "domains")?;
    Ok(domains.into_iter().map(|domain| Entry::Auth(domain, credentials.clone())).collect())
}

fn docker_auth(value: Value, path: &Path) -> Result<Vec<Entry>, String> {
    let auth: DockerAuth = fields(value, path)?;
    let login = login(auth.credentials, path)?;
    let registries = listed(auth.registries, "registries")?;
    Ok(registries.into_iter().map(|registry| Entry::DockerAuth(registry, login.clone())).collect())
}

fn login(value: Value, path: &Path) -> Result<Login, String> {
    if value.is_null() {
        return Err("no credentials specified".to_owned());
    }
    let login: Login = fields(value, path)?;
    Ok(Login { user: given(login.user, "user")?, password: given(login.password, "password")? })
}

fn paths(value: Value, path: &Path) -> Result<Vec<Entry>, String> {
    let paths: Paths = fields(value, path)?;
    let mut entries = Vec::new();
    if !paths.data.is_empty() {
        entries.push(Entry::Data(absolute(paths.data, "data")?));
    }
    if !paths.stage1_images.is_empty() {
        entries.push(Entry::Stage1Images(absolute(paths.stage1_images, "stage1-images")?));
    }
    Ok(entries)
}

fn stage1(value: Value, path: &Path) -> Result<Vec<Entry>, String> {
    const SCHEMES: [&str; 4] = ["file", "docker", "http", "https"];
    let stage1: Stage1 = fields(value, path)?;
    let mut entries = Vec::new();
    match (stage1.name.is_empty(), stage1.version.is_empty()) {
        (true, true) => {}
        (false, false) => {
            entries.push(Entry::Stage1(NamedStage1 { name: stage1.name, version: stage1.version }));
        }
        (true, false) => return Err("a stage1 version needs a name beside it".to_owned()),
        (false, true) => return Err("a stage1 name needs a version beside it".to_owned()),
    }
    if !stage1.location.is_empty() {
        let scheme = stage1.location.split_once("://").map(|(scheme, _)| scheme);
        if !stage1.location.starts_with('/')
            && !scheme.is_some_and(|scheme| SCHEMES.contains(&scheme))
        {
            return Err(format!(
                "stage1 location {:?} is neither an absolute path nor a file, docker, http or https URL",
                stage1.location
            ));
        }
        entries.push(Entry::Stage1Location(stage1.location));
    }
    Ok(entries)
}

fn given(value: String, name: &str) -> Result<String, String> {
    if value.is_empty() { Err(format!("no {name} specified")) } else { Ok(value) }
}

fn listed(values: Vec<String>, name: &str) -> Result<Vec<String>, String> {
    if values.is_empty() || values.iter().any(String::is_empty) {
        return Err(format!("no {name} specified"));
    }
    Ok(values)
}

fn absolute(value: String, name: &str) -> Result<PathBuf, String> {
    if value.starts_with('/') {
        Ok(PathBuf::from(value))
    } else {
        Err(format!("{name} path {value:?} is not absolute"))
    }
}
