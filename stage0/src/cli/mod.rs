//! The command line: argv to requests, one file a command, and all printing.
//!
//! A command's file has a `COMMAND` (name, help, flags) and a `run`; `command` lists them all. `parse` reads argv
//! against one table, a command gives the result its meaning, `print` writes, and a [`Failure`] picks the exit code.
//! Nothing here survives `rkt run`: the process becomes the pod.

mod command;
mod context;
mod failure;
mod flags;
mod parse;
mod print;
pub(crate) mod size;
pub(crate) mod table;
pub(crate) mod time;

mod cat_manifest;
mod completion;
mod config;
mod enter;
mod export;
mod fetch;
mod gc;
mod help;
mod image_cat_manifest;
mod image_export;
mod image_extract;
mod image_gc;
mod image_list;
mod image_render;
mod image_rm;
mod json_pod;
mod list;
mod logger;
mod output;
mod pod_request;
mod pods;
mod prepare;
mod profile;
mod progress;
mod rm;
mod run;
mod run_flags;
mod run_prepared;
mod run_request;
mod status;
mod stdio;
mod stop;
mod version;

use std::ffi::OsString;

pub(crate) use command::{Command, Grammar};
pub(crate) use context::Context;
pub(crate) use failure::{ExitCode, Failure};
pub(crate) use flags::{Flag, json_format, parse_bool};
pub(crate) use parse::Parsed;
pub(crate) use print::quoted;

use command::{Entry, Named};
use flags::Kind;
use parse::Asked;

/// Runs the command that `argv` (without the program's name) asks for.
pub(crate) fn main(argv: impl Iterator<Item = OsString>) -> ExitCode {
    stdio::complete();
    let argv = argv.collect();
    let done = match std::env::var_os(completion::ASKED) {
        Some(shell) => completion::answer(&shell, argv)
            .map(|answer| complete(&answer))
            .map_err(|failure| (failure, "completion", false)),
        None => dispatch(argv),
    };
    let code = done.unwrap_or_else(|(failure, name, debug)| {
        print::error(&failure.text(name, debug));
        failure.code()
    });
    if print::flush() {
        code
    } else {
        print::error("rkt: cannot write to stdout\n");
        ExitCode::FAILURE
    }
}

fn complete(answer: &str) -> ExitCode {
    if !answer.is_empty() {
        print::exact(answer);
    }
    ExitCode::SUCCESS
}

/// A failure with what is needed to show it: the command's name, and whether to show all of it.
type Shown = (Failure, &'static str, bool);

fn dispatch(mut argv: Vec<OsString>) -> Result<ExitCode, Shown> {
    let entry = match locate(&mut argv).map_err(|(failure, group)| (failure, group, false))? {
        Named::Command(entry) => entry,
        Named::Group(group) => {
            return help::without_command(group, argv).map_err(|failure| (failure, group, false));
        }
    };
    let name = entry.name;
    let args = match parse::parse(entry.command, argv).map_err(|failure| (failure, name, false))? {
        Asked::Help => {
            print::result(&help::of_command(entry));
            return Ok(ExitCode::SUCCESS);
        }
        Asked::Run(args) => args,
    };
    for notice in args.notices() {
        print::error(&format!("{notice}\n"));
    }
    let debug = args.bool("debug");
    logger::start(debug);
    let cx = Context::new(name, &args).map_err(|failure| (failure, name, debug))?;
    let code = (entry.run)(&cx, &args).map_err(|failure| (failure, name, debug))?;
    profile::write(&args).map_err(|failure| (failure, name, debug))?;
    Ok(code)
}

/// Takes the command's words out of `argv`, wherever flags before them allow.
fn locate(argv: &mut Vec<OsString>) -> Result<Named, (Failure, &'static str)> {
    let mut group = "";
    let mut place = 0;
    while let Some(word) = argv.get(place) {
        let text = word.to_string_lossy();
        if text == "--" {
            break;
        }
        if text.is_empty() {
            argv.remove(place);
        } else if let Some(flag) = text.strip_prefix("--") {
            place += if takes_next(flag) { 2 } else { 1 };
        } else if text.starts_with('-') {
            place += 1;
        } else {
            let named = command::named(group, &text).map_err(|failure| (failure, group))?;
            argv.remove(place);
            match named {
                Named::Group(name) => group = name,
                Named::Command(_) => return Ok(named),
            }
        }
    }
    Ok(Named::Group(group))
}

/// Whether the word after this flag is its value, when it is not yet known whose flag it is.
fn takes_next(flag: &str) -> bool {
    let commands = command::COMMANDS.iter().flat_map(|entry: &Entry| entry.command.flags);
    flags::GLOBAL
        .iter()
        .chain(commands)
        .find(|known| known.name == flag)
        .is_some_and(|known| known.kind == Kind::Value)
}
