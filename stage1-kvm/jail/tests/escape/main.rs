//! Breaking out: a process goes through the same jail and the same filter of each role as those that serve guests, and then
//! tries what an intruder would. Each try is a process of its own, and a test of its own.
//!
//! A program without threads, which speaks as much of the test runners' language as they need: a list, names, `--exact`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails loudly, and says how it went"
)]

mod attempts;
mod cell;
mod duties;
mod inside;

use std::panic::catch_unwind;
use std::process::ExitCode;

/// A test: its name and what it asserts.
type Test = (String, Box<dyn Fn() + std::panic::RefUnwindSafe>);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| words.iter().any(|word| word == flag);
    let wanted: Vec<&String> = words.iter().filter(|word| !word.starts_with('-')).collect();
    let chosen = |name: &str| {
        let named = |word: &&String| {
            if has("--exact") { name == **word } else { name.contains(word.as_str()) }
        };
        wanted.is_empty() || wanted.iter().any(named)
    };
    let tests: Vec<Test> =
        attempts::tests().into_iter().chain(duties::tests()).chain(inside::tests()).collect();
    if has("--list") {
        // None is ignored.
        for (name, _) in tests.iter().filter(|_| !has("--ignored")) {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    if !rustix::process::geteuid().is_root() {
        println!("a jail is built by root");
        return ExitCode::FAILURE;
    }
    let (mut passed, mut failed) = (0, 0);
    for (name, test) in tests.iter().filter(|(name, _)| chosen(name)) {
        let outcome = catch_unwind(test);
        println!("test {name} ... {}", if outcome.is_ok() { "ok" } else { "FAILED" });
        if outcome.is_ok() { passed += 1 } else { failed += 1 }
    }
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!("test result: {verdict}. {passed} passed; {failed} failed; 0 ignored; 0 measured");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
