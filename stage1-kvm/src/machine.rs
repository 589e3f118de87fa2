//! The machine of a pod: opened by the supervisor, which may, and lived by a child of it, which is locked up.

use crate::boot::Payload;
use crate::devices::blk::Blk;
use crate::devices::disk::Disk;
use crate::devices::fs::Fs;
use crate::devices::net::{Net, Nic};
use crate::devices::rng::Rng;
use crate::devices::virtio::Device;
use crate::devices::vsock::Vsock;
use crate::error::MachineError;
use crate::host::line::Teller;
use crate::shares::Line;
use crate::size::Size;
use crate::vmm::memory::Memory;
use crate::vmm::{Ending, Machine, VmError};
use jail::{Jail, Limits, Parent, Rights, Root};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The guest's number: the first that is free, as in every machine.
const GUEST: u32 = 3;
/// The port of the host's that the guest calls.
pub const PORT: u32 = 1;
/// What the operator wants the guest's kernel to be told besides.
const EXTRA: &str = "RKT_HYPERVISOR_EXTRA_KERNEL_PARAMS";
/// Words for any kernel: end by a reset that is seen without a device, test and probe nothing that is not there; and take
/// memory from right behind the kernel on, not from its end, so that less of it is touched.
const WORDS: &str = "reboot=t panic=-1 cryptomgr.notests random.trust_cpu=on tsc=reliable no_timer_check pci=off \
    movable_node dummy.numdummies=0";

/// Descriptors that the monitor may have at once: the guest's connections, the images of its disk, and what it is made of.
const DESCRIPTORS: u64 = 512;
/// Bytes by which it may make a file longer that it was given: what it says and the guest's log.
const WRITTEN: u64 = 64 << 20;
/// Lines that it logs: a guest can have some written.
const LINES: usize = 1000;
/// Threads beside those of processors: the first one and that of the devices.
const THREADS: u64 = 2;

/// Everything the machine is made of, opened.
#[derive(Debug)]
pub struct Parts {
    /// `/dev/kvm`.
    pub kvm: OwnedFd,
    /// How large it is.
    pub size: Size,
    /// The guest's kernel.
    pub kernel: File,
    /// Its initial file system.
    pub initial: File,
    /// What it is told.
    pub command_line: String,
    /// What lies on its disk; without, it has neither a disk nor random numbers of the host's.
    pub images: Option<Vec<File>>,
    /// Where its serial line goes.
    pub log: Option<File>,
    /// The port by which the guest calls the supervisor; without, it has no sockets.
    pub port: Option<u32>,
    /// The ways to whoever serves volumes of the host's.
    pub files: Vec<Line>,
    /// Its network interfaces.
    pub nics: Vec<Nic>,
}

/// What ties the monitor to others.
#[derive(Debug)]
pub struct Ties<'a> {
    /// The supervisor.
    pub parent: Parent,
    /// The way to it.
    pub teller: Teller,
    /// The lock that is held as long as the machine runs.
    pub lock: Option<BorrowedFd<'a>>,
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
        let images = Some(images.iter().map(open).collect::<Result<_, _>>()?);
        let log = match log {
            GuestLog::Silent => None,
            GuestLog::Shown => {
                let copy = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), 3);
                Some(File::from(copy.map_err(|e| MachineError::Descriptors(e.into()))?))
            }
        };
        let extra = std::env::var(EXTRA).unwrap_or_default();
        let command_line = command_line(log.is_some(), &extra);
        let (port, files, nics) = (Some(PORT), Vec::new(), Vec::new());
        Ok(Self { kvm, size, kernel, initial, command_line, images, log, port, files, nics })
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
    pub fn share(&mut self, files: Vec<Line>) {
        self.files = files;
    }

    /// Adds network interfaces.
    pub fn connect(&mut self, nics: Vec<Nic>) {
        self.nics = nics;
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

/// Locks the calling process up, which was cloned for it, and runs the machine to its end, which the supervisor is told.
/// Nothing of the parent's is used or dropped any more.
pub fn live(parts: Parts, ties: Ties<'_>) -> ! {
    let teller = Arc::new(ties.teller);
    let ending = match run(parts, &teller, ties.parent, ties.lock) {
        Ok(ending) => ending,
        Err(error) => Ending::Broken(sys::cause::chain(&error)),
    };
    if let Err(error) = teller.ended(&ending) {
        log::debug!("nobody hears how the machine ended: {error}");
    }
    // The kernel closes what is open, the lock among it.
    sys::process::leave(0)
}

fn run(
    mut parts: Parts,
    teller: &Arc<Teller>,
    parent: Parent,
    lock: Option<BorrowedFd<'_>>,
) -> Result<Ending, MachineError> {
    sys::descriptor::silence_input_and_output().map_err(MachineError::Descriptors)?;
    sys::descriptor::blind_error().map_err(MachineError::Descriptors)?;
    let own = parts.descriptors();
    let ties = [teller.as_fd(), parent.as_fd()];
    let all: Vec<_> = own.into_iter().chain(ties).chain(lock).chain(standard()).collect();
    forget_all_but(&all).map_err(MachineError::Descriptors)?;
    let memory = Memory::new(parts.size.memory).map_err(VmError::from)?;
    let limits = parts.limits().map_err(MachineError::Descriptors)?;
    jail::plain_panics();
    stage1_abi::entry::bound_log(LINES);
    Jail { parent, root: Root::Empty, rights: Rights::None, limits }.enter()?;
    let devices = parts.devices(teller).map_err(MachineError::Descriptors)?;
    let machine = Machine {
        kvm: parts.kvm,
        memory,
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

impl Parts {
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let single = [self.kvm.as_fd(), self.kernel.as_fd(), self.initial.as_fd()];
        let images = self.images.iter().flatten().map(AsFd::as_fd);
        let perhaps = self.log.as_ref().map(AsFd::as_fd);
        let files = self.files.iter().map(|line| line.socket.as_fd());
        let taps = self.nics.iter().map(|nic| nic.tap.as_fd());
        single.into_iter().chain(images).chain(perhaps).chain(files).chain(taps).collect()
    }

    fn limits(&self) -> io::Result<Limits> {
        let mut length = 0;
        for fd in self.log.iter().map(AsFd::as_fd).chain(standard()) {
            length = rustix::fs::fstat(fd)?.st_size.max(length);
        }
        let file_size = u64::try_from(length).unwrap_or_default().saturating_add(WRITTEN);
        let threads = THREADS + u64::from(self.size.processors);
        let files = DESCRIPTORS + u64::from(self.size.processors);
        Ok(Limits { files, file_size, threads })
    }

    /// Its devices, in the order in which the guest finds them.
    fn devices(&mut self, teller: &Arc<Teller>) -> io::Result<Vec<Box<dyn Device>>> {
        let mut devices: Vec<Box<dyn Device>> = Vec::new();
        if let Some(images) = self.images.take() {
            devices.push(Box::new(Blk::new(Disk::new(images)?)));
            devices.push(Box::new(Rng));
        }
        if let Some(own) = self.port {
            let caller = Arc::clone(teller);
            let refused = || Err(io::ErrorKind::ConnectionRefused.into());
            let open = move |port| if port == own { caller.call() } else { refused() };
            devices.push(Box::new(Vsock::new(GUEST, Box::new(open))?));
        }
        for Line { tag, socket } in self.files.drain(..) {
            devices.push(Box::new(Fs::new(&tag, socket)?));
        }
        for nic in self.nics.drain(..) {
            devices.push(Box::new(Net::new(nic)));
        }
        Ok(devices)
    }
}

/// The standard descriptors.
fn standard() -> [BorrowedFd<'static>; 3] {
    [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()]
}

#[expect(unsafe_code, reason = "whoever owns what is closed here must not use it again")]
fn forget_all_but(kept: &[BorrowedFd<'_>]) -> io::Result<()> {
    // SAFETY: the process is a clone whose only way leads through `live`, which never returns to where something of the
    // parent's could be used or dropped.
    unsafe { sys::descriptor::close_all_but(kept) }
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
