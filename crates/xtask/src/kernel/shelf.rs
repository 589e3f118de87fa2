//! Finished kernels: folders named by a key of what is in them, made aside and renamed.

use crate::error::{At, TaskError};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// What unfinished folders are called, before their key.
const UNFINISHED: &str = "new-";

/// The folder of them all. It outlives a clone: a kernel takes long to build, and its key says all about it.
#[derive(Debug)]
pub(super) struct Shelf {
    folder: PathBuf,
}

impl Shelf {
    /// In the user's cache.
    pub(super) fn of_user() -> Result<Self, TaskError> {
        let absolute = |path: &PathBuf| path.is_absolute();
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(absolute);
        let cache = cache.or_else(|| std::env::home_dir().map(|home| home.join(".cache")));
        let cache = cache.filter(absolute).ok_or_else(|| {
            let text = "there is no place to keep kernels: set HOME or XDG_CACHE_HOME".to_owned();
            TaskError::Missing(text)
        })?;
        Ok(Self { folder: cache.join("rkt/kernel") })
    }

    /// The finished folder of this name, if there is one.
    pub(super) fn find(&self, name: &str) -> Option<PathBuf> {
        Some(self.folder.join(name)).filter(|folder| folder.is_dir())
    }

    /// The folder of this name, filled unless somebody else does so first. `fill` gets an empty folder for what stays, and
    /// one for what does not.
    pub(super) fn make(
        &self,
        name: &str,
        fill: impl FnOnce(&Path, &Path) -> Result<(), TaskError>,
    ) -> Result<PathBuf, TaskError> {
        let _lock = self.lock()?;
        if let Some(found) = self.find(name) {
            return Ok(found);
        }
        let aside = Aside(self.folder.join(format!("{UNFINISHED}{name}")));
        let (out, scratch) = (aside.0.join("out"), aside.0.join("scratch"));
        for folder in [&out, &scratch] {
            fs::create_dir_all(folder).at("make", folder)?;
        }
        fill(&out, &scratch)?;
        sync(&out)?;
        let finished = self.folder.join(name);
        fs::rename(&out, &finished).at("replace", &finished)?;
        Ok(finished)
    }

    /// Waits for whoever makes something, and removes what others left unfinished: they are dead.
    fn lock(&self) -> Result<File, TaskError> {
        fs::create_dir_all(&self.folder).at("make", &self.folder)?;
        let path = self.folder.join("lock");
        let lock = File::create(&path).at("make", &path)?;
        lock.lock().at("lock", &path)?;
        for path in entries(&self.folder)? {
            let name = path.file_name().unwrap_or_default();
            if name.as_encoded_bytes().starts_with(UNFINISHED.as_bytes()) {
                fs::remove_dir_all(&path).at("remove", &path)?;
            }
        }
        Ok(lock)
    }
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, TaskError> {
    let all = fs::read_dir(folder).at("read", folder)?;
    all.map(|entry| Ok(entry.at("read", folder)?.path())).collect()
}

/// Has a folder on the disk before it gets its name: what lies here is never looked at again.
fn sync(folder: &Path) -> Result<(), TaskError> {
    for path in entries(folder)? {
        if path.is_dir() {
            sync(&path)?;
        } else {
            File::open(&path).and_then(|file| file.sync_all()).at("write", &path)?;
        }
    }
    File::open(folder).and_then(|folder| folder.sync_all()).at("write", folder)
}

/// A folder that goes away with this value.
struct Aside(PathBuf);

impl Drop for Aside {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0)
            && error.kind() != ErrorKind::NotFound
        {
            let text = format!("cannot remove {}: {error}", self.0.display());
            drop(writeln!(std::io::stderr(), "xtask: {text}"));
        }
    }
}

/// A name made of all that a content depends on: pairs of what it is and its value. 32 hexadecimal digits.
pub(super) fn key(parts: &[(&str, &str)]) -> String {
    let mut hash = Sha256::new();
    for text in parts.iter().flat_map(|(name, value)| [name, value]) {
        // Lengths first, so that no two lists of texts are the same bytes.
        hash.update(text.len().to_string());
        hash.update(":");
        hash.update(text);
    }
    let digits = |text: String, byte: &u8| text + &format!("{byte:02x}");
    hash.finalize().iter().take(16).fold(String::new(), digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("shelf-{name}-{}", std::process::id()));
            fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    #[test]
    fn keys_differ_when_anything_does() {
        let key = |parts: &[(&str, &str)]| super::key(parts);
        let first = key(&[("a", "bc"), ("d", "e")]);
        assert_eq!(first.len(), 32);
        assert_eq!(first, key(&[("a", "bc"), ("d", "e")]));
        for other in [
            &[("a", "bc"), ("d", "f")][..],
            &[("ab", "c"), ("d", "e")],
            &[("d", "e"), ("a", "bc")],
            &[("a", "bc")],
            &[("a", "bcd"), ("", "e")],
            &[("a", "b1:c"), ("d", "e")],
        ] {
            assert_ne!(first, key(other), "{other:?}");
        }
    }

    #[test]
    fn a_folder_appears_when_it_is_whole() {
        let scratch = Scratch::new("whole");
        let shelf = Shelf { folder: scratch.0.clone() };
        let made = shelf.make("k", |out, aside| {
            assert!(shelf.find("k").is_none());
            fs::write(out.join("file"), "1").unwrap();
            fs::write(aside.join("rest"), "2").unwrap();
            Ok(())
        });
        assert_eq!(shelf.find("k").unwrap(), made.unwrap());
        assert_eq!(fs::read(scratch.0.join("k/file")).unwrap(), b"1");
        assert!(!scratch.0.join("new-k").exists() && !scratch.0.join("k/rest").exists());
    }

    #[test]
    fn what_fails_leaves_nothing() {
        let scratch = Scratch::new("fails");
        let shelf = Shelf { folder: scratch.0.clone() };
        let failed = shelf.make("k", |out, _| {
            fs::write(out.join("file"), "1").unwrap();
            Err(TaskError::Missing("a reason".to_owned()))
        });
        assert!(failed.unwrap_err().to_string().contains("a reason"));
        assert!(shelf.find("k").is_none() && !scratch.0.join("new-k").exists());
    }

    #[test]
    fn what_a_dead_process_left_is_removed() {
        let scratch = Scratch::new("dead");
        fs::create_dir_all(scratch.0.join("new-k/out")).unwrap();
        fs::create_dir_all(scratch.0.join("whole")).unwrap();
        let shelf = Shelf { folder: scratch.0.clone() };
        shelf.make("other", |_, _| Ok(())).unwrap();
        assert!(!scratch.0.join("new-k").exists());
        assert!(shelf.find("whole").is_some());
    }

    #[test]
    fn two_who_want_the_same_make_it_once() {
        let scratch = Scratch::new("twice");
        let made = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let shelf = Shelf { folder: scratch.0.clone() };
                    let found = shelf.make("k", |out, _| {
                        made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        fs::write(out.join("file"), "1").at("write", out)
                    });
                    assert_eq!(fs::read(found.unwrap().join("file")).unwrap(), b"1");
                });
            }
        });
        assert_eq!(made.into_inner(), 1);
    }
}
