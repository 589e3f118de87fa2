//! Collection: trees that no pod uses, layers that no image has, and what killed processes left behind.

use super::files::open_folder;
use super::locks::Patience;
use super::{Area, Store, StoreError};
use appc::ImageId;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use sys::lock::{LockFd, Mode as Lock};

/// What pods still need.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct References {
    /// Ids of trees, as `render::ready` gave them.
    pub trees: BTreeSet<String>,
    /// Folders that pods are stacked on, as `render::ready` gave them.
    pub layers: BTreeSet<PathBuf>,
    /// Images.
    pub images: BTreeSet<ImageId>,
}

/// What a collection deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// Ids of rendered trees.
    pub trees: Vec<String>,
    /// Keys of layers.
    pub layers: Vec<String>,
}

/// The right to delete trees: while it lasts, nobody prepares a pod.
#[derive(Debug)]
pub struct Sweep<'s> {
    store: &'s Store,
    _lock: LockFd,
}

impl Store {
    /// Waits until nobody prepares a pod. Which trees pods use has to be asked after this, not before.
    pub fn sweep(&self) -> Result<Sweep<'_>, StoreError> {
        Ok(Sweep { store: self, _lock: self.prepare_lock(Lock::Exclusive)? })
    }

    /// As [`Store::sweep`], but does not wait.
    pub fn attempt_sweep(&self) -> Result<Option<Sweep<'_>>, StoreError> {
        Ok(self.attempt_prepare_lock()?.map(|lock| Sweep { store: self, _lock: lock }))
    }
}

impl Sweep<'_> {
    /// Whether a pod was made of an image: it names the image, or (its stage1) only the tree.
    pub fn is_in_use(&self, image: &ImageId, pods: &References) -> Result<bool, StoreError> {
        if pods.images.contains(image) {
            return Ok(true);
        }
        match self.store.ready_record(image) {
            Ok(ready) => Ok(ready.is_some_and(|ready| pods.trees.contains(&ready.tree_id))),
            // What cannot be read is made anew when it is needed.
            Err(StoreError::Record { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Deletes of these parts of a removed image what neither another image nor a pod needs.
    pub fn parts(&self, parts: &[String], pods: &References) -> Result<Swept, StoreError> {
        let mut swept = Swept::default();
        let used = self.store.parts_in_use()?;
        let free = |path: &&String| !used.contains(*path);
        self.trees(parts.iter().filter(free), pods, &mut swept)?;
        // What an import has got so far is not yet named by a record.
        if let Some(_alone) = self.store.import_lock(Lock::Exclusive, Patience::None)? {
            self.layers(parts.iter().filter(free).cloned(), pods, &mut swept)?;
            self.needs()?;
        }
        self.store.sweep_derived(pods)?;
        Ok(swept)
    }

    /// Deletes every rendered tree that no pod uses; one that is needed later is rendered again.
    pub fn unused_trees(&self, pods: &References) -> Result<Swept, StoreError> {
        let mut swept = Swept::default();
        let trees: Vec<String> =
            self.store.names("tree")?.into_iter().map(|name| format!("tree/{name}")).collect();
        self.trees(trees.iter(), pods, &mut swept)?;
        if !swept.trees.is_empty() {
            let gone = |path: &str| {
                path.strip_prefix("tree/").is_some_and(|id| swept.trees.iter().any(|t| t == id))
            };
            for id in self.store.ids()? {
                self.store.replace_parts(&id, |part| gone(&part.path), Vec::new())?;
            }
        }
        self.store.sweep_derived(pods)?;
        Ok(swept)
    }

    /// Deletes layers that neither an image nor a pod needs, and everything that killed processes left.
    pub fn leftovers(&self, pods: &References) -> Result<Swept, StoreError> {
        let mut swept = Swept::default();
        for area in [Area::Shared, Area::Private] {
            self.unlocked(area.folder())?;
        }
        let Some(_alone) = self.store.import_lock(Lock::Exclusive, Patience::None)? else {
            return Ok(swept);
        };
        let used = self.store.parts_in_use()?;
        let free = |path: &String| path.strip_suffix(".needs").is_none() && !used.contains(path);
        self.layers(self.layer_paths()?.into_iter().filter(free), pods, &mut swept)?;
        self.needs()?;
        self.store.sweep_derived(pods)?;
        for blob in self.store.names("blob")?.iter().map(|name| format!("blob/{name}")) {
            if !used.contains(&blob) {
                self.store.unlink(&blob)?;
            }
        }
        self.stale_hints()?;
        for folder in ["imagelocks", "layerlocks"] {
            self.unlocked(folder)?;
        }
        Ok(swept)
    }

    fn trees<'p>(
        &self,
        paths: impl Iterator<Item = &'p String>,
        pods: &References,
        swept: &mut Swept,
    ) -> Result<(), StoreError> {
        for path in paths {
            let Some(id) = path.strip_prefix("tree/") else { continue };
            let root = self.store.path(&format!("{path}/rootfs"));
            if pods.trees.contains(id) || pods.layers.contains(&root) {
                continue;
            }
            if self.store.retire(path)? {
                swept.trees.push(id.to_owned());
            }
        }
        Ok(())
    }

    fn layers(
        &self,
        paths: impl Iterator<Item = String>,
        pods: &References,
        swept: &mut Swept,
    ) -> Result<(), StoreError> {
        for path in paths {
            let Some(key) = path.strip_prefix("layer/") else { continue };
            if pods.layers.contains(&self.store.path(&format!("{path}/root"))) {
                continue;
            }
            if self.store.retire(&path)? {
                swept.layers.push(key.to_owned());
            }
        }
        Ok(())
    }

    fn layer_paths(&self) -> Result<Vec<String>, StoreError> {
        Ok(self.store.names("layer")?.into_iter().map(|name| format!("layer/{name}")).collect())
    }

    /// Deletes what is noted about layers of which no form is left.
    fn needs(&self) -> Result<(), StoreError> {
        let left = self.layer_paths()?;
        let stem = |path: &String| path.split('.').next().map(str::to_owned);
        let is_needs = |path: &&String| path.strip_suffix(".needs").is_some();
        let forms: BTreeSet<_> = left.iter().filter(|path| !is_needs(path)).map(stem).collect();
        for needs in left.iter().filter(is_needs).filter(|path| !forms.contains(&stem(path))) {
            self.store.unlink(needs)?;
        }
        Ok(())
    }

    /// Deletes what nobody has locked: its maker is gone.
    fn unlocked(&self, folder: &str) -> Result<(), StoreError> {
        let store = self.store;
        for name in store.names(folder)? {
            let path = format!("{folder}/{name}");
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let file = match rustix::fs::openat(store.cas(), &path, flags, Mode::empty()) {
                Ok(file) => file,
                Err(Errno::NOENT) => continue,
                Err(Errno::LOOP | Errno::NXIO) => {
                    // A link or a socket: none of ours.
                    store.unlink(&path)?;
                    continue;
                }
                Err(error) => return Err(store.failed("open", &path, error)),
            };
            let lock = LockFd::attempt(file, Lock::Exclusive)
                .map_err(|error| store.failed("flock", &path, error))?;
            if let Some(lock) = lock
                && store.is_named(lock.as_fd(), &path)?
            {
                archive::remove::tree(store.cas(), path.as_str())
                    .map_err(|error| store.failed("unlink", &path, error))?;
            }
        }
        Ok(())
    }

    /// Deletes notes about images that are gone.
    fn stale_hints(&self) -> Result<(), StoreError> {
        let store = self.store;
        let images: BTreeSet<ImageId> = store.ids()?.into_iter().collect();
        for folder in ["digest", "stamp", "name", "remote"] {
            for name in store.names(folder)? {
                let path = format!("{folder}/{name}");
                let text = store.read(&path)?.unwrap_or_default();
                let text = String::from_utf8_lossy(&text);
                if !images.iter().any(|id| text.contains(id.as_str())) {
                    store.unlink(&path)?;
                }
            }
        }
        for name in store.names("ready")? {
            let gone = ImageId::parse(&name).map_or(true, |id| !images.contains(&id));
            if gone {
                store.unlink(&format!("ready/{name}"))?;
            }
        }
        Ok(())
    }
}

impl Store {
    /// Deletes a tree or a layer: it loses its name first, so that nobody ever sees half of it.
    pub(crate) fn retire(&self, path: &str) -> Result<bool, StoreError> {
        let to = self.unused(Area::Private)?;
        match rustix::fs::renameat(self.cas(), path, self.cas(), &to) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Ok(false),
            // No space for a name in the other folder: without its record it is not complete either.
            Err(Errno::NOSPC | Errno::DQUOT) => {
                self.unlink(&format!("{path}/record"))?;
                return self.delete(path).map(|()| true);
            }
            Err(error) => return Err(self.failed("rename", path, error)),
        }
        // Keeps another collection away, as far as it matters.
        let folder = open_folder(self.cas(), &to);
        let _lock = folder.ok().and_then(|fd| LockFd::attempt(fd, Lock::Exclusive).ok());
        self.delete(&to)?;
        Ok(true)
    }

    fn delete(&self, path: &str) -> Result<(), StoreError> {
        match archive::remove::tree(self.cas(), path) {
            // Another collection helped.
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(self.failed("unlink", path, error)),
        }
    }
}
