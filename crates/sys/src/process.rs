//! Processes: cloning into namespaces, running a program beside a suspended parent, waiting, dying with the parent.
#![expect(unsafe_code, reason = "clone, execve and setsid of a child have no safe form")]

use crate::cgroup::Doors;
use crate::namespace::Kinds;
use rustix::process::{DumpableBehavior, Pid, Signal, WaitOptions};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::null_mut;

/// What clone returned.
#[derive(Debug)]
pub enum Cloned {
    /// To the process that called.
    Parent {
        /// The child's number in the caller's namespace.
        pid: Pid,
        /// The child itself, whatever becomes of its number.
        pidfd: OwnedFd,
    },
    /// To the child.
    Child,
}

/// `struct clone_args` of the kernel, first version.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
}

/// Clones the calling process, with a copy of its memory, into new namespaces.
///
/// # Errors
/// The kernel refuses, or the process has more than one thread (the copy of a lock held by another would stay locked).
pub fn clone(kinds: Kinds) -> io::Result<Cloned> {
    let mut pidfd: libc::c_int = -1;
    let args = CloneArgs {
        flags: (kinds.0 | libc::CLONE_PIDFD) as u64,
        pidfd: &raw mut pidfd as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    let (args, size): (*const CloneArgs, usize) = (&raw const args, size_of::<CloneArgs>());
    // SAFETY: without CLONE_VM the child has its own copy of all memory and goes on from here like after fork. The
    // programs that call this start no thread, so no lock of the C library is held by somebody the child lacks. The
    // kernel reads `size` bytes of a live structure and writes one descriptor number.
    let rc = unsafe { libc::syscall(libc::SYS_clone3, args, size) };
    match rc {
        0 => Ok(Cloned::Child),
        pid if pid > 0 => {
            let pid = Pid::from_raw(pid as i32).ok_or(io::ErrorKind::InvalidData)?;
            // SAFETY: the kernel has just made it for us.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Cloned::Parent { pid, pidfd })
        }
        _ => Err(io::Error::last_os_error()),
    }
}

/// Goes on in a copy of this process, with these as its standard descriptors and no other but `kept`: the copy runs `body`,
/// which gets that one, and ends with what it returns.
///
/// # Errors
/// As [`clone`].
pub fn run_apart(
    standard: [BorrowedFd<'_>; 3],
    kept: BorrowedFd<'_>,
    body: fn(&OwnedFd) -> i32,
) -> io::Result<Pid> {
    match clone(Kinds::NONE)? {
        Cloned::Parent { pid, .. } => Ok(pid),
        Cloned::Child => {
            let mut ready = Ok(());
            for (number, fd) in (0_i32..).zip(standard) {
                // SAFETY: `body` has captured nothing and this function never returns here, so that nobody uses what had
                // the number.
                ready = ready.and(unsafe { set_standard(number, fd) });
            }
            // SAFETY: as above, of all descriptors that the caller's values own.
            ready =
                ready.and_then(|()| unsafe { crate::descriptor::close_above_standard(Some(kept)) });
            match ready.and_then(|()| crate::descriptor::inherited(3)) {
                Ok(kept) => leave(body(&kept)),
                Err(_) => leave(255),
            }
        }
    }
}

/// Where a child failed before its program ran: the step (numbered by the caller) and the kernel's reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChildFailure<S> {
    /// The step.
    pub step: S,
    /// The kernel's reason.
    pub errno: i32,
}

const STACK: usize = 64 * 1024;

struct Launch<'a, S> {
    prepare: &'a mut dyn FnMut() -> ChildFailure<S>,
    failure: Option<ChildFailure<S>>,
}

extern "C" fn in_child<S>(launch: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `run_beside` passes a pointer to its own `Launch<S>`, which lives while the parent is suspended, and
    // nobody else uses it meanwhile.
    let launch = unsafe { &mut *launch.cast::<Launch<'_, S>>() };
    launch.failure = Some((launch.prepare)());
    // SAFETY: ends the child at once, without running anything of the parent's at-exit list.
    unsafe { libc::_exit(255) }
}

/// Starts a child that borrows our memory while we are suspended, until it executes a program or gives up.
///
/// `prepare` runs in the child: it makes the child what the program needs and executes it. It returns only if that
/// failed, and what it returns comes back here, through the shared memory, with the child already gone.
/// It must not allocate, take locks or touch anything the parent would miss: system calls only.
///
/// # Errors
/// No child could be made.
pub fn run_beside<S>(
    prepare: &mut dyn FnMut() -> ChildFailure<S>,
) -> io::Result<Result<Pid, ChildFailure<S>>> {
    run_beside_in(Kinds::NONE, prepare)
}

/// As [`run_beside`], with new namespaces for the child.
///
/// # Errors
/// No child could be made, or no namespaces.
pub fn run_beside_in<S>(
    kinds: Kinds,
    prepare: &mut dyn FnMut() -> ChildFailure<S>,
) -> io::Result<Result<Pid, ChildFailure<S>>> {
    let stack = ChildStack::new()?;
    let mut launch = Launch { prepare, failure: None };
    let argument: *mut Launch<'_, S> = &raw mut launch;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD | kinds.0;
    // SAFETY: CLONE_VFORK suspends us until the child has executed or ended, so `launch` and the stack outlive its use
    // of them; the stack is its own; the function has the type that clone wants.
    let rc = unsafe { libc::clone(in_child::<S>, stack.top(), flags, argument.cast()) };
    if rc < 0 {
        return Err(io::Error::last_os_error());
    }
    let pid = Pid::from_raw(rc).ok_or(io::ErrorKind::InvalidData)?;
    match launch.failure {
        None => Ok(Ok(pid)),
        Some(failure) => {
            wait_for(pid)?;
            Ok(Err(failure))
        }
    }
}

/// What keeps a program from being started with [`start_with`].
pub type Unstarted = ChildFailure<&'static str>;

/// Starts a program in new namespaces and in the group behind these doors, with copies of these descriptors as 3, 4 and so
/// on, the standard ones, and no other. It ends when the calling thread does.
///
/// # Errors
/// No child could be made, no namespaces or no descriptors; or, in the second place, the child failed.
pub fn start_with(
    (kinds, doors): (Kinds, Option<&Doors>),
    descriptors: &[BorrowedFd<'_>],
    path: &CString,
    [argv, env]: [&Words; 2],
) -> io::Result<Result<Pid, Unstarted>> {
    // Out of the way of each other's numbers.
    let copy = |fd: &BorrowedFd<'_>| crate::descriptor::above(*fd, descriptors.len());
    let copies: Vec<OwnedFd> = descriptors.iter().map(copy).collect::<io::Result<_>>()?;
    let copies: Vec<BorrowedFd<'_>> = copies.iter().map(AsFd::as_fd).collect();
    let number = |error: io::Error| error.raw_os_error().unwrap_or(libc::EIO);
    run_beside_in(kinds, &mut || {
        if let Err(error) = die_with_parent() {
            return ChildFailure { step: "bind it to its parent", errno: number(error) };
        }
        if let Some(Err(error)) = doors.map(Doors::enter) {
            return ChildFailure {
                step: "put it into the pod's control group",
                errno: number(error),
            };
        }
        // SAFETY: the child has its own table of descriptors, and does nothing afterwards but execute a program or end.
        if let Err(error) = unsafe { crate::descriptor::hand_down(&copies) } {
            return ChildFailure { step: "give it its descriptors", errno: number(error) };
        }
        ChildFailure { step: "execute it", errno: exec(path, argv, env) }
    })
}

/// A stack for one child, with a page below it that must not be touched.
struct ChildStack(*mut libc::c_void);

impl ChildStack {
    fn new() -> io::Result<Self> {
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: asks for new memory at an address of the kernel's choice.
        let base =
            unsafe { libc::mmap(null_mut(), STACK, protection, flags | libc::MAP_STACK, -1, 0) };
        if base == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(Self(base)) }
    }

    fn top(&self) -> *mut libc::c_void {
        self.0.wrapping_byte_add(STACK)
    }
}

impl Drop for ChildStack {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length; the child that used it has executed or ended.
        unsafe { libc::munmap(self.0, STACK) };
    }
}

/// Words for execve, with the table of pointers made beforehand: nothing is allocated when it is used.
#[derive(Debug)]
pub struct Words {
    words: Vec<CString>,
    table: Vec<*const libc::c_char>,
}

impl Words {
    /// The words, in order.
    pub fn new(words: Vec<CString>) -> Self {
        let table = words.iter().map(|word| word.as_ptr()).chain([std::ptr::null()]).collect();
        Self { words, table }
    }

    /// The words again.
    pub fn list(&self) -> &[CString] {
        &self.words
    }
}

/// Becomes another program; returns only the reason why not.
pub fn exec(path: &CString, argv: &Words, env: &Words) -> i32 {
    // SAFETY: the path ends in NUL; both tables end in a null pointer and point to live, terminated strings that
    // `Words` owns and never changes.
    unsafe { libc::execve(path.as_ptr(), argv.table.as_ptr(), env.table.as_ptr()) };
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

/// Makes a descriptor the one of this low number (0, 1, 2 or 3), kept across exec.
///
/// # Safety
/// Only for a child that is about to execute: whoever owned that number before must not rely on it.
pub unsafe fn set_standard(number: i32, fd: BorrowedFd<'_>) -> io::Result<()> {
    if fd.as_raw_fd() == number {
        return Ok(rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())?);
    }
    // SAFETY: dup2 reads two numbers; that the old owner of `number` is done is our caller's promise.
    let rc = unsafe { libc::dup2(fd.as_raw_fd(), number) };
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

impl End {
    /// The code, or the bare number of the signal.
    pub fn code(self) -> i32 {
        match self {
            Self::Exited(code) => code,
            Self::Killed(signal) => signal,
        }
    }

    /// The signal, if one ended the process.
    pub fn signal(self) -> Option<i32> {
        match self {
            Self::Exited(_) => None,
            Self::Killed(signal) => Some(signal),
        }
    }
}

fn end_of(status: rustix::process::WaitStatus) -> Option<End> {
    status.exit_status().map(End::Exited).or_else(|| status.terminating_signal().map(End::Killed))
}

/// Waits for one child.
pub fn wait_for(pid: Pid) -> io::Result<End> {
    loop {
        match rustix::process::waitpid(Some(pid), WaitOptions::empty()) {
            Ok(Some((_, status))) => {
                if let Some(end) = end_of(status) {
                    return Ok(end);
                }
            }
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(other) => return Err(other.into()),
        }
    }
}

/// The next child that has ended, if any has; it is gone afterwards.
pub fn reap() -> io::Result<Option<(Pid, End)>> {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => {
                if let Some(end) = end_of(status) {
                    return Ok(Some((pid, end)));
                }
            }
            Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(None),
            Err(rustix::io::Errno::INTR) => {}
            Err(other) => return Err(other.into()),
        }
    }
}

/// Waits until some child ends; `None` if there is none.
pub fn wait_for_any() -> io::Result<Option<(Pid, End)>> {
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) => {
                if let Some(end) = end_of(status) {
                    return Ok(Some((pid, end)));
                }
            }
            Err(rustix::io::Errno::CHILD) => return Ok(None),
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(other) => return Err(other.into()),
        }
    }
}

/// Has the kernel kill this process when its parent thread ends.
pub fn die_with_parent() -> io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?)
}

/// Hides this process: its memory, program and descriptors are closed to all without the right to trace anybody.
pub fn hide() -> io::Result<()> {
    Ok(rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Gives the calling thread a working folder, a root and a mask of modes that other threads do not change.
pub fn own_folder() -> io::Result<()> {
    // SAFETY: the call takes a number and touches no memory.
    let rc = unsafe { libc::unshare(libc::CLONE_FS) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Leaves the keys of whoever started this process: it has an empty ring of its own afterwards. A kernel without keys has
/// none to leave.
pub fn leave_keyring() -> io::Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_int = 1;
    let unnamed = std::ptr::null::<libc::c_char>();
    // SAFETY: the call reads a name, of which there is none.
    let rc = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, unnamed) };
    let error = io::Error::last_os_error();
    if rc >= 0 || error.raw_os_error() == Some(libc::ENOSYS) { Ok(()) } else { Err(error) }
}

/// Has all threads to come share the heap of the first one. A heap of a thread's own looks into procfs when it shrinks,
/// which is nothing for a process that may not open files, and takes memory of its own.
pub fn share_heap() -> io::Result<()> {
    // SAFETY: two numbers; the setting is read when a thread allocates for the first time, and there is one thread yet.
    let rc = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    if rc == 1 { Ok(()) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

/// Sends a signal by number to a process.
pub fn kill(pid: Pid, signal: i32) -> io::Result<()> {
    // SAFETY: two numbers, no memory; a bad signal is EINVAL.
    let rc = unsafe { libc::kill(pid.as_raw_nonzero().get(), signal) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The process group of a process, or of the caller; `None` if the process is gone, or its group is led from outside the
/// caller's pid namespace and so has no number here.
pub fn group_of(pid: Option<Pid>) -> Option<Pid> {
    let pid = pid.map(|pid| nix::unistd::Pid::from_raw(pid.as_raw_nonzero().get()));
    nix::unistd::getpgid(pid).ok().and_then(|group| Pid::from_raw(group.as_raw()))
}

/// Sends a signal by number to every process of the group that a process leads.
pub fn kill_group(leader: Pid, signal: i32) -> io::Result<()> {
    // SAFETY: two numbers, no memory; a bad signal is EINVAL.
    let rc = unsafe { libc::kill(-leader.as_raw_nonzero().get(), signal) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends a signal by number to every process the caller may signal, in its pid namespace, but itself and PID 1.
pub fn kill_all(signal: i32) -> io::Result<()> {
    // SAFETY: two numbers, no memory.
    let rc = unsafe { libc::kill(-1, signal) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends a signal by number to a process held by descriptor.
pub fn signal_to(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let (fd, none) = (pidfd.as_raw_fd(), std::ptr::null::<libc::siginfo_t>());
    // SAFETY: the descriptor is borrowed for the call; no detail is passed.
    let rc = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, none, 0_u32) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether the working directory lies inside the root of the calling process. Allocates nothing.
pub fn works_inside_root() -> bool {
    let mut path = [0_u8; 4096];
    // SAFETY: the kernel writes at most as many bytes as the live buffer has.
    let length = unsafe { libc::syscall(libc::SYS_getcwd, path.as_mut_ptr(), path.len()) };
    // What lies outside is shown as "(unreachable)/…".
    length > 0 && path[0] == b'/'
}

/// Ends this process as the signal would end one that does nothing about it.
pub fn die_by(signal: i32) -> io::Result<()> {
    crate::signal::set_default(signal);
    crate::signal::Set::none().block_only()?;
    kill(rustix::process::getpid(), signal)
}

/// Ends the calling process at once, running nothing of what its parent left to be run at exit.
pub fn leave(code: i32) -> ! {
    // SAFETY: ends the process; nothing of it is used afterwards.
    unsafe { libc::_exit(code) }
}

/// `struct pidfd_info` of the kernel, first version.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup: u64,
    ids: [u32; 11],
    exit_code: i32,
}

/// `PIDFD_GET_INFO`: a number made of direction, size, kind and count, as all of its family.
const PIDFD_GET_INFO: libc::c_ulong = 0xc040_ff0b;
/// Asks for, and tells, the exit status.
const PIDFD_INFO_EXIT: u64 = 8;

/// How a process ended that is not our child; `None` as long as its parent has not reaped it.
///
/// # Errors
/// The kernel does not tell.
pub fn exit_status(pidfd: BorrowedFd<'_>) -> io::Result<Option<End>> {
    const { assert!(size_of::<PidfdInfo>() == 64) };
    let mut found = PidfdInfo { mask: PIDFD_INFO_EXIT, ..PidfdInfo::default() };
    let into: *mut PidfdInfo = &raw mut found;
    // SAFETY: the request carries the size of the structure, which is the kernel's own first version and lives until
    // the call is over.
    let rc = unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO, into) };
    if rc != 0 {
        let error = io::Error::last_os_error();
        // Alive, or a zombie: it has no answer yet.
        return if error.raw_os_error() == Some(libc::ESRCH) { Ok(None) } else { Err(error) };
    }
    if found.mask & PIDFD_INFO_EXIT == 0 {
        return Ok(None);
    }
    let status = found.exit_code;
    let signal = libc::WTERMSIG(status);
    Ok(Some(if libc::WIFEXITED(status) {
        End::Exited(libc::WEXITSTATUS(status))
    } else {
        End::Killed(signal)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[&str]) -> Words {
        Words::new(list.iter().map(|w| CString::new(*w).unwrap()).collect())
    }

    #[test]
    fn a_child_executes_or_says_why_not() {
        let (argv, env) = (words(&["sh", "-c", "exit 7"]), words(&[]));
        let shell = CString::new("/bin/sh").unwrap();
        let started =
            run_beside(&mut || ChildFailure { step: 1, errno: exec(&shell, &argv, &env) }).unwrap();
        assert_eq!(wait_for(started.unwrap()).unwrap(), End::Exited(7));

        let nowhere = CString::new("/nowhere").unwrap();
        let failed =
            run_beside(&mut || ChildFailure { step: 2, errno: exec(&nowhere, &argv, &env) })
                .unwrap();
        assert_eq!(failed.unwrap_err(), ChildFailure { step: 2, errno: libc::ENOENT });
    }

    #[test]
    fn a_copy_has_the_descriptors_it_was_given_and_no_other() {
        // This process has threads: the copy must do with system calls.
        let (read, write) = rustix::pipe::pipe().unwrap();
        let (given, give) = rustix::pipe::pipe().unwrap();
        rustix::io::write(&give, b"through").unwrap();
        drop(give);
        let body = |kept: &OwnedFd| {
            let mut bytes = [0_u8; 16];
            let count = rustix::io::read(kept, &mut bytes).unwrap_or(0);
            let others = (4..64).any(|number| crate::descriptor::inherited(number).is_ok());
            let said = rustix::io::write(rustix::stdio::stdout(), &bytes[..count]);
            if others || said != Ok(count) { 1 } else { 7 }
        };
        let standard = [given.as_fd(), write.as_fd(), write.as_fd()];
        let pid = run_apart(standard, given.as_fd(), body).unwrap();
        drop(write);
        assert_eq!(wait_for(pid).unwrap(), End::Exited(7));
        let text = std::io::read_to_string(std::fs::File::from(read)).unwrap();
        assert_eq!(text, "through");
    }

    #[test]
    fn a_program_has_the_descriptors_it_was_given_and_no_other() {
        let (argv, env) = (words(&["sh", "-c", "ls /proc/self/fd >&4; cat <&3 >&4"]), words(&[]));
        let shell = CString::new("/bin/sh").unwrap();
        let (given, give) = rustix::pipe::pipe().unwrap();
        let (read, write) = rustix::pipe::pipe().unwrap();
        rustix::io::write(&give, b"through").unwrap();
        drop(give);
        let list = [given.as_fd(), write.as_fd()];
        let started = start_with((Kinds::NONE, None), &list, &shell, [&argv, &env]).unwrap();
        assert_eq!(wait_for(started.unwrap()).unwrap(), End::Exited(0));
        drop(write);
        let text = std::io::read_to_string(std::fs::File::from(read)).unwrap();
        // The fifth is the folder that is listed.
        assert_eq!(text, "0\n1\n2\n3\n4\n5\nthrough");

        let nowhere = CString::new("/nowhere").unwrap();
        let failed = start_with((Kinds::NONE, None), &[], &nowhere, [&argv, &env]).unwrap();
        let expected = ChildFailure { step: "execute it", errno: libc::ENOENT };
        assert_eq!(failed.unwrap_err(), expected);
    }
}
