//! Texts on the wire: sentences of the guest that end up on somebody's terminal, and words that need not be UTF-8.

use crate::limits;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A sentence of at most [`limits::SENTENCE`] bytes, without control characters, whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "String")]
pub struct Sentence(String);

impl From<String> for Sentence {
    fn from(text: String) -> Self {
        Self::new(&text)
    }
}

impl Sentence {
    /// As much of a text as may be said. What would move a cursor, or reverse the order of letters, becomes a `?`.
    pub fn new(text: &str) -> Self {
        let mut said = String::new();
        for letter in text.trim().chars() {
            let letter = if is_plain(letter) { letter } else { '?' };
            if said.len().saturating_add(letter.len_utf8()) > limits::SENTENCE {
                break;
            }
            said.push(letter);
        }
        Self(said)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Sentence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Neither a control character nor one of Unicode's invisible marks that change how the rest is shown.
fn is_plain(letter: char) -> bool {
    let marks = ['\u{200b}'..='\u{200f}', '\u{2028}'..='\u{202e}', '\u{2060}'..='\u{206f}'];
    !letter.is_control()
        && letter != '\u{feff}'
        && !marks.iter().any(|range| range.contains(&letter))
}

/// A word of a command line: any bytes. Written as a string where it is UTF-8, else as a list of numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Word(pub Vec<u8>);

impl Serialize for Word {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => to.serialize_str(text),
            Err(_) => to.collect_seq(&self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Word;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of bytes")
            }

            fn visit_str<E>(self, text: &str) -> Result<Word, E> {
                Ok(Word(text.as_bytes().to_vec()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Word, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = list.next_element()? {
                    bytes.push(byte);
                }
                Ok(Word(bytes))
            }
        }
        from.deserialize_any(Either)
    }
}
