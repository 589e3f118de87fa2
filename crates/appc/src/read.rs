//! Reading members of a manifest, with an error that names the member.

use crate::json::Json;
use crate::name::{AcIdentifier, AcName, BadName};
use std::collections::BTreeMap;
use std::fmt::Display;

/// No manifest is larger.
pub(crate) const SIZE_LIMIT: usize = 4 << 20;

/// A manifest that cannot be accepted.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Larger than 4 MiB.
    #[error("manifest is larger than 4 MiB")]
    TooLarge,
    /// It is no JSON, or nested too deeply.
    #[error("manifest is not valid JSON")]
    Syntax(#[source] serde_json::Error),
    /// It is a manifest of another kind, or none.
    #[error("bad ACKind: {found:?} instead of {wanted:?}")]
    Kind {
        /// The kind that was asked for.
        wanted: &'static str,
        /// The kind it has.
        found: String,
    },
    /// One member breaks a rule.
    #[error("bad {member}: {problem}")]
    Member {
        /// The member.
        member: String,
        /// The rule.
        problem: String,
    },
    /// An operating system or architecture that nobody knows.
    #[error("bad {label} {value:?} (must be one of: {known})")]
    Platform {
        /// `os` or `arch`.
        label: &'static str,
        /// What it says.
        value: String,
        /// What it may say.
        known: String,
    },
}

/// The error of one member.
pub(crate) fn bad(member: impl Into<String>, problem: impl Display) -> ManifestError {
    ManifestError::Member { member: member.into(), problem: problem.to_string() }
}

/// Parses a whole document of one kind, and checks its `acVersion`.
pub(crate) fn document(bytes: &[u8], wanted: &'static str) -> Result<Json, ManifestError> {
    if bytes.len() > SIZE_LIMIT {
        return Err(ManifestError::TooLarge);
    }
    let json = Json::parse(bytes).map_err(ManifestError::Syntax)?;
    let found = text(&json, "acKind")?.unwrap_or_default();
    if found == wanted {
        Ok(json)
    } else {
        Err(ManifestError::Kind { wanted, found: found.to_owned() })
    }
}

pub(crate) fn text<'a>(json: &'a Json, key: &str) -> Result<Option<&'a str>, ManifestError> {
    match json.get(key) {
        None => Ok(None),
        Some(Json::Text(text)) => Ok(Some(text)),
        Some(_) => Err(bad(key, "must be a string")),
    }
}

pub(crate) fn owned(json: &Json, key: &str) -> Result<String, ManifestError> {
    Ok(text(json, key)?.unwrap_or_default().to_owned())
}

pub(crate) fn list<'a>(json: &'a Json, key: &str) -> Result<&'a [Json], ManifestError> {
    match json.get(key) {
        None => Ok(&[]),
        Some(Json::List(values)) => Ok(values),
        Some(_) => Err(bad(key, "must be a list")),
    }
}

pub(crate) fn texts(json: &Json, key: &str) -> Result<Vec<String>, ManifestError> {
    let strings = list(json, key)?.iter().map(|value| match value {
        Json::Text(text) => Ok(text.clone()),
        Json::Null => Ok(String::new()),
        _ => Err(bad(key, "must be a list of strings")),
    });
    strings.collect()
}

pub(crate) fn flag(json: &Json, key: &str) -> Result<Option<bool>, ManifestError> {
    match json.get(key) {
        None => Ok(None),
        Some(Json::Bool(value)) => Ok(Some(*value)),
        Some(_) => Err(bad(key, "must be true or false")),
    }
}

pub(crate) fn number(json: &Json, key: &str) -> Result<Option<i64>, ManifestError> {
    match json.get(key) {
        None => Ok(None),
        Some(Json::Number(value)) => {
            value.as_i64().map(Some).ok_or_else(|| bad(key, "must be an integer"))
        }
        Some(_) => Err(bad(key, "must be a number")),
    }
}

pub(crate) fn object<'a>(json: &'a Json, what: &str) -> Result<&'a Json, ManifestError> {
    if matches!(json, Json::Object(_)) { Ok(json) } else { Err(bad(what, "must be an object")) }
}

pub(crate) fn map(json: &Json, key: &str) -> Result<BTreeMap<String, String>, ManifestError> {
    match json.get(key) {
        None => Ok(BTreeMap::new()),
        Some(Json::Object(members)) => members
            .iter()
            .map(|(name, value)| match value {
                Json::Text(text) => Ok((name.clone(), text.clone())),
                _ => Err(bad(key, "must map strings to strings")),
            })
            .collect(),
        Some(_) => Err(bad(key, "must be an object")),
    }
}

pub(crate) fn ac_name(json: &Json, key: &str) -> Result<AcName, ManifestError> {
    AcName::parse(text(json, key)?.unwrap_or_default()).map_err(|e: BadName| bad(key, e))
}

pub(crate) fn identifier(json: &Json, key: &str) -> Result<AcIdentifier, ManifestError> {
    AcIdentifier::parse(text(json, key)?.unwrap_or_default()).map_err(|e: BadName| bad(key, e))
}

/// A required semantic version other than 0.0.0.
pub(crate) fn version(json: &Json) -> Result<String, ManifestError> {
    let found = text(json, "acVersion")?.unwrap_or_default();
    let (core, meta) = found.split_once('+').map_or((found, None), |(a, b)| (a, Some(b)));
    let (core, pre) = core.split_once('-').map_or((core, None), |(a, b)| (a, Some(b)));
    let parts: Vec<&str> = core.split('.').collect();
    let numeric = |p: &&str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit());
    let tail = |t: Option<&str>| {
        t.is_none_or(|t| {
            !t.is_empty() && t.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-')
        })
    };
    let zero = pre.is_none()
        && meta.is_none()
        && parts.iter().all(|p| p.trim_start_matches('0').is_empty());
    if parts.len() == 3 && parts.iter().all(numeric) && tail(pre) && tail(meta) && !zero {
        Ok(found.to_owned())
    } else {
        Err(bad("acVersion", format!("{found:?} is not a semantic version")))
    }
}
