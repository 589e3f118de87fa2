//! The jail of a process that serves a hostile guest: what it gives up before it hears the first byte of it.
//!
//! ```text
//! the supervisor       Parent::myself(), clone into a pid namespace of its own, join the control group
//! the process          close every descriptor but its own; open and make what needs rights
//! Jail::enter          namespaces, an empty root (or one tree), keys, limits, user, capabilities, Landlock
//! Role::restrict       in each thread, when all it needs is there: the calls that its role makes, and no others
//! ```
//!
//! No path is looked up on the way but `/` and, for a user namespace, `/proc/self`: there is no folder in which somebody
//! could lay a link. A step that fails ends the start; one that a kernel may lack is named as such at its place.
#![forbid(unsafe_code)]

mod role;

pub use role::Role;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::Mode;
use rustix::process::{PidfdFlags, Resource, Rlimit};
use rustix::thread::{Gid, Uid};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use sys::capability::{self, Capabilities};
use sys::landlock::{self, Paths};
use sys::mount::{self, Propagation, Restrict};
use sys::namespace::{self, Kinds};
use sys::{process, signal};

/// What the supervisor clones such a process into; the others it enters itself.
pub const CLONED_INTO: Kinds = Kinds::PID;
/// The first of the users that no machine gives to anybody, and how many of them there are.
const STRANGERS: u32 = 0x8000_0000;
const STRANGER_COUNT: u32 = 0x7fff_0000;

/// What the file server may do inside a user namespace of its own: own files, and be whoever the guest's processes are.
pub const FILE_SERVER: &[&str] =
    &["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "SETUID", "SETGID", "SETFCAP"];

/// A step into the jail that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot jail this process: {step}")]
pub struct JailError {
    step: &'static str,
    source: io::Error,
}

trait Step<T> {
    fn step(self, step: &'static str) -> Result<T, JailError>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step(self, step: &'static str) -> Result<T, JailError> {
        self.map_err(|source| JailError { step, source: source.into() })
    }
}

/// The supervisor, as its children see it: what dies with it must notice if it already has.
#[derive(Debug)]
pub struct Parent(OwnedFd);

impl Parent {
    /// The calling process, before it clones. It must clone in the thread that will live as long as it does.
    ///
    /// # Errors
    /// The kernel gives no descriptor.
    pub fn myself() -> io::Result<Self> {
        Ok(Self(rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())?))
    }
}

impl From<OwnedFd> for Parent {
    /// From a descriptor of the supervisor that came through an exec.
    fn from(pidfd: OwnedFd) -> Self {
        Self(pidfd)
    }
}

impl AsFd for Parent {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What the process sees of the host's files.
#[derive(Debug)]
pub enum Root<'a> {
    /// An empty folder that nobody can write.
    Empty,
    /// This tree of mounts, attached nowhere.
    Tree(BorrowedFd<'a>),
}

/// What the process may do.
#[derive(Debug)]
pub enum Rights {
    /// Nothing. It becomes a user whom nobody else is.
    None,
    /// These capabilities, and only inside a user namespace of its own; there everybody is who they are outside.
    Inside(Capabilities),
}

/// How much of everything it may have.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Open descriptors.
    pub files: u64,
    /// Bytes of a file that it writes; the highest number is no limit.
    pub file_size: u64,
    /// Threads, where the process has a user of its own.
    pub threads: u64,
}

/// A jail to be entered.
#[derive(Debug)]
pub struct Jail<'a> {
    /// With whom the process dies.
    pub parent: Parent,
    /// Its files.
    pub root: Root<'a>,
    /// Its rights.
    pub rights: Rights,
    /// Its limits.
    pub limits: Limits,
}

impl Jail<'_> {
    /// Puts the calling process, which has one thread and was cloned into [`CLONED_INTO`], into the jail. Descriptors stay
    /// as they are, but for the one of the parent, which is closed.
    ///
    /// # Errors
    /// Some step failed, and the process must end: it is neither free nor jailed.
    pub fn enter(self) -> Result<(), JailError> {
        namespace::single_threaded().step("it has other threads")?;
        if rustix::process::getpid().as_raw_nonzero().get() != 1 {
            return Err(io::ErrorKind::InvalidInput).step("it has no pid namespace of its own");
        }
        // Who supervises waits for signals with a mask; here nothing does.
        signal::Set::none().block_only().step("unblock signals")?;
        // No terminal sends it signals, and it has none to write into.
        rustix::process::setsid().step("make a session")?;
        process::leave_keyring().step("leave the caller's keys")?;
        rustix::process::umask(Mode::RWXG | Mode::RWXO);
        let kinds = Kinds::MOUNT.and(Kinds::IPC).and(Kinds::UTS).and(Kinds::NET);
        namespace::unshare(kinds.and(Kinds::CGROUP)).step("make namespaces")?;
        mount::isolate_all(Propagation::Private).step("isolate mounts")?;
        limit(self.limits).step("set limits")?;
        let paths = match self.rights {
            Rights::None => {
                process::share_heap().step("share the heap")?;
                enter_root(&self.root)?;
                capability::seal(Capabilities::NONE).step("bound capabilities")?;
                if become_stranger().step("become nobody")? {
                    let threads = self.limits.threads;
                    set_limit(Resource::Nproc, threads).step("limit threads")?;
                }
                capability::hold(Capabilities::NONE).step("drop capabilities")?;
                Paths::Forbidden
            }
            Rights::Inside(kept) => {
                // The root comes from outside: inside, nobody has a right to change mounts.
                namespace::own_users_after(|| enter_root(&self.root))
                    .step("make a user namespace")??;
                rustix::thread::set_thread_groups(&[]).step("leave groups")?;
                capability::seal(kept).step("bound capabilities")?;
                capability::hold(kept).step("drop capabilities")?;
                Paths::AsBefore
            }
        };
        rustix::thread::set_no_new_privs(true).step("give up new privileges")?;
        // One that the kernel may lack: it bars nothing that is not barred already.
        landlock::confine(paths).step("confine by Landlock")?;
        // These two last: a change of user or capabilities takes them back.
        process::hide().step("hide")?;
        process::die_with_parent().step("tie the process to its parent")?;
        lives(&self.parent).step("the parent is gone")
    }
}

/// Makes the root what it is to be.
fn enter_root(root: &Root<'_>) -> Result<(), JailError> {
    let empty;
    let tree = match root {
        Root::Tree(tree) => *tree,
        Root::Empty => {
            let rights = Restrict::READ_ONLY.and(Restrict::NO_SUID).and(Restrict::NO_DEVICES);
            let options = [(c"mode", c"0"), (c"size", c"4k"), (c"nr_inodes", c"1")];
            let made = mount::fresh(c"tmpfs", &options, rights.and(Restrict::NO_EXEC));
            empty = made.step("make an empty root")?;
            empty.as_fd()
        }
    };
    mount::attach_at(tree, c"/").step("attach its root")?;
    mount::become_root(tree).step("enter its root")
}

/// Sets the limits that hold for any user.
fn limit(limits: Limits) -> io::Result<()> {
    for (resource, most) in [
        (Resource::Nofile, limits.files),
        (Resource::Fsize, limits.file_size),
        (Resource::Core, 0),
        (Resource::Memlock, 0),
        (Resource::Msgqueue, 0),
        (Resource::Nice, 0),
        (Resource::Rtprio, 0),
    ] {
        set_limit(resource, most)?;
    }
    Ok(())
}

fn set_limit(resource: Resource, most: u64) -> io::Result<()> {
    let both = Rlimit { current: Some(most), maximum: Some(most) };
    Ok(rustix::process::setrlimit(resource, both)?)
}

/// Becomes a user and a group that nobody else is, so that even without all the rest this process could not touch another.
/// `false` where the caller's user namespace has no such user: its root is nobody outside of it.
fn become_stranger() -> io::Result<bool> {
    let mut random = [0; 4];
    if rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())? != random.len()
    {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let number = STRANGERS + u32::from_le_bytes(random) % STRANGER_COUNT;
    let (uid, gid) = (Uid::from_raw(number), Gid::from_raw(number));
    rustix::thread::set_thread_groups(&[])?;
    match rustix::thread::set_thread_res_gid(gid, gid, gid) {
        Err(rustix::io::Errno::INVAL) => return Ok(false),
        other => other?,
    }
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    Ok(true)
}

/// Whether the parent still lives, now that its end would be noticed.
fn lives(parent: &Parent) -> io::Result<()> {
    let mut ends = [PollFd::new(parent, PollFlags::IN)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    match rustix::event::poll(&mut ends, Some(&now))? {
        0 => Ok(()),
        _ => Err(io::Error::from_raw_os_error(libc::ESRCH)),
    }
}

/// Has a panic say what it is and no more: no file can be opened any more to tell where it came from.
pub fn plain_panics() {
    std::panic::set_hook(Box::new(|panic| {
        // Where nobody listens there is nobody to tell.
        let _ = rustix::io::write(rustix::stdio::stderr(), format!("{panic}\n").as_bytes());
    }));
}

/// The capabilities of these names.
///
/// # Errors
/// There is none of such a name.
pub fn capabilities(names: &[&str]) -> io::Result<Capabilities> {
    names.iter().try_fold(Capabilities::NONE, |all, name| {
        let one = Capabilities::named(name).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(all.union(one))
    })
}
