//! Whose memory a process has: its own, what it shares, its guest's.

use crate::error::{At, TaskError};
use std::fs;

/// Of a MiB.
const KIB: f64 = 1024.0;
/// No guest has less, in MiB.
const LEAST: f64 = 32.0;

/// MiB.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Used {
    /// Of the process alone.
    pub(super) private: f64,
    /// Of the guest.
    pub(super) guest: f64,
    /// Of these on large pages.
    pub(super) large: f64,
}

/// One mapping of a process.
#[derive(Debug, Default)]
struct Mapping<'a> {
    /// Device and number of its file; no file has the number 0.
    file: (&'a str, &'a str),
    size: f64,
    rss: f64,
    private: f64,
    large: f64,
}

/// What a process has that runs a guest.
pub(super) fn of(pid: i32) -> Result<Used, TaskError> {
    let path = format!("/proc/{pid}/smaps");
    let text = fs::read_to_string(&path).at("read", &path)?;
    Ok(sum(&parse(&text)))
}

/// The largest mapping is the guest's memory, if it is large at all, and so is what else is mapped of its file.
fn sum(mappings: &[Mapping<'_>]) -> Used {
    let mut used = Used::default();
    let all = mappings.iter().filter(|mapping| mapping.size >= LEAST);
    let largest = all.max_by(|a, b| a.size.total_cmp(&b.size));
    for mapping in mappings {
        let of_guest = largest.is_some_and(|largest| {
            std::ptr::eq(largest, mapping)
                || (largest.file == mapping.file && mapping.file.1 != "0")
        });
        if of_guest {
            used.guest += mapping.rss;
            used.large += mapping.large;
        } else {
            used.private += mapping.private;
        }
    }
    used
}

/// Mappings, each a line of addresses, rights, offset, device and number, and then lines of "Name: N kB".
fn parse(smaps: &str) -> Vec<Mapping<'_>> {
    let mut all: Vec<Mapping<'_>> = Vec::new();
    for line in smaps.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match (words.as_slice(), all.last_mut()) {
            ([name, size, "kB"], Some(mapping)) => {
                let size = size.parse::<f64>().unwrap_or(0.0) / KIB;
                match *name {
                    "Size:" => mapping.size = size,
                    "Rss:" => mapping.rss = size,
                    "AnonHugePages:" | "ShmemPmdMapped:" | "FilePmdMapped:" => {
                        mapping.large += size;
                    }
                    "Private_Clean:" | "Private_Dirty:" | "Private_Hugetlb:" => {
                        mapping.private += size;
                    }
                    _ => {}
                }
            }
            ([addresses, _, _, device, number, ..], _) if addresses.contains('-') => {
                all.push(Mapping { file: (device, number), ..Mapping::default() });
            }
            _ => {}
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Size, resident, private and large KiB of a mapping of some file.
    fn mapping(file: &str, [size, rss, private, large]: [u32; 4]) -> String {
        format!(
            "7f00-7f10 rw-p 00000000 00:2a {file}   /some where\nSize: {size} kB\nRss: {rss} kB\nShared_Clean: 1 kB\n\
             Private_Clean: {private} kB\nPrivate_Dirty: {private} kB\nAnonHugePages: {large} kB\n\
             VmFlags: rd wr sh mr\n"
        )
    }

    #[test]
    fn the_guests_memory_is_told_from_the_processs() {
        let text = [
            mapping("7", [8, 4, 512, 0]),
            mapping("9", [65_536, 1024, 450, 512]),
            mapping("9", [64, 512, 450, 0]),
            mapping("0", [8, 4, 256, 0]),
        ];
        let used = Used { private: 1.5, guest: 1.5, large: 0.5 };
        assert_eq!(sum(&parse(&text.concat())), used);
    }

    #[test]
    fn memory_without_a_file_is_one_mapping() {
        let text = [mapping("0", [8, 4, 512, 0]), mapping("0", [65_536, 1536, 450, 512])].concat();
        let used = Used { private: 1.0, guest: 1.5, large: 0.5 };
        assert_eq!(sum(&parse(&text)), used);
    }
}
