//! The life of the pod: starts, reaps, carries streams, does what the host says and what the exit rule says.

use crate::call::Caller;
use crate::error::{Doing, InitError};
use crate::exec::{self, Running, Tried};
use crate::export;
use crate::host::{Host, poll};
use crate::pod::{Groups, Standing, window};
use crate::relay::{Relay, Way};
use pod_proto::message::{End as Told, Size, Usage, Used};
use pod_proto::text::Sentence;
use pod_proto::{Config, FromGuest, FromHost, Process};
use rustix::event::{PollFd, PollFlags};
use rustix::process::Pid;
use stage2::runner::StartError;
use stage2::supervision::{Act, Phase, StopOrder};
use stage2::{Runner, Supervision};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};
use sys::process::End;
use sys::signal::{self, Set, number};

/// What an app ends with for which no process could be made.
const FAILURE: i32 = 254;

/// Whether the kernel's clock is ours to set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// It is.
    Own,
    /// It is somebody else's.
    Borrowed,
}

/// How far the pod is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The host has not said that apps are to start.
    Waiting,
    /// They were started.
    Started,
    /// It was asked to end before it had begun.
    Cancelled,
    /// All apps are over, and only the last of what they wrote is carried.
    Emptying,
}

/// A pod that runs.
#[derive(Debug)]
pub struct Life<'a> {
    host: Host,
    config: &'a Config,
    caller: &'a Caller,
    clock: Clock,
    signals: OwnedFd,
    runners: Vec<Runner<'a>>,
    pids: Vec<Option<Pid>>,
    /// Which apps have let go of their streams.
    silent: Vec<bool>,
    groups: Groups,
    relays: Vec<Relay>,
    commands: Vec<Running>,
    rule: Supervision,
    stage: Stage,
}

#[derive(Debug, Clone, Copy)]
enum Woken {
    Signals,
    Host,
    Relay(usize),
}

impl<'a> Life<'a> {
    /// A pod that stands.
    ///
    /// # Errors
    /// Signals cannot be waited for.
    pub fn new(
        host: Host,
        standing: Standing<'a>,
        config: &'a Config,
        caller: &'a Caller,
        clock: Clock,
    ) -> Result<Self, InitError> {
        let Standing { runners, relays, groups } = standing;
        let specs = config.apps.iter().map(|app| &app.spec);
        let rule = Supervision::new(specs, StopOrder::Reversed);
        let signals = Set::of(&[number::CHILD]).descriptor().doing("cannot wait for signals")?;
        Ok(Self {
            pids: vec![None; runners.len()],
            silent: vec![false; runners.len()],
            commands: Vec::new(),
            stage: Stage::Waiting,
            host,
            config,
            caller,
            clock,
            signals,
            runners,
            groups,
            relays,
            rule,
        })
    }

    /// Lives until all is over and the host knows; the pod's code.
    ///
    /// # Errors
    /// The host is gone, or makes no sense. Nothing of the pod is left in any case.
    pub fn live(mut self) -> Result<u8, InitError> {
        let result = self.attend();
        let result = self.kill_rest().and(result);
        // The last ends of their streams.
        self.runners.clear();
        if let Err(error) = result.and_then(|()| self.empty()) {
            self.host.give_up(&error);
            return Err(error);
        }
        let code = self.rule.code();
        self.host.say(&FromGuest::Stopped(code))?;
        // However long it takes: what apps wrote last may lie in the machine until it is read.
        self.host.part(None);
        Ok(code)
    }

    fn attend(&mut self) -> Result<(), InitError> {
        self.host.say(&FromGuest::Ready)?;
        while !self.is_over() {
            let left = self.rule.deadline().map(|d| d.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                self.rule.time_is_over(Instant::now());
                self.act()?;
                continue;
            }
            self.turn(left)?;
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        match self.stage {
            Stage::Waiting => false,
            Stage::Started => self.rule.is_over(),
            Stage::Cancelled | Stage::Emptying => true,
        }
    }

    /// Carries on until nothing is left of what apps wrote. How long that may take, the host decides.
    fn empty(&mut self) -> Result<(), InitError> {
        self.stage = Stage::Emptying;
        self.relays.retain(|relay| relay.way() == Way::Out);
        while !self.relays.is_empty() {
            self.turn(None)?;
        }
        Ok(())
    }

    /// Waits for something, and deals with it.
    fn turn(&mut self, at_most: Option<Duration>) -> Result<(), InitError> {
        for woken in self.wait(at_most)? {
            match woken {
                Woken::Relay(index) => {
                    if let Some(relay) = self.relays.get_mut(index) {
                        relay.carry();
                    }
                }
                Woken::Signals => {
                    while signal::next(&self.signals).doing("cannot read signals")?.is_some() {}
                    self.reap()?;
                }
                Woken::Host => {
                    self.host.flush()?;
                    self.host.listen()?;
                    while let Some(message) = self.host.heard() {
                        self.obey(message)?;
                    }
                }
            }
        }
        self.relays.retain(|relay| !relay.is_done());
        Ok(())
    }

    fn wait(&self, at_most: Option<Duration>) -> Result<Vec<Woken>, InitError> {
        let mut kinds = vec![Woken::Signals, Woken::Host];
        let mut fds = vec![
            PollFd::new(&self.signals, PollFlags::IN),
            PollFd::new(&self.host, self.host.interest()),
        ];
        for (index, relay) in self.relays.iter().enumerate() {
            if let Some(fd) = relay.interest() {
                kinds.push(Woken::Relay(index));
                fds.push(fd);
            }
        }
        poll(&mut fds, at_most)?;
        let woken = kinds.into_iter().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty());
        Ok(woken.map(|(kind, _)| kind).collect())
    }

    fn obey(&mut self, message: FromHost) -> Result<(), InitError> {
        match message {
            FromHost::Configure(_) => return Err(InitError::TooEarly("a second configuration")),
            FromHost::Start => {
                if self.stage == Stage::Waiting {
                    self.stage = Stage::Started;
                    self.act()?;
                }
            }
            FromHost::Exec(exec) => {
                let (token, caller) = (self.config.token, self.caller);
                let tried = self.app(exec.app).map(|app| exec::run(&exec, app, token, caller));
                self.begin(exec.id, tried)?;
            }
            FromHost::Export(export) => {
                let (token, caller) = (self.config.token, self.caller);
                let tried = self.app(export.app).map(|app| export::run(export, app, token, caller));
                self.begin(export.id, tried)?;
            }
            FromHost::Resize(process, size) => self.resize(process, size),
            FromHost::Signal(process, number) => self.signal(process, number.into()),
            FromHost::Stats => {
                let usage = self.usage();
                self.host.say(&FromGuest::Usage(usage))?;
            }
            FromHost::SyncTime(time) => {
                if self.clock == Clock::Own
                    && let Err(error) = sys::machine::set_clock(time.seconds, time.nanoseconds)
                {
                    log::warn!("cannot set the clock: {error}");
                }
            }
            FromHost::Connect(interface) => {
                if let Err(error) = crate::network::change(&interface) {
                    log::warn!("cannot change {}: {}", interface.name, sys::cause::chain(&error));
                }
            }
            FromHost::Stop(grace) => self.stop(Duration::from_millis(grace.into()))?,
        }
        Ok(())
    }

    fn stop(&mut self, grace: Duration) -> Result<(), InitError> {
        match self.stage {
            Stage::Waiting => self.stage = Stage::Cancelled,
            Stage::Cancelled => {}
            Stage::Started => {
                let now = Instant::now();
                if self.rule.is_stopping() && grace.is_zero() {
                    self.rule.time_is_over(now);
                }
                self.rule.begin_stop(grace, now);
                self.act()?;
            }
            Stage::Emptying => self.relays.clear(),
        }
        Ok(())
    }

    /// Does what is due.
    fn act(&mut self) -> Result<(), InitError> {
        while let Some(act) = self.rule.next(Instant::now()) {
            match act {
                Act::Start { app, phase } => self.start(app, phase)?,
                Act::Report { app, end } => {
                    let process = Process::App(small(app));
                    self.host.say(&FromGuest::Exited(process, told(end)))?;
                }
                Act::Signal { app, signal } => {
                    if let Some(Some(pid)) = self.pids.get(app)
                        && let Err(error) = sys::process::kill_group(*pid, signal)
                    {
                        log::debug!("cannot signal {pid:?}: {error}");
                    }
                }
                Act::KillAll => kill_all(),
            }
        }
        self.fall_silent()
    }

    /// Ends the streams of apps that are over.
    fn fall_silent(&mut self) -> Result<(), InitError> {
        for (index, (app, silent)) in self.runners.iter_mut().zip(&mut self.silent).enumerate() {
            if !*silent && self.rule.has_ended(index) {
                app.fall_silent().doing("cannot end the streams of an app")?;
                *silent = true;
            }
        }
        Ok(())
    }

    fn start(&mut self, index: usize, phase: Phase) -> Result<(), InitError> {
        let (Some(app), Some(known)) = (self.runners.get(index), self.pids.get_mut(index)) else {
            return Ok(());
        };
        let started = match app.start(phase) {
            // Its apps may have left no process for what comes after them, which is no reason to lose how they ended.
            Err(StartError::Process(error)) => {
                log::warn!("cannot start a process: {error}");
                Err(FAILURE)
            }
            other => other?,
        };
        match started {
            Ok(pid) => {
                *known = Some(pid);
                if phase == Phase::Main {
                    let process = Process::App(small(index));
                    self.host.say(&FromGuest::Started(process, raw(pid)))?;
                }
            }
            Err(status) => self.rule.ended(index, End::Exited(status), Instant::now()),
        }
        Ok(())
    }

    fn reap(&mut self) -> Result<(), InitError> {
        while let Some((pid, end)) = sys::process::reap().doing("cannot reap")? {
            if let Some(index) = self.pids.iter().position(|known| *known == Some(pid)) {
                if let Some(known) = self.pids.get_mut(index) {
                    *known = None;
                }
                self.rule.ended(index, end, Instant::now());
                self.act()?;
            } else {
                self.command_ended(pid, end)?;
            }
        }
        Ok(())
    }

    fn app(&self, number: u32) -> Option<&Runner<'a>> {
        usize::try_from(number).ok().and_then(|index| self.runners.get(index))
    }

    /// Takes note of a command that was tried; if there is none, there was no such app.
    fn begin(&mut self, id: u32, tried: Option<Result<Tried, InitError>>) -> Result<(), InitError> {
        let refused = |reason: &str| FromGuest::Refused(id, Sentence::new(reason));
        match tried {
            None => self.host.say(&refused("there is no such app")),
            Some(Ok(tried)) => {
                self.relays.extend(tried.relays);
                match tried.result {
                    Ok(running) => {
                        let (process, pid) = (Process::Exec(id), raw(running.pid));
                        self.commands.push(running);
                        self.host.say(&FromGuest::Started(process, pid))
                    }
                    Err(reason) => self.host.say(&refused(&reason)),
                }
            }
            Some(Err(error)) => self.host.say(&refused(&sys::cause::chain(&error))),
        }
    }

    fn resize(&self, process: Process, size: Size) {
        let master = match process {
            Process::App(index) => {
                let app = self.app(index);
                app.and_then(|app| app.root().terminal.as_ref()).map(|pair| &pair.master)
            }
            Process::Exec(id) => self.command(id).and_then(|command| command.master.as_ref()),
        };
        if let Some(master) = master
            && let Err(error) = rustix::termios::tcsetwinsize(master, window(size))
        {
            log::debug!("cannot set the size of a terminal: {error}");
        }
    }

    /// A signal of the host's is for the app itself, and not for its hooks.
    fn signal(&self, process: Process, signal: i32) {
        let pid = match process {
            Process::App(index) => {
                let index = usize::try_from(index).unwrap_or(usize::MAX);
                self.pids.get(index).copied().flatten().filter(|_| self.rule.runs_main(index))
            }
            Process::Exec(id) => self.command(id).map(|command| command.pid),
        };
        if let Some(pid) = pid
            && let Err(error) = sys::process::kill(pid, signal)
        {
            log::debug!("cannot signal {pid:?}: {error}");
        }
    }

    fn command(&self, id: u32) -> Option<&Running> {
        self.commands.iter().find(|command| command.id == id)
    }

    fn usage(&self) -> Usage {
        let found = rustix::system::sysinfo();
        let bytes = |units: u64| units.saturating_mul(found.mem_unit.into());
        let apps = self.groups.apps.iter().map(|group| {
            let used = group.usage();
            Used { memory: used.memory, cpu: used.cpu, tasks: used.tasks }
        });
        Usage {
            memory_total: bytes(found.totalram),
            memory_free: bytes(found.freeram),
            apps: apps.collect(),
        }
    }

    /// Ends whatever is left: as PID 1, everything else. Of commands, the host hears how.
    fn kill_rest(&mut self) -> Result<(), InitError> {
        let mut told = Ok(());
        loop {
            // Again and again, since something may have been born meanwhile.
            kill_all();
            match sys::process::wait_for_any().doing("cannot reap")? {
                None => return told,
                Some((pid, end)) => told = told.and(self.command_ended(pid, end)),
            }
        }
    }

    fn command_ended(&mut self, pid: Pid, end: End) -> Result<(), InitError> {
        // Others are orphans that the apps left to us.
        let Some(index) = self.commands.iter().position(|c| c.pid == pid) else { return Ok(()) };
        let process = Process::Exec(self.commands.swap_remove(index).id);
        // What it wrote last is on its way before the host hears of its end: whoever waits for both waits for the end first.
        for relay in self.relays.iter_mut().filter(|relay| relay.way() == Way::Out) {
            relay.exhaust();
        }
        self.host.say(&FromGuest::Exited(process, told(end)))
    }
}

fn kill_all() {
    // Everything but ourselves. If there is nobody left, that is fine.
    if let Err(error) = sys::process::kill_all(number::KILL) {
        log::debug!("nobody to kill: {error}");
    }
}

fn told(end: End) -> Told {
    match end {
        End::Exited(code) => Told::Code(u8::try_from(code & 0xff).unwrap_or(u8::MAX)),
        End::Killed(signal) => Told::Signal(u8::try_from(signal).unwrap_or(u8::MAX)),
    }
}

fn small(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

fn raw(pid: Pid) -> u32 {
    pid.as_raw_nonzero().get().unsigned_abs()
}
