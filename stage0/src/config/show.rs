//! The merged configuration as `rkt config` shows it: one document an entry, in the form that files have.

use std::path::Path;

use serde::ser::{Serialize, SerializeMap as _, Serializer};

use super::{Config, Credentials, Login};

/// One document: the envelope, and the fields of its kind.
#[derive(serde::Serialize)]
struct Document<'a, F> {
    #[serde(rename = "rktVersion")]
    version: &'static str,
    #[serde(rename = "rktKind")]
    kind: &'static str,
    #[serde(flatten)]
    fields: &'a F,
}

#[derive(serde::Serialize)]
struct Auth<'a> {
    domains: [&'a str; 1],
    #[serde(rename = "type")]
    scheme: &'static str,
    credentials: Shown<'a>,
}

#[derive(serde::Serialize)]
#[serde(untagged)]
enum Shown<'a> {
    Basic(&'a Login),
    OAuth {
        token: &'a str,
    },
    Aws {
        #[serde(rename = "accessKeyID")]
        access_key_id: &'a str,
        #[serde(rename = "secretAccessKey")]
        secret_access_key: &'a str,
        #[serde(rename = "awsRegion")]
        region: &'a str,
    },
}

#[derive(serde::Serialize)]
struct DockerAuth<'a> {
    registries: [&'a str; 1],
    credentials: &'a Login,
}

#[derive(serde::Serialize)]
struct Paths<'a> {
    data: &'a str,
    #[serde(rename = "stage1-images")]
    stage1_images: &'a str,
}

#[derive(serde::Serialize)]
struct Stage1<'a> {
    name: &'a str,
    version: &'a str,
    location: &'a str,
}

/// Any document.
#[derive(serde::Serialize)]
#[serde(untagged)]
enum Any<'a> {
    Auth(Document<'a, Auth<'a>>),
    DockerAuth(Document<'a, DockerAuth<'a>>),
    Paths(Document<'a, Paths<'a>>),
    Stage1(Document<'a, Stage1<'a>>),
}

fn document<'a, F>(kind: &'static str, fields: &'a F) -> Document<'a, F> {
    Document { version: "v1", kind, fields }
}

/// `{"stage0": [..]}`: one document a domain and a registry, then one for the paths and one for the stage1.
impl Serialize for Config {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let auth: Vec<Auth<'_>> =
            self.auth.iter().map(|(domain, credentials)| shown(domain, credentials)).collect();
        let docker: Vec<DockerAuth<'_>> = self
            .docker_auth
            .iter()
            .map(|(registry, login)| DockerAuth { registries: [registry], credentials: login })
            .collect();
        let text = |path: &'_ Option<std::path::PathBuf>| -> String {
            path.as_deref().map(Path::to_string_lossy).unwrap_or_default().into_owned()
        };
        let (data, stage1_images) = (text(&self.data), text(&self.stage1_images));
        let paths = Paths { data: &data, stage1_images: &stage1_images };
        let named = self.stage1.as_ref();
        let stage1 = Stage1 {
            name: named.map(|named| named.name.as_str()).unwrap_or_default(),
            version: named.map(|named| named.version.as_str()).unwrap_or_default(),
            location: self.stage1_location.as_deref().unwrap_or_default(),
        };
        let mut documents: Vec<Any<'_>> = Vec::new();
        documents.extend(auth.iter().map(|fields| Any::Auth(document("auth", fields))));
        documents
            .extend(docker.iter().map(|fields| Any::DockerAuth(document("dockerAuth", fields))));
        documents.push(Any::Paths(document("paths", &paths)));
        documents.push(Any::Stage1(document("stage1", &stage1)));
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("stage0", &documents)?;
        map.end()
    }
}

fn shown<'a>(domain: &'a str, credentials: &'a Credentials) -> Auth<'a> {
    let (scheme, credentials) = match credentials {
        Credentials::Basic(login) => ("basic", Shown::Basic(login)),
        Credentials::OAuth { token } => ("oauth", Shown::OAuth { token }),
        Credentials::Aws { access_key_id, secret_access_key, region } => {
            ("aws", Shown::Aws { access_key_id, secret_access_key, region })
        }
    };
    Auth { domains: [domain], scheme, credentials }
}
