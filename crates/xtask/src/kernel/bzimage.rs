//! Distributions publish a kernel as a bzImage: a real-mode part, a program that unpacks, and the packed ELF file. The last
//! is taken out here, once, so that no virtual machine does it at each start. Offsets are those of the kernel's
//! Documentation/arch/x86/boot.rst.

use super::elf::word;

const SETUP_SECTORS: usize = 0x1f1;
const MAGIC: usize = 0x202;
/// Of the packed file, counted from the end of the real-mode part.
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;
/// No kernel is as large, unpacked.
const LARGEST: usize = 256 << 20;

/// How the ELF file is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Gzip,
    Xz,
    Zstd,
    /// The older format of LZ4, whose blocks have no end mark.
    Lz4,
}

impl Packing {
    fn of(payload: &[u8]) -> Option<Self> {
        let magics: [(&[u8], Self); 4] = [
            (b"\x1f\x8b", Self::Gzip),
            (b"\xfd7zXZ\0", Self::Xz),
            (b"\x28\xb5\x2f\xfd", Self::Zstd),
            (b"\x02\x21\x4c\x18", Self::Lz4),
        ];
        magics.into_iter().find(|(magic, _)| payload.starts_with(magic)).map(|(_, packing)| packing)
    }

    /// The program that unpacks it, from its standard input to its standard output with `-dc`.
    pub(super) fn program(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
        }
    }
}

/// A packed ELF file inside of a bzImage.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Packed<'a> {
    pub(super) packing: Packing,
    pub(super) bytes: &'a [u8],
    /// Of the file, once it is unpacked.
    pub(super) size: usize,
}

/// Finds the packed file, or says why there is none.
pub(super) fn packed(image: &[u8]) -> Result<Packed<'_>, &'static str> {
    if image.get(MAGIC..MAGIC + 4) != Some(b"HdrS") {
        return Err("no boot header");
    }
    let number = |at| word(image, at).and_then(|word| usize::try_from(word).ok());
    let range = || {
        // Old boot loaders wrote 0 where 4 was meant.
        let sectors = match *image.get(SETUP_SECTORS)? {
            0 => 4,
            sectors => usize::from(sectors),
        };
        let start = ((sectors + 1) * 512).checked_add(number(PAYLOAD_OFFSET)?)?;
        image.get(start..start.checked_add(number(PAYLOAD_LENGTH)?)?)
    };
    let payload = range().ok_or("the packed kernel lies outside of the file")?;
    let packing = Packing::of(payload).ok_or("the kernel is packed in an unknown way")?;
    let end = payload.len().checked_sub(4).ok_or("the packed kernel is too short")?;
    let size = word(payload, end).and_then(|size| usize::try_from(size).ok());
    let size = size.filter(|size| *size <= LARGEST).ok_or("the unpacked kernel is too large")?;
    // The size is a part of gzip's format; the others' ends before it.
    let bytes = if packing == Packing::Gzip { payload } else { &payload[..end] };
    Ok(Packed { packing, bytes, size })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bzImage whose real-mode part has so many sectors after the first.
    fn image(sectors: u8, offset: u32, payload: &[u8], length: u32) -> Vec<u8> {
        let real = if sectors == 0 { 4 } else { usize::from(sectors) };
        let mut image = vec![0; (real + 1) * 512 + usize::try_from(offset).unwrap()];
        image[SETUP_SECTORS] = sectors;
        image[MAGIC..MAGIC + 4].copy_from_slice(b"HdrS");
        image[PAYLOAD_OFFSET..PAYLOAD_OFFSET + 4].copy_from_slice(&offset.to_le_bytes());
        image[PAYLOAD_LENGTH..PAYLOAD_LENGTH + 4].copy_from_slice(&length.to_le_bytes());
        image.extend(payload);
        image.extend(b"what follows");
        image
    }

    #[test]
    fn the_packed_file_is_found() {
        let payload = b"\x02\x21\x4c\x18 blocks \x00\x10\x00\x00";
        for sectors in [0, 1, 39] {
            let image = image(sectors, 0x2a0, payload, 16);
            let expected = Packed { packing: Packing::Lz4, bytes: &payload[..12], size: 0x1000 };
            assert_eq!(packed(&image), Ok(expected), "{sectors}");
        }
    }

    #[test]
    fn gzip_keeps_its_size() {
        let payload = b"\x1f\x8b stream \x00\x10\x00\x00";
        let image = image(4, 0, payload, 14);
        let found = packed(&image).unwrap();
        assert_eq!((found.packing, found.bytes.len(), found.size), (Packing::Gzip, 14, 0x1000));
    }

    #[test]
    fn images_that_lie_are_refused() {
        let payload = b"\xfd7zXZ\0 stream \x00\x10\x00\x00";
        let good = image(4, 0x10, payload, 18);
        assert_eq!(packed(&good).unwrap().size, 0x1000);
        for length in 0..good.len() - "what follows".len() {
            assert!(packed(&good[..length]).is_err(), "{length}");
        }
        for (offset, length) in [(0x10, u32::MAX), (0x10, 18 + 13), (0x10, 2), (0x11, 18)] {
            let mut bad = good.clone();
            bad[PAYLOAD_OFFSET..PAYLOAD_OFFSET + 4].copy_from_slice(&u32::to_le_bytes(offset));
            bad[PAYLOAD_LENGTH..PAYLOAD_LENGTH + 4].copy_from_slice(&u32::to_le_bytes(length));
            assert!(packed(&bad).is_err(), "{offset} {length}");
        }
        let huge = image(4, 0, b"\x28\xb5\x2f\xfd stream \xff\xff\xff\xff", 16);
        assert_eq!(packed(&huge), Err("the unpacked kernel is too large"));
    }

    #[test]
    fn a_payload_of_a_magic_alone_has_no_size_behind_it() {
        let image = image(4, 0, b"\x1f\x8b", 2);
        assert_eq!(packed(&image), Err("the packed kernel is too short"));
    }
}
