//! `rkt enter`.

use std::ffi::OsString;

use stage0::launch;
use stage0::pod::State;
use stage1_abi::EnterArgs;

use super::{Command, Context, ExitCode, Failure, Flag, Grammar, Parsed, pods};

/// What runs when nothing is named.
const SHELL: &str = "/bin/bash";

/// How it is called.
pub(crate) const COMMAND: Command = Command {
    name: "enter",
    summary: "Enter the namespaces of an app within a rkt pod",
    usage: "[--app=APPNAME] UUID [CMD [ARGS ...]]",
    description: "The command gets the environment, the capabilities and the limits of the app.",
    grammar: Grammar::Program,
    flags: &[
        Flag::text("app", "", "name of the app to enter within the specified pod"),
        pods::UUID_FILE,
    ],
};

/// Becomes a command inside an app.
pub(crate) fn run(cx: &Context, args: &Parsed) -> Result<ExitCode, Failure> {
    cx.require_root()?;
    let (sighting, command) = pods::first(cx, args)?;
    let idle = || Failure::new(format!("pod \"{}\" isn't currently running", sighting.uuid));
    if sighting.state != State::Running {
        return Err(idle());
    }
    let app =
        pods::app_name(cx, &sighting, args.value("app"), "unable to determine app name", "enter")?;
    let command: Vec<OsString> = if command.is_empty() {
        cx.note(&format!("no command specified, assuming \"{SHELL}\""));
        vec![SHELL.into()]
    } else {
        command.iter().map(OsString::from).collect()
    };
    let pid = pods::pid(&sighting)?.ok_or_else(idle)?;
    rustix::process::fchdir(&sighting.dir).map_err(|error| {
        Failure::because("cannot enter the pod's folder", std::io::Error::from(error))
    })?;
    Err(Failure::because(
        "enter failed",
        launch::enter(&sighting.dir, &EnterArgs { pid, app, command }),
    ))
}
