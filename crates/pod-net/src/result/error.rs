//! How a plugin says that it failed.

use crate::config::Fields;
use crate::version::Version;
use appc::json::Json;
use std::fmt;
use std::path::Path;

/// Numbers of failures that have a meaning for the caller.
pub mod code {
    /// The plugin does not speak the configuration's version.
    pub const VERSION: u64 = 1;
    /// The container is unknown.
    pub const UNKNOWN_CONTAINER: u64 = 3;
    /// A variable is missing or wrong.
    pub const ENVIRONMENT: u64 = 4;
    /// Input or output failed.
    pub const IO: u64 = 5;
    /// Something could not be decoded.
    pub const DECODE: u64 = 6;
    /// The configuration is wrong.
    pub const CONFIG: u64 = 7;
    /// It may work later.
    pub const TRY_AGAIN: u64 = 11;
    /// The plugin cannot add (1.1).
    pub const NOT_AVAILABLE: u64 = 50;
    /// The plugin cannot add, and what it made may not work (1.1).
    pub const NOT_AVAILABLE_LIMITED: u64 = 51;
}

/// A failure in a plugin's words: `msg; details`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PluginFailure {
    /// The kind of failure, see [`code`]; 100 and above are the plugin's own.
    pub code: u64,
    /// One line.
    pub msg: String,
    /// More of it; may be empty.
    pub details: String,
}

impl std::error::Error for PluginFailure {}

impl fmt::Display for PluginFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.msg.as_str(), self.details.as_str()) {
            ("", "") => write!(f, "failed with code {}", self.code),
            (msg, "") => f.write_str(msg),
            ("", details) => f.write_str(details),
            (msg, details) => write!(f, "{msg}; {details}"),
        }
    }
}

impl PluginFailure {
    /// Reads what a plugin that failed wrote; `None` if it is no failure's text.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let json = Json::parse(bytes).ok()?;
        let fields = Fields::new(&json, Path::new("error"));
        let clean = |text: Option<&str>| {
            let shown: String = text.unwrap_or_default().chars().take(4096).collect();
            shown.replace(|c: char| c.is_control() && c != '\n' && c != '\t', "\u{fffd}")
        };
        let failure = Self {
            code: fields.number("code").ok().flatten().unwrap_or(0),
            msg: clean(fields.text("msg").ok().flatten()),
            details: clean(fields.text("details").ok().flatten()),
        };
        (failure != Self::default()).then_some(failure)
    }

    /// The failure as a plugin writes it.
    pub fn write(&self, version: Version) -> Json {
        let mut members = vec![
            ("cniVersion".to_owned(), version.as_str().into()),
            ("code".to_owned(), self.code.into()),
            ("msg".to_owned(), self.msg.as_str().into()),
        ];
        if !self.details.is_empty() {
            members.push(("details".to_owned(), self.details.as_str().into()));
        }
        Json::Object(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures() {
        for (text, shown) in [
            (r#"{"code":7,"msg":"no","details":"x is missing"}"#, Some("no; x is missing")),
            (r#"{"cniVersion":"1.0.0","code":100,"msg":"no"}"#, Some("no")),
            (r#"{"code":3}"#, Some("failed with code 3")),
            (r#"{"msg":"a\u001b[31mb"}"#, Some("a\u{fffd}[31mb")),
            (r#"{"code":"x","msg":7,"details":"d"}"#, Some("d")),
            ("{}", None),
            ("no", None),
            ("[]", None),
        ] {
            let found = PluginFailure::parse(text.as_bytes()).map(|failure| failure.to_string());
            assert_eq!(found.as_deref(), shown, "{text}");
        }
    }

    #[test]
    fn written_and_read() {
        let failure = PluginFailure { code: 11, msg: "busy".into(), details: "later".into() };
        let text = appc::json::compact(&failure.write(Version::V1_0_0));
        assert_eq!(text, r#"{"cniVersion":"1.0.0","code":11,"msg":"busy","details":"later"}"#);
        assert_eq!(PluginFailure::parse(text.as_bytes()), Some(failure));
    }
}
