//! Why a server did not give what was asked for.

use super::url::{BadUrl, Url};
use std::io;
use sys::path::Reason;
use ureq::Timeout;

/// A request that failed.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The server answered, but not with what was asked for.
    #[error("bad HTTP status code: {status}{detail}")]
    Status {
        /// What it answered.
        status: u16,
        /// Its own words, in parentheses.
        detail: String,
    },
    /// The server cannot be reached, or does not answer.
    #[error("Get {url:?}: {reason}")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// In the words of the system, or of TLS.
        reason: String,
    },
    /// Its certificate is not accepted.
    #[error("Get {url:?}: {reason} (try --insecure-options=tls)")]
    Certificate {
        /// What was asked for.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It answers, but not in TLS.
    #[error("Get {0:?}: the server does not speak TLS")]
    NotTls(String),
    /// The body stopped coming.
    #[error("Get {url:?}: {reason}")]
    Broken {
        /// What was asked for.
        url: String,
        /// How.
        reason: String,
    },
    /// The body comes far too slowly.
    #[error("Get {url:?}: the server sends less than {least} bytes in {seconds} s")]
    Slow {
        /// What was asked for.
        url: String,
        /// What must come.
        least: usize,
        /// In which time.
        seconds: u64,
    },
    /// More would come than is allowed.
    #[error("{what} is larger than {limit} bytes")]
    Large {
        /// What.
        what: &'static str,
        /// What is allowed.
        limit: u64,
    },
    /// It is not a URL that can be asked.
    #[error("bad URL")]
    Url(#[source] BadUrl),
    /// A redirect leads to something that is no web server.
    #[error("cannot follow a redirect: {0}")]
    Redirect(BadUrl),
    /// A redirect leads to a server that is not spoken to in secret.
    #[error("redirect to plain http is not allowed: {0} (try --insecure-options=http)")]
    Downgrade(String),
    /// A redirect leads to an address of this machine's own link.
    #[error("redirect to a link-local address is not allowed: {0}")]
    Confined(String),
    /// Redirects without end.
    #[error("stopped after {} redirects", crate::fetch::limits::REDIRECTS)]
    Redirects,
    /// Plain http was not allowed.
    #[error("plain http is not allowed: {0} (try --insecure-options=http)")]
    Plain(String),
    /// The proxy of the environment is not one.
    #[error("cannot use the proxy {0:?}")]
    Proxy(String),
    /// A range of bytes was asked for, and another came.
    #[error("Get {0:?}: the server answers with another range of bytes than was asked for")]
    Range(String),
    /// TLS cannot be set up.
    #[error("cannot speak TLS: {0}")]
    Tls(String),
    /// Another thread died.
    #[error("stopped")]
    Stopped,
}

impl HttpError {
    /// What went wrong before there was an answer.
    pub(super) fn of(url: &Url, error: ureq::Error) -> Self {
        let shown = url.to_string();
        match error {
            ureq::Error::Rustls(error) => Self::tls(shown, &error),
            ureq::Error::Io(error) => match tls_error(&error) {
                Some(cause) => Self::tls(shown, cause),
                None => Self::Unreachable { url: shown, reason: io_reason(&error) },
            },
            other => Self::Unreachable { url: shown, reason: reason(&other) },
        }
    }

    fn tls(url: String, error: &rustls::Error) -> Self {
        let reason = match error {
            _ if super::tls::is_authority(error) => {
                "the certificate is an authority's, and not itself trusted".to_owned()
            }
            other => other.to_string(),
        };
        if matches!(error, rustls::Error::InvalidCertificate(_)) {
            return Self::Certificate { url, reason };
        }
        if matches!(error, rustls::Error::InvalidMessage(_)) {
            return Self::NotTls(url);
        }
        Self::Unreachable { url, reason: format!("TLS: {reason}") }
    }

    /// What ended a body.
    pub(super) fn broken(url: &Url, error: io::Error) -> Self {
        let reason = match error.downcast::<ureq::Error>() {
            Ok(error) => reason(&error),
            Err(error) => io_reason(&error),
        };
        Self::Broken { url: url.to_string(), reason }
    }

    /// A status with what the server said about it, if that is anything.
    pub(crate) fn status(status: u16, words: &str) -> Self {
        const SHOWN: usize = 200;
        let words: String = words.trim().chars().take(SHOWN).collect();
        let detail = if words.is_empty() { words } else { format!(" ({words})") };
        Self::Status { status, detail }
    }
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref::<rustls::Error>()
}

fn io_reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        io::ErrorKind::UnexpectedEof => "the server closed the connection".to_owned(),
        _ => Reason(error).to_string(),
    }
}

fn reason(error: &ureq::Error) -> String {
    use crate::fetch::limits::{ANSWER, CONNECT, IDLE, RESOLVE};
    match error {
        ureq::Error::HostNotFound => "no such host".to_owned(),
        ureq::Error::Timeout(Timeout::Resolve) => {
            format!("no address was found in {} s", RESOLVE.as_secs())
        }
        ureq::Error::Timeout(Timeout::Connect) => {
            format!("no connection was made in {} s", CONNECT.as_secs())
        }
        ureq::Error::Timeout(Timeout::PerRead) => format!("nothing came for {} s", IDLE.as_secs()),
        ureq::Error::Timeout(_) => format!("no answer came in {} s", ANSWER.as_secs()),
        ureq::Error::Protocol(error) => format!("malformed answer: {error}"),
        ureq::Error::Io(error) => io_reason(error),
        other => other.to_string(),
    }
}
