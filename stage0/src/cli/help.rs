//! `rkt help`, and the same text for `--help`: printed from the tables that the parser reads.

use std::ffi::OsString;

use super::command::{COMMANDS, Entry, GROUPS, Named, named};
use super::flags::{Flag, GLOBAL, Kind, Standing};
use super::parse::{Asked, parse};
use super::print::{self, quoted};
use super::table::Table;
use super::{Command, Context, ExitCode, Failure, Grammar, Parsed};

/// How it is called.
pub(crate) const COMMAND: Command = Command {
    name: "help",
    summary: "Help about any command",
    usage: "[COMMAND]",
    description: "",
    grammar: Grammar::Words,
    flags: &[],
};

/// What flags are read against while no command is named.
const NO_COMMAND: Command = Command {
    name: "",
    summary: "",
    usage: "",
    description: "",
    grammar: Grammar::Words,
    flags: &[],
};

/// Prints the help of a command, of a group, or of rkt as a whole.
pub(crate) fn run(cx: &Context, args: &Parsed) -> Result<ExitCode, Failure> {
    let mut found = Named::Group("");
    for word in args.words() {
        // What follows a command's name (`help rm UUID`) does not change what its help is.
        let Named::Group(group) = found else { break };
        found = named(group, word)?;
    }
    cx.print(&match found {
        Named::Group(group) => of_group(group),
        Named::Command(entry) => of_command(entry),
    });
    Ok(ExitCode::SUCCESS)
}

/// What happens when only flags, or flags and a group, were given.
pub(super) fn without_command(
    group: &'static str,
    argv: Vec<OsString>,
) -> Result<ExitCode, Failure> {
    let asked = parse(&NO_COMMAND, argv)?;
    print::result(&of_group(group));
    if group.is_empty() && matches!(asked, Asked::Run(_)) {
        print::note(print::prefix(""), "missing command");
        return Ok(ExitCode::from(2));
    }
    Ok(ExitCode::SUCCESS)
}

/// The help of one command.
pub(super) fn of_command(entry: &Entry) -> String {
    let mut text = String::new();
    let name = entry.name;
    section(&mut text, "NAME", &format!("{name} - {}", entry.command.summary));
    section(&mut text, "USAGE", format!("rkt {name} {}", entry.command.usage).trim_end());
    if !entry.command.description.is_empty() {
        section(&mut text, "DESCRIPTION", entry.command.description);
    }
    options(&mut text, "OPTIONS", entry.command.flags);
    options(&mut text, "GLOBAL OPTIONS", GLOBAL);
    text
}

/// The help of a group of commands; `""` is rkt as a whole.
fn of_group(group: &str) -> String {
    let mut text = String::new();
    let summary = GROUPS
        .iter()
        .find(|(name, _)| *name == group)
        .map(|(_, summary)| *summary)
        .unwrap_or_default();
    let (name, usage) =
        if group.is_empty() { ("rkt", "rkt".to_owned()) } else { (group, format!("rkt {group}")) };
    section(&mut text, "NAME", &format!("{name} - {summary}"));
    section(&mut text, "USAGE", &format!("{usage} [command]"));
    if group.is_empty() {
        section(&mut text, "VERSION", stage0::VERSION);
    }
    let mut table = Table::new();
    let mut last = None;
    for entry in COMMANDS {
        let name = match entry.name.split_once(' ') {
            // An alias below a group is not shown.
            Some(_) if entry.name != entry.command.name => continue,
            _ if group.is_empty() => entry.name,
            Some((first, second)) if first == group => second,
            Some(_) | None => continue,
        };
        if name == "help" {
            last = Some((name, entry.command.summary));
        } else {
            table.row(["", name, entry.command.summary]);
        }
    }
    if let Some((name, summary)) = last {
        table.row(["", name, summary]);
    }
    text.push_str("COMMANDS:\n");
    text.push_str(&table.render());
    text.push('\n');
    options(&mut text, "GLOBAL OPTIONS", GLOBAL);
    text
}

fn section(text: &mut String, heading: &str, body: &str) {
    text.push_str(heading);
    text.push_str(":\n");
    for line in body.split('\n') {
        text.push('\t');
        text.push_str(line);
        text.push('\n');
    }
    text.push('\n');
}

fn options(text: &mut String, heading: &str, flags: &[Flag]) {
    let mut shown: Vec<&Flag> =
        flags.iter().filter(|flag| flag.standing == Standing::Shown).collect();
    if shown.is_empty() {
        return;
    }
    shown.sort_by_key(|flag| flag.name);
    let mut table = Table::new();
    for flag in shown {
        table.row([format!("      --{}{}", flag.name, default(flag)), flag.help.to_owned()]);
    }
    text.push_str(heading);
    text.push_str(":\n");
    text.push_str(&table.render());
    text.push('\n');
}

fn default(flag: &Flag) -> String {
    let value = if flag.quoted { quoted(flag.default) } else { flag.default.to_owned() };
    match flag.kind {
        Kind::Value => format!("={value}"),
        Kind::Bool | Kind::Optional(_) => format!("[={value}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::command::below;
    use super::*;

    #[test]
    fn shows_defaults_by_kind() {
        for (flag, text) in [
            (Flag::text("uuid-file", "", ""), "=\"\""),
            (Flag::value("dir", "/var/lib/rkt", ""), "=/var/lib/rkt"),
            (Flag::value("format", "", ""), "="),
            (Flag::bool("full", ""), "[=false]"),
            (Flag::optional("net", "default", "default", ""), "[=default]"),
            (Flag::optional("wait", "true", "false", "").quote(), "[=\"false\"]"),
        ] {
            assert_eq!(default(&flag), text);
        }
    }

    #[test]
    fn every_command_explains_itself() {
        for entry in COMMANDS {
            let text = of_command(entry);
            assert!(text.starts_with(&format!("NAME:\n\t{} - ", entry.name)), "{text}");
            assert!(text.ends_with("\n\n"), "{text}");
            assert!(!entry.command.summary.is_empty(), "{}", entry.name);
        }
        let whole = of_group("");
        for name in below("").into_iter().filter(|name| *name != "image") {
            assert!(whole.contains(&format!("\n\t{name}\t")), "{name} is missing");
        }
        assert!(whole.contains("\n\timage rm\t"));
        assert!(!whole.contains("image fetch"));
        assert!(of_group("image").contains("\n\trm\t"));
    }
}
