//! The machine by itself, with a kernel of a distribution: what it starts, and what it refuses to. Ignored by an ordinary
//! run: it needs a KVM that runs such kernels; `cargo xtask test --lab` has one.

use std::io;
use std::path::Path;
use std::process::Command;
use testkit::Rkt;
use testkit::guest::{initial, kernel, modules};

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
    files: &[String],
) -> io::Result<(bool, String, String)> {
    let mut machine = Command::new(MACHINE);
    machine.args([memory, processors]).args([kernel, initial]).arg(line).args(files);
    let output = machine.output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((output.status.success(), text(&output.stdout), text(&output.stderr)))
}

#[test]
#[ignore = "runs in the lab"]
fn a_kernel_of_a_distribution_boots() {
    let sandbox = Rkt::new();
    let own = sandbox.path("initial");
    std::fs::write(&own, initial(INIT, &[])).unwrap();
    for processors in ["1", "2"] {
        let output = boot(["256", processors, LINE], &kernel(), &own, &[]).unwrap();
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
    std::fs::write(&own, initial(INIT, &[])).unwrap();
    let line = format!("{LINE} rdinit=/nothing");
    let output = boot(["256", "1", &line], &kernel(), &own, &[]).unwrap();
    assert!(output.0 && output.1.contains("Kernel panic"), "{output:?}");
}

#[test]
#[ignore = "runs in the lab"]
fn what_cannot_start_is_refused_in_one_sentence() {
    let sandbox = Rkt::new();
    let own = sandbox.path("initial");
    std::fs::write(&own, initial(INIT, &[])).unwrap();
    let garbage = sandbox.file("garbage", "no kernel");
    let long = "x".repeat(2048);
    for (memory, kernel, initial, line, text) in [
        ("256", Path::new(&garbage), &*own, LINE, "cannot load the guest kernel"),
        ("8", &kernel(), &own, LINE, "a guest cannot have 8388608 bytes of memory"),
        ("32", &kernel(), &own, LINE, "cannot load the guest kernel"),
        ("256", &kernel(), &own, &long, "command line is longer than 2048 bytes"),
        ("64", &kernel(), &kernel(), LINE, "does not fit into its memory"),
    ] {
        let (well, _, told) = boot([memory, "1", line], kernel, initial, &[]).unwrap();
        assert!(!well && told.contains(text) && told.lines().count() == 1, "{told}");
    }
}

/// Reads every partition, beyond its end too, asks for random bytes, and tries to write.
const READS: &str = "#!/bin/busybox sh
export PATH=/bin
busybox mount -t proc proc /proc
busybox mount -t devtmpfs dev /dev
for module in /*.ko; do busybox insmod $module || echo cannot load $module; done
while ! [ -b /dev/vda2 ]; do busybox sleep 0.01; done
busybox awk '/vda/ { print \"part:\", $4, $3 }' /proc/partitions
for part in /dev/vda1 /dev/vda2; do echo sum: $(busybox sha256sum $part); done
busybox dd if=/dev/vda bs=64k 2>/dev/null | busybox wc -c
busybox dd if=/dev/hwrng bs=64 count=1 2>/dev/null | busybox wc -c
busybox dd if=/dev/zero of=/dev/vda1 bs=512 count=1 2>/dev/null || echo read-only
busybox reboot -f
";

#[test]
#[ignore = "runs in the lab"]
fn a_disk_has_a_partition_of_each_file() {
    let sandbox = Rkt::new();
    let own = sandbox.path("initial");
    std::fs::write(&own, initial(READS, &modules())).unwrap();
    // Whole blocks, so that a partition is as long as its file.
    let contents = ["layer".repeat(4096), "x".repeat(3 << 20)];
    let files = [sandbox.file("one", &contents[0]), sandbox.file("two", &contents[1])];
    let (well, said, told) = boot(["256", "1", LINE], &kernel(), &own, &files).unwrap();
    assert!(well, "{said}{told}");
    for (content, name) in contents.iter().zip(["/dev/vda1", "/dev/vda2"]) {
        let digest = testkit::oci::digest_of(content.as_bytes());
        let sum = digest.trim_start_matches("sha256:");
        assert!(said.contains(&format!("sum: {sum} {name}\r\n")), "{sum} {said}");
    }
    assert!(said.contains("\r\n64\r\n") && said.contains("read-only"), "{said}");
}
