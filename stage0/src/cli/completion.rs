//! `rkt completion`: a script that makes a shell ask us, and the answers.
//!
//! The script calls `rkt` again with [`ASKED`] in its environment, and the words of the line so far. Only then is
//! a clap tree built, from the tables that the parser reads: building it costs more than most commands.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;
use std::process::Stdio;

use clap::{Arg, ArgAction, ValueHint};
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use clap_complete::env::{Bash, EnvCompleter, Fish, Zsh};

use stage0::insecure::Insecure;

use super::command::{COMMANDS, Entry, GROUPS, below};
use super::flags::{Flag, GLOBAL, Kind, Scope, Standing};
use super::{Command, Context, ExitCode, Failure, Grammar, Parsed, quoted};

/// How it is called.
pub(crate) const COMMAND: Command = Command {
    name: "completion",
    summary: "Output shell completion code for the specified shell (bash, zsh or fish)",
    usage: "SHELL",
    description: "Writes a script to stdout that makes the shell complete rkt's commands, flags, pods and images.\n\
                  \n\
                  bash: source <(rkt completion bash)\n\
                  zsh:  source <(rkt completion zsh)\n\
                  fish: rkt completion fish | source",
    grammar: Grammar::Words,
    flags: &[],
};

/// The environment variable by which a script asks; its value is the shell.
pub(super) const ASKED: &str = "_RKT_COMPLETE";

/// Prints the script of a shell.
pub(crate) fn run(cx: &Context, args: &Parsed) -> Result<ExitCode, Failure> {
    let name = match args.words() {
        [] => return Err(Failure::new("shell type is not specified")),
        [name] => name,
        _ => return Err(Failure::new("too many arguments, only shell type is expected")),
    };
    let shell =
        shell(name).ok_or_else(|| Failure::new(format!("'{name}' shell is not supported")))?;
    let mut script = Vec::new();
    shell
        .write_registration(ASKED, "rkt", "rkt", "rkt", &mut script)
        .map_err(|error| Failure::because("cannot write the script", error))?;
    cx.print(&String::from_utf8_lossy(&script));
    Ok(ExitCode::SUCCESS)
}

fn shell(name: &str) -> Option<&'static dyn EnvCompleter> {
    match name {
        "bash" => Some(&Bash),
        "zsh" => Some(&Zsh),
        "fish" => Some(&Fish),
        _ => None,
    }
}

/// Answers a script: the candidates for one word of `argv`, in the form that its shell wants.
pub(super) fn answer(name: &OsStr, argv: Vec<OsString>) -> Result<String, Failure> {
    let unknown =
        || Failure::new(format!("{} shell is not supported", quoted(&name.to_string_lossy())));
    let shell = name.to_str().and_then(shell).ok_or_else(unknown)?;
    // What a script adds before the line ends with `--`.
    let line = match argv.iter().position(|word| word == "--") {
        Some(place) => argv.into_iter().skip(place + 1).collect(),
        None => argv,
    };
    let asking = |error: io::Error| Failure::because("cannot complete", error);
    let here = std::env::current_dir().map_err(asking)?;
    let mut tree = tree(&directory(&line));
    let mut answer = Vec::new();
    shell.write_complete(&mut tree, line, Some(&here), &mut answer).map_err(asking)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The data directory that the line names, as flags for another `rkt`.
fn directory(line: &[OsString]) -> Vec<OsString> {
    let mut found = Vec::new();
    let mut words = line.iter();
    while let Some(word) = words.next() {
        let text = word.to_string_lossy();
        if text == "--dir" {
            found = words.next().map(|value| vec![word.clone(), value.clone()]).unwrap_or_default();
        } else if text.starts_with("--dir=") {
            found = vec![word.clone()];
        }
    }
    found
}

/// All commands and flags as clap sees them.
fn tree(directory: &[OsString]) -> clap::Command {
    let mut rkt =
        clap::Command::new("rkt").disable_help_subcommand(true).disable_version_flag(true);
    rkt = rkt.args(shown(GLOBAL).map(|flag| argument(flag).global(true)));
    for entry in COMMANDS.iter().filter(|entry| !entry.name.contains(' ')) {
        rkt = rkt.subcommand(subcommand(entry.name, entry, directory));
    }
    for (group, summary) in GROUPS.iter().filter(|(name, _)| !name.is_empty()) {
        let members = COMMANDS.iter().filter_map(|entry| {
            let (first, second) = entry.name.split_once(' ')?;
            (first == *group && entry.name == entry.command.name)
                .then(|| subcommand(second, entry, directory))
        });
        rkt = rkt.subcommand(clap::Command::new(*group).about(*summary).subcommands(members));
    }
    rkt
}

fn subcommand(name: &'static str, entry: &Entry, directory: &[OsString]) -> clap::Command {
    let words = Arg::new("WORDS").action(ArgAction::Append).num_args(0..);
    let words = match Words::of(entry.name) {
        Words::Nothing => None,
        Words::File => Some(words.value_hint(ValueHint::AnyPath)),
        Words::Fixed(list) => Some(words.add(ArgValueCandidates::new(move || {
            list.iter().map(CompletionCandidate::new).collect()
        }))),
        Words::Commands => {
            let names = || below("").into_iter().map(CompletionCandidate::new).collect();
            Some(words.add(ArgValueCandidates::new(names)))
        }
        Words::Pods(states) => {
            let directory = directory.to_vec();
            Some(words.add(ArgValueCandidates::new(move || pods(&directory, states))))
        }
        Words::Images => {
            let directory = directory.to_vec();
            Some(words.add(ArgValueCandidates::new(move || images(&directory))))
        }
    };
    clap::Command::new(name)
        .about(entry.command.summary)
        .args(shown(entry.command.flags).map(argument))
        .args(words)
}

fn shown(flags: &'static [Flag]) -> impl Iterator<Item = &'static Flag> {
    flags.iter().filter(|flag| flag.standing == Standing::Shown)
}

fn argument(flag: &'static Flag) -> Arg {
    let argument = Arg::new(flag.name).long(flag.name).help(flag.help).action(ArgAction::Append);
    let argument = match flag.kind {
        Kind::Value => match values(flag.name) {
            [] => argument.value_hint(ValueHint::AnyPath),
            known => argument.add(ArgValueCandidates::new(move || {
                known.iter().map(CompletionCandidate::new).collect()
            })),
        },
        Kind::Bool => argument.num_args(0..=1).require_equals(true).default_missing_value("true"),
        Kind::Optional(alone) => {
            argument.num_args(0..=1).require_equals(true).default_missing_value(alone)
        }
    };
    // Flags of an app are worth seeing among the others of `run`, but after them.
    if flag.scope == Scope::Pod { argument } else { argument.display_order(1000) }
}

/// The values that a flag may have, where there are few.
fn values(flag: &str) -> &'static [&'static str] {
    match flag {
        "format" => &["json", "json-pretty"],
        "insecure-options" => &Insecure::WORDS,
        "ipc" => &["auto", "private", "parent"],
        "order" => &["asc", "desc"],
        "pull-policy" => &["new", "update", "never"],
        "sort" => &["id", "name", "importtime", "lastused", "size"],
        _ => &[],
    }
}

/// What the words of a command are.
enum Words {
    Nothing,
    File,
    Fixed(&'static [&'static str]),
    Commands,
    /// Pods in one of these states; all of them when there is none.
    Pods(&'static [&'static str]),
    Images,
}

impl Words {
    fn of(command: &str) -> Self {
        match command {
            "completion" => Self::Fixed(&["bash", "zsh", "fish"]),
            "help" => Self::Commands,
            "enter" | "stop" => Self::Pods(&["running"]),
            "run-prepared" => Self::Pods(&["prepared"]),
            "rm" => Self::Pods(&["prepared", "aborted prepare", "exited", "exited garbage"]),
            "export" => Self::Pods(&["exited", "exited garbage"]),
            "status" | "cat-manifest" => Self::Pods(&[]),
            "fetch" => Self::File,
            "run" | "prepare" => Self::Images,
            name if name.starts_with("image ") && !matches!(name, "image list" | "image gc") => {
                Self::Images
            }
            _ => Self::Nothing,
        }
    }
}

/// The UUIDs of the pods in some states.
fn pods(directory: &[OsString], states: &[&str]) -> Vec<CompletionCandidate> {
    const STATE: usize = 4;
    rows(directory, &["list", "--full", "--no-legend"])
        .iter()
        .filter(|row| {
            states.is_empty()
                || row.get(STATE).is_some_and(|state| states.contains(&state.as_str()))
        })
        .filter_map(|row| row.first().filter(|uuid| !uuid.is_empty()).map(CompletionCandidate::new))
        .collect()
}

/// The ids of the stored images.
fn images(directory: &[OsString]) -> Vec<CompletionCandidate> {
    let rows = rows(directory, &["image", "list", "--no-legend", "--fields=id,name"]);
    let candidate = |row: &Vec<String>| {
        let name = row.get(1).map(|name| name.clone().into());
        row.first().map(|id| CompletionCandidate::new(id).help(name))
    };
    rows.iter().filter_map(candidate).collect()
}

/// The cells of a table that another command prints. It runs on its own, as a command may print only what it is for.
fn rows(directory: &[OsString], command: &[&str]) -> Vec<Vec<String>> {
    let itself = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("rkt"));
    let output = std::process::Command::new(itself)
        .args(directory)
        .args(command)
        .env_remove(ASKED)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    // Without an answer there is nothing to offer, and nobody to tell.
    let text = output
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    text.lines().map(cells).collect()
}

/// The cells of a line: at least one tab lies between two of them, so that an empty cell cannot be told from padding.
fn cells(line: &str) -> Vec<String> {
    if line.starts_with('\t') {
        // A further app of the pod above.
        return Vec::new();
    }
    line.split('\t').filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(line: &[&str]) -> Vec<String> {
        let words: Vec<OsString> = line.iter().map(OsString::from).collect();
        let index = words.len() - 1;
        let found = clap_complete::engine::complete(&mut tree(&[]), words, index, None).unwrap();
        found.iter().map(|candidate| candidate.get_value().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn offers_commands_and_flags() {
        let commands = candidates(&["rkt", ""]);
        for name in below("") {
            assert!(commands.contains(&name.to_owned()), "{name}: {commands:?}");
        }
        assert!(candidates(&["rkt", "image", ""]).contains(&"cat-manifest".to_owned()));
        assert_eq!(candidates(&["rkt", "config", "--pret"]), ["--pretty-print"]);
        assert!(candidates(&["rkt", "config", "--trust"]).is_empty());
        assert!(
            candidates(&["rkt", "--debug", "run", "--inse"])
                .contains(&"--insecure-options".to_owned())
        );
        assert_eq!(candidates(&["rkt", "config", "--insecure-options", "onl"]), [] as [&str; 0]);
        assert_eq!(candidates(&["rkt", "config", "--insecure-options", "ond"]), ["ondisk"]);
        assert!(candidates(&["rkt", "completion", ""]).contains(&"fish".to_owned()));
    }

    #[test]
    fn the_tree_is_sound() {
        tree(&[]).debug_assert();
    }

    #[test]
    fn follows_the_data_directory_of_the_line() {
        let line = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        assert_eq!(directory(&line("rkt --dir /x enter")), line("--dir /x"));
        assert_eq!(directory(&line("rkt enter --dir=/y")), line("--dir=/y"));
        assert!(directory(&line("rkt enter")).is_empty());
    }

    #[test]
    fn reads_tables() {
        assert_eq!(cells("u\t\tapp\tname\tid\trunning\t"), ["u", "app", "name", "id", "running"]);
        assert!(cells("\t\ts2\tname").is_empty());
    }
}
