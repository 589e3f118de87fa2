//! PID 1 of a pod: starts the apps, reaps, and does what rkt's exit rule says ([`stage2::supervision`]).

use crate::assemble;
use crate::control::{Control, Message};
use crate::isolation::Isolation;
use crate::run::NAMESPACES;
use pod_host::{Doing, Pod, RunError};
use rustix::process::Pid;
use stage1_abi::PodDir;
use stage2::supervision::{Act, GRACE, Phase, StopOrder};
use stage2::{Ends, Root, Runner, Supervision};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Instant;
use sys::namespace::{self, Kinds};
use sys::process::End;
use sys::signal::{self, Set, number};

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

/// Lives as PID 1 until the pod is over; the pod's exit code.
///
/// # Errors
/// Set-up failed: no app was started.
pub fn supervise(
    (pod, isolation): (&Pod, Isolation<'_>),
    dir: &PodDir,
    control: &Control,
    ends: Vec<Ends>,
) -> Result<u8, RunError> {
    sys::process::die_with_parent().doing("cannot tie the pod to its caller")?;
    sys::process::hide().doing("cannot hide the supervisor")?;
    rustix::process::setsid().doing("cannot start a session")?;
    namespace::set_hostname(&pod.hostname).doing("cannot set the host name")?;
    if let Some(network) = isolation.network {
        namespace::join(network, Kinds::NET).doing("cannot join the pod's network")?;
    }
    if isolation.own_network {
        namespace::loopback_up().doing("cannot bring the loopback interface up")?;
    }
    let previous = rustix::process::umask(rustix::fs::Mode::empty());
    let roots = assemble::all(pod, assemble::wants_terminal(pod))?;
    rustix::process::umask(previous);
    announce(pod, dir, control, &roots)?;
    let mut apps = Vec::with_capacity(roots.len());
    for ((app, root), ends) in pod.apps.iter().zip(roots).zip(ends) {
        apps.push(Supervised { runner: Runner::new(&app.spec, root, ends)?, pid: None });
    }
    if !control.wait_for_release().doing("cannot hear from the caller")? {
        return Err(RunError::Gone);
    }
    let specs = pod.apps.iter().map(|app| &app.spec);
    let rule = Supervision::new(specs, StopOrder::AsStarted);
    let mut supervisor = Supervisor { apps, rule, dir, control, interrupts: 0 };
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

struct Supervised<'a> {
    runner: Runner<'a>,
    pid: Option<Pid>,
}

struct Supervisor<'a> {
    apps: Vec<Supervised<'a>>,
    rule: Supervision,
    /// Opened by P0: it leads out of the pod, which only a hidden process may hold.
    dir: &'a PodDir,
    control: &'a Control,
    /// How often the user has asked for an end by the keyboard, since there is to be one.
    interrupts: u32,
}

impl Supervisor<'_> {
    fn live(&mut self) -> Result<u8, RunError> {
        let signals = Set::of(&SIGNALS);
        self.act()?;
        while !self.rule.is_over() {
            let left = self.rule.deadline().map(|d| d.saturating_duration_since(Instant::now()));
            match signals.wait(left).doing("cannot wait for signals")? {
                None => self.rule.time_is_over(Instant::now()),
                Some(number::CHILD | number::WINDOW) => {}
                Some(number::TERMINATE | number::QUIT) => self.begin_stop(),
                Some(number::INTERRUPT) => self.interrupt(),
                Some(other) => self.forward(other),
            }
            self.act()?;
            while let Some((pid, end)) = sys::process::reap().doing("cannot reap")? {
                self.ended(pid, end)?;
            }
        }
        Ok(self.rule.code())
    }

    /// Does what is due.
    fn act(&mut self) -> Result<(), RunError> {
        while let Some(act) = self.rule.next(Instant::now()) {
            match act {
                Act::Start { app, phase } => self.start(app, phase)?,
                Act::Report { app, end } => {
                    if let Some(found) = self.apps.get(app) {
                        let name = &found.runner.spec().name;
                        self.dir.write_status(name, end.code(), end.signal())?;
                    }
                }
                Act::Signal { app, signal } => {
                    if let Some(found) = self.apps.get(app) {
                        found.signal(signal);
                    }
                }
                // Everything but ourselves. If there is nobody left, that is fine.
                Act::KillAll => {
                    if let Err(error) = sys::process::kill_all(number::KILL) {
                        log::debug!("nobody to kill: {error}");
                    }
                }
            }
        }
        Ok(())
    }

    fn start(&mut self, index: usize, phase: Phase) -> Result<(), RunError> {
        let several = self.apps.len() > 1;
        let Some(app) = self.apps.get_mut(index) else { return Ok(()) };
        match app.runner.start(phase)? {
            Ok(pid) => {
                app.pid = Some(pid);
                // Only lines of several apps need to be told apart.
                if phase == Phase::Main && several {
                    let pid = pid.as_raw_nonzero().get();
                    self.tell(&Message::Started { app: small(index), pid });
                }
            }
            Err(status) => self.rule.ended(index, End::Exited(status), Instant::now()),
        }
        Ok(())
    }

    fn ended(&mut self, pid: Pid, end: End) -> Result<(), RunError> {
        // Others are orphans that the apps left to us.
        if let Some(index) = self.apps.iter().position(|app| app.pid == Some(pid)) {
            if let Some(app) = self.apps.get_mut(index) {
                app.pid = None;
            }
            self.rule.ended(index, end, Instant::now());
            self.act()?;
        }
        Ok(())
    }

    fn begin_stop(&mut self) {
        self.rule.begin_stop(GRACE, Instant::now());
    }

    /// The second interrupt of an impatient user kills.
    fn interrupt(&mut self) {
        self.begin_stop();
        self.interrupts += 1;
        if self.interrupts > 1 {
            self.rule.time_is_over(Instant::now());
        }
    }

    fn forward(&self, signal: i32) {
        for (index, app) in self.apps.iter().enumerate() {
            if self.rule.runs_main(index) {
                app.signal_main(signal);
            }
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
