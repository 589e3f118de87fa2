//! Standard base64 with padding: the `data` of a descriptor.

/// The bytes, if the text is base64 in its one canonical spelling.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut groups = text.as_bytes().chunks(4).peekable();
    while let Some(group) = groups.next() {
        let [a, b, c, d] = *group else { return None };
        let (a, b) = (value(a)?, value(b)?);
        let padded = groups.peek().is_none();
        bytes.push(a << 2 | b >> 4);
        match (c, d) {
            (b'=', b'=') if padded && b.trailing_zeros() >= 4 => {}
            (c, b'=') if padded => {
                let c = value(c)?;
                if c & 3 != 0 {
                    return None;
                }
                bytes.push(b << 4 | c >> 2);
            }
            (c, d) => {
                let (c, d) = (value(c)?, value(d)?);
                bytes.extend([b << 4 | c >> 2, c << 6 | d]);
            }
        }
    }
    Some(bytes)
}

fn value(letter: u8) -> Option<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    LETTERS.iter().position(|known| *known == letter).and_then(|place| u8::try_from(place).ok())
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn one_spelling_decodes() {
        for (text, bytes) in [
            ("", &b""[..]),
            ("Zg==", b"f"),
            ("Zm8=", b"fo"),
            ("Zm9v", b"foo"),
            ("e30=", b"{}"),
            ("/+8=", &[0xff, 0xef]),
        ] {
            assert_eq!(decode(text).as_deref(), Some(bytes), "{text}");
        }
        for bad in ["Z", "Zg", "Zg=", "Zh==", "Zm9=", "Zg==Zg==", "=g==", "Zm9v\n", "Z-==", "===="]
        {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
