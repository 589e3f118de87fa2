//! What a command that did not work leaves for the user: one line, or a tree of causes with `--debug`, and an exit code.

use std::borrow::Cow;
use std::error::Error;
use std::io;

use sys::path::Reason;

use super::print;

/// The exit code of every failure of rkt itself.
const FAILED: u8 = 254;

/// The exit code of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExitCode(u8);

impl ExitCode {
    /// Everything that was asked for happened.
    pub(crate) const SUCCESS: Self = Self(0);
    /// rkt itself failed.
    pub(crate) const FAILURE: Self = Self(FAILED);
}

impl From<u8> for ExitCode {
    fn from(code: u8) -> Self {
        Self(code)
    }
}

impl From<ExitCode> for i32 {
    fn from(code: ExitCode) -> Self {
        Self::from(code.0)
    }
}

#[derive(Debug)]
enum Kind {
    /// `PREFIX: MESSAGE: INNERMOST CAUSE`.
    Command,
    /// `Error: MESSAGE`, then where help is.
    Usage,
    /// Everything was said already.
    Silent,
}

/// Why a command did not do what was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: Kind,
    message: Cow<'static, str>,
    /// Outermost first.
    causes: Vec<String>,
    hints: Vec<Cow<'static, str>>,
    code: ExitCode,
}

impl Failure {
    fn of(kind: Kind, message: Cow<'static, str>) -> Self {
        Self { kind, message, causes: Vec::new(), hints: Vec::new(), code: ExitCode::FAILURE }
    }

    /// A failure that has no deeper cause: `PREFIX: MESSAGE`.
    pub(crate) fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Self::of(Kind::Command, message.into())
    }

    /// What failed, and why: `PREFIX: MESSAGE: INNERMOST`, the whole chain with `--debug`.
    pub(crate) fn because(
        message: impl Into<Cow<'static, str>>,
        error: impl Error + 'static,
    ) -> Self {
        Self { causes: chain(&error), ..Self::new(message) }
    }

    /// An error that says everything itself: `PREFIX: INNERMOST`.
    pub(crate) fn alone(error: impl Error + 'static) -> Self {
        Self::because("", error)
    }

    /// The command line itself is wrong: `Error: MESSAGE` and where to find help.
    pub(crate) fn usage(message: impl Into<Cow<'static, str>>) -> Self {
        Self::of(Kind::Usage, message.into())
    }

    /// The command has already said what went wrong; only the exit code is left.
    pub(crate) fn silent() -> Self {
        Self::of(Kind::Silent, Cow::Borrowed(""))
    }

    /// Adds a way out, shown in parentheses after the message.
    pub(crate) fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The exit code that goes with it.
    pub(crate) fn code(&self) -> ExitCode {
        self.code
    }

    /// The text for stderr, empty for a silent one; `command` is the whole name (`image rm`), empty without a command.
    pub(crate) fn text(&self, command: &str, debug: bool) -> String {
        match self.kind {
            Kind::Silent => String::new(),
            Kind::Usage => {
                let help = if matches!(command, "" | "help") {
                    "rkt".to_owned()
                } else {
                    format!("rkt {command}")
                };
                let message = print::safe(&self.message);
                format!("Error: {message}{}\nRun '{help} --help' for usage.\n", self.ways_out())
            }
            Kind::Command if debug => self.tree(print::prefix(command)),
            Kind::Command => self.line(print::prefix(command)),
        }
    }

    fn line(&self, prefix: &str) -> String {
        let message = print::safe(&self.message);
        let cause = print::safe_line(self.causes.last().map_or("", String::as_str));
        let colon = if message.is_empty() || cause.is_empty() { "" } else { ": " };
        format!("{prefix}: {message}{colon}{cause}{}\n", self.ways_out())
    }

    fn tree(&self, prefix: &str) -> String {
        let mut text = format!("{prefix}: {}\n", print::safe(&self.message));
        let mut indent = 0;
        for cause in &self.causes {
            indent += 2;
            text.extend(std::iter::repeat_n(' ', indent));
            text.push_str("└─");
            text.push_str(&print::safe_line(cause));
            text.push('\n');
        }
        if !self.hints.is_empty() {
            text.push_str(self.ways_out().trim_start());
            text.push('\n');
        }
        text
    }

    fn ways_out(&self) -> String {
        let mut text = String::new();
        for hint in &self.hints {
            text.push_str(" (");
            text.push_str(&print::safe(hint));
            text.push(')');
        }
        text
    }
}

/// An error and its sources, outermost first; a link that only repeats the one before is dropped. What the kernel says
/// means nothing without what was tried, so it joins the link before it.
fn chain(error: &(dyn Error + 'static)) -> Vec<String> {
    let mut links: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let bare = error.downcast_ref::<io::Error>().filter(|error| error.raw_os_error().is_some());
        match (bare, links.last_mut()) {
            (Some(bare), Some(before)) => {
                before.push_str(": ");
                before.push_str(&Reason(bare).to_string());
            }
            (Some(bare), None) => links.push(Reason(bare).to_string()),
            (None, _) => {
                let text = error.to_string();
                if links.last() != Some(&text) {
                    links.push(text);
                }
            }
        }
        next = error.source();
    }
    links
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("error opening ACI file")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("open /x: no such file or directory")]
    struct Inner;

    #[test]
    fn one_line_with_the_innermost_cause() {
        for (failure, text) in [
            (
                Failure::new("must provide at least one image"),
                "rm: must provide at least one image\n",
            ),
            (
                Failure::because("cannot open", Outer(Inner)),
                "rm: cannot open: open /x: no such file or directory\n",
            ),
            (Failure::alone(Outer(Inner)), "rm: open /x: no such file or directory\n"),
            (
                Failure::alone(Inner).hint("try it"),
                "rm: open /x: no such file or directory (try it)\n",
            ),
            (Failure::usage("no"), "Error: no\nRun 'rkt image rm --help' for usage.\n"),
            (Failure::new("evil \u{1b}[2J"), "rm: evil \\u001b[2J\n"),
            (Failure::alone(std::io::Error::other("two\nlines")), "rm: two\\nlines\n"),
            (Failure::silent(), ""),
        ] {
            assert_eq!(failure.text("image rm", false), text);
            assert_eq!(i32::from(failure.code()), 254);
        }
        assert_eq!(
            Failure::usage("no").text("", false),
            "Error: no\nRun 'rkt --help' for usage.\n"
        );
    }

    #[test]
    fn a_tree_with_debug() {
        let tree = Failure::because("", Outer(Inner)).hint("try it").text("fetch", true);
        assert_eq!(
            tree,
            "fetch: \n  └─error opening ACI file\n    └─open /x: no such file or directory\n(try it)\n"
        );
        assert_eq!(Failure::new("alone").text("rm", true), "rm: alone\n");
    }
}
