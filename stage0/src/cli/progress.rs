//! How far a download is, on stderr: a line that is drawn over and over on a terminal, a few plain ones elsewhere.

use std::io::{self, IsTerminal as _};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use stage0::fetch::Progress;

use super::print;
use super::size::si;

/// How often a terminal is drawn on.
const REDRAW: Duration = Duration::from_millis(100);
/// How often a log gets a line.
const RELOG: Duration = Duration::from_secs(10);
/// The bar itself is no wider.
const WIDEST: usize = 40;

/// Draws what it is told.
#[derive(Debug)]
pub(crate) struct Meter {
    terminal: bool,
    now: Mutex<Option<Transfer>>,
}

/// What comes at the moment.
#[derive(Debug)]
struct Transfer {
    what: String,
    bytes: u64,
    total: Option<u64>,
    begun: Instant,
    drawn: Instant,
    shown: Option<String>,
}

impl Meter {
    /// A meter for this process's stderr.
    pub(crate) fn new() -> Self {
        Self { terminal: io::stderr().is_terminal(), now: Mutex::new(None) }
    }

    fn draw(&self, transfer: &mut Transfer) {
        transfer.drawn = Instant::now();
        let line = transfer.line();
        if self.terminal {
            let size = rustix::termios::tcgetwinsize(io::stderr());
            // A serial line does not know how wide it is.
            let columns = size.map_or(0, |size| usize::from(size.ws_col));
            let columns = if columns == 0 { 80 } else { columns };
            let bar = transfer.bar(columns.saturating_sub(line.len() + 16));
            let speed = transfer.speed();
            // One write; what the line before had more is erased.
            print::error(&format!("\r{line}{bar}{speed}\u{1b}[K"));
        } else if transfer.shown.as_ref() != Some(&line) {
            print::error(&format!("{line}\n"));
            transfer.shown = Some(line);
        }
    }
}

impl Transfer {
    /// `Downloading ACI:  1.07 MB/1.07 MB`
    fn line(&self) -> String {
        let what = print::safe_line(&self.what);
        let total = self.total.map(|total| format!("/{}", si(total))).unwrap_or_default();
        format!("Downloading {what}:  {}{total}", si(self.bytes))
    }

    fn bar(&self, room: usize) -> String {
        let width = room.min(WIDEST);
        let Some(total) = self.total.filter(|total| *total > 0 && width >= 5) else {
            return String::new();
        };
        let share = u128::from(self.bytes.min(total)) * width as u128 / u128::from(total);
        let full = usize::try_from(share).unwrap_or(width);
        format!(" [{}{}]", "=".repeat(full), " ".repeat(width - full))
    }

    fn speed(&self) -> String {
        let millis = self.begun.elapsed().as_millis().max(1);
        let rate = u128::from(self.bytes) * 1000 / millis;
        format!(" {}/s", si(u64::try_from(rate).unwrap_or(u64::MAX)))
    }
}

impl Progress for Meter {
    fn begin(&self, what: &str, total: Option<u64>) {
        let Ok(mut now) = self.now.lock() else { return };
        let start = Instant::now();
        let mut transfer = Transfer {
            what: what.to_owned(),
            bytes: 0,
            total,
            begun: start,
            drawn: start,
            shown: None,
        };
        self.draw(&mut transfer);
        *now = Some(transfer);
    }

    fn at(&self, bytes: u64, total: Option<u64>) {
        let Ok(mut now) = self.now.lock() else { return };
        let Some(transfer) = now.as_mut() else { return };
        (transfer.bytes, transfer.total) = (bytes, total);
        if transfer.drawn.elapsed() >= if self.terminal { REDRAW } else { RELOG } {
            self.draw(transfer);
        }
    }

    fn end(&self) {
        let Ok(mut now) = self.now.lock() else { return };
        if let Some(mut transfer) = now.take() {
            self.draw(&mut transfer);
            print::error("\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transfer(bytes: u64, total: Option<u64>) -> Transfer {
        let begun = Instant::now();
        Transfer { what: "ACI".to_owned(), bytes, total, begun, drawn: begun, shown: None }
    }

    #[test]
    fn lines_are_those_of_the_transcripts() {
        for (bytes, total, line) in [
            (0, Some(488), "Downloading ACI:  0 B/488 B"),
            (1_070_000, Some(1_070_000), "Downloading ACI:  1.07 MB/1.07 MB"),
            (1_070_000, None, "Downloading ACI:  1.07 MB"),
        ] {
            assert_eq!(transfer(bytes, total).line(), line);
        }
    }

    #[test]
    fn bars_fit() {
        for (bytes, total, room, bar) in [
            (0, Some(100), 10, " [          ]"),
            (50, Some(100), 10, " [=====     ]"),
            (100, Some(100), 10, " [==========]"),
            (200, Some(100), 10, " [==========]"),
            (u64::MAX, Some(u64::MAX), 5, " [=====]"),
            (1, Some(100), 4, ""),
            (1, Some(0), 10, ""),
            (1, None, 10, ""),
        ] {
            assert_eq!(transfer(bytes, total).bar(room), bar);
        }
    }
}
