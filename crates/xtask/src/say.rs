//! What a person reads. Nobody can be told that the output is gone, so failures to print are ignored.

use std::error::Error;
use std::io::{self, Write};

/// Prints a line.
pub(crate) fn line(text: &str) {
    drop(writeln!(io::stdout(), "{text}"));
}

/// Prints the title of what comes next.
pub(crate) fn title(text: &str) {
    line(&format!("==> {text}"));
}

/// Prints an error and its causes.
pub(crate) fn problem(error: &dyn Error) {
    drop(writeln!(io::stderr(), "xtask: {}", with_causes(error)));
}

/// An error and its causes.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
