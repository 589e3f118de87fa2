//! What is made of a tree for stage1s that cannot use folders: an image of a file system that shows it.
//!
//! A tree is known by its key, and so is what is made of it: once made, it serves all pods. It is swept with its tree,
//! but not while a pod names it.

use super::files::Area;
use super::locks::Patience;
use super::sweep::References;
use super::{Store, StoreError};
use archive::TreeDigest;
use archive::erofs::{self, VolumeId};
use rustix::io::Errno;
use serde::Deserialize;
use std::os::fd::AsFd as _;
use std::path::PathBuf;

const FOLDER: &str = "derived";
const ENDING: &str = ".erofs";

/// What the records of trees of all kinds have.
#[derive(Debug, Deserialize)]
struct Digested {
    digest: String,
}

/// Where the image of a tree lies, `layer/KEY` or `tree/ID`.
fn image_of(tree: &str) -> String {
    format!("{FOLDER}/{}{ENDING}", tree.replacen('/', "-", 1))
}

/// Where the files of a tree lie.
pub(crate) fn files_of(tree: &str) -> String {
    let root = if tree.starts_with("tree/") { "rootfs" } else { "root" };
    format!("{tree}/{root}")
}

impl Store {
    /// The image of a complete tree, made first where that is needed. The caller holds the prepare lock (shared) until
    /// it has noted what it uses.
    pub(crate) fn erofs(&self, tree: &str) -> Result<PathBuf, StoreError> {
        let image = image_of(tree);
        if self.exists(&image)? {
            return Ok(self.path(&image));
        }
        // Others wait, and then find it.
        let _lock =
            self.key_lock(&format!("layerlocks/{}", image.replace('/', "-")), Patience::Wait)?;
        if !self.exists(&image)? {
            self.make_erofs(tree, &image)?;
        }
        Ok(self.path(&image))
    }

    fn make_erofs(&self, tree: &str, image: &str) -> Result<(), StoreError> {
        let record = format!("{tree}/record");
        let found = self.parsed::<Digested>(&record)?;
        let digest = found.and_then(|record| TreeDigest::parse(&record.digest));
        let digest = digest.ok_or_else(|| StoreError::record(&record, "it has no digest"))?;
        let folder = files_of(tree);
        let files = super::files::open_folder(self.cas(), &folder)
            .map_err(|error| self.failed("open", &folder, error))?;
        // Stores are older than this folder.
        super::make_folders(self.data_dir(), &[&format!("cas/{FOLDER}")], 0o2700)
            .map_err(StoreError::Make)?;
        let mut new = self.temporary_in(Area::Private)?;
        erofs::write(files.as_fd(), new.file().as_fd(), VolumeId::of(&digest))
            .map_err(StoreError::Derive)?;
        new.publish(image)?;
        self.sync_folder(FOLDER)
    }

    /// Deletes images whose tree is gone and that no pod names.
    pub(super) fn sweep_derived(&self, pods: &References) -> Result<(), StoreError> {
        let names = match self.names(FOLDER) {
            Err(StoreError::Access(error))
                if error.errno() == Some(Errno::NOENT.raw_os_error()) =>
            {
                return Ok(());
            }
            other => other?,
        };
        for name in names {
            let path = format!("{FOLDER}/{name}");
            let tree = name.strip_suffix(ENDING).map(|tree| tree.replacen('-', "/", 1));
            let needed = match tree {
                Some(tree) => self.exists(&format!("{tree}/record"))?,
                None => false,
            };
            if !needed && !pods.layers.contains(&self.path(&path)) {
                self.unlink(&path)?;
            }
        }
        Ok(())
    }
}
