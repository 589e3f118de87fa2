//! Descriptors: closing what was inherited, pipes and socket pairs, the null device.
#![expect(
    unsafe_code,
    reason = "close_range(2) has no safe wrapper, adopting an inherited descriptor no safe form"
)]

use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    sendmsg, socketpair,
};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

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

/// Adopts a descriptor by its number, as handed down across exec; close-on-exec is set again. Nothing else in this process
/// may own the number: each is adopted once, first of all.
///
/// # Errors
/// The number is that of a standard descriptor, or of none that is open.
pub fn inherited(number: i32) -> io::Result<OwnedFd> {
    if number <= 2 {
        return Err(Errno::BADF.into());
    }
    // SAFETY: the number is only used to ask the kernel for its flags; a closed one is EBADF.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl_setfd(borrowed, FdFlags::CLOEXEC)?;
    // SAFETY: it is open (the call above succeeded), and by the contract with whoever handed it down it was made for
    // this process alone: nothing else in it owns the number.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Closes a descriptor without waiting for what the kernel does before it is closed: netfilter waits milliseconds for every
/// processor to have seen what was deleted. It is put into a socket that only lies in its own queue; the kernel finds such
/// sockets by themselves, and closes what is in them. Where that cannot be it is closed as usual.
pub fn close_behind(fd: OwnedFd) {
    let Ok((near, far)) =
        socketpair(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
    else {
        return;
    };
    let handed = [far.as_fd(), fd.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&handed));
    // Where this fails nothing lies in the queue, and all three are closed here.
    let _ = sendmsg(&near, &[IoSlice::new(b"x")], &mut ancillary, SendFlags::empty());
    // The end that leads to the queue is closed last, which starts the search: ours may not be the last copy then.
    drop(fd);
    drop(far);
    drop(near);
}

/// Makes these the descriptors 3, 4 and so on, kept across exec, and closes every other but the standard ones, whoever
/// owns it. None of them may have a number that another is to get: [`above`] makes sure of that.
///
/// # Safety
/// As for [`close_above_standard`].
pub(crate) unsafe fn hand_down(list: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut number = 3_i32;
    for fd in list {
        // SAFETY: two numbers; whatever had this number is not used again, by our caller's promise.
        unsafe { crate::process::set_standard(number, *fd) }?;
        number += 1;
    }
    // SAFETY: the call takes three numbers and touches no memory; that no owner outlives it is our caller's promise.
    let rc = unsafe { libc::syscall(libc::SYS_close_range, number, u32::MAX, 0_u32) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A copy of a descriptor that leaves room for so many to be handed down.
pub(crate) fn above(fd: BorrowedFd<'_>, count: usize) -> io::Result<OwnedFd> {
    let least = i32::try_from(count).ok().and_then(|count| count.checked_add(3));
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, least.ok_or(Errno::MFILE)?)?)
}

/// Closes every descriptor but these, whoever owns it. They stay as they are.
///
/// # Safety
/// No other value of the calling process that owns or borrows a descriptor may be used (or dropped) afterwards: this is for
/// a child that goes on with nothing of its parent's but these.
pub unsafe fn close_all_but(keep: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut numbers: Vec<u32> = keep.iter().map(|fd| fd.as_raw_fd() as u32).collect();
    numbers.sort_unstable();
    let mut first = 0_u32;
    for end in numbers.into_iter().chain([u32::MAX]) {
        if let Some(last) = end.checked_sub(1).filter(|last| first <= *last) {
            // SAFETY: three numbers, no memory; that no owner outlives it is our caller's promise.
            let rc = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0_u32) };
            if rc != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        first = end.saturating_add(1);
    }
    Ok(())
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

/// Makes the null device the standard input and output: nothing is read from the caller, and only errors are said.
pub fn silence_input_and_output() -> io::Result<()> {
    rustix::stdio::dup2_stdin(null_device(false)?)?;
    Ok(rustix::stdio::dup2_stdout(null_device(true)?)?)
}

/// Makes a terminal that is the standard error one that can only be written: whoever has it open for reading, too, could
/// read what its user types. If it cannot be opened again, nothing more is said.
pub fn blind_error() -> io::Result<()> {
    let error = rustix::stdio::stderr();
    if !rustix::termios::isatty(error) {
        return Ok(());
    }
    let again = reopen(error, OFlags::WRONLY | OFlags::NOCTTY);
    Ok(rustix::stdio::dup2_stderr(again.or_else(|_| null_device(true))?)?)
}

/// Opens what a descriptor stands for once more, with flags of its own.
pub fn reopen(fd: BorrowedFd<'_>, flags: OFlags) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    Ok(rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::{AsFd, IntoRawFd};

    #[test]
    fn only_what_is_open_is_inherited() {
        let fd = above(null_device(false).unwrap().as_fd(), 1000).unwrap().into_raw_fd();
        assert!(fd >= 1003);
        drop(inherited(fd).unwrap());
        for number in [fd, 2, 0, -1] {
            assert_eq!(
                inherited(number).unwrap_err().raw_os_error(),
                Some(libc::EBADF),
                "{number}"
            );
        }
    }

    #[test]
    fn what_is_closed_behind_us_is_closed() {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        close_behind(write);
        let mut byte = [0_u8; 1];
        assert_eq!(rustix::io::read(read.as_fd(), &mut byte).unwrap(), 0);
    }

    #[test]
    fn null_is_null() {
        let fd = null_device(false).unwrap();
        let mut byte = [0_u8; 1];
        assert_eq!(rustix::io::read(fd.as_fd(), &mut byte).unwrap(), 0);
    }
}
