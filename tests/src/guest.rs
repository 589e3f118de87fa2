//! What a virtual machine of a test starts with.

use std::fs;
use std::path::PathBuf;

/// The kernel that guests of tests run, an ELF file: `cargo xtask test --lab` names it.
pub fn kernel() -> PathBuf {
    PathBuf::from(std::env::var_os("RKT_GUEST_KERNEL").expect("RKT_GUEST_KERNEL is not set"))
}

/// The drivers that this kernel has as modules, in the order in which they are loaded.
const MODULES: [&str; 5] = [
    "virtio/virtio_ring.ko",
    "virtio/virtio.ko",
    "virtio/virtio_mmio.ko",
    "block/virtio_blk.ko",
    "char/hw_random/virtio-rng.ko",
];

/// The drivers, named by a number each.
pub fn modules() -> Vec<(String, Vec<u8>)> {
    let named = std::env::var_os("RKT_GUEST_MODULES").expect("RKT_GUEST_MODULES is not set");
    let folder = PathBuf::from(named).join("kernel/drivers");
    let read = |(index, name): (usize, &&str)| {
        (format!("{index}.ko"), fs::read(folder.join(name)).unwrap())
    };
    MODULES.iter().enumerate().map(read).collect()
}

/// An initial file system with busybox, these files, and this script as its init: a cpio archive of the kind that the
/// kernel reads.
pub fn initial(init: &str, files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let busybox = fs::read("/bin/busybox").unwrap();
    let mut all = Vec::new();
    let own = files.iter().map(|(name, content)| (&**name, 0o100_644, &**content));
    for (name, mode, content) in [
        ("bin", 0o40_755, &[][..]),
        ("proc", 0o40_755, &[]),
        ("dev", 0o40_755, &[]),
        ("bin/busybox", 0o100_755, &busybox),
        ("init", 0o100_755, init.as_bytes()),
    ]
    .into_iter()
    .chain(own)
    .chain([("TRAILER!!!", 0, &[][..])])
    {
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
