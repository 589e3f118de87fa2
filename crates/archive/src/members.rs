//! A tar that holds blobs: where in it each lies. Nothing is unpacked, so names are only keys to look up.

use crate::tar::{Kind, TarError, TarReader};
use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};

/// No archive of an image has more members.
const MEMBERS: usize = 100_000;
/// Bytes of all names together.
const NAMES: usize = 32 << 20;
/// How many links may lead from one to the next.
const LINKS: usize = 16;

/// Why an archive cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MembersError {
    /// It is no tar, or a damaged one.
    #[error("not a valid archive")]
    Tar(#[source] TarError),
    /// Nobody can tell how long it is.
    #[error("cannot read the archive")]
    Read(#[source] io::Error),
    /// It has more members than any image.
    #[error("the archive has too many members")]
    TooMany,
}

/// Where the bytes of a member lie in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The first byte.
    pub offset: u64,
    /// How many there are.
    pub size: u64,
}

#[derive(Debug)]
enum Member {
    File(Place),
    Link(String),
}

/// The members of an archive by name. Where two have one name, the later one counts, as when unpacked.
#[derive(Debug)]
pub struct Members(BTreeMap<String, Member>);

impl Members {
    /// Reads the headers of an archive, from its start to its end.
    ///
    /// # Errors
    /// See [`MembersError`].
    pub fn list(mut archive: impl Read + Seek) -> Result<Self, MembersError> {
        let length = archive.seek(SeekFrom::End(0)).map_err(MembersError::Read)?;
        archive.rewind().map_err(MembersError::Read)?;
        let mut tar = TarReader::new(archive);
        let (mut found, mut names) = (BTreeMap::new(), 0_usize);
        while let Some(entry) = tar.next().map_err(MembersError::Tar)? {
            let offset = tar.pass().map_err(MembersError::Tar)?;
            let Some(name) = clean("", &entry.path) else { continue };
            names = names.saturating_add(entry.path.len()).saturating_add(entry.link.len());
            if found.len() >= MEMBERS || names > NAMES {
                return Err(MembersError::TooMany);
            }
            let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
            let member = match entry.kind {
                // The data of a sparse file is not its content.
                Kind::File if entry.extents.is_none() => {
                    let end = offset.checked_add(entry.size);
                    if end.is_none_or(|end| end > length) {
                        return Err(MembersError::Tar(TarError::Truncated));
                    }
                    Some(Member::File(Place { offset, size: entry.size }))
                }
                Kind::HardLink => clean("", &entry.link).map(Member::Link),
                Kind::Symlink => clean(folder, &entry.link).map(Member::Link),
                _ => None,
            };
            match member {
                Some(member) => drop(found.insert(name, member)),
                None => drop(found.remove(&name)),
            }
        }
        Ok(Self(found))
    }

    /// The file of this name, or the one that the links of this name lead to; `None` outside the archive.
    pub fn find(&self, name: &str) -> Option<Place> {
        let mut name = clean("", name.as_bytes())?;
        for _ in 0..LINKS {
            match self.0.get(&name)? {
                Member::File(place) => return Some(*place),
                Member::Link(target) => name.clone_from(target),
            }
        }
        None
    }
}

/// A name without dots and superfluous slashes, seen from a folder; `None` if it leads out or is no text.
fn clean(folder: &str, name: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(name).ok()?;
    let from = if name.starts_with('/') { "" } else { folder };
    let mut parts: Vec<&str> = Vec::new();
    for part in from.split('/').chain(name.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            other => parts.push(other),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "tests know their lengths")]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn header(kind: tar::EntryType, size: u64) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(0o644);
        header
    }

    fn archive() -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, content) in
            [("./blobs/a", "first"), ("b/layer.tar", "second"), ("blobs/a", "third")]
        {
            let mut header = header(tar::EntryType::Regular, content.len() as u64);
            tar.append_data(&mut header, name, content.as_bytes()).unwrap();
        }
        for (kind, name, target) in [
            (tar::EntryType::Symlink, "c/layer.tar", "../b/layer.tar"),
            (tar::EntryType::Link, "hard", "b/layer.tar"),
            (tar::EntryType::Symlink, "c/out", "../../etc/passwd"),
            (tar::EntryType::Symlink, "loop", "loop"),
            (tar::EntryType::Symlink, "absolute", "/blobs/a"),
        ] {
            tar.append_link(&mut header(kind, 0), name, target).unwrap();
        }
        tar.into_inner().unwrap()
    }

    #[test]
    fn finds_files_and_what_links_lead_to() {
        let bytes = archive();
        let members = Members::list(Cursor::new(&bytes)).unwrap();
        for (name, content) in [
            ("blobs/a", Some("third")),
            ("/blobs//./a", Some("third")),
            ("absolute", Some("third")),
            ("c/layer.tar", Some("second")),
            ("x/../hard", Some("second")),
            ("c/out", None),
            ("loop", None),
            ("../blobs/a", None),
            ("blobs", None),
            ("", None),
        ] {
            let found = members.find(name).map(|place| {
                let (from, size) =
                    (usize::try_from(place.offset).unwrap(), usize::try_from(place.size).unwrap());
                std::str::from_utf8(&bytes[from..from + size]).unwrap()
            });
            assert_eq!(found, content, "{name}");
        }
    }

    #[test]
    fn refuses_what_is_cut_off() {
        let bytes = archive();
        let error = Members::list(Cursor::new(&bytes[..514])).unwrap_err();
        assert!(matches!(error, MembersError::Tar(TarError::Truncated)), "{error}");
        Members::list(Cursor::new(&b"no tar at all"[..])).unwrap_err();
    }
}
