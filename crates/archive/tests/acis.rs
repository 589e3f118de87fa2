//! App Container Images: what they may hold.

#![expect(clippy::unwrap_used, reason = "a test may, in its helping functions too")]

use archive::Limits;
use archive::aci::{AciError, check};
use tar::EntryType;

/// A tar of these members: a name, its kind, and what it holds or leads to.
fn image(members: &[(&str, EntryType, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, kind, text) in members {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(0o644);
        header.set_size(0);
        if matches!(kind, EntryType::Link | EntryType::Symlink) {
            header.set_link_name_literal(text).unwrap();
        } else {
            header.set_size(text.len() as u64);
        }
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        let data = if header.size().unwrap() > 0 { text.as_bytes() } else { b"" };
        tar.append(&header, data).unwrap();
    }
    tar.into_inner().unwrap()
}

const FILE: EntryType = EntryType::Regular;
const DIR: EntryType = EntryType::Directory;
const LINK: EntryType = EntryType::Link;
const SYMLINK: EntryType = EntryType::Symlink;

fn kind(members: &[(&str, EntryType, &str)], limits: &Limits) -> &'static str {
    match check(&mut &image(members)[..], limits) {
        Ok(manifest) if manifest == b"{}" => "taken",
        Ok(_) => "another manifest",
        Err(AciError::NoManifest) => "no manifest",
        Err(AciError::NoRootfs) => "no rootfs",
        Err(AciError::Twice(_)) => "twice",
        Err(AciError::Stray(_)) => "stray",
        Err(AciError::Manifest) => "manifest",
        Err(AciError::Link(_)) => "link",
        Err(AciError::Unpack(_)) => "unpack",
        Err(AciError::Open(_)) => "open",
    }
}

#[test]
fn what_an_image_may_hold() {
    let manifest = ("manifest", FILE, "{}");
    let root = ("rootfs", DIR, "");
    let large = "x".repeat((4 << 20) + 1);
    for (members, wanted) in [
        (&[manifest, root][..], "taken"),
        // In any order, and in any spelling.
        (&[("./rootfs/", DIR, ""), ("./rootfs/a", FILE, "x"), ("./manifest", FILE, "{}")], "taken"),
        (&[root], "no manifest"),
        (&[manifest], "no rootfs"),
        (&[manifest, ("rootfs/a", FILE, "x")], "no rootfs"),
        (&[manifest, ("rootfs", SYMLINK, "/tmp")], "no rootfs"),
        (&[manifest, ("rootfs", FILE, "x")], "no rootfs"),
        (&[manifest, root, manifest], "twice"),
        (&[manifest, root, root], "twice"),
        (&[manifest, root, ("rootfs/a", FILE, "1"), ("rootfs/./a", FILE, "2")], "twice"),
        (&[manifest, root, ("rootfs/a", DIR, ""), ("rootfs/a", FILE, "2")], "twice"),
        (&[manifest, root, ("rootfsX/a", FILE, "x")], "stray"),
        (&[manifest, root, ("other", FILE, "x")], "stray"),
        (&[manifest, root, ("manifest/x", FILE, "x")], "stray"),
        (&[manifest, root, ("/rootfs/a", FILE, "x")], "stray"),
        (&[manifest, root, ("rootfs/../../x", FILE, "x")], "unpack"),
        (&[("manifest", SYMLINK, "/etc/passwd"), root], "manifest"),
        (&[("manifest", EntryType::Fifo, ""), root], "manifest"),
        (&[("manifest", DIR, ""), root], "manifest"),
        (&[("manifest", FILE, &large), root], "manifest"),
        (&[manifest, root, ("rootfs/a", FILE, "x"), ("rootfs/b", LINK, "rootfs/a")], "taken"),
        (&[manifest, root, ("rootfs/b", LINK, "manifest")], "link"),
        (&[manifest, root, ("rootfs/b", LINK, "rootfs")], "link"),
        (&[manifest, root, ("rootfs/b", LINK, "/rootfs/a")], "link"),
        (&[manifest, root, ("rootfs/b", LINK, "rootfs/../etc/shadow")], "link"),
    ] {
        let names: Vec<_> = members.iter().map(|member| member.0).collect();
        assert_eq!(kind(members, &Limits::default()), wanted, "{names:?}");
    }
}

#[test]
fn limits_hold() {
    let members = [("manifest", FILE, "{}"), ("rootfs", DIR, ""), ("rootfs/a", FILE, "0123456789")];
    let wide = Limits::default();
    for (limits, wanted) in [
        (Limits { entries: 3, bytes: 12, ..wide.clone() }, "taken"),
        (Limits { entries: 2, ..wide.clone() }, "unpack"),
        (Limits { bytes: 11, ..wide }, "unpack"),
    ] {
        assert_eq!(kind(&members, &limits), wanted, "{limits:?}");
    }
}
