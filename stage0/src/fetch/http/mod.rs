//! One GET: where it may lead, how long it may take, and what its failure is in one sentence.
//!
//! Redirects are followed here and not by the library, since they decide what may be seen: no way from https to http
//! unless plain http was allowed, no credentials for another server, no address that only this machine can reach.

mod body;
mod error;
mod proxy;
mod resume;
mod tls;
mod url;

pub(crate) use body::read_small;
pub use error::HttpError;
pub(crate) use resume::{Resource, Resuming, content_range};
pub use url::BadUrl;
pub(crate) use url::{Url, escape};

use super::limits;
use crate::insecure::Insecure;
use body::Paced;
use proxy::Proxies;
use std::io::Read;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tls::Tls;
use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{
    ConnectProxyConnector, Connector as _, SocksConnector, TcpConnector,
};

/// What tells agents apart: whether they speak TLS, in a hurry, and through which proxy.
type Kind = (bool, bool, Option<String>);

/// Sends requests, over connections that are used again.
#[derive(Debug)]
pub(crate) struct Client {
    insecure: Insecure,
    proxies: Proxies,
    agents: Mutex<Vec<(Kind, Agent)>>,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) url: Url,
    pub(crate) headers: Vec<(&'static str, String)>,
    /// For this server alone.
    pub(crate) authorization: Option<String>,
    /// A server that does not speak TLS must be seen soon.
    pub(crate) hasty: bool,
}

impl Request {
    pub(crate) fn new(url: Url) -> Self {
        Self { url, headers: Vec::new(), authorization: None, hasty: false }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// The head of an answer, and its body still to be read.
pub(crate) struct Response {
    pub(crate) url: Url,
    pub(crate) status: u16,
    inner: ureq::http::Response<ureq::Body>,
}

impl Response {
    /// The first header of this name, if it is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.inner.headers().get(name).and_then(|value| value.to_str().ok())
    }

    /// All headers of this name.
    pub(crate) fn headers(&self, name: &str) -> Vec<String> {
        let values = self.inner.headers().get_all(name).iter();
        values.filter_map(|value| value.to_str().ok()).map(str::to_owned).collect()
    }

    /// How long the body will be, if the server says so.
    pub(crate) fn length(&self) -> Option<u64> {
        self.header("content-length").and_then(|text| text.parse().ok())
    }

    /// The body, which fails where it stops coming.
    pub(crate) fn into_body(self) -> impl Read + Send + use<> {
        Paced::new(self.inner.into_body().into_reader(), self.url)
    }

    /// The answer, if it is a good one.
    pub(crate) fn good(self) -> Result<Self, HttpError> {
        match self.status {
            200..=299 => Ok(self),
            status => Err(HttpError::Status { status, detail: String::new() }),
        }
    }
}

impl Client {
    pub(crate) fn new(insecure: Insecure) -> Self {
        Self { insecure, proxies: Proxies::from_env(), agents: Mutex::new(Vec::new()) }
    }

    /// Whether plain http may be spoken.
    pub(crate) fn may_be_plain(&self) -> bool {
        self.insecure.http
    }

    /// Sends a request and whatever it is redirected to; statuses other than redirects are for the caller.
    pub(crate) fn get(&self, request: &Request) -> Result<Response, HttpError> {
        let mut url = request.url.clone();
        if !url.https && !self.insecure.http {
            return Err(HttpError::Plain(url.to_string()));
        }
        for _ in 0..=limits::REDIRECTS {
            let response = self.send_patiently(request, &url)?;
            if !matches!(response.status, 301 | 302 | 303 | 307 | 308) {
                return Ok(response);
            }
            let Some(location) = response.header("location") else { return Ok(response) };
            let next = url.join(location).map_err(HttpError::Redirect)?;
            self.check_redirect(&url, &next)?;
            url = next;
        }
        Err(HttpError::Redirects)
    }

    fn check_redirect(&self, from: &Url, to: &Url) -> Result<(), HttpError> {
        if !to.https && !self.insecure.http {
            return Err(HttpError::Downgrade(to.to_string()));
        }
        let confined = |url: &Url| match url.address().map(|ip| ip.to_canonical()) {
            Some(IpAddr::V4(ip)) => ip.is_link_local() || ip.is_unspecified(),
            Some(IpAddr::V6(ip)) => ip.is_unicast_link_local() || ip.is_unspecified(),
            None => false,
        };
        // There is where clouds tell a machine its secrets.
        if confined(to) && !confined(from) {
            return Err(HttpError::Confined(to.to_string()));
        }
        Ok(())
    }

    /// Sends one request, again if the server is busy.
    fn send_patiently(&self, request: &Request, url: &Url) -> Result<Response, HttpError> {
        let (mut tries, mut waited) = (1, Duration::ZERO);
        loop {
            let response = self.send(request, url)?;
            if !matches!(response.status, 429 | 502 | 503 | 504) || tries >= limits::BUSY_TRIES {
                return Ok(response);
            }
            let asked = response.header("retry-after").and_then(retry_after);
            let wait = asked.unwrap_or(Duration::from_secs(1) * (1 << (tries - 1)));
            waited = waited.saturating_add(wait);
            if waited > limits::BUSY_WAIT {
                return Ok(response);
            }
            log::debug!(target: "image", "{url} is busy, waiting for {} s", wait.as_secs());
            drop(response);
            pause(wait);
            tries += 1;
        }
    }

    fn send(&self, request: &Request, url: &Url) -> Result<Response, HttpError> {
        let agent = self.agent(url, request.hasty)?;
        let mut call = agent.get(url.whole());
        for (name, value) in &request.headers {
            call = call.header(*name, value);
        }
        if let Some(authorization) = &request.authorization
            && url.same_origin(&request.url)
        {
            call = call.header("authorization", authorization);
        }
        let inner = call.call().map_err(|error| HttpError::of(url, error))?;
        Ok(Response { url: url.clone(), status: inner.status().as_u16(), inner })
    }

    fn agent(&self, url: &Url, hasty: bool) -> Result<Agent, HttpError> {
        let kind = (url.https, hasty, self.proxies.choose(url));
        let Ok(mut agents) = self.agents.lock() else { return Err(HttpError::Stopped) };
        if let Some((_, agent)) = agents.iter().find(|(known, _)| *known == kind) {
            return Ok(agent.clone());
        }
        let agent = self.new_agent(&kind)?;
        agents.push((kind, agent.clone()));
        Ok(agent)
    }

    fn new_agent(&self, (https, hasty, proxy): &Kind) -> Result<Agent, HttpError> {
        let proxy = match proxy {
            Some(text) => Some(ureq::Proxy::new(text).map_err(|_| HttpError::Proxy(text.clone()))?),
            None => None,
        };
        let connect = if *hasty { limits::PROBE } else { limits::CONNECT };
        let config = Agent::config_builder()
            .proxy(proxy)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(format!("rkt/{}", crate::VERSION))
            .accept("*/*")
            .timeout_resolve(Some(limits::RESOLVE))
            .timeout_connect(Some(connect))
            .timeout_send_request(Some(limits::ANSWER))
            .timeout_recv_response(Some(if *hasty { limits::PROBE } else { limits::ANSWER }))
            .timeout_per_read(Some(limits::IDLE))
            .input_buffer_size(128 << 10);
        if !https {
            return Ok(config.build().new_agent());
        }
        if self.insecure.tls {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let tls = TlsConfig::builder()
                .unversioned_rustls_crypto_provider(provider)
                .root_certs(RootCerts::new_with_certs(&[]))
                .disable_verification(true)
                .build();
            return Ok(config.tls_config(tls).build().new_agent());
        }
        let tls = Tls::new().map_err(|error| HttpError::Tls(error.to_string()))?;
        let connector =
            ().chain(SocksConnector::default())
                .chain(ConnectProxyConnector::default())
                .chain(TcpConnector::default())
                .chain(tls);
        Ok(Agent::with_parts(config.build(), connector, DefaultResolver::default()))
    }
}

/// Waits because a server asked for it.
pub(super) fn pause(time: Duration) {
    #[expect(
        clippy::disallowed_methods,
        reason = "nothing here tells when a server has time again"
    )]
    std::thread::sleep(time);
}

/// `Retry-After`: seconds, or a date.
fn retry_after(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let then = jiff::fmt::rfc2822::parse(text.trim()).ok()?.timestamp();
    let wait = then.duration_since(jiff::Timestamp::now());
    Some(Duration::try_from(wait).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_how_long_to_wait() {
        assert_eq!(retry_after(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        let later = retry_after("Fri, 06 Nov 2099 08:49:37 GMT").unwrap();
        assert!(later > limits::BUSY_WAIT);
        assert_eq!(retry_after("soon"), None);
    }

    #[test]
    fn redirects_lead_only_where_they_may() {
        let url = |text| Url::parse(text).unwrap();
        let careful = Client::new(Insecure::default());
        let careless = Client::new(Insecure { http: true, ..Insecure::default() });
        for (from, to, may, may_be_plain) in [
            ("https://a/", "https://b/", true, true),
            ("https://a/", "http://a/", false, true),
            ("https://a/", "https://169.254.169.254/", false, false),
            ("https://a/", "https://[fe80::1]/", false, false),
            ("https://a/", "https://[::ffff:169.254.1.1]/", false, false),
            ("https://a/", "https://0.0.0.0/", false, false),
            ("https://169.254.1.1/", "https://169.254.1.2/", true, true),
        ] {
            let (from, to) = (url(from), url(to));
            assert_eq!(careful.check_redirect(&from, &to).is_ok(), may, "{to}");
            assert_eq!(careless.check_redirect(&from, &to).is_ok(), may_be_plain, "{to}");
        }
    }
}
