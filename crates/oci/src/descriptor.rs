//! Descriptors: how documents point at contents.

use crate::base64;
use crate::digest::{Digest, UnknownAlgorithm};
use crate::document::{DocumentError, Members, bad};
use crate::media;
use crate::platform::Platform;
use appc::json::Json;
use std::collections::BTreeMap;

/// Bytes that are not what a descriptor promises.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// Not as many.
    #[error("{found} bytes instead of {wanted}")]
    Size {
        /// As many were promised.
        wanted: u64,
        /// As many are there.
        found: u64,
    },
    /// Nobody can tell.
    #[error(transparent)]
    Algorithm(#[from] UnknownAlgorithm),
    /// Not these.
    #[error("the bytes do not have the digest {0}")]
    Digest(Digest),
}

/// A content somewhere else: its type, name and size.
///
/// Addresses (`urls`) are not kept: nothing is ever fetched from where a document says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// What it is said to be.
    pub media_type: String,
    /// Its name.
    pub digest: Digest,
    /// Its size in bytes. A promise, not to be trusted for an allocation.
    pub size: u64,
    /// What is said about it.
    pub annotations: BTreeMap<String, String>,
    /// What it runs on, where that was told.
    pub platform: Option<Platform>,
    /// The content itself, where it was embedded; checked against digest and size.
    pub data: Option<Vec<u8>>,
}

impl Descriptor {
    pub(crate) fn read(json: &Json) -> Result<Self, DocumentError> {
        let members = Members::of(json, "descriptor")?;
        let digest = members.text("digest")?.ok_or_else(|| bad("digest", "is missing"))?;
        let data = members.text("data")?;
        let data =
            data.map(|text| base64::decode(text).ok_or_else(|| bad("data", "is not base64")));
        let found = Self {
            media_type: members.owned("mediaType")?,
            digest: Digest::parse(digest).map_err(|error| bad("digest", error))?,
            size: members.size("size")?,
            annotations: members.map("annotations")?,
            platform: members.get("platform")?.map(Platform::read).transpose()?,
            data: data.transpose()?,
        };
        if let Some(data) = &found.data {
            found.check(data).map_err(|error| bad("data", error))?;
        }
        Ok(found)
    }

    /// What its type stands for, if it is known.
    pub fn kind(&self) -> Option<media::Kind> {
        media::kind(&self.media_type)
    }

    /// Compares bytes with what was promised. An algorithm that is not known promises nothing, so none match.
    ///
    /// # Errors
    /// See [`Mismatch`].
    pub fn check(&self, bytes: &[u8]) -> Result<(), Mismatch> {
        let found = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if found != self.size {
            return Err(Mismatch::Size { wanted: self.size, found });
        }
        self.digest.verifiable()?;
        if self.digest.matches(bytes) { Ok(()) } else { Err(Mismatch::Digest(self.digest.clone())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::parse;

    fn read(rest: &str) -> Result<Descriptor, DocumentError> {
        let digest = Digest::of(b"{}");
        let json = format!(r#"{{"mediaType":"x","digest":"{digest}","size":2{rest}}}"#);
        Descriptor::read(&parse(json.as_bytes())?)
    }

    #[test]
    fn embedded_data_is_checked() {
        let found = read(r#","data":"e30=","annotations":{"a":"b"},"platform":null"#).unwrap();
        assert_eq!(found.data.as_deref(), Some(&b"{}"[..]));
        assert_eq!(found.annotations.get("a").map(String::as_str), Some("b"));
        for bad in [
            r#","data":"e31=""#,
            r#","data":"e30""#,
            r#","data":"e30g""#,
            r#","data":7"#,
            r#","annotations":{"a":1}"#,
            r#","platform":"linux""#,
            r#","Digest":"sha256:0""#,
        ] {
            read(bad).unwrap_err();
        }
    }

    #[test]
    fn promises_are_compared() {
        let found = read("").unwrap();
        found.check(b"{}").unwrap();
        assert_eq!(found.check(b"{}\n"), Err(Mismatch::Size { wanted: 2, found: 3 }));
        assert!(matches!(found.check(b"[]"), Err(Mismatch::Digest(_))));
        let digest = Digest::parse("md5:99914b932bd37a50b983c5e7c90ae93b").unwrap();
        let other = Descriptor { digest, ..found };
        assert!(matches!(other.check(b"{}"), Err(Mismatch::Algorithm(_))));
    }
}
