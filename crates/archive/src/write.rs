//! Writing App Container Images: the same tree gives the same bytes.

use crate::merge::{Merged, Node};
use crate::tree::{meta, shown, xattrs};
use rustix::fs::{FileType, Mode, OFlags, Stat, major, minor, openat, readlinkat};
use std::collections::HashMap;
use std::io::{self, Read, Write};
use sys::path::{At, PathError};

/// What becomes of time stamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// They stay.
    Keep,
    /// None is later than this many seconds after the epoch.
    Clamp(i64),
}

/// An image that could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The tree could not be read.
    #[error(transparent)]
    Read(#[from] PathError),
    /// The output could not be written.
    #[error("cannot write the image")]
    Write(#[source] io::Error),
}

/// The attributes of one member.
#[derive(Debug, Clone, Default)]
pub(crate) struct Member {
    pub path: Vec<u8>,
    pub link: Vec<u8>,
    /// As tar numbers it; 0 where it has no number for it.
    pub kind: u8,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub seconds: i64,
    pub nanoseconds: u32,
    pub device: (u32, u32),
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Member {
    /// What a stat tells of something below the root, which is the empty path.
    pub(crate) fn new(path: &[u8], stat: &Stat) -> Self {
        let attributes = meta(stat);
        let (kind, size, device) = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => (b'5', 0, 0),
            FileType::RegularFile => (b'0', stat.st_size.unsigned_abs(), 0),
            FileType::Symlink => (b'2', 0, 0),
            FileType::CharacterDevice => (b'3', 0, stat.st_rdev),
            FileType::BlockDevice => (b'4', 0, stat.st_rdev),
            FileType::Fifo => (b'6', 0, 0),
            // A socket means nothing without its server.
            _ => (0, 0, 0),
        };
        Self {
            path: if path.is_empty() { b"rootfs".to_vec() } else { [b"rootfs/", path].concat() },
            kind,
            size,
            device: (major(device), minor(device)),
            mode: attributes.mode,
            uid: attributes.uid,
            gid: attributes.gid,
            seconds: attributes.mtime.seconds,
            nanoseconds: attributes.mtime.nanoseconds,
            ..Self::default()
        }
    }

    /// Makes it another name of something that came before.
    pub(crate) fn link_to(&mut self, first: Vec<u8>) {
        (self.kind, self.size, self.link) = (b'1', 0, first);
        self.xattrs.clear();
    }
}

/// Writes an image member by member; all of them belong to root and changed at the epoch.
#[derive(Debug)]
pub struct AciWriter<W: Write> {
    pub(crate) out: W,
}

impl<W: Write> AciWriter<W> {
    /// Begins with the manifest and the folder of the files.
    ///
    /// # Errors
    /// The output fails.
    pub fn new(out: W, manifest: &[u8]) -> io::Result<Self> {
        let mut writer = Self { out };
        writer.file("manifest", 0o644, manifest)?;
        writer.dir("rootfs", 0o755)?;
        Ok(writer)
    }

    /// Adds a folder; the path begins with `rootfs/`.
    ///
    /// # Errors
    /// The output fails.
    pub fn dir(&mut self, path: &str, mode: u32) -> io::Result<()> {
        let member = Member { path: path.into(), kind: b'5', mode, ..Member::default() };
        self.header(&member)
    }

    /// Adds a file.
    ///
    /// # Errors
    /// The output fails.
    pub fn file(&mut self, path: &str, mode: u32, bytes: &[u8]) -> io::Result<()> {
        let size = bytes.len() as u64;
        let member = Member { path: path.into(), kind: b'0', mode, size, ..Member::default() };
        self.header(&member)?;
        self.out.write_all(bytes)?;
        self.pad(size)
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    /// The output fails.
    pub fn symlink(&mut self, path: &str, target: &str) -> io::Result<()> {
        let (path, link) = (path.into(), target.into());
        self.header(&Member { path, link, kind: b'2', mode: 0o777, ..Member::default() })
    }

    /// Ends the archive and gives the output back.
    ///
    /// # Errors
    /// The output fails.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 1024])?;
        self.out.flush()?;
        Ok(self.out)
    }

    pub(crate) fn pad(&mut self, size: u64) -> io::Result<()> {
        let rest = usize::try_from(size % 512).unwrap_or(0);
        let zeros = [0_u8; 512];
        self.out.write_all(zeros.get(rest..).filter(|_| rest > 0).unwrap_or_default())
    }

    pub(crate) fn header(&mut self, member: &Member) -> io::Result<()> {
        let mut records = Vec::new();
        let mut long = |key: &str, value: &[u8]| push_record(&mut records, key.as_bytes(), value);
        if member.path.len() > 100 {
            long("path", &member.path);
        }
        if member.link.len() > 100 {
            long("linkpath", &member.link);
        }
        const OCTAL7: u32 = 0o7_777_777;
        if member.uid > OCTAL7 {
            long("uid", member.uid.to_string().as_bytes());
        }
        if member.gid > OCTAL7 {
            long("gid", member.gid.to_string().as_bytes());
        }
        if member.size > 0o77_777_777_777 {
            long("size", member.size.to_string().as_bytes());
        }
        let plain_time = member.nanoseconds == 0 && (0..0o77_777_777_777).contains(&member.seconds);
        if !plain_time {
            long("mtime", time_text(member.seconds, member.nanoseconds).as_bytes());
        }
        for (name, value) in &member.xattrs {
            push_record(&mut records, &[b"SCHILY.xattr.", &name[..]].concat(), value);
        }
        if !records.is_empty() {
            let size = records.len() as u64;
            let special = Member {
                path: b"PaxHeaders/x".to_vec(),
                kind: b'x',
                mode: 0o644,
                size,
                ..Member::default()
            };
            self.block(&special, true)?;
            self.out.write_all(&records)?;
            self.pad(size)?;
        }
        self.block(member, plain_time)
    }

    fn block(&mut self, member: &Member, plain_time: bool) -> io::Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_mode(member.mode);
        header.set_uid(if member.uid > 0o7_777_777 { 0 } else { member.uid.into() });
        header.set_gid(if member.gid > 0o7_777_777 { 0 } else { member.gid.into() });
        header.set_size(if member.size > 0o77_777_777_777 { 0 } else { member.size });
        header.set_mtime(if plain_time { member.seconds.unsigned_abs() } else { 0 });
        header.set_entry_type(tar::EntryType::new(member.kind));
        header.set_device_major(member.device.0)?;
        header.set_device_minor(member.device.1)?;
        let bytes = header.as_mut_bytes();
        for (from, text) in [(0_usize, &member.path), (157, &member.link)] {
            let field = bytes.get_mut(from..from + 100).unwrap_or_default();
            for (slot, byte) in field.iter_mut().zip(text) {
                *slot = *byte;
            }
        }
        header.set_cksum();
        self.out.write_all(header.as_bytes())
    }
}

/// A PAX record begins with its own length.
fn push_record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} ").as_bytes());
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

fn time_text(seconds: i64, nanoseconds: u32) -> String {
    let total = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
    let (sign, total) = if total < 0 { ("-", -total) } else { ("", total) };
    let text = format!("{sign}{}.{:09}", total / 1_000_000_000, total % 1_000_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Writes a manifest and the merged view of some layers as an image, not compressed.
///
/// # Errors
/// See [`WriteError`].
pub fn aci<W: Write>(
    out: W,
    manifest: &[u8],
    root: &Merged,
    times: Times,
) -> Result<W, WriteError> {
    let mut writer = AciWriter { out };
    writer.file("manifest", 0o644, manifest).map_err(WriteError::Write)?;
    let mut first_names: HashMap<(usize, u64), Vec<u8>> = HashMap::new();
    root.walk(&mut |node: &Node<'_>| {
        let mut member = member_of(node, times)?;
        let is_dir = FileType::from_raw_mode(node.stat.st_mode) == FileType::Directory;
        if !is_dir && node.stat.st_nlink > 1 {
            let key = (node.layer, node.stat.st_ino);
            if let Some(first) = first_names.get(&key) {
                member.link_to(first.clone());
                return writer.header(&member).map_err(WriteError::Write);
            }
            first_names.insert(key, member.path.clone());
        }
        if member.kind == 0 {
            return Ok(());
        }
        writer.header(&member).map_err(WriteError::Write)?;
        if member.kind == b'0' { content(&mut writer, node, member.size) } else { Ok(()) }
    })?;
    writer.finish().map_err(WriteError::Write)
}

fn member_of(node: &Node<'_>, times: Times) -> Result<Member, WriteError> {
    let open = |flags| {
        let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        openat(node.dir, node.name, flags, Mode::empty()).at("open", shown(node.path))
    };
    let mut member = Member::new(node.path, node.stat);
    match member.kind {
        b'5' => {
            member.xattrs = xattrs(&open(OFlags::DIRECTORY)?).at("getxattr", shown(node.path))?.0;
        }
        b'0' => {
            member.xattrs = xattrs(&open(OFlags::empty())?).at("getxattr", shown(node.path))?.0;
        }
        b'2' => {
            let target =
                readlinkat(node.dir, node.name, Vec::new()).at("readlink", shown(node.path))?;
            member.link = target.into_bytes();
        }
        _ => {}
    }
    if let Times::Clamp(latest) = times
        && member.seconds >= latest
    {
        (member.seconds, member.nanoseconds) = (latest, 0);
    }
    Ok(member)
}

fn content<W: Write>(
    writer: &mut AciWriter<W>,
    node: &Node<'_>,
    size: u64,
) -> Result<(), WriteError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = openat(node.dir, node.name, flags, Mode::empty()).at("open", shown(node.path))?;
    let mut file = std::fs::File::from(fd).take(size);
    let mut buffer = vec![0_u8; 128 << 10];
    let mut left = size;
    while left > 0 {
        let n = file.read(&mut buffer).at("read", shown(node.path))?;
        if n == 0 {
            let cut = io::Error::from(io::ErrorKind::UnexpectedEof);
            return Err(PathError::new("read", shown(node.path), cut).into());
        }
        writer.out.write_all(buffer.get(..n).unwrap_or_default()).map_err(WriteError::Write)?;
        left = left.saturating_sub(n as u64);
    }
    writer.pad(size).map_err(WriteError::Write)
}
