//! Running one program with input and output through pipes, within bounds.

use crate::interrupt::Watch;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use sys::path::{At, PathError};

/// The most that a program may write.
const OUTPUT_LIMIT: usize = 1 << 20;
/// How long a program that is just being written is waited for.
const BUSY_PAUSE: Duration = Duration::from_millis(5);
const BUSY_LIMIT: Duration = Duration::from_secs(2);

/// A program that could not be run to its end.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// The kernel said no.
    #[error(transparent)]
    Path(#[from] PathError),
    /// It took too long, and was killed.
    #[error("it did not end within {0} seconds")]
    Overrun(u64),
    /// Somebody wants the pod to end.
    #[error("it was interrupted")]
    Interrupted,
    /// It wrote too much, and was killed.
    #[error("it wrote more than 1 MiB")]
    TooMuch,
}

/// What a program came to.
#[derive(Debug)]
pub(super) struct Output {
    /// Whether its exit code was 0.
    pub(super) success: bool,
    /// How it ended, in words.
    pub(super) end: String,
    /// What it wrote to its standard output.
    pub(super) bytes: Vec<u8>,
}

/// A program that runs; it ends with this value.
struct Running {
    child: Child,
    pidfd: OwnedFd,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It is no error if it has ended already.
        let _ended = pidfd_send_signal(&self.pidfd, Signal::KILL);
        let _reaped = self.child.wait();
    }
}

/// Waits without doing anything.
pub(super) fn pause(time: Duration) {
    let _ = poll(&mut [], Timespec::try_from(time).ok().as_ref());
}

/// Runs a program in a folder, with these variables beside the caller's and its standard error passed on.
pub(super) fn run(
    program: &Path,
    folder: &Path,
    environment: &[(&'static str, OsString)],
    input: &[u8],
    limit: Duration,
) -> Result<Output, ExecError> {
    let end = Instant::now() + limit;
    let mut command = Command::new(program);
    command.current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped());
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    sys::signal::unblock_in(&mut command);
    let mut running = start(&mut command, program)?;
    let bytes = talk(&mut running, program, input, end, limit)?;
    let status = running.child.wait().at("wait", program)?;
    Ok(Output { success: status.success(), end: words(status), bytes })
}

fn start(command: &mut Command, program: &Path) -> Result<Running, ExecError> {
    let patience = Instant::now() + BUSY_LIMIT;
    let mut child = loop {
        match command.spawn() {
            // Somebody who forks at this moment holds the file that was just installed open for writing.
            Err(error)
                if error.raw_os_error() == Some(Errno::TXTBSY.raw_os_error())
                    && Instant::now() < patience =>
            {
                pause(BUSY_PAUSE);
            }
            other => break other.at("exec", program)?,
        }
    };
    match pidfd_open(Pid::from_child(&child), PidfdFlags::empty()) {
        Ok(pidfd) => Ok(Running { child, pidfd }),
        Err(error) => {
            let _ended = child.kill();
            let _reaped = child.wait();
            Err(PathError::new("pidfd_open", program, error).into())
        }
    }
}

/// Writes the input and reads the output until the program has ended. Processes that it left behind are not waited for.
fn talk(
    running: &mut Running,
    program: &Path,
    input: &[u8],
    end: Instant,
    limit: Duration,
) -> Result<Vec<u8>, ExecError> {
    let (mut stdin, mut stdout) = (running.child.stdin.take(), running.child.stdout.take());
    for fd in
        [stdin.as_ref().map(AsFd::as_fd), stdout.as_ref().map(AsFd::as_fd)].into_iter().flatten()
    {
        nonblocking(fd).at("fcntl", program)?;
    }
    let (mut rest, mut bytes) = (input, Vec::new());
    let watch = Watch::new().at("watch signals for", program)?;
    loop {
        if rest.is_empty() {
            stdin = None;
        }
        let pipes = (stdin.as_ref(), stdout.as_ref());
        let ended = wait(running, pipes, &watch, end).at("poll", program)?;
        if watch.is_interrupted() {
            return Err(ExecError::Interrupted);
        }
        if let Some(fd) = &stdin {
            match rustix::io::write(fd, rest) {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(Errno::AGAIN | Errno::INTR) => {}
                // It does not want to know more.
                Err(_) => rest = &[],
            }
        }
        if let Some(fd) = &stdout
            && !drain(fd, &mut bytes).at("read", program)?
        {
            stdout = None;
        }
        if bytes.len() > OUTPUT_LIMIT {
            return Err(ExecError::TooMuch);
        }
        match ended {
            Waited::Ended => return Ok(bytes),
            Waited::Late => return Err(ExecError::Overrun(limit.as_secs())),
            Waited::Ready => {}
        }
    }
}

fn nonblocking(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    fcntl_setfl(fd, fcntl_getfl(fd)? | OFlags::NONBLOCK)
}

/// What a wait came to.
enum Waited {
    /// The program has ended.
    Ended,
    /// Its time is over.
    Late,
    /// There may be something to read or room to write.
    Ready,
}

fn wait(
    running: &Running,
    (stdin, stdout): (Option<&ChildStdin>, Option<&ChildStdout>),
    watch: &Watch,
    end: Instant,
) -> Result<Waited, Errno> {
    let left = end.saturating_duration_since(Instant::now());
    let timeout = Timespec::try_from(left).ok();
    let mut fds = vec![PollFd::new(&running.pidfd, PollFlags::IN)];
    fds.extend(stdin.map(|fd| PollFd::new(fd, PollFlags::OUT)));
    fds.extend(stdout.map(|fd| PollFd::new(fd, PollFlags::IN)));
    fds.extend(watch.interest());
    match poll(&mut fds, timeout.as_ref()) {
        Ok(0) => Ok(Waited::Late),
        Err(Errno::INTR) => Ok(Waited::Ready),
        Err(error) => Err(error),
        Ok(_) => {
            let ended = fds.first().is_some_and(|fd| !fd.revents().is_empty());
            Ok(if ended { Waited::Ended } else { Waited::Ready })
        }
    }
}

/// Reads what is there; `false` at the end.
fn drain(fd: &ChildStdout, bytes: &mut Vec<u8>) -> Result<bool, Errno> {
    let mut buffer = [0_u8; 16 << 10];
    while bytes.len() <= OUTPUT_LIMIT {
        match rustix::io::read(fd, &mut buffer) {
            Ok(0) => return Ok(false),
            Ok(count) => bytes.extend(buffer.iter().take(count)),
            Err(Errno::AGAIN) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

fn words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}
