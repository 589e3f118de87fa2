//! Images in registries: the pull side of the distribution protocol, without credentials.
//!
//! A manifest is verified here, by the digest it was asked for with; blobs are verified by the store, which reads them
//! through [`Blobs`]. A registry that does not speak TLS is only asked where plain http was allowed.

mod challenge;
mod layers;
mod token;

use super::http::{Client, HttpError, Request, Resource, Response, Resuming, Url, read_small};
use super::{FetchError, Fetcher, PullPolicy, limits, shown};
use crate::image_ref::ImageRef;
use crate::store::{BlobSource, OciImage, Remote, SourceError, remote_key};
use appc::ImageId;
use layers::Layers;
use oci::{Descriptor, Digest, DocumentError, Index, Manifest, Platform, Reference, Root, media};
use serde::Deserialize;
use std::io::{Cursor, Read};
use std::sync::Arc;
use std::time::SystemTime;
use token::Token;

/// A registry without the image that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// A request failed.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// A document is not what it was promised to be.
    #[error("cannot use {what}")]
    Document {
        /// Which.
        what: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It wants to know who asks.
    #[error("registry {0} asks for a user name and a password, which cannot be given yet")]
    Password(String),
    /// It refuses everybody, or those without a name.
    #[error("access to {0} is denied: it does not exist, or is not for everybody")]
    Denied(String),
    /// It asks for something that is not understood.
    #[error("registry {0} asks for credentials of an unknown kind")]
    Challenge(String),
    /// What gives out tokens gives none.
    #[error("the answer of the token server is not a token")]
    Token,
    /// A blob has another length than its descriptor says.
    #[error("{digest} has {found} bytes instead of {wanted}")]
    Length {
        /// The blob.
        digest: Digest,
        /// What was promised.
        wanted: u64,
        /// What the server announces.
        found: u64,
    },
    /// Another thread died.
    #[error("stopped")]
    Stopped,
}

/// One repository of one registry.
#[derive(Debug)]
struct Repository {
    client: Client,
    /// Where all requests begin.
    base: Url,
    name: String,
    token: Token,
}

/// The registry's own words about a failure.
#[derive(Deserialize)]
struct Failures {
    errors: Vec<Failure>,
}

#[derive(Deserialize)]
struct Failure {
    code: Option<String>,
    message: Option<String>,
}

impl Repository {
    /// Finds out how a registry is spoken to.
    fn open(client: Client, reference: &Reference) -> Result<Self, RegistryError> {
        let url = |scheme: &str| {
            Url::parse(&format!("{scheme}://{}/v2/", reference.api_host())).map_err(HttpError::Url)
        };
        let mut base = url("https")?;
        if client.may_be_plain() {
            let probe = Request { hasty: true, ..Request::new(base.clone()) };
            match client.get(&probe) {
                Ok(_) => {}
                // It does speak TLS.
                Err(error @ HttpError::Certificate { .. }) => return Err(error.into()),
                Err(error) => {
                    log::debug!(target: "image", "{error}; trying plain http");
                    base = url("http")?;
                }
            }
        }
        let name = reference.repository().to_owned();
        Ok(Self { client, base, name, token: Token::default() })
    }

    /// Asks for something in the repository, with a token if need be. The answer's status is good, or the caller's.
    fn get(
        &self,
        path: &str,
        request: impl Fn(Request) -> Request,
    ) -> Result<Response, RegistryError> {
        let mut url = self.base.clone();
        url.path = format!("{}{}/{path}", url.path, self.name);
        let mut used = self.token.current();
        for last in [false, true] {
            let mut asked = request(Request::new(url.clone()));
            asked.authorization.clone_from(&used);
            let response = self.client.get(&asked)?;
            match response.status {
                200..=299 => return Ok(response),
                401 if !last && response.url.same_origin(&url) => {
                    let fresh =
                        self.token.renew(&self.client, &response, &self.name, used.as_deref())?;
                    used = Some(fresh);
                }
                401 | 403 => return Err(RegistryError::Denied(self.name.clone())),
                status => {
                    let words = words(response);
                    let words = if words.is_empty() { path } else { &words };
                    return Err(HttpError::status(status, words).into());
                }
            }
        }
        Err(RegistryError::Denied(self.name.clone()))
    }

    /// A manifest or an index: its type as it was served, and its bytes.
    fn document(&self, name: &str) -> Result<(String, Vec<u8>), RegistryError> {
        let response = self.get(&format!("manifests/{name}"), |mut request| {
            for accepted in media::ACCEPT {
                request = request.header("accept", accepted);
            }
            request
        })?;
        let media_type = response.header("content-type").unwrap_or_default().to_owned();
        let bytes = read_small(response, "manifest", limits::DOCUMENT)?;
        Ok((media::bare(&media_type).to_owned(), bytes))
    }

    /// The manifest that a reference means on this machine.
    fn manifest(&self, reference: &Reference) -> Result<Found, RegistryError> {
        let bad = |source| RegistryError::Document { what: reference.to_string(), source };
        if let Some(digest) = reference.digest() {
            digest.verifiable().map_err(|error| bad(error.into()))?;
        }
        let (media_type, bytes) = self.document(reference.manifest())?;
        if let Some(digest) = reference.digest()
            && !digest.matches(&bytes)
        {
            let found = Digest::of(&bytes);
            return Err(bad(
                format!("manifest has digest {found}, but {digest} was asked for").into()
            ));
        }
        match Root::from_json(&media_type, &bytes) {
            Ok(Root::Manifest(manifest)) => Ok(Found { media_type, bytes, manifest }),
            Ok(Root::Index(index)) => self.choose(&index, reference),
            Err(error) => Err(bad(error.into())),
        }
    }

    fn choose(&self, index: &Index, reference: &Reference) -> Result<Found, RegistryError> {
        let bad = |source| RegistryError::Document { what: reference.to_string(), source };
        let mut get = |entry: &Descriptor| self.listed(entry);
        let entry = oci::index::find(index, &Platform::host(), &mut get)
            .map_err(|error| bad(error.into()))?;
        let bytes = self.listed(&entry)?;
        entry.check(&bytes).map_err(|error| bad(error.into()))?;
        match Root::from_json(&entry.media_type, &bytes) {
            Ok(Root::Manifest(manifest)) => {
                Ok(Found { media_type: entry.media_type, bytes, manifest })
            }
            Ok(Root::Index(_)) => {
                let wanted = "an image manifest".to_owned();
                let found = "an index".to_owned();
                Err(bad(DocumentError::Type { wanted, found }.into()))
            }
            Err(error) => Err(bad(error.into())),
        }
    }

    /// The bytes of an entry of an index; they are still to be checked.
    fn listed(&self, entry: &Descriptor) -> Result<Vec<u8>, RegistryError> {
        entry.digest.verifiable().map_err(|error| RegistryError::Document {
            what: "index".to_owned(),
            source: error.into(),
        })?;
        match &entry.data {
            Some(data) => Ok(data.clone()),
            None => Ok(self.document(entry.digest.as_str())?.1),
        }
    }
}

/// A manifest as it came.
struct Found {
    media_type: String,
    bytes: Vec<u8>,
    manifest: Manifest,
}

/// What a registry says about a failure.
fn words(response: Response) -> String {
    let body = read_small(response, "answer", limits::SMALL).unwrap_or_default();
    let Ok(failures) = serde_json::from_slice::<Failures>(&body) else { return String::new() };
    let first = failures.errors.into_iter().next();
    first.and_then(|failure| failure.message.or(failure.code)).unwrap_or_default()
}

/// The blobs of a repository, each resumed where it breaks off.
struct Blobs(Arc<Repository>);

impl BlobSource for Blobs {
    fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send>, SourceError> {
        if let Some(data) = &blob.data {
            return Ok(Box::new(Cursor::new(data.clone())));
        }
        let resource =
            Blob { repository: Arc::clone(&self.0), path: format!("blobs/{}", blob.digest) };
        let response = resource.ask(0)?;
        if let Some(found) = response.length().filter(|found| *found != blob.size) {
            let digest = blob.digest.clone();
            return Err(RegistryError::Length { digest, wanted: blob.size, found }.into());
        }
        Ok(Box::new(Resuming::new(resource, response, 0, Some(blob.size))))
    }
}

struct Blob {
    repository: Arc<Repository>,
    path: String,
}

impl Blob {
    fn ask(&self, from: u64) -> Result<Response, RegistryError> {
        self.repository.get(&self.path, |request| {
            if from == 0 { request } else { request.header("range", format!("bytes={from}-")) }
        })
    }
}

impl Resource for Blob {
    fn get(&self, from: u64) -> Result<Response, Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.ask(from)?)
    }

    /// Its digest is compared in the end.
    fn same(&self, _response: &Response) -> bool {
        true
    }
}

impl Fetcher<'_> {
    /// An image in a registry.
    pub(super) fn docker(
        &self,
        image: &ImageRef,
        reference: &Reference,
    ) -> Result<ImageId, FetchError> {
        if let Some(id) = self.stored(image)? {
            return Ok(id);
        }
        if self.policy == PullPolicy::Never {
            return Err(FetchError::Unable(shown(image)));
        }
        if !self.insecure.image {
            return Err(FetchError::NoSignatures("docker"));
        }
        log::debug!(target: "image", "remote fetching from URL \"docker://{reference}\"");
        let repository = Arc::new(Repository::open(Client::new(self.insecure), reference)?);
        let found = repository.manifest(reference)?;
        let layers = Layers::new(self.progress, &found.manifest);
        let wanted = OciImage {
            manifest: found.bytes,
            media_type: found.media_type,
            registry: reference.api_host().to_owned(),
            repository: reference.repository().to_owned(),
            tag: match reference.digest() {
                Some(_) => None,
                None => reference.tag().map(str::to_owned),
            },
            original: Some(reference.to_string()),
        };
        let imported = self.store.import_oci(&Blobs(repository), &wanted, &layers);
        layers.finish();
        let id = imported?;
        if let Some(key) = remote_key(image) {
            let stored = SystemTime::now();
            let remote = Remote { image: id.clone(), etag: None, max_age: None, stored };
            self.store.set_remote(&key, &remote)?;
        }
        Ok(id)
    }
}
