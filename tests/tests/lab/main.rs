//! What needs a machine of its own: control groups of version 2 alone, and systemd as the host's init. All of it is
//! ignored by an ordinary run; `cargo xtask test --lab` calls it where it belongs.

mod groups;
mod long;
mod machines;
mod systemd;

use rustix::event::Timespec;
use std::time::{Duration, Instant};

/// How long an emulated machine may take for anything.
const DEADLINE: Duration = Duration::from_mins(2);
/// How often something is looked at that announces itself to nobody: what systemd thinks, who is in a group.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// Waits until `test` holds.
fn eventually(what: &str, mut test: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !test() {
        assert!(Instant::now() < end, "not in time: {what}");
        rustix::event::poll(&mut [], Some(&PAUSE)).unwrap();
    }
}
