//! A program that runs: its output while it comes, and its end.

use crate::wait::{self, deadline};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// What a program left when it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// All of its standard output.
    pub stdout: String,
    /// All of its standard error.
    pub stderr: String,
}

#[expect(clippy::return_self_not_must_use, reason = "a check may be the end of a chain")]
impl Output {
    /// Insists on this exit code.
    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// Insists on success.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.code(0)
    }

    /// Insists on a failure of rkt itself that says this and puts nothing on standard output.
    #[track_caller]
    pub fn refuses(self, saying: &str) -> Self {
        assert_eq!(self.code, Some(254), "{self:#?}");
        assert!(self.stderr.contains(saying), "{saying:?} is not said: {self:#?}");
        assert_eq!(self.stdout, "");
        self
    }

    /// Standard output without the white space around it.
    pub fn text(&self) -> &str {
        self.stdout.trim()
    }

    /// The lines of standard output.
    pub fn lines(&self) -> Vec<&str> {
        self.stdout.lines().collect()
    }

    /// The lines of standard output, sorted, without what a pod of several apps puts before each: `APP[N]: `.
    pub fn lines_of_apps(&self) -> Vec<&str> {
        let bare = |line| -> &str {
            let Some((before, after)): Option<(&str, &str)> = str::split_once(line, "]: ") else {
                return line;
            };
            let place = before.split_once('[').map(|(_, place)| place);
            if place.is_some_and(|place| place.parse::<u32>().is_ok()) { after } else { line }
        };
        let mut lines: Vec<&str> = self.stdout.lines().map(bare).collect();
        lines.sort_unstable();
        lines
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

#[derive(Debug, Default)]
struct Stream {
    state: Mutex<(Vec<u8>, bool)>,
    news: Condvar,
}

impl Stream {
    fn follow(mut from: impl Read + Send + 'static) -> Arc<Self> {
        let stream = Arc::new(Self::default());
        let writer = Arc::clone(&stream);
        std::thread::spawn(move || {
            let mut buffer = vec![0; 65536];
            loop {
                // A terminal's master ends with EIO.
                let count = from.read(&mut buffer).unwrap_or(0);
                let mut state = writer.state.lock().unwrap();
                state.0.extend_from_slice(&buffer[..count]);
                state.1 = count == 0;
                writer.news.notify_all();
                if count == 0 {
                    break;
                }
            }
        });
        stream
    }

    /// Waits until `test` holds for (text, ended); `None` when the time is over.
    fn wait(&self, end: Instant, test: impl Fn(&str, bool) -> bool) -> Option<String> {
        let mut state = self.state.lock().unwrap();
        loop {
            let text = String::from_utf8_lossy(&state.0).into_owned();
            if test(&text, state.1) {
                return Some(text);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            state = self.news.wait_timeout(state, left).unwrap().0;
        }
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.state.lock().unwrap().0).into_owned()
    }
}

/// A started program. Dropped before its end it is killed.
#[derive(Debug)]
pub struct Running {
    child: Child,
    line: String,
    stdout: Arc<Stream>,
    stderr: Arc<Stream>,
    ended: bool,
}

impl Running {
    /// Starts it with its outputs in pipes; standard input is what the command says, else empty.
    pub fn start(command: &mut Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let line = format!("{command:?}");
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{line}: {error}"));
        let stdout = Stream::follow(child.stdout.take().unwrap());
        let stderr = Stream::follow(child.stderr.take().unwrap());
        Self { child, line, stdout, stderr, ended: false }
    }

    /// Starts it with the streams that the command has, and takes what comes from here for its standard output.
    pub fn start_on(command: &mut Command, screen: File) -> Self {
        let line = format!("{command:?}");
        let child = command.spawn().unwrap_or_else(|error| panic!("{line}: {error}"));
        // Our copies of the terminal must go, or its screen never ends.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let stdout = Stream::follow(screen);
        let stderr = Stream::follow(std::io::empty());
        Self { child, line, stdout, stderr, ended: false }
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Waits until standard output contains this; gives all of it so far.
    #[track_caller]
    pub fn says(&self, needle: &str) -> String {
        self.says_within(needle, deadline())
    }

    /// The same, for what may take so long.
    #[track_caller]
    pub fn says_within(&self, needle: &str, limit: Duration) -> String {
        let end = Instant::now() + limit;
        let found = self.stdout.wait(end, |text, ended| ended || text.contains(needle));
        match found {
            Some(text) if text.contains(needle) => text,
            _ => panic!(
                "{needle:?} does not come from {}\nstdout: {}\nstderr: {}",
                self.line,
                self.stdout.so_far(),
                self.stderr.so_far()
            ),
        }
    }

    /// Writes to its standard input, which must be a pipe.
    pub fn write(&mut self, text: &str) {
        self.child.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Sends it a signal by number.
    pub fn signal(&self, signal: i32) {
        let process = wait::pidfd(self.pid()).unwrap();
        sys::process::signal_to(process.as_fd(), signal).unwrap();
    }

    /// Waits for its end, and for the end of its outputs.
    #[track_caller]
    pub fn wait(mut self) -> Output {
        drop(self.child.stdin.take());
        let end = Instant::now() + deadline();
        let process = wait::pidfd(self.pid()).unwrap();
        let ended = wait::readable(process.as_fd(), end);
        assert!(ended, "{} does not end\nstderr: {}", self.line, self.stderr.so_far());
        let status = self.child.wait().unwrap();
        self.ended = true;
        let whole = |stream: &Stream| {
            let text = stream.wait(end, |_, ended| ended);
            text.unwrap_or_else(|| panic!("{}: something holds its output open", self.line))
        };
        let (stdout, mut stderr) = (whole(&self.stdout), whole(&self.stderr));
        // That is said of the host, not of what a test is about.
        let of_host = |line: &&str| !line.contains("group \"rkt\" not found");
        stderr = stderr.split_inclusive('\n').filter(of_host).collect();
        Output { code: status.code(), signal: status.signal(), stdout, stderr }
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// Runs a command to its end with nothing on standard input.
#[track_caller]
pub fn run(command: &mut Command) -> Output {
    Running::start(command.stdin(Stdio::null())).wait()
}

/// Runs a tool of the host that must succeed, and gives its standard output.
#[track_caller]
pub fn tool(words: &[&str]) -> String {
    run(Command::new(words[0]).args(&words[1..])).ok().stdout
}
