//! The machine of a pod: opened by the supervisor, which may, and lived by a child of it, which is locked up.

use crate::boot::Payload;
use crate::devices::blk::Blk;
use crate::devices::disk::Disk;
use crate::devices::fs::Fs;
use crate::devices::rng::Rng;
use crate::devices::virtio::Device;
use crate::devices::vsock::Vsock;
use crate::error::MachineError;
use crate::host::line::Teller;
use crate::shares::TAG;
use crate::size::Size;
use crate::vmm::{Ending, Machine};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The guest's number: the first that is free, as in every machine.
const GUEST: u32 = 3;
/// The port of the host's that the guest calls.
pub const PORT: u32 = 1;
/// What the operator wants the guest's kernel to be told besides.
const EXTRA: &str = "RKT_HYPERVISOR_EXTRA_KERNEL_PARAMS";
/// Words for any kernel: end by a reset that is seen without a device, test and probe nothing that is not there.
const WORDS: &str =
    "reboot=t panic=-1 cryptomgr.notests random.trust_cpu=on tsc=reliable no_timer_check pci=off";

/// Everything the machine is made of, opened.
#[derive(Debug)]
pub struct Parts {
    kvm: OwnedFd,
    size: Size,
    kernel: File,
    initial: File,
    command_line: String,
    images: Vec<File>,
    log: Option<File>,
    /// The way to whoever serves volumes of the host's.
    files: Option<UnixStream>,
}

/// Whether the guest's log is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuestLog {
    /// On the caller's standard error.
    Shown,
    /// Nobody hears it, and the machine has no serial line.
    Silent,
}

impl Parts {
    /// Opens all of it. The files of the guest itself lie in the stage1 image beside the running program.
    ///
    /// # Errors
    /// There is no KVM, or a file is missing.
    pub fn open(size: Size, images: &[PathBuf], log: GuestLog) -> Result<Self, MachineError> {
        let kvm = kvm()?;
        let root = root();
        let part = |what, name: &str| {
            let path = root.join(name);
            File::open(&path).map_err(|source| MachineError::Part { what, path, source })
        };
        let (kernel, initial) =
            (part("kernel", "vmlinux")?, part("initial file system", "initramfs")?);
        let open = |path: &PathBuf| {
            let opened = File::open(path);
            opened.map_err(|source| MachineError::Part {
                what: "image",
                path: path.clone(),
                source,
            })
        };
        let images = images.iter().map(open).collect::<Result<_, _>>()?;
        let log = match log {
            GuestLog::Silent => None,
            GuestLog::Shown => {
                let copy = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), 3);
                Some(File::from(copy.map_err(|e| MachineError::Descriptors(e.into()))?))
            }
        };
        let extra = std::env::var(EXTRA).unwrap_or_default();
        let command_line = command_line(log.is_some(), &extra);
        Ok(Self { kvm, size, kernel, initial, command_line, images, log, files: None })
    }

    /// Whether what every machine is made of is there.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn check() -> Result<(), MachineError> {
        kvm()?;
        guest().map(drop)
    }

    /// Adds a device of volumes that are served at the other end of this.
    pub fn share(&mut self, files: UnixStream) {
        self.files = Some(files);
    }
}

/// Where the files of the stage1 image are: beside the running program.
pub fn root() -> PathBuf {
    let program = std::env::current_exe();
    let root = program.ok().and_then(|path| path.parent().map(Path::to_owned));
    root.unwrap_or_else(|| PathBuf::from("/"))
}

/// The guest's kernel, and its initial file system.
fn guest() -> Result<[File; 2], MachineError> {
    let root = root();
    let part = |what, name: &str| {
        let path = root.join(name);
        File::open(&path).map_err(|source| MachineError::Part { what, path, source })
    };
    Ok([part("kernel", "vmlinux")?, part("initial file system", "initramfs")?])
}

/// What the kernel is told.
fn command_line(serial: bool, extra: &str) -> String {
    let console = if serial { "console=ttyS0" } else { "quiet 8250.nr_uarts=0" };
    format!("{WORDS} {console} rkt.port={PORT} {}", extra.trim()).trim_end().to_owned()
}

fn kvm() -> Result<OwnedFd, MachineError> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    rustix::fs::open("/dev/kvm", flags, Mode::empty()).map_err(|error| {
        let what = match error {
            Errno::NOENT => "this host has no /dev/kvm: its processor has no virtualisation, or it is switched off",
            Errno::ACCESS | Errno::PERM => "no permission to use /dev/kvm",
            _ => "cannot open /dev/kvm",
        };
        MachineError::NoKvm(what, error.into())
    })
}

/// Runs the machine to its end, which the supervisor is told.
///
/// # Errors
/// It cannot be made.
pub fn live(parts: Parts, teller: Teller) -> Result<(), MachineError> {
    let teller = Arc::new(teller);
    let ending = match run(parts, &teller) {
        Ok(ending) => ending,
        Err(error) => Ending::Broken(sys::cause::chain(&error)),
    };
    if let Err(error) = teller.ended(&ending) {
        log::debug!("nobody hears how the machine ended: {error}");
    }
    Ok(())
}

fn run(parts: Parts, teller: &Arc<Teller>) -> Result<Ending, MachineError> {
    let caller = Arc::clone(teller);
    let open = move |port| {
        if port == PORT { caller.call() } else { Err(io::ErrorKind::ConnectionRefused.into()) }
    };
    let disk = Disk::new(parts.images).map_err(MachineError::Descriptors)?;
    let vsock = Vsock::new(GUEST, Box::new(open)).map_err(MachineError::Descriptors)?;
    let mut devices: Vec<Box<dyn Device>> =
        vec![Box::new(Blk::new(disk)), Box::new(Rng), Box::new(vsock)];
    if let Some(files) = parts.files {
        devices.push(Box::new(Fs::new(TAG, files).map_err(MachineError::Descriptors)?));
    }
    let machine = Machine {
        kvm: parts.kvm,
        memory: parts.size.memory,
        processors: parts.size.processors,
        payload: Payload {
            kernel: parts.kernel,
            initial: vec![parts.initial],
            command_line: parts.command_line,
        },
        serial: parts.log,
        devices,
    };
    Ok(machine.start()?.wait())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operator_has_the_last_word() {
        let line = command_line(false, " mitigations=off ");
        assert!(line.ends_with("quiet 8250.nr_uarts=0 rkt.port=1 mitigations=off"), "{line}");
        assert!(command_line(true, "").ends_with(" console=ttyS0 rkt.port=1"));
    }
}
