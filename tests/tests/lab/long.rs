//! What shows only after many machines.

use std::fs;
use testkit::{KVM, Rkt};

/// Descriptors, processes and mounts of the whole machine, for what no pod names.
fn counts() -> [usize; 2] {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let processes = processes.filter(|entry| {
        // The kernel's own threads come and go.
        fs::read(entry.path().join("cmdline")).is_ok_and(|line| !line.is_empty())
    });
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap().lines().count();
    [processes.count(), mounts]
}

#[test]
#[ignore = "runs in the lab"]
fn a_hundred_machines_in_a_row_leave_nothing() {
    let rkt = Rkt::new();
    let image = rkt.shell();
    let volume = format!("--volume=v,kind=host,source={}", rkt.folder("v"));
    let words = [&volume, &image, "--mount=volume=v,target=/v", "--", "echo x >>/v/all"];
    rkt.pod(&KVM, &words).ok();
    let before = counts();
    for _ in 1..100 {
        rkt.pod(&KVM, &words).ok();
    }
    assert_eq!(fs::read_to_string(rkt.path("v/all")).unwrap().lines().count(), 100);
    assert_eq!(counts(), before);
    rkt.collect();
    rkt.is_clean();
}
