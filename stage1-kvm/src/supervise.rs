//! The supervisor while the pod runs: between the caller's signals, terminal and outputs, the guest's wire, commands that
//! others want run inside, and the monitor's process.

use crate::configure::size_of_terminal;
use crate::error::{GuestError, MachineError};
use crate::host::door::{self, Door};
use crate::host::line::{Listener, Word};
use crate::host::wire::{self, Event, Wire};
use crate::network;
use crate::vmm::Ending;
use pod_host::{Doing as _, Keyboard, Leases, Outputs, Ready, Said, Stream as Output};
use pod_proto::message::End as Told;
use pod_proto::{Config, FromGuest, FromHost, Process, Stream};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::Pid;
use stage1_abi::PodDir;
use stage2::supervision::GRACE;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};
use sys::process::End;
use sys::signal::{self, Set, number};
use sys::terminal::Raw;

/// The signals a supervisor acts on.
pub const SIGNALS: [i32; 7] = [
    number::TERMINATE,
    number::INTERRUPT,
    number::QUIT,
    number::HANGUP,
    number::USER1,
    number::USER2,
    number::WINDOW,
];
/// How long after the apps' own time the guest may take to say that all is over, or to reset.
const PATIENCE: Duration = Duration::from_secs(10);

/// The monitor's process.
#[derive(Debug)]
pub struct Monitor {
    /// Its number.
    pub pid: Pid,
    /// It itself.
    pub pidfd: OwnedFd,
}

/// What is held while the pod runs.
#[derive(Debug)]
pub struct Supervisor<'a> {
    dir: &'a PodDir,
    /// Until the guest has called.
    config: Option<Box<Config>>,
    names: Vec<String>,
    running: Vec<bool>,
    monitor: Monitor,
    listener: Option<Listener>,
    wire: Wire,
    door: Door,
    outputs: Outputs,
    keyboard: Option<Keyboard>,
    /// Of the addresses that servers lent.
    leases: &'a mut Leases,
    stage: Stage,
    /// How the machine said that it ended.
    ending: Option<Ending>,
    /// What went wrong first.
    failure: Option<MachineError>,
    /// Whether the guest has closed the wire before its time. How the machine ends will tell more.
    gone: bool,
    /// When the machine is killed.
    deadline: Option<Instant>,
    /// How urgently it was asked to end.
    urgency: Urgency,
    interrupts: u32,
}

/// How far the pod is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The guest boots and sets the pod up.
    Booting,
    /// Its apps run.
    Running,
    /// All is over, with this code.
    Stopped(u8),
}

/// How urgently a pod was asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Urgency {
    /// Not at all: what apps wrote waits for its reader, however long that takes.
    None,
    /// Its apps have some time.
    Asked,
    /// Their time is over, and what nobody has read by now nobody shall wait for.
    Pressed,
}

#[derive(Debug, Clone, Copy)]
enum Woken {
    Monitor,
    Signals,
    Keys,
    Terminal,
    Output(Ready),
    Wire(wire::Ready),
    Door(door::Ready),
    Line,
    Lease,
}

impl<'a> Supervisor<'a> {
    /// A supervisor of a machine that was just started.
    ///
    /// # Errors
    /// The socket for commands cannot be made.
    pub fn new(
        dir: &'a PodDir,
        config: Config,
        (monitor, listener): (Monitor, Listener),
        (outputs, leases): (Outputs, &'a mut Leases),
    ) -> Result<Self, MachineError> {
        let names: Vec<String> = config.apps.iter().map(|app| app.spec.name.clone()).collect();
        Ok(Self {
            dir,
            running: vec![false; names.len()],
            names,
            config: Some(Box::new(config)),
            monitor,
            listener: Some(listener),
            wire: Wire::default(),
            door: Door::open(dir).doing("cannot make the pod's socket for commands")?,
            outputs,
            keyboard: None,
            leases,
            stage: Stage::Booting,
            ending: None,
            failure: None,
            gone: false,
            deadline: None,
            urgency: Urgency::None,
            interrupts: 0,
        })
    }

    /// Stays with the pod until nothing of it is left; its code.
    ///
    /// # Errors
    /// The pod did not come to its end by itself.
    pub fn attend(&mut self) -> Result<u8, MachineError> {
        let signals = Set::of(&SIGNALS).descriptor().doing("cannot wait for signals")?;
        let mut raw = None;
        let mut alive = true;
        while alive || !self.outputs.done() {
            if let Err(error) = self.tend_leases() {
                self.give_up(error);
            }
            let all = match self.wait(&signals, alive) {
                Ok(all) => all,
                Err(error) => {
                    self.kill();
                    return Err(error);
                }
            };
            for woken in all {
                if matches!(woken, Woken::Monitor) {
                    // What it said last lies in the socket still.
                    self.hear_line();
                    alive = false;
                    self.ended();
                    continue;
                }
                if let Err(error) = self.deal(woken, &signals, &mut raw) {
                    self.give_up(error);
                }
            }
            self.wire.tidy();
            self.door.tidy();
            self.move_on();
        }
        drop(raw);
        match (self.stage, self.failure.take()) {
            (Stage::Stopped(code), None) => Ok(code),
            (_, Some(error)) => Err(error),
            (_, None) => Err(GuestError::Reset.into()),
        }
    }

    /// Keeps the leases, and tells the guest what comes of it.
    fn tend_leases(&mut self) -> Result<(), MachineError> {
        self.leases.tend();
        for (namespace, name) in self.leases.changed() {
            let interface = match network::hand_on(namespace, name) {
                Ok(interface) => interface,
                Err(error) => {
                    log::warn!("networking: {name} of the pod stays as it was: {error}");
                    continue;
                }
            };
            match &mut self.config {
                Some(config) => {
                    config.interfaces.iter_mut().filter(|one| one.name == name).for_each(|one| {
                        one.clone_from(&interface);
                    });
                }
                None => self.wire.say_in_time(&FromHost::Connect(Box::new(interface)))?,
            }
        }
        Ok(())
    }

    fn deal(
        &mut self,
        woken: Woken,
        signals: &OwnedFd,
        raw: &mut Option<Raw<'_>>,
    ) -> Result<(), MachineError> {
        match woken {
            // Leases are tended before the next wait.
            Woken::Monitor | Woken::Lease => {}
            Woken::Output(ready) => self.outputs.carry(ready),
            Woken::Line => self.hear_line(),
            Woken::Wire(ready) => {
                let said = self.wire.carry(ready)?;
                // Streams that the guest opened before it said this may wait to be taken.
                self.hear_line();
                let opened = self.wire.hear_all()?;
                for event in opened.into_iter().chain(said) {
                    self.heed(event, raw)?;
                }
            }
            Woken::Door(ready) => {
                for message in self.door.carry(ready) {
                    match self.wire.say(&message) {
                        Err(MachineError::Say(why)) => {
                            self.door.refused(&message, &why.to_string());
                        }
                        Err(MachineError::Guest(GuestError::Silent)) => {
                            self.door.refused(&message, "the pod is not running");
                        }
                        other => other?,
                    }
                }
            }
            Woken::Signals => {
                while let Some(signal) = signal::next(signals).doing("cannot read signals")? {
                    self.pass_signal(signal)?;
                }
            }
            Woken::Keys => {
                if self.keyboard.as_mut().map(Keyboard::read) == Some(Said::Kill) {
                    self.stop(Duration::ZERO)?;
                }
            }
            Woken::Terminal => {
                if let Some(keyboard) = &mut self.keyboard {
                    keyboard.write();
                }
            }
        }
        Ok(())
    }

    fn wait(&self, signals: &OwnedFd, alive: bool) -> Result<Vec<Woken>, MachineError> {
        let (mut outputs, mut wire, mut door) = (Vec::new(), Vec::new(), Vec::new());
        self.outputs.interests(&mut outputs);
        self.wire.interests(&mut wire);
        self.door.interests(&mut door);
        let mut kinds = vec![Woken::Signals];
        let mut fds = vec![PollFd::new(signals, PollFlags::IN)];
        let mut add = |kind, fd| {
            kinds.push(kind);
            fds.push(fd);
        };
        for (ready, fd) in outputs {
            add(Woken::Output(ready), fd);
        }
        if let Some(keyboard) = &self.keyboard {
            if keyboard.wants_keys() {
                let stdin = rustix::stdio::stdin();
                add(Woken::Keys, PollFd::from_borrowed_fd(stdin, PollFlags::IN));
            }
            if let Some(master) = keyboard.full() {
                add(Woken::Terminal, PollFd::from_borrowed_fd(master, PollFlags::OUT));
            }
        }
        for (ready, fd) in wire {
            add(Woken::Wire(ready), fd);
        }
        for (ready, fd) in door {
            add(Woken::Door(ready), fd);
        }
        // New connections come after those that are known: they change the numbers.
        if let Some(listener) = &self.listener {
            add(Woken::Line, PollFd::new(listener, PollFlags::IN));
        }
        if alive {
            add(Woken::Monitor, PollFd::new(&self.monitor.pidfd, PollFlags::IN));
        }
        for fd in self.leases.interests() {
            add(Woken::Lease, fd);
        }
        let ends = [self.deadline.filter(|_| alive), self.leases.deadline()];
        let left = ends.into_iter().flatten().min();
        let left = left.map(|end| end.saturating_duration_since(Instant::now()));
        let left = left.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        match rustix::event::poll(&mut fds, left.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Vec::new()),
            Err(error) => return Err(error).doing("cannot wait").map_err(Into::into),
        }
        let woken = kinds.into_iter().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty());
        Ok(woken.map(|(kind, _)| kind).collect())
    }

    /// Takes all that the monitor has said.
    fn hear_line(&mut self) {
        while let Some(listener) = &self.listener {
            match listener.hear() {
                Ok(None) => break,
                Ok(Some(Word::Call(stream))) => {
                    if let Err(error) = self.wire.take(stream) {
                        log::debug!("a connection of the guest's is dropped: {error}");
                    }
                }
                Ok(Some(Word::Ended(ending))) => self.ending = Some(ending),
                Err(error) => {
                    log::debug!("the monitor says no more: {error}");
                    self.listener = None;
                }
            }
        }
    }

    fn heed(&mut self, event: Event, raw: &mut Option<Raw<'_>>) -> Result<(), MachineError> {
        match event {
            Event::Called => {
                if let Some(config) = self.config.take() {
                    self.wire.say(&FromHost::Configure(config))?;
                }
            }
            Event::Opened(Process::App(app), stream, fd) => self.connect(app, stream, fd, raw)?,
            Event::Opened(Process::Exec(id), stream, fd) => self.door.opened(id, stream, fd),
            Event::Said(message) => self.hear(&message)?,
        }
        Ok(())
    }

    fn hear(&mut self, message: &FromGuest) -> Result<(), MachineError> {
        match message {
            FromGuest::Ready => {
                self.dir.write_supervisor_ready()?;
                self.stage = Stage::Running;
                self.wire.say(&FromHost::Start)?;
            }
            FromGuest::Failed(why) => {
                return Err(GuestError::Failed(why.as_str().to_owned()).into());
            }
            FromGuest::Started(Process::App(app), pid) => {
                let app = index(*app);
                if let Some(running) = self.running.get_mut(app) {
                    *running = true;
                }
                self.outputs.started(app, i32::try_from(*pid).unwrap_or_default());
            }
            FromGuest::Exited(Process::App(app), end) => {
                let app = index(*app);
                if let Some(running) = self.running.get_mut(app) {
                    *running = false;
                }
                if let Some(name) = self.names.get(app) {
                    let end = end_of(*end);
                    self.dir.write_status(name, end.code(), end.signal())?;
                }
            }
            FromGuest::Stopped(code) => {
                self.stage = Stage::Stopped(*code);
                if self.urgency == Urgency::Pressed {
                    self.outputs.abandon();
                }
            }
            FromGuest::Usage(_) => {}
            FromGuest::Started(..) | FromGuest::Exited(..) | FromGuest::Refused(..) => {
                self.door.told(message);
            }
        }
        Ok(())
    }

    fn connect(
        &mut self,
        app: u32,
        stream: Stream,
        fd: OwnedFd,
        raw: &mut Option<Raw<'_>>,
    ) -> Result<(), MachineError> {
        let doing = "cannot connect the app's streams";
        match stream {
            Stream::Output => self.outputs.add(index(app), Output::Out, fd),
            Stream::Error => self.outputs.add(index(app), Output::Err, fd),
            Stream::Input => self.keyboard = Some(Keyboard::piped(fd).doing(doing)?),
            Stream::Terminal => {
                let copy = rustix::io::fcntl_dupfd_cloexec(&fd, 3).doing(doing)?;
                self.outputs.add(index(app), Output::Out, copy);
                self.keyboard = Some(Keyboard::new(fd).doing(doing)?);
                *raw = Raw::of(rustix::stdio::stdin()).doing("cannot set the terminal")?;
            }
        }
        Ok(())
    }

    fn pass_signal(&mut self, signal: i32) -> Result<(), MachineError> {
        match signal {
            number::WINDOW => {
                if let Some(size) = size_of_terminal()? {
                    self.wire.say_in_time(&FromHost::Resize(Process::App(0), size))?;
                }
                Ok(())
            }
            // All is over, and only somebody who does not read keeps us.
            _ if matches!(self.stage, Stage::Stopped(_)) || self.failure.is_some() => {
                self.outputs.abandon();
                Ok(())
            }
            number::TERMINATE | number::QUIT => self.stop(GRACE),
            // The second interrupt of an impatient user kills.
            number::INTERRUPT => {
                self.interrupts += 1;
                self.stop(if self.interrupts > 1 { Duration::ZERO } else { GRACE })
            }
            other => {
                let Ok(other) = u8::try_from(other) else { return Ok(()) };
                for (app, running) in (0..).zip(self.running.clone()) {
                    if running {
                        self.wire.say_in_time(&FromHost::Signal(Process::App(app), other))?;
                    }
                }
                Ok(())
            }
        }
    }

    /// Has the guest end its apps. One that was not told yet what to be has none, and is only switched off.
    fn stop(&mut self, grace: Duration) -> Result<(), MachineError> {
        if self.config.is_some() {
            self.stage = Stage::Stopped(0);
            self.kill();
            return Ok(());
        }
        let milliseconds = u32::try_from(grace.as_millis()).unwrap_or(u32::MAX);
        self.wire.say_in_time(&FromHost::Stop(milliseconds))?;
        self.urgency = self.urgency.max(Urgency::Asked);
        // What cleans up after the apps has as much time as they had.
        let end = Instant::now() + grace * 2 + PATIENCE;
        self.deadline = Some(self.deadline.map_or(end, |known| known.min(end)));
        Ok(())
    }

    /// Does what is due without anything having happened.
    fn move_on(&mut self) {
        if matches!(self.stage, Stage::Stopped(_)) && self.wire.is_open() && self.outputs.all_read()
        {
            // The guest has waited for this, and resets.
            self.wire.close();
            self.deadline = Some(Instant::now() + PATIENCE);
        }
        if self.deadline.is_some_and(|end| Instant::now() >= end) {
            self.deadline = None;
            self.time_is_over();
        }
    }

    /// The guest has had all its time.
    fn time_is_over(&mut self) {
        let asked = self.urgency == Urgency::Asked;
        if asked {
            self.urgency = Urgency::Pressed;
        }
        match self.stage {
            // Nobody cares any more how long a guest takes that has said all, nor, after a stop, who has not read it.
            Stage::Stopped(_) if asked => self.outputs.abandon(),
            Stage::Stopped(_) => {}
            Stage::Running if asked && self.keeps_only_words() => {
                // Said once more, it lets go of what nobody reads.
                self.deadline = Some(Instant::now() + PATIENCE);
                if let Err(error) = self.wire.say_in_time(&FromHost::Stop(0)) {
                    self.give_up(error);
                }
                return;
            }
            Stage::Booting | Stage::Running => {
                let why = if self.gone { GuestError::Gone } else { GuestError::Hung };
                self.failure.get_or_insert(why.into());
            }
        }
        self.kill();
    }

    /// Whether all apps are over, so that the guest keeps only what they wrote last.
    fn keeps_only_words(&self) -> bool {
        !self.gone && self.failure.is_none() && !self.running.contains(&true)
    }

    /// The monitor is gone.
    fn ended(&mut self) {
        self.wire.close();
        let end = sys::process::wait_for(self.monitor.pid);
        if matches!(self.stage, Stage::Stopped(_)) || self.failure.is_some() {
            return;
        }
        let why = match (self.ending.take(), end) {
            (Some(Ending::Reset), _) => GuestError::Reset,
            (Some(Ending::Panicked), _) => GuestError::Panicked,
            (Some(Ending::Broken(why)), _) => GuestError::Broken(why),
            (None, Ok(End::Killed(number::BAD_CALL))) => GuestError::Escaped,
            (None, Ok(End::Killed(signal))) => GuestError::Killed(signal),
            (None, Ok(End::Exited(code))) => GuestError::Ended(code),
            (None, Err(error)) => GuestError::Broken(error.to_string()),
        };
        self.failure = Some(why.into());
    }

    /// The pod is over because of this.
    fn give_up(&mut self, error: MachineError) {
        if matches!(error, MachineError::Guest(GuestError::Gone)) {
            self.wire.close();
            self.gone = true;
            self.deadline = Some(Instant::now() + PATIENCE);
            return;
        }
        self.failure.get_or_insert(error);
        self.kill();
    }

    /// Ends the machine at once.
    pub fn kill(&self) {
        if let Err(error) = sys::process::signal_to(self.monitor.pidfd.as_fd(), number::KILL) {
            log::debug!("cannot kill the machine: {error}");
        }
    }
}

fn index(app: u32) -> usize {
    usize::try_from(app).unwrap_or(usize::MAX)
}

fn end_of(told: Told) -> End {
    match told {
        Told::Code(code) => End::Exited(code.into()),
        Told::Signal(signal) => End::Killed(signal.into()),
    }
}
