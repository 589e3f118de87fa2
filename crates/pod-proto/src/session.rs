//! Whose turn it is: what the guest may say after what was said. A message is right or wrong by itself; here it is right
//! or wrong *now*. The host keeps one, tells it what it sends, and asks it about what comes.

use crate::config::Dialogue;
use crate::frame::{Decoder, Message, WireError};
use crate::limits;
use crate::message::{FromGuest, FromHost, Process};
use crate::preamble::{Preamble, Stream, Token};
use std::collections::{BTreeMap, BTreeSet};

/// How far the pod is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Called,
    Configured,
    Ready,
    Started,
    Over,
}

/// How far a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Awaited,
    Running,
    Ended,
}

/// What is known of a process.
#[derive(Debug)]
struct Known {
    life: Life,
    /// The streams that have not come yet. They may come after the end: connections overtake each other.
    due: BTreeSet<Stream>,
}

impl Known {
    fn new(dialogue: Dialogue) -> Self {
        Self { life: Life::Awaited, due: dialogue.streams().iter().copied().collect() }
    }

    /// Whether nothing more will be heard of it.
    fn is_done(&self) -> bool {
        self.life == Life::Ended && self.due.is_empty()
    }
}

/// The host's side of a control connection, from its preamble on.
#[derive(Debug)]
pub struct Session {
    decoder: Decoder<FromGuest>,
    stage: Stage,
    token: Option<Token>,
    processes: BTreeMap<Process, Known>,
    asked: u32,
}

impl Session {
    /// Begins, by the preamble of the connection.
    ///
    /// # Errors
    /// The connection is for something else.
    pub fn new(preamble: Preamble) -> Result<Self, WireError> {
        if preamble != Preamble::Control {
            return Err(WireError::Preamble);
        }
        Ok(Self {
            decoder: Decoder::default(),
            stage: Stage::Called,
            token: None,
            processes: BTreeMap::new(),
            asked: 0,
        })
    }

    /// Takes note of a message to the guest; its bytes.
    ///
    /// # Errors
    /// It is too long, or may not be sent now.
    pub fn send(&mut self, message: &FromHost) -> Result<Vec<u8>, WireError> {
        let wrong = |problem| WireError::OutOfTurn { name: message.kind().name, problem };
        let bytes = message.encode()?;
        let due = match message {
            FromHost::Configure(_) => self.stage == Stage::Called,
            FromHost::Start => self.stage == Stage::Ready,
            FromHost::Exec(_) | FromHost::Export(_) => self.stage == Stage::Started,
            _ => (Stage::Configured..Stage::Over).contains(&self.stage),
        };
        if !due {
            return Err(wrong("the pod is not that far, or further"));
        }
        match message {
            FromHost::Configure(config) => {
                config.check()?;
                self.token = Some(config.token);
                let apps = (0_u32..).zip(&config.apps);
                let apps = apps.map(|(n, app)| (Process::App(n), Known::new(app.dialogue)));
                self.processes.extend(apps);
                self.stage = Stage::Configured;
            }
            FromHost::Start => self.stage = Stage::Started,
            FromHost::Exec(exec) => self.begin(exec.id, exec.app, exec.dialogue).map_err(wrong)?,
            FromHost::Export(export) => {
                self.begin(export.id, export.app, Dialogue::Silent).map_err(wrong)?;
            }
            FromHost::Stats => self.asked = self.asked.saturating_add(1),
            FromHost::Resize(process, _) | FromHost::Signal(process, _) => {
                if !self.processes.contains_key(process) {
                    return Err(wrong("there is no such process"));
                }
            }
            FromHost::SyncTime(_) | FromHost::Stop(_) | FromHost::Connect(_) => {}
        }
        Ok(bytes)
    }

    /// Takes note of a command, or of something that is treated like one.
    fn begin(&mut self, id: u32, app: u32, dialogue: Dialogue) -> Result<(), &'static str> {
        if !self.processes.contains_key(&Process::App(app)) {
            return Err("there is no such app");
        }
        let process = Process::Exec(id);
        if self.processes.contains_key(&process) {
            return Err("the number is taken");
        }
        let alive = |(process, known): &(&Process, &Known)| {
            matches!(process, Process::Exec(_)) && known.life != Life::Ended
        };
        if self.processes.iter().filter(alive).count() >= limits::EXECS {
            return Err("too many commands run");
        }
        self.processes.insert(process, Known::new(dialogue));
        Ok(())
    }

    /// Takes bytes of the guest's off the front of `input`; as [`Decoder::feed`].
    ///
    /// # Errors
    /// They are no message, or none that may come now. The guest is not to be heard any further.
    pub fn feed(&mut self, input: &mut &[u8]) -> Result<Option<FromGuest>, WireError> {
        let Some(message) = self.decoder.feed(input)? else { return Ok(None) };
        match self.judge(&message) {
            Ok(()) => Ok(Some(message)),
            Err(problem) => {
                Err(self.decoder.fail(WireError::OutOfTurn { name: message.kind().name, problem }))
            }
        }
    }

    /// Says that the connection has ended; whether that was expected.
    ///
    /// # Errors
    /// Within a message, or before the guest had said that all is over.
    pub fn finish(self) -> Result<(), WireError> {
        self.decoder.finish()?;
        if self.stage == Stage::Over { Ok(()) } else { Err(WireError::CutOff) }
    }

    /// Whether a further connection is a stream of this pod's; which.
    ///
    /// # Errors
    /// It is not, or there is one already.
    pub fn admit(&mut self, preamble: Preamble) -> Result<(Process, Stream), WireError> {
        let Preamble::Stream { process, stream, token } = preamble else {
            return Err(WireError::OutOfTurn { name: "control", problem: "there is one already" });
        };
        if !self.token.is_some_and(|own| own.is(&token)) {
            return Err(WireError::Token);
        }
        let wrong = |problem| Err(WireError::OutOfTurn { name: "stream", problem });
        let Some(known) = self.processes.get_mut(&process) else {
            return wrong("there is no such process");
        };
        if !known.due.remove(&stream) {
            return wrong("the process has no such stream, or has it already");
        }
        self.forget(process);
        Ok((process, stream))
    }

    fn judge(&mut self, message: &FromGuest) -> Result<(), &'static str> {
        match message {
            FromGuest::Ready if self.stage == Stage::Configured => self.stage = Stage::Ready,
            FromGuest::Ready => return Err("the pod was not just configured"),
            _ if self.stage == Stage::Over => return Err("all was over"),
            FromGuest::Stopped(_) if self.stage < Stage::Configured => return Err("nothing ran"),
            FromGuest::Failed(_) | FromGuest::Stopped(_) => self.stage = Stage::Over,
            _ if self.stage < Stage::Started => return Err("nothing was started"),
            FromGuest::Started(process, _) => self.step(*process, Life::Awaited, Life::Running)?,
            FromGuest::Refused(id, _) => {
                self.step(Process::Exec(*id), Life::Awaited, Life::Ended)?;
            }
            // An app may end, for the host, without having run: a hook failed, or its program is not there.
            FromGuest::Exited(process @ Process::App(_), _) => {
                let known = self.processes.get_mut(process).ok_or("there is no such app")?;
                if known.life == Life::Ended {
                    return Err("the app had ended");
                }
                known.life = Life::Ended;
            }
            FromGuest::Exited(process, _) => self.step(*process, Life::Running, Life::Ended)?,
            FromGuest::Usage(_) => {
                self.asked = self.asked.checked_sub(1).ok_or("nobody asked")?;
            }
        }
        Ok(())
    }

    fn step(&mut self, process: Process, from: Life, to: Life) -> Result<(), &'static str> {
        match self.processes.get_mut(&process) {
            None => Err("there is no such process"),
            Some(known) if known.life == from => {
                known.life = to;
                self.forget(process);
                Ok(())
            }
            Some(_) => Err("the process is not that far, or further"),
        }
    }
    /// A command that is over leaves nothing: there may be any number of them, one after another.
    fn forget(&mut self, process: Process) {
        let over = |known: &Known| matches!(process, Process::Exec(_)) && known.is_done();
        if self.processes.get(&process).is_some_and(over) {
            self.processes.remove(&process);
        }
    }
}
