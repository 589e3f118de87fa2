//! Digests: the names of contents.

use sha2::{Digest as _, Sha256, Sha512};
use std::fmt;

/// Text that is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadDigest {
    /// It has not the form `algorithm:encoded`.
    #[error("{0:?} is not a digest")]
    Form(String),
    /// Not as many lower-case hexadecimal digits as the algorithm gives.
    #[error("{0:?} does not have the digits of its algorithm")]
    Digits(String),
}

/// A digest by which nothing can be verified.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} cannot be verified: only sha256 and sha512 are known")]
pub struct UnknownAlgorithm(pub Digest);

/// No digest is longer.
const LONGEST: usize = 256;

/// The name of some content: `algorithm:encoded`. No part of it can lead out of a folder it is used in.
///
/// An algorithm that is not known is no error; but nothing can be verified by it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    text: String,
    colon: usize,
}

impl Digest {
    /// Reads a digest; of the algorithms that are known, digits must have the right number and be lower case.
    ///
    /// # Errors
    /// See [`BadDigest`].
    pub fn parse(text: &str) -> Result<Self, BadDigest> {
        let form = || BadDigest::Form(text.chars().take(LONGEST).collect());
        let (algorithm, encoded) = text.split_once(':').ok_or_else(form)?;
        let letters = |part: &str, others: &[u8], upper: bool| {
            !part.is_empty()
                && part.bytes().all(|b| {
                    b.is_ascii_lowercase()
                        || b.is_ascii_digit()
                        || (upper && b.is_ascii_uppercase())
                        || others.contains(&b)
                })
        };
        let components = algorithm.split(['+', '.', '_', '-']);
        let known_form = text.len() <= LONGEST
            && components.clone().all(|part| letters(part, b"", false))
            && letters(encoded, b"=_-", true);
        if !known_form {
            return Err(form());
        }
        let digits = match algorithm {
            "sha256" | "blake3" => Some(64),
            "sha512" => Some(128),
            "sha384" => Some(96),
            _ => None,
        };
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if digits.is_some_and(|n| encoded.len() != n || !encoded.bytes().all(hex)) {
            return Err(BadDigest::Digits(text.to_owned()));
        }
        Ok(Self { text: text.to_owned(), colon: algorithm.len() })
    }

    /// The digest that stands for this SHA-256.
    pub fn sha256(hash: &[u8; 32]) -> Self {
        Self::of_hash("sha256", hash)
    }

    /// The SHA-256 of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::of_hash("sha256", &Sha256::digest(bytes))
    }

    fn of_hash(algorithm: &str, hash: &[u8]) -> Self {
        let mut text = format!("{algorithm}:");
        for nibble in hash.iter().flat_map(|byte| [byte >> 4, byte & 15]) {
            text.push(char::from_digit(nibble.into(), 16).unwrap_or('0'));
        }
        Self { text, colon: algorithm.len() }
    }

    /// The algorithm's name.
    pub fn algorithm(&self) -> &str {
        self.text.get(..self.colon).unwrap_or_default()
    }

    /// What follows the colon.
    pub fn hex(&self) -> &str {
        self.text.get(self.colon..).and_then(|rest| rest.strip_prefix(':')).unwrap_or_default()
    }

    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Tells before anything is fetched whether it can be verified.
    ///
    /// # Errors
    /// See [`UnknownAlgorithm`].
    pub fn verifiable(&self) -> Result<(), UnknownAlgorithm> {
        match self.algorithm() {
            "sha256" | "sha512" => Ok(()),
            _ => Err(UnknownAlgorithm(self.clone())),
        }
    }

    /// Whether these bytes have this digest; never with an algorithm that is not trusted.
    pub fn matches(&self, bytes: &[u8]) -> bool {
        match self.algorithm() {
            "sha256" => *self == Self::of(bytes),
            "sha512" => *self == Self::of_hash("sha512", &Sha512::digest(bytes)),
            _ => false,
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

    #[test]
    fn a_digest_names_its_bytes() {
        let digest = Digest::parse(EMPTY).unwrap();
        assert_eq!((digest.algorithm(), digest.hex().len()), ("sha256", 64));
        assert_eq!(digest.to_string(), EMPTY);
        assert!(digest.matches(b"{}"));
        assert!(!digest.matches(b"{} "));
        assert_eq!(Digest::of(b"{}"), digest);
        let long = Digest::of_hash("sha512", &Sha512::digest(b"{}"));
        assert!(Digest::parse(long.as_str()).unwrap().matches(b"{}"));
    }

    #[test]
    fn what_is_no_digest() {
        let hex = "0".repeat(64);
        for bad in [
            String::new(),
            hex.clone(),
            "sha256:".into(),
            "sha256:../../../../../../etc/passwd".into(),
            format!("sha256:{}", "A".repeat(64)),
            format!("sha256:{}", "0".repeat(32)),
            format!("sha256:{hex}0"),
            format!("sha512:{hex}"),
            format!("sha256:{hex}\n"),
            format!("sha256::{hex}"),
            format!("SHA256:{hex}"),
            format!("../x:{hex}"),
            format!(".:{hex}"),
            format!("a..b:{hex}"),
            format!("x:{}", "0".repeat(300)),
        ] {
            Digest::parse(&bad).unwrap_err();
        }
    }

    #[test]
    fn what_is_not_known_verifies_nothing() {
        let text = "md5:99914b932bd37a50b983c5e7c90ae93b";
        let digest = Digest::parse(text).unwrap();
        assert!(!digest.matches(b"{}"));
        let message = format!("{text} cannot be verified: only sha256 and sha512 are known");
        assert_eq!(digest.verifiable().unwrap_err().to_string(), message);
        // The forms of these are known, but nothing here can compute them.
        for text in [format!("blake3:{}", "0".repeat(64)), format!("sha384:{}", "0".repeat(96))] {
            Digest::parse(&text).unwrap().verifiable().unwrap_err();
        }
        for text in [EMPTY, &format!("sha512:{}", "0".repeat(128))] {
            Digest::parse(text).unwrap().verifiable().unwrap();
        }
    }
}
