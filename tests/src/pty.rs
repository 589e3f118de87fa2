//! A terminal for a program that wants one.

use crate::program::Running;
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};

/// The end of a terminal that the test types on.
#[derive(Debug)]
pub struct Keys(File);

impl Keys {
    /// Types these bytes.
    pub fn types(&self, text: &str) {
        (&self.0).write_all(text.as_bytes()).unwrap();
    }
}

/// Starts a command in a session of its own, controlled by a new terminal of this size; what it shows is its standard
/// output here.
pub fn start(inner: &Command, rows: u16, columns: u16) -> (Running, Keys) {
    let pair = sys::terminal::open(c"/dev/ptmx").unwrap();
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&pair.slave, size).unwrap();
    let mut outer = Command::new("setsid");
    outer.args(["--ctty", "--wait"]).arg(inner.get_program()).args(inner.get_args());
    outer.env_clear();
    for (name, value) in inner.get_envs() {
        if let Some(value) = value {
            outer.env(name, value);
        }
    }
    outer.stdin(Stdio::from(pair.slave.try_clone().unwrap()));
    outer.stdout(Stdio::from(pair.slave.try_clone().unwrap()));
    outer.stderr(Stdio::from(pair.slave));
    let keys: File = pair.master.into();
    let screen = keys.try_clone().unwrap();
    let running = Running::start_on(&mut outer, screen);
    (running, Keys(keys))
}
