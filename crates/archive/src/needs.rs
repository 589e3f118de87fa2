//! What a layer needs from the layers below it, and settling that once they are known.
//!
//! A layer that lists all folders it puts something into, and whose hard links stay inside it, needs nothing: it is the
//! same on every base. Otherwise it may need
//! - the attributes of folders nobody listed,
//! - the way a folder's name leads, if it is a link below (`lib -> usr/lib`),
//! - a file below that gets another name, with all names it has.
//!
//! [`Facts`] are what a given base answers; layers with equal facts are equal.

use crate::catalogue::{Catalogue, Contents, Meta};
use crate::error::UnpackError;
use crate::extract::{join, split};
use crate::merge::{Found, Merged, Node, copy, link, open_below, set_dir, set_time};
use crate::tar::Time;
use crate::tree::{self, TreeDigest, content, meta, shown, xattrs};
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, mkdirat, openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use sys::path::{At, PathError};

/// What a layer needs from below.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Needs {
    /// Folders that the layer did not list, parents first.
    folders: Vec<Folder>,
    /// Names for files below.
    links: Vec<Name>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Folder {
    path: Text,
    through_link: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Name {
    path: Text,
    target: Text,
}

/// Bytes kept as text, each byte one character.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Text(String);

impl From<&[u8]> for Text {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.iter().map(|b| char::from(*b)).collect())
    }
}

impl Text {
    fn bytes(&self) -> Vec<u8> {
        self.0.chars().map(|c| u8::try_from(c).unwrap_or(b'?')).collect()
    }
}

/// What one folder is below.
enum Below {
    /// Nothing, or no folder and no link: the layer's own folder stands as it is.
    Nothing,
    /// A folder with these attributes, at this path, which differs where a link leads elsewhere.
    Folder(Vec<u8>, Meta),
}

/// A file that gets another name.
struct Shared {
    path: Vec<u8>,
    real: Vec<u8>,
    found: Found,
    /// All names it has below, as far as they are seen.
    names: Vec<Vec<u8>>,
}

/// What a base answers to the needs of a layer.
pub struct Facts {
    folders: Vec<(Vec<u8>, Below)>,
    files: Vec<Shared>,
    key: String,
}

impl std::fmt::Debug for Facts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Facts({})", self.key)
    }
}

impl Facts {
    /// Names these facts; empty if the layer comes out as it is on any base without surprises.
    pub fn key(&self) -> &str {
        &self.key
    }
}

/// What a folder has that no layer lists.
fn unlisted() -> Meta {
    Meta { mode: 0o755, ..Meta::default() }
}

fn parts(path: &[u8]) -> Vec<&[u8]> {
    path.split(|b| *b == b'/').filter(|p| !p.is_empty()).collect()
}

impl Needs {
    pub(crate) fn of(catalogue: &Catalogue, links: &BTreeMap<Vec<u8>, Vec<u8>>) -> Self {
        let hidden = |path: &[u8]| {
            let mut at = path;
            while !at.is_empty() {
                at = split(at).0;
                if catalogue.get(at).is_some_and(|item| item.opaque) {
                    return true;
                }
            }
            false
        };
        let folders = catalogue
            .iter()
            .filter(|(path, item)| item.implied && !hidden(path))
            .map(|(path, item)| Folder { path: path.into(), through_link: item.through_link })
            .collect();
        let links = links
            .iter()
            .map(|(p, t)| Name { path: p.as_slice().into(), target: t.as_slice().into() });
        Self { folders, links: links.collect() }
    }

    /// Whether the layer is the same on every base.
    pub fn is_empty(&self) -> bool {
        self.folders.is_empty() && self.links.is_empty()
    }

    /// Asks the layers below, lowest first.
    ///
    /// # Errors
    /// A link leads nowhere or round in a circle, or the target of a hard link does not exist.
    pub fn facts(&self, lowers: Vec<OwnedFd>) -> Result<Facts, UnpackError> {
        let base = Merged::new(lowers);
        let mut hash = Sha256::new();
        let mut plain = true;
        let mut folders: Vec<(Vec<u8>, Below)> = Vec::new();
        for folder in &self.folders {
            let path = folder.path.bytes();
            let below = Self::folder(&base, &path, folder.through_link, &folders)?;
            if let Below::Folder(real, meta) = &below
                && (*real != path || *meta != unlisted())
            {
                plain = false;
                hash.update(format!(
                    "{}\0{}\0{meta:?}\0",
                    path.escape_ascii(),
                    real.escape_ascii()
                ));
            }
            folders.push((path, below));
        }
        let mut files = Vec::new();
        for name in &self.links {
            let shared = Self::shared(&base, name)?;
            plain = false;
            let sum = Self::content(&base, &shared)?;
            let meta = meta(&shared.found.stat);
            let names: Vec<String> =
                shared.names.iter().map(|n| n.escape_ascii().to_string()).collect();
            let (path, real) = (shared.path.escape_ascii(), shared.real.escape_ascii());
            hash.update(format!("{path}\0{real}\0{meta:?}\0{names:?}\0{sum:?}\0"));
            files.push(shared);
        }
        let mut digits = String::new();
        for byte in hash.finalize().iter().take(16) {
            digits.extend(
                [byte >> 4, byte & 15].map(|d| char::from_digit(d.into(), 16).unwrap_or('0')),
            );
        }
        Ok(Facts { folders, files, key: if plain { String::new() } else { digits } })
    }

    fn folder(
        base: &Merged,
        path: &[u8],
        through_link: bool,
        known: &[(Vec<u8>, Below)],
    ) -> Result<Below, UnpackError> {
        // What lies in a folder that moves, moves with it.
        let moved = known.iter().rev().find_map(|(from, below)| match below {
            Below::Folder(to, _) if to != from && path.starts_with(&[&from[..], b"/"].concat()) => {
                Some([&to[..], path.get(from.len()..).unwrap_or_default()].concat())
            }
            _ => None,
        });
        let at = moved.as_deref().unwrap_or(path);
        let Some(found) = base.exact(at)? else {
            if through_link {
                return Err(UnpackError::entry(path, "a link on the way leads nowhere"));
            }
            return Ok(Below::Nothing);
        };
        match found.kind() {
            FileType::Directory => Ok(Below::Folder(at.to_owned(), dir_meta(base, at, &found)?)),
            FileType::Symlink => {
                let target = base.target(split(at).0, split(at).1, found.layer)?;
                let dir = if target.starts_with(b"/") { &[][..] } else { split(at).0 };
                let full = [dir, b"/", &target].concat();
                let looked = Self::follow(base, &full, 0)?;
                match looked {
                    Some((real, found)) if found.kind() == FileType::Directory => {
                        let meta = dir_meta(base, &real, &found)?;
                        Ok(Below::Folder(real, meta))
                    }
                    _ => Err(UnpackError::entry(path, "a link on the way leads nowhere")),
                }
            }
            _ => Ok(Below::Nothing),
        }
    }

    /// Follows links to the end.
    fn follow(
        base: &Merged,
        path: &[u8],
        depth: u32,
    ) -> Result<Option<(Vec<u8>, Found)>, UnpackError> {
        let way: Vec<&[u8]> = parts(path).into_iter().filter(|p| *p != b".").collect();
        let Some((real, found)) = base.find(&way)? else { return Ok(None) };
        if found.kind() != FileType::Symlink {
            return Ok(Some((real, found)));
        }
        if depth > 40 {
            return Err(UnpackError::entry(path, "too many links on the way"));
        }
        let target = base.target(split(&real).0, split(&real).1, found.layer)?;
        let dir = if target.starts_with(b"/") { &[][..] } else { split(&real).0 };
        Self::follow(base, &[dir, b"/", &target].concat(), depth + 1)
    }

    fn shared(base: &Merged, name: &Name) -> Result<Shared, UnpackError> {
        let (path, target) = (name.path.bytes(), name.target.bytes());
        let missing = || UnpackError::entry(&path, "the target of a hard link is not in the image");
        let (real, found) = base.find(&parts(&target))?.ok_or_else(missing)?;
        if found.kind() == FileType::Directory {
            return Err(UnpackError::entry(&path, "a hard link to a folder"));
        }
        let mut names = vec![real.clone()];
        if found.stat.st_nlink > 1 {
            names = names_of(base, &found)?;
        }
        Ok(Shared { path, real, found, names })
    }

    fn content(base: &Merged, shared: &Shared) -> Result<[u8; 32], UnpackError> {
        if shared.found.kind() != FileType::RegularFile {
            return Ok([0; 32]);
        }
        let path = shown(&shared.real);
        let missing = || PathError::new("open", &path, Errno::NOENT);
        let layer = base.layer(shared.found.layer).ok_or_else(missing)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = open_below(layer, &shared.real, flags).at("open", &path)?;
        let size = shared.found.stat.st_size.unsigned_abs();
        Ok(content(fd, size).at("read", &path)?)
    }
}

fn dir_meta(base: &Merged, path: &[u8], found: &Found) -> Result<Meta, UnpackError> {
    let missing = || PathError::new("open", shown(path), Errno::NOENT);
    let layer = base.layer(found.layer).ok_or_else(missing)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = open_below(layer, path, flags).at("open", shown(path))?;
    let (xattrs, _) = xattrs(&fd).at("getxattr", shown(path))?;
    Ok(Meta { xattrs, ..meta(&found.stat) })
}

/// All names of a file in its layer that the merged view shows.
fn names_of(base: &Merged, wanted: &Found) -> Result<Vec<Vec<u8>>, UnpackError> {
    let mut names = Vec::new();
    let Some(layer) = base.layer(wanted.layer) else { return Ok(names) };
    let mut todo: Vec<Vec<u8>> = vec![Vec::new()];
    while let Some(dir) = todo.pop() {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = open_below(layer, &dir, flags).at("open", shown(&dir))?;
        for entry in Dir::read_from(&fd).at("readdir", shown(&dir))? {
            let entry = entry.at("readdir", shown(&dir))?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let path = join(&dir, name);
            if entry.file_type() == FileType::Directory {
                todo.push(path);
            } else if entry.ino() == wanted.stat.st_ino {
                let seen = base.exact(&path)?;
                if seen
                    .is_some_and(|f| f.layer == wanted.layer && f.stat.st_ino == wanted.stat.st_ino)
                {
                    names.push(path);
                }
            }
        }
    }
    names.sort();
    Ok(names)
}

/// Puts the facts into an unpacked layer: attributes of unlisted folders, folders moved to where links lead, files
/// below that got another name. Gives the digest of the result: the tree is read for it, unless at most its root differs
/// from what was unpacked, of which `contents` came.
///
/// # Errors
/// What is asked for contradicts the layer itself, or cannot be made.
pub fn settle(
    layer: BorrowedFd<'_>,
    facts: &Facts,
    lowers: Vec<OwnedFd>,
    contents: &Contents,
) -> Result<TreeDigest, UnpackError> {
    let mut work = Settling { layer, base: Merged::new(lowers), times: BTreeMap::new() };
    rustix::process::umask(Mode::empty());
    for (path, below) in &facts.folders {
        if let Below::Folder(real, meta) = below {
            if real == path && *meta == unlisted() {
                continue;
            }
            if real == path {
                set_dir(layer, path, meta)?;
                work.times.insert(path.clone(), meta.mtime);
            } else {
                work.move_folder(path, real)?;
            }
        }
    }
    for shared in &facts.files {
        work.share(shared)?;
    }
    let whole = work.times.keys().any(|path| !path.is_empty());
    for (path, time) in work.times.iter().rev() {
        match set_time(layer, path, *time) {
            // A folder that moved away.
            Err(error) if error.errno() == Some(Errno::NOENT.raw_os_error()) => {}
            other => other?,
        }
    }
    if whole {
        return Ok(tree::digest(layer)?);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(layer, ".", flags, Mode::empty()).at("open", "/")?;
    let stat = rustix::fs::fstat(&root).at("stat", "/")?;
    Ok(TreeDigest(contents.below(tree::dir_item(&root, &stat, b"")?.record())))
}

struct Settling<'a> {
    layer: BorrowedFd<'a>,
    base: Merged,
    /// Times of folders that were touched, set again at the end.
    times: BTreeMap<Vec<u8>, Time>,
}

impl Settling<'_> {
    fn dir(&self, path: &[u8]) -> Result<OwnedFd, PathError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        open_below(self.layer, path, flags).at("open", shown(path))
    }

    /// Notes the time of a folder before something in it changes.
    fn touch(&mut self, path: &[u8]) -> Result<(), PathError> {
        if !self.times.contains_key(path) {
            let stat = rustix::fs::fstat(self.dir(path)?).at("stat", shown(path))?;
            self.times.insert(path.to_owned(), meta(&stat).mtime);
        }
        Ok(())
    }

    /// Makes a folder of the layer and its parents, with the attributes they have below.
    fn ensure(&mut self, path: &[u8]) -> Result<(), UnpackError> {
        if path.is_empty() {
            return Ok(());
        }
        let (parent, name) = split(path);
        self.ensure(parent)?;
        let fd = self.dir(parent)?;
        match statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                return Ok(());
            }
            Ok(_) => {
                return Err(UnpackError::entry(path, "is a folder below, but not in this layer"));
            }
            Err(Errno::NOENT) => {}
            Err(other) => return Err(PathError::new("stat", shown(path), other).into()),
        }
        self.touch(parent)?;
        mkdirat(&fd, name, Mode::RWXU).at("mkdir", shown(path))?;
        let meta = match self.base.exact(path)? {
            Some(found) if found.kind() == FileType::Directory => {
                dir_meta(&self.base, path, &found)?
            }
            _ => unlisted(),
        };
        set_dir(self.layer, path, &meta)?;
        self.times.insert(path.to_owned(), meta.mtime);
        Ok(())
    }

    /// Moves what lies in a folder to where the link of its name leads.
    fn move_folder(&mut self, from: &[u8], to: &[u8]) -> Result<(), UnpackError> {
        let below = [from, b"/"].concat();
        if to == from || to.starts_with(&below) {
            return Err(UnpackError::entry(from, "a link on the way leads into itself"));
        }
        match self.dir(from) {
            Ok(_) => {}
            // It moved with a folder above it; its new place gets its attributes by `ensure`.
            Err(error) if error.errno() == Some(Errno::NOENT.raw_os_error()) => {
                return self.adopt(to);
            }
            Err(error) => return Err(error.into()),
        }
        self.ensure(to)?;
        self.merge_into(from, to)?;
        let (parent, name) = split(from);
        self.touch(parent)?;
        let fd = self.dir(parent)?;
        unlinkat(&fd, name, AtFlags::REMOVEDIR).at("rmdir", shown(from))?;
        self.times.remove(from);
        Ok(())
    }

    /// Gives a folder that is there the attributes it has below.
    fn adopt(&mut self, path: &[u8]) -> Result<(), UnpackError> {
        if let Some(found) = self.base.exact(path)?.filter(|f| f.kind() == FileType::Directory) {
            let meta = dir_meta(&self.base, path, &found)?;
            set_dir(self.layer, path, &meta)?;
            self.times.insert(path.to_owned(), meta.mtime);
        }
        Ok(())
    }

    fn merge_into(&mut self, from: &[u8], to: &[u8]) -> Result<(), UnpackError> {
        self.touch(to)?;
        let (source, target) = (self.dir(from)?, self.dir(to)?);
        if xattrs(&source).at("getxattr", shown(from))?.1 {
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::fsetxattr(&target, c"trusted.overlay.opaque", b"y", flags)
                .at("setxattr", shown(to))?;
        }
        let mut names = Vec::new();
        for entry in Dir::read_from(&source).at("readdir", shown(from))? {
            let name = entry.at("readdir", shown(from))?.file_name().to_bytes().to_owned();
            if name != b"." && name != b".." {
                names.push(name);
            }
        }
        for name in names {
            let is_dir = |dir: &OwnedFd| {
                let stat = statat(dir, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW);
                stat.ok().map(|s| FileType::from_raw_mode(s.st_mode) == FileType::Directory)
            };
            let (here, there) = (join(from, &name), join(to, &name));
            if (is_dir(&source), is_dir(&target)) == (Some(true), Some(true)) {
                self.merge_into(&here, &there)?;
                unlinkat(&source, name.as_slice(), AtFlags::REMOVEDIR).at("rmdir", shown(&here))?;
                continue;
            }
            if is_dir(&target).is_some() {
                crate::remove::tree(target.as_fd(), &name).at("remove", shown(&there))?;
            }
            renameat(&source, name.as_slice(), &target, name.as_slice())
                .at("rename", shown(&there))?;
        }
        Ok(())
    }

    /// Brings a file below into the layer, with all its names.
    fn share(&mut self, shared: &Shared) -> Result<(), UnpackError> {
        let real_dir = split(&shared.path).0.to_vec();
        self.ensure(&real_dir)?;
        self.touch(&real_dir)?;
        let missing = || PathError::new("open", shown(&shared.real), Errno::NOENT);
        let source = self.base.layer(shared.found.layer).ok_or_else(missing)?;
        let (dir, name) = split(&shared.real);
        let dir = open_below(source, dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC)
            .at("open", shown(dir))?;
        // If another link of this layer brought the same file already, it is there under its lower name.
        if let Some(existing) = self.brought(shared) {
            return Ok(link(self.layer, &existing, &shared.path)?);
        }
        let node = Node {
            path: &shared.path,
            dir: dir.as_fd(),
            name,
            layer: shared.found.layer,
            stat: &shared.found.stat,
        };
        copy(self.layer, &node)?;
        for name in shared.names.iter().filter(|name| **name != shared.path) {
            let (dir, last) = split(name);
            if self.hides(name)? {
                continue;
            }
            self.ensure(dir)?;
            let fd = self.dir(dir)?;
            if statat(&fd, last, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
                continue;
            }
            self.touch(dir)?;
            link(self.layer, &shared.path, name)?;
        }
        Ok(())
    }

    /// A name under which this layer has the file already, brought by an earlier link.
    fn brought(&self, shared: &Shared) -> Option<Vec<u8>> {
        let wanted = &shared.found.stat;
        for name in &shared.names {
            let (dir, last) = split(name);
            let Ok(fd) = self.dir(dir) else { continue };
            let Ok(stat) = statat(&fd, last, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let same = (stat.st_size, stat.st_mtime, stat.st_mode)
                == (wanted.st_size, wanted.st_mtime, wanted.st_mode);
            if same && stat.st_nlink > 1 && self.times.contains_key(dir) {
                return Some(name.clone());
            }
        }
        None
    }

    /// Whether this layer hides what lies below at a path: by something that is no folder, or by an opaque one.
    fn hides(&self, path: &[u8]) -> Result<bool, UnpackError> {
        let mut at: Vec<u8> = Vec::new();
        let all = parts(path);
        for part in all.iter().take(all.len().saturating_sub(1)) {
            let fd = self.dir(&at)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match openat(&fd, *part, flags, Mode::empty()) {
                Ok(next) if xattrs(&next).at("getxattr", shown(path))?.1 => return Ok(true),
                Ok(_) => at = join(&at, part),
                Err(Errno::NOENT) => return Ok(false),
                Err(Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => return Ok(true),
                Err(other) => return Err(PathError::new("open", shown(path), other).into()),
            }
        }
        Ok(false)
    }
}
