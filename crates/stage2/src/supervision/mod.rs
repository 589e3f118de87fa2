//! What becomes of the apps of a pod, as data: which is started next, which is asked to end, what each one's status is,
//! and the pod's code. It calls nothing: whoever is PID 1 does what [`Supervision::next`] says, and tells what happened.
//!
//! ```text
//! app:   Before ──► Main ──► After ──► Over        a program each, or none; Before must end well for Main to start
//! ```
//!
//! The rule: an app that ends well leaves the others alone; the first that fails ends the pod with its code, and the
//! others are asked to end, given time, and killed. A pod that is asked to stop ends with 0, unless one had failed.

use crate::spec::AppSpec;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use sys::process::End;
use sys::signal::number;

/// How long apps may take to end after they were asked to, if nobody says anything else.
pub const GRACE: Duration = Duration::from_secs(10);

/// Which program of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The one that prepares it.
    Before,
    /// The app itself.
    Main,
    /// The one that cleans up after it.
    After,
    /// None any more.
    Over,
}

impl Phase {
    /// The command of this phase; empty if there is none.
    pub fn command(self, spec: &AppSpec) -> &[String] {
        match self {
            Self::Before => &spec.commands.pre_start,
            Self::Main => &spec.commands.main,
            Self::After => &spec.commands.post_stop,
            Self::Over => &[],
        }
    }
}

/// In which order apps are asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopOrder {
    /// The first one first.
    AsStarted,
    /// The last one first.
    Reversed,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Start this program of an app. Then nothing else is to be done before [`Supervision::ended`] was told where that
    /// failed.
    Start {
        /// Which app.
        app: usize,
        /// Which program; not [`Phase::Over`].
        phase: Phase,
    },
    /// The app has this status from now on.
    Report {
        /// Which app.
        app: usize,
        /// Its status.
        end: End,
    },
    /// Send a signal to the app's process and all it started in its group.
    Signal {
        /// Which app.
        app: usize,
        /// Which signal.
        signal: i32,
    },
    /// Kill everything in the pod but PID 1.
    KillAll,
}

#[derive(Debug)]
struct Life {
    phase: Phase,
    /// Whether the program of the phase was started and has not ended.
    runs: bool,
    /// Whether there is one: before, main, after.
    programs: [bool; 3],
    stop_signal: i32,
}

impl Life {
    fn has_program(&self) -> bool {
        let [before, main, after] = self.programs;
        match self.phase {
            Phase::Before => before,
            Phase::Main => main,
            Phase::After => after,
            Phase::Over => false,
        }
    }
}

#[derive(Debug)]
struct Stop {
    deadline: Instant,
    grace: Duration,
}

/// The apps of a pod.
#[derive(Debug)]
pub struct Supervision {
    apps: Vec<Life>,
    order: StopOrder,
    acts: VecDeque<Act>,
    /// The code of the first app that failed.
    code: i32,
    stop: Option<Stop>,
}

impl Supervision {
    /// Apps of which none was started.
    pub fn new<'a>(apps: impl Iterator<Item = &'a AppSpec>, order: StopOrder) -> Self {
        let apps = apps.map(|spec| Life {
            phase: Phase::Before,
            runs: false,
            programs: [Phase::Before, Phase::Main, Phase::After]
                .map(|phase| !phase.command(spec).is_empty()),
            stop_signal: spec.stop_signal,
        });
        Self { apps: apps.collect(), order, acts: VecDeque::new(), code: 0, stop: None }
    }

    /// What is to be done next; `None` when there is nothing to do but to wait.
    pub fn next(&mut self, now: Instant) -> Option<Act> {
        loop {
            if let Some(act) = self.acts.pop_front() {
                return Some(act);
            }
            let waits = |life: &Life| life.phase != Phase::Over && !life.runs;
            let app = self.apps.iter().position(waits)?;
            let life = self.apps.get_mut(app)?;
            let skipped = self.stop.is_some() && life.phase != Phase::After;
            if life.has_program() && !skipped {
                life.runs = true;
                return Some(Act::Start { app, phase: life.phase });
            }
            self.advance(app, End::Exited(0), skipped, now);
        }
    }

    /// The program of an app that was started last has ended so, or could not be started, which has a status as well.
    pub fn ended(&mut self, app: usize, end: End, now: Instant) {
        self.advance(app, end, false, now);
    }

    /// Asks all to end.
    pub fn begin_stop(&mut self, grace: Duration, now: Instant) {
        if self.stop.is_some() {
            return;
        }
        self.stop = Some(Stop { deadline: now + grace, grace });
        let signals = self.apps.iter().enumerate().filter(|(_, life)| life.runs);
        let signals = signals.filter_map(|(app, life)| match life.phase {
            Phase::Main => Some(Act::Signal { app, signal: life.stop_signal }),
            Phase::Before => Some(Act::Signal { app, signal: number::TERMINATE }),
            Phase::After | Phase::Over => None,
        });
        let mut signals: Vec<Act> = signals.collect();
        if self.order == StopOrder::Reversed {
            signals.reverse();
        }
        self.acts.extend(signals);
    }

    /// When what still runs is to be killed, if the pod is stopping.
    pub fn deadline(&self) -> Option<Instant> {
        self.stop.as_ref().map(|stop| stop.deadline)
    }

    /// Nobody waits any longer. What cleans up after the apps gets as much time again.
    pub fn time_is_over(&mut self, now: Instant) {
        if let Some(stop) = &mut self.stop {
            stop.deadline = now + stop.grace.max(Duration::from_secs(1));
        }
        self.acts.push_back(Act::KillAll);
    }

    /// Whether the program of an app that runs now is the app itself.
    pub fn runs_main(&self, app: usize) -> bool {
        self.apps.get(app).is_some_and(|life| life.phase == Phase::Main && life.runs)
    }

    /// Whether no program of an app will be started any more, and none runs.
    pub fn has_ended(&self, app: usize) -> bool {
        self.apps.get(app).is_none_or(|life| life.phase == Phase::Over)
    }

    /// Whether the pod is stopping.
    pub fn is_stopping(&self) -> bool {
        self.stop.is_some()
    }

    /// Whether all apps are over.
    pub fn is_over(&self) -> bool {
        self.apps.iter().all(|life| life.phase == Phase::Over)
    }

    /// The pod's code.
    pub fn code(&self) -> u8 {
        // Codes of processes have eight bits; a signal's number has fewer.
        u8::try_from(self.code & 0xff).unwrap_or(u8::MAX)
    }

    /// Takes note of how a phase ended and goes to the next.
    fn advance(&mut self, app: usize, end: End, skipped: bool, now: Instant) {
        let stopping = self.stop.is_some();
        let Some(life) = self.apps.get_mut(app) else { return };
        life.runs = false;
        let next = match life.phase {
            Phase::Before if end == End::Exited(0) && !skipped => Phase::Main,
            Phase::Before | Phase::Main => Phase::After,
            Phase::After | Phase::Over => Phase::Over,
        };
        let over = matches!(life.phase, Phase::Before | Phase::Main) && next == Phase::After;
        life.phase = next;
        if over {
            // What we asked to end, and what died of it, ended well.
            let asked = [life.stop_signal, number::TERMINATE, number::KILL];
            let end = match end {
                End::Killed(signal) if stopping && asked.contains(&signal) => End::Exited(0),
                other => other,
            };
            self.acts.push_back(Act::Report { app, end });
            if end.code() != 0 && !stopping {
                self.code = end.code();
                self.begin_stop(GRACE, now);
            }
        }
    }
}

#[cfg(test)]
mod tests;
