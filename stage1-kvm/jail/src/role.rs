//! What each thread of a jailed process asks of the kernel.
//!
//! The lists hold for the C library, static or not, with its allocator in any thread; for the end of a thread; and for a
//! panic that aborts. What the guest can cause is never a reason for a call to be missing: a call that is not on the list is
//! made only by code that is not ours any more, and ends the process.

use libc as c;
use std::io;
use sys::seccomp::{Argument, Call, Filter};

/// The role of a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Of the machine: waits for its end, and ends the others.
    Machine,
    /// Of the machine: runs a processor of the guest.
    Processor,
    /// Of the machine: serves the devices.
    Devices,
    /// All threads of the file server.
    Files,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Machine, Self::Processor, Self::Devices, Self::Files];

    /// Restricts the calling thread, and all it starts, to its role, for ever.
    ///
    /// # Errors
    /// The kernel refuses; the thread must not go on.
    pub fn restrict(self) -> io::Result<()> {
        Filter::new(&self.calls())?.install()
    }

    fn calls(self) -> Vec<Call> {
        let own = match self {
            Self::Machine => MACHINE,
            Self::Processor => PROCESSOR,
            Self::Devices => DEVICES,
            Self::Files => FILES,
        };
        let memory = if self == Self::Files { MAPPED } else { ANONYMOUS };
        [own, memory, EVERYBODY].concat()
    }
}

/// Requests, by the kernel's numbers.
const KVM_RUN: u32 = 0xae80;
const KVM_GET_REGS: u32 = 0x8090_ae81;
const FIONBIO: u32 = 0x5421;
const TUNSETOFFLOAD: u32 = 0x4004_54d0;
/// What a thread of the C library shares with those that are there.
const THREAD: u32 = (c::CLONE_VM
    | c::CLONE_FS
    | c::CLONE_FILES
    | c::CLONE_SIGHAND
    | c::CLONE_THREAD
    | c::CLONE_SYSVSEM
    | c::CLONE_SETTLS
    | c::CLONE_PARENT_SETTID
    | c::CLONE_CHILD_CLEARTID) as u32;
const EXECUTE: u32 = c::PROT_EXEC as u32;
const NOWHERE: u32 = c::MAP_ANONYMOUS as u32;

/// Kicks of queues become events of the kernel's, so that a processor only writes to what it found on the bus.
static PROCESSOR: &[Call] = &[
    Call::when(c::SYS_ioctl, &[Argument::one_of(1, &[KVM_RUN, KVM_GET_REGS])]),
    // A driver that starts or resets a device whose queues another process serves has that process told, and what a reset
    // leaves behind is closed.
    Call::any(c::SYS_sendmsg),
    Call::any(c::SYS_recvmsg),
    Call::any(c::SYS_shutdown),
];

static DEVICES: &[Call] = &[
    Call::any(c::SYS_epoll_wait),
    Call::any(c::SYS_epoll_pwait),
    Call::any(c::SYS_read),
    Call::any(c::SYS_pread64),
    // Streams of the guest's, and the door by which they come to the supervisor.
    Call::any(c::SYS_epoll_ctl),
    Call::any(c::SYS_readv),
    Call::any(c::SYS_recvfrom),
    // To nobody but the other end.
    Call::when(c::SYS_sendto, &[Argument::one_of(5, &[0])]),
    Call::any(c::SYS_sendmsg),
    Call::any(c::SYS_recvmsg),
    Call::any(c::SYS_shutdown),
    Call::when(
        c::SYS_socketpair,
        &[
            Argument::one_of(0, &[c::AF_UNIX as u32]),
            Argument::bits(1, 0xf, &[c::SOCK_STREAM as u32]),
            Argument::one_of(2, &[0]),
        ],
    ),
    // The second is how a tap learns what the guest does by itself.
    Call::when(c::SYS_ioctl, &[Argument::one_of(1, &[FIONBIO, TUNSETOFFLOAD])]),
];

static MACHINE: &[Call] = &[
    // It tells the supervisor how the machine ended.
    Call::any(c::SYS_sendmsg),
    Call::when(c::SYS_sendto, &[Argument::one_of(5, &[0])]),
];

/// Memory that is no file's, and no program's.
static ANONYMOUS: &[Call] = &[Call::when(
    c::SYS_mmap,
    &[Argument::bits(2, EXECUTE, &[0]), Argument::bits(3, NOWHERE, &[NOWHERE])],
)];

/// The file server maps the guest's memory.
static MAPPED: &[Call] = &[Call::when(c::SYS_mmap, &[Argument::bits(2, EXECUTE, &[0])])];

static EVERYBODY: &[Call] = &[
    Call::any(c::SYS_futex),
    Call::any(c::SYS_write),
    Call::any(c::SYS_writev),
    Call::any(c::SYS_close),
    // Builds with assertions look at what they close.
    Call::when(c::SYS_fcntl, &[Argument::one_of(1, &[c::F_GETFD as u32])]),
    Call::any(c::SYS_brk),
    Call::any(c::SYS_munmap),
    Call::any(c::SYS_mremap),
    Call::any(c::SYS_madvise),
    Call::when(c::SYS_mprotect, &[Argument::bits(2, EXECUTE, &[0])]),
    Call::any(c::SYS_sched_yield),
    // Where the clock can be read without it, the library does.
    Call::any(c::SYS_clock_gettime),
    Call::any(c::SYS_restart_syscall),
    Call::any(c::SYS_rt_sigreturn),
    Call::any(c::SYS_rt_sigprocmask),
    Call::any(c::SYS_rt_sigaction),
    Call::any(c::SYS_sigaltstack),
    Call::any(c::SYS_getpid),
    Call::any(c::SYS_gettid),
    // Of this process only.
    Call::when(c::SYS_tgkill, &[Argument::myself(0)]),
    Call::any(c::SYS_set_robust_list),
    Call::any(c::SYS_rseq),
    Call::any(c::SYS_exit),
    Call::any(c::SYS_exit_group),
    // The first thing that a map of the standard library does in a thread.
    Call::any(c::SYS_getrandom),
];

/// The library's own list is the base; what is not needed without file handles, sockets of its own or a log is left out.
/// Whatever the guest may ask with a wrong argument must fail, not kill: the kernel sees to it.
static FILES: &[Call] = &[
    Call::any(c::SYS_read),
    Call::any(c::SYS_readv),
    Call::any(c::SYS_preadv),
    Call::any(c::SYS_preadv2),
    Call::any(c::SYS_pread64),
    Call::any(c::SYS_pwrite64),
    Call::any(c::SYS_pwritev),
    Call::any(c::SYS_pwritev2),
    Call::any(c::SYS_lseek),
    Call::any(c::SYS_open),
    Call::any(c::SYS_openat),
    Call::any(c::SYS_openat2),
    Call::any(c::SYS_statx),
    Call::any(c::SYS_newfstatat),
    Call::any(c::SYS_fstat),
    Call::any(c::SYS_fstatfs),
    Call::any(c::SYS_getdents64),
    Call::any(c::SYS_readlinkat),
    Call::any(c::SYS_mkdirat),
    Call::any(c::SYS_mknodat),
    Call::any(c::SYS_linkat),
    Call::any(c::SYS_symlinkat),
    Call::any(c::SYS_unlinkat),
    Call::any(c::SYS_renameat),
    Call::any(c::SYS_renameat2),
    Call::any(c::SYS_fchmod),
    Call::any(c::SYS_fchmodat),
    Call::any(c::SYS_fchmodat2),
    Call::any(c::SYS_fchown),
    Call::any(c::SYS_fchownat),
    Call::any(c::SYS_ftruncate),
    Call::any(c::SYS_utimensat),
    Call::any(c::SYS_fallocate),
    Call::any(c::SYS_copy_file_range),
    Call::any(c::SYS_fsync),
    Call::any(c::SYS_fdatasync),
    Call::any(c::SYS_syncfs),
    Call::any(c::SYS_flock),
    Call::any(c::SYS_getxattr),
    Call::any(c::SYS_setxattr),
    Call::any(c::SYS_listxattr),
    Call::any(c::SYS_removexattr),
    Call::any(c::SYS_fgetxattr),
    Call::any(c::SYS_fsetxattr),
    Call::any(c::SYS_flistxattr),
    Call::any(c::SYS_fremovexattr),
    // As whom, for the thread that does it.
    Call::any(c::SYS_fchdir),
    Call::any(c::SYS_dup),
    Call::any(c::SYS_umask),
    Call::any(c::SYS_geteuid),
    Call::any(c::SYS_getegid),
    Call::any(c::SYS_setresuid),
    Call::any(c::SYS_setresgid),
    Call::any(c::SYS_capget),
    Call::any(c::SYS_capset),
    // The socket to the machine, and the events of its queues.
    Call::any(c::SYS_epoll_create1),
    Call::any(c::SYS_epoll_ctl),
    Call::any(c::SYS_epoll_wait),
    Call::any(c::SYS_epoll_pwait),
    Call::any(c::SYS_eventfd2),
    Call::any(c::SYS_accept4),
    Call::any(c::SYS_recvmsg),
    Call::any(c::SYS_sendmsg),
    Call::any(c::SYS_shutdown),
    Call::any(c::SYS_sched_getaffinity),
    Call::any(c::SYS_membarrier),
    Call::any(c::SYS_gettimeofday),
    Call::when(c::SYS_setgroups, &[Argument::one_of(0, &[0])]),
    // Its working folder becomes the thread's own.
    Call::when(c::SYS_unshare, &[Argument::one_of(0, &[c::CLONE_FS as u32])]),
    Call::when(c::SYS_ioctl, &[Argument::one_of(1, &[FIONBIO])]),
    Call::when(c::SYS_fcntl, &[Argument::one_of(1, &FCNTL)]),
    Call::when(c::SYS_prctl, &[Argument::one_of(0, &PRCTL)]),
    // More threads, but no processes. The newer call has its flags where no filter can look.
    Call::when(c::SYS_clone, &[Argument::one_of(0, &[THREAD])]),
    Call::refused(c::SYS_clone3, c::ENOSYS),
];

/// Flags of descriptors and of open files, copies of descriptors; nothing that sends signals.
static FCNTL: [u32; 6] = [
    c::F_DUPFD as u32,
    c::F_DUPFD_CLOEXEC as u32,
    c::F_GETFD as u32,
    c::F_SETFD as u32,
    c::F_GETFL as u32,
    c::F_SETFL as u32,
];

/// The name of a thread, and whether there is a capability.
static PRCTL: [u32; 2] = [c::PR_SET_NAME as u32, c::PR_CAPBSET_READ as u32];
