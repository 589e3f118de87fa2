//! What links are called: names, and hardware addresses.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// The longest name.
const LONGEST: usize = 15;

/// The name of a link, as the kernel allows it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    bytes: [u8; LONGEST],
    length: u8,
}

/// This cannot be the name of a link.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} cannot be the name of a link: 1 to 15 bytes, without slashes, colons and spaces, and not \".\" or \"..\""
)]
pub struct BadName(pub String);

impl Name {
    /// This name.
    pub fn new(name: impl AsRef<[u8]>) -> Result<Self, BadName> {
        let name = name.as_ref();
        let bad = |byte: &u8| {
            matches!(byte, 0 | b'/' | b':') || byte.is_ascii_whitespace() || *byte == 0x0b
        };
        let sound = !matches!(name, b"" | b"." | b"..") && !name.iter().any(bad);
        let mut bytes = [0; LONGEST];
        match (bytes.get_mut(..name.len()), u8::try_from(name.len())) {
            (Some(place), Ok(length)) if sound => {
                place.copy_from_slice(name);
                Ok(Self { bytes, length })
            }
            _ => Err(BadName(String::from_utf8_lossy(name).into_owned())),
        }
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }

    /// The name as a text; what is none is replaced.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.as_bytes())
    }
}

impl AsRef<[u8]> for Name {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl FromStr for Name {
    type Err = BadName;

    fn from_str(name: &str) -> Result<Self, BadName> {
        Self::new(name)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.pad(&self.text())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text(), to)
    }
}

/// A hardware address of an Ethernet link.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

/// This is no hardware address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no hardware address: six bytes in hexadecimal digits, with colons between them")]
pub struct BadMac(pub String);

impl FromStr for Mac {
    type Err = BadMac;

    fn from_str(text: &str) -> Result<Self, BadMac> {
        let bad = || BadMac(text.to_owned());
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| {
                matches!(part.len(), 1 | 2) && part.bytes().all(|byte| byte.is_ascii_hexdigit())
            });
            *byte = u8::from_str_radix(part.ok_or_else(bad)?, 16).map_err(|_| bad())?;
        }
        if parts.next().is_some() { Err(bad()) } else { Ok(Self(bytes)) }
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, byte) in self.0.iter().enumerate() {
            let colon = if place == 0 { "" } else { ":" };
            write!(to, "{colon}{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_the_kernel_takes() {
        for name in ["a", "eth0", "fifteen-letters", "ü"] {
            let parsed: Name = name.parse().unwrap();
            assert_eq!(parsed.to_string(), name);
            assert_eq!(parsed.as_bytes(), name.as_bytes());
        }
        for name in ["", ".", "..", "a/b", "a:1", "a b", "a\tb", "sixteen--letters", "a\0"] {
            name.parse::<Name>().unwrap_err();
        }
    }

    #[test]
    fn hardware_addresses_are_read_as_they_are_written() {
        let mac: Mac = "0a:58:0:00:ff:1".parse().unwrap();
        assert_eq!(mac, Mac([0x0a, 0x58, 0, 0, 0xff, 1]));
        assert_eq!(mac.to_string(), "0a:58:00:00:ff:01");
        for text in [
            "",
            "1:2:3:4:5",
            "1:2:3:4:5:6:7",
            "1:2:3:4:5:",
            "1:2:3:4:5:g",
            "1:2:3:4:5:+6",
            "1:2:3:4:5:006",
        ] {
            text.parse::<Mac>().unwrap_err();
        }
    }
}
