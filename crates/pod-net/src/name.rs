//! Names of networks and of plugin types: one plain file name each, since both become names of files.

use std::fmt;

/// No file system takes longer names, and what is made of a network's name is a little longer.
const LONGEST: usize = 200;

/// Text that is no name of a network or plugin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// Nothing there.
    #[error("{0} cannot be empty")]
    Empty(&'static str),
    /// It would lead to another folder, hide, or spoil a message.
    #[error("{kind} {text:?} is not a plain name")]
    NotPlain {
        /// What it should name.
        kind: &'static str,
        /// The text.
        text: String,
    },
    /// Longer than 200 bytes.
    #[error("{0} is too long")]
    Long(&'static str),
}

fn check(text: &str, kind: &'static str) -> Result<(), BadName> {
    if text.is_empty() {
        return Err(BadName::Empty(kind));
    }
    if text.len() > LONGEST {
        return Err(BadName::Long(kind));
    }
    let strange = |c: char| c == '/' || c.is_control();
    if text.starts_with('.') || text.contains(strange) {
        return Err(BadName::NotPlain { kind, text: text.to_owned() });
    }
    Ok(())
}

macro_rules! name {
    ($type:ident, $word:literal, $doc:literal) => {
        #[doc = $doc]
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $type(String);

        impl $type {
            /// Accepts a plain name: no `/`, no control characters, no `.` in front.
            ///
            /// # Errors
            /// See [`BadName`].
            pub fn parse(text: &str) -> Result<Self, BadName> {
                check(text, $word).map(|()| Self(text.to_owned()))
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

        impl PartialEq<str> for $type {
            fn eq(&self, other: &str) -> bool {
                self.0 == other
            }
        }

        impl PartialEq<&str> for $type {
            fn eq(&self, other: &&str) -> bool {
                self.0 == *other
            }
        }
    };
}

name!(NetworkName, "network name", "The name of a network, as `--net` and configurations say it.");
name!(PluginType, "plugin type", "The type of a plugin: the file name of a program.");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for good in ["default", "rkt.kubernetes.io", "a..b", "weave-net", "Ünï", "a b", "-x"] {
            NetworkName::parse(good).unwrap();
        }
        for bad in ["", ".", "..", "../x", "a/b", "/a", "a\0b", "a\nb", ".hidden", "\u{7f}"] {
            NetworkName::parse(bad).unwrap_err();
            PluginType::parse(bad).unwrap_err();
        }
        NetworkName::parse(&"n".repeat(200)).unwrap();
        NetworkName::parse(&"n".repeat(201)).unwrap_err();
        assert_eq!(
            PluginType::parse("../ptp").unwrap_err().to_string(),
            "plugin type \"../ptp\" is not a plain name"
        );
        assert_eq!(NetworkName::parse("").unwrap_err().to_string(), "network name cannot be empty");
    }
}
