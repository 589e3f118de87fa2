//! What must hold after a death, whoever died wherever.

use super::scenes::Cast;
use crate::error::TaskError;
use crate::ground::{COLLECT, Ground, names};
use crate::workspace::read;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// Folders of the store with complete trees, and the name of the tree's top in each of them.
const TREES: [(&str, &str); 2] = [("tree", "rootfs"), ("layer", "root")];

/// Images of trees, for machines.
const DERIVED: &str = "derived";

/// What an undisturbed store holds.
#[derive(Debug, Default)]
pub(super) struct Truth {
    /// Hashes of trees, by folder and name.
    trees: BTreeMap<String, String>,
    /// Hashes of exported images, by id.
    images: BTreeMap<String, String>,
}

impl Truth {
    /// Lets nothing disturb a store, and notes what it holds then.
    pub(super) fn learn(
        ground: &Ground,
        cast: &Cast,
        flavours: &[&str],
    ) -> Result<Self, TaskError> {
        for flavour in flavours {
            for image in cast.all() {
                let stage1 = ground.stage1(flavour);
                ground.rkt(&["prepare", &stage1, image])?;
            }
        }
        let mut truth = Self::default();
        for (name, hash) in trees(ground)? {
            truth.trees.insert(name, hash);
        }
        for id in listed(ground)? {
            let hash = export(ground, &id)?.map_err(TaskError::Missing)?;
            truth.images.insert(id, hash);
        }
        let least = cast.all().len() + flavours.len();
        if truth.trees.len() < least || truth.images.len() < least {
            return Err(TaskError::Missing(format!("the store lacks trees or images: {truth:?}")));
        }
        ground.rkt(&COLLECT)?;
        Ok(truth)
    }

    /// Whether the store is sound; what is not.
    pub(super) fn store(&self, ground: &Ground) -> Result<Vec<String>, TaskError> {
        let mut found = Vec::new();
        for (name, hash) in trees(ground)? {
            match self.trees.get(&name) {
                Some(known) if *known == hash => {}
                Some(_) => found.push(format!("{name} is not the tree it should be")),
                None => found.push(format!("{name} is a tree that an undisturbed store lacks")),
            }
        }
        for words in [&["list"][..], &["image", "list"]] {
            let said = ground.ask(words)?;
            if !said.status.success() || !said.err.is_empty() {
                found.push(format!(
                    "{} says: {} {}",
                    words.join(" "),
                    said.status,
                    said.err.trim()
                ));
            }
        }
        for id in listed(ground)? {
            match (export(ground, &id)?, self.images.get(&id)) {
                (Ok(hash), Some(known)) if hash == *known => {}
                (Ok(_), _) => found.push(format!("{id} is exported as something else")),
                (Err(problem), _) => {
                    found.push(format!("{id} is listed and cannot be exported: {problem}"));
                }
            }
        }
        Ok(found)
    }
}

/// Ends what runs and collects what is over; what is left then.
pub(super) fn pods(ground: &Ground, mut seen: BTreeSet<String>) -> Result<Vec<String>, TaskError> {
    seen.extend(ground.pods().into_iter().map(|(_, pod)| pod));
    ground.stop()?;
    let said = ground.ask(&COLLECT)?;
    let mut found = Vec::new();
    if !said.status.success() || said.err.lines().any(|line| !line.contains(" to garbage")) {
        found.push(format!("gc says: {} {}", said.status, said.err.trim()));
    }
    let left = ground.pods();
    found.extend(left.iter().map(|(phase, pod)| format!("pod {pod} is left in pods/{phase}")));
    seen.retain(|name| name.len() == 36);
    found.extend(ground.leaks(&seen));
    Ok(found)
}

/// The complete trees of the store, what is derived of them, and their hashes.
fn trees(ground: &Ground) -> Result<Vec<(String, String)>, TaskError> {
    let mut found = Vec::new();
    for (folder, top) in TREES {
        let path = ground.data().join("cas").join(folder);
        for name in names(&path) {
            let folder = format!("{folder}/{name}");
            if path.join(&name).is_dir() {
                let tree = path.join(name).join(top);
                let hash = if tree.is_dir() { hash(&tree)? } else { "absent".to_owned() };
                found.push((folder, hash));
            }
        }
    }
    let derived = ground.data().join("cas").join(DERIVED);
    for name in names(&derived) {
        let hash = read(Command::new("sha256sum").arg("-b").arg(derived.join(&name)))?;
        let hash = hash.split(' ').next().unwrap_or_default().to_owned();
        found.push((format!("{DERIVED}/{name}"), hash));
    }
    Ok(found)
}

/// Everything of a tree that these images can bring. A whiteout, a device here, is as old as its unpacking.
fn hash(tree: &Path) -> Result<String, TaskError> {
    let script = "set -o pipefail; cd \"$1\"; { find . -type c | sort; tar --sort=name --numeric-owner --xattrs \
                  --pax-option=delete=atime,delete=ctime --anchored --exclude-from=<(find . -type c) -cf - .; } | sha256sum";
    read(Command::new("bash").args(["-ec", script, "bash"]).arg(tree))
}

/// The ids of all images that are listed.
fn listed(ground: &Ground) -> Result<Vec<String>, TaskError> {
    let said = ground.ask(&["image", "list", "--format=json"])?;
    let list: Value = serde_json::from_str(&said.out).unwrap_or_default();
    let ids = list.as_array().into_iter().flatten();
    Ok(ids.filter_map(|image| Some(image.get("id")?.as_str()?.to_owned())).collect())
}

/// The hash of an image's export, or why there is none.
fn export(ground: &Ground, id: &str) -> Result<Result<String, String>, TaskError> {
    let file = ground.word("export.aci");
    let said = ground.ask(&["image", "export", "--overwrite", id, &file])?;
    if !said.status.success() {
        return Ok(Err(said.err.trim().to_owned()));
    }
    read(Command::new("sha256sum").arg(file)).map(Ok)
}
