//! What cargo knows of the packages, as far as it is used here.

use crate::error::TaskError;
use crate::workspace::{Workspace, read};
use serde::Deserialize;

/// All packages of a build.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    pub(crate) workspace_members: Vec<String>,
}

/// A package.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) version: String,
    /// An SPDX expression.
    pub(crate) license: Option<String>,
    /// Where it comes from; none for our own.
    pub(crate) source: Option<String>,
    pub(crate) dependencies: Vec<Dependency>,
}

/// What a package asks for.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) req: String,
    /// None for a normal one.
    pub(crate) kind: Option<String>,
    pub(crate) path: Option<String>,
}

impl Metadata {
    /// Asks cargo; only about packages that are built for Linux.
    pub(crate) fn read(workspace: &Workspace) -> Result<Self, TaskError> {
        let words = ["metadata", "--format-version=1", "--locked", "--filter-platform"];
        let text = read(workspace.cargo(&words).arg("x86_64-unknown-linux-gnu"))?;
        serde_json::from_str(&text).map_err(|error| TaskError::Output {
            program: "cargo metadata".to_owned(),
            problem: error.to_string(),
        })
    }

    /// The workspace's own packages.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| self.workspace_members.contains(&package.id))
    }
}
