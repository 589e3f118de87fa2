//! What a virtual machine of a test starts with.

use std::fs;
use std::path::PathBuf;

/// The kernel that guests of tests run, an ELF file: `cargo xtask test --lab` names it.
pub fn kernel() -> PathBuf {
    PathBuf::from(std::env::var_os("RKT_GUEST_KERNEL").expect("RKT_GUEST_KERNEL is not set"))
}

/// An initial file system with busybox and this script as its init: a cpio archive of the kind that the kernel reads.
pub fn initial(init: &str) -> Vec<u8> {
    let busybox = fs::read("/bin/busybox").unwrap();
    let mut all = Vec::new();
    for (name, mode, content) in [
        ("bin", 0o40_755, &[][..]),
        ("proc", 0o40_755, &[]),
        ("dev", 0o40_755, &[]),
        ("bin/busybox", 0o100_755, &busybox),
        ("init", 0o100_755, init.as_bytes()),
        ("TRAILER!!!", 0, &[]),
    ] {
        let (size, name_size) = (content.len(), name.len() + 1);
        all.extend(b"070701");
        for field in [0, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0] {
            all.extend(format!("{field:08x}").bytes());
        }
        all.extend(name.bytes().chain([0]));
        all.resize(all.len().next_multiple_of(4), 0);
        all.extend(content);
        all.resize(all.len().next_multiple_of(4), 0);
    }
    all
}
