//! Volumes of the host's, for the guest: one device, whose root has a folder or file for each, and one process that serves
//! it.
//!
//! ```text
//! plan of an app   /srv/data at /data, read-only      the same with what the guest knows: host/0 at /data, read-only
//! take             a copy of the mount, attached nowhere; what is read-only is so here already, with all below it
//! serve            the file server, with the copies and a socket handed down: it makes them its whole world
//! ```
//!
//! A path is looked up once, here. A file is a mount by itself: what lies beside it is never shown.

use jail::Parent;
use pod_proto::config::Share;
use rustix::fs::{CWD, FileType};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use stage2::mounts::{Access, Source};
use stage2::{MountPlan, MountStep};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use sys::cgroup::Doors;
use sys::mount::{self, Depth, Propagation, Restrict};
use sys::path::{At, PathError};
use sys::process::Words;

/// The tag of the device.
pub const TAG: &str = "host";

/// Volumes that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
    /// A source is missing, or cannot be made read-only.
    #[error(transparent)]
    Source(#[from] PathError),
    /// A source is a device.
    #[error("volume {} is a device node, and a virtual machine has none of the host's devices", .0.display())]
    Device(PathBuf),
    /// The server cannot be started.
    #[error("cannot start the file server: cannot {step}")]
    Start {
        /// What failed.
        step: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// What is taken of the host.
#[derive(Debug)]
struct Taken {
    path: PathBuf,
    access: Access,
    depth: Depth,
    /// The mount, attached nowhere.
    tree: OwnedFd,
}

/// The volumes of a pod.
#[derive(Debug)]
pub struct Shares {
    taken: Vec<Taken>,
}

/// The process that serves them.
#[derive(Debug)]
pub struct Server {
    /// Its number.
    pub pid: Pid,
    /// The process itself, to be waited for. It ends by itself when the machine's end of the socket is closed.
    pub pidfd: OwnedFd,
    /// The machine's end of the socket, for [`crate::devices::fs::Fs`].
    pub machine: UnixStream,
}

impl Shares {
    /// Takes what the plans have of the host, each source once; the plans as the guest is told of them. `None` where they
    /// have nothing of it: then there is no device, and no server.
    ///
    /// # Errors
    /// A source cannot be had.
    pub fn take(plans: &[MountPlan]) -> Result<(Option<Self>, Vec<MountPlan>), ShareError> {
        let mut shares = Self { taken: Vec::new() };
        let mut plans = plans.to_vec();
        for step in plans.iter_mut().flat_map(|plan| &mut plan.steps) {
            if let Source::Host(path) = &step.source {
                let number = shares.number_of(path, step)?;
                step.source = Source::Host(Path::new(TAG).join(number.to_string()));
            }
        }
        Ok(((!shares.taken.is_empty()).then_some(shares), plans))
    }

    fn number_of(&mut self, path: &Path, step: &MountStep) -> Result<usize, ShareError> {
        let (access, depth) = (step.access, step.depth);
        let same =
            |taken: &Taken| taken.path == path && taken.access == access && taken.depth == depth;
        if let Some(number) = self.taken.iter().position(same) {
            return Ok(number);
        }
        let tree = mount::copy_tree(CWD, path, depth).at("open", path)?;
        let found = rustix::fs::fstat(&tree).at("stat", path)?;
        let kind = FileType::from_raw_mode(found.st_mode);
        if matches!(kind, FileType::BlockDevice | FileType::CharacterDevice) {
            return Err(ShareError::Device(path.to_owned()));
        }
        confine(tree.as_fd(), access, depth).at("mount", path)?;
        self.taken.push(Taken { path: path.to_owned(), access, depth, tree });
        Ok(self.taken.len() - 1)
    }

    /// What the guest is told of the device.
    pub fn list(&self) -> Vec<Share> {
        vec![Share { tag: TAG.to_owned() }]
    }

    /// Starts the program that serves them, in the group behind these doors. It locks itself up, has a copy of the pod's
    /// lock for as long as it lives, and does not outlive the calling thread.
    ///
    /// # Errors
    /// It cannot be started. Whatever it fails at afterwards it says itself, and ends.
    pub fn serve(
        self,
        program: &Path,
        lock: BorrowedFd<'_>,
        doors: Option<&Doors>,
    ) -> Result<Server, ShareError> {
        let failed = |step| move |source: io::Error| ShareError::Start { step, source };
        let (listener, machine) = line().map_err(failed("make a socket"))?;
        let parent = Parent::myself().map_err(failed("watch its parent"))?;
        let given = [listener.as_fd(), lock, parent.as_fd()];
        let trees = self.taken.iter().map(|taken| taken.tree.as_fd());
        let list: Vec<BorrowedFd<'_>> = given.into_iter().chain(trees).collect();
        let path = CString::new(program.as_os_str().as_encoded_bytes())
            .map_err(|error| failed("name it")(error.into()))?;
        let count = CString::new(self.taken.len().to_string()).unwrap_or_default();
        let (argv, env) =
            (Words::new(vec![c"fs-server".to_owned(), count]), Words::new(Vec::new()));
        let kinds = jail::CLONED_INTO;
        let child = sys::process::start_with((kinds, doors), &list, &path, [&argv, &env]);
        let pid = child
            .map_err(failed("make a process"))?
            .map_err(|failure| failed(failure.step)(io::Error::from_raw_os_error(failure.errno)))?;
        // It is our child, and not waited for before there is a descriptor: the number is its own.
        let pidfd = pidfd_open(pid, PidfdFlags::empty())
            .map_err(|errno| failed("watch it")(errno.into()))?;
        Ok(Server { pid, pidfd, machine })
    }
}

/// Takes away from a mount what a server of its files has no use for, and what the pod may not do.
fn confine(tree: BorrowedFd<'_>, access: Access, depth: Depth) -> io::Result<()> {
    let rights = Restrict::NO_SUID.and(Restrict::NO_DEVICES).and(Restrict::NO_EXEC);
    let (rights, propagation) = match (access, depth) {
        (Access::ReadOnly, _) => (rights.and(Restrict::READ_ONLY), Propagation::Private),
        (Access::ReadWrite, Depth::Single) => (rights, Propagation::Private),
        // What the host mounts below it later shows up. Below one that is read-only it must not: it could be written.
        (Access::ReadWrite, Depth::Recursive) => (rights, Propagation::Slave),
    };
    mount::set_propagation(tree, propagation, depth)?;
    mount::restrict(tree, rights, depth)
}

/// A socket to be listened on and the first call to it. Its name is on a file system that nobody else can reach: whoever
/// calls is who was called here.
fn line() -> io::Result<(UnixListener, UnixStream)> {
    let rights = Restrict::NO_SUID.and(Restrict::NO_DEVICES).and(Restrict::NO_EXEC);
    let room = mount::fresh(c"tmpfs", &[(c"mode", c"0700"), (c"size", c"16k")], rights)?;
    let name = format!("{}/socket", sys::path::of_descriptor(room.as_fd()));
    let listener = UnixListener::bind(&name)?;
    let machine = UnixStream::connect(&name)?;
    Ok((listener, machine))
}
