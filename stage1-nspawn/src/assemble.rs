//! The roots of a pod's apps: what of the host is shown in them, and which of them the supervisor lives in.

use pod_host::{Dialogue, Doing, Pod, PodApp, RunError};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::termios::{Winsize, tcgetwinsize};
use stage1_abi::{DnsMode, PodDir, pod_dir};
use stage2::assemble::{self, Parts};
use stage2::mounts::Access;
use stage2::{Root, Sources, kernel_fs};
use std::os::fd::AsFd;
use std::path::Path;
use sys::mount::{self, Propagation, Restrict};
use sys::path::At;

/// Where the tmpfs that apps share lies until they have it: a folder of the pod's that PID 1 needs no more.
const SHARED_MEMORY: &str = pod_dir::STAGE1;

/// Assembles the roots of all apps. The working directory is the pod folder; afterwards the calling process lives in
/// the root of the only app, or in an empty one if there are several.
///
/// # Errors
/// See [`RunError`].
pub fn all(pod: &Pod, wants_terminal: bool) -> Result<Vec<Root>, RunError> {
    // What the host mounts and unmounts below a volume is seen; what the pod mounts stays its own.
    mount::isolate_all(Propagation::Slave).doing("cannot leave the host's mounts")?;
    if let [app] = pod.apps.as_slice() {
        let size = if wants_terminal {
            let size = tcgetwinsize(rustix::stdio::stdin());
            Some(size.doing("cannot read the size of the terminal")?)
        } else {
            None
        };
        return Ok(vec![one(pod, app, size)?]);
    }
    let shared = kernel_fs::shared_memory().doing("cannot make shared memory")?;
    mount::attach_at(shared.as_fd(), SHARED_MEMORY).at("mount", "/dev/shm")?;
    let roots = assemble::apart(pod.apps.iter(), |app| one(pod, app, None))?;
    let rights =
        Restrict::READ_ONLY.and(Restrict::NO_DEVICES).and(Restrict::NO_SUID).and(Restrict::NO_EXEC);
    let empty =
        mount::fresh(c"tmpfs", &[(c"mode", c"000"), (c"size", c"4k")], rights).at("mount", "/")?;
    mount::attach_at(empty.as_fd(), c".").at("mount", "/")?;
    mount::become_root(empty.as_fd()).doing("cannot change the root")?;
    Ok(roots)
}

fn one(pod: &Pod, app: &PodApp, terminal: Option<Winsize>) -> Result<Root, RunError> {
    // Opened anew: only mounts of this namespace can be copied, and P0's descriptor leads to the host's.
    let dir = &PodDir::current()?;
    let parts = Parts {
        spec: &app.spec,
        plan: &app.plan,
        files: &app.files,
        kernel_paths: pod.kernel_paths,
        hostname: &pod.hostname,
        own_hosts: pod.hosts == DnsMode::Default,
        shared_memory: (pod.apps.len() > 1).then_some(Path::new(SHARED_MEMORY)),
        terminal,
    };
    Ok(assemble::root(dir.as_fd(), take(pod, app, dir)?, &parts)?)
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

/// Whether the app of a pod gets a terminal: where it is interactive and the caller has one.
pub fn wants_terminal(pod: &Pod) -> bool {
    pod.dialogue == Dialogue::Interactive && rustix::termios::isatty(rustix::stdio::stdin())
}
