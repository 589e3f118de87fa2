//! What only the init of a whole machine does: modules, the clock, entropy, the end.
#![expect(unsafe_code, reason = "one ioctl of the random number generator")]

use rustix::fs::{Mode, OFlags};
use rustix::system::RebootCommand;
use rustix::time::{ClockId, Timespec};
use std::ffi::CStr;
use std::io;
use std::os::fd::AsRawFd;

/// Loads a module, which lies in a plain file. One that is loaded already is fine.
///
/// # Errors
/// As finit_module(2).
pub fn load_module(path: &std::path::Path) -> io::Result<()> {
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    match rustix::system::finit_module(&file, c"", 0) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Sets the wall clock, by seconds and nanoseconds since 1970.
///
/// # Errors
/// As clock_settime(2).
pub fn set_clock(seconds: u64, nanoseconds: u32) -> io::Result<()> {
    let tv_sec = i64::try_from(seconds).map_err(|_| io::ErrorKind::InvalidInput)?;
    let now = Timespec { tv_sec, tv_nsec: nanoseconds.into() };
    Ok(rustix::time::clock_settime(ClockId::Realtime, now)?)
}

/// `struct rand_pool_info` of the kernel, with room for a seed.
#[repr(C)]
struct Pool {
    entropy_bits: libc::c_int,
    bytes: libc::c_int,
    seed: [u8; 32],
}

/// `RNDADDENTROPY`: `_IOW('R', 3, int[2])`.
const ADD_ENTROPY: libc::c_ulong = 0x4008_5203;

/// Gives the random number generator a seed that nobody else knows, and has it count in full.
///
/// # Errors
/// As random(4).
pub fn add_entropy(seed: &[u8; 32]) -> io::Result<()> {
    let device = rustix::fs::open(c"/dev/random", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    let pool = Pool { entropy_bits: 256, bytes: 32, seed: *seed };
    let pool: *const Pool = &raw const pool;
    // SAFETY: the request reads the two numbers and as many bytes after them as the second says, all of which live until
    // the call is over; the descriptor is open.
    let rc = unsafe { libc::ioctl(device.as_raw_fd(), ADD_ENTROPY, pool) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Writes back what is to be written, and starts the machine anew: under a machine monitor, that is its end.
///
/// # Errors
/// The caller may not.
pub fn restart() -> io::Result<()> {
    rustix::fs::sync();
    Ok(rustix::system::reboot(RebootCommand::Restart)?)
}

/// Lets this process, and all it starts, have more open files than the kernel gives its first process: so many unless they
/// ask for more, which they may.
///
/// # Errors
/// As setrlimit(2).
pub fn raise_open_files(usual: u64, most: u64) -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    Ok(setrlimit(Resource::Nofile, Rlimit { current: Some(usual), maximum: Some(most) })?)
}

/// The kernel's command line.
///
/// # Errors
/// There is no procfs.
pub fn command_line() -> io::Result<String> {
    std::fs::read_to_string("/proc/cmdline")
}

/// Opens one of the kernel's devices for all three standard descriptors, so that none of their numbers is taken by
/// something else.
///
/// # Errors
/// It is not there.
pub fn set_standard(input: &CStr, output: &CStr) -> io::Result<()> {
    let open = |path: &CStr, access: OFlags| rustix::fs::open(path, access, Mode::empty());
    // As long as numbers are free, opening takes the lowest: these may themselves become 0, 1 and 2.
    let (read, write) = (open(input, OFlags::RDONLY)?, open(output, OFlags::WRONLY)?);
    rustix::stdio::dup2_stdin(&read)?;
    rustix::stdio::dup2_stdout(&write)?;
    rustix::stdio::dup2_stderr(&write)?;
    for fd in [read, write] {
        if fd.as_raw_fd() <= 2 {
            // It is one of the three now, and stays open as that.
            std::mem::forget(fd);
        }
    }
    Ok(())
}
