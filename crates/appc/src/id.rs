//! Content names: image ids and pod UUIDs.

use std::fmt;

/// Text that is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadId {
    /// It does not start with `sha512-`.
    #[error("{0:?} is not an image ID: it must start with \"sha512-\"")]
    Algorithm(String),
    /// Fewer than two hexadecimal digits.
    #[error("image ID too short")]
    Short,
    /// Something else than lower-case hexadecimal digits, or too many of them.
    #[error("{0:?} is not an image ID: sha512- and hexadecimal digits are expected")]
    Digits(String),
    /// Not 32 hexadecimal digits, or all of them zero.
    #[error("{0:?} is not a UUID")]
    Uuid(String),
}

const PREFIX: &str = "sha512-";
/// Digits of an id: half of a SHA-512.
const DIGITS: usize = 64;

/// The name of an image: `sha512-` and the first half of a SHA-512 in hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageId(String);

impl ImageId {
    /// Takes 64 digits, or the 128 of a whole hash, which are cut.
    ///
    /// # Errors
    /// See [`BadId`].
    pub fn parse(text: &str) -> Result<Self, BadId> {
        let digits = digits(text)?;
        if digits.len() != DIGITS && digits.len() != 2 * DIGITS {
            return Err(BadId::Digits(text.to_owned()));
        }
        Ok(Self(cut(text)))
    }

    /// The id of content with this SHA-512.
    pub fn from_hash(hash: &[u8; 64]) -> Self {
        let mut text = String::from(PREFIX);
        for byte in hash.iter().take(DIGITS / 2) {
            push_hex(&mut text, *byte);
        }
        Self(text)
    }

    /// The whole id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The hexadecimal digits alone.
    pub fn hex(&self) -> &str {
        self.0.get(PREFIX.len()..).unwrap_or_default()
    }

    /// The id cut to this many digits, as listings show it.
    pub fn short(&self, digits: usize) -> &str {
        self.0.get(..PREFIX.len() + digits).unwrap_or(&self.0)
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The beginning of an image id, as typed: at least two digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdPrefix(String);

impl IdPrefix {
    /// Reads `sha512-` and two or more hexadecimal digits; digits past the 64th do not count.
    ///
    /// # Errors
    /// See [`BadId`].
    pub fn parse(text: &str) -> Result<Self, BadId> {
        let found = digits(text)?;
        if found.len() < 2 {
            return Err(BadId::Short);
        }
        if found.len() > 2 * DIGITS {
            return Err(BadId::Digits(text.to_owned()));
        }
        Ok(Self(cut(text)))
    }

    /// The text, with its `sha512-`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether an id begins like this.
    pub fn matches(&self, id: &ImageId) -> bool {
        id.0.starts_with(&self.0)
    }

    /// The id, if all digits were typed.
    pub fn whole(&self) -> Option<ImageId> {
        ImageId::parse(&self.0).ok()
    }
}

impl fmt::Display for IdPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn push_hex(text: &mut String, byte: u8) {
    for digit in [byte >> 4, byte & 15] {
        text.push(char::from_digit(digit.into(), 16).unwrap_or('0'));
    }
}

/// An id without the digits that do not count.
fn cut(text: &str) -> String {
    text.get(..PREFIX.len() + DIGITS).unwrap_or(text).to_owned()
}

fn digits(text: &str) -> Result<&str, BadId> {
    let digits = text.strip_prefix(PREFIX).ok_or_else(|| BadId::Algorithm(text.to_owned()))?;
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if digits.bytes().all(hex) { Ok(digits) } else { Err(BadId::Digits(text.to_owned())) }
}

/// The name of a pod, shown in lower case as 8-4-4-4-12.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodUuid([u8; 16]);

impl PodUuid {
    /// A version 4 UUID of 16 random bytes.
    pub fn from_random(mut bytes: [u8; 16]) -> Self {
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Self(bytes)
    }

    /// Reads 32 hexadecimal digits of either case, dashes anywhere.
    ///
    /// # Errors
    /// [`BadId::Uuid`].
    pub fn parse(text: &str) -> Result<Self, BadId> {
        let bad = || BadId::Uuid(text.to_owned());
        let mut bytes = [0_u8; 16];
        let mut count = 0_usize;
        for letter in text.bytes().filter(|letter| *letter != b'-') {
            let digit = match letter {
                b'0'..=b'9' => letter - b'0',
                b'a'..=b'f' => letter - b'a' + 10,
                b'A'..=b'F' => letter - b'A' + 10,
                _ => return Err(bad()),
            };
            let slot = bytes.get_mut(count / 2).ok_or_else(bad)?;
            *slot = *slot << 4 | digit;
            count += 1;
        }
        if count == 32 && bytes != [0; 16] { Ok(Self(bytes)) } else { Err(bad()) }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for PodUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        const PLACES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
        let mut text = [b'-'; 36];
        for (byte, place) in self.0.iter().zip(PLACES) {
            text[place] = DIGITS[usize::from(byte >> 4)];
            text[place + 1] = DIGITS[usize::from(byte & 15)];
        }
        // Digits and dashes are text.
        f.pad(std::str::from_utf8(&text).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_cut_and_matched() {
        let whole = format!("sha512-{}", "0123456789abcdef".repeat(8));
        let id = ImageId::parse(&whole).unwrap();
        assert_eq!(id.as_str().len(), 71);
        assert_eq!(id.short(12), "sha512-0123456789ab");
        assert!(IdPrefix::parse("sha512-01").unwrap().matches(&id));
        assert!(IdPrefix::parse(&whole).unwrap().matches(&id));
        assert!(!IdPrefix::parse("sha512-11").unwrap().matches(&id));
        assert_eq!(ImageId::from_hash(&[0xab; 64]).hex(), "ab".repeat(32));
    }

    #[test]
    fn what_is_no_id() {
        assert_eq!(IdPrefix::parse("sha512-a"), Err(BadId::Short));
        for bad in ["sha256-aa", "sha512-zz", "sha512-a-b", "sha512-AB", "aa"] {
            IdPrefix::parse(bad).unwrap_err();
        }
        ImageId::parse("sha512-aa").unwrap_err();
    }

    #[test]
    fn uuids_have_one_spelling() {
        let text = "465e8ea3-3206-4d98-a2db-0bb850dc3773";
        for spelling in
            [text, "465E8EA332064D98A2DB0BB850DC3773", "4-65e8ea3-32064d98a2db0bb850dc3773"]
        {
            assert_eq!(PodUuid::parse(spelling).unwrap().to_string(), text);
        }
        for bad in [
            "",
            "465e",
            "00000000-0000-0000-0000-000000000000",
            "465e8ea3-3206-4d98-a2db-0bb850dc377x",
        ] {
            PodUuid::parse(bad).unwrap_err();
        }
        assert_eq!(
            PodUuid::from_random([255; 16]).to_string(),
            "ffffffff-ffff-4fff-bfff-ffffffffffff"
        );
    }
}
