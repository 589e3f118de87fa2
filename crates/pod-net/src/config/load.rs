//! All networks that are configured, and those of them that a pod asks for.

use super::read::{self, ConfigError, SIZE_LIMIT};
use super::{Network, Origin, Plugin, Shape, built_in};
use crate::name::NetworkName;
use crate::request::{NetRequest, NetworkArgs, Wanted};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use sys::path::{At, PathError};

/// No folder of configurations has more files.
const FILE_LIMIT: usize = 4096;
/// What files of networks are called.
const EXTENSIONS: [&str; 3] = ["conf", "conflist", "json"];

/// A folder of configurations that cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The kernel said no.
    #[error(transparent)]
    Folder(#[from] PathError),
    /// More than 4096 files.
    #[error("{0}: too many files")]
    Crowded(String),
}

/// What was odd while loading, and what became of it.
#[derive(Debug, thiserror::Error)]
pub enum Warning {
    /// A file of the user takes the place of a built-in network.
    #[error("{}: overrides the built-in network \"{name}\"", file.display())]
    Overrides {
        /// The file.
        file: PathBuf,
        /// The network.
        name: NetworkName,
    },
    /// Two files of the user name the same network.
    #[error("{}: ignored, network \"{name}\" is configured in {first:?} already", file.display())]
    Ignored {
        /// The later file.
        file: PathBuf,
        /// The network.
        name: NetworkName,
        /// The base name of the file that counts.
        first: String,
    },
    /// A file cannot be used.
    #[error("skipping a network that cannot be used")]
    Skipped(#[source] ConfigError),
}

/// Networks that cannot be joined.
#[derive(Debug, thiserror::Error)]
pub enum SelectError {
    /// No file names them.
    #[error("networks not found: [{}]", .0.iter().map(NetworkName::as_str).collect::<Vec<_>>().join(" "))]
    NotFound(Vec<NetworkName>),
    /// The file that names it cannot be used.
    #[error("network {name:?} cannot be used")]
    Broken {
        /// The network.
        name: String,
        /// Why.
        #[source]
        cause: ConfigError,
    },
}

/// A network that a pod joins.
#[derive(Debug, Clone, PartialEq)]
pub struct Selected {
    /// The network.
    pub network: Network,
    /// What its plugins are told.
    pub args: NetworkArgs,
}

/// A file that cannot be used.
#[derive(Debug)]
struct Broken {
    name: Option<NetworkName>,
    cause: ConfigError,
}

/// Every network that is configured, in the order of their files' base names.
#[derive(Debug)]
pub struct Networks {
    usable: Vec<Network>,
    broken: Vec<Broken>,
    warnings: Vec<Warning>,
}

impl Networks {
    /// The built-in networks alone.
    pub fn built_in() -> Self {
        Self::assemble(Vec::new())
    }

    /// The networks of a folder, which may be missing, and the built-in ones.
    ///
    /// # Errors
    /// The folder cannot be listed. A file that cannot be used is no error.
    pub fn load(folder: &Path) -> Result<Self, LoadError> {
        let mut files = Vec::new();
        if let Some(fd) = open_folder(folder)? {
            for name in names(&fd, folder, &EXTENSIONS)? {
                let path = folder.join(&name);
                let found = read_file(&fd, &name, &path);
                let found = found.and_then(|text| {
                    let network = read::network(&path, &text, Origin::User);
                    network
                        .and_then(|network| with_subfolder(network, &fd, folder, &text))
                        .map_err(|cause| (read::guess_name(&text), cause))
                });
                files.push((path, found));
            }
        }
        Ok(Self::assemble(files))
    }

    fn assemble(files: Vec<(PathBuf, Result<Network, Guessed>)>) -> Self {
        let mut all = Self { usable: Vec::new(), broken: Vec::new(), warnings: Vec::new() };
        for (file, found) in files {
            match found {
                Ok(network) => match all.find(&network.name) {
                    Some(first) => {
                        let first = first.file.clone();
                        all.warnings.push(Warning::Ignored { file, name: network.name, first });
                    }
                    None => all.usable.push(network),
                },
                Err((name, cause)) => all.broken.push(Broken { name, cause }),
            }
        }
        for (file, text) in built_in::FILES {
            // A test reads them all.
            let Ok(network) = read::network(Path::new(file), text.as_bytes(), Origin::BuiltIn)
            else {
                continue;
            };
            all.add_built_in(network);
        }
        all.usable.sort_by(|a, b| a.file.cmp(&b.file));
        all
    }

    fn add_built_in(&mut self, mut network: Network) {
        if let Some(user) = self.find(&network.name) {
            let (file, name) = (PathBuf::from(&user.file), network.name);
            self.warnings.push(Warning::Overrides { file, name });
            return;
        }
        // Who broke the file that was to replace it did not ask for the built-in one.
        if self.broken.iter().any(|broken| broken.name.as_ref() == Some(&network.name)) {
            return;
        }
        // Copies of both may have to lie in one folder.
        if self.usable.iter().any(|other| other.file == network.file) {
            network.file = network.file.replacen(".conf", "-built-in.conf", 1);
        }
        self.usable.push(network);
    }

    /// Every network that can be used.
    pub fn all(&self) -> &[Network] {
        &self.usable
    }

    /// The network of this name.
    pub fn find(&self, name: &NetworkName) -> Option<&Network> {
        self.usable.iter().find(|network| network.name == *name)
    }

    /// The networks that are asked for, in the order of their files, and what was odd on the way.
    ///
    /// # Errors
    /// See [`SelectError`].
    pub fn select(
        self,
        request: &NetRequest,
    ) -> Result<(Vec<Selected>, Vec<Warning>), SelectError> {
        let (wanted, every): (&[Wanted], bool) = match request {
            NetRequest::Named(wanted) => (wanted, false),
            NetRequest::All(wanted) => (wanted, true),
            NetRequest::Host | NetRequest::Loopback | NetRequest::Namespace(_) => (&[], false),
        };
        let Self { usable, mut broken, mut warnings } = self;
        let missing = |w: &&Wanted| !usable.iter().any(|network| network.name == w.name);
        let missing: Vec<&NetworkName> =
            wanted.iter().filter(missing).map(|wanted| &wanted.name).collect();
        let blamed = |b: &Broken| b.name.as_ref().is_some_and(|name| missing.contains(&name));
        if let Some(at) = broken.iter().position(blamed) {
            let Broken { name, cause } = broken.swap_remove(at);
            let name = name.map(|name| name.to_string()).unwrap_or_default();
            return Err(SelectError::Broken { name, cause });
        }
        if !missing.is_empty() {
            return Err(SelectError::NotFound(missing.into_iter().cloned().collect()));
        }
        warnings.extend(broken.into_iter().map(|broken| Warning::Skipped(broken.cause)));
        let mut selected = Vec::new();
        for network in usable {
            let named = wanted.iter().find(|wanted| wanted.name == network.name);
            if named.is_some() || every {
                let args = named.map(|wanted| wanted.args.clone()).unwrap_or_default();
                selected.push(Selected { network, args });
            }
        }
        Ok((selected, warnings))
    }
}

/// Why a file cannot be used, and the network that it seems to be about.
type Guessed = (Option<NetworkName>, ConfigError);

fn open_folder(folder: &Path) -> Result<Option<OwnedFd>, PathError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match rustix::fs::open(folder, flags, Mode::empty()) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(PathError::new("open", folder, error)),
    }
}

/// The names in a folder with one of these extensions, sorted.
fn names(fd: &OwnedFd, folder: &Path, extensions: &[&str]) -> Result<Vec<String>, LoadError> {
    let mut found = Vec::new();
    for entry in rustix::fs::Dir::read_from(fd).at("open", folder)? {
        let entry = entry.at("read", folder)?;
        let Ok(name) = entry.file_name().to_str() else { continue };
        let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
        if extension.is_some_and(|extension| extensions.contains(&extension)) {
            found.push(name.to_owned());
        }
        if found.len() > FILE_LIMIT {
            return Err(LoadError::Crowded(folder.display().to_string()));
        }
    }
    found.sort();
    Ok(found)
}

/// The bytes of a regular file in a folder; links are followed, since administrators link files there.
fn read_file(fd: &OwnedFd, name: &str, path: &Path) -> Result<Vec<u8>, Guessed> {
    let bad = |error: PathError| (None, ConfigError::Read(error));
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(openat(fd, name, flags, Mode::empty()).at("open", path).map_err(bad)?);
    if !file.metadata().at("stat", path).map_err(bad)?.is_file() {
        return Err(bad(PathError::new("read", path, Errno::INVAL)));
    }
    let mut text = Vec::new();
    let limit = u64::try_from(SIZE_LIMIT).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut text).at("read", path).map_err(bad)?;
    Ok(text)
}

/// Adds the plugins that lie in the folder named like the network, as version 1.1 has it.
fn with_subfolder(
    mut network: Network,
    fd: &OwnedFd,
    folder: &Path,
    text: &[u8],
) -> Result<Network, ConfigError> {
    let path = folder.join(&network.file);
    let mut further: Vec<Plugin> = Vec::new();
    if network.shape == Shape::List && read::looks_further(&path, text)? {
        let below = folder.join(network.name.as_str());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match openat(fd, network.name.as_str(), flags, Mode::empty()) {
            Ok(sub) => {
                let names = names(&sub, &below, &["conf"]).map_err(|error| match error {
                    LoadError::Folder(error) => ConfigError::Read(error),
                    LoadError::Crowded(folder) => ConfigError::TooLarge(folder),
                })?;
                for name in names {
                    let path = below.join(&name);
                    let text = read_file(&sub, &name, &path).map_err(|(_, cause)| cause)?;
                    further.push(read::plugin_file(&path, &text)?);
                }
            }
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(error) => return Err(PathError::new("open", below, error).into()),
        }
    }
    read::join(&mut network, further);
    if network.plugins.is_empty() {
        let json = appc::json::Json::Null;
        return Err(super::Fields::new(&json, &path).bad("plugins", "no plugin").into());
    }
    Ok(network)
}
