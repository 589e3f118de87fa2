//! The project's own commands: `cargo xtask NAME`. Building what is installed, checking what is agreed, showing that it
//! works. One module a command; each takes the workspace and its arguments and says what went wrong.

#![forbid(unsafe_code)]

mod bench;
mod ci;
mod corpus;
mod demo;
mod dist;
mod error;
mod fuzz;
mod ground;
mod kernel;
mod lab;
mod layers;
mod licences;
mod metadata;
mod say;
mod setup;
mod size;
mod soak;
mod test;
mod usage;
mod workspace;

use error::TaskError;
use std::process::ExitCode;
use workspace::Workspace;

/// A command.
struct Task {
    name: &'static str,
    about: &'static str,
    run: fn(&Workspace, &[String]) -> Result<(), TaskError>,
}

const TASKS: [Task; 13] = [
    Task {
        name: "demo",
        about: "build rkt, make an image of this host's programs, run it as a pod",
        run: demo::run,
    },
    Task {
        name: "dist",
        about: "build target/dist: rkt and the stage1 images, static [--quick: without link-time optimisation] [--kernel=stock]",
        run: dist::run,
    },
    Task {
        name: "kernel",
        about: "a micro-VM's kernel in the user's cache: built, or the distribution's [--kernel=stock]",
        run: kernel::run,
    },
    Task {
        name: "ci",
        about: "everything below, and fmt, clippy and doc, within budgets",
        run: ci::run,
    },
    Task {
        name: "test",
        about: "install what the tests need, build dist, run the tests [--quick] [--all-images | --lab | arguments of the runner]",
        run: test::run,
    },
    Task {
        name: "setup",
        about: "install what the tests need; as root, build real images for them [--all-images]",
        run: setup::run,
    },
    Task {
        name: "layers",
        about: "compare the crates' dependencies with ARCHITECTURE.md",
        run: layers::run,
    },
    Task { name: "size", about: "find files that are too long", run: size::run },
    Task {
        name: "bench",
        about: "measure against the kernel's floor and other runtimes: start | fetch [CORPUS] | kvm",
        run: bench::run,
    },
    Task {
        name: "soak",
        about: "many pods, or kills at any system call: pods [N] | kill [N] [SEED]",
        run: soak::run,
    },
    Task {
        name: "lab",
        about: "run a command on an emulated machine: [OPTIONS of tests/lab/lab.sh] -- COMMAND",
        run: lab::run,
    },
    Task {
        name: "fuzz",
        about: "replay the corpora of tests/fuzz, or look for what breaks a target: [NAME [SECONDS]]",
        run: fuzz::run,
    },
    Task { name: "licences", about: "compare the dependencies with deny.toml", run: licences::run },
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (name, rest) = words.split_first().map_or(("help", &[][..]), |(n, r)| (n.as_str(), r));
    if matches!(name, "help" | "--help" | "-h") {
        help();
        return ExitCode::SUCCESS;
    }
    let outcome = match TASKS.iter().find(|task| task.name == name) {
        Some(task) => Workspace::find().and_then(|workspace| (task.run)(&workspace, rest)),
        None => Err(TaskError::Usage(format!("no command {name:?}; see cargo xtask help"))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // The tests have said it themselves, and their summary is what a reader looks for at the end.
        Err(TaskError::Tests) => ExitCode::FAILURE,
        Err(error) => {
            say::problem(&error);
            ExitCode::FAILURE
        }
    }
}

fn help() {
    say::line("cargo xtask COMMAND\n");
    for task in &TASKS {
        say::line(&format!("  {:<10}{}", task.name, task.about));
    }
}
