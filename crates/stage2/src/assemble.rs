//! The root of an app, put together in the mount namespace of the calling process, which it becomes the root of.

use crate::files;
use crate::identity::{self, IdentityError};
use crate::kernel_fs::{self, KernelPaths};
use crate::mounts::{Access, MountPlan};
use crate::root::RootFiles;
use crate::runner::Root;
use crate::sources::{self, Sources};
use crate::spec::AppSpec;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::termios::Winsize;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use sys::beneath;
use sys::mount::{self, Depth, Restrict};
use sys::namespace::Kinds;
use sys::path::{At, PathError};
use sys::terminal::Pair;

/// What the root of one app is made of.
#[derive(Debug)]
pub struct Parts<'a> {
    /// What the app asks for.
    pub spec: &'a AppSpec,
    /// Its volumes.
    pub plan: &'a MountPlan,
    /// Its files.
    pub files: &'a RootFiles,
    /// Whether kernel paths are protected.
    pub kernel_paths: KernelPaths,
    /// The pod's name.
    pub hostname: &'a str,
    /// Whether a missing `/etc/hosts` is written.
    pub own_hosts: bool,
    /// Where the tmpfs lies that the pod's apps share, if they do.
    pub shared_memory: Option<&'a Path>,
    /// The size of the app's terminal, if it gets one.
    pub terminal: Option<Winsize>,
}

/// A root that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// A file or mount.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A user or group of an app does not exist.
    #[error("cannot initialize immutable environment")]
    Identity(#[from] IdentityError),
    /// The overlay of an app cannot be mounted.
    #[error("cannot mount the root of app {app:?}")]
    Files {
        /// The app.
        app: String,
        /// Why not.
        source: io::Error,
    },
    /// A call to the kernel failed.
    #[error("{0}")]
    Kernel(&'static str, #[source] io::Error),
}

fn doing<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> AssembleError {
    move |cause| AssembleError::Kernel(what, cause.into())
}

/// Assembles the root of one app, and makes it the caller's. `dir` is the folder that relative paths of the files are
/// meant from, and the working directory; `sources` is what will be shown in the root.
///
/// # Errors
/// See [`AssembleError`].
pub fn root(
    dir: BorrowedFd<'_>,
    sources: Sources,
    parts: &Parts<'_>,
) -> Result<Root, AssembleError> {
    let Parts { spec, plan, .. } = parts;
    let copy = |at| mount::copy_tree(CWD, at, Depth::Single).at("open", "/dev/shm");
    let shared = parts.shared_memory.map(copy).transpose()?;
    let failed = |source| AssembleError::Files { app: spec.name.clone(), source };
    let tree = parts.files.mount(dir).map_err(failed)?;
    mount::attach_at(tree.as_fd(), c".").at("mount", "/")?;
    mount::become_root(tree.as_fd()).map_err(doing("cannot change the root"))?;
    drop(tree);

    let proc = kernel_fs::mount_all(plan, parts.kernel_paths, shared.as_ref().map(AsFd::as_fd))?;
    let root = sources::own_root()?;
    files::write_defaults(root.as_fd(), parts.hostname, plan, parts.own_hosts)?;
    sources.attach(root.as_fd())?;
    let terminal = parts.terminal.map(terminal).transpose()?;
    let identity = identity::resolve(root.as_fd(), &spec.identity)?;
    if spec.seeded {
        let path = Path::new(&spec.directory);
        files::make_directory(root.as_fd(), path, &identity, &beneath::anywhere)?;
    }
    if spec.root == Access::ReadOnly {
        mount::restrict(root.as_fd(), Restrict::READ_ONLY, Depth::Single).at("mount", "/")?;
    }
    Ok(Root { fd: root, proc, identity, terminal, namespace: None })
}

/// Assembles roots, each in a mount namespace of its own, and comes back to the caller's.
///
/// # Errors
/// See [`AssembleError`], or what `one` fails with.
pub fn apart<T, E: From<AssembleError>>(
    apps: impl Iterator<Item = T>,
    mut one: impl FnMut(T) -> Result<Root, E>,
) -> Result<Vec<Root>, E> {
    let base = namespace().map_err(AssembleError::from)?;
    let here = working_directory().map_err(AssembleError::from)?;
    let mut roots = Vec::new();
    for app in apps {
        sys::namespace::unshare(Kinds::MOUNT).map_err(doing("cannot make a mount namespace"))?;
        let made = one(app).and_then(|mut root| {
            root.namespace = Some(namespace().map_err(AssembleError::from)?);
            Ok(root)
        });
        // Also after a failure: whoever cleans up needs the paths that there were.
        go_back(base.as_fd(), here.as_fd())?;
        roots.push(made?);
    }
    Ok(roots)
}

fn go_back(base: BorrowedFd<'_>, here: BorrowedFd<'_>) -> Result<(), AssembleError> {
    sys::namespace::join(base, Kinds::MOUNT)
        .map_err(doing("cannot go back to the first mount namespace"))?;
    Ok(rustix::process::fchdir(here).at("chdir", ".")?)
}

fn namespace() -> Result<OwnedFd, PathError> {
    let path = "/proc/self/ns/mnt";
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).at("open", path)
}

fn working_directory() -> Result<OwnedFd, PathError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(".", flags, Mode::empty()).at("open", ".")
}

/// A terminal of the app's own devpts, which is its console, too.
fn terminal(size: Winsize) -> Result<Pair, AssembleError> {
    let pair = sys::terminal::open(c"/dev/pts/ptmx").map_err(doing("cannot open a terminal"))?;
    // Before any program can ask for it.
    rustix::termios::tcsetwinsize(&pair.master, size)
        .map_err(doing("cannot set the size of the terminal"))?;
    let console = mount::copy_tree(CWD, c"/dev/pts/0", Depth::Single).at("open", "/dev/pts/0")?;
    mount::attach_at(console.as_fd(), c"/dev/console").at("mount", "/dev/console")?;
    Ok(pair)
}
