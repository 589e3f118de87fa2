//! Where everything lies, and with which modes; making what is missing.

use super::StoreError;
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use sys::path::{At, PathError};

/// The number in `cas/format`.
const FORMAT: &str = "1";
/// Folders that members of the group may write: nothing in them is believed by root without a hash.
const SHARED: [&str; 7] = ["blob", "image", "name", "digest", "remote", "tmp", "imagelocks"];
/// Folders of root alone: what lies in them is complete and was checked by root.
const PRIVATE: [&str; 6] = ["layer", "layerlocks", "tree", "ready", "stamp", "staging"];

/// Opens `DATA/cas`, made first where it is missing or half-made.
pub(super) fn open(data: &Path) -> Result<OwnedFd, StoreError> {
    let path = data.join("cas");
    match open_folder(&path) {
        Ok(cas) => match read_format(cas.as_fd(), &path)? {
            Some(()) => return Ok(cas),
            None => make(data).map_err(StoreError::Make)?,
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            make(data).map_err(StoreError::Make)?;
        }
        Err(error) => return Err(StoreError::Access(error)),
    }
    open_folder(&path).map_err(StoreError::Access)
}

fn open_folder(path: &Path) -> Result<OwnedFd, PathError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty()).at("open", path)
}

/// Whether the store is complete; a format of the future is an error.
fn read_format(cas: std::os::fd::BorrowedFd<'_>, path: &Path) -> Result<Option<()>, StoreError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(cas, "format", flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => {
            return Err(error).at("open", path.join("format")).map_err(StoreError::Access);
        }
    };
    let mut text = [0_u8; 16];
    let length = rustix::io::read(&file, &mut text)
        .at("read", path.join("format"))
        .map_err(StoreError::Access)?;
    let found = String::from_utf8_lossy(text.get(..length).unwrap_or_default()).trim().to_owned();
    if found == FORMAT { Ok(Some(())) } else { Err(StoreError::Format(found)) }
}

fn make(data: &Path) -> Result<(), PathError> {
    let group = if rustix::process::geteuid().is_root() { group() } else { None };
    std::fs::create_dir_all(data.parent().unwrap_or(data)).at("mkdir", data)?;
    if make_folder(data)? {
        settle(data, 0o2750, group)?;
    }
    let cas = data.join("cas");
    for (path, mode) in [(data.join("locks"), 0o2750), (cas.clone(), 0o2750)] {
        make_folder(&path)?;
        settle(&path, mode, group)?;
    }
    for (names, mode) in [(&SHARED[..], 0o2770), (&PRIVATE[..], 0o2700)] {
        for name in names {
            let path = cas.join(name);
            make_folder(&path)?;
            settle(&path, mode, group)?;
        }
    }
    // Locks exist before they are needed: removing an image must not need space.
    let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let lock = data.join("locks/prepareLock");
    rustix::fs::openat(CWD, &lock, flags, Mode::from_raw_mode(0o640)).at("open", &lock)?;
    let (new, format) = (cas.join(format!("format.{}", std::process::id())), cas.join("format"));
    std::fs::write(&new, format!("{FORMAT}\n")).at("write", &new)?;
    std::fs::rename(&new, &format).at("rename", &format)
}

/// Makes one folder that nobody else can enter yet; tells whether it was missing.
fn make_folder(path: &Path) -> Result<bool, PathError> {
    match rustix::fs::mkdirat(CWD, path, Mode::RWXU) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(error) => Err(error).at("mkdir", path),
    }
}

/// Gives a folder its group, then its mode (a change of owner clears bits).
fn settle(path: &Path, mode: u32, group: Option<Gid>) -> Result<(), PathError> {
    if let Some(group) = group {
        rustix::fs::chownat(CWD, path, Some(Uid::ROOT), Some(group), AtFlags::SYMLINK_NOFOLLOW)
            .at("chown", path)?;
    }
    rustix::fs::chmodat(CWD, path, Mode::from_raw_mode(mode), AtFlags::empty()).at("chmod", path)
}

/// The group whose members may use the store.
fn group() -> Option<Gid> {
    let text = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let found = text.lines().find_map(|line| {
        let mut words = line.split(':');
        (words.next() == Some("rkt")).then(|| words.nth(1)?.parse().ok()).flatten()
    });
    if found.is_none() {
        log::info!("group \"rkt\" not found, will use default gid when rendering images");
    }
    found.map(Gid::from_raw)
}

/// Makes further folders of the data directory, each after its parents, with a mode and the group of the store.
pub(crate) fn make_folders(data: &Path, names: &[&str], mode: u32) -> Result<(), PathError> {
    let group = if rustix::process::geteuid().is_root() { group() } else { None };
    std::fs::create_dir_all(data.parent().unwrap_or(data)).at("mkdir", data)?;
    if make_folder(data)? {
        settle(data, 0o2750, group)?;
    }
    for name in names {
        let path = data.join(name);
        if make_folder(&path)? {
            settle(&path, mode, group)?;
        }
    }
    Ok(())
}
