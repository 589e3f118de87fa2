//! Descriptors: closing what was inherited, pipes and socket pairs, the null device.
#![expect(unsafe_code, reason = "close_range(2) has no safe wrapper")]

use rustix::fs::{Mode, OFlags};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

/// Closes every descriptor but the standard ones, whoever owns it; `keep` stays, as number 3, and survives exec.
///
/// # Safety
/// No value of the calling process that owns or borrows a descriptor above 2 may be used (or dropped) afterwards: this
/// is the last act of a child before it executes a program.
pub unsafe fn close_above_standard(keep: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut first = 3_u32;
    if let Some(keep) = keep {
        // SAFETY: two numbers; whatever had the number 3 is not used again, by our caller's promise.
        unsafe { crate::process::set_standard(3, keep) }?;
        first = 4;
    }
    // SAFETY: the call takes three numbers and touches no memory; that no owner outlives it is our caller's promise.
    let rc = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0_u32) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sets close-on-exec on every descriptor from 3 up: what a caller left open by mistake ends here.
pub fn seal_inherited() -> io::Result<()> {
    // SAFETY: the call takes three numbers, touches no memory and closes nothing: owners stay valid.
    let rc =
        unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Opens the host's null device and makes sure that it is one.
pub fn null_device(write: bool) -> io::Result<OwnedFd> {
    let access = if write { OFlags::WRONLY } else { OFlags::RDONLY };
    let fd =
        rustix::fs::open("/dev/null", access | OFlags::CLOEXEC | OFlags::NOCTTY, Mode::empty())?;
    let found = rustix::fs::fstat(&fd)?;
    let is_null =
        found.st_mode & libc::S_IFMT == libc::S_IFCHR && found.st_rdev == libc::makedev(1, 3);
    if is_null { Ok(fd) } else { Err(io::Error::from_raw_os_error(libc::ENODEV)) }
}

/// Makes the null device all three standard descriptors.
pub fn silence_standard() -> io::Result<()> {
    let (input, output) = (null_device(false)?, null_device(true)?);
    rustix::stdio::dup2_stdin(&input)?;
    rustix::stdio::dup2_stdout(&output)?;
    Ok(rustix::stdio::dup2_stderr(&output)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn null_is_null() {
        let fd = null_device(false).unwrap();
        let mut byte = [0_u8; 1];
        assert_eq!(rustix::io::read(fd.as_fd(), &mut byte).unwrap(), 0);
    }
}
