//! Tokens for those who have no name: registries that let everybody in still want to see one.

use super::RegistryError;
use super::challenge::{Challenge, parse};
use crate::fetch::http::{Client, Request, Response, Url, escape, read_small};
use crate::fetch::limits;
use serde::Deserialize;
use std::sync::Mutex;

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
}

/// The token for one repository of one registry; all threads share it.
#[derive(Debug, Default)]
pub(super) struct Token(Mutex<Option<String>>);

impl Token {
    /// The `Authorization` header to send, if one is known to be needed.
    pub(super) fn current(&self) -> Option<String> {
        self.0.lock().ok().and_then(|token| token.clone())
    }

    /// Gets a new one, since `used` was refused; unless another thread just did.
    pub(super) fn renew(
        &self,
        client: &Client,
        refused: &Response,
        repository: &str,
        used: Option<&str>,
    ) -> Result<String, RegistryError> {
        let Ok(mut token) = self.0.lock() else { return Err(RegistryError::Stopped) };
        if let Some(current) = token.as_deref()
            && used != Some(current)
        {
            return Ok(current.to_owned());
        }
        let host = refused.url.authority();
        let headers = refused.headers("www-authenticate");
        let challenges: Vec<Challenge> = headers.iter().flat_map(|header| parse(header)).collect();
        let Some(bearer) = challenges.iter().find(|challenge| challenge.scheme == "bearer") else {
            return Err(if challenges.iter().any(|challenge| challenge.scheme == "basic") {
                RegistryError::Password(host)
            } else {
                RegistryError::Challenge(host)
            });
        };
        let fresh = ask(client, bearer, repository, &refused.url)?;
        let fresh = format!("Bearer {fresh}");
        *token = Some(fresh.clone());
        Ok(fresh)
    }
}

fn ask(
    client: &Client,
    bearer: &Challenge,
    repository: &str,
    from: &Url,
) -> Result<String, RegistryError> {
    let bad = || RegistryError::Challenge(from.authority());
    let realm = bearer.param("realm").ok_or_else(bad)?;
    let mut text = Url::parse(realm).map_err(|_| bad())?.whole();
    let mut add = |name: &str, value: &str| {
        text.push(if text.contains('?') { '&' } else { '?' });
        text.push_str(name);
        text.push('=');
        text.push_str(&escape(value));
    };
    if let Some(service) = bearer.param("service") {
        add("service", service);
    }
    let mut scoped = false;
    for scope in bearer.params("scope") {
        add("scope", scope);
        scoped = true;
    }
    if !scoped {
        add("scope", &format!("repository:{repository}:pull"));
    }
    let url = Url::parse(&text).map_err(|_| bad())?;
    let response = client.get(&Request::new(url))?;
    let response = match response.status {
        401 | 403 => return Err(RegistryError::Denied(repository.to_owned())),
        _ => response.good()?,
    };
    let body = read_small(response, "token", limits::SMALL)?;
    let answer: Answer = serde_json::from_slice(&body).map_err(|_| RegistryError::Token)?;
    let token = answer.token.filter(|token| !token.is_empty()).or(answer.access_token);
    token
        .filter(|token| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()))
        .ok_or(RegistryError::Token)
}
