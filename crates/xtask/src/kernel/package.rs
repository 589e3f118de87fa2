//! Debian packages: which one is current, and what is in it.

use crate::error::{At, TaskError};
use crate::setup;
use crate::workspace::{call, read};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A package as the distribution's signed lists know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Package {
    /// Its name.
    pub(super) name: String,
    /// Its version.
    pub(super) version: String,
    /// The SHA-256 of its file, in hexadecimal digits.
    pub(super) sha256: String,
    /// The field "Depends" as it is.
    depends: String,
}

impl Package {
    /// The version of a package that would be installed.
    pub(super) fn current(name: &str) -> Result<Self, TaskError> {
        if let Some(found) = Self::listed(name)? {
            return Ok(found);
        }
        if setup::may_install() {
            call(setup::apt().arg("update"))?;
        }
        let found = Self::listed(name)?;
        found.ok_or_else(|| TaskError::Missing(format!("apt-get knows no package {name}")))
    }

    fn listed(name: &str) -> Result<Option<Self>, TaskError> {
        let mut show = Command::new("apt-cache");
        // An unknown name is a failure that it explains; we do so ourselves.
        let shown = show.args(["show", "--no-all-versions", name]).stderr(Stdio::null());
        match read(shown) {
            Ok(text) => Ok(Self::parse(&text)),
            Err(TaskError::Program { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads a paragraph of "Name: value" lines.
    fn parse(text: &str) -> Option<Self> {
        let paragraph = text.split("\n\n").next()?;
        let field = |name: &str| {
            let mut lines = paragraph.lines().filter_map(|line| line.split_once(": "));
            lines.find(|(key, _)| *key == name).map(|(_, value)| value.trim().to_owned())
        };
        Some(Self {
            name: field("Package")?,
            version: field("Version")?,
            sha256: field("SHA256")?,
            depends: field("Depends").unwrap_or_default(),
        })
    }

    /// The first package that this one depends on and whose name starts so: where a name without a version leads.
    pub(super) fn leads_to(&self, prefix: &str) -> Option<&str> {
        let mut names = self.depends.split(',').filter_map(|one| one.split_whitespace().next());
        names.find(|name| name.starts_with(prefix))
    }

    /// Downloads the package and unpacks it below an empty folder.
    pub(super) fn unpack(&self, below: &Path) -> Result<(), TaskError> {
        fs::create_dir_all(below).at("make", below)?;
        let mut download = setup::apt();
        // Its helper without privileges could not write here, and says so each time.
        download.args(["-o", "APT::Sandbox::User=root", "download"]);
        call(download.arg(format!("{}={}", self.name, self.version)).current_dir(below))?;
        let archive = only(below, ".deb")?;
        call(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(below))?;
        fs::remove_file(&archive).at("remove", &archive)
    }
}

/// Renews the lists of packages where we may. A failure is not ours to tell: the lists that are there still hold, and a
/// download that they do not allow any more says so.
pub(super) fn renew_lists() {
    if setup::may_install() {
        drop(call(setup::apt().arg("update")));
    }
}

/// The only entry of a folder whose name ends so.
pub(super) fn only(folder: &Path, suffix: &str) -> Result<PathBuf, TaskError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).at("read", folder)? {
        let path = entry.at("read", folder)?.path();
        if path.as_os_str().as_encoded_bytes().ends_with(suffix.as_bytes()) {
            found.push(path);
        }
    }
    match <[PathBuf; 1]>::try_from(found) {
        Ok([path]) => Ok(path),
        Err(found) => Err(TaskError::Output {
            program: "dpkg-deb".to_owned(),
            problem: format!("{} files {suffix:?} in {}", found.len(), folder.display()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: &str = "Package: linux-image-cloud-amd64\nSource: linux-signed (6.1)\nVersion: 6.1.9-3\n\
        Depends: linux-image-6.1.0-5-cloud-amd64 (= 6.1.9-3), other\nDescription: a: b\n text\nSHA256: abc\n\n\
        Package: next\nVersion: 1\nSHA256: d\n";

    #[test]
    fn the_first_paragraph_is_read() {
        let package = Package::parse(SHOWN).unwrap();
        assert_eq!(package.name, "linux-image-cloud-amd64");
        assert_eq!((package.version.as_str(), package.sha256.as_str()), ("6.1.9-3", "abc"));
        assert_eq!(package.leads_to("linux-image-"), Some("linux-image-6.1.0-5-cloud-amd64"));
        assert_eq!(package.leads_to("linux-headers-"), None);
    }

    #[test]
    fn a_paragraph_without_a_hash_is_none() {
        assert_eq!(Package::parse("Package: a\nVersion: 1\n"), None);
        assert_eq!(Package::parse(""), None);
    }
}
