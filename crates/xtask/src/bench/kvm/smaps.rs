//! Whose memory a process has: its own, what it shares, its guest's.

use crate::error::{At, TaskError};
use std::fs;

/// Of a MiB.
const KIB: f64 = 1024.0;

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

/// What a process has, whose guest has so many MiB of memory.
pub(super) fn of(pid: i32, memory: f64) -> Result<Used, TaskError> {
    let path = format!("/proc/{pid}/smaps");
    let text = fs::read_to_string(&path).at("read", &path)?;
    Ok(parse(&text, memory))
}

/// Mappings, each a line of addresses and then lines of "Name: N kB". The guest's is the one that is large enough.
fn parse(smaps: &str, memory: f64) -> Used {
    let mut used = Used::default();
    let mut guest = false;
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap_or_default();
        let Some(name) = name.strip_suffix(':') else { continue };
        let size = words.next().and_then(|number| number.parse::<f64>().ok()).unwrap_or(0.0) / KIB;
        match (name, guest) {
            ("Size", _) => guest = size >= memory,
            ("Rss", true) => used.guest += size,
            ("AnonHugePages" | "ShmemPmdMapped" | "FilePmdMapped", true) => used.large += size,
            ("Private_Clean" | "Private_Dirty" | "Private_Hugetlb", false) => used.private += size,
            _ => {}
        }
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guests_memory_is_told_from_the_processs() {
        let mapping = |size: u64, rss: u64, private: u64, large: u64| {
            format!(
                "7f00-7f10 rw-p 00000000 00:00 0 [heap]\nSize: {size} kB\nRss: {rss} kB\n\
                 Shared_Clean: 1 kB\nPrivate_Clean: {private} kB\nPrivate_Dirty: {private} kB\n\
                 AnonHugePages: {large} kB\nShmemPmdMapped: {large} kB\nVmFlags: rd wr\n"
            )
        };
        let text =
            [mapping(8, 4, 512, 0), mapping(2048, 1536, 450, 512), mapping(8, 4, 256, 0)].concat();
        let used = Used { private: 1.5, guest: 1.5, large: 1.0 };
        assert_eq!(parse(&text, 2.0), used);
    }
}
