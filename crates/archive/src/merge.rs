//! Layers in overlay form, stacked: what a mount of them would show, without the mount.

use crate::catalogue::Meta;
use crate::extract::{join, split};
use crate::tar::Time;
use crate::tree::{meta, shown, xattrs};
use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid,
    XattrFlags, chmodat, chownat, fchmod, fchown, fsetxattr, fstat, ftruncate, futimens, linkat,
    mkdirat, mknodat, openat, openat2, readlinkat, statat, symlinkat, utimensat,
};
use rustix::io::Errno;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use sys::path::{At, PathError};

/// Stacked layers.
#[derive(Debug)]
pub struct Merged {
    /// Lowest first.
    layers: Vec<OwnedFd>,
}

/// Something in the merged view.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// The layer it comes from.
    pub layer: usize,
    pub stat: Stat,
    /// For a folder: the layers that add to it, highest first.
    pub members: Vec<usize>,
}

impl Found {
    pub(crate) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }
}

/// A step of a walk over the merged view.
pub(crate) struct Node<'a> {
    /// Path from the root, which is the empty path.
    pub path: &'a [u8],
    /// The folder that holds it, in its layer.
    pub dir: BorrowedFd<'a>,
    pub name: &'a [u8],
    pub layer: usize,
    pub stat: &'a Stat,
}

const DIR: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

pub(crate) fn open_below(
    root: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlags,
) -> Result<OwnedFd, Errno> {
    let name = if path.is_empty() { b".".as_slice() } else { path };
    openat2(root, name, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
}

fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// What a folder, open in each layer that adds to it, has under a name.
fn named(
    members: &[(usize, OwnedFd)],
    name: &[u8],
    path: &[u8],
) -> Result<Option<Found>, PathError> {
    let mut found: Option<Found> = None;
    for (index, parent) in members {
        let stat = match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => continue,
            Err(other) => return Err(PathError::new("stat", shown(path), other)),
        };
        let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        match &mut found {
            None if is_whiteout(&stat) => return Ok(None),
            None => found = Some(Found { layer: *index, stat, members: vec![*index] }),
            Some(_) if !is_dir => break,
            Some(found) => found.members.push(*index),
        }
        if !is_dir {
            break;
        }
        let fd = openat(parent, name, DIR, Mode::empty()).at("open", shown(path))?;
        if xattrs(&fd).at("getxattr", shown(path))?.1 {
            break;
        }
    }
    Ok(found)
}

impl Merged {
    /// Stacks open layers, the lowest first.
    pub fn new(layers: Vec<OwnedFd>) -> Self {
        Self { layers }
    }

    pub(crate) fn layer(&self, index: usize) -> Option<BorrowedFd<'_>> {
        self.layers.get(index).map(AsFd::as_fd)
    }

    /// The root: its attributes come from the highest layer.
    pub(crate) fn root(&self) -> Result<Option<Found>, PathError> {
        let Some(top) = self.layers.len().checked_sub(1) else { return Ok(None) };
        let mut members = Vec::new();
        for index in (0..=top).rev() {
            let Some(layer) = self.layers.get(index) else { continue };
            members.push(index);
            if xattrs(layer).at("getxattr", "/")?.1 {
                break;
            }
        }
        let Some(layer) = self.layers.get(top) else { return Ok(None) };
        Ok(Some(Found { layer: top, stat: fstat(layer).at("stat", "/")?, members }))
    }

    /// What a folder has under a name.
    pub(crate) fn child(
        &self,
        dir: &[u8],
        members: &[usize],
        name: &[u8],
    ) -> Result<Option<Found>, PathError> {
        let mut open = Vec::with_capacity(members.len());
        for index in members {
            let Some(layer) = self.layer(*index) else { continue };
            let parent = open_below(layer, dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC);
            open.push((*index, parent.at("open", shown(dir))?));
        }
        named(&open, name, &join(dir, name))
    }

    /// Looks a path up, its folders through links inside the root, its last component as it is.
    ///
    /// The first part of the answer is the path without links.
    pub(crate) fn find(&self, parts: &[&[u8]]) -> Result<Option<(Vec<u8>, Found)>, PathError> {
        let mut todo: VecDeque<Vec<u8>> = parts.iter().map(|p| p.to_vec()).collect();
        let Some(mut at) = self.root()? else { return Ok(None) };
        let mut real: Vec<u8> = Vec::new();
        let mut links = 0;
        while let Some(part) = todo.pop_front() {
            if part == b".." {
                real.truncate(split(&real).0.len());
                match self.exact(&real)? {
                    Some(found) => at = found,
                    None => return Ok(None),
                }
                continue;
            }
            if at.kind() != FileType::Directory {
                return Ok(None);
            }
            let Some(next) = self.child(&real, &at.members, &part)? else { return Ok(None) };
            if next.kind() != FileType::Symlink || todo.is_empty() {
                real = join(&real, &part);
                at = next;
                continue;
            }
            links += 1;
            if links > 40 {
                return Err(PathError::new("open", shown(&parts.join(&b'/')), Errno::LOOP));
            }
            let target = self.target(&real, &part, next.layer)?;
            if target.starts_with(b"/") {
                real.clear();
                let Some(root) = self.root()? else { return Ok(None) };
                at = root;
            }
            for part in target.split(|b| *b == b'/').rev().filter(|p| !p.is_empty() && *p != b".") {
                todo.push_front(part.to_vec());
            }
        }
        Ok(Some((real, at)))
    }

    /// Looks up a path that has no links in it.
    pub(crate) fn exact(&self, path: &[u8]) -> Result<Option<Found>, PathError> {
        let Some(mut at) = self.root()? else { return Ok(None) };
        let mut real: Vec<u8> = Vec::new();
        for part in path.split(|b| *b == b'/').filter(|p| !p.is_empty()) {
            if at.kind() != FileType::Directory {
                return Ok(None);
            }
            match self.child(&real, &at.members, part)? {
                Some(next) => at = next,
                None => return Ok(None),
            }
            real = join(&real, part);
        }
        Ok(Some(at))
    }

    /// Where a link of one layer points.
    pub(crate) fn target(
        &self,
        dir: &[u8],
        name: &[u8],
        layer: usize,
    ) -> Result<Vec<u8>, PathError> {
        let path = join(dir, name);
        let missing = || PathError::new("open", shown(&path), Errno::NOENT);
        let parent =
            open_below(self.layer(layer).ok_or_else(missing)?, dir, OFlags::PATH | OFlags::CLOEXEC);
        let target = readlinkat(parent.at("open", shown(dir))?, name, Vec::new());
        Ok(target.at("readlink", shown(&path))?.into_bytes())
    }

    /// Visits everything, folders before what is in them, names in order.
    pub(crate) fn walk<E: From<PathError>>(
        &self,
        visit: &mut dyn FnMut(&Node<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(root) = self.root()? else { return Ok(()) };
        if let Some(layer) = self.layer(root.layer) {
            visit(&Node {
                path: b"",
                dir: layer,
                name: b".",
                layer: root.layer,
                stat: &root.stat,
            })?;
        }
        let mut todo: Vec<(Vec<u8>, Vec<usize>)> = vec![(Vec::new(), root.members)];
        while let Some((path, members)) = todo.pop() {
            let mut names = BTreeSet::new();
            let mut open: Vec<(usize, OwnedFd)> = Vec::new();
            for index in members {
                let Some(layer) = self.layer(index) else { continue };
                let fd = open_below(layer, &path, DIR).at("open", shown(&path))?;
                for entry in Dir::read_from(&fd).at("readdir", shown(&path))? {
                    let entry = entry.at("readdir", shown(&path))?;
                    let name = entry.file_name().to_bytes();
                    if name != b"." && name != b".." {
                        names.insert(name.to_owned());
                    }
                }
                open.push((index, fd));
            }
            let mut below = Vec::new();
            for name in names {
                let child = join(&path, &name);
                let Some(found) = named(&open, &name, &child)? else { continue };
                let holder = open.iter().find(|(index, _)| *index == found.layer);
                let Some((_, dir)) = holder else { continue };
                let (layer, stat) = (found.layer, &found.stat);
                visit(&Node { path: &child, dir: dir.as_fd(), name: &name, layer, stat })?;
                if found.kind() == FileType::Directory {
                    below.push((child, found.members));
                }
            }
            // Popped from the end: the first name comes next.
            todo.extend(below.into_iter().rev());
        }
        Ok(())
    }

    /// Copies the merged view into an empty folder, which takes the attributes of the root.
    ///
    /// # Errors
    /// Something cannot be read or made.
    pub fn copy_to(&self, into: BorrowedFd<'_>) -> Result<(), PathError> {
        rustix::process::umask(Mode::empty());
        let mut first_names: HashMap<(usize, u64), Vec<u8>> = HashMap::new();
        let mut times: Vec<(Vec<u8>, Time)> = Vec::new();
        self.walk(&mut |node: &Node<'_>| {
            if FileType::from_raw_mode(node.stat.st_mode) == FileType::Directory {
                times.push((node.path.to_owned(), meta(node.stat).mtime));
            } else if node.stat.st_nlink > 1 {
                let key = (node.layer, node.stat.st_ino);
                if let Some(first) = first_names.get(&key) {
                    return link(into, first, node.path);
                }
                first_names.insert(key, node.path.to_owned());
            }
            copy(into, node)
        })?;
        for (path, time) in times.into_iter().rev() {
            set_time(into, &path, time)?;
        }
        Ok(())
    }
}

fn stamps(time: Time) -> Timestamps {
    let stamp = Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() };
    Timestamps { last_access: stamp, last_modification: stamp }
}

fn parent(root: BorrowedFd<'_>, path: &[u8]) -> Result<(OwnedFd, Vec<u8>), PathError> {
    let (dir, name) = split(path);
    let fd = open_below(root, dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC)
        .at("open", shown(dir))?;
    Ok((fd, name.to_owned()))
}

pub(crate) fn link(root: BorrowedFd<'_>, target: &[u8], path: &[u8]) -> Result<(), PathError> {
    let (from, old) = parent(root, target)?;
    let (to, new) = parent(root, path)?;
    linkat(&from, old.as_slice(), &to, new.as_slice(), AtFlags::empty()).at("link", shown(path))
}

pub(crate) fn set_time(root: BorrowedFd<'_>, path: &[u8], time: Time) -> Result<(), PathError> {
    if path.is_empty() {
        let fd = open_below(root, path, DIR).at("open", "/")?;
        return futimens(&fd, &stamps(time)).at("utimens", "/");
    }
    let (dir, name) = parent(root, path)?;
    utimensat(&dir, name.as_slice(), &stamps(time), AtFlags::SYMLINK_NOFOLLOW)
        .at("utimens", shown(path))
}

/// Gives a folder of a tree these attributes, all but the time.
pub(crate) fn set_dir(root: BorrowedFd<'_>, path: &[u8], meta: &Meta) -> Result<(), PathError> {
    let fd = open_below(root, path, DIR).at("open", shown(path))?;
    fchown(&fd, Some(Uid::from_raw(meta.uid)), Some(Gid::from_raw(meta.gid)))
        .at("chown", shown(path))?;
    fchmod(&fd, Mode::from_raw_mode(meta.mode)).at("chmod", shown(path))?;
    for (name, value) in &meta.xattrs {
        fsetxattr(&fd, name.as_slice(), value, XattrFlags::empty()).at("setxattr", shown(path))?;
    }
    Ok(())
}

/// Makes one thing of a layer below another root, with its attributes (folders: all but the time).
pub(crate) fn copy(into: BorrowedFd<'_>, node: &Node<'_>) -> Result<(), PathError> {
    let path = shown(node.path);
    let mut attributes = meta(node.stat);
    let read = |flags| {
        openat(node.dir, node.name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
    };
    let kind = FileType::from_raw_mode(node.stat.st_mode);
    if kind == FileType::Directory {
        let source = read(OFlags::RDONLY | OFlags::DIRECTORY).at("open", &path)?;
        attributes.xattrs = xattrs(&source).at("getxattr", &path)?.0;
        if !node.path.is_empty() {
            let (dir, name) = parent(into, node.path)?;
            mkdirat(&dir, name.as_slice(), Mode::RWXU).at("mkdir", &path)?;
        }
        return set_dir(into, node.path, &attributes);
    }
    let (dir, name) = parent(into, node.path)?;
    let name = name.as_slice();
    let (uid, gid) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
    match kind {
        FileType::RegularFile => {
            let source = read(OFlags::RDONLY | OFlags::NONBLOCK).at("open", &path)?;
            attributes.xattrs = xattrs(&source).at("getxattr", &path)?.0;
            let flags =
                OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = openat(&dir, name, flags, Mode::RUSR | Mode::WUSR).at("open", &path)?;
            copy_bytes(&source, &fd, node.stat.st_size.unsigned_abs()).at("copy", &path)?;
            fchown(&fd, Some(uid), Some(gid)).at("chown", &path)?;
            fchmod(&fd, Mode::from_raw_mode(attributes.mode)).at("chmod", &path)?;
            for (name, value) in &attributes.xattrs {
                fsetxattr(&fd, name.as_slice(), value, XattrFlags::empty())
                    .at("setxattr", &path)?;
            }
            return futimens(&fd, &stamps(attributes.mtime)).at("utimens", &path);
        }
        FileType::Symlink => {
            let target = readlinkat(node.dir, node.name, Vec::new()).at("readlink", &path)?;
            symlinkat(target.as_c_str(), &dir, name).at("symlink", &path)?;
        }
        other => {
            let mode = Mode::from_raw_mode(attributes.mode);
            mknodat(&dir, name, other, mode, node.stat.st_rdev).at("mknod", &path)?;
        }
    }
    chownat(&dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).at("chown", &path)?;
    if kind != FileType::Symlink {
        chmodat(&dir, name, Mode::from_raw_mode(attributes.mode), AtFlags::empty())
            .at("chmod", &path)?;
    }
    utimensat(&dir, name, &stamps(attributes.mtime), AtFlags::SYMLINK_NOFOLLOW).at("utimens", &path)
}

/// Copies a file's bytes; runs of zeros become holes.
fn copy_bytes(source: &OwnedFd, target: &OwnedFd, size: u64) -> Result<(), Errno> {
    let mut buffer = vec![0_u8; 128 << 10];
    let mut at = 0_u64;
    loop {
        let n = match rustix::io::pread(source, &mut *buffer, at) {
            Ok(0) => break,
            Ok(n) => n,
            Err(Errno::INTR) => continue,
            Err(other) => return Err(other),
        };
        let mut rest = buffer.get(..n).unwrap_or_default();
        if crate::extract::is_zero(rest) {
            rest = &[];
        }
        let mut to = at;
        while !rest.is_empty() {
            match rustix::io::pwrite(target, rest, to) {
                Ok(n) => {
                    rest = rest.get(n..).unwrap_or_default();
                    to = to.saturating_add(n as u64);
                }
                Err(Errno::INTR) => {}
                Err(other) => return Err(other),
            }
        }
        at = at.saturating_add(n as u64);
    }
    ftruncate(target, at.max(size))
}
