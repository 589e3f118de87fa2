//! A process in the jail, and what became of it.
#![expect(unsafe_code, reason = "a child closes what it got of its parent")]

use jail::{FILE_SERVER, Jail, Limits, Parent, Rights, Role, Root};
use rustix::pipe::PipeFlags;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use sys::mount::{self, Depth};
use sys::process::{self, Cloned, End};
use sys::signal;

/// Which jail, and which filter in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guard {
    /// The jail of a role, and its filter.
    Full(Role),
    /// The jail alone, as if the filter had a hole.
    JailOf(Role),
}

impl Guard {
    pub(crate) fn role(self) -> Role {
        match self {
            Self::Full(role) | Self::JailOf(role) => role,
        }
    }
}

/// What an exit code says that is no error of the kernel's.
pub(crate) const REACHED: i32 = 200;
const NOT_JAILED: i32 = 201;

pub(crate) const LIMITS: Limits = Limits { files: 64, file_size: 1 << 20, threads: 8 };

/// A folder that a file server serves, with a file and a link out of it.
pub(crate) struct Shared(pub(crate) PathBuf);

impl Shared {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("jail-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("own"), "own").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", path.join("link")).unwrap();
        Self(path)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A process that was jailed.
pub(crate) struct Prisoner {
    pub(crate) pid: rustix::process::Pid,
    pub(crate) pidfd: OwnedFd,
    /// Readable once it is in the jail, and its last words.
    pub(crate) said: OwnedFd,
}

/// Jails a child and has it do this with its only descriptors: one to read from, one to say something.
pub(crate) fn jailed(
    guard: Guard,
    shared: &Shared,
    then: &dyn Fn(BorrowedFd<'_>, BorrowedFd<'_>) -> i32,
) -> Prisoner {
    let (input, _gone) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
    let (said, output) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
    let parent = Parent::myself().unwrap();
    let tree = mount::copy_tree(rustix::fs::CWD, shared.0.as_path(), Depth::Recursive).unwrap();
    match process::clone(jail::CLONED_INTO).unwrap() {
        Cloned::Parent { pid, pidfd } => {
            drop((input, output));
            Prisoner { pid, pidfd, said }
        }
        Cloned::Child => {
            let (input, output) = (input.as_fd(), output.as_fd());
            let code = match enter(guard, parent, &tree, [input, output]) {
                Ok(()) => then(input, output),
                Err(text) => {
                    let _ = rustix::io::write(output, text.as_bytes());
                    NOT_JAILED
                }
            };
            process::leave(code)
        }
    }
}

fn enter(
    guard: Guard,
    parent: Parent,
    tree: &OwnedFd,
    kept: [BorrowedFd<'_>; 2],
) -> Result<(), String> {
    let files = guard.role() == Role::Files;
    let all = [kept[0], kept[1], parent.as_fd(), tree.as_fd()];
    // SAFETY: the child goes on with these only, and leaves without running what its parent's values would do at the end.
    unsafe { sys::descriptor::close_all_but(&all) }.map_err(|e| e.to_string())?;
    let rights = if files {
        Rights::Inside(jail::capabilities(FILE_SERVER).map_err(|e| e.to_string())?)
    } else {
        Rights::None
    };
    let root = if files { Root::Tree(tree.as_fd()) } else { Root::Empty };
    let jail = Jail { parent, root, rights, limits: LIMITS };
    jail.enter().map_err(|error| sys::cause::chain(&error))?;
    jail::plain_panics();
    // SAFETY: as above; the tree is a root now, or was for nobody.
    unsafe { sys::descriptor::close_all_but(&kept) }.map_err(|e| e.to_string())?;
    match guard {
        Guard::Full(role) => role.restrict().map_err(|error| error.to_string()),
        Guard::JailOf(_) => Ok(()),
    }
}

impl Prisoner {
    /// Ends it.
    pub(crate) fn kill(self) {
        process::signal_to(self.pidfd.as_fd(), signal::number::KILL).unwrap();
        assert_eq!(self.end().0, End::Killed(signal::number::KILL));
    }

    /// How it ended, and its last words.
    pub(crate) fn end(self) -> (End, String) {
        let said = std::io::read_to_string(std::fs::File::from(self.said)).unwrap();
        let end = process::wait_for(self.pid).unwrap();
        assert_ne!(end, End::Exited(NOT_JAILED), "{said}");
        (end, said)
    }
}
