//! The machine, made ready for anything: kernel file systems, modules, and a root that can be left.

use crate::error::{Doing, InitError};
use std::ffi::CStr;
use std::os::fd::AsFd;
use std::path::Path;
use sys::mount::{self, Propagation, Restrict};
use sys::path::At;

/// Where the modules of an initramfs are, and the file that says in which order they are to be loaded.
const MODULES: &str = "/modules";
const ORDER: &str = "ORDER";

/// Open files of init and of every app: what streams of all apps and commands may need, and what services that ask for more
/// have elsewhere.
const OPEN_FILES: (u64, u64) = (4096, 1 << 20);

const INERT: Restrict = Restrict::NO_SUID.and(Restrict::NO_DEVICES).and(Restrict::NO_EXEC);
/// What init needs to see of the kernel. Apps get their own.
const KERNEL: [(&CStr, &CStr, Restrict); 4] = [
    (c"devtmpfs", c"/dev", Restrict::NO_SUID.and(Restrict::NO_EXEC)),
    (c"proc", c"/proc", INERT),
    (c"sysfs", c"/sys", INERT),
    (c"cgroup2", c"/sys/fs/cgroup", INERT),
];

/// Makes the standard descriptors of a process that the kernel has started without any: nothing is read, and what is
/// written goes to the kernel's log. Neither device is there before this.
///
/// # Errors
/// A mount is refused.
pub fn standard() -> Result<(), InitError> {
    make("/dev")?;
    let (kind, path, rights) = KERNEL[0];
    mount::virtual_at(kind, path, rights, c"").at("mount", "/dev")?;
    sys::machine::set_standard(c"/dev/null", c"/dev/kmsg").doing("cannot open the kernel's log")
}

/// Mounts procfs where an initramfs has none: the command line is in it.
///
/// # Errors
/// A mount is refused.
pub fn procfs() -> Result<(), InitError> {
    make("/proc")?;
    Ok(mount::virtual_at(c"proc", c"/proc", INERT, c"").at("mount", "/proc")?)
}

/// Lifts what the kernel would allow its first process.
///
/// # Errors
/// The kernel refuses.
pub fn limits() -> Result<(), InitError> {
    let (usual, most) = OPEN_FILES;
    sys::machine::raise_open_files(usual, most).doing("cannot allow more open files")
}

/// Loads the modules of the initramfs, if there are any, and frees their memory.
///
/// # Errors
/// One cannot be loaded.
pub fn modules() -> Result<(), InitError> {
    let folder = Path::new(MODULES);
    let order = folder.join(ORDER);
    let Ok(text) = std::fs::read_to_string(&order) else { return Ok(()) };
    for name in text.lines().filter(|line| !line.is_empty()) {
        let path = folder.join(name);
        sys::machine::load_module(&path).at("load", &path)?;
        std::fs::remove_file(&path).at("unlink", &path)?;
    }
    Ok(())
}

/// Covers the root with an empty one, with the kernel's file systems in it, in which the rest of init's life takes place.
///
/// # Errors
/// A mount is refused.
pub fn base() -> Result<(), InitError> {
    mount::isolate_all(Propagation::Private).doing("cannot make mounts private")?;
    let options = [(c"mode", c"755"), (c"size", c"1m")];
    let tree = mount::fresh(c"tmpfs", &options, Restrict::NO_SUID).at("mount", "/")?;
    mount::cover_root(tree.as_fd()).doing("cannot cover the root")?;
    for (kind, path, rights) in KERNEL {
        let path_text = path.to_str().unwrap_or_default();
        if kind != c"cgroup2" {
            make(path_text)?;
        }
        mount::virtual_at(kind, path, rights, c"").at("mount", path_text)?;
    }
    [crate::images::FOLDER, crate::pod::SHARES, crate::pod::FOLDER].into_iter().try_for_each(make)
}

fn make(folder: &str) -> Result<(), InitError> {
    match std::fs::create_dir(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(sys::path::PathError::new("mkdir", folder, error).into())
        }
        _ => Ok(()),
    }
}
