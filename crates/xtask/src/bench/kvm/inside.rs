//! The part of `bench kvm` that runs in the lab: machines in turn, each watched until its guest calls.

use super::machine::{Machine, Monitor, Taken};
use super::{files, pods};
use crate::bench::stopwatch::median;
use crate::bench::verdict::Verdict;
use crate::error::{At, TaskError};
use crate::say;
use std::fs;
use std::path::Path;

const ROUNDS: usize = 3;
/// A peer that polls for a clock that is not there leaves so often, and is no peer.
const POLLING: f64 = 10_000.0;

/// What the guest's kernel decides: the share of the peer's processor time that we may have, and would like to have.
struct Limits {
    kernel: &'static str,
    most: f64,
    aim: Option<f64>,
    /// Exits from the guest in all, and those that reached a device.
    exits: Option<(f64, f64)>,
}

const LIMITS: [Limits; 2] = [
    Limits { kernel: "stock", most: 0.89, aim: None, exits: None },
    Limits { kernel: "own", most: 0.44, aim: Some(0.22), exits: Some((2000.0, 300.0)) },
];
/// What our process may have of its own beside the guest's memory, in MiB.
const PRIVATE: f64 = 5.0;

/// Measures and judges what `folder` holds: `monitor`, `disk`, and of each kernel a folder with `vmlinux` and `initramfs`.
pub(super) fn run(folder: &Path) -> Result<(), TaskError> {
    let mut verdict = Verdict::default();
    for limits in LIMITS {
        let place = folder.join(limits.kernel);
        if !place.join("vmlinux").exists() {
            continue;
        }
        say::title(&format!("from exec to the guest's call, kernel: {}", limits.kernel));
        let machine = |monitor| Machine { monitor, folder, guest: &place };
        let (ours, peer) = (machine(Monitor::Ours), machine(Monitor::Qemu));
        let (mut mine, mut theirs) = (Vec::new(), Vec::new());
        // Once beforehand, so that everything is in memory.
        for round in 0..=ROUNDS {
            let (taken, other) = (ours.boot()?, peer.boot()?);
            if round > 0 {
                mine.push(taken);
                theirs.push(other);
            }
        }
        show(&[("rkt", &mine), ("QEMU microvm", &theirs)]);
        if let Some(bad) = theirs.iter().find(|taken| taken.exits > POLLING) {
            let found = vec![format!("QEMU left its guest {} times: it has no clock", bad.exits)];
            return Err(TaskError::Broken { rule: "the peer was hindered", found });
        }
        judge(&limits, &mine, &theirs, &mut verdict);
    }
    pods::run(folder, &mut verdict)?;
    files::run(folder, &mut verdict)?;
    verdict.end()
}

fn judge(limits: &Limits, mine: &[Taken], theirs: &[Taken], verdict: &mut Verdict) {
    let name = limits.kernel;
    let ratio = median(mine.iter().zip(theirs).map(|(a, b)| a.cpu / b.cpu).collect());
    verdict.most(&format!("{name}: CPU / QEMU microvm"), ratio, limits.most, limits.aim);
    let largest = |what: fn(&Taken) -> f64| mine.iter().map(what).fold(0.0, f64::max);
    if let Some((all, devices)) = limits.exits {
        verdict.most(&format!("{name}: exits"), largest(|taken| taken.exits), all, None);
        verdict.most(
            &format!("{name}: exits to a device"),
            largest(|taken| taken.device_exits),
            devices,
            None,
        );
    }
    let private = largest(|taken| taken.private);
    verdict.most(&format!("{name}: private MiB beside the guest's"), private, PRIVATE, None);
}

fn show(rows: &[(&str, &[Taken])]) {
    say::line(&format!(
        "{:<20}{:>6}{:>10}{:>8}{:>10}{:>12}{:>11}{:>8}",
        "median of", "runs", "CPU ms", "exits", "devices", "private MiB", "guest MiB", "large"
    ));
    for (name, runs) in rows {
        let of = |what: fn(&Taken) -> f64| median(runs.iter().map(what).collect());
        say::line(&format!(
            "{:<20}{:>6}{:>10.1}{:>8}{:>10}{:>12.1}{:>11.1}{:>8.1}",
            name,
            runs.len(),
            of(|taken| taken.cpu),
            of(|taken| taken.exits),
            of(|taken| taken.device_exits),
            of(|taken| taken.private),
            of(|taken| taken.guest),
            of(|taken| taken.large)
        ));
    }
}

/// The kernel's counters of virtual machines.
pub(in crate::bench) fn counters() -> Result<Counters, TaskError> {
    let folder = Path::new("/sys/kernel/debug/kvm");
    let count = |name: &str| {
        let path = folder.join(name);
        let text = fs::read_to_string(&path).at("read", &path)?;
        text.trim().parse::<f64>().map_err(|_| TaskError::Output {
            program: path.display().to_string(),
            problem: text.clone(),
        })
    };
    Ok(Counters { exits: count("exits")?, device_exits: count("io_exits")? + count("mmio_exits")? })
}

/// Of all machines that live.
pub(in crate::bench) struct Counters {
    pub(in crate::bench) exits: f64,
    pub(in crate::bench) device_exits: f64,
}
