//! What the server has to say: to the standard error that it was started with, and never more than so many lines, since
//! the guest may be the reason for each. The library also writes to the standard streams by itself; that goes nowhere.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The most lines there are.
const MOST: u32 = 32;

static OUT: OnceLock<std::fs::File> = OnceLock::new();
static SAID: AtomicU32 = AtomicU32::new(0);

struct Sink;

impl log::Log for Sink {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) && SAID.fetch_add(1, Ordering::Relaxed) < MOST {
            say(&record.args().to_string());
        }
    }

    fn flush(&self) {}
}

/// Keeps the standard error for the log, and makes the null device all standard streams.
///
/// # Errors
/// There are no descriptors left.
pub fn start() -> io::Result<()> {
    sys::descriptor::blind_error()?;
    let kept = io::stderr().as_fd().try_clone_to_owned()?;
    sys::descriptor::silence_standard()?;
    OUT.get_or_init(|| kept.into());
    if log::set_logger(&Sink).is_ok() {
        // The library warns of features that a guest may or may not have.
        log::set_max_level(log::LevelFilter::Error);
    }
    Ok(())
}

/// Has a thread that dies end the process: the others must not serve half of what is asked.
pub fn tell_panics() {
    std::panic::set_hook(Box::new(|panic| {
        say(&format!("a mistake of its own: {panic}"));
        sys::process::leave(101);
    }));
}

/// Says one line, in any case.
pub fn say(text: &str) {
    let line = format!("fs-server: {}\n", text.replace(|letter: char| letter.is_control(), " "));
    // If nobody listens there is nobody to tell.
    drop(match OUT.get() {
        Some(mut file) => file.write_all(line.as_bytes()),
        None => io::stderr().write_all(line.as_bytes()),
    });
}
