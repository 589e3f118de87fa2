//! Reading members of a configuration, with an error that names the file and the member.
//!
//! `null` and the empty string are absent, as for the Go programs that share these files; unknown members are left alone,
//! whatever their type.

use crate::cidr::Cidr;
use appc::json::Json;
use std::fmt::Display;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// No list of a configuration is longer.
pub(crate) const LIST_LIMIT: usize = 1024;

/// A member of a configuration that has the wrong type or a value that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: bad {field}: {problem}", file.display())]
pub struct FieldError {
    /// The file it stands in.
    pub file: PathBuf,
    /// The member, after those it lies in: `ipam.subnet`.
    pub field: String,
    /// The rule it breaks.
    pub problem: String,
}

/// An object of a configuration, and where it stands.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    json: &'a Json,
    file: &'a Path,
    within: String,
}

impl<'a> Fields<'a> {
    /// The members of a whole document.
    pub fn new(json: &'a Json, file: &'a Path) -> Self {
        Self { json, file, within: String::new() }
    }

    /// The value as it stands.
    pub fn json(&self) -> &'a Json {
        self.json
    }

    /// The file.
    pub fn file(&self) -> &'a Path {
        self.file
    }

    /// The error of a member.
    pub fn bad(&self, key: &str, problem: impl Display) -> FieldError {
        FieldError {
            file: self.file.to_owned(),
            field: format!("{}{key}", self.within),
            problem: problem.to_string(),
        }
    }

    /// Text that is not empty.
    pub fn text(&self, key: &str) -> Result<Option<&'a str>, FieldError> {
        match self.json.get(key) {
            None => Ok(None),
            Some(Json::Text(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
            Some(_) => Err(self.bad(key, "must be a string")),
        }
    }

    /// Text that is not empty, as a value of its own.
    pub fn owned(&self, key: &str) -> Result<Option<String>, FieldError> {
        Ok(self.text(key)?.map(str::to_owned))
    }

    /// `true` or `false`.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, FieldError> {
        match self.json.get(key) {
            None => Ok(None),
            Some(Json::Bool(value)) => Ok(Some(*value)),
            Some(_) => Err(self.bad(key, "must be true or false")),
        }
    }

    /// Whether a member is `true`.
    pub fn is_set(&self, key: &str) -> Result<bool, FieldError> {
        Ok(self.flag(key)?.unwrap_or(false))
    }

    /// A number that fits.
    pub fn number<T: TryFrom<u64>>(&self, key: &str) -> Result<Option<T>, FieldError> {
        match self.json.get(key) {
            None => Ok(None),
            Some(Json::Number(value)) => {
                let fits = value.as_u64().and_then(|value| T::try_from(value).ok());
                fits.map(Some).ok_or_else(|| self.bad(key, "is out of range"))
            }
            Some(_) => Err(self.bad(key, "must be a number")),
        }
    }

    /// A number that says something only if it is not zero: a size, a rate.
    pub fn size<T: TryFrom<u64>>(&self, key: &str) -> Result<Option<T>, FieldError> {
        if self.number::<u64>(key)? == Some(0) { Ok(None) } else { self.number(key) }
    }

    /// A list, empty if there is none.
    pub fn list(&self, key: &str) -> Result<&'a [Json], FieldError> {
        match self.json.get(key) {
            None => Ok(&[]),
            Some(Json::List(values)) if values.len() > LIST_LIMIT => {
                Err(self.bad(key, "has too many elements"))
            }
            Some(Json::List(values)) => Ok(values),
            Some(_) => Err(self.bad(key, "must be a list")),
        }
    }

    /// A list of strings.
    pub fn texts(&self, key: &str) -> Result<Vec<String>, FieldError> {
        let text = |value: &Json| value.as_text().map(str::to_owned);
        let texts = self.list(key)?.iter().map(text);
        texts.collect::<Option<_>>().ok_or_else(|| self.bad(key, "must be a list of strings"))
    }

    /// A list of objects.
    pub fn objects(&self, key: &str) -> Result<Vec<Fields<'a>>, FieldError> {
        let inside = |(at, json): (usize, &'a Json)| match json {
            Json::Object(_) => Ok(self.inside(&format!("{key}[{at}]"), json)),
            _ => Err(self.bad(key, "must be a list of objects")),
        };
        self.list(key)?.iter().enumerate().map(inside).collect()
    }

    /// An object.
    pub fn object(&self, key: &str) -> Result<Option<Fields<'a>>, FieldError> {
        match self.json.get(key) {
            None => Ok(None),
            Some(json @ Json::Object(_)) => Ok(Some(self.inside(key, json))),
            Some(_) => Err(self.bad(key, "must be an object")),
        }
    }

    /// An object of strings: names and values as they stand, numbers in words.
    pub fn map(&self, key: &str) -> Result<Vec<(String, String)>, FieldError> {
        let Some(Fields { json: Json::Object(members), .. }) = self.object(key)? else {
            return Ok(Vec::new());
        };
        let member = |(name, value): &(String, Json)| match value {
            Json::Text(text) => Ok((name.clone(), text.clone())),
            _ => Err(self.bad(&format!("{key}.{name}"), "must be a string")),
        };
        members.iter().map(member).collect()
    }

    /// An address.
    pub fn address(&self, key: &str) -> Result<Option<IpAddr>, FieldError> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        let address =
            text.parse().map_err(|_| self.bad(key, format!("{text:?} is not an IP address")));
        address.map(Some)
    }

    /// An address with the length of a prefix.
    pub fn cidr(&self, key: &str) -> Result<Option<Cidr>, FieldError> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        Cidr::parse(text).map(Some).map_err(|error| self.bad(key, error))
    }

    /// One of these words, each with its meaning.
    pub fn word<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Result<Option<T>, FieldError> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        let found = words.iter().find(|(word, _)| *word == text);
        found.map(|(_, meaning)| Some(*meaning)).ok_or_else(|| {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.bad(key, format!("{text:?} is none of {}", known.join(", ")))
        })
    }

    /// A value within this one.
    #[must_use]
    pub fn inside(&self, name: &str, json: &'a Json) -> Fields<'a> {
        Fields { json, file: self.file, within: format!("{}{name}.", self.within) }
    }
}
