//! The app's root: what of the host is shown in it is taken before the mount namespace is made, and put in place after.

use crate::error::{Doing, FlyError};
use crate::pod::FlyApp;
use crate::shown::Shown;
use rustix::fs::{AtFlags, CWD, OFlags, StatxFlags, statx, symlinkat};
use rustix::io::Errno;
use stage1_abi::{DnsMode, PodDir, RunArgs};
use stage2::mounts::{Access, Source};
use stage2::{Sources, files, identity};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use sys::beneath::{self, Make};
use sys::mount::{self, Depth, Propagation, Restrict};
use sys::namespace::{self, Kinds};
use sys::path::{At, PathError};

/// Folders of the host that every app sees.
const HOST: [&str; 3] = ["dev", "proc", "sys"];
/// Says that a path is where something is mounted.
const MOUNT_ROOT: u64 = 0x2000;

/// Assembles the root in a mount namespace of the calling process' own, and returns it. The working directory is the
/// pod folder.
///
/// # Errors
/// A volume's source is missing, or a mount is refused.
pub fn assemble(app: &FlyApp, dir: &PodDir, args: &RunArgs) -> Result<OwnedFd, FlyError> {
    let mut host = Vec::with_capacity(HOST.len());
    for name in HOST {
        let path = &Path::new("/").join(name);
        share(path)?;
        host.push((name, mount::copy_tree(CWD, path, Depth::Recursive).at("open", path)?));
    }
    for step in &app.plan.steps {
        if let Source::Host(path) = &step.source {
            share(path)?;
        }
    }
    let mut sources = Sources::open(None, &app.plan)?;
    for (mode, target, own) in [
        (args.resolv, "/etc/resolv.conf", "rkt/resolv.conf"),
        (args.hosts, "/etc/hosts", "rkt/hosts"),
    ] {
        match mode {
            _ if app.plan.has(target) => {}
            DnsMode::Host => sources.add(CWD, Path::new(target), target, Access::ReadOnly)?,
            DnsMode::Stage0 => {
                sources.add(dir.as_fd(), Path::new(own), target, Access::ReadWrite)?;
            }
            DnsMode::Default | DnsMode::None => {}
        }
    }

    namespace::unshare(Kinds::MOUNT).doing("cannot make a mount namespace")?;
    // The host's later unmounts are seen, so that nothing here keeps its file systems busy.
    mount::isolate_all(Propagation::Slave).doing("cannot leave the host's mounts")?;
    // Opened anew: only mounts of this namespace can be copied, and the pod's descriptor leads to the host's.
    let here = PodDir::current()?;
    let root = app.files.mount(here.as_fd()).at("mount", "/")?;
    mount::attach_at(root.as_fd(), c".").at("mount", "/")?;
    let mut shown = Shown::new(root)?;
    // What follows links of the image comes before there is anything of the host that they could lead to.
    temporary(shown.root())?;
    defaults(shown.root(), app, args)?;
    for (name, tree) in host {
        shown.show_host(name, tree)?;
    }
    shown.attach(sources)?;
    let root = shown.root();
    if app.spec.seeded {
        let identity = identity::resolve(root, &app.spec.identity)?;
        let path = Path::new(&app.spec.directory);
        files::make_directory(root, path, &identity, &|folder| shown.may_make(folder))?;
    }
    if app.spec.root == Access::ReadOnly {
        mount::restrict(root, Restrict::READ_ONLY, Depth::Single).at("mount", "/")?;
    }
    Ok(shown.into_root())
}

/// Makes a mount of the host's, with all below it, exchange mounts with its copies. A path inside a mount is left as it
/// is: its copies belong to whatever group that mount has.
fn share(path: &Path) -> Result<(), PathError> {
    let found = statx(CWD, path, AtFlags::empty(), StatxFlags::TYPE).at("stat", path)?;
    if found.stx_attributes.bits() & MOUNT_ROOT == 0 {
        return Ok(());
    }
    let open = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, rustix::fs::Mode::empty())
        .at("open", path)?;
    mount::set_propagation(open.as_fd(), Propagation::Shared, Depth::Recursive).at("mount", path)
}

fn temporary(root: BorrowedFd<'_>) -> Result<(), PathError> {
    let path = "/tmp";
    let tree = mount::fresh(c"tmpfs", &[(c"mode", c"1777")], Restrict::NONE).at("mount", path)?;
    let target = beneath::ensure(root, Path::new(path), Make::Folder).at("open", path)?;
    mount::attach(tree.as_fd(), target.as_fd()).at("mount", path)
}

/// What an app expects below `/etc` and an image may lack.
fn defaults(root: BorrowedFd<'_>, app: &FlyApp, args: &RunArgs) -> Result<(), PathError> {
    let Ok(etc) = beneath::open(root, c"/etc", OFlags::PATH | OFlags::DIRECTORY) else {
        return Ok(());
    };
    match symlinkat(c"../proc/self/mounts", &etc, c"mtab") {
        Ok(()) | Err(Errno::EXIST | Errno::ROFS) => {}
        Err(error) => return Err(PathError::new("symlink", "/etc/mtab", error)),
    }
    if args.hosts == DnsMode::Default && !app.plan.has("/etc/hosts") {
        files::create(etc.as_fd(), "hosts", "127.0.0.1 localhost\n")?;
    }
    Ok(())
}
