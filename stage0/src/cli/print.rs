//! The one place that writes: results to stdout, everything else to stderr, nothing that could drive a terminal.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a result could not be written, which makes the whole command fail.
static LOST: AtomicBool = AtomicBool::new(false);

/// The word in front of a command's messages: the last of its name, `rkt` without one.
pub(crate) fn prefix(command: &str) -> &str {
    match command.rsplit(' ').next() {
        Some(word) if !word.is_empty() => word,
        _ => "rkt",
    }
}

/// Whether a character could move the cursor, change colours or reorder the line of whoever reads it.
fn drives_terminals(letter: char) -> bool {
    match letter {
        '\n' | '\t' => false,
        // Marks and isolates that change the direction of the text around them.
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        other => other.is_control(),
    }
}

/// Text with every control character but newline and tab written as `\uXXXX`, which is also valid inside JSON strings.
pub(crate) fn safe(text: &str) -> Cow<'_, str> {
    // Nearly all text is of these characters. A sum without an early end is taken many bytes at a time.
    let plain = |byte: &u8| matches!(byte, b' '..=b'~' | b'\n' | b'\t');
    if text.bytes().filter(plain).count() == text.len() || !text.contains(drives_terminals) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if drives_terminals(letter) {
            write_escape(&mut escaped, letter);
        } else {
            escaped.push(letter);
        }
    }
    Cow::Owned(escaped)
}

/// Like [`safe`], for text that must stay on its line and in its column: newline and tab are escaped too.
pub(crate) fn safe_line(text: &str) -> Cow<'_, str> {
    if text.contains(['\n', '\t']) {
        Cow::Owned(safe(&text.replace('\n', "\\n").replace('\t', "\\t")).into_owned())
    } else {
        safe(text)
    }
}

/// Text in double quotes: quotes and backslashes escaped, what is not printable by its number.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            other if other.is_ascii_control() => {
                // Writing to a String cannot fail.
                _ = write!(quoted, "\\x{:02x}", u32::from(other));
            }
            other if drives_terminals(other) => write_escape(&mut quoted, other),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

fn write_escape(into: &mut String, letter: char) {
    // Writing to a String cannot fail; every character in question has at most four digits.
    _ = write!(into, "\\u{:04x}", u32::from(letter));
}

/// Writes one result to stdout: made safe, and ended by exactly one newline.
pub(crate) fn result(text: &str) {
    let mut out = io::stdout().lock();
    let text = safe(text);
    let end: &[u8] = if text.ends_with('\n') { b"" } else { b"\n" };
    if out.write_all(text.as_bytes()).and_then(|()| out.write_all(end)).is_err() {
        LOST.store(true, Ordering::Relaxed);
    }
}

/// Writes text to stdout as it is, for programs that read it.
pub(super) fn exact(text: &str) {
    if io::stdout().lock().write_all(text.as_bytes()).is_err() {
        LOST.store(true, Ordering::Relaxed);
    }
}

/// Flushes stdout, and tells whether every result went out.
pub(crate) fn flush() -> bool {
    io::stdout().lock().flush().is_ok() && !LOST.load(Ordering::Relaxed)
}

/// Writes a line to stderr, behind `prefix: `; of several lines only the first has the prefix.
pub(crate) fn note(prefix: &str, text: &str) {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    error(&format!("{prefix}: {}{end}", safe(text)));
}

/// Writes text to stderr as it is, in one write so that lines of several processes do not mix.
pub(crate) fn error(text: &str) {
    // Nobody is left to tell when stderr itself is gone.
    drop(io::stderr().lock().write_all(text.as_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disarms_control_characters() {
        for (raw, text) in [
            ("plain\ttext\n", "plain\ttext\n"),
            ("\u{1b}[31mred", "\\u001b[31mred"),
            ("bell\u{7}", "bell\\u0007"),
            ("csi\u{9b}2J", "csi\\u009b2J"),
            ("del\u{7f}", "del\\u007f"),
            ("\rover", "\\u000dover"),
            ("right\u{202e}left", "right\\u202eleft"),
            ("größe ✓", "größe ✓"),
        ] {
            assert_eq!(safe(raw), text);
        }
        assert_eq!(safe_line("two\nlines\tand\u{1b}"), "two\\nlines\\tand\\u001b");
    }

    #[test]
    fn quotes_as_the_transcripts_do() {
        for (raw, text) in [
            ("zz", "\"zz\""),
            ("a\"b\\c", "\"a\\\"b\\\\c\""),
            ("ü", "\"ü\""),
            ("\u{1b}", "\"\\x1b\""),
            ("a\nb", "\"a\\nb\""),
            ("\u{85}", "\"\\u0085\""),
        ] {
            assert_eq!(quoted(raw), text);
        }
    }

    #[test]
    fn takes_the_last_word_as_prefix() {
        assert_eq!((prefix("image rm"), prefix("list"), prefix("")), ("rm", "list", "rkt"));
    }
}
