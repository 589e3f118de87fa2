//! Which image runs a pod.

use crate::config::Config;
use crate::fetch::FetchError;
use crate::image_ref::{BadImageRef, ImageRef};
use crate::store::{AciOrigin, FileStamp, ImportError, Store, StoreError};
use appc::{ImageId, ImageManifest};
use rustix::fs::{CWD, Mode, OFlags, openat};
use stage1_abi::Stage1Interface;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use sys::path::{At as _, PathError};

/// Where distributions put the images that run pods.
const IMAGES: &str = "/usr/lib/rkt/stage1-images";
/// What the names of such images begin with, and the names of their files.
const NAMES: &str = "coreos.com/rkt/stage1-";
/// The one that this build comes with for users who do not choose.
const DEFAULT: &str = "nspawn";

/// What the user said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage1Wish {
    /// Nothing.
    Default,
    /// A file.
    Path(String),
    /// A URL, or another reference that is not a name.
    Url(String),
    /// A name, short or whole.
    Name(String),
    /// An id.
    Hash(String),
    /// A file of the stage1 images directory.
    FromDir(String),
}

/// Where such images are looked for.
#[derive(Debug, Clone)]
pub struct Place<'a> {
    config: &'a Config,
    images: PathBuf,
    beside: Option<PathBuf>,
}

/// Why no image runs the pod.
#[derive(Debug, thiserror::Error)]
pub enum Stage1Error {
    /// It cannot be had.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The words mean no image.
    #[error(transparent)]
    Reference(#[from] BadImageRef),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file that was named.
    #[error(transparent)]
    File(#[from] PathError),
    /// A file is no image.
    #[error("cannot import {}", path.display())]
    Import {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: ImportError,
    },
    /// Nowhere.
    #[error("no stage1 image found: stage1-{DEFAULT}.aci is neither in {} nor beside rkt", images.display())]
    NoDefault {
        /// The directory that was searched.
        images: PathBuf,
    },
}

impl<'a> Place<'a> {
    /// The configured directory, and the folder of this program.
    pub fn new(config: &'a Config) -> Self {
        let images = config.stage1_images.clone().unwrap_or_else(|| PathBuf::from(IMAGES));
        let own = std::env::current_exe().ok();
        Self { config, images, beside: own.and_then(|own| own.parent().map(Path::to_owned)) }
    }

    /// The folders whose files are trusted for lying there.
    fn folders(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(self.images.as_path()).chain(self.beside.as_deref())
    }

    /// A file of this name in the first of the folders that has it.
    fn file(&self, name: &str) -> Result<Option<(PathBuf, File)>, PathError> {
        for folder in self.folders() {
            let path = folder.join(name);
            match open(&path) {
                Ok(file) => return Ok(Some((path, file))),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

fn open(path: &Path) -> Result<File, PathError> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(File::from(openat(CWD, path, flags, Mode::empty()).at("open", path)?))
}

/// Finds the image; `fetch` gets what is not in one of the trusted places.
pub fn choose(
    store: &Store,
    place: &Place<'_>,
    wish: &Stage1Wish,
    fetch: &dyn Fn(&ImageRef) -> Result<ImageId, FetchError>,
) -> Result<ImageId, Stage1Error> {
    match wish {
        Stage1Wish::Path(path) => by_path(store, place, path, fetch),
        Stage1Wish::Url(url) => Ok(fetch(&ImageRef::parse(url)?)?),
        Stage1Wish::Hash(hash) => Ok(store.find_id(hash)?),
        Stage1Wish::FromDir(name) => match place.file(name)? {
            Some((path, file)) => trusted(store, &path, &file),
            None => {
                Err(PathError::new("open", place.images.join(name), rustix::io::Errno::NOENT)
                    .into())
            }
        },
        Stage1Wish::Name(name) => by_name(store, place, name, fetch),
        Stage1Wish::Default => by_default(store, place, fetch),
    }
}

fn by_path(
    store: &Store,
    place: &Place<'_>,
    path: &str,
    fetch: &dyn Fn(&ImageRef) -> Result<ImageId, FetchError>,
) -> Result<ImageId, Stage1Error> {
    if Path::new(path).extension().is_none_or(|extension| extension != "aci") {
        return Err(BadImageRef::Location(format!("file://{path}")).into());
    }
    let whole = std::path::absolute(path).at("stat", path)?;
    if whole.parent().is_some_and(|folder| place.folders().any(|trusted| trusted == folder)) {
        let file = open(&whole)?;
        return trusted(store, &whole, &file);
    }
    Ok(fetch(&ImageRef::File(whole))?)
}

fn by_default(
    store: &Store,
    place: &Place<'_>,
    fetch: &dyn Fn(&ImageRef) -> Result<ImageId, FetchError>,
) -> Result<ImageId, Stage1Error> {
    let location = place.config.stage1_location.as_deref();
    if let Some(named) = &place.config.stage1 {
        let text = format!("{}:{}", named.name, named.version);
        match (store.resolve(&ImageRef::parse(&text)?), location) {
            (Ok(id), _) => return Ok(id),
            (Err(error), None) if error.is_not_found() => {
                return by_name(store, place, &text, fetch);
            }
            (Err(error), Some(_)) if error.is_not_found() => {}
            (Err(error), _) => return Err(error.into()),
        }
    }
    if let Some(location) = location {
        return if location.starts_with('/') {
            by_path(store, place, location, fetch)
        } else {
            Ok(fetch(&ImageRef::parse(location)?)?)
        };
    }
    if let Some((path, file)) = place.file(&format!("stage1-{DEFAULT}.aci"))? {
        return trusted(store, &path, &file);
    }
    match store.resolve(&ImageRef::parse(&format!("{NAMES}{DEFAULT}"))?) {
        Err(error) if error.is_not_found() => {
            Err(Stage1Error::NoDefault { images: place.images.clone() })
        }
        other => Ok(other?),
    }
}

/// A name without `/` is short for a whole one. What is not in the store under its whole name may lie in a file that
/// is named for it, or in one whose image answers to this name as well.
fn by_name(
    store: &Store,
    place: &Place<'_>,
    name: &str,
    fetch: &dyn Fn(&ImageRef) -> Result<ImageId, FetchError>,
) -> Result<ImageId, Stage1Error> {
    let whole = if name.contains('/') { name.to_owned() } else { format!("{NAMES}{name}") };
    let reference = ImageRef::parse(&whole)?;
    if name.contains('/') {
        match store.resolve(&reference) {
            Err(error) if error.is_not_found() => {}
            other => return Ok(other?),
        }
    }
    if let ImageRef::Name { name, .. } = &reference
        && let Some(short) = name.as_str().strip_prefix(NAMES)
    {
        if !short.contains('/')
            && let Some((path, file)) = place.file(&format!("stage1-{short}.aci"))?
        {
            return trusted(store, &path, &file);
        }
        if let Some(id) = by_alias(store, place, short)? {
            return Ok(id);
        }
    }
    match store.resolve(&reference) {
        Err(error) if error.is_not_found() => Ok(fetch(&reference)?),
        other => Ok(other?),
    }
}

/// The image of a trusted file that says it answers to this name, too.
fn by_alias(store: &Store, place: &Place<'_>, short: &str) -> Result<Option<ImageId>, Stage1Error> {
    for folder in place.folders() {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        names.sort_unstable();
        for name in names {
            let Some(own) = name.strip_prefix("stage1-").and_then(|n| n.strip_suffix(".aci"))
            else {
                continue;
            };
            let path = folder.join(&name);
            let id = match open(&path).map_err(Stage1Error::from) {
                Ok(file) => trusted(store, &path, &file),
                Err(error) => Err(error),
            };
            // A file that nobody named is in nobody's way.
            let id = match id {
                Ok(id) => id,
                Err(error @ Stage1Error::Store(_)) => return Err(error),
                Err(error) => {
                    log::warn!("not looked at for stage1 {short:?}: {error}");
                    continue;
                }
            };
            let answers = || {
                let manifest = ImageManifest::from_json(store.image(&id).ok()?.manifest()).ok()?;
                Some(Stage1Interface::from_manifest(&manifest).ok()?.aliases)
            };
            if answers().unwrap_or_default().iter().any(|alias| alias == short) {
                log::debug!(target: "image", "stage1 {short:?} is {own:?}");
                return Ok(Some(id));
            }
        }
    }
    Ok(None)
}

/// The image of a file that is trusted for where it lies; it is read only if it has changed.
fn trusted(store: &Store, path: &Path, file: &File) -> Result<ImageId, Stage1Error> {
    let stamp = FileStamp::of(file).at("stat", path)?;
    if let Some(id) = store.by_file_stamp(&stamp)? {
        return Ok(id);
    }
    log::debug!(target: "image", "using image from file {}", path.display());
    let origin = AciOrigin { source: path.to_string_lossy().into_owned() };
    let id = store
        .import_aci(file, &origin)
        .map_err(|source| Stage1Error::Import { path: path.to_owned(), source })?;
    store.set_file_stamp(&stamp, &id)?;
    Ok(id)
}
