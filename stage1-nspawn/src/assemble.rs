//! The root of an app, put together in the mount namespace of the calling process, which it becomes the root of.

use crate::error::{Doing, RunError};
use crate::pod::{Dialogue, Pod, PodApp};
use rustix::fs::{CWD, Mode, OFlags};
use stage1_abi::{DnsMode, PodDir, pod_dir};
use stage2::mounts::Access;
use stage2::{Identity, Sources, files, identity, kernel_fs, sources};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use sys::beneath;
use sys::mount::{self, Depth, Propagation, Restrict};
use sys::path::{At, PathError};
use sys::terminal::Pair;

/// Where the tmpfs that apps share lies until they have it: a folder of the pod's that PID 1 needs no more.
const SHARED_MEMORY: &str = pod_dir::STAGE1;

/// A root that is ready for its app.
#[derive(Debug)]
pub struct Root {
    /// The root itself.
    pub fd: OwnedFd,
    /// Its procfs.
    pub proc: OwnedFd,
    /// Who the app runs as.
    pub identity: Identity,
    /// The terminal of an interactive app.
    pub terminal: Option<Pair>,
    /// The mount namespace, where it is not PID 1's own.
    pub namespace: Option<OwnedFd>,
}

/// Assembles the roots of all apps. The working directory is the pod folder; afterwards the calling process lives in
/// the root of the only app, or in an empty one if there are several.
///
/// # Errors
/// See [`RunError`].
pub fn all(pod: &Pod, wants_terminal: bool) -> Result<Vec<Root>, RunError> {
    // What the host mounts and unmounts below a volume is seen; what the pod mounts stays its own.
    mount::isolate_all(Propagation::Slave).doing("cannot leave the host's mounts")?;
    if let [app] = pod.apps.as_slice() {
        return Ok(vec![one(pod, app, wants_terminal)?]);
    }
    let shared = kernel_fs::shared_memory().doing("cannot make shared memory")?;
    mount::attach_at(shared.as_fd(), SHARED_MEMORY).at("mount", "/dev/shm")?;
    let base = namespace("/proc/self/ns/mnt")?;
    let here =
        rustix::fs::open(".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .at("open", ".")?;
    let mut roots = Vec::with_capacity(pod.apps.len());
    for app in &pod.apps {
        sys::namespace::unshare(sys::namespace::Kinds::MOUNT)
            .doing("cannot make a mount namespace")?;
        let mut root = one(pod, app, false)?;
        root.namespace = Some(namespace("/proc/self/ns/mnt")?);
        roots.push(root);
        let kinds = sys::namespace::Kinds::MOUNT;
        sys::namespace::join(base.as_fd(), kinds)
            .doing("cannot go back to the first mount namespace")?;
        rustix::process::fchdir(&here).at("chdir", ".")?;
    }
    let rights =
        Restrict::READ_ONLY.and(Restrict::NO_DEVICES).and(Restrict::NO_SUID).and(Restrict::NO_EXEC);
    let empty =
        mount::fresh(c"tmpfs", &[(c"mode", c"000"), (c"size", c"4k")], rights).at("mount", "/")?;
    mount::attach_at(empty.as_fd(), c".").at("mount", "/")?;
    mount::become_root(empty.as_fd()).doing("cannot change the root")?;
    Ok(roots)
}

fn namespace(path: &str) -> Result<OwnedFd, PathError> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).at("open", path)
}

fn one(pod: &Pod, app: &PodApp, wants_terminal: bool) -> Result<Root, RunError> {
    // Opened anew: only mounts of this namespace can be copied, and P0's descriptor leads to the host's.
    let dir = &PodDir::current()?;
    let sources = take(pod, app, dir)?;
    let shared = if pod.apps.len() > 1 {
        Some(mount::copy_tree(CWD, SHARED_MEMORY, Depth::Single).at("open", "/dev/shm")?)
    } else {
        None
    };
    let failed = |source| RunError::Root { app: app.spec.name.clone(), source };
    let tree = app.files.mount(dir.as_fd()).map_err(failed)?;
    mount::attach_at(tree.as_fd(), c".").at("mount", "/")?;
    mount::become_root(tree.as_fd()).doing("cannot change the root")?;
    drop(tree);

    let proc = kernel_fs::mount_all(&app.plan, pod.kernel_paths, shared.as_ref().map(AsFd::as_fd))?;
    let root = sources::own_root()?;
    files::write_defaults(root.as_fd(), &pod.hostname, &app.plan, pod.hosts == DnsMode::Default)?;
    sources.attach(root.as_fd())?;
    let terminal = if wants_terminal { Some(terminal()?) } else { None };
    let identity = identity::resolve(root.as_fd(), &app.spec.identity)?;
    if app.spec.seeded {
        let path = Path::new(&app.spec.directory);
        files::make_directory(root.as_fd(), path, &identity, &beneath::anywhere)?;
    }
    if app.spec.root == Access::ReadOnly {
        mount::restrict(root.as_fd(), Restrict::READ_ONLY, Depth::Single).at("mount", "/")?;
    }
    Ok(Root { fd: root, proc, identity, terminal, namespace: None })
}

/// The volumes and files that will be shown, taken from the host's paths.
fn take(pod: &Pod, app: &PodApp, dir: &PodDir) -> Result<Sources, RunError> {
    let folder = OFlags::PATH | OFlags::DIRECTORY;
    let volumes = match dir.open_at(pod_dir::VOLUMES, folder, Mode::empty()) {
        Ok(fd) => Some(fd),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error.into()),
    };
    let mut sources = Sources::open(volumes.as_ref().map(AsFd::as_fd), &app.plan)?;
    for (mode, target, own) in [
        (pod.resolv, "/etc/resolv.conf", "rkt/resolv.conf"),
        (pod.hosts, "/etc/hosts", "rkt/hosts"),
    ] {
        // A volume of the user's at this path wins.
        if app.plan.has(target) {
            continue;
        }
        match mode {
            DnsMode::Host => sources.add(CWD, Path::new(target), target, Access::ReadOnly)?,
            DnsMode::Stage0 => {
                sources.add(dir.as_fd(), Path::new(own), target, Access::ReadWrite)?;
            }
            DnsMode::Default | DnsMode::None => {}
        }
    }
    Ok(sources)
}

/// A terminal of the app's own devpts, which is its console, too.
fn terminal() -> Result<Pair, RunError> {
    let pair = sys::terminal::open(c"/dev/pts/ptmx").doing("cannot open a terminal")?;
    // Before any program can ask for it.
    sys::terminal::copy_size(rustix::stdio::stdin(), pair.master.as_fd())
        .doing("cannot set the size of the terminal")?;
    let console = mount::copy_tree(CWD, c"/dev/pts/0", Depth::Single).at("open", "/dev/pts/0")?;
    mount::attach_at(console.as_fd(), c"/dev/console").at("mount", "/dev/console")?;
    Ok(pair)
}

/// Whether the app of a pod gets a terminal: where it is interactive and the caller has one.
pub fn wants_terminal(pod: &Pod) -> bool {
    pod.dialogue == Dialogue::Interactive && rustix::termios::isatty(rustix::stdio::stdin())
}
