//! `fuzz`: runs what the corpora hold through the code that strangers write for, or looks for inputs that break it. The
//! targets are a workspace of their own, `tests/fuzz`.

use crate::error::{At, TaskError};
use crate::ground::names;
use crate::say;
use crate::workspace::{Workspace, call};
use std::fs;
use std::process::Command;

const USAGE: &str = "usage: cargo xtask fuzz [NAME [SECONDS]]";
/// Where the targets are.
pub(crate) const MANIFEST: &str = "tests/fuzz/Cargo.toml";
/// Without a target, the flags would also reach procedural macros and build scripts.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// What the engine follows: which places were reached, and what was compared with what.
const FLAGS: [&str; 7] = [
    "--cfg fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=16",
];
/// How long it looks unless told otherwise, in seconds.
pub(crate) const SECONDS: u64 = 600;
/// A file system that is none of a disk's.
const MEMORY: &str = "/dev/shm";
/// The longest input, in bytes, and the longest that one may take, in seconds: whoever shares this machine stops it at times.
const LONGEST: &str = "-max_len=4096";
const PATIENCE: &str = "-timeout=120";

/// `cargo xtask fuzz [NAME [SECONDS]]`
pub(crate) fn run(workspace: &Workspace, words: &[String]) -> Result<(), TaskError> {
    let usage = || TaskError::Usage(USAGE.to_owned());
    match words {
        [] => replay(workspace),
        [name] => search(workspace, name, SECONDS),
        [name, seconds] => search(workspace, name, seconds.parse().map_err(|_| usage())?),
        _ => Err(usage()),
    }
}

/// Looks in every target, one after the other; one in which something is found does not keep the others from being looked at.
pub(crate) fn all(workspace: &Workspace, seconds: u64) -> Result<(), TaskError> {
    let mut failed = Vec::new();
    for name in names(&workspace.path("tests/fuzz/corpus")) {
        say::title(&name);
        match search(workspace, &name, seconds) {
            Err(TaskError::Program { .. }) => failed.push(name),
            other => other?,
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(TaskError::Parts(failed)) }
}

fn replay(workspace: &Workspace) -> Result<(), TaskError> {
    let words = ["test", "--locked", "--manifest-path", MANIFEST, "--package", "targets"];
    call(workspace.cargo(&words).env("CARGO_TARGET_DIR", workspace.path("target/fuzz")))
}

/// What is new goes to `target/fuzz-corpus`, what breaks something to `target/fuzz-found`.
fn search(workspace: &Workspace, name: &str, seconds: u64) -> Result<(), TaskError> {
    let known = workspace.path("tests/fuzz/corpus").join(name);
    if !known.is_dir() {
        return Err(TaskError::Usage(format!("there is no target {name:?}")));
    }
    let build = workspace.path("target/fuzz-engine");
    let words = ["build", "--release", "--locked", "--manifest-path", MANIFEST];
    let mut cargo = workspace.cargo(&words);
    cargo.args(["--target", TARGET, "--package", "engine"]).env("CARGO_TARGET_DIR", &build);
    call(cargo.env("RUSTFLAGS", FLAGS.join(" ")))?;
    let (new, found) = (
        workspace.path("target/fuzz-corpus").join(name),
        workspace.path("target/fuzz-found").join(name),
    );
    for folder in [&new, &found] {
        fs::create_dir_all(folder).at("make", folder)?;
    }
    let mut engine = Command::new(build.join(TARGET).join("release/engine"));
    // Targets that make files are not to wait for a disk.
    engine.env("TMPDIR", MEMORY).env("RKT_FUZZ_TARGET", name);
    engine.args([LONGEST, PATIENCE, "-print_final_stats=1"]);
    engine.arg(format!("-max_total_time={seconds}"));
    engine.arg(format!("-artifact_prefix={}/", found.display()));
    call(engine.args([&new, &known]))
}
