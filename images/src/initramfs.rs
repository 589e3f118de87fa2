//! The first file system of a guest, as the kernel unpacks it: a cpio archive of the form "newc" (the kernel's
//! Documentation/driver-api/early-userspace/buffer-format.rst), not compressed, since that would be unpacked at each start.
//!
//! ```text
//! /init                 the program
//! /modules/NAME.ko      those that the kernel lacks, if it lacks any
//! /modules/ORDER        their names in the order in which they can be loaded, one a line
//! ```

use crate::pack::{PackError, read};
use std::path::Path;

const MAGIC: &[u8] = b"070701";
const FILE: usize = 0o100_000;
const FOLDER: usize = 0o040_000;
const END: &str = "TRAILER!!!";
const MODULES: &str = "modules";
const ORDER: &str = "ORDER";

/// The archive of a program and of the modules that lie beside a kernel.
pub(crate) fn build(init: &[u8], kernel: &Path) -> Result<Vec<u8>, PackError> {
    let mut archive = Archive::default();
    archive.member("init", FILE | 0o755, init);
    let folder = kernel.join(MODULES);
    if folder.is_dir() {
        let path = folder.join(ORDER);
        let order = read(&path)?;
        let mut names = modules(&order).ok_or(PackError::Order(path))?;
        names.sort_unstable();
        archive.member(MODULES, FOLDER | 0o755, b"");
        archive.member(&format!("{MODULES}/{ORDER}"), FILE | 0o644, &order);
        for name in names {
            archive.member(&format!("{MODULES}/{name}"), FILE | 0o644, &read(&folder.join(name))?);
        }
    }
    Ok(archive.end())
}

/// The names in a list of modules, if they are such.
fn modules(order: &[u8]) -> Option<Vec<&str>> {
    let names = std::str::from_utf8(order).ok()?.lines();
    names
        .map(|name| {
            Some(name)
                .filter(|name| name.strip_suffix(".ko").is_some_and(|stem| !stem.contains('/')))
        })
        .collect()
}

/// An archive that grows. All of it belongs to root and changed at the epoch.
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    members: usize,
}

impl Archive {
    fn member(&mut self, name: &str, mode: usize, content: &[u8]) {
        self.members += 1;
        self.header(name, self.members, mode, content.len());
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn end(mut self) -> Vec<u8> {
        self.header(END, 0, 0, 0);
        self.bytes
    }

    /// Numbers of eight digits, and the name with a zero behind it.
    fn header(&mut self, name: &str, number: usize, mode: usize, size: usize) {
        let links = if mode & FOLDER == 0 { 1 } else { 2 };
        let (owner, group, time, device, check) = (0, 0, 0, [0; 4], 0);
        let [major, minor, for_major, for_minor] = device;
        let fields = [number, mode, owner, group, links, time, size];
        let rest = [major, minor, for_major, for_minor, name.len() + 1, check];
        self.bytes.extend_from_slice(MAGIC);
        for field in fields.into_iter().chain(rest) {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
    }

    /// Headers and contents begin at multiples of four.
    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_laid_out_as_the_kernel_reads_them() {
        let mut archive = Archive::default();
        archive.member("dir", FOLDER | 0o755, b"");
        archive.member("init", FILE | 0o755, b"abcde");
        let text = String::from_utf8(archive.end()).unwrap();
        let number = |value: &str| format!("{value:0>8}");
        let header = |values: [&str; 13]| format!("070701{}", values.map(number).concat());
        let expected = [
            header(["1", "41ed", "0", "0", "2", "0", "0", "0", "0", "0", "0", "4", "0"]),
            "dir\0\0\0".to_owned(),
            header(["2", "81ed", "0", "0", "1", "0", "5", "0", "0", "0", "0", "5", "0"]),
            "init\0\0abcde\0\0\0".to_owned(),
            header(["0", "0", "0", "0", "1", "0", "0", "0", "0", "0", "0", "b", "0"]),
            "TRAILER!!!\0\0\0\0".to_owned(),
        ];
        assert_eq!(text, expected.concat());
        assert_eq!(text.len() % 4, 0);
    }

    #[test]
    fn an_order_names_modules_alone() {
        assert_eq!(modules(b"b.ko\na.ko\n"), Some(vec!["b.ko", "a.ko"]));
        assert_eq!(modules(b""), Some(vec![]));
        for bad in [&b"../a.ko\n"[..], b"ORDER\n", b"a.ko\n\n", b"\xff.ko\n"] {
            assert_eq!(modules(bad), None, "{bad:?}");
        }
    }
}
