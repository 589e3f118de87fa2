//! Bytes from strangers: no more of them than promised, and with the digest that was promised.

use crate::store::{ImportError, hex};
use archive::stream::{Sha256Reader, Sha512Reader};
use oci::Digest;
use std::io::{self, Read};

/// The hash that a digest asks for.
enum Hashed<R> {
    Sha256(Sha256Reader<R>),
    Sha512(Sha512Reader<R>),
}

/// Refuses a digest that nothing can be compared with.
pub(super) fn verifiable(what: &'static str, wanted: &Digest) -> Result<(), ImportError> {
    wanted.verifiable().map_err(|error| ImportError::Shape(format!("{what} {error}")))
}

/// Hashes what is read through it, to be compared with a digest.
pub(super) struct Verified<R> {
    from: Hashed<R>,
    wanted: Digest,
}

impl<R: Read> Verified<R> {
    /// An algorithm that is not known cannot be verified, and nothing is read.
    pub(super) fn new(what: &'static str, wanted: &Digest, from: R) -> Result<Self, ImportError> {
        verifiable(what, wanted)?;
        let from = match wanted.algorithm() {
            "sha512" => Hashed::Sha512(Sha512Reader::new(from)),
            _ => Hashed::Sha256(Sha256Reader::new(from)),
        };
        Ok(Self { from, wanted: wanted.clone() })
    }

    /// Compares what came with what was promised.
    pub(super) fn finish(self, what: &'static str, size: Option<u64>) -> Result<(), ImportError> {
        let Self { wanted, from } = self;
        let (hash, bytes) = match from {
            Hashed::Sha256(reader) => reader.finish(),
            Hashed::Sha512(reader) => reader.finish(),
        };
        if let Some(size) = size
            && size != bytes
        {
            return Err(ImportError::Size { what, digest: wanted, wanted: size, found: bytes });
        }
        let digits = hex(&hash);
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
        match &mut self.from {
            Hashed::Sha256(reader) => reader.read(buffer),
            Hashed::Sha512(reader) => reader.read(buffer),
        }
    }
}
