//! An app in its root, ready to start its programs.

use crate::identity::Identity;
use crate::launch::{Launch, Session, Standard, Step};
use crate::program;
use crate::spec::{AppSpec, SpecError};
use crate::supervision::Phase;
use rustix::process::Pid;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use sys::cgroup::Doors;
use sys::namespace::Kinds;
use sys::process::Words;
use sys::terminal::Pair;

/// A root that is ready for its app.
#[derive(Debug)]
pub struct Root {
    /// The root itself.
    pub fd: OwnedFd,
    /// Its procfs.
    pub proc: OwnedFd,
    /// Who the app runs as.
    pub identity: Identity,
    /// The terminal of an interactive app.
    pub terminal: Option<Pair>,
    /// The mount namespace, where it is not that of PID 1.
    pub namespace: Option<OwnedFd>,
}

/// The descriptors that an app gets, and its group.
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

/// Why a program was not even tried.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What the app asks for cannot be had.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// No process can be made.
    #[error("cannot start a process")]
    Process(#[source] io::Error),
}

/// An app in its root.
#[derive(Debug)]
pub struct Runner<'a> {
    spec: &'a AppSpec,
    root: Root,
    ends: Ends,
    env: Words,
}

impl<'a> Runner<'a> {
    /// Puts them together.
    ///
    /// # Errors
    /// A variable holds a NUL byte.
    pub fn new(spec: &'a AppSpec, root: Root, ends: Ends) -> Result<Self, SpecError> {
        let env = spec.env_words()?;
        Ok(Self { spec, root, ends, env })
    }

    /// What the app asks for.
    pub fn spec(&self) -> &'a AppSpec {
        self.spec
    }

    /// Its root.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Its group.
    pub fn doors(&self) -> &Doors {
        &self.ends.doors
    }

    /// Starts one of the app's programs; the inner error is the status it gets, and why was said where the app itself
    /// would have spoken.
    ///
    /// # Errors
    /// It was not even tried.
    pub fn start(&self, phase: Phase) -> Result<Result<Pid, i32>, StartError> {
        let (spec, root) = (self.spec, self.root.fd.as_fd());
        let command = phase.command(spec);
        let name = command.first().map_or("", String::as_str);
        let program = match program::find(root, name, spec.variable("PATH"), &spec.directory) {
            Ok(program) => program,
            Err(unopenable) => {
                self.say(&format!("Error: {unopenable}\n"));
                return Ok(Err(Step::Exec.status()));
            }
        };
        let superuser = Identity::default();
        let directory =
            CString::new(spec.directory.as_str()).map_err(|_| SpecError::Nul(spec.name.clone()))?;
        let namespaces: Vec<(BorrowedFd<'_>, Kinds)> =
            self.root.namespace.iter().map(|fd| (fd.as_fd(), Kinds::MOUNT)).collect();
        let launch = Launch {
            program,
            argv: spec.words(command.iter().cloned())?,
            env: &self.env,
            identity: if phase == Phase::Main { &self.root.identity } else { &superuser },
            rights: spec.rights,
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
        match launch.start().map_err(StartError::Process)? {
            Ok(pid) => Ok(Ok(pid)),
            Err(failure) => {
                let reason = program::reason(failure.errno);
                let step = failure.step;
                self.say(&format!("Error: Unable to {} for {name:?}: {reason}\n", step.words()));
                Ok(Err(step.status()))
            }
        }
    }

    /// Lets go of the app's descriptors, so that whoever reads what it wrote sees the end. What is started afterwards
    /// speaks to nobody.
    ///
    /// # Errors
    /// There is no null device.
    pub fn fall_silent(&mut self) -> io::Result<()> {
        self.ends.input = sys::descriptor::null_device(false)?;
        self.ends.output = sys::descriptor::null_device(true)?;
        self.ends.error = sys::descriptor::null_device(true)?;
        self.root.terminal = None;
        Ok(())
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

    fn say(&self, text: &str) {
        if let Err(error) = rustix::io::write(self.standard().output, text.as_bytes()) {
            log::warn!("{text} ({error})");
        }
    }
}
