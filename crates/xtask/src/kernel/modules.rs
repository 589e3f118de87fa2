//! Kernel modules: which files are needed, in which order, and without what.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What a signed file ends with (the kernel's include/linux/module_signature.h): this line; before it 12 bytes, the last
/// four of which are the big-endian length of the signature before them.
const SIGNED: &[u8] = b"~Module signature appended~\n";
const DESCRIPTION: usize = 12;

/// The name of the module in a file: what it is called is spelled with either line, the kernel uses the lower one.
pub(super) fn name(path: &str) -> String {
    let file = Path::new(path).file_name().unwrap_or_default().to_string_lossy();
    file.split('.').next().unwrap_or_default().replace('-', "_")
}

/// The files of modules in an order in which they can be loaded, as named by the index that `depmod` writes: lines of a
/// file, a colon, and the files it needs. Those in `builtin`, a list of files, are there already. The first name that is
/// nowhere is the error.
pub(super) fn order<'a>(
    dependencies: &'a str,
    builtin: &str,
    wanted: &[&'a str],
) -> Result<Vec<&'a str>, &'a str> {
    let lines = dependencies.lines().filter_map(|line| line.split_once(':'));
    let needs: BTreeMap<&str, &str> = lines.collect();
    let files: BTreeMap<String, &str> = needs.keys().map(|path| (name(path), *path)).collect();
    let builtin: BTreeSet<String> = builtin.lines().map(name).collect();
    let mut order = Order { needs, seen: BTreeSet::new(), files: Vec::new() };
    for module in wanted {
        match files.get(&name(module)) {
            Some(path) => order.visit(path),
            None if builtin.contains(&name(module)) => {}
            None => return Err(module),
        }
    }
    Ok(order.files)
}

struct Order<'a> {
    needs: BTreeMap<&'a str, &'a str>,
    seen: BTreeSet<&'a str>,
    files: Vec<&'a str>,
}

impl<'a> Order<'a> {
    fn visit(&mut self, path: &'a str) {
        if !self.seen.insert(path) {
            return;
        }
        // What others in the list need stands behind them.
        for needed in self.needs.get(path).copied().unwrap_or_default().split_whitespace().rev() {
            self.visit(needed);
        }
        self.files.push(path);
    }
}

/// A module without its signature, whose check takes most of the time that loading does; nothing if it is no ELF file or
/// claims a signature that is longer than itself.
pub(super) fn unsigned(file: &[u8]) -> Option<&[u8]> {
    let plain = match file.strip_suffix(SIGNED) {
        None => file,
        Some(rest) => {
            let (rest, description) =
                rest.split_at_checked(rest.len().checked_sub(DESCRIPTION)?)?;
            let length = description.last_chunk().map(|length| u32::from_be_bytes(*length))?;
            rest.get(..rest.len().checked_sub(usize::try_from(length).ok()?)?)?
        }
    };
    plain.starts_with(b"\x7fELF").then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPENDENCIES: &str = "kernel/fs/erofs/erofs.ko: kernel/lib/libcrc32c.ko\nkernel/lib/libcrc32c.ko:\n\
        kernel/drivers/virtio/virtio_mmio.ko.xz: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko\n\
        kernel/drivers/virtio/virtio_ring.ko: kernel/drivers/virtio/virtio.ko\nkernel/drivers/virtio/virtio.ko:\n\
        kernel/arch/x86/crypto/crc32c-intel.ko:\n";

    #[test]
    fn what_is_needed_comes_first_and_once() {
        let wanted = ["virtio_mmio", "virtio_ring", "crc32c_intel", "fuse", "erofs"];
        let order = order(DEPENDENCIES, "kernel/fs/fuse/fuse.ko\n", &wanted).unwrap();
        let names: Vec<String> = order.iter().map(|path| name(path)).collect();
        let expected =
            ["virtio", "virtio_ring", "virtio_mmio", "crc32c_intel", "libcrc32c", "erofs"];
        assert_eq!(names, expected);
        assert_eq!(order[2], "kernel/drivers/virtio/virtio_mmio.ko.xz");
    }

    #[test]
    fn a_module_that_is_nowhere_is_named() {
        assert_eq!(order(DEPENDENCIES, "", &["erofs", "fuse"]), Err("fuse"));
    }

    #[test]
    fn modules_that_need_each_other_end() {
        let circle = "a.ko: b.ko\nb.ko: a.ko\n";
        assert_eq!(order(circle, "", &["a"]), Ok(vec!["b.ko", "a.ko"]));
    }

    fn signed(module: &[u8], signature: &[u8], length: u32) -> Vec<u8> {
        [module, signature, &[0; 8], &length.to_be_bytes(), SIGNED].concat()
    }

    #[test]
    fn signatures_are_cut_off() {
        let module = b"\x7fELF and so on";
        assert_eq!(unsigned(module), Some(&module[..]));
        assert_eq!(unsigned(&signed(module, b"signature", 9)), Some(&module[..]));
        assert_eq!(unsigned(&signed(module, b"", 0)), Some(&module[..]));
    }

    #[test]
    fn signatures_that_lie_are_refused() {
        let module = b"\x7fELF";
        for length in [1, 4, 5, u32::MAX] {
            assert_eq!(unsigned(&signed(module, b"", length)), None, "{length}");
        }
        assert_eq!(unsigned(SIGNED), None);
        assert_eq!(unsigned(&[&[0; 11], SIGNED].concat()), None);
        assert_eq!(unsigned(b"text"), None);
        assert_eq!(unsigned(b""), None);
    }
}
