//! `init` as the first process of a virtual machine: an initramfs with the modules that a stock kernel needs, a block
//! device with a partition, vsock, a reset; in a machine of QEMU's and in one of ours. It needs `/dev/kvm`,
//! `/dev/vhost-vsock`, QEMU, and names in `RKT_MACHINE`, `RKT_GUEST_KERNEL` and `RKT_GUEST_MODULES` of our machine's program,
//! an ELF kernel and its `lib/modules/VERSION`: `cargo xtask test --lab` brings all of it.

use crate::guest::{Guest, Lab, app, command, shell};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, VsockAddr, bind, listen, socket,
};
use pod_proto::config::{Dialogue, Time};
use pod_proto::message::{End, Size};
use pod_proto::{FromGuest, FromHost, Process, Stream};
use serde_json::json;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Everybody's number, and ours to be called at.
const ANYBODY: u32 = u32::MAX;
const PORT: u32 = 1234;
const SECTOR: usize = 512;
/// How long anything may take: the machine is emulated by one that is emulated.
const PATIENCE: Duration = Duration::from_mins(5);
/// Where the partition begins, in sectors.
const START: u32 = 2048;
const MODULES: [&str; 9] = [
    "virtio_pci",
    "virtio_mmio",
    "virtio_blk",
    "virtio_net",
    "vmw_vsock_virtio_transport",
    "crc32c_generic",
    "erofs",
    "overlay",
    "virtiofs",
];

/// Runs a command that ends well; what it prints.
pub(crate) fn run(command: &mut Command) -> String {
    let done = command.output().unwrap();
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// A path that the caller names.
fn given(variable: &str) -> PathBuf {
    std::env::var_os(variable).unwrap_or_else(|| panic!("{variable} is not set")).into()
}

/// Copies a file to the same path below a folder.
fn copy_below(folder: &Path, path: &str) {
    let to = folder.join(path.trim_start_matches('/'));
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(path, to).unwrap();
}

/// An initramfs: init, the libraries of its debug build, modules and their order.
fn initramfs(lab: &Lab) -> PathBuf {
    let tree = lab.folder().join("initramfs");
    fs::create_dir_all(tree.join("modules")).unwrap();
    let init = env!("CARGO_BIN_EXE_init");
    // What is debugged elsewhere would have to be unpacked by an emulated processor.
    run(Command::new("strip").arg(init).arg("-o").arg(tree.join("init")));
    for word in run(Command::new("ldd").arg(init)).split_whitespace().filter(|w| w.starts_with('/'))
    {
        copy_below(&tree, word);
    }
    let modules = given("RKT_GUEST_MODULES");
    let (version, root) = (modules.file_name().unwrap(), modules.ancestors().nth(3).unwrap());
    let mut order: Vec<String> = Vec::new();
    for module in MODULES {
        let mut command = Command::new("modprobe");
        command.arg("--dirname").arg(root).arg("--set-version").arg(version);
        for line in run(command.args(["--show-depends", module])).lines() {
            let Some(path) = line.strip_prefix("insmod ").map(str::trim) else { continue };
            let name = Path::new(path).file_name().unwrap().to_str().unwrap().to_owned();
            if !order.contains(&name) {
                fs::copy(path, tree.join("modules").join(&name)).unwrap();
                order.push(name);
            }
        }
    }
    fs::write(tree.join("modules/ORDER"), order.join("\n") + "\n").unwrap();
    let packed = lab.folder().join("initramfs.cpio");
    let script = "find . | cpio --quiet -o -H newc > ../initramfs.cpio";
    run(Command::new("sh").args(["-c", script]).current_dir(&tree));
    packed
}

/// A disk with the image as its first partition, by the oldest of all tables.
fn disk(lab: &Lab) -> PathBuf {
    let mut image = fs::read(lab.image()).unwrap();
    image.resize(image.len().next_multiple_of(SECTOR), 0);
    let sectors = u32::try_from(image.len() / SECTOR).unwrap();
    let mut bytes = vec![0; START as usize * SECTOR];
    bytes[446 + 4] = 0x83;
    bytes[446 + 8..446 + 12].copy_from_slice(&START.to_le_bytes());
    bytes[446 + 12..446 + 16].copy_from_slice(&sectors.to_le_bytes());
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    bytes.extend(image);
    let path = lab.folder().join("disk");
    fs::write(&path, bytes).unwrap();
    path
}

fn listener() -> OwnedFd {
    let kind = SockType::Stream;
    let fd = socket(AddressFamily::Vsock, kind, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(fd.as_raw_fd(), &VsockAddr::new(ANYBODY, PORT)).unwrap();
    listen(&fd, Backlog::new(64).unwrap()).unwrap();
    fd
}

/// A machine of QEMU's, on the kernel's own sockets.
fn boot_by_qemu(lab: &Lab) -> Guest {
    let listener = listener();
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(["-M", "q35", "-accel", "kvm", "-cpu", "host", "-m", "256", "-nodefaults"]);
    qemu.args(["-no-user-config", "-display", "none", "-no-reboot"]);
    qemu.arg("-kernel").arg(given("RKT_GUEST_KERNEL"));
    qemu.arg("-initrd").arg(initramfs(lab));
    qemu.args(["-append", &words()]);
    let drive = format!("if=none,id=d,format=raw,readonly=on,file={}", disk(lab).display());
    qemu.args(["-drive", &drive, "-device", "virtio-blk-pci,drive=d"]);
    qemu.args(["-device", "vhost-vsock-pci,guest-cid=5"]);
    let child = qemu.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    Guest::called(child, listener, PATIENCE)
}

fn words() -> String {
    format!("quiet reboot=t panic=-1 cryptomgr.notests rkt.port={PORT}")
}

/// A machine of ours, whose program `RKT_MACHINE` names: the guest's streams come to a socket with a path.
fn boot_by_ours(lab: &Lab) -> Guest {
    boot_with(lab, &[])
}

/// The same, with these volumes: `rw` or `ro`, `all` or `one`, and a path each. `RKT_FILE_SERVER` names the program that
/// serves them.
pub(crate) fn boot_with(lab: &Lab, volumes: &[String]) -> Guest {
    boot_in(lab, &[("RKT_VOLUMES", volumes.join("\n"))])
}

/// The same, with what this environment tells the machine's program of.
pub(crate) fn boot_in(lab: &Lab, environment: &[(&str, String)]) -> Guest {
    let path = lab.folder().join("wire");
    let listener = UnixListener::bind(&path).unwrap();
    let mut machine = Command::new(given("RKT_MACHINE"));
    machine.args(["256", "1"]).arg(given("RKT_GUEST_KERNEL")).arg(initramfs(lab));
    machine.arg(words()).arg(lab.image()).env("RKT_WIRE", path);
    machine.envs(environment.iter().map(|(name, value)| (name, value)));
    if !environment.iter().any(|(name, value)| *name == "RKT_VOLUMES" && !value.is_empty()) {
        machine.env_remove("RKT_FILE_SERVER");
    }
    let child = machine.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    Guest::called(child, listener.into(), PATIENCE)
}

#[test]
#[ignore = "needs a machine with KVM: cargo xtask test --lab"]
fn a_pod_has_a_machine_of_its_own() {
    a_pod_lives_in(boot_by_qemu);
}

#[test]
#[ignore = "needs a machine with KVM: cargo xtask test --lab"]
fn a_pod_has_a_machine_of_ours() {
    a_pod_lives_in(boot_by_ours);
}

fn a_pod_lives_in(boot: impl Fn(&Lab) -> Guest) {
    let mut limited =
        shell("b", "dd if=/dev/zero of=/dev/null bs=64M count=1 2>/dev/null; echo $?");
    limited["limits"] =
        json!({ "memory": 20 << 20, "cpu_milli": 500, "cpu_shares": null, "pids": 20 });
    // What a machine has and namespaces have not: a clock, a reset, limits by our own control groups.
    let script = "hostname; date -u +%Y; cat /proc/self/cgroup; ulimit -n; ulimit -Hn; ls /images /modules 2>&1 | wc -l
        cat";
    let mut first = shell("a", script);
    first["dialogue"] = json!("streams");
    let hook =
        json!({ "main": ["/bin/true"], "pre_start": ["/bin/true"], "post_stop": ["/bin/true"] });
    let mut lab = Lab::on_a_machine(&[first, limited, app("c", &json!({ "commands": hook }))]);
    lab.config.time = Time { seconds: 1_893_456_000, nanoseconds: 0 };
    lab.config.hostname = "machine".to_owned();
    let mut guest = boot(&lab);
    assert_eq!(guest.configure(&lab.config), FromGuest::Ready);
    guest.say(&FromHost::Start);

    let input = guest.stream(Process::App(0), Stream::Input);
    assert_eq!(guest.text(Process::App(1), Stream::Output), "137\n");
    guest.say(&FromHost::Stats);
    let usage = loop {
        if let FromGuest::Usage(usage) = guest.hear() {
            break usage;
        }
    };
    assert!(usage.memory_total < 256 << 20, "{usage:?}");
    let known = |used: &pod_proto::message::Used| used.memory.is_some() && used.tasks.is_some();
    assert!(usage.apps.len() == 3 && usage.apps.iter().all(known), "{usage:?}");

    let terminal = Dialogue::Terminal(Size { rows: 5, columns: 6 });
    guest.say(&command(1, &["sh", "-c", "stty size; exit 4"], terminal));
    assert_eq!(guest.text(Process::Exec(1), Stream::Terminal), "5 6\r\n");
    assert_eq!(guest.end_of(Process::Exec(1)), End::Code(4));

    drop(input);
    let expected = "machine\n2030\n0::/rkt-machine/app-a\n4096\n1048576\n2\n";
    assert_eq!(guest.text(Process::App(0), Stream::Output), expected);
    let (before, code) = guest.stopped();
    assert_eq!((before.last(), code), (Some(&FromGuest::Exited(Process::App(0), End::Code(0))), 0));
    // The machine ends by itself, which is a reset.
    assert_eq!(guest.ended().0, 0);
}
