//! The machine by itself, with a kernel of a distribution: what it starts, and what it refuses to. Ignored by an ordinary
//! run: it needs a KVM that runs such kernels; `cargo xtask test --lab` has one.

use std::io;
use std::path::Path;
use std::process::Command;
use testkit::Rkt;
use testkit::guest::{initial, kernel};

const MACHINE: &str = env!("CARGO_BIN_EXE_kvm-boot");
const LINE: &str = "console=ttyS0 quiet cryptomgr.notests reboot=t panic=-1";
/// What the guest's init does: tells of the machine, and resets it.
const INIT: &str = "#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
echo processors: $(/bin/busybox grep -c ^processor /proc/cpuinfo)
echo line: $(/bin/busybox cat /proc/cmdline)
/bin/busybox reboot -f
";

/// Whether the machine ended well, and what it wrote to its outputs. The lab ends what hangs.
fn boot(
    [memory, processors, line]: [&str; 3],
    kernel: &Path,
    initial: &Path,
) -> io::Result<(bool, String, String)> {
    let mut machine = Command::new(MACHINE);
    let output = machine.args([memory, processors]).args([kernel, initial]).arg(line).output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((output.status.success(), text(&output.stdout), text(&output.stderr)))
}

#[test]
#[ignore = "runs in the lab"]
fn a_kernel_of_a_distribution_boots() {
    let sandbox = Rkt::new();
    let own = sandbox.path("initial");
    std::fs::write(&own, initial(INIT)).unwrap();
    for processors in ["1", "2"] {
        let output = boot(["256", processors, LINE], &kernel(), &own).unwrap();
        assert!(output.0, "{output:?}");
        assert!(output.1.contains(&format!("processors: {processors}\r\n")), "{output:?}");
        assert!(output.1.contains(&format!("line: {LINE}\r\n")), "{output:?}");
    }
}

#[test]
#[ignore = "runs in the lab"]
fn a_panic_ends_the_machine() {
    let sandbox = Rkt::new();
    let own = sandbox.path("initial");
    std::fs::write(&own, initial(INIT)).unwrap();
    let line = format!("{LINE} rdinit=/nothing");
    let output = boot(["256", "1", &line], &kernel(), &own).unwrap();
    assert!(output.0 && output.1.contains("Kernel panic"), "{output:?}");
}

#[test]
#[ignore = "runs in the lab"]
fn what_cannot_start_is_refused_in_one_sentence() {
    let sandbox = Rkt::new();
    let own = sandbox.path("initial");
    std::fs::write(&own, initial(INIT)).unwrap();
    let garbage = sandbox.file("garbage", "no kernel");
    let long = "x".repeat(2048);
    for (memory, kernel, initial, line, text) in [
        ("256", Path::new(&garbage), &*own, LINE, "cannot load the guest kernel"),
        ("8", &kernel(), &own, LINE, "a guest cannot have 8388608 bytes of memory"),
        ("32", &kernel(), &own, LINE, "cannot load the guest kernel"),
        ("256", &kernel(), &own, &long, "command line is longer than 2048 bytes"),
        ("64", &kernel(), &kernel(), LINE, "does not fit into its memory"),
    ] {
        let (well, _, told) = boot([memory, "1", line], kernel, initial).unwrap();
        assert!(!well && told.contains(text) && told.lines().count() == 1, "{told}");
    }
}
