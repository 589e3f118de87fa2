//! Making entries below a folder: the part that layers and App Container Images share.

use crate::catalogue::{Catalogue, Item, ItemKind, Meta, keeps_xattr, record, whiteout};
use crate::error::UnpackError;
use crate::limits::Limits;
use crate::remove;
use crate::tar::{Entry, Kind, TarReader, Time};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags,
    chmodat, chownat, fchmod, fchown, fsetxattr, ftruncate, futimens, linkat, makedev, mkdirat,
    mknodat, openat, openat2, statat, symlinkat, utimensat,
};
use std::collections::VecDeque;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

/// What a link on the way to an entry means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Links {
    /// It leads on, inside the root (OCI layers).
    Follow,
    /// It is replaced by a folder (App Container Images).
    Replace,
}

/// As many links on one way are a loop.
const LINKS: u32 = 40;
/// Files up to this size are written at once; larger ones in pieces of it.
const PIECE: usize = 256 << 10;
/// As many folders stay open.
const OPEN_DIRS: usize = 24;
/// As many remarks are kept.
const NOTES: usize = 20;

/// Makes entries below one folder.
pub(crate) struct Extractor<'a> {
    root: OwnedFd,
    pub(crate) catalogue: Catalogue,
    limits: &'a Limits,
    links: Links,
    open: Vec<(Vec<u8>, Rc<OwnedFd>)>,
    buffer: Vec<u8>,
    pub(crate) bytes: u64,
    pub(crate) entries: u64,
    pub(crate) notes: Vec<String>,
}

/// Where an entry goes: an open folder, its path without links, and a name in it.
pub(crate) struct Place {
    pub dir: Rc<OwnedFd>,
    pub real: Vec<u8>,
    pub name: Vec<u8>,
}

pub(crate) fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() { name.to_owned() } else { [dir, b"/", name].concat() }
}

/// The folder and the name of a path without links.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(at) => (path.get(..at).unwrap_or_default(), path.get(at + 1..).unwrap_or_default()),
        None => (&[], path),
    }
}

/// The components of an entry's path; leading slashes and single dots do not count.
pub(crate) fn components<'p>(
    path: &'p [u8],
    limits: &Limits,
) -> Result<Vec<&'p [u8]>, UnpackError> {
    if path.len() > limits.path {
        return Err(UnpackError::entry(path, "the path is too long"));
    }
    let parts: Vec<&[u8]> =
        path.split(|b| *b == b'/').filter(|p| !p.is_empty() && *p != b".").collect();
    if parts.contains(&b"..".as_slice()) {
        return Err(UnpackError::entry(path, "the path leads upwards"));
    }
    if parts.len() > limits.depth {
        return Err(UnpackError::entry(path, "the path is too deep"));
    }
    Ok(parts)
}

fn timestamps(time: Time) -> Timestamps {
    let stamp = Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() };
    Timestamps { last_access: stamp, last_modification: stamp }
}

impl<'a> Extractor<'a> {
    /// Takes an empty folder, which becomes the root: 0755, owned by root, changed at the epoch.
    pub(crate) fn new(
        into: BorrowedFd<'_>,
        limits: &'a Limits,
        links: Links,
    ) -> Result<Self, UnpackError> {
        let folder =
            |operation, cause: rustix::io::Errno| UnpackError::make(b".", operation, cause);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(into, ".", flags, Mode::empty()).map_err(|e| folder("open", e))?;
        rustix::process::umask(Mode::empty());
        fchown(&root, Some(Uid::ROOT), Some(Gid::ROOT)).map_err(|e| folder("chown", e))?;
        fchmod(&root, Mode::from_raw_mode(0o755)).map_err(|e| folder("chmod", e))?;
        let mut catalogue = Catalogue::default();
        let mut item = Item::dir(Meta { mode: 0o755, ..Meta::default() });
        item.implied = true;
        catalogue.insert(Vec::new(), item);
        Ok(Self {
            root,
            catalogue,
            limits,
            links,
            open: Vec::new(),
            buffer: vec![0; PIECE],
            bytes: 0,
            entries: 0,
            notes: Vec::new(),
        })
    }

    /// Counts an entry against the limits.
    pub(crate) fn count(&mut self) -> Result<(), UnpackError> {
        self.entries = self.entries.saturating_add(1);
        if self.entries > self.limits.entries {
            return Err(UnpackError::Limit { limit: self.limits.entries, what: "entries" });
        }
        Ok(())
    }

    pub(crate) fn note(&mut self, name: &[u8], text: &str) {
        if self.notes.len() < NOTES {
            self.notes.push(format!("{}: {text}", crate::error::EntryName::from(name)));
        }
    }

    /// The open folder of a path without links.
    pub(crate) fn dir(&mut self, real: &[u8]) -> Result<Rc<OwnedFd>, UnpackError> {
        if let Some((_, fd)) = self.open.iter().rev().find(|(path, _)| path == real) {
            return Ok(Rc::clone(fd));
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let name = if real.is_empty() { b".".as_slice() } else { real };
        let fd = openat2(&self.root, name, flags, Mode::empty(), resolve);
        let fd = Rc::new(fd.map_err(|e| UnpackError::make(real, "open", e))?);
        if self.open.len() >= OPEN_DIRS {
            self.open.remove(0);
        }
        self.open.push((real.to_owned(), Rc::clone(&fd)));
        Ok(fd)
    }

    /// Finds the folder that an entry belongs into, making what is missing on the way.
    pub(crate) fn place(&mut self, path: &[u8], parts: &[&[u8]]) -> Result<Place, UnpackError> {
        let (name, parents) =
            parts.split_last().ok_or_else(|| UnpackError::entry(path, "the path is empty"))?;
        let mut todo: VecDeque<Vec<u8>> = parents.iter().map(|p| p.to_vec()).collect();
        let mut real: Vec<u8> = Vec::new();
        let (mut links, mut through_link) = (0, false);
        while let Some(part) = todo.pop_front() {
            if part == b".." {
                real.truncate(split(&real).0.len());
                continue;
            }
            let child = join(&real, &part);
            match self.catalogue.get(&child).map(|item| item.kind) {
                Some(ItemKind::Dir) => real = child,
                Some(ItemKind::Symlink) if self.links == Links::Follow => {
                    links += 1;
                    through_link = true;
                    if links > LINKS {
                        return Err(UnpackError::entry(path, "too many links on the way"));
                    }
                    let dir = self.dir(&real)?;
                    let target = rustix::fs::readlinkat(&*dir, part.as_slice(), Vec::new());
                    let target =
                        target.map_err(|e| UnpackError::make(path, "readlink", e))?.into_bytes();
                    if target.starts_with(b"/") {
                        real.clear();
                    }
                    for part in
                        target.split(|b| *b == b'/').rev().filter(|p| !p.is_empty() && *p != b".")
                    {
                        todo.push_front(part.to_vec());
                    }
                }
                None | Some(ItemKind::Whiteout) => {
                    self.make_implied(&real, &part, through_link)?;
                    real = child;
                }
                Some(_) if self.links == Links::Replace => {
                    self.clear(&child)?;
                    self.make_implied(&real, &part, false)?;
                    real = child;
                }
                Some(_) => return Err(UnpackError::entry(path, "its parent is not a folder")),
            }
            if real.len() > self.limits.path {
                return Err(UnpackError::entry(path, "the path is too long"));
            }
        }
        Ok(Place { dir: self.dir(&real)?, real: join(&real, name), name: name.to_vec() })
    }

    /// Looks a path up without making anything; `None` where this tree does not have it.
    pub(crate) fn find(
        &mut self,
        path: &[u8],
        parts: &[&[u8]],
    ) -> Result<Option<Vec<u8>>, UnpackError> {
        let mut todo: VecDeque<Vec<u8>> = parts.iter().map(|p| p.to_vec()).collect();
        let mut real: Vec<u8> = Vec::new();
        let mut links = 0;
        while let Some(part) = todo.pop_front() {
            if part == b".." {
                real.truncate(split(&real).0.len());
                continue;
            }
            let child = join(&real, &part);
            match self.catalogue.get(&child).map(|item| item.kind) {
                None => return Ok(None),
                // The last component is taken as it is.
                Some(_) if todo.is_empty() => return Ok(Some(child)),
                Some(ItemKind::Dir) => real = child,
                Some(ItemKind::Symlink) => {
                    links += 1;
                    if links > LINKS {
                        return Err(UnpackError::entry(path, "too many links on the way"));
                    }
                    let dir = self.dir(&real)?;
                    let target = rustix::fs::readlinkat(&*dir, part.as_slice(), Vec::new());
                    let target =
                        target.map_err(|e| UnpackError::make(path, "readlink", e))?.into_bytes();
                    if target.starts_with(b"/") {
                        real.clear();
                    }
                    for part in
                        target.split(|b| *b == b'/').rev().filter(|p| !p.is_empty() && *p != b".")
                    {
                        todo.push_front(part.to_vec());
                    }
                }
                Some(_) => return Err(UnpackError::entry(path, "its target is not in the image")),
            }
        }
        Ok(None)
    }

    /// Whether what is made in the folder of this path takes the folder's group, and folders its set-group-id bit.
    fn inherits(&self, real: &[u8]) -> bool {
        let parent = self.catalogue.get(split(real).0).and_then(|item| item.meta.as_ref());
        parent.is_some_and(|meta| meta.mode & 0o2000 != 0)
    }

    fn make_implied(
        &mut self,
        parent: &[u8],
        name: &[u8],
        through_link: bool,
    ) -> Result<(), UnpackError> {
        self.count()?;
        let path = join(parent, name);
        let whited_out = self.catalogue.get(&path).is_some_and(|i| i.kind == ItemKind::Whiteout);
        if whited_out {
            self.clear(&path)?;
        }
        let dir = self.dir(parent)?;
        let fail = |operation, cause| UnpackError::make(&path, operation, cause);
        mkdirat(&*dir, name, Mode::from_raw_mode(0o755)).map_err(|e| fail("mkdir", e))?;
        if self.inherits(&path) {
            let nofollow = AtFlags::SYMLINK_NOFOLLOW;
            chownat(&*dir, name, Some(Uid::ROOT), Some(Gid::ROOT), nofollow)
                .map_err(|e| fail("chown", e))?;
            chmodat(&*dir, name, Mode::from_raw_mode(0o755), AtFlags::empty())
                .map_err(|e| fail("chmod", e))?;
        }
        let mut item = Item::dir(Meta { mode: 0o755, ..Meta::default() });
        // What a whiteout hid below stays hidden; then nothing of the folder comes from there.
        (item.implied, item.through_link) = (!whited_out, through_link);
        self.catalogue.insert(path.clone(), item);
        if whited_out { self.make_opaque(&path) } else { Ok(()) }
    }

    /// Hides what lower layers have below a folder of this tree.
    pub(crate) fn make_opaque(&mut self, real: &[u8]) -> Result<(), UnpackError> {
        let fail = |operation, cause| UnpackError::make(real, operation, cause);
        if self.catalogue.get(real).is_none_or(|item| item.opaque) {
            return Ok(());
        }
        let dir = self.dir(real)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = openat(&*dir, ".", flags, Mode::empty()).map_err(|e| fail("open", e))?;
        fsetxattr(&fd, c"trusted.overlay.opaque", b"y", XattrFlags::empty())
            .map_err(|e| fail("setxattr", e))?;
        if let Some(item) = self.catalogue.get_mut(real) {
            item.opaque = true;
        }
        Ok(())
    }

    /// Removes what stands at a path, with all below it.
    pub(crate) fn clear(&mut self, real: &[u8]) -> Result<(), UnpackError> {
        let (parent, name) = split(real);
        let dir = self.dir(parent)?;
        remove::tree(dir.as_fd(), name).map_err(|e| UnpackError::make(real, "remove", e))?;
        self.catalogue.remove(real);
        let below = [real, b"/"].concat();
        self.open.retain(|(path, _)| path != real && !path.starts_with(&below));
        Ok(())
    }

    /// Puts a whiteout where lower layers have something.
    pub(crate) fn make_whiteout(&mut self, place: &Place) -> Result<(), UnpackError> {
        let mode = Mode::empty();
        mknodat(&*place.dir, place.name.as_slice(), FileType::CharacterDevice, mode, 0)
            .map_err(|e| UnpackError::make(&place.real, "mknod", e))?;
        self.catalogue.insert(place.real.clone(), Item::new(ItemKind::Whiteout, 0, whiteout()));
        Ok(())
    }

    /// The attributes of an entry that are kept.
    fn meta(&mut self, entry: &Entry) -> Meta {
        let kept = matches!(entry.kind, Kind::File | Kind::Dir);
        let mut xattrs = Vec::new();
        for (name, value) in &entry.xattrs {
            if kept && keeps_xattr(name) {
                xattrs.push((name.clone(), value.clone()));
            } else {
                self.note(&entry.path, "an extended attribute is left out");
            }
        }
        Meta { mode: entry.mode, uid: entry.uid, gid: entry.gid, mtime: entry.mtime, xattrs }
    }

    /// Makes one entry that is neither a hard link nor a folder, replacing what stands there.
    pub(crate) fn make<R: Read>(
        &mut self,
        place: &Place,
        entry: &Entry,
        data: &mut TarReader<R>,
    ) -> Result<(), UnpackError> {
        if self.catalogue.get(&place.real).is_some() {
            self.clear(&place.real)?;
        }
        let meta = self.meta(entry);
        let item = match entry.kind {
            Kind::File => self.make_file(place, entry, &meta, data)?,
            Kind::Symlink => {
                if entry.link.is_empty() || entry.link.len() > 4095 {
                    return Err(UnpackError::entry(
                        &entry.path,
                        "the target of the link is empty or too long",
                    ));
                }
                symlinkat(entry.link.as_slice(), &*place.dir, place.name.as_slice())
                    .map_err(|e| UnpackError::make(&place.real, "symlink", e))?;
                self.finish_node(place, &meta, ItemKind::Symlink, &entry.link)?
            }
            Kind::Fifo => self.make_node(place, &meta, FileType::Fifo, 0)?,
            Kind::Char | Kind::Block => {
                let (major, minor) = entry.device;
                let kind = if entry.kind == Kind::Char {
                    FileType::CharacterDevice
                } else {
                    FileType::BlockDevice
                };
                if kind == FileType::CharacterDevice && (major, minor) == (0, 0) {
                    return Err(UnpackError::entry(
                        &entry.path,
                        "device 0:0 means something else here",
                    ));
                }
                self.make_node(place, &meta, kind, makedev(major, minor))?
            }
            Kind::Dir | Kind::HardLink | Kind::Other => {
                self.note(&entry.path, "is of a kind that is left out");
                return Ok(());
            }
        };
        self.catalogue.insert(place.real.clone(), item);
        Ok(())
    }

    fn make_node(
        &self,
        place: &Place,
        meta: &Meta,
        kind: FileType,
        device: u64,
    ) -> Result<Item, UnpackError> {
        let fail = |operation, cause| UnpackError::make(&place.real, operation, cause);
        mknodat(&*place.dir, place.name.as_slice(), kind, Mode::from_raw_mode(meta.mode), device)
            .map_err(|e| fail("mknod", e))?;
        let item = if kind == FileType::Fifo { ItemKind::Fifo } else { ItemKind::Device };
        let tag = match kind {
            FileType::Fifo => b'p',
            FileType::CharacterDevice => b'c',
            _ => b'b',
        };
        let rest = [&[tag][..], &device.to_le_bytes()].concat();
        self.finish_node(place, meta, item, &rest)
    }

    /// Sets owner and time of something that is not opened, and takes its record.
    fn finish_node(
        &self,
        place: &Place,
        meta: &Meta,
        kind: ItemKind,
        rest: &[u8],
    ) -> Result<Item, UnpackError> {
        let fail = |operation, cause| UnpackError::make(&place.real, operation, cause);
        let name = place.name.as_slice();
        if (meta.uid, meta.gid) != (0, 0) || self.inherits(&place.real) {
            let (uid, gid) = (Uid::from_raw(meta.uid), Gid::from_raw(meta.gid));
            chownat(&*place.dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|e| fail("chown", e))?;
        }
        let stamps = timestamps(meta.mtime);
        utimensat(&*place.dir, name, &stamps, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|e| fail("utimens", e))?;
        let found =
            statat(&*place.dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| fail("stat", e))?;
        // Modes of links mean nothing.
        let mode = if kind == ItemKind::Symlink { 0 } else { meta.mode };
        let shown = Meta { mode, ..meta.clone() };
        let tag = if kind == ItemKind::Symlink { b'l' } else { b'n' };
        Ok(Item::new(kind, found.st_ino, record(tag, &shown, rest)))
    }

    fn make_file<R: Read>(
        &mut self,
        place: &Place,
        entry: &Entry,
        meta: &Meta,
        data: &mut TarReader<R>,
    ) -> Result<Item, UnpackError> {
        let fail = |operation, cause| UnpackError::make(&place.real, operation, cause);
        self.bytes = self.bytes.saturating_add(entry.size);
        if self.bytes > self.limits.bytes {
            return Err(UnpackError::Limit { limit: self.limits.bytes, what: "bytes" });
        }
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(meta.mode & 0o777);
        let fd =
            openat(&*place.dir, place.name.as_slice(), flags, mode).map_err(|e| fail("open", e))?;
        let content = self.write_content(&fd, place, entry, data)?;
        if (meta.uid, meta.gid) != (0, 0) || self.inherits(&place.real) {
            let (uid, gid) = (Uid::from_raw(meta.uid), Gid::from_raw(meta.gid));
            fchown(&fd, Some(uid), Some(gid)).map_err(|e| fail("chown", e))?;
        }
        if meta.mode & 0o7000 != 0 {
            fchmod(&fd, Mode::from_raw_mode(meta.mode)).map_err(|e| fail("chmod", e))?;
        }
        for (name, value) in &meta.xattrs {
            fsetxattr(&fd, name.as_slice(), value, XattrFlags::empty())
                .map_err(|e| fail("setxattr", e))?;
        }
        futimens(&fd, &timestamps(meta.mtime)).map_err(|e| fail("utimens", e))?;
        // The inode is only needed where a second name appears; asking now would cost a call a file.
        let rest = [&entry.size.to_le_bytes()[..], &content].concat();
        Ok(Item::new(ItemKind::File, 0, record(b'f', meta, &rest)))
    }

    fn write_content<R: Read>(
        &mut self,
        fd: &OwnedFd,
        place: &Place,
        entry: &Entry,
        data: &mut TarReader<R>,
    ) -> Result<[u8; 32], UnpackError> {
        let fail = |operation, cause| UnpackError::make(&place.real, operation, cause);
        let mut hash = blake3::Hasher::new();
        let (mut at, mut written) = (0_u64, 0_u64);
        let whole = [crate::tar::Extent { offset: 0, length: entry.size }];
        for extent in entry.extents.as_deref().unwrap_or(&whole) {
            hash_zeros(&mut hash, extent.offset.saturating_sub(at));
            at = extent.offset;
            let end = extent.offset.saturating_add(extent.length);
            while at < end {
                let most = usize::try_from(end - at).unwrap_or(usize::MAX).min(PIECE);
                let piece = self.buffer.get_mut(..most).unwrap_or_default();
                let n = data.read_full(piece)?;
                let piece = piece.get(..n).unwrap_or_default();
                if n == 0 {
                    return Err(UnpackError::entry(&entry.path, "its data is missing"));
                }
                hash.update(piece);
                // A run of zeros becomes a hole: the content is the same.
                if n < 4096 || !is_zero(piece) {
                    write_at(fd, piece, at).map_err(|e| fail("write", e))?;
                    written = at.saturating_add(n as u64);
                }
                at = at.saturating_add(n as u64);
            }
        }
        hash_zeros(&mut hash, entry.size.saturating_sub(at));
        if written < entry.size {
            ftruncate(fd, entry.size).map_err(|e| fail("truncate", e))?;
        }
        Ok(hash.finalize().into())
    }

    /// Makes a folder, or gives one that is there the attributes of this entry.
    pub(crate) fn make_dir(&mut self, place: &Place, entry: &Entry) -> Result<(), UnpackError> {
        let fail = |operation, cause| UnpackError::make(&place.real, operation, cause);
        let meta = self.meta(entry);
        let before = self.catalogue.get(&place.real).cloned();
        let hidden = before.as_ref().is_some_and(|i| i.kind == ItemKind::Whiteout);
        let stays = before.as_ref().is_some_and(|i| i.kind == ItemKind::Dir);
        if before.is_some() && !stays {
            self.clear(&place.real)?;
        }
        let name = place.name.as_slice();
        if !stays {
            let mode = Mode::from_raw_mode(meta.mode & 0o1777);
            mkdirat(&*place.dir, name, mode).map_err(|e| fail("mkdir", e))?;
        }
        let exact = stays || self.inherits(&place.real);
        if exact || (meta.uid, meta.gid) != (0, 0) {
            let (uid, gid) = (Uid::from_raw(meta.uid), Gid::from_raw(meta.gid));
            chownat(&*place.dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|e| fail("chown", e))?;
        }
        if exact || meta.mode & 0o6000 != 0 {
            chmodat(&*place.dir, name, Mode::from_raw_mode(meta.mode), AtFlags::empty())
                .map_err(|e| fail("chmod", e))?;
        }
        let old: Vec<Vec<u8>> = before
            .as_ref()
            .filter(|_| stays)
            .and_then(|i| i.meta.as_ref())
            .map_or_else(Vec::new, |m| m.xattrs.iter().map(|(n, _)| n.clone()).collect());
        if !meta.xattrs.is_empty() || !old.is_empty() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd =
                openat(&*place.dir, name, flags, Mode::empty()).map_err(|e| fail("open", e))?;
            for gone in old {
                rustix::fs::fremovexattr(&fd, gone.as_slice())
                    .map_err(|e| fail("removexattr", e))?;
            }
            for (name, value) in &meta.xattrs {
                fsetxattr(&fd, name.as_slice(), value, XattrFlags::empty())
                    .map_err(|e| fail("setxattr", e))?;
            }
        }
        let mut item = Item::dir(meta);
        item.opaque = before.as_ref().is_some_and(|i| stays && i.opaque);
        self.catalogue.insert(place.real.clone(), item);
        if hidden { self.make_opaque(&place.real) } else { Ok(()) }
    }

    /// Gives the root the attributes of an entry.
    pub(crate) fn make_root(&mut self, entry: &Entry) -> Result<(), UnpackError> {
        let fail = |operation, cause| UnpackError::make(b".", operation, cause);
        if entry.kind != Kind::Dir {
            return Err(UnpackError::entry(&entry.path, "the root must be a folder"));
        }
        let meta = self.meta(entry);
        let (uid, gid) = (Uid::from_raw(meta.uid), Gid::from_raw(meta.gid));
        fchown(&self.root, Some(uid), Some(gid)).map_err(|e| fail("chown", e))?;
        fchmod(&self.root, Mode::from_raw_mode(meta.mode)).map_err(|e| fail("chmod", e))?;
        for (name, value) in &meta.xattrs {
            fsetxattr(&self.root, name.as_slice(), value, XattrFlags::empty())
                .map_err(|e| fail("setxattr", e))?;
        }
        let mut item = Item::dir(meta);
        item.opaque = self.catalogue.get(b"").is_some_and(|i| i.opaque);
        self.catalogue.insert(Vec::new(), item);
        Ok(())
    }

    /// Gives a file of this tree a second name.
    pub(crate) fn make_link(&mut self, place: &Place, target: &[u8]) -> Result<(), UnpackError> {
        let fail = |operation, cause| UnpackError::make(&place.real, operation, cause);
        if target == place.real {
            return Ok(());
        }
        let below = [target, b"/"].concat();
        if place.real.starts_with(&below) || target.starts_with(&[&place.real[..], b"/"].concat()) {
            return Err(UnpackError::entry(&place.real, "a hard link into itself"));
        }
        if self.catalogue.get(&place.real).is_some() {
            self.clear(&place.real)?;
        }
        let (parent, name) = split(target);
        let from = self.dir(parent)?;
        linkat(&*from, name, &*place.dir, place.name.as_slice(), AtFlags::empty())
            .map_err(|e| fail("link", e))?;
        let found = statat(&*from, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| fail("stat", e))?;
        if let Some(item) = self.catalogue.get_mut(target) {
            (item.inode, item.linked) = (found.st_ino, true);
            let item = item.clone();
            self.catalogue.insert(place.real.clone(), item);
        }
        Ok(())
    }

    /// Sets the times of all folders; nothing may be made afterwards.
    pub(crate) fn finish(&mut self) -> Result<(), UnpackError> {
        let dirs: Vec<(Vec<u8>, Time)> = self
            .catalogue
            .iter()
            .rev()
            .filter_map(|(path, item)| item.meta.as_ref().map(|meta| (path.to_vec(), meta.mtime)))
            .collect();
        for (path, time) in dirs {
            let fail = |cause| UnpackError::make(&path, "utimens", cause);
            if path.is_empty() {
                futimens(&self.root, &timestamps(time)).map_err(fail)?;
            } else {
                let (parent, name) = split(&path);
                let dir = self.dir(parent)?;
                utimensat(&*dir, name, &timestamps(time), AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(fail)?;
            }
        }
        Ok(())
    }
}

fn write_at(fd: &OwnedFd, bytes: &[u8], offset: u64) -> Result<(), rustix::io::Errno> {
    let (mut rest, mut at) = (bytes, offset);
    while !rest.is_empty() {
        match rustix::io::pwrite(fd, rest, at) {
            Ok(n) => {
                rest = rest.get(n..).unwrap_or_default();
                at = at.saturating_add(n as u64);
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether there is nothing but zeros; looks at several bytes at once.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(256).all(|chunk| chunk.iter().fold(0, |sum, byte| sum | byte) == 0)
}

pub(crate) fn hash_zeros(hash: &mut blake3::Hasher, count: u64) {
    static ZEROS: [u8; 16 << 10] = [0; 16 << 10];
    let mut left = count;
    while left > 0 {
        let n = usize::try_from(left).unwrap_or(usize::MAX).min(ZEROS.len());
        hash.update(ZEROS.get(..n).unwrap_or_default());
        left = left.saturating_sub(n as u64);
    }
}
