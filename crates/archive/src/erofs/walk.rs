//! From the tree to the image. A folder gets its inode first, then what is in it, then the folders in it, and at last
//! its names, of which all numbers are known by then.
//!
//! In memory are the names of the folders between the root and where the walk is, and the files of several names whose
//! other names have not come yet.

use super::content::Source;
use super::format::{
    BLOCK, Content, FolderPlan, Form, Inode, Name, SLOT, Super, attribute, attributes,
    attributes_before, device, folder_block, name_type,
};
use super::space::Space;
use super::{ErofsError, VolumeId, Written};
use crate::extract::join;
use crate::merge::open_below;
use crate::tar::Time;
use crate::tree::{meta, shown, xattrs};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat};
use rustix::io::Errno;
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use sys::path::{At, PathError};

/// Bytes of attributes that are remembered for files which have the same.
const REMEMBERED: usize = 1 << 20;
/// References to attributes that one inode may have.
const REFERENCES: usize = 255;
/// The longest path that is opened in one step; the kernel takes 4095 bytes.
const STEP: usize = 4000;

/// A name in a folder, and what it leads to.
#[derive(Debug)]
struct Entry {
    start: usize,
    length: usize,
    kind: u8,
    inode: u64,
}

/// The names of a folder, in the order of their bytes.
#[derive(Debug, Default)]
struct Names {
    bytes: Vec<u8>,
    list: Vec<Entry>,
}

impl Names {
    fn read(folder: &OwnedFd) -> Result<Self, Errno> {
        let mut names = Self::default();
        names.add(b".");
        names.add(b"..");
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.add(name);
            }
        }
        let bytes = &names.bytes;
        names.list.sort_unstable_by(|a, b| name_in(bytes, a).cmp(name_in(bytes, b)));
        Ok(names)
    }

    fn add(&mut self, name: &[u8]) {
        let (start, length) = (self.bytes.len(), name.len());
        self.bytes.extend(name);
        self.list.push(Entry { start, length, kind: name_type(FileType::Directory), inode: 0 });
    }
}

fn name_in<'n>(bytes: &'n [u8], entry: &Entry) -> &'n [u8] {
    bytes.get(entry.start..entry.start.saturating_add(entry.length)).unwrap_or_default()
}

/// Where the walk is: something in an open folder.
#[derive(Debug)]
struct Place<'a> {
    folder: BorrowedFd<'a>,
    /// Of the folder, from the root.
    path: &'a [u8],
    name: &'a [u8],
}

impl Place<'_> {
    fn failed(&self, operation: &'static str) -> impl FnOnce(Errno) -> PathError {
        move |error| PathError::new(operation, self.shown(), error)
    }

    fn shown(&self) -> PathBuf {
        shown(&join(self.path, self.name))
    }
}

/// An inode that has its place.
#[derive(Debug)]
struct Placed {
    inode: Inode,
    form: Form,
    at: u64,
    /// Whether the last piece of its content is behind it.
    tail: bool,
}

impl Placed {
    fn number(&self) -> u64 {
        self.at / SLOT as u64
    }

    /// The bytes of its place.
    fn encode(&self, blocks: u32, tail: &[u8]) -> Vec<u8> {
        let content = if self.tail { Content::Tail(blocks) } else { Content::Blocks(blocks) };
        let mut bytes = self.inode.encode(self.form, content);
        bytes.extend(tail);
        bytes
    }
}

/// A folder whose names are not written yet.
#[derive(Debug)]
struct Frame {
    placed: Placed,
    names: Names,
    plan: FolderPlan,
    /// Up to which name its folders have been entered.
    entered: usize,
    /// Bytes of its path.
    path: usize,
}

/// A file of several names, not all of which have come.
#[derive(Debug)]
struct Link {
    at: u64,
    form: Form,
    seen: u32,
    /// As the tree's file system counts, which may include names outside the tree.
    counted: u32,
}

/// The attributes of an inode, and which of them others may refer to.
#[derive(Debug, Default)]
struct Attributes {
    bytes: Vec<u8>,
    own: Vec<Vec<u8>>,
    shared: usize,
}

/// A tree on its way into an image.
#[derive(Debug)]
pub(super) struct Walk<'f> {
    root: OwnedFd,
    space: Space<'f>,
    /// When the root changed, which is what small inodes say.
    time: Time,
    inodes: u64,
    links: HashMap<(u64, u64), Link>,
    /// Attributes that inodes have, and where, in units of 4 bytes.
    remembered: HashMap<Vec<u8>, u32>,
    room: usize,
    /// From the root to the folder that is being entered.
    path: Vec<u8>,
}

impl<'f> Walk<'f> {
    pub(super) fn new(root: OwnedFd, space: Space<'f>) -> Result<Self, PathError> {
        let time = meta(&fstat(&root).at("stat", ".")?).mtime;
        Ok(Self {
            root,
            space,
            time,
            inodes: 0,
            links: HashMap::new(),
            remembered: HashMap::new(),
            room: REMEMBERED,
            path: Vec::new(),
        })
    }

    /// Writes the whole image.
    pub(super) fn run(mut self, id: VolumeId) -> Result<Written, ErofsError> {
        let top = self.enter(None)?;
        let root = top.placed.number();
        let mut stack = vec![top];
        while let Some(frame) = stack.last_mut() {
            self.path.truncate(frame.path);
            if let Some(index) = next_folder(frame) {
                let Some(entry) = frame.names.list.get_mut(index) else { continue };
                if !self.path.is_empty() {
                    self.path.push(b'/');
                }
                self.path.extend(name_in(&frame.names.bytes, entry));
                let child = self.enter(Some(frame.placed.number()))?;
                entry.inode = child.placed.number();
                stack.push(child);
            } else if let Some(frame) = stack.pop() {
                self.leave(frame)?;
            }
        }
        for link in self.links.values().filter(|link| link.seen != link.counted) {
            let (offset, bytes) = link.form.links(link.seen);
            self.space.put(link.at + offset, &bytes)?;
        }
        let (inodes, time) = (self.inodes, self.time);
        let superblock = Super { root, inodes, time, blocks: 0, id };
        Ok(Written { bytes: self.space.finish(&superblock)?, inodes })
    }

    /// Gives the folder at the current path its inode, and writes all in it that is no folder.
    fn enter(&mut self, parent: Option<u64>) -> Result<Frame, ErofsError> {
        let folder = open_folder(&self.root, &self.path).at("open", shown(&self.path))?;
        let stat = fstat(&folder).at("stat", shown(&self.path))?;
        let mut names = Names::read(&folder).at("readdir", shown(&self.path))?;
        let plan = FolderPlan::new(names.list.iter().map(|entry| entry.length));
        let path = std::mem::take(&mut self.path);
        let here = Place { folder: folder.as_fd(), path: &path, name: b"" };
        let inode = Inode { size: plan.size, links: 2, ..self.inode(&stat) };
        let rest = plan.size as usize - (plan.counts.len() - 1) * BLOCK;
        let attributes = self.attributes(&here, &folder)?;
        let placed = self.place(inode, attributes, rest, names.list.len())?;
        let number = placed.number();
        let parent = parent.unwrap_or(number);
        for entry in &mut names.list {
            let name = name_in(&names.bytes, entry);
            match name {
                b"." => entry.inode = number,
                b".." => entry.inode = parent,
                _ => {
                    let place = Place { name, ..here };
                    let stat = statat(place.folder, name, AtFlags::SYMLINK_NOFOLLOW)
                        .map_err(place.failed("stat"))?;
                    let kind = FileType::from_raw_mode(stat.st_mode);
                    entry.kind = name_type(kind);
                    if kind != FileType::Directory {
                        entry.inode = self.named(&place, &stat)?;
                    }
                }
            }
        }
        self.path = path;
        Ok(Frame { placed, names, plan, entered: 0, path: self.path.len() })
    }

    /// Writes the names of a folder, and its inode.
    fn leave(&mut self, frame: Frame) -> Result<(), ErofsError> {
        let Frame { mut placed, names, plan, .. } = frame;
        let folders = names.list.iter().filter(|e| e.kind == name_type(FileType::Directory));
        // `.` and the name in the parent, and `..` of each folder in it.
        placed.inode.links = u32::try_from(folders.count()).unwrap_or(u32::MAX);
        let whole = plan.counts.len() - usize::from(placed.tail);
        let first = if whole == 0 { 0 } else { self.space.blocks(whole as u64)? };
        let mut left = names.list.as_slice();
        let mut at = u64::from(first) * BLOCK as u64;
        let mut tail = Vec::new();
        for (index, count) in plan.counts.iter().enumerate() {
            let (these, others) = left.split_at_checked(*count).unwrap_or((left, &[]));
            left = others;
            let block = folder_block(these.iter().map(|entry| Name {
                bytes: name_in(&names.bytes, entry),
                inode: entry.inode,
                kind: entry.kind,
            }));
            if index < whole {
                self.space.write(at, &block)?;
                at += BLOCK as u64;
            } else {
                tail = block;
            }
        }
        self.space.put(placed.at, &placed.encode(first, &tail))
    }

    /// Writes what a name leads to, unless another name did; gives its number.
    fn named(&mut self, place: &Place<'_>, stat: &Stat) -> Result<u64, ErofsError> {
        let counted = stat.st_nlink as u32;
        let whiteout = is_whiteout(stat);
        if counted < 2 || whiteout {
            return Ok(self.item(place, stat, 1)?.number());
        }
        let key = (stat.st_dev, stat.st_ino);
        if let Some(link) = self.links.get_mut(&key) {
            link.seen = link.seen.saturating_add(1);
            let number = link.at / SLOT as u64;
            if link.seen == counted {
                self.links.remove(&key);
            }
            return Ok(number);
        }
        let placed = self.item(place, stat, counted)?;
        let link = Link { at: placed.at, form: placed.form, seen: 1, counted };
        self.links.insert(key, link);
        Ok(placed.number())
    }

    /// Writes something that is no folder.
    fn item(&mut self, place: &Place<'_>, stat: &Stat, links: u32) -> Result<Placed, ErofsError> {
        let inode = Inode { links, ..self.inode(stat) };
        let kind = FileType::from_raw_mode(stat.st_mode);
        let none = Attributes::default();
        match kind {
            FileType::RegularFile => self.file(place, stat, inode),
            FileType::Symlink => {
                let target = readlinkat(place.folder, place.name, Vec::new())
                    .map_err(place.failed("readlink"))?
                    .into_bytes();
                let inode = Inode { size: target.len() as u64, ..inode };
                let placed = self.place(inode, none, target.len(), 0)?;
                if placed.tail {
                    self.space.put(placed.at, &placed.encode(0, &target))?;
                } else {
                    let block = self.space.blocks(1)?;
                    self.space.write(u64::from(block) * BLOCK as u64, &target)?;
                    self.space.put(placed.at, &placed.encode(block, &[]))?;
                }
                Ok(placed)
            }
            FileType::CharacterDevice | FileType::BlockDevice => {
                let inode = if is_whiteout(stat) {
                    // Nobody set its other attributes, and nobody sees them.
                    Inode { mode: inode.mode & !0o7777, uid: 0, gid: 0, mtime: self.time, ..inode }
                } else {
                    inode
                };
                let placed = self.place(Inode { size: 0, ..inode }, none, 0, 0)?;
                let content = Content::Device(device(stat.st_rdev));
                self.space.put(placed.at, &placed.inode.encode(placed.form, content))?;
                Ok(placed)
            }
            FileType::Fifo | FileType::Socket => {
                let placed = self.place(Inode { size: 0, ..inode }, none, 0, 0)?;
                self.space.put(placed.at, &placed.encode(0, &[]))?;
                Ok(placed)
            }
            FileType::Directory | FileType::Unknown => Err(ErofsError::Unfit {
                path: place.shown(),
                problem: "of no kind that an image can have",
            }),
        }
    }

    fn file(&mut self, place: &Place<'_>, stat: &Stat, inode: Inode) -> Result<Placed, ErofsError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file =
            openat(place.folder, place.name, flags, Mode::empty()).map_err(place.failed("open"))?;
        let attributes = self.attributes(place, &file)?;
        let path = join(place.path, place.name);
        let source = Source { file: &file, stat, path: &path };
        let size = source.size();
        // With a tail behind the inode, no page of the file could be mapped without a copy.
        let tail = if size < BLOCK as u64 { size as usize } else { 0 };
        let placed = self.place(inode, attributes, tail, 0)?;
        if placed.tail {
            self.space.put(placed.at, &placed.encode(0, &source.bytes()?))?;
            return Ok(placed);
        }
        let blocks = size.div_ceil(BLOCK as u64);
        let first = if blocks == 0 { 0 } else { self.space.blocks(blocks)? };
        source.copy(&self.space, u64::from(first) * BLOCK as u64)?;
        self.space.put(placed.at, &placed.encode(first, &[]))?;
        Ok(placed)
    }

    fn inode(&mut self, stat: &Stat) -> Inode {
        let meta = meta(stat);
        self.inodes += 1;
        Inode {
            mode: stat.st_mode as u16,
            uid: meta.uid,
            gid: meta.gid,
            mtime: meta.mtime,
            size: stat.st_size.unsigned_abs(),
            links: 1,
            serial: self.inodes as u32,
            attributes: Vec::new(),
        }
    }

    /// Gives an inode its place, with so many bytes behind it if they fit into its block.
    fn place(
        &mut self,
        mut inode: Inode,
        attributes: Attributes,
        tail: usize,
        most_links: usize,
    ) -> Result<Placed, ErofsError> {
        inode.attributes = attributes.bytes;
        let form = inode.form(self.time, most_links.max(inode.links as usize));
        let alone = inode.length(form);
        let fits = tail > 0 && alone + tail <= BLOCK;
        let at = self.space.inode(if fits { alone + tail } else { alone })?;
        let mut own_at = at + (form.length() + attributes_before(attributes.shared)) as u64;
        for own in attributes.own {
            let length = own.len();
            if let Ok(unit) = u32::try_from(own_at / 4)
                && let Some(room) = self.room.checked_sub(length)
            {
                self.room = room;
                self.remembered.insert(own, unit);
            }
            own_at += length as u64;
        }
        Ok(Placed { inode, form, at, tail: fits })
    }

    /// What an inode says of its attributes; whether a folder is opaque is one in an image, too.
    fn attributes(&self, place: &Place<'_>, file: &OwnedFd) -> Result<Attributes, ErofsError> {
        let (mut list, opaque) = xattrs(file).map_err(place.failed("getxattr"))?;
        if opaque {
            list.push((b"trusted.overlay.opaque".to_vec(), b"y".to_vec()));
        }
        let unfit = |problem| ErofsError::Unfit { path: place.shown(), problem };
        let (mut references, mut own) = (Vec::new(), Vec::new());
        for (name, value) in &list {
            let encoded = attribute(name, value).map_err(unfit)?;
            match self.remembered.get(&encoded) {
                Some(unit) if references.len() < REFERENCES => references.push(*unit),
                _ => own.push(encoded),
            }
        }
        let bytes = attributes(&references, &own).map_err(unfit)?;
        Ok(Attributes { bytes, own, shared: references.len() })
    }
}

/// The next name of a folder that has to be entered.
fn next_folder(frame: &mut Frame) -> Option<usize> {
    let folder = name_type(FileType::Directory);
    let mut left = frame.names.list.iter().enumerate().skip(frame.entered);
    let found = left.find(|(_, entry)| entry.kind == folder && entry.inode == 0);
    let index = found.map(|(index, _)| index);
    frame.entered = index.map_or(frame.names.list.len(), |index| index + 1);
    index
}

fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// Opens a folder of the tree, however long its path is.
fn open_folder(root: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let (mut above, mut rest): (Option<OwnedFd>, &[u8]) = (None, path);
    loop {
        let cut = match rest.get(..STEP) {
            Some(step) => step.iter().rposition(|byte| *byte == b'/').ok_or(Errno::NAMETOOLONG)?,
            None => rest.len(),
        };
        let step = rest.get(..cut).unwrap_or_default();
        let at = above.as_ref().map_or(root.as_fd(), OwnedFd::as_fd);
        let folder = open_below(at, step, flags)?;
        match rest.get(cut.saturating_add(1)..) {
            Some(more) => (above, rest) = (Some(folder), more),
            None => return Ok(folder),
        }
    }
}
