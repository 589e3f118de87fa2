//! What nft keeps beside what the kernel understands: a row of type (1), length (1), value. The kernel stores it unread.

use crate::wire::Writer;

/// The comment of a table, a chain, a rule or an element.
const COMMENT: u8 = 0;
/// The longest comment that nft takes.
const LONGEST: usize = 128;

/// Writes a comment where there is one.
pub(super) fn write_comment(to: &mut Writer<'_>, kind: u16, comment: Option<&str>) {
    let Some(comment) = comment else { return };
    let mut bytes = Vec::with_capacity(comment.len().saturating_add(3));
    if !put_text(&mut bytes, COMMENT, comment) {
        to.refuse();
    }
    to.attribute(kind, &bytes);
}

/// Appends a text with the zero that ends it. False if it is too long, or has a zero in it.
pub(super) fn put_text(to: &mut Vec<u8>, kind: u8, text: &str) -> bool {
    let sound = text.len() < LONGEST && !text.contains('\0');
    let length = u8::try_from(text.len().saturating_add(1)).unwrap_or(u8::MAX);
    to.extend_from_slice(&[kind, length]);
    to.extend_from_slice(text.as_bytes());
    to.push(0);
    sound
}

/// Appends a number.
pub(super) fn put_u32(to: &mut Vec<u8>, kind: u8, number: u32) {
    to.extend_from_slice(&[kind, 4]);
    to.extend_from_slice(&number.to_ne_bytes());
}

/// The comment in what was kept. What makes no sense has none: it is not the kernel's.
pub(super) fn comment(userdata: &[u8]) -> Option<String> {
    find(userdata, COMMENT).map(text)
}

/// The text of a value, without the zero that ends it.
pub(super) fn text(value: &[u8]) -> String {
    let value = value.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(value).into_owned()
}

/// The first value of a type.
pub(super) fn find(mut userdata: &[u8], kind: u8) -> Option<&[u8]> {
    while let Some(([found, length], rest)) = userdata.split_first_chunk::<2>() {
        let (value, rest) = rest.split_at_checked(usize::from(*length))?;
        if *found == kind {
            return Some(value);
        }
        userdata = rest;
    }
    None
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "tests know their lengths")]
mod tests {
    use super::*;

    #[test]
    fn comments_are_found_among_others() {
        let mut bytes = Vec::new();
        put_u32(&mut bytes, 3, 7);
        assert!(put_text(&mut bytes, 0, "rkt 1"));
        assert_eq!(bytes, [&[3, 4][..], &7_u32.to_ne_bytes(), &[0, 6], b"rkt 1\0"].concat());
        assert_eq!(comment(&bytes).as_deref(), Some("rkt 1"));
        assert_eq!(find(&bytes, 3), Some(&7_u32.to_ne_bytes()[..]));
        assert_eq!(comment(&bytes[..6]), None);
        assert_eq!(comment(&bytes[..10]), None);
        assert_eq!(comment(&[]), None);
    }

    #[test]
    fn comments_have_an_end() {
        assert!(put_text(&mut Vec::new(), 0, &"x".repeat(127)));
        assert!(!put_text(&mut Vec::new(), 0, &"x".repeat(128)));
        assert!(!put_text(&mut Vec::new(), 0, "a\0b"));
    }
}
