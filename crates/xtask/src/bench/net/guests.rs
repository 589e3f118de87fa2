//! What the network of a virtual machine costs, beside QEMU's smallest machine with the same kernel, the same only program
//! and the same wires, in a lab that counts instructions: bytes by TCP each way, and a byte there and back.
//!
//! ```text
//! this program ── out ═ eth0 ◄─ all that comes in to either ─► tap0 ── monitor ── virtio-net ── tests/floor/talk.c
//!   10.77.0.1    (a pair)                                                                        10.77.0.2
//! ```
//!
//! Processor time is that of the monitor's processes, with the guest's in it. Exits are counted as well, since the lab hardly
//! charges for them and a real processor does.

use super::super::kvm::inside::{Counters, counters};
use super::super::kvm::machine::{LINE, MEMORY, Monitor, QEMU, processor_time, wait};
use crate::bench::stopwatch::{Floor, median};
use crate::bench::verdict::Verdict;
use crate::dist::{Flavours, Profile, Programs};
use crate::error::{At, TaskError};
use crate::kernel::{self, Kernel};
use crate::lab;
use crate::say;
use crate::workspace::{Workspace, call};
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const FOLDER: &str = "target/bench-net";
/// Seconds of this machine's clock.
const PATIENCE: &str = "1800";
/// The lab's root is read through a slow door, and a wait at it moves the lab's clock.
const SCRIPT: &str = "mount -t tmpfs tmpfs /mnt && mount -t debugfs debugfs /sys/kernel/debug && \
                      cp -r $0 /mnt/net && exec unshare --net /mnt/net/xtask bench $1 /mnt/net";

/// A pod's namespace, a wire to it, and nobody in it who would speak of his own accord.
const WIRE: &str = "ip netns add pod && \
    ip link add out type veth peer name eth0 address 02:00:00:00:00:01 netns pod && \
    sysctl -qw net.ipv6.conf.out.disable_ipv6=1 && \
    ip netns exec pod sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1 && \
    ip address add 10.77.0.1/24 dev out && ip link set out up && ip -n pod link set eth0 up";
/// As our monitor does it by itself.
const TAP: &str = "ip -n pod tuntap add dev tap0 mode tap vnet_hdr && ip -n pod link set tap0 up && \
    for dev in tap0 eth0; do tc -n pod qdisc add dev $dev ingress || exit 1; done && \
    tc -n pod filter add dev tap0 parent ffff: matchall action mirred egress redirect dev eth0 && \
    tc -n pod filter add dev eth0 parent ffff: matchall action mirred egress redirect dev tap0";
const UNWIRE: &str = "ip link delete out; ip netns delete pod";

const ADDRESS: &str = "10.77.0.1:7000";
/// How often each work is measured in a machine, after all of it once beforehand, so that everything is in memory and TCP has
/// found its pace.
const ROUNDS: usize = 5;
/// Bytes, and times there and back.
const MIB: u32 = 16;
const PINGS: u32 = 500;
const CHUNK: usize = 128 << 10;

/// What the guest is told, how many units of it are measured, and what one unit is.
const WORK: [Work; 3] = [
    Work { order: b't', name: "to the guest", unit: "MiB", amount: MIB, bytes: 1 << 20 },
    Work { order: b'g', name: "from the guest", unit: "MiB", amount: MIB, bytes: 1 << 20 },
    Work { order: b'e', name: "there and back", unit: "round", amount: PINGS, bytes: 1 },
];
/// The share of the peer's that we may need of anything, and would like to.
const MOST: f64 = 1.0;
const AIM: f64 = 0.5;

struct Work {
    order: u8,
    name: &'static str,
    unit: &'static str,
    amount: u32,
    bytes: u32,
}

/// Of one unit of some work; or all, since a machine began.
#[derive(Debug, Clone, Copy)]
struct Taken {
    /// Microseconds of processor time.
    cpu: f64,
    exits: f64,
    /// Of these to the monitor.
    device_exits: f64,
    /// Packets both ways, as large as they are handed on.
    packets: f64,
}

impl Taken {
    /// From then on, for each of so many units.
    fn until(&self, after: &Self, amount: u32) -> Self {
        let of = |what: fn(&Self) -> f64| (what(after) - what(self)) / f64::from(amount);
        Self {
            cpu: of(|taken| taken.cpu),
            exits: of(|taken| taken.exits),
            device_exits: of(|taken| taken.device_exits),
            packets: of(|taken| taken.packets),
        }
    }
}

/// One of the figures, or what is made of them.
type Figure = fn(&Taken) -> f64;

/// Builds what is measured, and measures it in the lab.
pub(super) fn run(workspace: &Workspace, profile: Profile) -> Result<(), TaskError> {
    let programs = Programs::build(workspace, profile, Flavours::All(Kernel::Own))?;
    let folder = workspace.path(FOLDER);
    fs::create_dir_all(&folder).at("make", &folder)?;
    let floor = Floor::build(workspace)?;
    let talk = floor.build_linked(workspace, "talk", "-static")?;
    let own = std::env::current_exe().at("find", "this program")?;
    let kernel = kernel::provide(workspace, Kernel::Own)?.join("vmlinux");
    let monitor = programs.path("kvm-boot");
    for (from, name) in
        [(talk.as_ref(), "init"), (&*own, "xtask"), (&*kernel, "vmlinux"), (&*monitor, "monitor")]
    {
        fs::copy::<&Path, _>(from, folder.join(name)).at("copy", from)?;
    }
    let pack = "echo init | cpio --quiet --create --format=newc --owner=0:0 > initramfs";
    call(Command::new("sh").args(["-ec", pack]).current_dir(&folder))?;
    say::title("in the lab, where an instruction takes a nanosecond");
    let mut machine = lab::machine(workspace);
    machine.args(["--icount", "--timeout", PATIENCE, "--env", "CARGO_MANIFEST_DIR", "--"]);
    call(machine.args(["sh", "-c", SCRIPT]).arg(&folder).arg(super::GUESTS_INSIDE))
}

/// Measures and judges what a folder in the lab holds: `monitor`, `vmlinux` and `initramfs`.
pub(super) fn inside(folder: &Path) -> Result<(), TaskError> {
    let mut verdict = Verdict::default();
    let (mine, theirs) = (wired(folder, Monitor::Ours)?, wired(folder, Monitor::Qemu)?);
    for (at, work) in WORK.iter().enumerate() {
        say::title(&format!("the network of a virtual machine, {}", work.name));
        let of = |all: &[[Taken; 3]], what: Figure| {
            median(all.iter().filter_map(|run| run.get(at)).map(what).collect())
        };
        say::line(&format!(
            "{:<20}{:>6}{:>10}{:>10}{:>10}{:>10}",
            format!("a {}", work.unit),
            "runs",
            "CPU us",
            "exits",
            "monitor",
            "packets"
        ));
        for (name, all) in [("rkt", &mine), ("QEMU microvm", &theirs)] {
            say::line(&format!(
                "{name:<20}{:>6}{:>10.1}{:>10.2}{:>10.2}{:>10.2}",
                all.len(),
                of(all, |taken| taken.cpu),
                of(all, |taken| taken.exits),
                of(all, |taken| taken.device_exits),
                of(all, |taken| taken.packets)
            ));
        }
        let figures: [(&str, Figure); 5] = [
            ("CPU", |taken| taken.cpu),
            ("exits", |taken| taken.exits),
            ("exits a packet", |taken| taken.exits / taken.packets),
            ("exits to the monitor", |taken| taken.device_exits),
            ("exits to the monitor a packet", |taken| taken.device_exits / taken.packets),
        ];
        for (what, figure) in figures {
            let ratio = of(&mine, figure) / of(&theirs, figure);
            verdict.most(&format!("{}: {what} / QEMU", work.name), ratio, MOST, Some(AIM));
        }
    }
    verdict.end()
}

/// One machine with a network that is there for it alone.
fn wired(folder: &Path, monitor: Monitor) -> Result<Vec<[Taken; 3]>, TaskError> {
    let shell = |script: &str| call(Command::new("sh").args(["-c", script]));
    shell(WIRE)?;
    let taken = match monitor {
        Monitor::Ours => Ok(()),
        Monitor::Qemu => shell(TAP),
    };
    let taken = taken.and_then(|()| live(folder, monitor));
    let unwired = shell(UNWIRE);
    taken.and_then(|taken| unwired.map(|()| taken))
}

/// From its start to its end.
fn live(folder: &Path, monitor: Monitor) -> Result<Vec<[Taken; 3]>, TaskError> {
    let listener = TcpListener::bind(ADDRESS).at("listen at", ADDRESS)?;
    let mut command = command(folder, monitor);
    let program = format!("{monitor:?}");
    let child = command.stdin(Stdio::null()).spawn();
    let mut child =
        child.map_err(|source| TaskError::Start { program: program.clone(), source })?;
    let taken = converse(&listener, &child);
    if taken.is_err() {
        drop(child.kill());
    }
    let status = child.wait().at("wait for", &program)?;
    let taken = taken?;
    if status.success() { Ok(taken) } else { Err(TaskError::Program { program, status }) }
}

fn command(folder: &Path, monitor: Monitor) -> Command {
    let path = |name: &str| folder.join(name).display().to_string();
    let (memory, kernel, initial) = (MEMORY.to_string(), path("vmlinux"), path("initramfs"));
    match monitor {
        Monitor::Ours => {
            let mut command = Command::new(folder.join("monitor"));
            command.args([&memory, "1", &kernel, &initial, LINE]);
            command.env("RKT_NETWORK", "/run/netns/pod").env("RKT_INTERFACES", "eth0");
            command
        }
        Monitor::Qemu => {
            let mut command = Command::new("ip");
            command.args(["netns", "exec", "pod"]).args(QEMU).args(["-m", &memory]);
            command.args(["-kernel", &kernel, "-initrd", &initial, "-append", LINE]);
            command.args(["-global", "virtio-mmio.force-legacy=false", "-netdev"]);
            command
                .arg("tap,id=n,ifname=tap0,script=no,downscript=no,vnet_hdr=on,vhost=off,queues=1");
            command.args(["-device", "virtio-net-device,netdev=n,mac=02:00:00:00:00:01"]);
            command
        }
    }
}

/// Gives the guest its orders, round after round; what a unit of each took. It resets its machine when the line ends.
fn converse(listener: &TcpListener, child: &Child) -> Result<Vec<[Taken; 3]>, TaskError> {
    let line = "the guest's line";
    wait(listener, child).at("hear the guest at", ADDRESS)?;
    let (mut guest, _) = listener.accept().at("hear the guest at", ADDRESS)?;
    guest.set_nodelay(true).at("use", line)?;
    let mut rounds = Vec::new();
    for round in 0..=ROUNDS {
        let mut all = [since_start(child)?; 3];
        for (taken, work) in all.iter_mut().zip(&WORK) {
            let before = since_start(child)?;
            order(&mut guest, work).at("use", line)?;
            *taken = before.until(&since_start(child)?, work.amount);
        }
        if round > 0 {
            rounds.push(all);
        }
    }
    Ok(rounds)
}

/// Has some work done, and waits for the guest's word that it is.
fn order(guest: &mut TcpStream, work: &Work) -> io::Result<()> {
    let all = u64::from(work.amount) * u64::from(work.bytes);
    guest.write_all(&[&[work.order][..], &all.to_le_bytes()].concat())?;
    let mut left = usize::try_from(all).unwrap_or_default();
    let mut chunk = vec![0; CHUNK];
    while left > 0 {
        let most = if work.order == b'e' { 1 } else { CHUNK };
        let (now, _) = chunk.split_at_mut(left.min(most));
        let moved = if work.order == b'g' {
            guest.read(now)?
        } else {
            guest.write_all(now)?;
            now.len()
        };
        if moved == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        left -= moved;
        if work.order == b'e' {
            guest.read_exact(now)?;
        }
    }
    guest.read_exact(&mut [0; 1])
}

fn since_start(child: &Child) -> Result<Taken, TaskError> {
    let Counters { exits, device_exits } = counters()?;
    Ok(Taken { cpu: processor_time(child)? * 1e3, exits, device_exits, packets: packets()? })
}

/// Packets that the wire has carried.
fn packets() -> Result<f64, TaskError> {
    let (path, mut text) = ("/proc/thread-self/net/dev", String::new());
    File::open(path).and_then(|mut file| file.read_to_string(&mut text)).at("read", path)?;
    carried(&text)
        .ok_or_else(|| TaskError::Output { program: path.to_owned(), problem: text.clone() })
}

/// Both ways, as the kernel's table of interfaces has it.
fn carried(table: &str) -> Option<f64> {
    let line = table.lines().find_map(|line| line.trim_start().strip_prefix("out:"))?;
    let numbers: Vec<&str> = line.split_whitespace().collect();
    Some(numbers.get(1)?.parse::<f64>().ok()? + numbers.get(9)?.parse::<f64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_of_the_wire_are_counted_both_ways() {
        let table = "Inter-|   Receive  |  Transmit\n face |bytes packets\n  lo: 9 9 0 0 0 0 0 0 9 9 0 0 0 0 0 0\n \
                     out: 100 3 0 0 0 0 0 0 200 4 0 0 0 0 0 0\n";
        assert_eq!(carried(table), Some(7.0));
        assert_eq!(carried("out: 100 3"), None);
        assert_eq!(carried("about: 1 2 3 4 5 6 7 8 9 10"), None);
    }
}
