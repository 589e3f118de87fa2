//! What every command gets: the global flags, and what they lead to, opened when first asked for.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use stage0::config::{Config, Directories};
use stage0::insecure::Insecure;
use stage0::store::Store;
use sys::path::At as _;

use super::failure::Failure;
use super::parse::Parsed;
use super::print;

/// The surroundings of one command.
#[derive(Debug)]
pub(crate) struct Context {
    /// `--debug`: say more on stderr, and pass it on to stage1.
    pub(crate) debug: bool,
    /// `--insecure-options`.
    pub(crate) insecure: Insecure,
    /// The configuration directories, lowest priority first.
    pub(crate) directories: Directories,
    prefix: &'static str,
    dir: Option<PathBuf>,
    data_dir: OnceCell<PathBuf>,
    config: OnceCell<Config>,
    store: OnceCell<Store>,
}

impl Context {
    pub(super) fn new(name: &'static str, args: &Parsed) -> Result<Self, Failure> {
        let path = |flag| args.value(flag).map(PathBuf::from);
        Ok(Self {
            debug: args.bool("debug"),
            insecure: Insecure::parse(args.value("insecure-options").unwrap_or_default())
                .map_err(Failure::alone)?,
            directories: Directories {
                system: path("system-config"),
                local: path("local-config"),
                user: path("user-config"),
            },
            prefix: print::prefix(name),
            dir: args.given("dir").map(PathBuf::from),
            data_dir: OnceCell::new(),
            config: OnceCell::new(),
            store: OnceCell::new(),
        })
    }

    /// The merged configuration files.
    pub(crate) fn config(&self) -> Result<&Config, Failure> {
        if let Some(config) = self.config.get() {
            return Ok(config);
        }
        let config = Config::load(&self.directories)
            .map_err(|error| Failure::because("cannot get configuration", error))?;
        Ok(self.config.get_or_init(|| config))
    }

    /// The data directory, absolute and without symbolic links: flag, then configuration, then the default.
    pub(crate) fn data_dir(&self) -> Result<&Path, Failure> {
        if let Some(found) = self.data_dir.get() {
            return Ok(found);
        }
        let named = match &self.dir {
            Some(flag) => Cow::Borrowed(flag.as_path()),
            None => match &self.config()?.data {
                Some(configured) => Cow::Borrowed(configured.as_path()),
                None => Cow::Borrowed(Path::new("/var/lib/rkt")),
            },
        };
        let whole = resolve(&named)
            .map_err(|error| Failure::because("cannot find the data directory", error))?;
        Ok(self.data_dir.get_or_init(|| whole))
    }

    /// The image store of the data directory.
    pub(crate) fn store(&self) -> Result<&Store, Failure> {
        if let Some(store) = self.store.get() {
            return Ok(store);
        }
        let store = Store::open(self.data_dir()?)
            .map_err(|error| Failure::because("cannot open store", error))?;
        Ok(self.store.get_or_init(|| store))
    }

    /// The administrator's configuration directory, as stage1s are told it.
    pub(crate) fn local_config(&self) -> Option<String> {
        self.directories.local.as_ref().and_then(|path| path.to_str()).map(str::to_owned)
    }

    /// Refuses to go on as a plain user.
    #[expect(
        clippy::unused_self,
        reason = "the commands ask their context, which alone may know of a way around it"
    )]
    pub(crate) fn require_root(&self) -> Result<(), Failure> {
        if rustix::process::geteuid().is_root() {
            Ok(())
        } else {
            Err(Failure::new("cannot run as unprivileged user"))
        }
    }

    /// Writes one result to stdout, with the newline that it may lack.
    #[expect(clippy::unused_self, reason = "results go where the command's context says")]
    pub(crate) fn print(&self, result: &str) {
        print::result(result);
    }

    /// Tells the user something on stderr, behind the command's prefix.
    pub(crate) fn note(&self, text: &str) {
        print::note(self.prefix, text);
    }

    /// Tells the user on stderr about a failure that does not end the command.
    pub(crate) fn report(&self, failure: &Failure) {
        print::error(&failure.text(self.prefix, self.debug));
    }
}

/// An absolute path without symbolic links, also where its end does not exist yet.
fn resolve(named: &Path) -> Result<PathBuf, sys::path::PathError> {
    let absolute = std::path::absolute(named).at("stat", named)?;
    for there in absolute.ancestors() {
        #[expect(
            clippy::disallowed_methods,
            reason = "the user of the host names the data directory, for the host"
        )]
        match std::fs::canonicalize(there) {
            Ok(real) => {
                let rest = absolute.strip_prefix(there).unwrap_or(Path::new(""));
                // Joining nothing would add a slash.
                return Ok(if rest.as_os_str().is_empty() { real } else { real.join(rest) });
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).at("stat", there),
        }
    }
    Ok(absolute)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn resolves_links_once_and_keeps_what_is_not_there_yet() {
        let root = std::env::temp_dir().join(format!("rkt-resolve-{}", std::process::id()));
        fs::create_dir_all(root.join("real")).unwrap();
        symlink("real", root.join("link")).unwrap();
        fs::write(root.join("file"), "").unwrap();
        let found =
            ["link", "link/new/deep", "real"].map(|name| resolve(&root.join(name)).unwrap());
        let below_file = resolve(&root.join("file/x"));
        fs::remove_dir_all(&root).unwrap();
        let real =
            resolve(&std::env::temp_dir()).unwrap().join(root.file_name().unwrap()).join("real");
        // A path that ends where it exists gets no slash from the join.
        assert_eq!(
            found.each_ref().map(|path| path.as_os_str().len()),
            [
                real.as_os_str().len(),
                real.as_os_str().len() + "/new/deep".len(),
                real.as_os_str().len(),
            ]
        );
        assert_eq!(found, [real.clone(), real.join("new/deep"), real]);
        assert!(below_file.unwrap_err().to_string().ends_with("not a directory"));
        assert_eq!(resolve(Path::new("/nonexistent/rkt")).unwrap(), Path::new("/nonexistent/rkt"));
    }
}
