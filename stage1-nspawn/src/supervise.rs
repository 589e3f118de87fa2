//! PID 1 of a pod: starts the apps, reaps, stops them in order, applies rkt's exit rule.
//!
//! The rule: an app that ends well leaves the others alone; the first that fails ends the pod with its code, and the
//! others are asked to end, given time, and killed. A pod that is asked to stop ends with 0.

use crate::assemble::{self, Root};
use crate::control::{Control, Message};
use crate::error::{Doing, RunError};
use crate::pod::{Pod, PodApp};
use crate::run::NAMESPACES;
use rustix::process::Pid;
use stage1_abi::PodDir;
use stage2::launch::{Rights, Session, Standard};
use stage2::{Identity, Launch, program};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};
use sys::cgroup::Doors;
use sys::namespace::Kinds;
use sys::process::{End, Words};
use sys::signal::{self, Set, number};

/// How long apps may take to end after they were asked to.
const GRACE: Duration = Duration::from_secs(10);
/// The signals a supervisor acts on.
pub const SIGNALS: [i32; 8] = [
    number::CHILD,
    number::TERMINATE,
    number::INTERRUPT,
    number::QUIT,
    number::HANGUP,
    number::USER1,
    number::USER2,
    number::WINDOW,
];

/// The descriptors that P0 leaves to an app.
#[derive(Debug)]
pub struct Ends {
    /// What it reads.
    pub input: OwnedFd,
    /// What it writes.
    pub output: OwnedFd,
    /// What it complains to.
    pub error: OwnedFd,
    /// Its control group.
    pub doors: Doors,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Before,
    Main,
    After,
    Over,
}

struct Supervised<'a> {
    app: &'a PodApp,
    root: Root,
    ends: Ends,
    env: Words,
    phase: Phase,
    pid: Option<Pid>,
}

/// Lives as PID 1 until the pod is over; the pod's exit code.
///
/// # Errors
/// Set-up failed: no app was started.
pub fn supervise(
    pod: &Pod,
    dir: &PodDir,
    control: &Control,
    ends: Vec<Ends>,
) -> Result<u8, RunError> {
    sys::process::die_with_parent().doing("cannot tie the pod to its caller")?;
    sys::process::hide().doing("cannot hide the supervisor")?;
    rustix::process::setsid().doing("cannot start a session")?;
    sys::namespace::set_hostname(&pod.hostname).doing("cannot set the host name")?;
    if pod.own_network {
        sys::namespace::loopback_up().doing("cannot bring the loopback interface up")?;
    }
    let previous = rustix::process::umask(rustix::fs::Mode::empty());
    let roots = assemble::all(pod, assemble::wants_terminal(pod))?;
    rustix::process::umask(previous);
    announce(pod, dir, control, &roots)?;
    let mut apps = Vec::with_capacity(roots.len());
    for ((app, root), ends) in pod.apps.iter().zip(roots).zip(ends) {
        let env = app.spec.env_words()?;
        apps.push(Supervised { app, root, ends, env, phase: Phase::Before, pid: None });
    }
    if !control.wait_for_release().doing("cannot hear from the caller")? {
        return Err(RunError::Gone);
    }
    let mut supervisor = Supervisor { apps, dir, control, code: 0, stop: None };
    supervisor.live()
}

/// Says that all roots stand and where their namespaces are, and hands the terminal over.
fn announce(pod: &Pod, dir: &PodDir, control: &Control, roots: &[Root]) -> Result<(), RunError> {
    let mut lines = String::new();
    for (app, root) in pod.apps.iter().zip(roots) {
        if let Some(namespace) = &root.namespace {
            lines.extend([&app.spec.name, " ", &namespace.as_raw_fd().to_string(), "\n"]);
        }
    }
    if !lines.is_empty() {
        dir.write(NAMESPACES, lines.as_bytes())?;
    }
    dir.write_supervisor_ready()?;
    if let Some(pair) = roots.iter().find_map(|root| root.terminal.as_ref()) {
        control
            .send(&Message::Terminal, Some(pair.master.as_fd()))
            .doing("cannot report to the caller")?;
    }
    Ok(())
}

struct Stop {
    deadline: Instant,
    interrupts: u32,
}

struct Supervisor<'a> {
    apps: Vec<Supervised<'a>>,
    /// Opened by P0: it leads out of the pod, which only a hidden process may hold.
    dir: &'a PodDir,
    control: &'a Control,
    /// The code of the first app that failed.
    code: i32,
    stop: Option<Stop>,
}

impl Supervisor<'_> {
    fn live(&mut self) -> Result<u8, RunError> {
        let signals = Set::of(&SIGNALS);
        for index in 0..self.apps.len() {
            self.start(index)?;
        }
        while self.apps.iter().any(|app| app.phase != Phase::Over) {
            let left = self
                .stop
                .as_ref()
                .map(|stop| stop.deadline.saturating_duration_since(Instant::now()));
            match signals.wait(left).doing("cannot wait for signals")? {
                None => self.time_is_over(),
                Some(number::CHILD | number::WINDOW) => {}
                Some(number::TERMINATE | number::QUIT) => self.begin_stop(),
                Some(number::INTERRUPT) => self.interrupt(),
                Some(other) => self.forward(other),
            }
            while let Some((pid, end)) = sys::process::reap().doing("cannot reap")? {
                self.ended(pid, end)?;
            }
        }
        // Codes of processes have eight bits; a signal's number has fewer.
        Ok(u8::try_from(self.code & 0xff).unwrap_or(u8::MAX))
    }

    /// Starts what is next for an app.
    fn start(&mut self, index: usize) -> Result<(), RunError> {
        loop {
            let Some(app) = self.apps.get_mut(index) else { return Ok(()) };
            let commands = &app.app.spec.commands;
            let command = match app.phase {
                Phase::Before => &commands.pre_start,
                Phase::Main => &commands.main,
                Phase::After => &commands.post_stop,
                Phase::Over => return Ok(()),
            };
            let stopping = self.stop.is_some() && app.phase != Phase::After;
            if command.is_empty() || stopping {
                let end = End::Exited(0);
                if self.advance(index, end, stopping)? {
                    continue;
                }
                return Ok(());
            }
            match app.launch(command)? {
                Ok(pid) => {
                    app.pid = Some(pid);
                    // Only lines of several apps need to be told apart.
                    if app.phase == Phase::Main && self.apps.len() > 1 {
                        self.tell(&Message::Started {
                            app: small(index),
                            pid: pid.as_raw_nonzero().get(),
                        });
                    }
                    return Ok(());
                }
                Err(status) => {
                    if !self.advance(index, End::Exited(status), false)? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Takes note of how a phase ended and goes to the next; false when there is none.
    fn advance(&mut self, index: usize, end: End, skipped: bool) -> Result<bool, RunError> {
        let stopping = self.stop.is_some();
        let Some(app) = self.apps.get_mut(index) else { return Ok(false) };
        app.pid = None;
        let next = match app.phase {
            Phase::Before if end == End::Exited(0) && !skipped => Phase::Main,
            Phase::Before | Phase::Main => Phase::After,
            Phase::After | Phase::Over => Phase::Over,
        };
        let over = matches!(app.phase, Phase::Before | Phase::Main) && next == Phase::After;
        app.phase = next;
        if over {
            // What we asked to end, and what died of it, ended well.
            let asked = [app.app.spec.stop_signal, number::TERMINATE, number::KILL];
            let end = match end {
                End::Killed(signal) if stopping && asked.contains(&signal) => End::Exited(0),
                other => other,
            };
            self.dir.write_status(&app.app.spec.name, end.code(), end.signal())?;
            if end.code() != 0 && !stopping {
                self.code = end.code();
                self.begin_stop();
            }
        }
        Ok(next != Phase::Over)
    }

    fn ended(&mut self, pid: Pid, end: End) -> Result<(), RunError> {
        // Others are orphans that the apps left to us.
        let Some(index) = self.apps.iter().position(|app| app.pid == Some(pid)) else {
            return Ok(());
        };
        if self.advance(index, end, false)? { self.start(index) } else { Ok(()) }
    }

    fn begin_stop(&mut self) {
        if self.stop.is_some() {
            return;
        }
        self.stop = Some(Stop { deadline: deadline(), interrupts: 0 });
        for app in &self.apps {
            let signal = match app.phase {
                Phase::Main => app.app.spec.stop_signal,
                Phase::Before => number::TERMINATE,
                Phase::After | Phase::Over => continue,
            };
            app.signal(signal);
        }
    }

    /// The second interrupt of an impatient user kills.
    fn interrupt(&mut self) {
        match &mut self.stop {
            None => {
                self.begin_stop();
                if let Some(stop) = &mut self.stop {
                    stop.interrupts = 1;
                }
            }
            Some(stop) => {
                stop.interrupts += 1;
                if stop.interrupts > 1 {
                    self.time_is_over();
                }
            }
        }
    }

    fn time_is_over(&mut self) {
        if let Some(stop) = &mut self.stop {
            stop.deadline = deadline();
        }
        // Everything but ourselves. If there is nobody left, that is fine.
        if let Err(error) = sys::process::kill_all(number::KILL) {
            log::debug!("nobody to kill: {error}");
        }
    }

    fn forward(&self, signal: i32) {
        for app in self.apps.iter().filter(|app| app.phase == Phase::Main) {
            app.signal_main(signal);
        }
    }

    fn tell(&self, message: &Message) {
        // P0's end would be ours, by the death signal; nothing is to be done about it here.
        if let Err(error) = self.control.send(message, None) {
            log::debug!("cannot report: {error}");
        }
    }
}

impl Supervised<'_> {
    /// Starts one of the app's programs; the inner error is the status it gets.
    fn launch(&self, command: &[String]) -> Result<Result<Pid, i32>, RunError> {
        let spec = &self.app.spec;
        let name = command.first().map_or("", String::as_str);
        let program =
            match program::find(self.root.fd.as_fd(), name, spec.variable("PATH"), &spec.directory)
            {
                Ok(program) => program,
                Err(unopenable) => {
                    self.say(&format!("Error: {unopenable}\n"));
                    return Ok(Err(stage2::Step::Exec.status()));
                }
            };
        let is_hook = self.phase != Phase::Main;
        let superuser = Identity::default();
        let directory = CString::new(spec.directory.as_str())
            .map_err(|_| stage2::spec::SpecError::Nul(spec.name.clone()))?;
        let namespaces: Vec<(BorrowedFd<'_>, Kinds)> =
            self.root.namespace.iter().map(|fd| (fd.as_fd(), Kinds::MOUNT)).collect();
        let launch = Launch {
            program,
            argv: spec.words(command.iter().cloned())?,
            env: &self.env,
            identity: if is_hook { &superuser } else { &self.root.identity },
            rights: Rights { ..spec.rights },
            directory: &directory,
            standard: self.standard(),
            keep: None,
            dies_with: None,
            session: if self.root.terminal.is_some() { Session::Terminal } else { Session::Own },
            doors: Some(&self.ends.doors),
            namespaces: &namespaces,
            root: None,
            oom_score_adj: spec.oom_score_adj.map(|score| (self.root.proc.as_fd(), score)),
        };
        match launch.start().doing("cannot start a process")? {
            Ok(pid) => Ok(Ok(pid)),
            Err(failure) => {
                let reason = program::reason(failure.errno);
                self.say(&format!(
                    "Error: Unable to {} for {name:?}: {reason}\n",
                    failure.step.words()
                ));
                Ok(Err(failure.step.status()))
            }
        }
    }

    fn standard(&self) -> Standard<'_> {
        match &self.root.terminal {
            Some(pair) => {
                let slave = pair.slave.as_fd();
                Standard { input: slave, output: slave, error: slave }
            }
            None => Standard {
                input: self.ends.input.as_fd(),
                output: self.ends.output.as_fd(),
                error: self.ends.error.as_fd(),
            },
        }
    }

    /// Says something where the app itself would have spoken.
    fn say(&self, text: &str) {
        if let Err(error) = rustix::io::write(self.standard().output, text.as_bytes()) {
            log::warn!("{text} ({error})");
        }
    }

    /// To the whole group of the app's process: what it started in the foreground is meant, too.
    fn signal(&self, signal: i32) {
        if let Some(pid) = self.pid
            && let Err(error) = sys::process::kill_group(pid, signal)
        {
            log::debug!("cannot signal {pid:?}: {error}");
        }
    }

    fn signal_main(&self, signal: i32) {
        if let Some(pid) = self.pid
            && let Err(error) = sys::process::kill(pid, signal)
        {
            log::debug!("cannot signal {pid:?}: {error}");
        }
    }
}

fn deadline() -> Instant {
    Instant::now() + GRACE
}

fn small(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

/// Blocks what a supervisor waits for, so that nothing that happens from now on is lost.
///
/// # Errors
/// As sigprocmask(2).
pub fn hold_signals() -> std::io::Result<()> {
    // A caller may have had it ignored: then children would vanish without a status.
    signal::set_default(number::CHILD);
    Set::of(&SIGNALS).block_only()
}
