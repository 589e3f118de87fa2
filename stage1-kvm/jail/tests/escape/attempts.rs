//! What an intruder tries, call by call.
#![expect(unsafe_code, reason = "calls that nothing wraps, as an intruder would make them")]

use crate::Test;
use crate::cell::{Guard, REACHED, Shared, jailed};
use jail::Role;
use libc as c;
use std::os::fd::{AsRawFd, BorrowedFd};
use sys::process::End;

/// What keeps an attempt from anything where a filter does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Else {
    /// The jail refuses it.
    Refused,
    /// Nothing: it reaches what is the process' own.
    Own,
}
use Else::{Own, Refused};

/// What the filter of the file server does about it; those of the machine always kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Files {
    /// As the machine's.
    Kill,
    /// The file server must make such calls, and the jail refuses this one.
    Refuse,
    /// It may, within its tree.
    Allow,
}
use Files::{Allow, Kill, Refuse};

struct Attempt {
    name: &'static str,
    call: c::c_long,
    arguments: [Value; 5],
    without: Else,
    files: Files,
}

/// An argument.
#[derive(Clone, Copy)]
enum Value {
    Number(i64),
    Text(&'static std::ffi::CStr),
    /// The descriptor that the process has.
    Descriptor,
    /// The supervisor, by its number outside.
    Supervisor,
    /// Zeroed room to read from and write into.
    Room,
    /// A list of one piece of memory that is there in any copy of this process.
    Piece,
}
use Value::{Descriptor, Piece, Room, Supervisor, Text};

const fn n(value: i64) -> Value {
    Value::Number(value)
}

const NONE: Value = n(0);
const HERE: Value = n(c::AT_FDCWD as i64);

const fn with<const N: usize>(given: [Value; N]) -> [Value; 5] {
    let mut all = [NONE; 5];
    let mut at = 0;
    while at < N {
        all[at] = given[at];
        at += 1;
    }
    all
}

macro_rules! attempts {
    ($($name:ident: $call:ident($($value:expr),*), $without:ident, $files:ident;)+) => {
        &[$(Attempt {
            name: stringify!($name),
            call: c::$call,
            arguments: with([$($value),*]),
            without: $without,
            files: $files,
        }),+]
    };
}

/// Name: call and arguments, what happens without a filter, what the file server's does.
static ATTEMPTS: &[Attempt] = attempts! {
    opens_proc: SYS_openat(HERE, Text(c"/proc/self/mem"), n(2)), Refused, Refuse;
    opens_passwd: SYS_openat(HERE, Text(c"/etc/passwd"), NONE), Refused, Refuse;
    opens_upwards: SYS_openat(HERE, Text(c"../../../../../etc/passwd"), NONE), Refused, Refuse;
    opens_the_root_of_its_parent: SYS_openat(HERE, Text(c"/proc/1/root/etc/passwd"), NONE), Refused, Refuse;
    opens_through_a_link: SYS_openat(HERE, Text(c"/link"), NONE), Refused, Refuse;
    opens_a_device: SYS_openat(HERE, Text(c"/dev/kvm"), n(2)), Refused, Refuse;
    opens_by_the_old_call: SYS_open(Text(c"/etc/passwd"), NONE), Refused, Refuse;
    opens_by_openat2: SYS_openat2(HERE, Text(c"/etc/passwd"), Room, n(24)), Refused, Refuse;
    opens_by_handle: SYS_open_by_handle_at(HERE, Room, NONE), Refused, Kill;
    asks_for_a_handle: SYS_name_to_handle_at(HERE, Text(c"/etc"), Room, Room, NONE), Refused, Kill;
    makes_a_file: SYS_openat(HERE, Text(c"/made"), n(0o102), n(0o600)), Refused, Allow;
    makes_a_folder: SYS_mkdirat(HERE, Text(c"/folder"), n(0o700)), Refused, Allow;
    makes_a_device: SYS_mknodat(HERE, Text(c"/disk"), n(0o060_600), n(0x800)), Refused, Refuse;
    makes_a_memory_device: SYS_mknodat(HERE, Text(c"/mem"), n(0o020_600), n(0x101)), Refused, Refuse;
    changes_its_root: SYS_chroot(Text(c"..")), Refused, Kill;
    leaves_by_its_descriptor: SYS_fchdir(Descriptor), Refused, Refuse;
    pivots: SYS_pivot_root(Text(c"."), Text(c".")), Refused, Kill;
    mounts: SYS_mount(Text(c"none"), Text(c"/"), Text(c"proc"), NONE, NONE), Refused, Kill;
    mounts_anew: SYS_mount(NONE, Text(c"/"), NONE, n(0x20), NONE), Refused, Kill;
    unmounts: SYS_umount2(Text(c"/"), n(2)), Refused, Kill;
    opens_a_file_system: SYS_fsopen(Text(c"proc"), NONE), Refused, Kill;
    copies_a_tree: SYS_open_tree(HERE, Text(c"/"), n(1)), Refused, Kill;
    moves_a_mount: SYS_move_mount(HERE, Text(c"/"), HERE, Text(c"/"), NONE), Refused, Kill;
    changes_a_mount: SYS_mount_setattr(HERE, Text(c"/"), NONE, Room, n(32)), Own, Kill;
    makes_a_user_namespace: SYS_unshare(n(0x1000_0000)), Own, Kill;
    makes_a_mount_namespace: SYS_unshare(n(0x2_0000)), Refused, Kill;
    makes_a_network_namespace: SYS_unshare(n(0x4000_0000)), Refused, Kill;
    joins_a_namespace: SYS_setns(Descriptor, NONE), Refused, Kill;
    traces_its_parent: SYS_ptrace(n(16), Supervisor), Refused, Kill;
    asks_to_be_traced: SYS_ptrace(NONE), Own, Kill;
    seizes_its_parent: SYS_ptrace(n(0x4206), Supervisor), Refused, Kill;
    reads_its_parent: SYS_process_vm_readv(Supervisor, Piece, n(1), Piece, n(1)), Refused, Kill;
    writes_its_parent: SYS_process_vm_writev(Supervisor, Piece, n(1), Piece, n(1)), Refused, Kill;
    compares_with_its_parent: SYS_kcmp(Supervisor, n(1), n(1), NONE, NONE), Refused, Kill;
    kills_its_parent: SYS_kill(Supervisor, n(9)), Refused, Kill;
    kills_all: SYS_kill(n(-1), n(9)), Refused, Kill;
    kills_its_group: SYS_kill(NONE, NONE), Own, Kill;
    kills_a_thread: SYS_tkill(Supervisor, n(9)), Refused, Kill;
    kills_a_thread_of_its_parent: SYS_tgkill(Supervisor, Supervisor, n(9)), Refused, Kill;
    queues_a_signal: SYS_rt_sigqueueinfo(Supervisor, n(9), Room), Refused, Kill;
    opens_its_parent: SYS_pidfd_open(Supervisor, NONE), Refused, Kill;
    signals_by_descriptor: SYS_pidfd_send_signal(Descriptor, n(9), NONE, NONE), Refused, Kill;
    takes_a_descriptor: SYS_pidfd_getfd(Descriptor, NONE, NONE), Refused, Kill;
    limits_its_parent: SYS_prlimit64(Supervisor, n(7), NONE, Room), Refused, Kill;
    opens_an_internet_socket: SYS_socket(n(2), n(1), NONE), Own, Kill;
    opens_a_unix_socket: SYS_socket(n(1), n(1), NONE), Own, Kill;
    opens_a_netlink_socket: SYS_socket(n(16), n(3), NONE), Own, Kill;
    opens_a_raw_socket: SYS_socket(n(2), n(3), n(1)), Refused, Kill;
    opens_a_packet_socket: SYS_socket(n(17), n(3), NONE), Refused, Kill;
    opens_a_kernel_crypto_socket: SYS_socket(n(38), n(5), NONE), Own, Kill;
    opens_a_machine_socket: SYS_socket(n(40), n(1), NONE), Own, Kill;
    pairs_internet_sockets: SYS_socketpair(n(2), n(1), NONE, Room), Refused, Kill;
    pairs_datagram_sockets: SYS_socketpair(n(1), n(2), NONE, Room), Own, Kill;
    binds: SYS_bind(Descriptor, Room, n(16)), Refused, Kill;
    listens: SYS_listen(Descriptor, n(1)), Refused, Kill;
    connects: SYS_connect(Descriptor, Room, n(16)), Refused, Kill;
    makes_a_ring: SYS_io_uring_setup(n(1), Room), Own, Kill;
    loads_a_program_into_the_kernel: SYS_bpf(NONE, Room, n(64)), Refused, Kill;
    handles_faults: SYS_userfaultfd(n(1)), Own, Kill;
    measures: SYS_perf_event_open(Room, Supervisor, n(-1), n(-1), NONE), Refused, Kill;
    uses_keys: SYS_keyctl(NONE, n(-3), NONE), Own, Kill;
    adds_a_key: SYS_add_key(Text(c"user"), Text(c"k"), Text(c"v"), n(1), n(-3)), Own, Kill;
    asks_for_a_key: SYS_request_key(Text(c"user"), Text(c"k"), NONE, NONE), Refused, Kill;
    executes: SYS_execve(Text(c"/bin/sh"), NONE, NONE), Refused, Kill;
    executes_a_descriptor: SYS_execveat(Descriptor, Text(c""), NONE, NONE, n(0x1000)), Refused, Kill;
    makes_a_file_in_memory: SYS_memfd_create(Text(c"x"), NONE), Own, Kill;
    makes_secret_memory: SYS_memfd_secret(NONE), Own, Kill;
    forks: SYS_fork(), Own, Kill;
    clones_a_process: SYS_clone(n(17)), Own, Kill;
    clones_into_a_user_namespace: SYS_clone(n(0x1000_0011)), Own, Kill;
    maps_a_program: SYS_mmap(NONE, n(4096), n(5), n(0x22), n(-1)), Own, Kill;
    makes_memory_a_program: SYS_mprotect(NONE, NONE, n(4)), Own, Kill;
    makes_memory_a_program_by_key: SYS_pkey_mprotect(NONE, NONE, n(4), n(-1)), Own, Kill;
    maps_shared_memory: SYS_shmat(NONE, NONE, NONE), Refused, Kill;
    makes_shared_memory: SYS_shmget(NONE, n(4096), n(0o1600)), Own, Kill;
    makes_a_message_queue: SYS_msgget(NONE, n(0o1600)), Own, Kill;
    opens_a_message_queue: SYS_mq_open(Text(c"x"), n(0o102), n(0o600), NONE), Refused, Kill;
    types_into_a_terminal: SYS_ioctl(Descriptor, n(0x5412), Text(c"x")), Refused, Kill;
    types_into_a_terminal_by_a_long_number: SYS_ioctl(Descriptor, n(0x1_0000_5412), Text(c"x")), Refused, Kill;
    takes_a_terminal: SYS_ioctl(Descriptor, n(0x540e), NONE), Refused, Kill;
    asks_kvm_for_a_machine: SYS_ioctl(Descriptor, n(0xae01), NONE), Refused, Kill;
    asks_kvm_for_memory: SYS_ioctl(Descriptor, n(0x4020_ae46), Room), Refused, Kill;
    makes_a_tap: SYS_ioctl(Descriptor, n(0x4004_54ca), Room), Refused, Kill;
    keeps_a_tap: SYS_ioctl(Descriptor, n(0x4004_54cb), n(1)), Refused, Kill;
    filters_a_tap: SYS_ioctl(Descriptor, n(0x4010_54d5), Room), Refused, Kill;
    asks_for_a_namespace: SYS_ioctl(Descriptor, n(0xb701), NONE), Refused, Kill;
    wants_signals_of_a_file: SYS_fcntl(Descriptor, n(8), Supervisor), Refused, Kill;
    changes_personality: SYS_personality(n(0x40_0000)), Own, Kill;
    can_be_dumped_again: SYS_prctl(n(4), n(1)), Own, Kill;
    outlives_its_parent: SYS_prctl(n(1), NONE), Own, Kill;
    changes_secure_bits: SYS_prctl(n(28), NONE), Refused, Kill;
    raises_a_capability: SYS_prctl(n(47), n(2), n(21), NONE, NONE), Refused, Kill;
    filters: SYS_seccomp(n(1), NONE, Room), Refused, Kill;
    becomes_root: SYS_setuid(NONE), Own, Kill;
    becomes_any_user: SYS_setreuid(n(1), n(1)), Own, Kill;
    joins_a_group: SYS_setgroups(n(1), Room), Own, Kill;
    leaves_its_session: SYS_setsid(), Refused, Kill;
    has_port_access: SYS_iopl(n(3)), Refused, Kill;
    has_one_port: SYS_ioperm(n(0x80), n(1), n(1)), Refused, Kill;
    changes_segments: SYS_modify_ldt(NONE, Room, n(16)), Own, Kill;
    names_the_host: SYS_sethostname(Text(c"x"), n(1)), Refused, Kill;
    sets_the_clock: SYS_clock_settime(NONE, Room), Refused, Kill;
    adjusts_the_clock: SYS_clock_adjtime(NONE, Room), Own, Kill;
    restarts_the_host: SYS_reboot(n(0xfee1_dead), n(672_274_793), NONE, NONE), Refused, Kill;
    loads_a_module: SYS_finit_module(Descriptor, Text(c""), NONE), Refused, Kill;
    loads_a_kernel: SYS_kexec_load(NONE, NONE, NONE, NONE), Refused, Kill;
    swaps: SYS_swapon(Text(c"/own"), NONE), Refused, Kill;
    accounts: SYS_acct(NONE), Refused, Kill;
    limits_disk_use: SYS_quotactl(n(0x80_0001), NONE, NONE, NONE), Refused, Kill;
    reads_the_kernels_log: SYS_syslog(n(3), Room, n(8)), Refused, Kill;
    watches_files: SYS_fanotify_init(NONE, NONE), Refused, Kill;
    watches_names: SYS_inotify_init1(NONE), Own, Kill;
    moves_pages: SYS_move_pages(Supervisor, NONE, NONE, NONE, NONE), Refused, Kill;
    becomes_urgent: SYS_sched_setscheduler(NONE, n(1), Room), Refused, Kill;
    is_preferred: SYS_setpriority(NONE, NONE, n(-5)), Refused, Kill;
    splices: SYS_splice(Descriptor, NONE, Descriptor, NONE, n(1)), Refused, Kill;
    advises_its_parent: SYS_process_madvise(Descriptor, Piece, n(1), n(20), NONE), Refused, Kill;
};

/// Makes the call, and says what came of it.
fn attempt(attempt: &Attempt, descriptor: BorrowedFd<'_>, supervisor: i32) -> i32 {
    let mut room = [0_u64; 64];
    let room = room.as_mut_ptr() as i64;
    let pieces = [room, 8];
    let value = |value: &Value| match value {
        Value::Number(number) => *number,
        Text(text) => text.as_ptr() as i64,
        Descriptor => i64::from(descriptor.as_raw_fd()),
        Supervisor => supervisor.into(),
        Room => room,
        Piece => pieces.as_ptr() as i64,
    };
    let [first, second, third, fourth, fifth] = attempt.arguments.each_ref().map(value);
    // SAFETY: this is an attack on the process itself at worst: it ends right afterwards, whatever the call did to it.
    let result = unsafe { libc::syscall(attempt.call, first, second, third, fourth, fifth, 0_i64) };
    verdict(result)
}

fn verdict(result: i64) -> i32 {
    if result >= 0 {
        return REACHED;
    }
    std::io::Error::last_os_error().raw_os_error().unwrap_or(REACHED)
}

/// The call of the same machine's older architecture, where numbers mean something else.
fn calls_as_another_architecture() -> i32 {
    let result: i64;
    // SAFETY: the interrupt is the older way into the kernel; number 20 asks for a process' number and touches no memory.
    unsafe {
        std::arch::asm!("int 0x80", inlateout("rax") 20_i64 => result, out("r8") _, out("r9") _,
            out("r10") _, out("r11") _);
    }
    if result >= 0 { REACHED } else { -result as i32 }
}

/// The same calls with the numbers of the convention for short addresses.
fn calls_with_short_addresses() -> i32 {
    // SAFETY: asks for a process' number and touches no memory.
    verdict(unsafe { libc::syscall(0x4000_0000 + c::SYS_getpid) })
}

fn run(guard: Guard, try_it: &dyn Fn(BorrowedFd<'_>) -> i32) -> End {
    let shared = Shared::new();
    jailed(guard, &shared, &|input, _| try_it(input)).end().0
}

fn killed(end: End) -> bool {
    end == End::Killed(c::SIGSYS)
}

fn refused(end: End) -> bool {
    matches!(end, End::Exited(code) if code > 0 && code < REACHED)
}

fn test(of: &'static Attempt) {
    let supervisor = rustix::process::getpid().as_raw_nonzero().get();
    let try_it = |descriptor: BorrowedFd<'_>| attempt(of, descriptor, supervisor);
    for role in Role::ALL {
        let end = run(Guard::Full(role), &try_it);
        let right = match of.files {
            Refuse if role == Role::Files => refused(end),
            Allow if role == Role::Files => end == End::Exited(REACHED),
            _ => killed(end),
        };
        assert!(right, "{} as {role:?}: {end:?}", of.name);
    }
    if of.without == Refused {
        for role in [Role::Machine, Role::Files] {
            let end = run(Guard::JailOf(role), &try_it);
            let allowed = role == Role::Files && of.files == Allow;
            assert!(allowed || refused(end), "{} without a filter, {role:?}: {end:?}", of.name);
        }
    }
}

/// The number of the ring of keys of this session, if the kernel has keys.
fn keyring() -> i64 {
    // SAFETY: three numbers, no memory.
    unsafe { libc::syscall(c::SYS_keyctl, 0, -3, 1) }
}

fn its_keys_are_its_own() {
    let ours = keyring();
    let absent = ours < 0 && std::io::Error::last_os_error().raw_os_error() == Some(c::ENOSYS);
    for role in [Role::Machine, Role::Files] {
        let end = run(Guard::JailOf(role), &|_| i32::from(keyring() == ours));
        assert_eq!(end, End::Exited(i32::from(absent)), "{role:?}");
    }
}

pub(crate) fn tests() -> Vec<Test> {
    let mut tests: Vec<Test> = Vec::new();
    tests.push(("attempts::its_keys_are_its_own".to_owned(), Box::new(its_keys_are_its_own)));
    for of in ATTEMPTS {
        tests.push((format!("attempts::{}", of.name), Box::new(move || test(of))));
    }
    for (name, try_it) in [
        ("calls_as_another_architecture", calls_as_another_architecture as fn() -> i32),
        ("calls_with_short_addresses", calls_with_short_addresses),
    ] {
        let test = move || {
            for role in Role::ALL {
                let end = run(Guard::Full(role), &|_| try_it());
                assert!(killed(end), "{name} as {role:?}: {end:?}");
            }
        };
        tests.push((format!("attempts::{name}"), Box::new(test)));
    }
    tests
}
