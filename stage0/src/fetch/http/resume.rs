//! A transfer that is taken up again where it broke off.

use super::{HttpError, Response};
use crate::fetch::limits;
use std::io::{self, Read};

/// Something that can be asked for again, from any byte on.
pub(crate) trait Resource: Send {
    /// Asks for all bytes from this one on. The answer has a good status.
    fn get(&self, from: u64) -> Result<Response, Box<dyn std::error::Error + Send + Sync>>;

    /// Whether the bytes that come now belong to those that came before.
    fn same(&self, response: &Response) -> bool;
}

/// The bytes of a resource, from its first to its last. Each new attempt must get further than the one before.
pub(crate) struct Resuming<R> {
    resource: R,
    body: Box<dyn Read + Send>,
    url: String,
    /// How many bytes there are, if that is known.
    size: Option<u64>,
    at: u64,
    attempts: u32,
    /// Where the last attempt began.
    mark: u64,
    /// How it ended. Whoever asks once more need not wait for it once more.
    failed: Option<String>,
}

impl<R: Resource> Resuming<R> {
    /// Goes on with an answer that begins at this byte of the resource, which has so many.
    pub(crate) fn new(resource: R, response: Response, at: u64, size: Option<u64>) -> Self {
        let url = response.url.to_string();
        let body = Box::new(response.into_body());
        Self { resource, body, url, size, at, attempts: 0, mark: at, failed: None }
    }

    /// Goes on after an interruption, unless that is hopeless.
    fn resume(&mut self, cause: io::Error) -> io::Result<()> {
        let slow = cause.get_ref().and_then(|error| error.downcast_ref::<HttpError>());
        let slow = matches!(slow, Some(HttpError::Slow { .. }));
        if slow || self.attempts >= limits::RESUMES || self.at <= self.mark {
            return Err(cause);
        }
        self.attempts = self.attempts.saturating_add(1);
        self.mark = self.at;
        log::debug!(target: "image", "{cause}; going on after {} bytes", self.at);
        let response = self.resource.get(self.at).map_err(io::Error::other)?;
        if !self.resource.same(&response) {
            return Err(cause);
        }
        let skip = if response.status == 206 {
            let range = content_range(&response);
            let fits = range.is_some_and(|(first, total)| {
                first == self.at && self.size.zip(total).is_none_or(|(size, total)| size == total)
            });
            if !fits {
                return Err(io::Error::other(HttpError::Range(self.url.clone())));
            }
            0
        } else {
            self.at
        };
        let mut body: Box<dyn Read + Send> = Box::new(response.into_body());
        let skipped = io::copy(&mut body.by_ref().take(skip), &mut io::sink())?;
        if skipped < skip {
            return Err(cause);
        }
        self.body = body;
        Ok(())
    }

    fn cut(&self) -> io::Error {
        let size = self.size.map(|size| format!(" of {size}")).unwrap_or_default();
        let reason = format!("the transfer ended after {}{size} bytes", self.at);
        io::Error::other(HttpError::Broken { url: self.url.clone(), reason })
    }
}

impl<R: Resource> Read for Resuming<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if let Some(reason) = &self.failed {
            return Err(io::Error::other(reason.clone()));
        }
        loop {
            let cause = match self.body.read(buffer) {
                Ok(0) if self.size.is_none_or(|size| self.at >= size) => return Ok(0),
                Ok(0) => self.cut(),
                Ok(length) => {
                    self.at = self.at.saturating_add(u64::try_from(length).unwrap_or_default());
                    return Ok(length);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            if let Err(error) = self.resume(cause) {
                self.failed = Some(error.to_string());
                return Err(error);
            }
        }
    }
}

/// The first byte of a part, and how long the whole is, if the answer says that well.
pub(crate) fn content_range(response: &Response) -> Option<(u64, Option<u64>)> {
    read_range(response.header("content-range")?)
}

/// `bytes FIRST-LAST/TOTAL`, where the total may be unknown.
fn read_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes")?.trim().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let total = match total.trim() {
        "*" => None,
        total => Some(total.parse().ok()?),
    };
    (first <= last).then_some((first, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_ranges() {
        for (text, range) in [
            ("bytes 5-9/10", Some((5, Some(10)))),
            ("bytes 0-0/*", Some((0, None))),
            ("bytes 9-5/10", None),
            ("bytes */10", None),
            ("items 5-9/10", None),
            ("bytes 5-9", None),
            ("", None),
        ] {
            assert_eq!(read_range(text), range, "{text}");
        }
    }
}
