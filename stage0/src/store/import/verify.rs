//! Bytes from strangers: no more of them than promised, and with the digest that was promised.

use crate::store::{ImportError, hex};
use oci::Digest;
use sha2::{Digest as _, Sha256, Sha512};
use std::io::{self, Read};

/// The hash that a digest asks for.
enum Hash {
    Sha256(Sha256),
    Sha512(Sha512),
}

/// Hashes what is read through it, to be compared with a digest.
pub(super) struct Verified<R> {
    from: R,
    wanted: Digest,
    hash: Hash,
    bytes: u64,
}

impl<R: Read> Verified<R> {
    /// An algorithm that is not known cannot be verified, and nothing is read.
    pub(super) fn new(what: &'static str, wanted: &Digest, from: R) -> Result<Self, ImportError> {
        let hash = match wanted.algorithm() {
            "sha256" => Hash::Sha256(Sha256::new()),
            "sha512" => Hash::Sha512(Sha512::new()),
            other => {
                return Err(ImportError::Shape(format!(
                    "{what} {wanted} cannot be verified: algorithm {other} is not known"
                )));
            }
        };
        Ok(Self { from, wanted: wanted.clone(), hash, bytes: 0 })
    }

    /// Compares what came with what was promised.
    pub(super) fn finish(self, what: &'static str, size: Option<u64>) -> Result<(), ImportError> {
        let Self { wanted, hash, bytes, .. } = self;
        if let Some(size) = size
            && size != bytes
        {
            return Err(ImportError::Size { what, digest: wanted, wanted: size, found: bytes });
        }
        let digits = match hash {
            Hash::Sha256(hash) => hex(&hash.finalize()),
            Hash::Sha512(hash) => hex(&hash.finalize()),
        };
        if digits == wanted.hex() {
            Ok(())
        } else {
            let found = format!("{}:{digits}", wanted.algorithm());
            Err(ImportError::Digest { what, wanted, found })
        }
    }
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.from.read(buffer)?;
        let bytes = buffer.get(..length).unwrap_or_default();
        match &mut self.hash {
            Hash::Sha256(hash) => hash.update(bytes),
            Hash::Sha512(hash) => hash.update(bytes),
        }
        self.bytes = self.bytes.saturating_add(u64::try_from(length).unwrap_or_default());
        Ok(length)
    }
}
