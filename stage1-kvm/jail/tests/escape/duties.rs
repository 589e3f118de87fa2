//! What each role must be able to do, whatever the guest brings it to: a filter that kills for that would be a fault, too.
#![expect(unsafe_code, reason = "requests to a device that is none, and a thread's own user")]

use crate::Test;
use crate::cell::{Guard, LIMITS, Prisoner, Shared, jailed};
use jail::Role;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fs::{CWD, Mode, OFlags, XattrFlags};
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::channel;
use std::time::Duration;
use sys::process::End;

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Jails a process of this role's, has it do its duty, and says how it ended and what it said.
fn on_duty(
    role: Role,
    shared: &Shared,
    duty: &dyn Fn(BorrowedFd<'_>, BorrowedFd<'_>) -> Outcome,
) -> (End, String) {
    let prisoner =
        jailed(Guard::JailOf(role), shared, &|input, output| match duty(input, output) {
            Ok(()) => 0,
            Err(error) => {
                let _ = rustix::io::write(output, error.to_string().as_bytes());
                1
            }
        });
    Prisoner::end(prisoner)
}

/// Memory of all sizes, a map, the clock, waiting.
fn live() -> Outcome {
    // What shrinks is given back, and the library has to find out whether it can be. First, since larger pieces make
    // it patient.
    for _ in 0..8 {
        let many: Vec<Vec<u8>> = (0..64).map(|_| vec![3; 60_000]).collect();
        drop(many);
    }
    let mut kept = Vec::new();
    for power in 0..24 {
        let mut piece = vec![1_u8; 1 << power];
        piece.resize(3 << power, 2);
        kept.push(piece);
    }
    kept.clear();
    let map: HashMap<u32, u32> = (0..1000).map(|n| (n, n)).collect();
    let clock = std::time::Instant::now().elapsed() < Duration::from_mins(1);
    let (_tell, hear) = channel::<()>();
    let waited = hear.recv_timeout(Duration::from_millis(1)).is_err();
    if map.len() == 1000 && clock && waited { Ok(()) } else { Err("it cannot even live".into()) }
}

fn run_processor(any: BorrowedFd<'_>) -> Outcome {
    live()?;
    for request in [0xae80_u64, 0x8090_ae81] {
        // SAFETY: a pipe knows neither request, and touches no memory for them.
        let rc = unsafe { libc::ioctl(any.as_raw_fd(), request, 0) };
        let error = io::Error::last_os_error();
        if rc != -1 || error.raw_os_error() != Some(libc::ENOTTY) {
            return Err(error.into());
        }
    }
    Ok(())
}

/// What devices have before their first guest.
struct Desk {
    poll: OwnedFd,
    line: (OwnedFd, OwnedFd),
    disk: std::fs::File,
}

impl Desk {
    fn new() -> io::Result<Self> {
        let flags = rustix::net::SocketFlags::CLOEXEC;
        let (unix, kind) = (rustix::net::AddressFamily::UNIX, rustix::net::SocketType::SEQPACKET);
        Ok(Self {
            poll: epoll::create(CreateFlags::CLOEXEC)?,
            line: rustix::net::socketpair(unix, kind, flags, None)?,
            disk: std::fs::File::from(rustix::fs::memfd_create(
                c"disk",
                rustix::fs::MemfdFlags::CLOEXEC,
            )?),
        })
    }

    fn serve(&self) -> Outcome {
        live()?;
        let (mut ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = rustix::net::SendAncillaryBuffer::new(&mut space);
        let handed = [theirs.as_fd()];
        ancillary.push(rustix::net::SendAncillaryMessage::ScmRights(&handed));
        let word = [io::IoSlice::new(b"C")];
        let flags = rustix::net::SendFlags::NOSIGNAL | rustix::net::SendFlags::DONTWAIT;
        rustix::net::sendmsg(&self.line.0, &word, &mut ancillary, flags)?;
        let events = EventFlags::IN | EventFlags::ONESHOT;
        epoll::add(&self.poll, &ours, EventData::new_u64(7), events)?;
        let waits = ours.read(&mut [0; 8]).unwrap_err().kind() == io::ErrorKind::WouldBlock;
        (&theirs).write_all(b"hello")?;
        let mut found = Vec::with_capacity(4);
        epoll::wait(&self.poll, rustix::buffer::spare_capacity(&mut found), None)?;
        let mut text = [0; 5];
        ours.read_exact(&mut text)?;
        epoll::modify(&self.poll, &ours, EventData::new_u64(7), events)?;
        ours.shutdown(std::net::Shutdown::Both)?;
        self.disk.read_at(&mut [0; 16], 3)?;
        // A tap is told what the guest does by itself; a socket knows no such thing.
        let untold = sys::tap::leave(ours.as_fd(), sys::tap::Offloads::CHECKSUM).unwrap_err();
        if untold.raw_os_error() != Some(libc::ENOTTY) {
            return Err(untold.into());
        }
        rustix::rand::getrandom(&mut [0; 64], rustix::rand::GetRandomFlags::empty())?;
        if waits && text == *b"hello" { Ok(()) } else { Err("it heard something else".into()) }
    }
}

/// The threads of a machine, as they are: each restricts itself, and they end together.
fn a_machine_lives_and_ends() {
    let (end, said) = on_duty(Role::Machine, &Shared::new(), &|_, output| {
        let (ready, all_ready) = channel::<Result<(), String>>();
        let (mut gates, mut threads) = (Vec::new(), Vec::new());
        for role in [Role::Processor, Role::Processor, Role::Devices] {
            let (gate, open) = channel::<()>();
            let (desk, ready) = (Desk::new()?, ready.clone());
            let output = rustix::io::fcntl_dupfd_cloexec(output, 3)?;
            gates.push(gate);
            threads.push(std::thread::Builder::new().spawn(move || {
                drop(ready.send(role.restrict().map_err(|error| error.to_string())));
                let opened = open.recv();
                let outcome = match role {
                    Role::Processor => run_processor(output.as_fd()),
                    _ => desk.serve(),
                };
                drop(ready.send(outcome.map_err(|error| error.to_string())));
                opened.is_ok()
            })?);
        }
        let hear = || all_ready.recv()?.map_err(Box::<dyn std::error::Error>::from);
        (0..3).try_for_each(|_| hear())?;
        Role::Machine.restrict()?;
        drop(gates.iter().map(|gate| gate.send(())).collect::<Vec<_>>());
        (0..3).try_for_each(|_| hear())?;
        live()?;
        for thread in threads {
            if !thread.join().unwrap_or(false) {
                return Err("a thread did not start with the others".into());
            }
        }
        rustix::io::write(output, b"over")?;
        Ok(())
    });
    assert_eq!((end, said.as_str()), (End::Exited(0), "over"));
}

fn serve_files(memory: &OwnedFd) -> Outcome {
    live()?;
    let folder = rustix::fs::open("/", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
    let make = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = std::fs::File::from(rustix::fs::openat(&folder, "new", make, Mode::RWXU)?);
    file.write_all_at(b"content", 0)?;
    file.set_len(100)?;
    rustix::fs::fchown(
        &file,
        Some(rustix::fs::Uid::from_raw(1234)),
        Some(rustix::fs::Gid::from_raw(5678)),
    )?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(0o4755))?;
    rustix::fs::fsetxattr(&file, "security.capability", &CAPABILITY, XattrFlags::empty())?;
    rustix::fs::fsync(&file)?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)?;
    rustix::fs::mkdirat(&folder, "sub", Mode::RWXU)?;
    rustix::fs::linkat(&folder, "new", &folder, "sub/hard", rustix::fs::AtFlags::empty())?;
    rustix::fs::symlinkat("new", &folder, "soft")?;
    rustix::fs::renameat(&folder, "soft", &folder, "sub/soft")?;
    rustix::fs::unlinkat(&folder, "sub/hard", rustix::fs::AtFlags::empty())?;
    rustix::fs::readlinkat(&folder, "sub/soft", Vec::new())?;
    if rustix::fs::Dir::read_from(&folder)?.count() < 3 {
        return Err("its folder is empty".into());
    }
    let (read, share) = (rustix::mm::ProtFlags::READ, rustix::mm::MapFlags::SHARED);
    // SAFETY: new memory at an address of the kernel's choice, which nobody looks at.
    unsafe { rustix::mm::mmap(std::ptr::null_mut(), 4096, read, share, memory, 0) }?;
    let as_somebody = || -> io::Result<()> {
        // SAFETY: a number, no memory.
        let apart = unsafe { libc::unshare(libc::CLONE_FS) };
        rustix::process::fchdir(&folder)?;
        // SAFETY: three numbers; of this thread only, since it is the kernel's call and not the library's.
        let rc = unsafe { libc::syscall(libc::SYS_setresuid, -1, 4321, -1) };
        if apart != 0 || rc != 0 {
            return Err(io::Error::last_os_error());
        }
        // What is another's and not for all is not for it, either.
        let refused = rustix::fs::openat(CWD, "sub/x", make, Mode::RWXU).is_err();
        // SAFETY: as above.
        unsafe { libc::syscall(libc::SYS_setresuid, -1, 0, -1) };
        let again = rustix::fs::openat(CWD, "sub/x", make, Mode::RWXU);
        if refused { again.map(drop).map_err(Into::into) } else { Err(io::ErrorKind::Other.into()) }
    };
    std::thread::scope(|scope| scope.spawn(as_somebody).join().unwrap_or(Ok(())))?;
    Ok(())
}

/// `cap_net_raw=ep`, second version, nobody's namespace.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn a_file_server_serves() {
    let shared = Shared::new();
    let (end, said) = on_duty(Role::Files, &shared, &|_, output| {
        let memory = rustix::fs::memfd_create(c"guest", rustix::fs::MemfdFlags::CLOEXEC)?;
        Role::Files.restrict()?;
        serve_files(&memory)?;
        rustix::io::write(output, b"over")?;
        Ok(())
    });
    assert_eq!((end, said.as_str()), (End::Exited(0), "over"));
    let made = std::fs::metadata(shared.0.join("new")).unwrap();
    assert_eq!((made.uid(), made.gid(), made.mode() & 0o7777), (1234, 5678, 0o4755));
}

/// A panic is told of and caught, and an abort is one, in every role.
fn a_panic_is_heard() {
    for role in Role::ALL {
        let (end, said) = on_duty(role, &Shared::new(), &|_, output| {
            let error = rustix::io::fcntl_dupfd_cloexec(output, 3)?;
            rustix::stdio::dup2_stderr(&error)?;
            role.restrict()?;
            if std::panic::catch_unwind(|| panic!("something is wrong")).is_ok() {
                return Err("it did not panic".into());
            }
            std::process::abort()
        });
        // The first process of a namespace hears no signal of its own: the library's last way is an invalid instruction.
        let aborted = [libc::SIGABRT, libc::SIGSEGV, libc::SIGILL].map(End::Killed);
        assert!(aborted.contains(&end), "{role:?}: {end:?}");
        assert!(said.contains("something is wrong"), "{role:?}: {said}");
    }
}

/// What is too much is an error.
fn limits_hold() {
    let (end, said) = on_duty(Role::Machine, &Shared::new(), &|input, output| {
        let started = std::thread::scope(|scope| {
            let mut gates = Vec::new();
            loop {
                let (gate, open) = channel::<()>();
                let thread = std::thread::Builder::new();
                if thread.spawn_scoped(scope, move || open.recv().is_err()).is_err() {
                    // With the one that starts them.
                    return gates.len() + 1;
                }
                gates.push(gate);
            }
        });
        let mut files = Vec::new();
        while let Ok(file) = rustix::io::fcntl_dupfd_cloexec(input, 0) {
            files.push(file);
        }
        // This one has two.
        let said = format!("{started} {}", files.len() + 2);
        rustix::io::write(output, said.as_bytes())?;
        Ok(())
    });
    let limits = format!("{} {}", LIMITS.threads, LIMITS.files);
    assert_eq!((end, said), (End::Exited(0), limits));
}

pub(crate) fn tests() -> Vec<Test> {
    let all: [(&str, fn()); 4] = [
        ("a_machine_lives_and_ends", a_machine_lives_and_ends),
        ("a_file_server_serves", a_file_server_serves),
        ("a_panic_is_heard", a_panic_is_heard),
        ("limits_hold", limits_hold),
    ];
    all.into_iter()
        .map(|(name, test)| (format!("duties::{name}"), Box::new(test) as Box<_>))
        .collect()
}
