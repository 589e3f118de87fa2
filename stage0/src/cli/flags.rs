//! Flags as data: one table a command drives parsing, help and completion.

use std::path::Path;

use stage0::insecure::Insecure;

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// True when it stands alone, else what follows an attached `=`.
    Bool,
    /// A value: attached with `=`, or the next word.
    Value,
    /// This value when it stands alone; another one only when attached with `=`.
    Optional(&'static str),
}

/// To what a flag belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The whole command, wherever it stands.
    Pod,
    /// The image before it.
    App,
    /// The image before it; every image when it stands before the first.
    Both,
}

/// What a second value of the same flag does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It replaces the first.
    Last,
    /// It is added.
    All,
    /// It is an error.
    Once,
    /// It is added, unless a value with the same key (what stands before `=`) was given.
    Keys,
    /// It is an error, and so is any other flag of this list.
    OneOf(&'static [&'static str]),
}

/// How far a flag is part of what we offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// In help and completion.
    Shown,
    /// Works, but is not shown.
    Hidden,
    /// Works, is not shown, and says what to use instead.
    Deprecated(&'static str),
    /// Known, and refused as soon as it asks for something: what it needs is not built yet.
    Absent,
}

/// Tells whether a value may be given, and why not.
pub(crate) type Check = fn(&str) -> Result<(), String>;

/// One flag of one command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flag {
    /// Without the dashes.
    pub(crate) name: &'static str,
    /// What it takes.
    pub(crate) kind: Kind,
    /// To what it belongs.
    pub(crate) scope: Scope,
    /// The value when it is not given; empty for none.
    pub(crate) default: &'static str,
    /// Help shows the default in quotes.
    pub(crate) quoted: bool,
    /// One line for help.
    pub(crate) help: &'static str,
    /// How far it is part of what we offer.
    pub(crate) standing: Standing,
    /// What is wrong with a value.
    pub(crate) check: Check,
    /// What a second value does.
    pub(crate) repeat: Repeat,
    /// The flag whose other spelling this is.
    pub(crate) alias_of: Option<&'static str>,
}

impl Flag {
    const fn new(
        name: &'static str,
        kind: Kind,
        default: &'static str,
        help: &'static str,
    ) -> Self {
        Self {
            name,
            kind,
            scope: Scope::Pod,
            default,
            quoted: false,
            help,
            standing: Standing::Shown,
            check: anything,
            repeat: Repeat::Last,
            alias_of: None,
        }
    }

    /// A switch, off by default.
    pub(crate) const fn bool(name: &'static str, help: &'static str) -> Self {
        Self::new(name, Kind::Bool, "false", help)
    }

    /// A switch that is on by default.
    pub(crate) const fn on(name: &'static str, help: &'static str) -> Self {
        Self::new(name, Kind::Bool, "true", help)
    }

    /// A flag whose value is free text; help quotes its default.
    pub(crate) const fn text(
        name: &'static str,
        default: &'static str,
        help: &'static str,
    ) -> Self {
        Self { quoted: true, ..Self::new(name, Kind::Value, default, help) }
    }

    /// A flag whose value has a form of its own; help shows its default bare.
    pub(crate) const fn value(
        name: &'static str,
        default: &'static str,
        help: &'static str,
    ) -> Self {
        Self::new(name, Kind::Value, default, help)
    }

    /// A flag that means `alone` when it stands without a value, and `default` when it does not stand at all.
    pub(crate) const fn optional(
        name: &'static str,
        alone: &'static str,
        default: &'static str,
        help: &'static str,
    ) -> Self {
        Self::new(name, Kind::Optional(alone), default, help)
    }

    /// Shows its default in quotes.
    pub(crate) const fn quote(self) -> Self {
        Self { quoted: true, ..self }
    }

    /// Binds it to the image before it.
    pub(crate) const fn app(self) -> Self {
        Self { scope: Scope::App, ..self }
    }

    /// Binds it to the image before it, or to all of them when it comes first.
    pub(crate) const fn both(self) -> Self {
        Self { scope: Scope::Both, ..self }
    }

    /// Collects every value.
    pub(crate) const fn all(self) -> Self {
        Self { repeat: Repeat::All, ..self }
    }

    /// Refuses a second value (for the same image, where it belongs to one).
    pub(crate) const fn once(self) -> Self {
        Self { repeat: Repeat::Once, ..self }
    }

    /// Collects `KEY=VALUE`s, each key once.
    pub(crate) const fn keys(self) -> Self {
        Self { repeat: Repeat::Keys, check: key_value, ..self }
    }

    /// Allows one value of all the flags of this list together.
    pub(crate) const fn one_of(self, names: &'static [&'static str]) -> Self {
        Self { repeat: Repeat::OneOf(names), ..self }
    }

    /// Looks at each value before the command runs.
    pub(crate) const fn check(self, check: Check) -> Self {
        Self { check, ..self }
    }

    /// Leaves it out of help and completion.
    pub(crate) const fn hidden(self) -> Self {
        Self { standing: Standing::Hidden, ..self }
    }

    /// Hides it, and says what to use instead when it is used: `please use --pull-policy=never`.
    pub(crate) const fn deprecated(self, instead: &'static str) -> Self {
        Self { standing: Standing::Deprecated(instead), ..self }
    }

    /// Refuses it plainly: what it asks for is not built yet.
    pub(crate) const fn absent(self) -> Self {
        Self { standing: Standing::Absent, ..self }
    }

    /// Makes it another spelling of `name`, under which its values are found.
    pub(crate) const fn alias(self, name: &'static str) -> Self {
        Self { alias_of: Some(name), ..self }
    }

    /// The name under which values are kept.
    pub(crate) fn key(&self) -> &'static str {
        self.alias_of.unwrap_or(self.name)
    }
}

/// Puts tables together; `N` is the sum of their lengths.
pub(crate) const fn join<const N: usize>(tables: &[&[Flag]]) -> [Flag; N] {
    let mut all = [Flag::bool("", ""); N];
    let (mut table, mut filled) = (0, 0);
    while table < tables.len() {
        let mut place = 0;
        while place < tables[table].len() {
            all[filled] = tables[table][place];
            filled += 1;
            place += 1;
        }
        table += 1;
    }
    assert!(filled == N, "the sum of the lengths is wrong");
    all
}

/// The check of a `KEY=VALUE`.
pub(crate) fn key_value(text: &str) -> Result<(), String> {
    match text.split_once('=') {
        Some((key, _)) if !key.is_empty() => Ok(()),
        _ => Err("must be specified as key=value".to_owned()),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it is a check, and checks can fail")]
fn anything(_: &str) -> Result<(), String> {
    Ok(())
}

/// Flags that every command takes, before its name or after.
pub(crate) const GLOBAL: &[Flag] = &[
    Flag::text("cpuprofile", "", "write the CPU time that was used to this file").hidden(),
    Flag::bool("debug", "print out more debug information to stderr"),
    Flag::value("dir", "/var/lib/rkt", "rkt data directory").check(directory),
    Flag::value("insecure-options", "none", "comma-separated list of security features to disable")
        .all()
        .check(insecure),
    Flag::value("local-config", "/etc/rkt", "local configuration directory").check(directory),
    Flag::text("memprofile", "", "write the peak of memory that was used to this file").hidden(),
    Flag::value("system-config", "/usr/lib/rkt", "system configuration directory").check(directory),
    Flag::bool("trust-keys-from-https", "automatically trust gpg keys fetched from https").absent(),
    Flag::value("user-config", "", "user configuration directory").check(directory),
];

/// Reads a boolean as Go's flag packages do.
pub(crate) fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        other => Err(format!(
            "strconv.ParseBool: parsing {}: invalid syntax",
            super::print::quoted(other)
        )),
    }
}

/// The check of a flag that needs a boolean as its value.
pub(crate) fn boolean(text: &str) -> Result<(), String> {
    parse_bool(text).map(drop)
}

/// The check of `--format`: the two JSON forms.
pub(crate) fn json_format(text: &str) -> Result<(), String> {
    match text {
        "" | "json" | "json-pretty" => Ok(()),
        other => Err(format!("Invalid format option: {other}")),
    }
}

fn directory(text: &str) -> Result<(), String> {
    // What is not there yet is made on first use, or is no configuration.
    if text.is_empty() || Path::new(text).metadata().is_ok_and(|found| !found.is_dir()) {
        return Err(format!("{} is not a valid directory", super::print::quoted(text)));
    }
    Ok(())
}

fn insecure(text: &str) -> Result<(), String> {
    Insecure::parse(text).map(drop).map_err(|error| error.to_string())
}
