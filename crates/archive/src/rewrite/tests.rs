use super::*;
use crate::aci::check;
use std::error::Error as _;

/// A member of this kind, as its writer likes.
fn made(kind: u8, path: &str) -> Member {
    Member { path: path.into(), kind, mode: 0o755, ..Member::default() }
}

fn link(kind: u8, path: &str, target: &str) -> Member {
    Member { link: target.into(), ..made(kind, path) }
}

/// A tar of members with as many bytes `x` as they say, and its end.
fn tar(members: &[Member]) -> Vec<u8> {
    let mut writer = AciWriter { out: Vec::new() };
    for member in members {
        writer.header(member).unwrap();
        if member.kind == b'0' {
            writer.out.extend(std::iter::repeat_n(b'x', usize::try_from(member.size).unwrap()));
            writer.pad(member.size).unwrap();
        }
    }
    writer.finish().unwrap()
}

fn again(stream: &[u8]) -> Result<Vec<u8>, RewriteError> {
    aci(Vec::new(), b"{}", &mut &stream[..], &Limits::default())
}

/// What is wrong, all of it.
fn refused(stream: &[u8]) -> String {
    let error = again(stream).unwrap_err();
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{error}{cause}")
}

fn all() -> Vec<Member> {
    let xattr = |name: &str, value: &[u8]| (name.into(), value.into());
    let long = format!("rootfs/{}", "d".repeat(200));
    vec![
        Member { mode: 0o1711, uid: 5, gid: 1 << 31, ..made(b'5', "rootfs") },
        Member { seconds: -5, nanoseconds: 7, ..made(b'5', "rootfs/etc") },
        Member {
            size: 700,
            mode: 0o4755,
            xattrs: vec![xattr("security.capability", &[1, 0, 0, 2, 0]), xattr("user.x", b"=\n\0")],
            ..made(b'0', "rootfs/etc/file")
        },
        link(b'1', "rootfs/etc/other", "rootfs/etc/file"),
        link(b'2', "rootfs/etc/out", "/../../etc/passwd"),
        Member { device: (4095, 1_048_575), ..made(b'3', "rootfs/c") },
        Member { device: (8, 1), ..made(b'4', "rootfs/b") },
        made(b'6', "rootfs/fifo"),
        made(b'0', &long),
    ]
}

#[test]
fn what_is_right_comes_out_as_it_came_in() {
    let out = again(&tar(&all())).unwrap();
    assert_eq!(check(&mut &out[..], &Limits::default()).unwrap(), b"{}");
    let mut manifest = AciWriter { out: Vec::new() };
    manifest.file("manifest", 0o644, b"{}").unwrap();
    assert_eq!(out, [manifest.out, tar(&all())].concat());
}

#[test]
fn names_are_cleaned_and_sparse_files_filled() {
    let odd = [made(b'5', "rootfs/"), made(b'5', "rootfs/./a//"), made(b'6', "rootfs/a/./p")];
    let plain = [made(b'5', "rootfs"), made(b'5', "rootfs/a"), made(b'6', "rootfs/a/p")];
    assert_eq!(again(&tar(&odd)).unwrap(), again(&tar(&plain)).unwrap());

    let mut header = ::tar::Header::new_gnu();
    header.set_path("rootfs/s").unwrap();
    header.set_entry_type(::tar::EntryType::GNUSparse);
    header.set_mode(0o600);
    header.set_size(3);
    let gnu = header.as_gnu_mut().unwrap();
    gnu.sparse[0].offset.copy_from_slice(b"00000001000\0");
    gnu.sparse[0].numbytes.copy_from_slice(b"00000000003\0");
    gnu.realsize.copy_from_slice(b"00000002000\0");
    header.set_cksum();
    let root = tar(&[made(b'5', "rootfs")]);
    let mut stream = root.strip_suffix(&[0; 1024][..]).unwrap().to_vec();
    stream.extend_from_slice(header.as_bytes());
    stream.extend_from_slice(b"abc");
    stream.resize(stream.len() + 509 + 1024, 0);
    let out = again(&stream).unwrap();
    let mut reader = TarReader::new(&out[..]);
    let entry = std::iter::from_fn(|| reader.next().unwrap()).find(|e| e.path == b"rootfs/s");
    assert_eq!(entry.unwrap().size, 1024);
    let at = out.windows(3).position(|bytes| bytes == b"abc").unwrap();
    assert!(at % 512 == 0 && out[at - 512..at].iter().chain(&out[at + 3..]).all(|b| *b == 0));
}

#[test]
fn what_lies_elsewhere_is_refused() {
    let root = made(b'5', "rootfs");
    let folder = made(b'5', "rootfs/d");
    for (members, expected) in [
        (vec![], "entry \"rootfs\": it is missing"),
        (vec![folder.clone()], "entry \"rootfs/d\": there is no such folder to hold it"),
        (vec![made(b'0', "rootfs")], "entry \"rootfs\": it is no folder"),
        (vec![made(b'5', "/rootfs")], "entry \"/rootfs\": it does not lie below rootfs"),
        (vec![made(b'5', "rootfs2")], "entry \"rootfs2\": it does not lie below rootfs"),
        (vec![made(b'5', "./rootfs")], "entry \"./rootfs\": it does not lie below rootfs"),
        (
            vec![root.clone(), made(b'0', "manifest")],
            "entry \"manifest\": it does not lie below rootfs",
        ),
        (
            vec![root.clone(), made(b'0', "/etc/passwd")],
            "entry \"/etc/passwd\": it does not lie below rootfs",
        ),
        (
            vec![root.clone(), made(b'0', "rootfs/../x")],
            "entry \"rootfs/../x\": the path leads upwards",
        ),
        (
            vec![root.clone(), made(b'0', "rootfs/d/..")],
            "entry \"rootfs/d/..\": the path leads upwards",
        ),
        (vec![root.clone(), root.clone()], "entry \"rootfs\": it is there twice"),
        (
            vec![root.clone(), folder.clone(), made(b'0', "rootfs//d")],
            "entry \"rootfs//d\": it is there twice",
        ),
        // What lies behind a link would land outside.
        (
            vec![root.clone(), link(b'2', "rootfs/l", "/etc"), made(b'0', "rootfs/l/passwd")],
            "entry \"rootfs/l/passwd\": there is no such folder to hold it",
        ),
    ] {
        assert_eq!(refused(&tar(&members)), expected);
    }
    let deep = format!("rootfs{}", "/d".repeat(1100));
    let long = refused(&tar(&[root.clone(), made(b'0', &deep)]));
    assert!(long.ends_with(": the path is too deep"), "{long}");
    let longer = refused(&tar(&[root, made(b'0', &format!("rootfs/{}", "x".repeat(5000)))]));
    assert!(longer.ends_with(": the path is too long"), "{longer}");
}

#[test]
fn what_is_nothing_that_an_image_has_is_refused() {
    let root = made(b'5', "rootfs");
    let folder = made(b'5', "rootfs/d");
    let xattr = |name: &str, value: &[u8]| Member {
        xattrs: vec![(name.into(), value.into())],
        ..made(b'0', "rootfs/f")
    };
    for (members, expected) in [
        (
            vec![root.clone(), link(b'2', "rootfs/l", "")],
            "entry \"rootfs/l\": its target is empty or too long",
        ),
        (
            vec![root.clone(), folder.clone(), link(b'1', "rootfs/h", "rootfs/d")],
            "entry \"rootfs/h\": it is a further name of something that is not there",
        ),
        (
            vec![root.clone(), link(b'1', "rootfs/h", "rootfs/../etc/shadow")],
            "entry \"rootfs/h\": it is a further name of something that is not there",
        ),
        (
            vec![root.clone(), made(b'0', "rootfs/f"), link(b'1', "rootfs/h", "/rootfs/f")],
            "entry \"rootfs/h\": it is a further name of something that is not there",
        ),
        (
            vec![root.clone(), made(b'D', "rootfs/x")],
            "entry \"rootfs/x\": it is of an unknown kind",
        ),
        (
            vec![root.clone(), Member { device: (4096, 0), ..made(b'3', "rootfs/x") }],
            "entry \"rootfs/x\": no device has its number",
        ),
        (
            vec![root.clone(), xattr("trusted.overlay.redirect", b"/x")],
            "entry \"rootfs/f\": it has an extended attribute that no image has",
        ),
        (
            vec![root.clone(), xattr("user.x", &[0; 600 << 10])],
            "entry \"rootfs/f\": its extended attributes are too large",
        ),
        (
            vec![root.clone(), xattr("user.x", &[0; 1 << 20])],
            "cannot read the archive: extended headers are too large or too many",
        ),
        (
            vec![root.clone(), made(b'0', "rootfs/\u{1b}[2J\n"), root.clone()],
            "entry \"rootfs\": it is there twice",
        ),
        (vec![made(b'0', "\u{1b}[2J")], "entry \"\\x1b[2J\": it does not lie below rootfs"),
    ] {
        assert_eq!(refused(&tar(&members)), expected);
    }
}

#[test]
fn what_is_cut_off_is_told_from_what_is_wrong() {
    let stream = tar(&all());
    // All but the second block of zeros: an end is an end.
    for length in 0..stream.len() - 1023 {
        let error = again(&stream[..length]).unwrap_err();
        assert!(error.is_cut_off(), "{length}: {error:?}");
    }
    assert_eq!(refused(&stream[..700]), "cannot read the archive: the archive is cut off");
    for (at, what) in [(0, "the manifest"), (156, "the kind")] {
        let mut stream = stream.clone();
        stream[at] ^= 0x40;
        let error = again(&stream).unwrap_err();
        assert!(!error.is_cut_off(), "{what}");
        assert_eq!(refused(&stream), "cannot read the archive: a header has a wrong checksum");
    }
    let noise: Vec<u8> = (0..4096_u32).map(|n| u8::try_from(n * 7 % 251).unwrap()).collect();
    assert_eq!(refused(&noise), "cannot read the archive: a header has a wrong checksum");
    assert_eq!(refused(b"stage1: no"), "cannot read the archive: the archive is cut off");
}

#[test]
fn there_is_a_limit_to_everything() {
    let limited = |limits: &Limits, members: &[Member]| {
        aci(Vec::new(), b"{}", &mut &tar(members)[..], limits).unwrap_err().to_string()
    };
    let few = Limits { entries: 2, bytes: 1000, ..Limits::default() };
    assert_eq!(limited(&few, &all()), "the archive has more than 2 entries");
    let large = [made(b'5', "rootfs"), Member { size: 1001, ..made(b'0', "rootfs/f") }];
    assert_eq!(limited(&few, &large), "the archive has more than 1000 bytes");
    // What is announced is not waited for.
    let huge = Member { size: 1 << 40, ..made(b'0', "rootfs/f") };
    let mut writer = AciWriter { out: Vec::new() };
    writer.header(&made(b'5', "rootfs")).unwrap();
    writer.header(&huge).unwrap();
    assert_eq!(refused(&writer.out), "the archive has more than 68719476736 bytes");
}

#[test]
fn an_output_that_fails_is_not_blamed_on_the_stream() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let error = aci(Full, b"{}", &mut &tar(&all())[..], &Limits::default()).map(drop).unwrap_err();
    assert!(matches!(error, RewriteError::Write(_)) && !error.is_cut_off(), "{error:?}");
}
