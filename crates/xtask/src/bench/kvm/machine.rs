//! One machine, from exec to its guest's call and to its end.

use super::inside::{Counters, counters};
use super::smaps::{self, Used};
use crate::error::{At, TaskError};
use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, VsockAddr};
use nix::time::{clock_getcpuclockid, clock_gettime};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::SocketFlags;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// MiB of a guest.
pub(in crate::bench) const MEMORY: u16 = 512;
/// The port that the guest calls.
const PORT: u32 = 1;
/// As a pod's machine is told.
pub(in crate::bench) const LINE: &str = "reboot=t panic=-1 cryptomgr.notests random.trust_cpu=on tsc=reliable no_timer_check pci=off \
                    movable_node quiet 8250.nr_uarts=0 rkt.port=1";

/// The peer, and what it is told for the smallest machine that it makes.
pub(in crate::bench) const QEMU: [&str; 12] = [
    "qemu-system-x86_64",
    "-M",
    "microvm,accel=kvm,acpi=on,rtc=on,pit=off,pic=off,usb=off,isa-serial=off,x-option-roms=off,auto-kernel-cmdline=off",
    "-cpu",
    "host",
    "-smp",
    "1",
    "-nodefaults",
    "-no-user-config",
    "-display",
    "none",
    "-no-reboot",
];

/// Whose monitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bench) enum Monitor {
    Ours,
    Qemu,
}

/// A machine to be started.
#[derive(Debug)]
pub(super) struct Machine<'a> {
    pub(super) monitor: Monitor,
    /// Where our monitor and the disk lie.
    pub(super) folder: &'a Path,
    /// Where the kernel and the initial file system lie.
    pub(super) guest: &'a Path,
}

/// What a machine has used by the time its guest calls.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken {
    /// Milliseconds of processor time.
    pub(super) cpu: f64,
    pub(super) exits: f64,
    /// Of these to a device: its registers, a port.
    pub(super) device_exits: f64,
    /// MiB of the process alone, beside the guest's memory.
    pub(super) private: f64,
    /// MiB of the guest's memory that are there, and how many of these on large pages.
    pub(super) guest: f64,
    pub(super) large: f64,
}

impl Machine<'_> {
    /// Boots it, waits for the call, takes the figures, and hangs up, upon which the guest resets.
    pub(super) fn boot(&self) -> Result<Taken, TaskError> {
        let mut listener = self.listener()?;
        let child = self.command().stdin(Stdio::null()).spawn();
        let mut child = child.map_err(|source| TaskError::Start {
            program: format!("{:?}", self.monitor),
            source,
        })?;
        let taken = self.watch(&mut listener, &child);
        if taken.is_err() {
            drop(child.kill());
        }
        let status = child
            .wait()
            .map_err(|source| TaskError::Start { program: "a machine".to_owned(), source })?;
        let taken = taken?;
        if status.success() {
            Ok(taken)
        } else {
            Err(TaskError::Program { program: format!("{:?}", self.monitor), status })
        }
    }

    fn watch(&self, listener: &mut OwnedFd, child: &Child) -> Result<Taken, TaskError> {
        let mut call = accept(listener, child).at("hear the guest at", self.wire())?;
        call.read_exact(&mut [0; 1]).at("hear the guest at", self.wire())?;
        taken(child)
    }

    fn wire(&self) -> std::path::PathBuf {
        self.folder.join("wire")
    }

    fn listener(&self) -> Result<OwnedFd, TaskError> {
        let path = self.wire();
        match self.monitor {
            Monitor::Ours => {
                drop(fs::remove_file(&path));
                UnixListener::bind(&path).map(OwnedFd::from).at("listen at", path)
            }
            Monitor::Qemu => vsock().map_err(io::Error::from).at("listen at", "a vsock port"),
        }
    }

    fn command(&self) -> Command {
        let path = |folder: &Path, name: &str| folder.join(name).display().to_string();
        let (kernel, initial) = (path(self.guest, "vmlinux"), path(self.guest, "initramfs"));
        let disk = path(self.folder, "disk");
        match self.monitor {
            Monitor::Ours => {
                let mut command = Command::new(self.folder.join("monitor"));
                command.args([&MEMORY.to_string(), "1", &kernel, &initial, LINE, &disk]);
                command.env("RKT_WIRE", self.wire());
                command
            }
            Monitor::Qemu => {
                let (program, arguments) = QEMU.split_first().unwrap_or((&"", &[]));
                let mut command = Command::new(program);
                command.args(arguments).args(["-m", &MEMORY.to_string()]);
                command.args(["-kernel", &kernel, "-initrd", &initial, "-append", LINE]);
                command
                    .args(["-drive", &format!("if=none,id=d,format=raw,readonly=on,file={disk}")]);
                command.args([
                    "-device",
                    "virtio-blk-device,drive=d",
                    "-device",
                    "virtio-rng-device",
                ]);
                command.args(["-device", "vhost-vsock-device,guest-cid=3"]);
                command
            }
        }
    }
}

fn vsock() -> nix::Result<OwnedFd> {
    let (family, kind) = (AddressFamily::Vsock, SockType::Stream);
    let fd = socket::socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
    socket::bind(fd.as_raw_fd(), &VsockAddr::new(u32::MAX, PORT))?;
    socket::listen(&fd, Backlog::new(1)?)?;
    Ok(fd)
}

fn accept(listener: &OwnedFd, child: &Child) -> io::Result<File> {
    wait(listener, child)?;
    let call = rustix::net::accept_with(listener, SocketFlags::CLOEXEC)?;
    wait(&call, child)?;
    Ok(File::from(call))
}

/// Waits for something to read or for the end of the machine. There is no limit: the lab's clock jumps whenever all wait.
pub(in crate::bench) fn wait(fd: &impl AsFd, child: &Child) -> io::Result<()> {
    let pid = Pid::from_child(child);
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    let mut both = [PollFd::new(fd, PollFlags::IN), PollFd::new(&process, PollFlags::IN)];
    poll(&mut both, None)?;
    let [said, _] = both;
    if said.revents().is_empty() { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
}

/// What a machine has used: all processes of it, since a monitor may be the child of what was started.
fn taken(child: &Child) -> Result<Taken, TaskError> {
    let Counters { exits, device_exits } = counters()?;
    let cpu = processor_time(child)?;
    let mut taken = Taken { cpu, exits, device_exits, private: 0.0, guest: 0.0, large: 0.0 };
    for pid in processes(child)? {
        let Used { private, guest, large } = smaps::of(pid)?;
        taken.private += private;
        taken.guest += guest;
        taken.large += large;
    }
    Ok(taken)
}

/// Milliseconds of processor time that all of a machine's processes have had.
pub(in crate::bench) fn processor_time(child: &Child) -> Result<f64, TaskError> {
    let mut sum = 0.0;
    for pid in processes(child)? {
        let clock = clock_getcpuclockid(nix::unistd::Pid::from_raw(pid)).and_then(clock_gettime);
        let cpu = Duration::from(clock.map_err(io::Error::from).at("watch", "a process's clock")?);
        sum += cpu.as_secs_f64() * 1e3;
    }
    Ok(sum)
}

/// What was started, and all of its descendants.
fn processes(child: &Child) -> Result<Vec<i32>, TaskError> {
    let mut all = Vec::new();
    let mut found = vec![Pid::from_child(child).as_raw_pid()];
    while let Some(pid) = found.pop() {
        all.push(pid);
        found.extend(children(pid)?);
    }
    Ok(all)
}

/// The children of all threads of a process.
fn children(pid: i32) -> Result<Vec<i32>, TaskError> {
    let threads = format!("/proc/{pid}/task");
    let mut all = Vec::new();
    for thread in fs::read_dir(&threads).at("read", &threads)? {
        let path = thread.at("read", &threads)?.path().join("children");
        let text = fs::read_to_string(&path).at("read", &path)?;
        all.extend(text.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok()));
    }
    Ok(all)
}
