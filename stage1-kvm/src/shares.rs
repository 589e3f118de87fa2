//! Volumes of the host's, for the guest: folders with a device each, files together in the root of one more, and one
//! process that serves them all.
//!
//! ```text
//! plan of an app   /srv/data at /data, read-only      the same with what the guest knows: host0 at /data, read-only
//! take             a copy of the mount, attached nowhere; what is read-only is so here already, with all below it
//! serve            the file server, with the copies and a socket a device handed down: it makes them its whole world
//! ```
//!
//! A path is looked up once, here. A file is a mount by itself: what lies beside it is never shown. A folder is the root
//! of its device where there is room for one, since Linux knows access lists of nothing but the root's file system; the
//! others are folders in a root with the files.

use jail::Parent;
use pod_proto::config::Share;
use rustix::fs::{CWD, FileType};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use stage2::mounts::{Access, Source};
use stage2::{MountPlan, MountStep};
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use sys::cgroup::Doors;
use sys::mount::{self, Depth, Propagation, Restrict};
use sys::path::{At, PathError};
use sys::process::Words;

/// The tag of the device with the root that files are in. The others have the number of their volume at its end.
pub const TAG: &str = "host";
/// How many devices a pod's volumes get at most: half of what a machine can have.
pub const DEVICES: usize = 8;
/// What the server is told of the device with all volumes.
const ALL: &CStr = c"all";

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
    /// Whether it has a device of its own.
    apart: bool,
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
    /// The devices, in the order of [`Shares::list`].
    pub lines: Vec<Line>,
}

/// A device that is served.
#[derive(Debug)]
pub struct Line {
    /// Its tag.
    pub tag: String,
    /// The machine's end of the socket, for [`crate::devices::fs::Fs`].
    pub socket: UnixStream,
}

impl Shares {
    /// Takes what the plans have of the host, each source once, for so many devices at most; the plans as the guest is told
    /// of them. `None` where they have nothing of it: then there is no device, and no server.
    ///
    /// # Errors
    /// A source cannot be had.
    pub fn take(
        plans: &[MountPlan],
        devices: usize,
    ) -> Result<(Option<Self>, Vec<MountPlan>), ShareError> {
        let mut shares = Self { taken: Vec::new() };
        let mut plans = plans.to_vec();
        for step in plans.iter_mut().flat_map(|plan| &mut plan.steps) {
            if let Source::Host(path) = &step.source {
                step.source = Source::Host(shares.place_of(path, step, devices)?);
            }
        }
        Ok(((!shares.taken.is_empty()).then_some(shares), plans))
    }

    /// Where the guest finds it.
    fn place_of(
        &mut self,
        path: &Path,
        step: &MountStep,
        devices: usize,
    ) -> Result<PathBuf, ShareError> {
        let number = self.number_of(path, step, devices)?;
        let apart = self.taken.get(number).is_some_and(|taken| taken.apart);
        let number = number.to_string();
        Ok(if apart { format!("{TAG}{number}").into() } else { Path::new(TAG).join(number) })
    }

    fn number_of(
        &mut self,
        path: &Path,
        step: &MountStep,
        devices: usize,
    ) -> Result<usize, ShareError> {
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
        // One device is for those that have none.
        let apart = kind == FileType::Directory && self.apart().count() + 1 < devices;
        self.taken.push(Taken { path: path.to_owned(), access, depth, apart, tree });
        Ok(self.taken.len() - 1)
    }

    /// The numbers of those with a device of their own.
    fn apart(&self) -> impl Iterator<Item = usize> {
        let numbered = self.taken.iter().enumerate();
        numbered.filter(|(_, taken)| taken.apart).map(|(number, _)| number)
    }

    /// The tags of the devices, each with what the server is told of its root.
    fn devices(&self) -> Vec<(String, CString)> {
        let name = |number: usize| CString::new(number.to_string()).unwrap_or_default();
        let apart = self.apart().map(|number| (format!("{TAG}{number}"), name(number)));
        let rest = self.taken.iter().any(|taken| !taken.apart);
        apart.chain(rest.then(|| (TAG.to_owned(), ALL.to_owned()))).collect()
    }

    /// What the guest is told of the devices.
    pub fn list(&self) -> Vec<Share> {
        self.devices().into_iter().map(|(tag, _)| Share { tag }).collect()
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
        let parent = Parent::myself().map_err(failed("watch its parent"))?;
        let count = CString::new(self.taken.len().to_string()).unwrap_or_default();
        let mut words = vec![c"fs-server".to_owned(), count];
        let (mut listeners, mut lines) = (Vec::new(), Vec::new());
        for (tag, root) in self.devices() {
            let (listener, socket) = line().map_err(failed("make a socket"))?;
            listeners.push(listener);
            lines.push(Line { tag, socket });
            words.push(root);
        }
        let given = [lock, parent.as_fd()].into_iter().chain(listeners.iter().map(AsFd::as_fd));
        let trees = self.taken.iter().map(|taken| taken.tree.as_fd());
        let list: Vec<BorrowedFd<'_>> = given.chain(trees).collect();
        let path = CString::new(program.as_os_str().as_encoded_bytes())
            .map_err(|error| failed("name it")(error.into()))?;
        let (argv, env) = (Words::new(words), Words::new(Vec::new()));
        let kinds = jail::CLONED_INTO;
        let child = sys::process::start_with((kinds, doors), &list, &path, [&argv, &env]);
        let pid = child
            .map_err(failed("make a process"))?
            .map_err(|failure| failed(failure.step)(io::Error::from_raw_os_error(failure.errno)))?;
        // It is our child, and not waited for before there is a descriptor: the number is its own.
        let pidfd = pidfd_open(pid, PidfdFlags::empty())
            .map_err(|errno| failed("watch it")(errno.into()))?;
        Ok(Server { pid, pidfd, lines })
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

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::needs;

    fn step(path: &str, access: Access, depth: Depth) -> MountStep {
        MountStep { source: Source::Host(path.into()), target: "/x".into(), access, depth }
    }

    fn places(plans: &[MountPlan]) -> Vec<PathBuf> {
        let steps = plans.iter().flat_map(|plan| &plan.steps);
        let path = |step: &MountStep| match &step.source {
            Source::Host(path) => path.clone(),
            Source::Empty { name, .. } => PathBuf::from(format!("empty {name}")),
        };
        steps.map(path).collect()
    }

    #[test]
    fn a_source_is_taken_once_for_each_way_to_show_it() {
        needs!(Root);
        use Access::{ReadOnly, ReadWrite};
        use Depth::{Recursive, Single};
        let empty = Source::Empty { name: "e".into(), mode: 0o755, uid: 0, gid: 0, seeded: false };
        let empty =
            MountStep { source: empty, target: "/e".into(), access: ReadWrite, depth: Single };
        let one = vec![
            step("/tmp", ReadOnly, Single),
            step("/etc/passwd", ReadWrite, Single),
            empty.clone(),
            step("/usr", ReadOnly, Recursive),
        ];
        let two = vec![
            step("/usr", ReadOnly, Recursive),
            step("/tmp", ReadOnly, Recursive),
            step("/tmp", ReadOnly, Single),
            step("/etc/passwd", ReadWrite, Single),
        ];
        let plan = |steps| MountPlan { steps, implicit: vec!["i".to_owned()] };
        let plans = [plan(one), plan(two)];
        let (shares, told) = Shares::take(&plans, 3).unwrap();
        let expected =
            ["host0", "host/1", "empty e", "host2", "host2", "host/3", "host0", "host/1"];
        assert_eq!(places(&told), expected.map(PathBuf::from));
        let told =
            told.iter().zip(&plans).flat_map(|(told, plan)| told.steps.iter().zip(&plan.steps));
        for (told, planned) in told {
            let without =
                |step: &MountStep| MountStep { source: empty.source.clone(), ..step.clone() };
            assert_eq!(without(told), without(planned));
        }
        let tags = |shares: &Shares| -> Vec<String> {
            shares.list().into_iter().map(|share| share.tag).collect()
        };
        assert_eq!(tags(&shares.unwrap()), ["host0", "host2", "host"]);
        let (shares, told) = Shares::take(&plans, 1).unwrap();
        assert_eq!(tags(&shares.unwrap()), ["host"]);
        assert_eq!(places(&told)[0], Path::new("host/0"));
        let folders = [plan(vec![step("/usr", ReadOnly, Single)])];
        assert_eq!(tags(&Shares::take(&folders, DEVICES).unwrap().0.unwrap()), ["host0"]);
    }

    #[test]
    fn what_has_nothing_of_the_host_needs_no_server() {
        let (shares, told) = Shares::take(&[MountPlan::default()], DEVICES).unwrap();
        assert!(shares.is_none() && told == [MountPlan::default()]);
    }

    #[test]
    fn what_cannot_be_shared_is_refused_in_one_sentence() {
        needs!(Root);
        for (path, text) in [
            ("/nowhere/x", "open /nowhere/x: no such file or directory"),
            (
                "/dev/null",
                "volume /dev/null is a device node, and a virtual machine has none of the host's devices",
            ),
        ] {
            let steps = vec![step(path, Access::ReadWrite, Depth::Recursive)];
            let plan = MountPlan { steps, implicit: Vec::new() };
            assert_eq!(Shares::take(&[plan], DEVICES).unwrap_err().to_string(), text);
        }
    }
}
