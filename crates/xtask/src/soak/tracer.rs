//! Runs a command with all its processes and threads traced, counts their system calls, and kills one of them as it
//! enters a chosen call.

use crate::error::TaskError;
use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use rustix::process::WaitOptions;
use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// A command that takes longer than this hangs.
const PATIENCE: Duration = Duration::from_mins(1);
/// Waits to be traced, then becomes the command.
const GATE: &str = "kill -STOP $$; exec \"$@\"";
/// `__WALL`: threads and processes of all kinds.
const ALL_KINDS: u32 = 0x4000_0000;
/// What a stop at a system call is told as: `SIGTRAP | 0x80`.
const SYSTEM_CALL: i32 = 5 | 0x80;
/// `PTRACE_SYSCALL_INFO_ENTRY`
const ENTRY: u8 = 1;

/// A moment in the life of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    /// Which process or thread, in the order in which they appear, from 0.
    pub(super) process: usize,
    /// Which of its system calls, from 1.
    pub(super) call: u64,
}

/// What was seen of a command.
#[derive(Debug, Default)]
pub(super) struct Trace {
    /// How many system calls each process and thread made.
    pub(super) calls: Vec<u64>,
    /// The number of the system call at which one of them was killed.
    pub(super) killed_at: Option<u64>,
    /// Whether it had to be ended.
    pub(super) hung: bool,
}

/// Runs the command to the end of all its processes. `end` kills them if they hang.
pub(super) fn trace(
    words: &[String],
    mark: (&str, &str),
    death: Option<Moment>,
    end: &(dyn Fn() + Sync),
) -> Result<Trace, TaskError> {
    let mut command = Command::new("sh");
    command.args(["-c", GATE, "sh"]).args(words).env(mark.0, mark.1);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let start = |source| TaskError::Start { program: words.join(" "), source };
    let child = command.spawn().map_err(start)?;
    let first = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
    let failed = |errno: Errno| start(errno.into());
    waitpid(first, Some(WaitPidFlag::WUNTRACED)).map_err(failed)?;
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_EXITKILL;
    ptrace::seize(first, options).map_err(failed)?;
    kill(first, Signal::SIGCONT).map_err(failed)?;
    let mut tracer = Tracer {
        first,
        started: false,
        death,
        trace: Trace::default(),
        order: BTreeMap::new(),
        alive: BTreeSet::new(),
    };
    tracer.meet(first);
    let (done, waiting) = channel::<()>();
    std::thread::scope(|scope| {
        let watch = scope.spawn(move || {
            let late = waiting.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout);
            if late {
                end();
            }
            late
        });
        let followed = tracer.follow();
        drop(done);
        tracer.trace.hung = watch.join().unwrap_or(true);
        followed.map_err(failed)
    })?;
    Ok(tracer.trace)
}

struct Tracer {
    first: Pid,
    /// Before its exec the first process is the gate.
    started: bool,
    death: Option<Moment>,
    trace: Trace,
    order: BTreeMap<Pid, usize>,
    alive: BTreeSet<Pid>,
}

impl Tracer {
    /// Gives a new process its number.
    fn meet(&mut self, pid: Pid) -> usize {
        if let Some(known) = self.order.get(&pid) {
            return *known;
        }
        let number = self.trace.calls.len();
        self.trace.calls.push(0);
        self.order.insert(pid, number);
        self.alive.insert(pid);
        number
    }

    fn follow(&mut self) -> Result<(), Errno> {
        while !self.alive.is_empty() {
            let all = WaitOptions::from_bits_retain(ALL_KINDS);
            let (pid, status) = match rustix::process::wait(all) {
                Ok(Some((pid, status))) => (Pid::from_raw(pid.as_raw_nonzero().get()), status),
                Ok(None) | Err(rustix::io::Errno::INTR) => continue,
                Err(rustix::io::Errno::CHILD) => return Ok(()),
                Err(errno) => return Err(Errno::from_raw(errno.raw_os_error())),
            };
            let Some(signal) = status.stopping_signal() else {
                self.alive.remove(&pid);
                self.order.remove(&pid);
                continue;
            };
            match (signal, status.as_raw() >> 16) {
                (SYSTEM_CALL, _) => {
                    self.call(pid);
                    resume(pid, None);
                }
                (_, 0) => {
                    self.meet(pid);
                    // Signals beyond those with names interrupt a virtual processor, and have done so by now.
                    resume(pid, Signal::try_from(signal).ok());
                }
                (_, event) => {
                    self.event(pid, event);
                    resume(pid, None);
                }
            }
        }
        Ok(())
    }

    fn event(&mut self, pid: Pid, event: i32) {
        let number = self.meet(pid);
        let born = [
            ptrace::Event::PTRACE_EVENT_CLONE as i32,
            ptrace::Event::PTRACE_EVENT_FORK as i32,
            ptrace::Event::PTRACE_EVENT_VFORK as i32,
        ];
        if born.contains(&event) {
            if let Ok(child) = ptrace::getevent(pid)
                && let Ok(child) = i32::try_from(child)
            {
                self.meet(Pid::from_raw(child));
            }
        } else if event == ptrace::Event::PTRACE_EVENT_EXEC as i32 {
            if pid == self.first && !self.started {
                self.started = true;
                // The gate's own calls are not the command's.
                if let Some(calls) = self.trace.calls.get_mut(number) {
                    *calls = 0;
                }
            }
            // An exec by a thread ends the others, and the last word on that is the kernel's.
            if let Ok(old) = ptrace::getevent(pid)
                && let Ok(old) = i32::try_from(old)
                && old != pid.as_raw()
            {
                self.alive.remove(&Pid::from_raw(old));
            }
        }
    }

    /// Counts a call, and kills who enters the chosen one.
    fn call(&mut self, pid: Pid) {
        let number = self.meet(pid);
        if !ptrace::syscall_info(pid).is_ok_and(|info| info.op == ENTRY) {
            return;
        }
        let Some(calls) = self.trace.calls.get_mut(number) else { return };
        *calls += 1;
        if self.started
            && self.trace.killed_at.is_none()
            && self.death == Some(Moment { process: number, call: *calls })
        {
            self.trace.killed_at =
                Some(ptrace::getregs(pid).map_or(u64::MAX, |regs| regs.orig_rax));
            let _ = kill(pid, Signal::SIGKILL);
        }
    }
}

/// Lets a process go on. One that was killed meanwhile is no longer there to do so.
fn resume(pid: Pid, signal: Option<Signal>) {
    let _ = ptrace::syscall(pid, signal);
}
