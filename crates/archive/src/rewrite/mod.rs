//! The files of an App Container Image, as somebody gives them who is not believed, written anew.
//!
//! In: a tar whose members are `rootfs` and what lies below it, a folder before what it holds, a file before its further
//! names. Out: an image of a manifest and these files, that can be unpacked by anybody: every member lies in a folder that
//! is one, stands there once, and says nothing that was not understood. What breaks a rule is an error, never left out.

use crate::catalogue::keeps_xattr;
use crate::error::UnpackError;
use crate::extract::components;
use crate::limits::Limits;
use crate::tar::{Entry, Kind, TarError, TarReader};
use crate::write::{AciWriter, Member};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io::{self, Read, Write};

/// Bytes of the extended attributes of one member; a reader takes no larger header.
const XATTRS: usize = 512 << 10;
/// The largest numbers of a device that a kernel has.
const DEVICE: (u32, u32) = ((1 << 12) - 1, (1 << 20) - 1);
/// What is carried at once.
const PIECE: usize = 64 << 10;

/// Files that could not be written anew.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// What comes is no tree of files.
    #[error(transparent)]
    Stream(#[from] UnpackError),
    /// The image cannot be written.
    #[error("cannot write the image")]
    Write(#[source] io::Error),
}

impl From<TarError> for RewriteError {
    fn from(error: TarError) -> Self {
        Self::Stream(error.into())
    }
}

impl RewriteError {
    /// Whether the stream did not go on, rather than being wrong.
    pub fn is_cut_off(&self) -> bool {
        let cut = |error: &TarError| matches!(error, TarError::Truncated | TarError::Read(_));
        matches!(self, Self::Stream(UnpackError::Tar(error)) if cut(error))
    }
}

/// What a path is, as far as others depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Made {
    Folder,
    Other,
}

/// Half a hash a path: a false match needs 2^64 tries, a table of names would need their memory.
#[derive(Debug, Default)]
struct Known(HashMap<[u8; 16], Made>);

impl Known {
    fn key(parts: &[&[u8]]) -> [u8; 16] {
        let hash: [u8; 32] = Sha256::digest(parts.join(&b'/')).into();
        hash.first_chunk::<16>().copied().unwrap_or_default()
    }

    fn get(&self, parts: &[&[u8]]) -> Option<Made> {
        self.0.get(&Self::key(parts)).copied()
    }
}

/// Writes a manifest, and files that come as a tar, as an image that is not compressed.
///
/// # Errors
/// See [`RewriteError`].
pub fn aci<W: Write>(
    out: W,
    manifest: &[u8],
    files: &mut dyn Read,
    limits: &Limits,
) -> Result<W, RewriteError> {
    let mut writer = AciWriter { out };
    writer.file("manifest", 0o644, manifest).map_err(RewriteError::Write)?;
    let mut reader = TarReader::new(files);
    let mut known = Known::default();
    let (mut entries, mut bytes) = (0_u64, 0_u64);
    while let Some(entry) = reader.next()? {
        entries = entries.saturating_add(1);
        bytes = bytes.saturating_add(entry.size);
        if entries > limits.entries {
            return Err(UnpackError::Limit { limit: limits.entries, what: "entries" }.into());
        }
        if bytes > limits.bytes {
            return Err(UnpackError::Limit { limit: limits.bytes, what: "bytes" }.into());
        }
        let member = member(&entry, &mut known, limits)?;
        writer.header(&member).map_err(RewriteError::Write)?;
        if entry.kind == Kind::File {
            content(&mut writer, &entry, &mut reader)?;
        }
    }
    if !reader.has_end() {
        return Err(TarError::Truncated.into());
    }
    reader.finish()?;
    if known.0.is_empty() {
        return Err(UnpackError::entry(b"rootfs", "it is missing").into());
    }
    writer.finish().map_err(RewriteError::Write)
}

/// Checks an entry by what came before: how it is written.
fn member(entry: &Entry, known: &mut Known, limits: &Limits) -> Result<Member, UnpackError> {
    let wrong = |problem| UnpackError::entry(&entry.path, problem);
    let below = |path: &[u8]| path == b"rootfs" || path.starts_with(b"rootfs/");
    if !below(&entry.path) {
        return Err(wrong("it does not lie below rootfs"));
    }
    let parts = components(&entry.path, limits)?;
    let (is_root, is_folder) = (parts.len() == 1, entry.kind == Kind::Dir);
    let holder = parts.split_last().map_or(&[][..], |(_, holder)| holder);
    if is_root && !is_folder {
        return Err(wrong("it is no folder"));
    }
    if !is_root && known.get(holder) != Some(Made::Folder) {
        return Err(wrong("there is no such folder to hold it"));
    }
    let mut link = Vec::new();
    let kind = match entry.kind {
        Kind::File => b'0',
        Kind::Dir => b'5',
        Kind::Fifo => b'6',
        Kind::Char | Kind::Block if entry.device.0 > DEVICE.0 || entry.device.1 > DEVICE.1 => {
            return Err(wrong("no device has its number"));
        }
        Kind::Char => b'3',
        Kind::Block => b'4',
        Kind::Symlink if entry.link.is_empty() || entry.link.len() > limits.path => {
            return Err(wrong("its target is empty or too long"));
        }
        Kind::Symlink => {
            link.clone_from(&entry.link);
            b'2'
        }
        Kind::HardLink => {
            let target = components(&entry.link, limits).unwrap_or_default();
            if !below(&entry.link) || known.get(&target) != Some(Made::Other) {
                return Err(wrong("it is a further name of something that is not there"));
            }
            link = target.join(&b'/');
            b'1'
        }
        Kind::Other => return Err(wrong("it is of an unknown kind")),
    };
    let made = if is_folder { Made::Folder } else { Made::Other };
    if known.0.insert(Known::key(&parts), made).is_some() {
        return Err(wrong("it is there twice"));
    }
    check_attributes(entry)?;
    // Those of a further name are those of the first.
    let xattrs = if entry.kind == Kind::HardLink { Vec::new() } else { entry.xattrs.clone() };
    Ok(Member {
        path: parts.join(&b'/'),
        link,
        kind,
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        size: if entry.kind == Kind::File { entry.size } else { 0 },
        seconds: entry.mtime.seconds,
        nanoseconds: entry.mtime.nanoseconds,
        device: entry.device,
        xattrs,
    })
}

/// Extended attributes are those that an image may carry.
fn check_attributes(entry: &Entry) -> Result<(), UnpackError> {
    let wrong = |problem| UnpackError::entry(&entry.path, problem);
    let mut size = 0_usize;
    for (name, value) in &entry.xattrs {
        size = size.saturating_add(name.len()).saturating_add(value.len());
        if !keeps_xattr(name) || name.contains(&0) || name.contains(&b'=') {
            return Err(wrong("it has an extended attribute that no image has"));
        }
    }
    if size > XATTRS {
        return Err(wrong("its extended attributes are too large"));
    }
    Ok(())
}

/// Copies the bytes of a file; those that a sparse one leaves out are zeros.
fn content<W: Write>(
    writer: &mut AciWriter<W>,
    entry: &Entry,
    reader: &mut TarReader<&mut dyn Read>,
) -> Result<(), RewriteError> {
    let mut buffer = vec![0_u8; PIECE];
    let mut at = 0_u64;
    for extent in entry.extents.as_deref().unwrap_or_default() {
        zeros(writer, extent.offset.saturating_sub(at))?;
        copy(writer, reader, extent.length, &mut buffer)?;
        at = extent.offset.saturating_add(extent.length);
    }
    if entry.extents.is_some() {
        zeros(writer, entry.size.saturating_sub(at))?;
    } else {
        copy(writer, reader, entry.size, &mut buffer)?;
    }
    writer.pad(entry.size).map_err(RewriteError::Write)
}

fn copy<W: Write>(
    writer: &mut AciWriter<W>,
    reader: &mut TarReader<&mut dyn Read>,
    length: u64,
    buffer: &mut [u8],
) -> Result<(), RewriteError> {
    let mut left = length;
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(PIECE).min(buffer.len());
        let piece = buffer.get_mut(..most).unwrap_or_default();
        let count = reader.read(piece)?;
        if count == 0 {
            return Err(TarError::Truncated.into());
        }
        let bytes = buffer.get(..count).unwrap_or_default();
        writer.out.write_all(bytes).map_err(RewriteError::Write)?;
        left = left.saturating_sub(count as u64);
    }
    Ok(())
}

fn zeros<W: Write>(writer: &mut AciWriter<W>, length: u64) -> Result<(), RewriteError> {
    io::copy(&mut io::repeat(0).take(length), &mut writer.out)
        .map(drop)
        .map_err(RewriteError::Write)
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "tests know their lengths")]
mod tests;
