//! App Container Images behind URLs, with what the server says about keeping them.

use super::http::{Client, HttpError, Request, Resource, Response, Resuming, Url, read_small};
use super::partial::{Partial, State};
use super::{FetchError, Fetcher, Progress, PullPolicy, file, limits, shown};
use crate::image_ref::ImageRef;
use crate::store::{AciOrigin, ImportError, Remote, SourceError};
use appc::ImageId;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

impl Fetcher<'_> {
    /// An ACI behind a URL.
    pub(super) fn url(
        &self,
        image: &ImageRef,
        text: &str,
        signature: Option<&Path>,
    ) -> Result<ImageId, FetchError> {
        if let Some(id) = self.stored(image)? {
            return Ok(id);
        }
        if self.policy == PullPolicy::Never {
            return Err(FetchError::Unable(shown(image)));
        }
        let url = Url::parse(text).map_err(HttpError::Url)?;
        let client = Arc::new(Client::new(self.insecure));
        log::debug!(target: "image", "remote fetching from URL {text:?}");
        if !self.insecure.image {
            return Err(refuse_unsigned(&client, &url, signature));
        }
        let begun = SystemTime::now();
        let _lock = self.store.download_lock(text)?;
        let known = self.store.remote(text)?;
        if let Some(known) = &known
            && (known.stored >= begun || is_fresh(known))
        {
            return Ok(known.image.clone());
        }
        log::debug!(target: "image", "fetching image from {text}");
        let mut request = Request::new(url);
        if let Some(etag) = known.as_ref().and_then(|known| known.etag.clone()) {
            request = request.header("if-none-match", etag);
        }
        let partial = Partial::find(self.store, text);
        let mut response = client.get(&match &partial {
            Some(partial) => ranged(request.clone(), partial.length, &partial.state),
            None => request.clone(),
        })?;
        if response.status == 416 {
            response = client.get(&request)?;
        }
        let etag = response.header("etag").map(str::to_owned);
        let max_age = response.header("cache-control").and_then(max_age);
        let (image, etag) = match known {
            Some(known) if response.status == 304 => (known.image, etag.or(known.etag)),
            _ => {
                let response = response.good()?;
                let modified = response.header("last-modified");
                let state = State::new(response.header("etag"), modified);
                let partial = match partial.filter(|partial| partial.fits(&response)) {
                    Some(partial) => partial,
                    None if response.status == 206 => {
                        return Err(HttpError::Range(response.url.to_string()).into());
                    }
                    None => Partial::begin(self.store, text, state)?,
                };
                let state = partial.state.clone();
                let archive = Archive { client, url: request.url, state };
                (self.download(archive, partial, text, response)?, etag)
            }
        };
        let remote = Remote { image, etag, max_age, stored: begun };
        self.store.set_remote(text, &remote)?;
        Ok(remote.image)
    }

    fn download(
        &self,
        archive: Archive,
        mut partial: Partial<'_>,
        text: &str,
        response: Response,
    ) -> Result<ImageId, FetchError> {
        let from = partial.length;
        let total = response.length().map(|length| length.saturating_add(from));
        if total.is_some_and(|total| total > limits::ACI) {
            partial.discard();
            return Err(HttpError::Large { what: "image", limit: limits::ACI }.into());
        }
        self.progress.begin("ACI", total);
        let body = Resuming::new(archive, response, from, total);
        let mut body = partial.read_on(body).map_err(ImportError::Read)?;
        let told = Told { body: &mut body, progress: self.progress, bytes: 0, total };
        let imported = self.store.import_aci(told, &AciOrigin { source: text.to_owned() });
        self.progress.end();
        if imported.is_ok() || !body.broken || partial.state.validator().is_none() {
            partial.discard();
        }
        Ok(imported?)
    }
}

/// Asks for what is still missing, or for all if it is not of the same state any more.
fn ranged(request: Request, from: u64, state: &State) -> Request {
    match state.validator() {
        Some(validator) => {
            request.header("range", format!("bytes={from}-")).header("if-range", validator)
        }
        None => request,
    }
}

/// Why an image is not even fetched: what is wrong with its signature, or that there is one.
fn refuse_unsigned(client: &Client, image: &Url, signature: Option<&Path>) -> FetchError {
    if let Some(path) = signature {
        return match file::open(path) {
            Ok(_) => FetchError::Signature,
            Err(error) => FetchError::Unsigned(error),
        };
    }
    let mut url = image.clone();
    let end = url.path.find('?').unwrap_or(url.path.len());
    url.path.insert_str(end, ".asc");
    let asked = client.get(&Request::new(url)).and_then(Response::good);
    match asked.and_then(|response| read_small(response, "signature", limits::DOCUMENT)) {
        Ok(_) => FetchError::Signature,
        Err(error) => error.into(),
    }
}

/// Whether the server said that it need not be asked yet.
fn is_fresh(known: &Remote) -> bool {
    let age = known.stored.elapsed();
    known.max_age.zip(age.ok()).is_some_and(|(most, age)| age < Duration::from_secs(most))
}

/// For how long an answer may be kept.
fn max_age(header: &str) -> Option<u64> {
    let mut words = header.split(',').map(|word| word.trim().to_ascii_lowercase());
    if words.clone().any(|word| matches!(word.as_str(), "no-store" | "no-cache")) {
        return None;
    }
    words.find_map(|word| word.strip_prefix("max-age=")?.trim_matches('"').parse().ok())
}

/// An archive on a server.
struct Archive {
    client: Arc<Client>,
    url: Url,
    state: State,
}

impl Resource for Archive {
    fn get(&self, from: u64) -> Result<Response, SourceError> {
        let request = ranged(Request::new(self.url.clone()), from, &self.state);
        Ok(self.client.get(&request)?.good()?)
    }

    fn same(&self, response: &Response) -> bool {
        let state = State::new(response.header("etag"), response.header("last-modified"));
        self.state.validator().is_some() && state == self.state
    }
}

/// A body that is told about while it is read, and is no longer than an image may be.
struct Told<'p, R> {
    body: R,
    progress: &'p dyn Progress,
    bytes: u64,
    total: Option<u64>,
}

impl<R: Read> Read for Told<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.body.read(buffer)?;
        self.bytes = self.bytes.saturating_add(u64::try_from(length).unwrap_or_default());
        if self.bytes > limits::ACI {
            let error = HttpError::Large { what: "image", limit: limits::ACI };
            return Err(io::Error::other(error));
        }
        self.progress.at(self.bytes, self.total);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_how_long_an_answer_may_be_kept() {
        for (header, seconds) in [
            ("max-age=60", Some(60)),
            ("public, Max-Age=\"60\"", Some(60)),
            ("max-age=60, no-cache", None),
            ("no-store", None),
            ("max-age=-1", None),
            ("s-maxage=60", None),
            ("", None),
        ] {
            assert_eq!(max_age(header), seconds, "{header}");
        }
    }
}
