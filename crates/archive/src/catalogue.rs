//! What stands in a tree, path by path: where entries may go, and what the tree's digest is taken of.

use crate::tar::Time;
use blake3::Hasher;
use std::collections::{BTreeMap, HashMap};

/// What a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ItemKind {
    Dir,
    File,
    Symlink,
    Fifo,
    Device,
    /// Hides what lower layers have at this path.
    Whiteout,
}

/// Who owns something, who may use it, and when it changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Meta {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Time,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What is known of one path.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts of a path, each set by another rule"
)]
pub(crate) struct Item {
    pub kind: ItemKind,
    /// Tells names of one file from copies of it.
    pub inode: u64,
    /// Other names may exist.
    pub linked: bool,
    /// A folder that nobody listed: made because something lies below it.
    pub implied: bool,
    /// A folder reached through a link whose target nobody had made.
    pub through_link: bool,
    /// A folder that hides what lower layers have below it.
    pub opaque: bool,
    /// Kept for folders, whose times are set last.
    pub meta: Option<Box<Meta>>,
    /// Hash of all but the name.
    pub record: [u8; 32],
}

impl Item {
    pub(crate) fn new(kind: ItemKind, inode: u64, record: [u8; 32]) -> Self {
        Self {
            kind,
            inode,
            linked: false,
            implied: false,
            through_link: false,
            opaque: false,
            meta: None,
            record,
        }
    }

    pub(crate) fn dir(meta: Meta) -> Self {
        Self { meta: Some(Box::new(meta)), ..Self::new(ItemKind::Dir, 0, [0; 32]) }
    }

    /// The hash of all but the name.
    pub(crate) fn record(&self) -> [u8; 32] {
        match &self.meta {
            Some(meta) => record(b'd', meta, &[u8::from(self.opaque)]),
            None => self.record,
        }
    }
}

/// The hash of all that is in a tree, without its root: enough to tell the tree's digest when the root changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contents([u8; 32]);

impl Contents {
    /// The digest of the tree whose root has this record.
    pub(crate) fn below(&self, root: [u8; 32]) -> [u8; 32] {
        let mut hash = Hasher::new();
        hash.update(&root);
        hash.update(&self.0);
        hash.finalize().into()
    }
}

/// All paths of a tree, relative to its root, which is the empty path.
#[derive(Debug, Default)]
pub(crate) struct Catalogue(BTreeMap<Vec<u8>, Item>);

impl Catalogue {
    pub(crate) fn get(&self, path: &[u8]) -> Option<&Item> {
        self.0.get(path)
    }

    pub(crate) fn get_mut(&mut self, path: &[u8]) -> Option<&mut Item> {
        self.0.get_mut(path)
    }

    pub(crate) fn insert(&mut self, path: Vec<u8>, item: Item) {
        self.0.insert(path, item);
    }

    /// Forgets a path and all below it.
    pub(crate) fn remove(&mut self, path: &[u8]) {
        self.0.remove(path);
        let (first, last) = ([path, b"/"].concat(), [path, b"0"].concat());
        let below: Vec<Vec<u8>> = self.0.range(first..last).map(|(key, _)| key.clone()).collect();
        for key in below {
            self.0.remove(&key);
        }
    }

    /// All items, parents before their children.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], &Item)> {
        self.0.iter().map(|(path, item)| (path.as_slice(), item))
    }

    /// The hash of the whole tree: of its root, and of all that is in it.
    pub(crate) fn digest(&self) -> ([u8; 32], Contents) {
        let contents = Contents(self.contents());
        let root = self.get(b"").map_or([0; 32], Item::record);
        (contents.below(root), contents)
    }

    fn contents(&self) -> [u8; 32] {
        let mut hash = Hasher::new();
        let mut groups: HashMap<u64, u64> = HashMap::new();
        for (index, (path, item)) in (1_u64..).zip(&self.0) {
            if path.is_empty() {
                continue;
            }
            hash.update(&(path.len() as u64).to_le_bytes());
            hash.update(path);
            let group =
                if item.linked { *groups.entry(item.inode).or_insert(index) } else { index };
            // A name whose other names are gone is like any other.
            hash.update(&(index.saturating_sub(group)).to_le_bytes());
            hash.update(&item.record());
        }
        hash.finalize().into()
    }
}

/// The hash of one item: its kind, its owner and so on, and what makes up the rest of it.
pub(crate) fn record(kind: u8, meta: &Meta, rest: &[u8]) -> [u8; 32] {
    let mut hash = Hasher::new();
    hash.update(&[kind]);
    hash.update(&meta.mode.to_le_bytes());
    hash.update(&meta.uid.to_le_bytes());
    hash.update(&meta.gid.to_le_bytes());
    hash.update(&meta.mtime.seconds.to_le_bytes());
    hash.update(&meta.mtime.nanoseconds.to_le_bytes());
    let mut xattrs: Vec<_> = meta.xattrs.iter().collect();
    xattrs.sort();
    for (name, value) in xattrs {
        hash.update(&(name.len() as u64).to_le_bytes());
        hash.update(name);
        hash.update(&(value.len() as u64).to_le_bytes());
        hash.update(value);
    }
    hash.update(rest);
    hash.finalize().into()
}

/// The record of a whiteout, which has nothing but its name.
pub(crate) fn whiteout() -> [u8; 32] {
    record(b'w', &Meta::default(), &[])
}

/// Whether an extended attribute of an image is kept: capabilities and the user's own, never what steers the kernel.
pub(crate) fn keeps_xattr(name: &[u8]) -> bool {
    name == b"security.capability"
        || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
}
