//! The bytes of an image: little endian throughout, offsets as in `fs/erofs/erofs_fs.h` of Linux.

use super::VolumeId;
use crate::tar::Time;
use rustix::fs::{Dev, FileType, major, minor};

/// Bytes of a block.
pub(super) const BLOCK: usize = 4096;
/// Inodes begin at multiples of this many bytes; their numbers count these.
pub(super) const SLOT: usize = 32;
/// Where the superblock begins.
pub(super) const SUPER_AT: usize = 1024;
/// Its length.
pub(super) const SUPER_LENGTH: usize = 128;
/// Where the checksum stands in it.
pub(super) const CHECKSUM_AT: usize = 4;

const MAGIC: u32 = 0xe0f5_e1e2;
/// The superblock has a checksum; times of inodes are those of the last change of content.
const FEATURES: u32 = 0x1 | 0x2;

/// What the superblock tells of the whole image.
#[derive(Debug)]
pub(super) struct Super {
    pub root: u64,
    pub inodes: u64,
    /// When whatever has a small inode changed.
    pub time: Time,
    pub blocks: u32,
    pub id: VolumeId,
}

impl Super {
    /// The superblock without its checksum.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(SUPER_LENGTH);
        out.extend(MAGIC.to_le_bytes());
        out.extend(0_u32.to_le_bytes());
        out.extend(FEATURES.to_le_bytes());
        out.extend([BLOCK.trailing_zeros() as u8, 0]);
        out.extend((self.root as u16).to_le_bytes());
        out.extend(self.inodes.to_le_bytes());
        out.extend(self.time.seconds.to_le_bytes());
        out.extend(self.time.nanoseconds.to_le_bytes());
        out.extend(self.blocks.to_le_bytes());
        // Inodes and shared attributes are numbered from the first block on.
        out.extend([0; 8]);
        out.extend(self.id.0);
        // No name, no feature that a reader would have to know, no further devices.
        out.resize(SUPER_LENGTH, 0);
        out
    }
}

/// CRC-32C (Castagnoli) as the kernel keeps it: without the final complement.
pub(super) fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 * (crc & 1)))
    })
}

/// Which of the two forms of inodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// 32 bytes, for small values and the time of the superblock.
    Compact,
    /// 64 bytes.
    Extended,
}

impl Form {
    pub(super) fn length(self) -> usize {
        match self {
            Self::Compact => 32,
            Self::Extended => 64,
        }
    }

    /// The number of links, and where in the inode it stands.
    pub(super) fn links(self, links: u32) -> (u64, Vec<u8>) {
        match self {
            Self::Compact => (6, (links as u16).to_le_bytes().to_vec()),
            Self::Extended => (44, links.to_le_bytes().to_vec()),
        }
    }
}

/// An inode; what it says of its content comes when that has its place.
#[derive(Debug, Clone)]
pub(super) struct Inode {
    /// Type and permissions, as stat(2) has them.
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Time,
    pub size: u64,
    pub links: u32,
    /// Counts inodes; seen by 32-bit programs only.
    pub serial: u32,
    /// What follows it: [`attributes`].
    pub attributes: Vec<u8>,
}

/// Where the content of an inode is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// In blocks from this one on.
    Blocks(u32),
    /// In blocks from this one on, but what does not fill one is behind the inode.
    Tail(u32),
    /// It is this device, encoded.
    Device(u32),
}

impl Inode {
    /// The shorter form that can express it; folders may get up to this many links.
    pub(super) fn form(&self, time: Time, links: usize) -> Form {
        let small = self.mtime == time
            && [self.uid, self.gid].iter().all(|id| u16::try_from(*id).is_ok())
            && u32::try_from(self.size).is_ok()
            && u16::try_from(links).is_ok();
        if small { Form::Compact } else { Form::Extended }
    }

    /// Bytes of it with its attributes.
    pub(super) fn length(&self, form: Form) -> usize {
        form.length() + self.attributes.len()
    }

    /// The inode and its attributes.
    pub(super) fn encode(&self, form: Form, content: Content) -> Vec<u8> {
        let (layout, place) = match content {
            Content::Blocks(place) | Content::Device(place) => (0_u16, place),
            Content::Tail(place) => (2, place),
        };
        let extended = u16::from(form == Form::Extended);
        // The first 12 bytes count as one unit of 4.
        let units = self.attributes.len().saturating_sub(8) / 4;
        let mut out = Vec::with_capacity(self.length(form));
        out.extend((layout << 1 | extended).to_le_bytes());
        out.extend((units as u16).to_le_bytes());
        out.extend(self.mode.to_le_bytes());
        match form {
            Form::Compact => {
                out.extend((self.links as u16).to_le_bytes());
                out.extend((self.size as u32).to_le_bytes());
                out.extend([0; 4]);
                out.extend(place.to_le_bytes());
                out.extend(self.serial.to_le_bytes());
                out.extend((self.uid as u16).to_le_bytes());
                out.extend((self.gid as u16).to_le_bytes());
                out.extend([0; 4]);
            }
            Form::Extended => {
                out.extend([0; 2]);
                out.extend(self.size.to_le_bytes());
                out.extend(place.to_le_bytes());
                out.extend(self.serial.to_le_bytes());
                out.extend(self.uid.to_le_bytes());
                out.extend(self.gid.to_le_bytes());
                out.extend(self.mtime.seconds.to_le_bytes());
                out.extend(self.mtime.nanoseconds.to_le_bytes());
                out.extend(self.links.to_le_bytes());
                out.extend([0; 16]);
            }
        }
        out.extend(&self.attributes);
        out
    }
}

/// A device number as the kernel encodes it in 32 bits (`new_encode_dev`).
pub(super) fn device(number: Dev) -> u32 {
    let (major, minor) = (major(number), minor(number));
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// The type of a name in a folder.
pub(super) fn name_type(kind: FileType) -> u8 {
    match kind {
        FileType::RegularFile => 1,
        FileType::Directory => 2,
        FileType::CharacterDevice => 3,
        FileType::BlockDevice => 4,
        FileType::Fifo => 5,
        FileType::Socket => 6,
        FileType::Symlink => 7,
        FileType::Unknown => 0,
    }
}

/// One attribute by itself, at a multiple of 4 bytes.
pub(super) fn attribute(name: &[u8], value: &[u8]) -> Result<Vec<u8>, &'static str> {
    const PREFIXES: [(&[u8], u8); 3] = [(b"user.", 1), (b"trusted.", 4), (b"security.", 6)];
    let known =
        PREFIXES.iter().find_map(|(start, index)| Some((name.strip_prefix(*start)?, index)));
    let (rest, index) = known.ok_or("an extended attribute of a kind that images cannot have")?;
    let long = "an extended attribute that is too long for an image";
    let length = u8::try_from(rest.len()).map_err(|_| long)?;
    let size = u16::try_from(value.len()).map_err(|_| long)?;
    let mut out = vec![length, *index];
    out.extend(size.to_le_bytes());
    out.extend(rest);
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
    Ok(out)
}

/// Bytes before the attributes that an inode has itself, if it refers to this many of others.
pub(super) fn attributes_before(shared: usize) -> usize {
    12 + 4 * shared
}

/// What follows an inode: its attributes, some of them by reference.
pub(super) fn attributes(shared: &[u32], own: &[Vec<u8>]) -> Result<Vec<u8>, &'static str> {
    if shared.is_empty() && own.is_empty() {
        return Ok(Vec::new());
    }
    let mut out = vec![0; 4];
    out.push(u8::try_from(shared.len()).map_err(|_| "too many extended attributes")?);
    out.extend([0; 7]);
    out.extend(shared.iter().flat_map(|reference| reference.to_le_bytes()));
    out.extend(own.iter().flatten());
    // Counted in 16 bits, in units of 4 bytes.
    if out.len() > 12 + 4 * 65534 {
        return Err("more extended attributes than an image can have");
    }
    Ok(out)
}

/// A name in a folder.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name<'a> {
    pub bytes: &'a [u8],
    pub inode: u64,
    pub kind: u8,
}

/// Bytes that each name takes beside itself.
const NAME_LENGTH: usize = 12;

/// How the names of a folder fall into blocks.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct FolderPlan {
    /// How many names each block has.
    pub counts: Vec<usize>,
    /// Bytes of the whole folder.
    pub size: u64,
}

impl FolderPlan {
    /// The plan for names of these lengths, in the order of their bytes.
    pub(super) fn new(lengths: impl Iterator<Item = usize>) -> Self {
        let (mut counts, mut count, mut used) = (Vec::new(), 0, 0);
        for length in lengths {
            let more = NAME_LENGTH + length;
            if used + more > BLOCK {
                counts.push(count);
                (count, used) = (0, 0);
            }
            count += 1;
            used += more;
        }
        counts.push(count);
        let size = ((counts.len() - 1) * BLOCK + used) as u64;
        Self { counts, size }
    }
}

/// One block of a folder, without padding.
pub(super) fn folder_block<'a>(names: impl Iterator<Item = Name<'a>> + Clone) -> Vec<u8> {
    let mut at = NAME_LENGTH * names.clone().count();
    let mut out = Vec::with_capacity(BLOCK);
    for name in names.clone() {
        out.extend(name.inode.to_le_bytes());
        out.extend((at as u16).to_le_bytes());
        out.extend([name.kind, 0]);
        at += name.bytes.len();
    }
    names.for_each(|name| out.extend(name.bytes));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnolis() {
        // RFC 3720, B.4, before its complement.
        assert_eq!(!checksum(b"123456789"), 0xe306_9283);
        assert_eq!(!checksum(&[0; 32]), 0x8a91_36aa);
    }

    #[test]
    fn inodes_have_their_lengths() {
        let mut inode = Inode {
            mode: 0o100_644,
            uid: 65535,
            gid: 0,
            mtime: Time { seconds: 7, nanoseconds: 9 },
            size: 1 << 31,
            links: 1,
            serial: 1,
            attributes: attributes(&[5], &[attribute(b"user.a", b"1").unwrap()]).unwrap(),
        };
        assert_eq!(inode.attributes.len(), 12 + 4 + 8);
        assert_eq!(inode.form(inode.mtime, 65535), Form::Compact);
        assert_eq!(inode.form(inode.mtime, 65536), Form::Extended);
        assert_eq!(inode.form(Time { nanoseconds: 8, ..inode.mtime }, 1), Form::Extended);
        for form in [Form::Compact, Form::Extended] {
            let bytes = inode.encode(form, Content::Tail(3));
            assert_eq!(bytes.len(), inode.length(form));
            let (at, links) = form.links(1);
            assert!(bytes.split_at(at as usize).1.starts_with(&links));
        }
        inode.uid = 65536;
        assert_eq!(inode.form(inode.mtime, 1), Form::Extended);
    }

    #[test]
    fn attributes_have_bounds() {
        attribute(b"system.posix_acl_access", b"").unwrap_err();
        attribute(b"user.big", &vec![0; 65536]).unwrap_err();
        let large = attribute(b"user.big", &vec![0; 65535]).unwrap();
        attributes(&[], &vec![large.clone(); 3]).unwrap();
        attributes(&[], &vec![large; 4]).unwrap_err();
        attributes(&[0; 256], &[]).unwrap_err();
    }

    #[test]
    fn a_block_is_filled_before_the_next_begins() {
        // 153 names of 15 bytes take 4131.
        assert_eq!(
            FolderPlan::new([15; 151].into_iter()),
            FolderPlan { counts: vec![151], size: 4077 }
        );
        let two = FolderPlan::new([15; 153].into_iter());
        assert_eq!(two, FolderPlan { counts: vec![151, 2], size: 4096 + 54 });
        let full = FolderPlan::new([500; 8].into_iter());
        assert_eq!(full, FolderPlan { counts: vec![8], size: 4096 });
    }
}
