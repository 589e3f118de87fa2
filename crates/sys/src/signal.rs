//! Signals as values: blocked once, then waited for; nothing runs in a handler.
#![expect(
    unsafe_code,
    reason = "signal masks and signalfd have no safe wrapper without global handlers"
)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd};
use std::time::Duration;

/// Numbers of the signals a supervisor acts on.
pub mod number {
    /// A child ended.
    pub const CHILD: i32 = libc::SIGCHLD;
    /// The terminal is gone.
    pub const HANGUP: i32 = libc::SIGHUP;
    /// Interrupt from the keyboard.
    pub const INTERRUPT: i32 = libc::SIGINT;
    /// Quit from the keyboard.
    pub const QUIT: i32 = libc::SIGQUIT;
    /// Please end.
    pub const TERMINATE: i32 = libc::SIGTERM;
    /// The end.
    pub const KILL: i32 = libc::SIGKILL;
    /// Free for programs.
    pub const USER1: i32 = libc::SIGUSR1;
    /// Free for programs.
    pub const USER2: i32 = libc::SIGUSR2;
    /// The terminal changed its size.
    pub const WINDOW: i32 = libc::SIGWINCH;
    /// A system call that a filter forbids.
    pub const BAD_CALL: i32 = libc::SIGSYS;
    /// The highest there is.
    pub const HIGHEST: i32 = 64;
}

/// The number of a signal by its name (`SIGTERM`, `TERM`, `RTMIN+3`) or its decimal number.
pub fn parse(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=number::HIGHEST).contains(&number).then_some(number);
    }
    let name = text.strip_prefix("SIG").unwrap_or(text);
    if let Some(offset) = name.strip_prefix("RTMIN") {
        let offset =
            if offset.is_empty() { 0 } else { offset.strip_prefix('+')?.parse::<i32>().ok()? };
        return (0..=30).contains(&offset).then(|| 34 + offset);
    }
    let all = [
        ("HUP", 1),
        ("INT", 2),
        ("QUIT", 3),
        ("ILL", 4),
        ("TRAP", 5),
        ("ABRT", 6),
        ("BUS", 7),
        ("FPE", 8),
        ("KILL", 9),
        ("USR1", 10),
        ("SEGV", 11),
        ("USR2", 12),
        ("PIPE", 13),
        ("ALRM", 14),
        ("TERM", 15),
        ("STKFLT", 16),
        ("CHLD", 17),
        ("CONT", 18),
        ("STOP", 19),
        ("TSTP", 20),
        ("TTIN", 21),
        ("TTOU", 22),
        ("URG", 23),
        ("XCPU", 24),
        ("XFSZ", 25),
        ("VTALRM", 26),
        ("PROF", 27),
        ("WINCH", 28),
        ("IO", 29),
        ("PWR", 30),
        ("SYS", 31),
    ];
    all.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// A set of signals.
#[derive(Clone, Copy)]
pub struct Set(libc::sigset_t);

impl std::fmt::Debug for Set {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Set")
    }
}

impl Set {
    /// These signals.
    pub fn of(signals: &[i32]) -> Self {
        let mut set = Self::none();
        for signal in signals {
            // SAFETY: the set is initialised and lives; a bad number is an error return, and leaves it as it was.
            unsafe { libc::sigaddset(&raw mut set.0, *signal) };
        }
        set
    }

    /// No signal.
    pub fn none() -> Self {
        let mut set = MaybeUninit::uninit();
        // SAFETY: sigemptyset writes the whole set behind the pointer, which is valid for that.
        unsafe { libc::sigemptyset(set.as_mut_ptr()) };
        // SAFETY: written by the call above.
        Self(unsafe { set.assume_init() })
    }

    /// Makes this set the blocked one.
    pub fn block_only(&self) -> io::Result<()> {
        // SAFETY: the kernel reads a live set; the old one is not asked for.
        let rc = unsafe {
            libc::sigprocmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut())
        };
        if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Waits for one of these (blocked) signals, for at most this long; `None` when the time is over.
    pub fn wait(&self, at_most: Option<Duration>) -> io::Result<Option<i32>> {
        let limit = at_most.map(|time| libc::timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: time.subsec_nanos().into(),
        });
        let limit = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        loop {
            // SAFETY: the set and, where given, the time live until the call returns; no detail is asked for.
            let rc = unsafe { libc::sigtimedwait(&raw const self.0, std::ptr::null_mut(), limit) };
            if rc > 0 {
                return Ok(Some(rc));
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EAGAIN) => return Ok(None),
                Some(libc::EINTR) => {}
                _ => return Err(error),
            }
        }
    }

    /// A descriptor that is readable while one of these (blocked) signals is pending.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        // SAFETY: the kernel reads a live set and makes a new descriptor.
        let fd = unsafe {
            libc::signalfd(-1, &raw const self.0, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just made, nobody else has it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

/// The next signal of such a descriptor, if one is pending.
pub fn next(descriptor: &OwnedFd) -> io::Result<Option<i32>> {
    let mut record = [0_u8; size_of::<libc::signalfd_siginfo>()];
    match rustix::io::read(descriptor, &mut record) {
        Ok(length) if length >= 4 => {
            Ok(Some(i32::from_ne_bytes([record[0], record[1], record[2], record[3]])))
        }
        Ok(_) | Err(rustix::io::Errno::AGAIN) => Ok(None),
        Err(other) => Err(other.into()),
    }
}

/// Gives every signal its default action and blocks none: what a caller ignored or blocked ends here.
///
/// Allocates nothing, so that it may run between clone and exec.
pub fn reset_all() -> io::Result<()> {
    for signal in 1..=number::HIGHEST {
        set_default(signal);
    }
    Set::none().block_only()
}

/// Has a program begin without blocked signals, whatever its caller holds: it would else not hear that it is to end.
pub fn unblock_in(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt as _;
    // SAFETY: what runs between fork and exec makes one system call and allocates nothing.
    unsafe { command.pre_exec(|| Set::none().block_only()) };
}

/// Makes writing to a pipe that nobody reads an error instead of a death.
pub fn ignore_broken_pipes() {
    // SAFETY: SIG_IGN is a disposition that runs no code of ours, and SIGPIPE may be ignored.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// Gives one signal its default action; KILL, STOP and the C library's own two keep theirs.
pub fn set_default(signal: i32) {
    // SAFETY: SIG_DFL installs no code of ours; a signal that cannot be changed is an error return.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, expected) in [
            ("SIGTERM", Some(15)),
            ("INT", Some(2)),
            ("9", Some(9)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMIN", Some(34)),
            ("0", None),
            ("65", None),
            ("SIGNONE", None),
            ("RTMIN+99", None),
            ("", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}
