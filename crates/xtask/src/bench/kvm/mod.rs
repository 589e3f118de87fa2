//! `bench kvm`: from the exec of a monitor to the call of its guest's init, beside QEMU's smallest machine with the same
//! kernel, initial file system and devices, in a lab that counts instructions.
//!
//! Processor time is judged as a share of the peer's. Exits from the guest are counted as well, since the lab hardly charges
//! for them and a real processor does.

mod files;
pub(super) mod inside;
pub(super) mod machine;
mod pods;
mod smaps;

use crate::dist::{Flavours, Profile, Programs, with_kernel};
use crate::error::{At, TaskError};
use crate::kernel::{self, Kernel};
use crate::lab;
use crate::say;
use crate::workspace::{Workspace, call};
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

/// What this program is called with in the lab.
pub(super) const INSIDE: &str = "kvm-in-the-lab";
/// Where real images lie.
const CORPUS: &str = "target/corpus";
const FOLDER: &str = "target/bench-kvm";
const KERNELS: [(&str, Kernel); 2] = [("stock", Kernel::Stock), ("own", Kernel::Own)];
/// Bytes of the disk that the guest finds.
const DISK: u64 = 1 << 20;
/// Seconds of this machine's clock.
const PATIENCE: &str = "1800";
/// The lab's root is read through a slow door, and a wait at it moves the lab's clock. It is an overlay, too, on which no folder
/// of a pod can be renamed.
const SCRIPT: &str = "mount -t tmpfs tmpfs /mnt && mount -t debugfs debugfs /sys/kernel/debug && \
                      mkdir /mnt/kvm && cd $0 && cp -r own stock monitor xtask rkt disk pods files-pods /mnt/kvm && \
                      mkdir -p /mnt/kvm/data/cas && mount --bind data/cas /mnt/kvm/data/cas && \
                      cp -a data/pods data/locks /mnt/kvm/data && exec /mnt/kvm/xtask bench $1 /mnt/kvm";

/// Builds what is measured, and measures it in the lab.
pub(super) fn run(workspace: &Workspace, profile: Profile) -> Result<(), TaskError> {
    let programs = Programs::build(workspace, profile, Flavours::All(Kernel::Own))?;
    let folder = workspace.path(FOLDER);
    for (name, kernel) in KERNELS {
        let guest = folder.join(name);
        fs::create_dir_all(&guest).at("make", &guest)?;
        let image = with_kernel(&kernel::provide(workspace, kernel)?);
        for image in programs.pack(&guest, &[image])? {
            let mut tar = Command::new("tar");
            tar.arg("-xzf").arg(&image).arg("-C").arg(&guest).arg("--strip-components=1");
            call(tar.args(["rootfs/vmlinux", "rootfs/initramfs"]))?;
            fs::rename(&image, guest.join("stage1.aci")).at("rename", &image)?;
        }
    }
    let rkt = folder.join("rkt");
    fs::copy(programs.path("rkt"), &rkt).at("copy", rkt)?;
    let machine = folder.join("own/stage1.aci");
    pods::prepare(&folder, &workspace.path(CORPUS), &machine)?;
    for image in programs.pack(&folder, &["nspawn".to_owned()])? {
        files::prepare(&folder, &workspace.path(CORPUS), [&machine, &image])?;
    }
    let own = std::env::current_exe().at("find", "this program")?;
    for (from, name) in [(programs.path("kvm-boot"), "monitor"), (own, "xtask")] {
        fs::copy(&from, folder.join(name)).at("copy", from)?;
    }
    let disk = folder.join("disk");
    File::create(&disk).and_then(|file| file.set_len(DISK)).at("write", disk)?;
    say::title("in the lab, where an instruction takes a nanosecond");
    let mut machine = lab::machine(workspace);
    machine.args(["--icount", "--modprobe", "vhost_vsock", "--timeout", PATIENCE]);
    machine.args(["--env", "CARGO_MANIFEST_DIR", "--"]);
    call(machine.args(["sh", "-c", SCRIPT]).arg(&folder).arg(INSIDE))
}

/// Measures what a folder in the lab holds.
pub(super) fn inside(folder: &Path) -> Result<(), TaskError> {
    inside::run(folder)
}
