//! AC identifiers and AC names: the two alphabets of appc.

use std::fmt;

/// Text that is no name of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// Nothing there, or nothing left of it.
    #[error("{0} cannot be empty")]
    Empty(&'static str),
    /// A character outside the alphabet.
    #[error("{kind} must contain only lower case alphanumeric characters plus {others}")]
    Letters {
        /// The kind of name.
        kind: &'static str,
        /// What may stand between letters and digits.
        others: &'static str,
    },
    /// It begins or ends with a separator.
    #[error("{0} must start and end with only lower case alphanumeric characters")]
    Ends(&'static str),
}

fn alphanumeric(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

fn check(
    text: &str,
    kind: &'static str,
    separators: &str,
    others: &'static str,
) -> Result<(), BadName> {
    if text.is_empty() {
        return Err(BadName::Empty(kind));
    }
    if !text.chars().all(|c| alphanumeric(c) || separators.contains(c)) {
        return Err(BadName::Letters { kind, others });
    }
    if text.starts_with(alphanumeric) && text.ends_with(alphanumeric) {
        Ok(())
    } else {
        Err(BadName::Ends(kind))
    }
}

fn clean(
    text: &str,
    kind: &'static str,
    separators: &str,
    filler: char,
) -> Result<String, BadName> {
    let lower = text.to_lowercase();
    let mapped: String = lower
        .chars()
        .map(|c| if alphanumeric(c) || separators.contains(c) { c } else { filler })
        .collect();
    let cut = mapped.trim_matches(|c| !alphanumeric(c));
    if cut.is_empty() { Err(BadName::Empty(kind)) } else { Ok(cut.to_owned()) }
}

macro_rules! name {
    ($type:ident, $word:literal, $separators:literal, $others:literal, $filler:literal, $doc:literal) => {
        #[doc = $doc]
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $type(String);

        impl $type {
            /// Accepts a name as it stands.
            ///
            /// # Errors
            /// See [`BadName`].
            pub fn parse(text: &str) -> Result<Self, BadName> {
                check(text, $word, $separators, $others).map(|()| Self(text.to_owned()))
            }

            /// Makes a name of any text: lower case, foreign characters replaced, ends trimmed.
            ///
            /// # Errors
            /// Nothing is left.
            pub fn sanitise(text: &str) -> Result<Self, BadName> {
                clean(text, $word, $separators, $filler).map(Self)
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    AcIdentifier,
    "ACIdentifier",
    "-._~/",
    "\"-._~/\"",
    '_',
    "An AC identifier: lower-case letters, digits and `-._~/`, alphanumeric at both ends."
);
name!(
    AcName,
    "ACName",
    "-",
    "\"-\"",
    '-',
    "An AC name: lower-case letters, digits and `-`, alphanumeric at both ends."
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabets() {
        for good in ["example.com/a", "a--b", "a..b", "a/-b", "7"] {
            AcIdentifier::parse(good).unwrap();
        }
        for bad in ["-a", "A", "a/", "", "a b", "a\n", "../a"] {
            AcIdentifier::parse(bad).unwrap_err();
        }
        AcName::parse("a--b").unwrap();
        assert_eq!(
            AcName::parse("a.b").unwrap_err().to_string(),
            "ACName must contain only lower case alphanumeric characters plus \"-\""
        );
    }

    #[test]
    fn any_text_becomes_a_name_or_nothing() {
        let id = |t| AcIdentifier::sanitise(t).map(|n| n.to_string());
        assert_eq!(id("Host:5000/a b").unwrap(), "host_5000/a_b");
        assert_eq!(id("/tmp/x/").unwrap(), "tmp/x");
        assert_eq!(AcName::sanitise("8080/tcp").unwrap().as_str(), "8080-tcp");
        assert_eq!(AcName::sanitise("/Grün/").unwrap().as_str(), "gr-n");
        id("___").unwrap_err();
    }
}
