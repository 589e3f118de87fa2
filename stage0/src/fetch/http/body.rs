//! Bodies of answers: as fast as is bearable, as long as is allowed.

use super::error::HttpError;
use super::url::Url;
use crate::fetch::limits;
use std::io::{self, Read};
use std::time::{Duration, Instant};

/// A body that fails when it comes too slowly. Only the time spent waiting for it counts.
pub(super) struct Paced<R> {
    inner: R,
    url: Url,
    waited: Duration,
    came: usize,
    window: Duration,
    least: usize,
}

impl<R: Read> Paced<R> {
    pub(super) fn new(inner: R, url: Url) -> Self {
        Self {
            inner,
            url,
            waited: Duration::ZERO,
            came: 0,
            window: limits::WINDOW,
            least: limits::LEAST,
        }
    }
}

impl<R: Read> Read for Paced<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let start = Instant::now();
        let read = self.inner.read(buffer);
        self.waited = self.waited.saturating_add(start.elapsed());
        let length = read.map_err(|error| {
            let error = HttpError::broken(&self.url, error);
            io::Error::other(error)
        })?;
        self.came = self.came.saturating_add(length);
        if length > 0 && self.waited >= self.window {
            if self.came < self.least {
                let (url, least) = (self.url.to_string(), self.least);
                let seconds = self.window.as_secs();
                return Err(io::Error::other(HttpError::Slow { url, least, seconds }));
            }
            (self.waited, self.came) = (Duration::ZERO, 0);
        }
        Ok(length)
    }
}

/// Reads a body of which little is expected.
pub(crate) fn read_small(
    response: super::Response,
    what: &'static str,
    limit: u64,
) -> Result<Vec<u8>, HttpError> {
    let large = || HttpError::Large { what, limit };
    if response.length().is_some_and(|length| length > limit) {
        return Err(large());
    }
    let url = response.url.clone();
    let mut bytes = Vec::new();
    let mut body = response.into_body().take(limit.saturating_add(1));
    body.read_to_end(&mut bytes).map_err(|error| match error.downcast::<HttpError>() {
        Ok(error) => error,
        Err(error) => HttpError::broken(&url, error),
    })?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit {
        return Err(large());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits a little for each byte.
    struct Drip(Duration);

    impl Read for Drip {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            super::super::pause(self.0);
            buffer.fill(0);
            Ok(buffer.len())
        }
    }

    fn paced(delay: u64, least: usize) -> Paced<Drip> {
        let url = Url::parse("http://h/").unwrap();
        let window = Duration::from_millis(50);
        Paced { window, least, ..Paced::new(Drip(Duration::from_millis(delay)), url) }
    }

    #[test]
    fn a_drip_is_no_stream() {
        let mut byte = [0];
        let mut slow = paced(20, 10);
        let error = loop {
            if let Err(error) = slow.read(&mut byte) {
                break error;
            }
        };
        assert!(error.to_string().contains("less than 10 bytes"), "{error}");
        // As few reads, but each of them brings enough.
        let (mut well, mut more) = (paced(20, 10), [0; 100]);
        for _ in 0..10 {
            assert_eq!(well.read(&mut more).unwrap(), 100);
        }
    }
}
