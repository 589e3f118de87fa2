//! PAX extended headers: `LENGTH KEY=VALUE\n` records.

use super::sparse::Described;
use super::{TarError, Time, number};

/// What extended headers say about the next entry.
#[derive(Debug, Default)]
pub(super) struct Extensions {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u64>,
    pub gid: Option<u64>,
    pub mtime: Option<Time>,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub sparse: Option<Described>,
}

/// What stands before the first NUL.
pub(super) fn until_nul(text: &[u8]) -> &[u8] {
    text.split(|b| *b == 0).next().unwrap_or_default()
}

/// Splits a header into its records.
fn records(mut text: &[u8]) -> impl Iterator<Item = Result<(&[u8], &[u8]), TarError>> {
    std::iter::from_fn(move || {
        // Some writers pad with NULs.
        if text.is_empty() || text.iter().all(|b| *b == 0) {
            return None;
        }
        if let Some((key, value, rest)) = record(text) {
            text = rest;
            Some(Ok((key, value)))
        } else {
            text = &[];
            Some(Err(TarError::Extension))
        }
    })
}

fn record(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let blank = text.iter().take(20).position(|b| *b == b' ')?;
    let (digits, _) = text.split_at_checked(blank)?;
    let length: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let (whole, rest) = text.split_at_checked(length)?;
    let body = whole.get(blank.checked_add(1)?..)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|b| *b == b'=')?;
    let (key, value) = body.split_at_checked(equals)?;
    Some((key, value.get(1..)?, rest))
}

/// Checks the grammar of a header that is not applied.
pub(super) fn check(text: &[u8]) -> Result<(), TarError> {
    records(text).try_for_each(|record| record.map(drop))
}

fn decimal(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// `[-]SECONDS[.FRACTION]`, clamped; digits past the ninth of the fraction are cut.
fn time(value: &[u8]) -> Option<Time> {
    let text = std::str::from_utf8(value).ok()?;
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |t| (true, t));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    // More digits than fit are a time beyond all ranges.
    let seconds: i64 = whole.parse().unwrap_or(i64::MAX);
    let nine: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
    let nanoseconds: u32 = nine.parse().ok()?;
    Some(match (negative, nanoseconds) {
        (false, _) => number::clamp(seconds, nanoseconds),
        (true, 0) => number::clamp(seconds.checked_neg()?, 0),
        // -0.5 is half a second after -1.
        (true, _) => number::clamp(
            seconds.checked_neg()?.checked_sub(1)?,
            1_000_000_000_u32.checked_sub(nanoseconds)?,
        ),
    })
}

impl Extensions {
    /// Applies one header; a key given again replaces the former value.
    pub(super) fn read(&mut self, text: &[u8]) -> Result<(), TarError> {
        for record in records(text) {
            let (key, value) = record?;
            let wrong = |what| move || TarError::Number(what);
            match key {
                b"path" => self.path = Some(value.to_owned()),
                b"linkpath" => self.link = Some(value.to_owned()),
                b"size" => {
                    let size = decimal(value).filter(|n| *n <= i64::MAX.unsigned_abs());
                    self.size = Some(size.ok_or_else(wrong("size"))?);
                }
                b"uid" => self.uid = Some(decimal(value).ok_or_else(wrong("user id"))?),
                b"gid" => self.gid = Some(decimal(value).ok_or_else(wrong("group id"))?),
                b"mtime" => self.mtime = Some(time(value).ok_or_else(wrong("time"))?),
                _ => self.read_other(key, value)?,
            }
        }
        Ok(())
    }

    fn read_other(&mut self, key: &[u8], value: &[u8]) -> Result<(), TarError> {
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            self.xattr(name.to_owned(), value.to_owned());
        } else if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
            let name = percent_decoded(name);
            // The other spelling of the same attribute is the exact one.
            if !self.xattrs.iter().any(|(n, _)| *n == name) {
                self.xattr(name, base64(value).ok_or(TarError::Extension)?);
            }
        } else if let Some(name) = key.strip_prefix(b"GNU.sparse.") {
            self.sparse.get_or_insert_default().read(name, value)?;
        }
        Ok(())
    }

    fn xattr(&mut self, name: Vec<u8>, value: Vec<u8>) {
        self.xattrs.retain(|(known, _)| *known != name);
        self.xattrs.push((name, value));
    }
}

fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        let hex =
            tail.get(..2).filter(|_| *first == b'%').and_then(|h| std::str::from_utf8(h).ok());
        if let Some(byte) = hex.and_then(|h| u8::from_str_radix(h, 16).ok()) {
            out.push(byte);
            rest = tail.get(2..).unwrap_or_default();
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    out
}

fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let (mut bits, mut count) = (0_u32, 0_u32);
    for byte in text.iter().filter(|b| **b != b'=') {
        let digit = match byte {
            b'A'..=b'Z' => byte.wrapping_sub(b'A'),
            b'a'..=b'z' => byte.wrapping_sub(b'a').wrapping_add(26),
            b'0'..=b'9' => byte.wrapping_sub(b'0').wrapping_add(52),
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits.wrapping_shl(6) | u32::from(digit);
        count = count.wrapping_add(6);
        if count >= 8 {
            count = count.wrapping_sub(8);
            out.push(u8::try_from(bits.wrapping_shr(count) & 0xff).ok()?);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_follow_their_grammar() {
        let mut found = Extensions::default();
        found.read(b"12 path=a=b\n24 SCHILY.xattr.user.x=1\n").unwrap_err();
        let mut found = Extensions::default();
        found.read(b"12 path=a=b\n25 SCHILY.xattr.user.x=1\n14 mtime=1.25\n").unwrap();
        assert_eq!(found.path.unwrap(), b"a=b");
        assert_eq!(found.xattrs, [(b"user.x".to_vec(), b"1".to_vec())]);
        assert_eq!(found.mtime.unwrap(), Time { seconds: 1, nanoseconds: 250_000_000 });
        for bad in [
            &b"9 path=\n"[..],
            b"x path=a\n",
            b"99 path=a\n",
            b"7 path\n",
            b"11 uid=-1\n",
            b"9 size=5",
        ] {
            Extensions::default().read(bad).unwrap_err();
        }
    }

    #[test]
    fn times_before_the_epoch() {
        assert_eq!(time(b"-0.5").unwrap(), Time { seconds: -1, nanoseconds: 500_000_000 });
        assert_eq!(time(b"-3600").unwrap(), Time { seconds: -3600, nanoseconds: 0 });
        assert_eq!(time(b"1.9999999999").unwrap(), Time { seconds: 1, nanoseconds: 999_999_999 });
        assert_eq!(time(&[b'9'; 25]).unwrap(), number::clamp(i64::MAX, 0));
        for bad in ["NaN", "1e30", "", "-", ".5", "1.x"] {
            assert_eq!(time(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn the_other_spelling_of_attributes() {
        let mut found = Extensions::default();
        found.read(b"32 LIBARCHIVE.xattr.user.a%20=YQ==\n").unwrap_err();
        found.read(b"33 LIBARCHIVE.xattr.user.a%20=YQ==\n").unwrap_err();
        let text = b"LIBARCHIVE.xattr.user.a%20=YWI=\n";
        let record = [format!("{} ", text.len() + 3).as_bytes(), text].concat();
        found.read(&record).unwrap();
        assert_eq!(found.xattrs, [(b"user.a ".to_vec(), b"ab".to_vec())]);
    }
}
