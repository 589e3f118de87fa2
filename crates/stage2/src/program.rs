//! Which file an app's command line means, and whether that file, its interpreter and its loader can be opened.
//!
//! The look at the file before it is executed has a second purpose: a program or interpreter that leads through a magic
//! link of procfs (`/proc/self/exe`) would make the kernel execute *our* binary inside the container. Such links are
//! refused here.

use rustix::fs::OFlags;
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use sys::beneath;

/// Interpreters of interpreters, as deep as the kernel goes.
const DEPTH: usize = 5;
/// What is read of a program's beginning.
const HEAD: usize = 4096;

/// A program that cannot be started.
#[derive(Debug, thiserror::Error)]
#[error("Unable to open {path:?}: {}", reason(*errno))]
pub struct Unopenable {
    /// The program, its `#!` interpreter or its ELF loader.
    pub path: String,
    /// The kernel's reason.
    pub errno: i32,
}

/// The kernel's text of an errno, as the C library writes it.
pub fn reason(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// Finds the program of a command line and looks at what it needs.
///
/// `search` is the app's PATH, `directory` its working directory.
///
/// # Errors
/// The program or what it needs is not there.
pub fn find(
    root: BorrowedFd<'_>,
    name: &str,
    search: Option<&str>,
    directory: &str,
) -> Result<CString, Unopenable> {
    let missing = |errno| Unopenable { path: name.to_owned(), errno };
    if name.is_empty() {
        return Err(missing(libc::ENOENT));
    }
    let found = if name.contains('/') {
        name.to_owned()
    } else {
        let default = [directory, "/bin", "/usr/bin"];
        let mut listed;
        let mut fixed;
        let folders: &mut dyn Iterator<Item = &str> = match search {
            Some(path) if !path.is_empty() => {
                listed = path.split(':');
                &mut listed
            }
            _ => {
                fixed = default.into_iter();
                &mut fixed
            }
        };
        let mut candidates = folders.map(|folder| join(join_folder(folder, directory), name));
        candidates.find(|path| executable(root, path)).ok_or_else(|| missing(libc::ENOENT))?
    };
    let seen_from_root = join(directory.to_owned(), &found);
    examine(root, &found, &seen_from_root)?;
    CString::new(found).map_err(|_| missing(libc::ENOENT))
}

/// A folder of PATH, where an empty or relative one is meant from the working directory.
fn join_folder(folder: &str, directory: &str) -> String {
    join(directory.to_owned(), folder)
}

fn join(mut base: String, path: &str) -> String {
    if path.starts_with('/') {
        return path.to_owned();
    }
    if !base.ends_with('/') {
        base.push('/');
    }
    base.push_str(path);
    base
}

fn executable(root: BorrowedFd<'_>, path: &str) -> bool {
    beneath::open(root, path, OFlags::PATH).and_then(|fd| Ok(rustix::fs::fstat(&fd)?)).is_ok_and(
        |found| found.st_mode & libc::S_IFMT == libc::S_IFREG && found.st_mode & 0o111 != 0,
    )
}

/// Opens the program and whatever it names as interpreter or loader.
fn examine(root: BorrowedFd<'_>, name: &str, path: &str) -> Result<(), Unopenable> {
    let mut path = path.to_owned();
    let mut shown = name.to_owned();
    for _ in 0..DEPTH {
        let head = head(root, &path).map_err(|error| Unopenable {
            path: shown.clone(),
            errno: error.raw_os_error().unwrap_or(libc::EIO),
        })?;
        match needs(&head) {
            Some(next) if next.starts_with('/') => {
                shown.clone_from(&next);
                path = next;
            }
            // A relative interpreter is looked up by the kernel from the working directory; only ours may not be it.
            _ => return Ok(()),
        }
    }
    Ok(())
}

fn head(root: BorrowedFd<'_>, path: &str) -> io::Result<Vec<u8>> {
    let location = beneath::open(root, path, OFlags::PATH)?;
    if rustix::fs::fstat(&location)?.st_mode & libc::S_IFMT != libc::S_IFREG {
        // Nothing is read of devices and pipes; what executing one means, the kernel will say.
        return Ok(Vec::new());
    }
    let file =
        File::from(beneath::open(root, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?);
    let mut bytes = vec![0; HEAD];
    let length = file.read_at(&mut bytes, 0)?;
    bytes.truncate(length);
    Ok(bytes)
}

/// The interpreter of a script, or the loader of an ELF program.
fn needs(head: &[u8]) -> Option<String> {
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|b| *b == b'\n').next()?;
        let mut words = line.split(|b| matches!(b, b' ' | b'\t')).filter(|word| !word.is_empty());
        return text(words.next()?);
    }
    loader(head)
}

/// `PT_INTERP` of a 64-bit little-endian ELF file, as far as its beginning tells.
fn loader(head: &[u8]) -> Option<String> {
    let number = |at: usize, length: usize| -> Option<usize> {
        let bytes = head.get(at..at.checked_add(length)?)?;
        let wide = bytes.iter().rev().fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
        usize::try_from(wide).ok()
    };
    if head.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    for entry in 0..count {
        let at = table.checked_add(entry.checked_mul(size)?)?;
        if number(at, 4)? == 3 {
            let (start, length) = (number(at.checked_add(8)?, 8)?, number(at.checked_add(32)?, 8)?);
            let bytes = head.get(start..start.checked_add(length)?)?;
            return text(bytes.split(|b| *b == 0).next()?);
        }
    }
    None
}

fn text(bytes: &[u8]) -> Option<String> {
    let path = OsStr::from_bytes(bytes);
    path.to_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::fd::AsFd;
    use std::os::unix::fs::{PermissionsExt, symlink};

    struct Root(std::path::PathBuf);

    impl Root {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("stage2-program-{name}-{}", std::process::id()));
            for folder in ["bin", "opt", "proc/self"] {
                fs::create_dir_all(path.join(folder)).unwrap();
            }
            Self(path)
        }

        fn file(&self, name: &str, content: &[u8]) {
            fs::write(self.0.join(name), content).unwrap();
            fs::set_permissions(self.0.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }

        fn find(&self, name: &str, search: Option<&str>) -> Result<String, String> {
            let root = fs::File::open(&self.0).unwrap();
            find(root.as_fd(), name, search, "/opt")
                .map(|path| path.into_string().unwrap())
                .map_err(|error| error.to_string())
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn names_are_searched_inside_the_root() {
        let root = Root::new("search");
        root.file("bin/tool", b"\x7fELF");
        root.file("opt/local", b"");
        fs::write(root.0.join("opt/tool"), "not executable").unwrap();
        symlink("/bin/tool", root.0.join("bin/alias")).unwrap();
        symlink("/usr/bin/env", root.0.join("bin/outside")).unwrap();
        for (name, search, expected) in [
            ("tool", Some("/opt:/bin"), Ok("/bin/tool")),
            ("alias", Some("/bin"), Ok("/bin/alias")),
            ("tool", None, Ok("/bin/tool")),
            ("local", None, Ok("/opt/local")),
            ("local", Some("."), Ok("/opt/./local")),
            ("./local", Some("/bin"), Ok("./local")),
            ("/bin/tool", None, Ok("/bin/tool")),
            ("outside", Some("/bin"), Err("Unable to open \"outside\": No such file or directory")),
            ("/nope", None, Err("Unable to open \"/nope\": No such file or directory")),
            ("", None, Err("Unable to open \"\": No such file or directory")),
        ] {
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(root.find(name, search), expected, "{name}");
        }
    }

    #[test]
    fn a_missing_interpreter_or_loader_is_named() {
        let root = Root::new("interpreter");
        root.file("bin/script", b"#! /bin/missing -x\n");
        root.file("bin/chain", b"#!/bin/script\n");
        let mut elf = vec![0_u8; 64 + 56];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[32] = 64;
        elf[54] = 56;
        elf[56] = 1;
        elf[64] = 3;
        elf[64 + 8] = 120;
        elf[64 + 32] = 13;
        elf.extend(b"/lib/ld.so.2\0");
        root.file("bin/dynamic", &elf);
        for (name, missing) in
            [("script", "/bin/missing"), ("chain", "/bin/missing"), ("dynamic", "/lib/ld.so.2")]
        {
            let expected = format!("Unable to open \"{missing}\": No such file or directory");
            assert_eq!(root.find(&format!("/bin/{name}"), None), Err(expected));
        }
    }

    #[test]
    fn our_own_binary_is_never_the_program() {
        let proc = fs::File::open("/").unwrap();
        for path in ["/proc/self/exe", "/proc/self/root/bin/sh"] {
            find(proc.as_fd(), path, None, "/").unwrap_err();
        }
    }

    #[test]
    fn arbitrary_beginnings_do_no_harm() {
        for head in [&b""[..], b"#!", b"#!\n", b"\x7fELF\x02\x01", b"#! \t \n", &[0xff; 64]] {
            assert_eq!(needs(head), None);
        }
        let mut elf = vec![0xff_u8; 128];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        assert_eq!(needs(&elf), None);
    }
}
