//! What is read of a kernel's ELF file: the note that names its PVH entry, without which a micro-VM cannot start it, and
//! where sections are.

use std::ops::Range;

/// The type of the note "Xen" that holds the entry: a 32-bit physical address (XEN_ELFNOTE_PHYS32_ENTRY of the kernel's
/// xen/interface/elfnote.h).
const PHYS32_ENTRY: u32 = 18;
const PT_NOTE: u32 = 4;

/// The physical address at which a 64-bit ELF kernel is entered without paging; none if the file is no such kernel.
pub(super) fn pvh_entry(file: &[u8]) -> Option<u32> {
    // The magic number, 64 bits, little-endian.
    if !file.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let table = usize::try_from(quad(file, 32)?).ok()?;
    let (size, count) = (half(file, 54)?, half(file, 56)?);
    (0..usize::from(count)).find_map(|index| {
        let at = table.checked_add(index.checked_mul(usize::from(size))?)?;
        if word(file, at)? != PT_NOTE {
            return None;
        }
        let from = usize::try_from(quad(file, at.checked_add(8)?)?).ok()?;
        let length = usize::try_from(quad(file, at.checked_add(32)?)?).ok()?;
        entry_of(file.get(from..from.checked_add(length)?)?)
    })
}

/// Walks notes: length of the name, of the content, type; name and content padded to four bytes.
fn entry_of(mut notes: &[u8]) -> Option<u32> {
    loop {
        let (name, content, kind) = (word(notes, 0)?, word(notes, 4)?, word(notes, 8)?);
        let name = usize::try_from(name).ok()?;
        let start = name.checked_next_multiple_of(4)?.checked_add(12)?;
        let content = usize::try_from(content).ok()?;
        if kind == PHYS32_ENTRY && notes.get(12..12 + name)? == b"Xen\0" {
            // Four bytes or, from newer kernels, eight.
            return word(notes, start).filter(|_| content >= 4);
        }
        let next = content.checked_next_multiple_of(4)?.checked_add(start)?;
        notes = notes.get(next..)?;
    }
}

/// A section whose content is in the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Section<'a> {
    pub(super) name: &'a [u8],
    /// Where it runs.
    pub(super) address: u64,
    pub(super) range: Range<usize>,
    executable: bool,
}

impl Section<'_> {
    /// Where the instruction of an address is in the file.
    pub(super) fn place_of(&self, address: u64) -> Option<usize> {
        let offset = usize::try_from(address.checked_sub(self.address)?).ok()?;
        let place = self.range.start.checked_add(offset)?;
        (self.executable && place < self.range.end).then_some(place)
    }
}

/// The sections of a 64-bit ELF file that have content; none if it is no such file.
pub(super) fn sections(file: &[u8]) -> Option<Vec<Section<'_>>> {
    const EMPTY: u32 = 8;
    const EXECUTABLE: u64 = 4;
    if !file.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let table = usize::try_from(quad(file, 40)?).ok()?;
    let size = usize::from(half(file, 58)?);
    let header = |index: usize| {
        let start = table.checked_add(index.checked_mul(size)?)?;
        file.get(start..start.checked_add(size)?)
    };
    let range = |header: &[u8]| {
        let start = usize::try_from(quad(header, 24)?).ok()?;
        let end = start.checked_add(usize::try_from(quad(header, 32)?).ok()?)?;
        (end <= file.len()).then_some(start..end)
    };
    let names = file.get(range(header(usize::from(half(file, 62)?))?)?)?;
    let mut sections = Vec::new();
    for index in 0..usize::from(half(file, 60)?) {
        let header = header(index)?;
        // The first has nothing; what is zeros has no place.
        if [0, EMPTY].contains(&word(header, 4)?) {
            continue;
        }
        let name = names.get(usize::try_from(word(header, 0)?).ok()?..)?;
        let name = name.split(|byte| *byte == 0).next()?;
        let (address, executable) = (quad(header, 16)?, quad(header, 8)? & EXECUTABLE != 0);
        sections.push(Section { name, address, range: range(header)?, executable });
    }
    Some(sections)
}

fn bytes<const N: usize>(file: &[u8], at: usize) -> Option<[u8; N]> {
    file.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn half(file: &[u8], at: usize) -> Option<u16> {
    bytes(file, at).map(u16::from_le_bytes)
}

/// The 32-bit number at an offset.
pub(super) fn word(file: &[u8], at: usize) -> Option<u32> {
    bytes(file, at).map(u32::from_le_bytes)
}

fn quad(file: &[u8], at: usize) -> Option<u64> {
    bytes(file, at).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(name: &[u8], kind: u32, content: &[u8]) -> Vec<u8> {
        let mut note = Vec::new();
        for number in [name.len(), content.len()] {
            note.extend(u32::try_from(number).unwrap().to_le_bytes());
        }
        note.extend(kind.to_le_bytes());
        for part in [name, content] {
            note.extend(part);
            note.resize(note.len().next_multiple_of(4), 0);
        }
        note
    }

    fn kernel(notes: &[u8]) -> Vec<u8> {
        let mut file = b"\x7fELF\x02\x01".to_vec();
        file.resize(64 + 2 * 56, 0);
        file[32..40].copy_from_slice(&64u64.to_le_bytes());
        file[54..56].copy_from_slice(&56u16.to_le_bytes());
        file[56..58].copy_from_slice(&2u16.to_le_bytes());
        let second = 64 + 56;
        file[second..second + 4].copy_from_slice(&PT_NOTE.to_le_bytes());
        let (from, length) = (file.len() as u64, notes.len() as u64);
        file[second + 8..second + 16].copy_from_slice(&from.to_le_bytes());
        file[second + 32..second + 40].copy_from_slice(&length.to_le_bytes());
        file.extend(notes);
        file
    }

    #[test]
    fn the_entry_is_found_behind_other_notes() {
        let notes = [
            note(b"GNU\0", 3, &[7; 20]),
            note(b"Xen\0", 17, b"generic\0\0"),
            note(b"Xen\0", PHYS32_ENTRY, &[0x10, 2, 0, 1, 0, 0, 0, 0]),
        ];
        assert_eq!(pvh_entry(&kernel(&notes.concat())), Some(0x0100_0210));
    }

    #[test]
    fn files_without_it_or_cut_short_have_none() {
        let other = [note(b"Xen\0", 17, b"x"), note(b"Foo\0", PHYS32_ENTRY, &[1; 4])].concat();
        assert_eq!(pvh_entry(&kernel(&other)), None);
        let whole = kernel(&note(b"Xen\0", PHYS32_ENTRY, &[1; 4]));
        assert_eq!(pvh_entry(&whole), Some(0x0101_0101));
        for length in 0..whole.len() {
            assert_eq!(pvh_entry(&whole[..length]), None, "{length}");
        }
    }

    #[test]
    fn numbers_that_are_too_large_are_refused() {
        let mut file = kernel(&note(b"Xen\0", PHYS32_ENTRY, &[1; 4]));
        for at in [32, 64 + 56 + 8, 64 + 56 + 32] {
            let kept = file.clone();
            file[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
            assert_eq!(pvh_entry(&file), None, "{at}");
            file = kept;
        }
        assert_eq!(pvh_entry(&kernel(&[0xff; 12])), None);
    }
}
