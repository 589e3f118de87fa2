//! Sparse members: the old GNU maps in header blocks and the PAX ones of formats 0.0, 0.1 and 1.0.

use super::{TarError, number};

/// A stretch of a sparse file that has data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub offset: u64,
    pub length: u64,
}

/// No map is longer.
const EXTENTS: usize = 1 << 20;

fn push(map: &mut Vec<Extent>, offset: u64, length: u64) -> Result<(), TarError> {
    if map.len() >= EXTENTS {
        return Err(TarError::Sparse);
    }
    map.push(Extent { offset, length });
    Ok(())
}

/// Reads pairs of twelve bytes; an empty one ends the list.
pub(super) fn old_extents(bytes: &[u8], map: &mut Vec<Extent>) -> Result<(), TarError> {
    for pair in bytes.chunks_exact(24) {
        let (offset, length) = pair.split_at_checked(12).ok_or(TarError::Sparse)?;
        if pair.first() == Some(&0) {
            break;
        }
        let read = |field| number::unsigned(field).ok_or(TarError::Sparse);
        push(map, read(offset)?, read(length)?)?;
    }
    Ok(())
}

/// Extents must ascend, lie inside the file, and bring as many bytes as are stored.
pub(super) fn check(map: &[Extent], size: u64, stored: u64) -> Result<(), TarError> {
    let (mut end, mut sum) = (0_u64, 0_u64);
    for extent in map {
        if extent.offset < end {
            return Err(TarError::Sparse);
        }
        end = extent.offset.checked_add(extent.length).ok_or(TarError::Sparse)?;
        sum = sum.checked_add(extent.length).ok_or(TarError::Sparse)?;
    }
    if end > size || sum != stored || size > i64::MAX.unsigned_abs() {
        Err(TarError::Sparse)
    } else {
        Ok(())
    }
}

/// What PAX records say of a sparse member.
#[derive(Debug, Default)]
pub(super) struct Described {
    pub name: Option<Vec<u8>>,
    pub real: Option<u64>,
    /// Format 1.0: the map stands before the data.
    pub in_data: bool,
    numbers: Vec<u64>,
}

impl Described {
    pub(super) fn read(&mut self, key: &[u8], value: &[u8]) -> Result<(), TarError> {
        let decimal = |text: &[u8]| {
            let text =
                std::str::from_utf8(text).ok().filter(|t| t.bytes().all(|b| b.is_ascii_digit()));
            text.and_then(|t| t.parse::<u64>().ok()).ok_or(TarError::Sparse)
        };
        match key {
            b"name" => self.name = Some(value.to_owned()),
            b"size" | b"realsize" => self.real = Some(decimal(value)?),
            b"major" => self.in_data = decimal(value)? >= 1,
            b"offset" | b"numbytes" if self.numbers.len() < EXTENTS => {
                self.numbers.push(decimal(value)?);
            }
            b"map" => {
                self.numbers =
                    value.split(|b| *b == b',').map(decimal).collect::<Result<_, _>>()?;
            }
            b"minor" | b"numblocks" => {}
            _ => return Err(TarError::Sparse),
        }
        Ok(())
    }

    pub(super) fn extents(&self) -> Result<Vec<Extent>, TarError> {
        pairs(&self.numbers)
    }
}

fn pairs(numbers: &[u64]) -> Result<Vec<Extent>, TarError> {
    let (pairs, rest) = numbers.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(TarError::Sparse);
    }
    Ok(pairs.iter().map(|[offset, length]| Extent { offset: *offset, length: *length }).collect())
}

/// The map of format 1.0: decimal lines, the count first.
#[derive(Debug, Default)]
pub(super) struct Lines {
    count: Option<u64>,
    current: Option<u64>,
    numbers: Vec<u64>,
}

impl Lines {
    pub(super) fn done(&self) -> bool {
        self.count.is_some_and(|count| self.numbers.len() as u64 >= count.saturating_mul(2))
    }

    pub(super) fn take(&mut self, block: &[u8]) -> Result<(), TarError> {
        for byte in block {
            if self.done() {
                return Ok(());
            }
            match byte {
                b'0'..=b'9' => {
                    let digit = u64::from(byte.wrapping_sub(b'0'));
                    let next = self
                        .current
                        .unwrap_or(0)
                        .checked_mul(10)
                        .and_then(|n| n.checked_add(digit));
                    self.current = Some(next.ok_or(TarError::Sparse)?);
                }
                b'\n' => {
                    let number = self.current.take().ok_or(TarError::Sparse)?;
                    match self.count {
                        None if number <= EXTENTS as u64 => self.count = Some(number),
                        None => return Err(TarError::Sparse),
                        Some(_) => self.numbers.push(number),
                    }
                }
                _ => return Err(TarError::Sparse),
            }
        }
        Ok(())
    }

    pub(super) fn extents(&self) -> Result<Vec<Extent>, TarError> {
        pairs(&self.numbers)
    }
}
