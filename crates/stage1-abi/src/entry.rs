//! The `main` that all entrypoint programs share: a log, one line for a failure, the exit code.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
pub use sys::cause::chain;

/// What an entrypoint exits with when it, and not the app, failed.
pub const FAILURE: u8 = 254;

/// Writes what the program has to say to stderr, with the prefix of this side of the contract.
struct Stderr;

impl log::Log for Stderr {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &log::Record<'_>) {
        let take = |left: usize| left.checked_sub(1);
        let within = || LEFT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok();
        if self.enabled(record.metadata()) && within() {
            let word = if record.level() == log::Level::Warn { "warning: " } else { "" };
            say(&format!("{word}{}", record.args()));
        }
    }

    fn flush(&self) {}
}

static LOG: Stderr = Stderr;
/// How many lines may still be written.
static LEFT: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Lets the log of this process have so many lines more, and no others: for who serves somebody that could have it written
/// for ever.
pub fn bound_log(lines: usize) {
    LEFT.store(lines, Ordering::Relaxed);
}

/// Turns the log on: warnings always, everything with `debug`.
pub fn start_log(debug: bool) {
    let level = if debug { log::LevelFilter::Debug } else { log::LevelFilter::Warn };
    // A second call only changes the level: the sink is the same.
    if log::set_logger(&LOG).is_ok() || log::max_level() != level {
        log::set_max_level(level);
    }
}

/// Runs an entrypoint and turns its failure into `stage1: MESSAGE: CAUSE…` and exit code 254.
pub fn main<E: Error>(body: impl FnOnce() -> Result<u8, E>) -> ExitCode {
    ExitCode::from(exit_code(body))
}

/// As [`main`], for a program that has no start by std: it reads `/proc/self/maps`, which a pod's start has no time for.
/// What std would do about broken pipes is done here: who writes what apps print wants an error, not a death.
pub fn exit_code<E: Error>(body: impl FnOnce() -> Result<u8, E>) -> u8 {
    start_log(false);
    sys::signal::ignore_broken_pipes();
    match body() {
        Ok(code) => code,
        Err(error) => {
            say(&chain(&error));
            FAILURE
        }
    }
}

fn say(text: &str) {
    // If stderr is closed there is nobody to tell.
    drop(std::io::stderr().write_all(format!("stage1: {text}\n").as_bytes()));
}
