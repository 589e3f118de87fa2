//! Numbers in header blocks: octal digits, or base 256 with the first bit set.

use super::{TarError, Time};

/// A number that cannot be negative; blanks and NULs around the digits do not count.
pub(super) fn unsigned(field: &[u8]) -> Option<u64> {
    match signed(field)? {
        number if number >= 0 => u64::try_from(number).ok(),
        _ => None,
    }
}

fn signed(field: &[u8]) -> Option<i128> {
    let first = *field.first()?;
    if first & 0x80 != 0 {
        // 12 bytes at most: fits into 16.
        let start: i128 = if first & 0x40 != 0 { -1 } else { 0 };
        let low = if first & 0x40 != 0 { first } else { first & 0x7f };
        let start = start.checked_mul(256)?.checked_add(low.into())?;
        return field
            .iter()
            .skip(1)
            .try_fold(start, |n, b| n.checked_mul(256)?.checked_add((*b).into()));
    }
    let text = field.split(|b| *b == 0).next()?.trim_ascii();
    text.iter().try_fold(0_i128, |n, b| match b {
        b'0'..=b'7' => n.checked_mul(8)?.checked_add(i128::from(b.wrapping_sub(b'0'))),
        _ => None,
    })
}

pub(super) fn size(header: &tar::Header) -> Result<u64, TarError> {
    let field = header.as_bytes().get(124..136).unwrap_or_default();
    unsigned(field).filter(|n| *n <= i64::MAX.unsigned_abs()).ok_or(TarError::Number("size"))
}

/// A time stamp, clamped to what file systems take.
pub(super) fn time(field: &[u8]) -> Result<Time, TarError> {
    let seconds = signed(field).ok_or(TarError::Number("time"))?;
    Ok(clamp(i64::try_from(seconds).unwrap_or(if seconds < 0 { i64::MIN } else { i64::MAX }), 0))
}

/// The range of a signed 32-bit epoch and the 2 bits that ext4 adds to it.
pub(super) fn clamp(seconds: i64, nanoseconds: u32) -> Time {
    const FIRST: i64 = -(1 << 31);
    const LAST: i64 = (1 << 34) - (1 << 31) - 1;
    if seconds < FIRST {
        Time { seconds: FIRST, nanoseconds: 0 }
    } else if seconds > LAST {
        Time { seconds: LAST, nanoseconds: 0 }
    } else {
        Time { seconds, nanoseconds }
    }
}

/// Compares the sum of a header block, taken over signed or unsigned bytes, with the one it states.
pub(super) fn verify(block: &[u8]) -> Result<(), TarError> {
    let stated = unsigned(block.get(148..156).unwrap_or_default()).ok_or(TarError::Checksum)?;
    let (mut plain, mut signed) = (0_i64, 0_i64);
    for (index, byte) in block.iter().enumerate() {
        let byte = if (148..156).contains(&index) { b' ' } else { *byte };
        plain = plain.saturating_add(byte.into());
        signed = signed.saturating_add(byte.cast_signed().into());
    }
    let stated = i64::try_from(stated).map_err(|_| TarError::Checksum)?;
    if stated == plain || stated == signed { Ok(()) } else { Err(TarError::Checksum) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_notations() {
        assert_eq!(unsigned(b"0000644\0"), Some(0o644));
        assert_eq!(unsigned(b"  644 \0  "), Some(0o644));
        assert_eq!(unsigned(b"\0\0\0"), Some(0));
        assert_eq!(unsigned(&[0x80, 0, 1, 0]), Some(256));
        assert_eq!(unsigned(b"8"), None);
        assert_eq!(unsigned(b"-1"), None);
        assert_eq!(signed(&[0xff; 12]), Some(-1));
        assert_eq!(unsigned(&[0xff; 12]), None);
        assert!(
            unsigned(&[0x80, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f])
                .is_none()
        );
    }
}
