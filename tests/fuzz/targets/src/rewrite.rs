//! The files that a guest gives of itself: a tar of any shape becomes an image that can be unpacked, or is refused.

use crate::bytes::Bytes;
use archive::{Limits, aci, rewrite};

/// The bytes of a block, and where a header has its fields.
const BLOCK: usize = 512;
const NAME: usize = 100;
const MODE: usize = 100;
const SIZE: usize = 124;
const SUM: usize = 148;
const KIND: usize = 156;
const LINK: usize = 157;
const MAGIC: usize = 257;
const PREFIX: usize = 345;
/// The most entries, and bytes: what takes more only takes longer.
const ENTRIES: usize = 100;
const BYTES: u64 = 1 << 20;

pub(crate) fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let stream = if bytes.byte().is_multiple_of(4) { bytes.0.to_vec() } else { tar(bytes) };
    let limits = Limits { bytes: BYTES, entries: ENTRIES as u64, ..Limits::default() };
    let Ok(image) = rewrite::aci(Vec::new(), b"{}", &mut &stream[..], &limits) else { return };
    // What came out is an image like any other, and its files come out again as they are.
    let manifest = aci::check(&mut &image[..], &limits).expect("it is an image");
    assert_eq!(manifest, b"{}");
    let files = &image[2 * BLOCK..];
    let again = rewrite::aci(Vec::new(), b"{}", &mut &files[..], &limits);
    assert!(again.expect("its files are files") == image, "it is another image");
}

/// Entries with sums that are right, so that it is looked at what they say.
fn tar(mut bytes: Bytes<'_>) -> Vec<u8> {
    let mut stream = Vec::new();
    for _ in 0..ENTRIES {
        if bytes.is_empty() {
            break;
        }
        entry(&mut stream, &mut bytes);
    }
    stream.resize(stream.len() + 2 * BLOCK, 0);
    stream
}

fn entry(stream: &mut Vec<u8>, bytes: &mut Bytes<'_>) {
    let shape = bytes.byte();
    let kinds = b"05550123456gxLKSDV7";
    let kind = kinds[usize::from(bytes.byte()) % kinds.len()];
    let mut header = [0_u8; BLOCK];
    let name = match shape % 4 {
        0 => bytes.take(usize::from(shape)).to_vec(),
        1 => b"rootfs".to_vec(),
        2 => [b"rootfs/", bytes.take(1)].concat(),
        _ => [b"rootfs/", bytes.take(1), b"/", bytes.take(usize::from(shape >> 4))].concat(),
    };
    put(&mut header, 0, &name[..name.len().min(NAME)]);
    put(&mut header, MODE, b"0000755\0000000000\0000000000\0");
    let length = usize::from(bytes.byte());
    let content = bytes.take(if shape & 0x40 == 0 { length } else { length * 8 });
    // Headers of extensions are text; a record's length is the first thing that they get wrong.
    let content = if matches!(kind, b'x' | b'g') && shape & 0x80 != 0 {
        records(content)
    } else {
        content.to_vec()
    };
    put(&mut header, SIZE, format!("{:011o}\0", content.len()).as_bytes());
    put(&mut header, 136, b"00000000000\0");
    header[KIND] = kind;
    if matches!(kind, b'1' | b'2') {
        let target = [b"rootfs/", bytes.take(1)].concat();
        let target = if shape & 0x20 == 0 { target } else { bytes.take(20).to_vec() };
        put(&mut header, LINK, &target);
    }
    put(&mut header, MAGIC, if shape & 0x10 == 0 { b"ustar\x0000" } else { b"ustar  \0" });
    if shape & 8 != 0 {
        // Anything in what is left: numbers of a device, a prefix, a list of extents.
        put(&mut header, PREFIX - 16, bytes.take(64));
    }
    if shape & 4 != 0 {
        let at = usize::from(bytes.half()) % BLOCK;
        put(&mut header, at, bytes.take(8));
    }
    put(&mut header, SUM, b"        ");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    put(&mut header, SUM, format!("{sum:06o}\0 ").as_bytes());
    stream.extend(header);
    let extends = !matches!(kind, b'1'..=b'6');
    if extends {
        stream.extend(&content);
        stream.resize(stream.len().next_multiple_of(BLOCK), 0);
    }
}

fn put(header: &mut [u8; BLOCK], at: usize, bytes: &[u8]) {
    let length = bytes.len().min(BLOCK - at);
    header[at..at + length].copy_from_slice(&bytes[..length]);
}

/// Records of a PAX header with lengths that are right: key, value, key, value…, each behind its length.
fn records(content: &[u8]) -> Vec<u8> {
    let keys = [
        "path",
        "linkpath",
        "size",
        "uid",
        "mtime",
        "SCHILY.xattr.user.x",
        "GNU.sparse.map",
        "GNU.sparse.major",
        "GNU.sparse.minor",
        "GNU.sparse.name",
        "GNU.sparse.realsize",
        "SCHILY.xattr.security.capability",
        "hdrcharset",
        "SCHILY.devmajor",
    ];
    let mut bytes = Bytes(content);
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let key = keys[usize::from(bytes.byte()) % keys.len()];
        let length = usize::from(bytes.byte() % 64);
        let value = bytes.take(length);
        let mut total = key.len() + value.len() + 3;
        total += total.to_string().len();
        // One digit more may take one digit more.
        let total = key.len() + value.len() + 3 + total.to_string().len();
        all.extend(format!("{total} {key}=").bytes());
        all.extend(value);
        all.push(b'\n');
    }
    all
}
