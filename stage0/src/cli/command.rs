//! What a command is, the table of all commands, and how a word on the command line finds its command.

use super::context::Context;
use super::failure::{ExitCode, Failure};
use super::flags::Flag;
use super::parse::Parsed;
use super::{
    cat_manifest, completion, config, enter, export, fetch, gc, help, image_cat_manifest,
    image_export, image_extract, image_gc, image_list, image_render, image_rm, list, prepare, rm,
    run, run_prepared, status, stop, version,
};

/// What stands between a command's flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grammar {
    /// Words; after `--` everything is one.
    Words,
    /// Images, each with the flags behind it.
    Images,
    /// Images with flags, and arguments between `--` and `---`.
    Apps,
    /// One word, then a program with arguments that are none of our business.
    Program,
}

/// A command as its file describes it.
#[derive(Debug)]
pub(crate) struct Command {
    /// As it is typed: `list`, `image list`.
    pub(crate) name: &'static str,
    /// One line for the list of commands.
    pub(crate) summary: &'static str,
    /// What follows the name in the usage line.
    pub(crate) usage: &'static str,
    /// What it does, in any number of lines.
    pub(crate) description: &'static str,
    /// What stands between its flags.
    pub(crate) grammar: Grammar,
    /// Its own flags; the global ones come on top.
    pub(crate) flags: &'static [Flag],
}

/// Runs a command.
pub(crate) type Run = fn(&Context, &Parsed) -> Result<ExitCode, Failure>;

/// A line of the table.
pub(super) struct Entry {
    /// How it is called; an alias differs from the command's own name.
    pub(super) name: &'static str,
    pub(super) command: &'static Command,
    pub(super) run: Run,
}

macro_rules! table {
    ($($name:literal => $module:ident),+ $(,)?) => {
        &[$(Entry { name: $name, command: &$module::COMMAND, run: $module::run }),+]
    };
}

/// Every command, by name.
pub(super) const COMMANDS: &[Entry] = table![
    "cat-manifest" => cat_manifest,
    "completion" => completion,
    "config" => config,
    "enter" => enter,
    "export" => export,
    "fetch" => fetch,
    "gc" => gc,
    "help" => help,
    "image cat-manifest" => image_cat_manifest,
    "image export" => image_export,
    "image extract" => image_extract,
    "image fetch" => fetch,
    "image gc" => image_gc,
    "image list" => image_list,
    "image render" => image_render,
    "image rm" => image_rm,
    "list" => list,
    "prepare" => prepare,
    "rm" => rm,
    "run" => run,
    "run-prepared" => run_prepared,
    "status" => status,
    "stop" => stop,
    "version" => version,
];

/// What a group of commands is for; the first is rkt itself.
pub(super) const GROUPS: &[(&str, &str)] = &[
    ("", "rkt, the application container runner"),
    ("image", "Operate on image(s) in the local store"),
];

/// Commands that users of other versions know and that are not built yet.
const ABSENT: &[&str] =
    &["api-service", "app", "attach", "image verify", "metadata-service", "trust"];

/// What the words at the front of a command line name.
#[derive(Clone, Copy)]
pub(super) enum Named {
    /// Nothing yet: no word at all, or one that only opens a group (`image`).
    Group(&'static str),
    /// A command.
    Command(&'static Entry),
}

/// The names below a group (`""` for the top), each once, with its full name.
pub(super) fn below(group: &str) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = Vec::new();
    for entry in COMMANDS {
        let name = match entry.name.split_once(' ') {
            Some((first, _)) if group.is_empty() => first,
            Some((first, second)) if first == group => second,
            None if group.is_empty() => entry.name,
            Some(_) | None => continue,
        };
        if names.last() != Some(&name) {
            names.push(name);
        }
    }
    names
}

/// The command or group that `word` names below `group`: by its whole name or an unambiguous beginning of it.
pub(super) fn named(group: &'static str, word: &str) -> Result<Named, Failure> {
    let names = below(group);
    let near: Vec<&'static str> =
        names.iter().copied().filter(|name| name.starts_with(word)).collect();
    let name = match (names.iter().find(|name| **name == word), near.as_slice()) {
        (Some(name), _) | (None, [name]) if !word.is_empty() => *name,
        _ => {
            let near = if near.is_empty() { alike(&names, word) } else { near };
            return Err(unknown(group, word, &near));
        }
    };
    let full = |entry: &&Entry| match entry.name.split_once(' ') {
        Some((first, second)) => first == group && second == name,
        None => group.is_empty() && entry.name == name,
    };
    Ok(COMMANDS.iter().find(full).map_or(Named::Group(name), Named::Command))
}

/// The names that differ from a mistyped word by two letters at most; a word of two letters is like everything.
fn alike(names: &[&'static str], word: &str) -> Vec<&'static str> {
    const FAR: usize = 2;
    if word.len() <= FAR {
        return Vec::new();
    }
    names.iter().copied().filter(|name| distance(name, word) <= FAR).collect()
}

/// How many letters must be put in, taken out or exchanged to get from one word to the other.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.chars().count()).collect();
    for (line, letter) in one.chars().enumerate() {
        let mut corner = line;
        let mut left = line + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, beside) in row.iter_mut().skip(1).zip(other.chars()) {
            let changed = corner + usize::from(letter != beside);
            corner = *cell;
            left = changed.min(left + 1).min(corner + 1);
            *cell = left;
        }
    }
    row.last().copied().unwrap_or_default()
}

fn unknown(group: &str, word: &str, near: &[&str]) -> Failure {
    let whole = if group.is_empty() { word.to_owned() } else { format!("{group} {word}") };
    let at = if group.is_empty() { "rkt".to_owned() } else { format!("rkt {group}") };
    let mut message = format!("unknown command {} for \"{at}\"", super::print::quoted(word));
    if ABSENT.contains(&whole.as_str()) {
        message.push_str(": it is not there yet");
    } else if !near.is_empty() {
        message.push_str("\n\nDid you mean this?\n");
        for name in near {
            message.push('\t');
            message.push_str(name);
            message.push('\n');
        }
    }
    Failure::usage(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_by_whole_name_or_unambiguous_beginning() {
        for (group, word, found) in [
            ("", "run", Some("run")),
            ("", "run-", Some("run-prepared")),
            ("", "vers", Some("version")),
            ("", "im", Some("image")),
            ("image", "cat", Some("image cat-manifest")),
            ("image", "fetch", Some("image fetch")),
            ("image", "g", Some("image gc")),
            ("", "c", None),
            ("", "s", None),
            ("", "", None),
            ("", "runs", None),
            ("image", "list-all", None),
            ("image", "e", None),
        ] {
            let name = named(group, word).ok().map(|found| match found {
                Named::Group(name) => name,
                Named::Command(entry) => entry.name,
            });
            assert_eq!(name, found, "{group} {word}");
        }
    }

    #[test]
    fn suggests_what_was_meant() {
        for (word, names) in [
            ("lsit", vec!["list"]),
            ("statu5", vec!["status"]),
            ("exprt", vec!["export"]),
            ("nosuch", vec![]),
            ("xy", vec![]),
        ] {
            assert_eq!(alike(&below(""), word), names, "{word}");
        }
        for (one, other, letters) in
            [("", "", 0), ("", "abc", 3), ("run", "run", 0), ("kitten", "sitting", 3)]
        {
            assert_eq!((distance(one, other), distance(other, one)), (letters, letters));
        }
    }

    #[test]
    fn the_table_is_sorted_and_names_agree() {
        assert!(COMMANDS.is_sorted_by_key(|entry| entry.name));
        for entry in COMMANDS {
            assert!(
                entry.name == entry.command.name || entry.name == "image fetch",
                "{}",
                entry.name
            );
            let mut names: Vec<_> = entry
                .command
                .flags
                .iter()
                .chain(super::super::flags::GLOBAL)
                .map(|flag| flag.name)
                .collect();
            names.sort_unstable();
            assert!(
                names.windows(2).all(|pair| pair[0] != pair[1]),
                "{} has a flag twice",
                entry.name
            );
        }
    }
}
