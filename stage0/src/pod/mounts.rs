//! Mounts that a dead pod left on the host.

use super::folders::PodsDir;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{UnmountFlags, unmount};
use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use sys::mount::{Depth, Propagation, set_propagation};
use sys::path::{At as _, PathError};

/// The mount points below `DATA/pods`, in the order in which they were mounted.
#[derive(Debug, Default)]
pub struct Mounts(Vec<PathBuf>);

impl Mounts {
    /// Reads them.
    pub fn read(pods: &PodsDir) -> Result<Self, PathError> {
        const TABLE: &str = "/proc/self/mountinfo";
        // The kernel does not tell its length, and gives it in one go where there is room.
        let mut text = Vec::with_capacity(16 << 10);
        let read = File::open(TABLE).and_then(|mut table| table.read_to_end(&mut text));
        read.at("read", TABLE)?;
        let points = text.split(|byte| *byte == b'\n').filter_map(mount_point);
        Ok(Self(points.filter(|point| point.starts_with(pods.path())).collect()))
    }

    /// Whether anything is mounted at or below a path.
    pub fn any_below(&self, path: &Path) -> bool {
        self.0.iter().any(|point| point.starts_with(path))
    }

    /// Unmounts everything at or below a folder of a pod, the last first. Each is made private before, so that its end
    /// is not passed on to the host or to other pods.
    pub fn unmount_below(&self, path: &Path) -> Result<(), PathError> {
        for point in self.0.iter().rev().filter(|point| point.starts_with(path)) {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let open = openat(CWD, point, flags, Mode::empty()).at("open", point)?;
            set_propagation(open.as_fd(), Propagation::Private, Depth::Single)
                .at("mount", point)?;
            drop(open);
            // A busy one vanishes from here at once and from its users when they are done.
            unmount(point, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).at("umount", point)?;
        }
        Ok(())
    }
}

/// The fifth field, whose blanks and backslashes are written as three octal digits.
fn mount_point(line: &[u8]) -> Option<PathBuf> {
    let field = line.split(|byte| *byte == b' ').nth(4)?;
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let octal = (*first == b'\\').then(|| after.get(..3)).flatten();
        let code = octal.and_then(|digits| {
            let text = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(text, 8).ok()
        });
        if let Some(code) = code {
            bytes.push(code);
            rest = after.get(3..).unwrap_or_default();
        } else {
            bytes.push(*first);
        }
    }
    Some(PathBuf::from(OsString::from_vec(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt as _;

    #[test]
    fn odd_characters_are_read_back() {
        let line = b"36 35 98:0 / /a\\040b\\134c\\012d:e,f rw - ext4 /dev/sda rw";
        let point = mount_point(line).unwrap();
        assert_eq!(point.as_os_str().as_bytes(), b"/a b\\c\nd:e,f");
        assert_eq!(mount_point(b""), None);
    }
}
