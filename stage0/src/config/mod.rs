//! Configuration files: three layered directories merged into one value.
//!
//! Below each configuration directory, `auth.d`, `paths.d` and `stage1.d` hold `*.json` files, each an object with a
//! version, a kind and that kind's fields. Within one configuration directory an entry may appear once; a later
//! directory (system, local, user) overrides an earlier one entry by entry: a domain, a registry, a path. What is
//! wrong is an error, what is unknown is a warning: nothing is dropped in silence. The directories `net.d` and
//! `trustedkeys` beside them are not read here.

mod file;
mod show;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sys::path::{At as _, PathError};

use file::{Entry, read};

/// The configuration directories; later fields override earlier ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directories {
    /// Of the distribution.
    pub system: Option<PathBuf>,
    /// Of the administrator.
    pub local: Option<PathBuf>,
    /// Of the user who calls.
    pub user: Option<PathBuf>,
}

/// A name and a password.
#[derive(Clone, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub struct Login {
    /// The name.
    pub user: String,
    /// The password.
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

/// What a server of images wants to see.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// HTTP basic authentication.
    Basic(Login),
    /// A bearer token.
    OAuth {
        /// The token.
        token: String,
    },
    /// Signed requests to an S3-like service.
    Aws {
        /// Which key signs.
        access_key_id: String,
        /// The key.
        secret_access_key: String,
        /// The region; empty to guess it from the host.
        region: String,
    },
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Basic(_) => "Basic",
            Self::OAuth { .. } => "OAuth",
            Self::Aws { .. } => "Aws",
        })
    }
}

/// The name and the version of the stage1 that pods get when nobody says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedStage1 {
    /// The image's name.
    pub name: String,
    /// The value of its version label.
    pub version: String,
}

/// The merged configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Credentials for servers of images, by domain.
    pub auth: BTreeMap<String, Credentials>,
    /// Credentials for Docker registries, by the host of their index.
    pub docker_auth: BTreeMap<String, Login>,
    /// The data directory, absolute.
    pub data: Option<PathBuf>,
    /// Where stage1 images lie, absolute.
    pub stage1_images: Option<PathBuf>,
    /// The default stage1 by name.
    pub stage1: Option<NamedStage1>,
    /// Where to take the default stage1 from: an absolute path or a URL.
    pub stage1_location: Option<String>,
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file or directory that is there cannot be read.
    #[error("cannot read configuration")]
    Read(#[source] PathError),
    /// A file is no JSON object with the fields of its kind.
    #[error("{}: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A kind that nobody knows, or that belongs elsewhere.
    #[error("kind {kind:?} of {file:?} does not belong into {}", directory.display())]
    Kind {
        /// The directory of the file.
        directory: PathBuf,
        /// The file's name.
        file: String,
        /// The kind it claims.
        kind: String,
    },
    /// A version that we do not know.
    #[error("{}: version {version:?} of kind {kind:?} is not known", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its kind.
        kind: String,
        /// The version it claims.
        version: String,
    },
    /// The same entry twice in one configuration directory.
    #[error("{0} is already specified")]
    Twice(String),
}

impl Config {
    /// Reads and merges what the directories hold. A directory that does not exist holds nothing.
    pub fn load(directories: &Directories) -> Result<Self, ConfigError> {
        let mut merged = Self::default();
        for directory in
            [&directories.system, &directories.local, &directories.user].into_iter().flatten()
        {
            merged.override_with(Self::load_one(directory)?);
        }
        Ok(merged)
    }

    /// One configuration directory, in which every entry may appear once.
    fn load_one(directory: &Path) -> Result<Self, ConfigError> {
        let mut layer = Self::default();
        for kinds in ["auth.d", "paths.d", "stage1.d"] {
            for path in files(&directory.join(kinds))? {
                for entry in read(&path)? {
                    layer.add(entry)?;
                }
            }
        }
        Ok(layer)
    }

    fn add(&mut self, entry: Entry) -> Result<(), ConfigError> {
        let twice = match entry {
            Entry::Auth(domain, credentials) => {
                let what = format!("auth for domain {domain:?}");
                self.auth.insert(domain, credentials).map(|_| what)
            }
            Entry::DockerAuth(registry, login) => {
                let what = format!("auth for docker registry {registry:?}");
                self.docker_auth.insert(registry, login).map(|_| what)
            }
            Entry::Data(path) => self.data.replace(path).map(|_| "data directory".to_owned()),
            Entry::Stage1Images(path) => {
                self.stage1_images.replace(path).map(|_| "stage1 images directory".to_owned())
            }
            Entry::Stage1(named) => {
                self.stage1.replace(named).map(|_| "stage1 name and version".to_owned())
            }
            Entry::Stage1Location(location) => {
                self.stage1_location.replace(location).map(|_| "stage1 location".to_owned())
            }
        };
        twice.map_or(Ok(()), |what| Err(ConfigError::Twice(what)))
    }

    fn override_with(&mut self, later: Self) {
        self.auth.extend(later.auth);
        self.docker_auth.extend(later.docker_auth);
        self.data = later.data.or(self.data.take());
        self.stage1_images = later.stage1_images.or(self.stage1_images.take());
        self.stage1 = later.stage1.or(self.stage1.take());
        self.stage1_location = later.stage1_location.or(self.stage1_location.take());
    }
}

/// The regular files `*.json` of a directory, by name; none when there is no such directory.
fn files(directory: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let list = match fs::read_dir(directory) {
        Ok(list) => list,
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error).at("open", directory).map_err(ConfigError::Read),
    };
    let mut found = Vec::new();
    for entry in list {
        let entry = entry.at("readdir", directory).map_err(ConfigError::Read)?;
        let path = entry.path();
        // The type of a link is link: it is not followed.
        let regular = entry.file_type().at("lstat", &path).map_err(ConfigError::Read)?.is_file();
        if regular && path.extension().is_some_and(|end| end == "json") {
            found.push(path);
        }
    }
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests;
