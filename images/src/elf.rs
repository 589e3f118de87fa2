//! ELF files: whether a program asks for a loader, and what of a kernel is loaded.

/// Kinds of segments: loaded, the path of a loader, notes.
const LOAD: u32 = 1;
const INTERPRETER: u32 = 3;
const NOTE: u32 = 4;

const HEADER: usize = 64;
/// The size of one segment's description.
const DESCRIPTION: usize = 56;
/// Where the header has the first description, the size of each, their number, and the number of sections.
const TABLE: usize = 32;
const SIZE: usize = 54;
const COUNT: usize = 56;
/// What the header has of sections: where they are described; and size, number and the one with their names.
const SECTIONS: usize = 40;
const SECTION_NUMBERS: std::ops::Range<usize> = 58..64;
const PAGE: usize = 4096;
/// The flag of a segment that has instructions.
const EXECUTABLE: u32 = 1;
/// The instruction that fills gaps between others.
const TRAP: u8 = 0xcc;
/// So many pages of nothing but filler are left out: what is around them is worth a segment of its own.
const GAP: usize = 16;

/// A kernel that no loader would take.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("it is no 64-bit ELF file, or cut off")]
pub struct BadKernel;

/// One segment, as the file describes it.
struct Segment {
    description: [u8; DESCRIPTION],
    kind: u32,
    offset: usize,
    physical: usize,
    size: usize,
    executable: bool,
}

impl Segment {
    fn new(description: [u8; DESCRIPTION]) -> Option<Self> {
        let number = |at| quad(&description, at);
        let (offset, physical, size) = (number(8)?, number(24)?, number(32)?);
        let word = |at| bytes(&description, at).map(u32::from_le_bytes);
        let (kind, executable) = (word(0)?, word(4)? & EXECUTABLE != 0);
        Some(Self { description, kind, offset, physical, size, executable })
    }

    fn content<'a>(&self, file: &'a [u8]) -> Option<&'a [u8]> {
        file.get(self.offset..self.offset.checked_add(self.size)?)
    }

    /// The description of the same segment with its content elsewhere in the file.
    fn moved(&self, offset: usize) -> [u8; DESCRIPTION] {
        let mut moved = self.description;
        put(&mut moved, 8, &(offset as u64).to_le_bytes());
        if self.kind == LOAD {
            put(&mut moved, 48, &(PAGE as u64).to_le_bytes());
        }
        moved
    }

    /// A part of this loaded segment, which is at `from` of it; the last part has what memory has beyond the content.
    fn part(&self, from: usize, size: usize, last: bool) -> Option<Self> {
        let mut description = self.description;
        for at in [8, 16, 24] {
            let moved = quad(&description, at)?.wrapping_add(from);
            put(&mut description, at, &moved.to_le_bytes());
        }
        let memory = quad(&description, 40)?.checked_sub(from)?;
        put(&mut description, 32, &size.to_le_bytes());
        put(&mut description, 40, &if last { memory } else { size }.to_le_bytes());
        Self::new(description)
    }

    /// What of this loaded segment is worth loading: its content without zeros, since memory is zero before it is filled,
    /// and without the traps between parts of the text that are aligned to large pages.
    fn parts(&self, content: &[u8]) -> Option<Vec<Self>> {
        let mut parts: Vec<(usize, usize)> = Vec::new();
        // Pages of memory, not of the content.
        let mut start = 0;
        while start < content.len() {
            let next = (start + PAGE - (self.physical + start) % PAGE).min(content.len());
            let page = content.get(start..next)?;
            if !self.fills(page) {
                match parts.last_mut() {
                    Some((_, end)) if start - *end < GAP * PAGE => *end = next,
                    _ => parts.push((start, next)),
                }
            }
            start = next;
        }
        if let Some((from, end)) = parts.last_mut() {
            let last = content.get(*from..*end)?;
            *end = *from + last.iter().rposition(|byte| *byte != 0)? + 1;
        } else {
            // One byte stays at least: what is empty is no segment for some loaders, which then do not see where it ends.
            parts.push((0, content.len().min(1)));
        }
        let count = parts.len();
        let part = |(index, (from, end)): (usize, &(usize, usize))| {
            self.part(*from, end - from, index + 1 == count)
        };
        parts.iter().enumerate().map(part).collect()
    }

    /// Whether there is nothing but zeros on a page, or, where instructions are, nothing but traps.
    fn fills(&self, page: &[u8]) -> bool {
        let all = |filler: u8| page.iter().all(|byte| *byte == filler);
        all(0) || self.executable && all(TRAP)
    }
}

/// The segments of a 64-bit ELF file; none if it is no such file.
fn segments(file: &[u8]) -> Option<Vec<Segment>> {
    // The magic number, 64 bits, little-endian.
    if !file.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let (table, size) = (quad(file, TABLE)?, usize::from(half(file, SIZE)?));
    let one =
        |index: usize| Segment::new(bytes(file, table.checked_add(index.checked_mul(size)?)?)?);
    (0..usize::from(half(file, COUNT)?)).map(one).collect()
}

/// Whether a program names an interpreter; what is no 64-bit ELF program has none.
pub(crate) fn asks_for_loader(program: &[u8]) -> bool {
    segments(program).unwrap_or_default().iter().any(|segment| segment.kind == INTERPRETER)
}

/// A kernel with its loaded segments and its notes alone, each from the start of a page: no symbols, no relocations, no
/// gaps, and nothing that only fills.
pub(crate) fn loaded(kernel: &[u8]) -> Result<Vec<u8>, BadKernel> {
    rewritten(kernel).ok_or(BadKernel)
}

fn rewritten(kernel: &[u8]) -> Option<Vec<u8>> {
    let mut kept = Vec::new();
    for segment in segments(kernel)? {
        match segment.kind {
            LOAD => kept.extend(segment.parts(segment.content(kernel)?)?),
            NOTE => kept.push(segment),
            _ => {}
        }
    }
    let mut file = kernel.get(..HEADER)?.to_vec();
    put(&mut file, TABLE, &(HEADER as u64).to_le_bytes());
    put(&mut file, SECTIONS, &[0; 8]);
    put(&mut file, SIZE, &u16::try_from(DESCRIPTION).ok()?.to_le_bytes());
    put(&mut file, COUNT, &u16::try_from(kept.len()).ok()?.to_le_bytes());
    file.get_mut(SECTION_NUMBERS)?.fill(0);
    file.resize(HEADER.checked_add(kept.len().checked_mul(DESCRIPTION)?)?, 0);
    for (index, segment) in kept.iter().enumerate() {
        if segment.kind == LOAD {
            // As far into a page of the file as into one of memory.
            file.resize(file.len().checked_next_multiple_of(PAGE)? + segment.physical % PAGE, 0);
        } else {
            file.resize(file.len().checked_next_multiple_of(8)?, 0);
        }
        let description = segment.moved(file.len());
        put(&mut file, HEADER + index * DESCRIPTION, &description);
        file.extend_from_slice(segment.content(kernel)?);
    }
    Some(file)
}

/// Overwrites bytes; the caller has made room for them.
fn put(file: &mut [u8], at: usize, bytes: &[u8]) {
    for (slot, byte) in file.iter_mut().skip(at).zip(bytes) {
        *slot = *byte;
    }
}

fn bytes<const N: usize>(file: &[u8], at: usize) -> Option<[u8; N]> {
    file.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn half(file: &[u8], at: usize) -> Option<u16> {
    bytes(file, at).map(u16::from_le_bytes)
}

fn quad(file: &[u8], at: usize) -> Option<usize> {
    bytes(file, at).map(u64::from_le_bytes).and_then(|number| usize::try_from(number).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF file of segments: kind, physical address, content, size in memory.
    fn elf(segments: &[(u32, u64, &[u8], u64)]) -> Vec<u8> {
        let mut file = b"\x7fELF\x02\x01".to_vec();
        file.resize(HEADER + segments.len() * DESCRIPTION, 0xaa);
        put(&mut file, TABLE, &64_u64.to_le_bytes());
        put(&mut file, SIZE, &56_u16.to_le_bytes());
        put(&mut file, COUNT, &u16::try_from(segments.len()).unwrap().to_le_bytes());
        for (index, (kind, physical, content, memory)) in segments.iter().enumerate() {
            let at = HEADER + index * DESCRIPTION;
            // What lies between segments is of no use.
            file.resize(file.len() + 12_345, 0xbb);
            let (offset, size) = (file.len() as u64, content.len() as u64);
            put(&mut file, at, &kind.to_le_bytes());
            for (field, number) in [(8, offset), (24, *physical), (32, size), (40, *memory)] {
                put(&mut file, at + field, &number.to_le_bytes());
            }
            file.extend_from_slice(content);
        }
        file.extend_from_slice(b"sections, symbols");
        file
    }

    fn filled(file: &[u8]) -> Vec<(u32, usize, usize, &[u8])> {
        let all = segments(file).unwrap();
        let one = |segment: Segment| {
            let memory = quad(&segment.description, 40).unwrap();
            (segment.kind, segment.physical, memory, segment.content(file).unwrap())
        };
        all.into_iter().map(one).collect()
    }

    #[test]
    fn what_is_loaded_stays_and_nothing_else() {
        let text = [b"text".as_slice(), &[0; 9000], b"end", &[0; 5000]].concat();
        let file = elf(&[
            (LOAD, 0x100_0000, &text, 20_000),
            (7, 0, b"unknown", 7),
            (LOAD, 0x200_0010, &[0; 100], 200),
            (NOTE, 0x100_0000, b"note", 4),
        ]);
        let kernel = loaded(&file).unwrap();
        let expected: [(u32, usize, usize, &[u8]); 3] = [
            (LOAD, 0x100_0000, 20_000, &text[..text.len() - 5000]),
            (LOAD, 0x200_0010, 200, b"\0"),
            (NOTE, 0x100_0000, 4, b"note"),
        ];
        assert_eq!(filled(&kernel), expected);
        for segment in segments(&kernel).unwrap().iter().filter(|segment| segment.kind == LOAD) {
            assert_eq!(segment.offset % PAGE, segment.physical % PAGE);
        }
        assert!(!kernel.windows(8).any(|window| window == b"sections" || window == [0xbb; 8]));
        assert_eq!(
            (&kernel[SECTIONS..SECTIONS + 8], &kernel[SECTION_NUMBERS]),
            (&[0; 8][..], &[0; 6][..])
        );
        assert_eq!(loaded(&kernel).unwrap(), kernel);
    }

    #[test]
    fn what_only_fills_is_left_out() {
        let gap = |filler: u8, pages| vec![filler; pages * PAGE];
        let parts = |filler, pages, flags: u32| {
            let text = [gap(1, 1), gap(filler, pages), gap(2, 1)].concat();
            let mut file = elf(&[(LOAD, 0x100_0000, &text, 1 << 20)]);
            put(&mut file, HEADER + 4, &flags.to_le_bytes());
            let kernel = loaded(&file).unwrap();
            let found = filled(&kernel);
            assert_eq!(found.first().unwrap().3.first(), Some(&1));
            assert_eq!(found.last().unwrap().3.last(), Some(&2));
            let ends: Vec<_> = found.iter().map(|(_, at, memory, _)| (*at, *memory)).collect();
            ends
        };
        let whole = vec![(0x100_0000, 1 << 20)];
        let split = vec![(0x100_0000, PAGE), (0x100_0000 + 17 * PAGE, (1 << 20) - 17 * PAGE)];
        assert_eq!((parts(0, 15, 6), parts(TRAP, 15, 5)), (whole.clone(), whole.clone()));
        assert_eq!((parts(0, 16, 6), parts(TRAP, 16, 5)), (split.clone(), split));
        // Data may well be of such bytes.
        assert_eq!((parts(TRAP, 16, 6), parts(3, 16, 5)), (whole.clone(), whole));
    }

    #[test]
    fn a_file_that_is_cut_off_is_refused() {
        let mut file = elf(&[(LOAD, 0x1000, b"text", 4)]);
        file.truncate(file.len() - "sections, symbols".len());
        loaded(&file).unwrap();
        for length in 0..file.len() {
            assert_eq!(loaded(&file[..length]), Err(BadKernel), "{length}");
        }
        put(&mut file, HEADER + 8, &[0xff; 8]);
        assert_eq!(loaded(&file), Err(BadKernel));
    }

    #[test]
    fn a_program_that_names_a_loader_asks_for_it() {
        assert!(asks_for_loader(&elf(&[(LOAD, 0, b"", 0), (INTERPRETER, 0, b"/lib/ld", 7)])));
        assert!(!asks_for_loader(&elf(&[(LOAD, 0, b"", 0)])));
        assert!(!asks_for_loader(b"#!/bin/sh"));
    }
}
