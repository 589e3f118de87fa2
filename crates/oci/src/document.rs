//! Documents from strangers: bounded before they are parsed, and read in one way only.

use appc::json::Json;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

/// No document is larger.
const SIZE_LIMIT: usize = 4 << 20;
/// No document is nested deeper.
const DEPTH_LIMIT: u32 = 64;
/// No document has more values: a parsed one takes fifty times the memory of its shortest text.
const VALUE_LIMIT: u32 = 1 << 17;

/// A document that cannot be accepted.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Larger than 4 MiB.
    #[error("document is larger than 4 MiB")]
    TooLarge,
    /// Nested too deeply.
    #[error("document is nested deeper than 64 levels")]
    TooDeep,
    /// Too many values, wherever they are.
    #[error("document has more than 131072 values")]
    TooMany,
    /// It is no JSON.
    #[error("document is not valid JSON")]
    Syntax(#[source] serde_json::Error),
    /// A key stands twice in one object.
    #[error("key {0:?} is given twice")]
    Repeated(String),
    /// A member has a key that some readers would take for another.
    #[error("key {found:?} must be spelt {wanted:?}")]
    Spelling {
        /// The key as it is.
        found: String,
        /// As it has to be.
        wanted: &'static str,
    },
    /// It has members of more than one kind of document.
    #[error("document could be read both as a manifest and as an index")]
    Ambiguous,
    /// It is of another type than was wanted or promised.
    #[error("document is of type {found:?}, which is not {wanted}")]
    Type {
        /// What was wanted.
        wanted: String,
        /// The type it has.
        found: String,
    },
    /// A manifest of the oldest kind.
    #[error("docker manifests of schema 1 are not supported")]
    Schema1,
    /// One member breaks a rule.
    #[error("bad {member}: {problem}")]
    Member {
        /// The member.
        member: String,
        /// The rule.
        problem: String,
    },
}

/// The error of one member.
pub(crate) fn bad(member: impl Into<String>, problem: impl Display) -> DocumentError {
    DocumentError::Member { member: member.into(), problem: problem.to_string() }
}

/// Parses a document whose objects have no key twice.
pub(crate) fn parse(bytes: &[u8]) -> Result<Json, DocumentError> {
    bounded(bytes)?;
    let json = Json::parse(bytes).map_err(DocumentError::Syntax)?;
    unique(&json)?;
    Ok(json)
}

/// Counts what a parser would build. Text that is no JSON may be counted wrongly: the parser refuses it.
fn bounded(bytes: &[u8]) -> Result<(), DocumentError> {
    if bytes.len() > SIZE_LIMIT {
        return Err(DocumentError::TooLarge);
    }
    let (mut depth, mut values) = (0_u32, 1_u32);
    let (mut quoted, mut escaped) = (false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'[' | b'{' => {
                depth = depth.saturating_add(1);
                values = values.saturating_add(1);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' => values = values.saturating_add(1),
            _ => {}
        }
        if depth > DEPTH_LIMIT {
            return Err(DocumentError::TooDeep);
        }
        if values > VALUE_LIMIT {
            return Err(DocumentError::TooMany);
        }
    }
    Ok(())
}

/// Recursion is bounded by [`DEPTH_LIMIT`].
fn unique(json: &Json) -> Result<(), DocumentError> {
    match json {
        Json::List(values) => values.iter().try_for_each(unique),
        Json::Object(members) => {
            let mut seen = BTreeSet::new();
            for (key, value) in members {
                if !seen.insert(key.as_str()) {
                    return Err(DocumentError::Repeated(key.clone()));
                }
                unique(value)?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The members of an object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Members<'a>(&'a [(String, Json)]);

impl<'a> Members<'a> {
    pub(crate) fn of(json: &'a Json, what: &str) -> Result<Self, DocumentError> {
        match json {
            Json::Object(members) => Ok(Self(members)),
            _ => Err(bad(what, "must be an object")),
        }
    }

    /// A member; `null` is absent. Readers that do not mind case must find the same one.
    pub(crate) fn get(self, key: &'static str) -> Result<Option<&'a Json>, DocumentError> {
        let mut found = None;
        for (name, value) in self.0 {
            if name == key {
                found = Some(value);
            } else if name.eq_ignore_ascii_case(key) {
                return Err(DocumentError::Spelling { found: name.clone(), wanted: key });
            }
        }
        Ok(found.filter(|value| **value != Json::Null))
    }

    /// Whether there is such a key in any case, whatever its value.
    pub(crate) fn has(self, key: &str) -> bool {
        self.0.iter().any(|(name, _)| name.eq_ignore_ascii_case(key))
    }

    pub(crate) fn required(self, key: &'static str) -> Result<&'a Json, DocumentError> {
        self.get(key)?.ok_or_else(|| bad(key, "is missing"))
    }

    pub(crate) fn text(self, key: &'static str) -> Result<Option<&'a str>, DocumentError> {
        self.get(key)?
            .map(|json| json.as_text().ok_or_else(|| bad(key, "must be text")))
            .transpose()
    }

    /// A text that may be absent, which is as good as empty.
    pub(crate) fn owned(self, key: &'static str) -> Result<String, DocumentError> {
        Ok(self.text(key)?.unwrap_or_default().to_owned())
    }

    pub(crate) fn list(self, key: &'static str) -> Result<&'a [Json], DocumentError> {
        match self.get(key)? {
            None => Ok(&[]),
            Some(Json::List(values)) => Ok(values),
            Some(_) => Err(bad(key, "must be a list")),
        }
    }

    pub(crate) fn texts(self, key: &'static str) -> Result<Vec<String>, DocumentError> {
        let text = |json: &Json| json.as_text().map(str::to_owned);
        let texts: Option<Vec<String>> = self.list(key)?.iter().map(text).collect();
        texts.ok_or_else(|| bad(key, "must be a list of texts"))
    }

    pub(crate) fn object(self, key: &'static str) -> Result<Option<Self>, DocumentError> {
        self.get(key)?.map(|json| Self::of(json, key)).transpose()
    }

    /// The keys of an object used as a set, sorted.
    pub(crate) fn keys(self, key: &'static str) -> Result<Vec<String>, DocumentError> {
        let members = self.object(key)?.map(|object| object.0).unwrap_or_default();
        let keys: BTreeSet<&String> = members.iter().map(|(name, _)| name).collect();
        Ok(keys.into_iter().cloned().collect())
    }

    pub(crate) fn map(self, key: &'static str) -> Result<BTreeMap<String, String>, DocumentError> {
        let members = self.object(key)?.map(|object| object.0).unwrap_or_default();
        let pair = |(name, value): &(String, Json)| {
            value.as_text().map(|text| (name.clone(), text.to_owned()))
        };
        let map: Option<BTreeMap<_, _>> = members.iter().map(pair).collect();
        map.ok_or_else(|| bad(key, "must map texts to texts"))
    }

    /// A whole number from zero to the largest of Go's.
    pub(crate) fn size(self, key: &'static str) -> Result<u64, DocumentError> {
        let found = match self.required(key)? {
            Json::Number(number) => number.as_u64().filter(|n| i64::try_from(*n).is_ok()),
            _ => None,
        };
        found.ok_or_else(|| bad(key, "must be a whole number that is not negative"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_come_before_the_parser() {
        let kind = |text: &str| match parse(text.as_bytes()) {
            Ok(_) => "fine",
            Err(DocumentError::TooLarge) => "large",
            Err(DocumentError::TooDeep) => "deep",
            Err(DocumentError::TooMany) => "many",
            Err(DocumentError::Syntax(_)) => "syntax",
            Err(DocumentError::Repeated(_)) => "repeated",
            Err(_) => "other",
        };
        let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
        for (text, wanted) in [
            (nested(64), "fine"),
            (nested(65), "deep"),
            (nested(100_000), "deep"),
            (format!("[{}0]", "0,".repeat(131_000)), "fine"),
            (format!("[{}0]", "0,".repeat(132_000)), "many"),
            (format!("[{}0]", "{},".repeat(132_000)), "many"),
            (format!("[\"{}\"]", ",[{\\\"".repeat(200_000)), "fine"),
            (format!("\"{}\"", "x".repeat(4 << 20)), "large"),
            (r#"{"a":1,"b":{"c":[{"x":1,"x":1}]}}"#.into(), "repeated"),
            (r#"{"a":1,"A":1}"#.into(), "fine"),
            (r#""\ud800""#.into(), "syntax"),
            (r#""\"[""#.into(), "fine"),
            ("1e999".into(), "syntax"),
            ("{} x".into(), "syntax"),
            ("\u{feff}{}".into(), "syntax"),
            (String::new(), "syntax"),
        ] {
            assert_eq!(kind(&text), wanted, "{}", text.get(..40).unwrap_or(&text));
        }
        assert!(matches!(parse(b"\"\xff\""), Err(DocumentError::Syntax(_))));
    }

    #[test]
    fn members_have_one_reading() {
        let json = parse(br#"{"layers":null,"Config":1,"size":-1,"big":18446744073709551615}"#);
        let json = json.unwrap();
        let members = Members::of(&json, "document").unwrap();
        assert!(members.get("layers").unwrap().is_none());
        assert!(members.has("LAYERS") && !members.has("layer"));
        assert!(matches!(members.get("config"), Err(DocumentError::Spelling { .. })));
        for key in ["size", "big", "none", "layers"] {
            members.size(key).unwrap_err();
        }
    }
}
