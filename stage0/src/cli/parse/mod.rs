//! argv to meaning, first step: an ordered stream of words and flags, read against one command's table.
//!
//! Nothing here knows what a flag is for. Flags may stand anywhere before `--`; those of an image bind to the image
//! before them, so order is kept. Lexing is clap_lex's; the grammar is ours because no parser library has it.

use std::ffi::OsString;

use super::command::{Command, Grammar};
use super::failure::Failure;
use super::flags::{Flag, GLOBAL, Kind, Repeat, Scope, Standing, parse_bool};
use super::print::quoted;

/// One image of the command line with what belongs to it.
#[derive(Debug, Default)]
pub(crate) struct ImageArgs {
    /// The reference as typed.
    pub(crate) image: String,
    /// The flags after it, in order, by name.
    pub(crate) flags: Vec<(&'static str, String)>,
    /// What stands between `--` and `---`.
    pub(crate) args: Option<Vec<String>>,
}

impl ImageArgs {
    /// The last value of a flag, if it was given.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.flags.iter().rev().find(|(key, _)| *key == name).map(|(_, value)| value.as_str())
    }

    /// Every value of a flag, in order.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        self.flags.iter().filter(|(key, _)| *key == name).map(|(_, value)| value.as_str()).collect()
    }
}

/// A command line as typed, checked against its table.
#[derive(Debug)]
pub(crate) struct Parsed {
    command: &'static Command,
    values: Vec<(&'static str, String)>,
    before: Vec<(&'static str, String)>,
    words: Vec<String>,
    images: Vec<ImageArgs>,
    notices: Vec<String>,
}

impl Parsed {
    /// Whether a switch is on; its default when it was not given.
    pub(crate) fn bool(&self, name: &str) -> bool {
        self.value(name) == Some("true")
    }

    /// The last value of a flag, else its default, else nothing.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.given(name).or_else(|| {
            find(self.command, name).map(|flag| flag.default).filter(|text| !text.is_empty())
        })
    }

    /// The last value of a flag, if it was given at all.
    pub(crate) fn given(&self, name: &str) -> Option<&str> {
        self.values.iter().rev().find(|(key, _)| *key == name).map(|(_, value)| value.as_str())
    }

    /// Every value of a flag, in order.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        self.values
            .iter()
            .filter(|(key, _)| *key == name)
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The words that are neither flags nor values of flags.
    pub(crate) fn words(&self) -> &[String] {
        &self.words
    }

    /// The images, for the commands that take some.
    pub(crate) fn images(&self) -> &[ImageArgs] {
        &self.images
    }

    /// The `--mount`s before the first image: those of every app.
    pub(crate) fn global_mounts(&self) -> Vec<&str> {
        self.before
            .iter()
            .filter(|(key, _)| *key == "mount")
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// Lines about deprecated flags.
    pub(super) fn notices(&self) -> &[String] {
        &self.notices
    }

    /// The words, when there are exactly as many as the command needs.
    pub(crate) fn exactly<const N: usize>(&self) -> Result<[&str; N], Failure> {
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        <[&str; N]>::try_from(words).map_err(|words| {
            let are = if N == 1 { "argument is" } else { "arguments are" };
            Failure::usage(format!("{N} {are} needed, not {}", words.len()))
        })
    }
}

/// What a command line asks for.
#[derive(Debug)]
pub(super) enum Asked {
    /// To run the command.
    Run(Parsed),
    /// To explain it.
    Help,
}

/// The flag of a command, or of all commands, with this name.
pub(super) fn find(command: &'static Command, name: &str) -> Option<&'static Flag> {
    command.flags.iter().chain(GLOBAL).find(|flag| flag.name == name)
}

/// Reads the words after (and the flags before) a command's name.
pub(super) fn parse(command: &'static Command, argv: Vec<OsString>) -> Result<Asked, Failure> {
    let mut words = Vec::with_capacity(argv.len());
    for (place, word) in argv.into_iter().enumerate() {
        let word = word.into_string().map_err(|word| {
            Failure::usage(format!(
                "argument {} is not valid UTF-8: {}",
                place + 1,
                word.to_string_lossy()
            ))
        })?;
        words.push(word);
    }
    let raw = clap_lex::RawArgs::new(words);
    let mut cursor = raw.cursor();
    let mut stream = Stream::new(command);
    while let Some(word) = raw.next(&mut cursor) {
        // Words were strings a moment ago.
        let text = word.to_value().unwrap_or_default();
        if word.is_escape() {
            stream.escaped(std::iter::from_fn(|| {
                raw.next_os(&mut cursor).and_then(|word| word.to_str())
            }))?;
        } else if text == "---" && stream.takes_images() {
            // Ends a list of arguments; without one it means nothing.
        } else if let Some((name, attached)) = word.to_long() {
            let (name, attached) =
                (name.unwrap_or_default(), attached.and_then(|value| value.to_str()));
            if name == "help" {
                return Ok(Asked::Help);
            }
            let flag = stream.flag(name)?;
            let value = match (flag.kind, attached) {
                (_, Some(value)) => value,
                (Kind::Bool, None) => "true",
                (Kind::Optional(alone), None) => alone,
                (Kind::Value, None) => {
                    let next = raw.next_os(&mut cursor).and_then(|word| word.to_str());
                    next.ok_or_else(|| stream.wrong(format!("flag needs an argument: --{name}")))?
                }
            };
            stream.give(flag, value)?;
        } else if word.is_short() {
            if text == "-h" {
                return Ok(Asked::Help);
            }
            let letter = text.chars().nth(1).unwrap_or('-');
            return Err(stream.wrong(format!("unknown shorthand flag: '{letter}' in {text}")));
        } else if stream.word(text) == Next::Verbatim {
            stream.parsed.words.extend(
                raw.remaining(&mut cursor).filter_map(|word| word.to_str()).map(str::to_owned),
            );
        }
    }
    Ok(Asked::Run(stream.parsed))
}

/// What follows a word.
#[derive(PartialEq, Eq)]
enum Next {
    /// More words and flags.
    Stream,
    /// Somebody else's words.
    Verbatim,
}

/// The state between two words.
struct Stream {
    parsed: Parsed,
}

impl Stream {
    fn new(command: &'static Command) -> Self {
        Self {
            parsed: Parsed {
                command,
                values: Vec::new(),
                before: Vec::new(),
                words: Vec::new(),
                images: Vec::new(),
                notices: Vec::new(),
            },
        }
    }

    fn takes_images(&self) -> bool {
        matches!(self.parsed.command.grammar, Grammar::Images | Grammar::Apps)
    }

    /// A mistake: of the command line as a whole, or of what follows an image.
    fn wrong(&self, message: String) -> Failure {
        if self.parsed.images.is_empty() {
            Failure::usage(message)
        } else {
            Failure::new(format!("error parsing app image arguments: {message}"))
        }
    }

    fn word(&mut self, text: &str) -> Next {
        let command = self.parsed.command;
        match command.grammar {
            Grammar::Words => self.parsed.words.push(text.to_owned()),
            // Expansions of unset variables leave empty words behind.
            Grammar::Images | Grammar::Apps if text.is_empty() => {}
            Grammar::Images | Grammar::Apps => {
                self.parsed
                    .images
                    .push(ImageArgs { image: text.to_owned(), ..ImageArgs::default() });
            }
            Grammar::Program => {
                self.parsed.words.push(text.to_owned());
                // The pod is the first word, unless a file names it.
                if self.parsed.words.len() > 1 || self.parsed.given("uuid-file").is_some() {
                    return Next::Verbatim;
                }
            }
        }
        Next::Stream
    }

    /// Takes what follows `--`, as far as it belongs to it.
    fn escaped<'a>(&mut self, rest: impl Iterator<Item = &'a str>) -> Result<(), Failure> {
        let message = match (self.parsed.command.grammar, self.parsed.images.last_mut()) {
            (Grammar::Words | Grammar::Program, _) => {
                self.parsed.words.extend(rest.map(str::to_owned));
                return Ok(());
            }
            (Grammar::Images, _) => "only images are accepted, they get no arguments here",
            (Grammar::Apps, None) => "an image is required before any app arguments",
            (Grammar::Apps, Some(ImageArgs { args: Some(_), .. })) => {
                "only one set of app arguments allowed per image"
            }
            (Grammar::Apps, Some(image)) => {
                // An iterator that is dropped early leaves the words after `---` to the next round.
                image.args =
                    Some(rest.take_while(|word| *word != "---").map(str::to_owned).collect());
                return Ok(());
            }
        };
        Err(Failure::new(format!("error parsing app image arguments: {message}")))
    }

    fn flag(&self, name: &str) -> Result<&'static Flag, Failure> {
        find(self.parsed.command, name).ok_or_else(|| self.wrong(format!("unknown flag: --{name}")))
    }

    fn give(&mut self, flag: &'static Flag, value: &str) -> Result<(), Failure> {
        let invalid = |reason: String| {
            format!("invalid argument {} for --{}={value}: {reason}", quoted(value), flag.name)
        };
        let value = match flag.kind {
            Kind::Bool => parse_bool(value).map(|on| if on { "true" } else { "false" }),
            Kind::Value | Kind::Optional(_) => Ok(value),
        };
        let value = match value.and_then(|value| (flag.check)(value).map(|()| value)) {
            Ok(value) => value.to_owned(),
            Err(reason) => return Err(self.wrong(invalid(reason))),
        };
        match flag.standing {
            Standing::Absent if value != flag.default => {
                return Err(Failure::new(format!("--{} is not there yet", flag.name)));
            }
            Standing::Deprecated(instead) => {
                self.parsed
                    .notices
                    .push(format!("Flag --{} has been deprecated, {instead}", flag.name));
            }
            Standing::Absent | Standing::Shown | Standing::Hidden => {}
        }
        let (kept, of) = match (flag.scope, self.parsed.images.last_mut()) {
            (Scope::Pod, _) => (&mut self.parsed.values, ""),
            (Scope::App | Scope::Both, Some(image)) => (&mut image.flags, " for the same image"),
            (Scope::Both, None) => (&mut self.parsed.before, ""),
            (Scope::App, None) => {
                return Err(self.wrong(invalid(format!("--{} must follow an image", flag.name))));
            }
        };
        if let Err(reason) = again(flag, &value, kept, of) {
            let message = invalid(reason);
            return Err(self.wrong(message));
        }
        kept.push((flag.key(), value));
        Ok(())
    }
}

/// Whether a flag may be given this value after those it already has.
fn again(
    flag: &Flag,
    value: &str,
    earlier: &[(&'static str, String)],
    of: &str,
) -> Result<(), String> {
    let same = || earlier.iter().filter(|(name, _)| *name == flag.key());
    let key = |text: &str| text.split('=').next().unwrap_or_default().to_owned();
    match flag.repeat {
        Repeat::Last | Repeat::All => {}
        Repeat::Once => {
            if same().next().is_some() {
                return Err(format!("--{} specified multiple times{of}", flag.name));
            }
        }
        Repeat::Keys => {
            let key_of = key(value);
            if same().any(|(_, other)| key(other) == key_of) {
                return Err(format!("key {} already set", quoted(&key_of)));
            }
        }
        Repeat::OneOf(names) => match earlier.iter().find(|(name, _)| names.contains(name)) {
            Some((name, _)) if *name == flag.key() => return Err(format!("--{name} already used")),
            Some((name, _)) => {
                return Err(format!("flags --{name} and --{} are mutually exclusive", flag.key()));
            }
            None => {}
        },
    }
    Ok(())
}

#[cfg(test)]
mod tests;
