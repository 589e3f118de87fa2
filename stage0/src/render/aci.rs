//! Rendering App Container Images: the images below first, each through the whitelists above it.

use super::RenderError;
use crate::store::{Part, ReadyRecord, Store, StoreError};
use appc::{Dependency, ImageId, ImageManifest};
use archive::Limits;
use archive::dependency::{Plan, plan};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha512};
use std::io::{self, Read};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::{Arc, Mutex};

/// What is noted about a rendered tree.
#[derive(Debug, Serialize, Deserialize)]
struct TreeRecord {
    /// Of the tree; what a later check compares.
    digest: String,
    /// Bytes of its files.
    size: u64,
    /// What it was made of, lowest first.
    images: Vec<String>,
}

/// The manifest of an image, from a record that only root can have written, else from the image itself.
fn manifest(store: &Store, id: &ImageId) -> Result<(String, ImageManifest), RenderError> {
    let text = if store.is_roots(id)? {
        store.record(id)?.ok_or(StoreError::NoSuchId)?.manifest
    } else {
        let (found, bytes) = store
            .recheck_aci(id)
            .map_err(|source| RenderError::Import { image: id.clone(), source })?;
        if found != *id {
            return Err(RenderError::Damaged(id.clone()));
        }
        String::from_utf8(bytes).map_err(|_| RenderError::Damaged(id.clone()))?
    };
    let parsed = ImageManifest::from_json(text.as_bytes())
        .map_err(|source| RenderError::Manifest { image: id.clone(), source })?;
    Ok((text, parsed))
}

fn find(store: &Store, wanted: &Dependency) -> Result<(ImageId, ImageManifest), StoreError> {
    let id = match &wanted.image_id {
        Some(prefix) => store.find_id(prefix)?,
        None => store.find_name(&wanted.image_name, &wanted.labels)?,
    };
    let missing =
        || StoreError::NotFound { name: wanted.image_name.to_string(), labels: String::new() };
    let (_, found) = manifest(store, &id).map_err(|error| match error {
        RenderError::Store(error) => error,
        other => StoreError::record(&format!("image/{id}"), &other),
    })?;
    let fits = found.name == wanted.image_name
        && wanted.labels.iter().all(|label| found.labels.contains(label));
    if fits { Ok((id, found)) } else { Err(missing()) }
}

/// The images of a tree.
pub(super) fn plan_of(store: &Store, id: &ImageId) -> Result<(String, Plan), RenderError> {
    let (text, parsed) = manifest(store, id)?;
    let plan = plan(id.clone(), &parsed, &mut |wanted| find(store, wanted))
        .map_err(|source| RenderError::Plan { image: id.clone(), source })?;
    Ok((text, plan))
}

fn tree_id(plan: &Plan) -> String {
    let keys: Vec<&str> = plan.steps.iter().map(|step| step.image.as_str()).collect();
    let hash: [u8; 64] = Sha512::digest(keys.join(",").as_bytes()).into();
    format!("deps-{}", ImageId::from_hash(&hash))
}

/// The tree that the image means now.
pub(super) fn tree_of(store: &Store, id: &ImageId) -> Result<String, RenderError> {
    Ok(tree_id(&plan_of(store, id)?.1))
}

/// Renders the tree of an image, unless it is there, and notes that.
pub(super) fn make(store: &Store, id: &ImageId) -> Result<(), RenderError> {
    let (text, plan) = plan_of(store, id)?;
    let tree = tree_id(&plan);
    let path = format!("tree/{tree}");
    let lock = store.layer_lock(&tree)?;
    let size = match store.parsed::<TreeRecord>(&format!("{path}/record"))? {
        Some(record) => record.size,
        None => into_store(store, id, &plan, &path)?,
    };
    drop(lock);
    let part = Part { path, size };
    let ready = ReadyRecord {
        tree_id: tree,
        parts: vec![part.clone()],
        manifest: text,
        dependent: plan.steps.len() > 1,
    };
    store.set_ready(id, &ready)?;
    store.replace_parts(id, |part| part.path.starts_with("tree/"), vec![part])?;
    Ok(())
}

fn into_store(store: &Store, id: &ImageId, plan: &Plan, path: &str) -> Result<u64, RenderError> {
    let staged = store.staged()?;
    drop(staged.make("tree")?);
    let root = staged.make_root("tree/rootfs")?;
    let rendered = into_folder(store, id, plan, root.as_fd())?;
    for note in &rendered.notes {
        log::debug!(target: "image", "image {id}: {note}");
    }
    let record = TreeRecord {
        digest: rendered.digest.to_string(),
        size: rendered.bytes,
        images: plan.steps.iter().map(|step| step.image.to_string()).collect(),
    };
    let bytes = serde_json::to_vec(&record).unwrap_or_default();
    staged.write("tree/record", &bytes)?;
    store.sync()?;
    store.publish_folder(&staged, "tree", path)?;
    store.sync_folder("tree")?;
    Ok(rendered.bytes)
}

/// Renders into an empty folder. Every image is hashed on the way, and must be what its id says.
pub(super) fn into_folder(
    store: &Store,
    id: &ImageId,
    plan: &Plan,
    folder: BorrowedFd<'_>,
) -> Result<archive::aci::Rendered, RenderError> {
    let hashes: Hashes = Arc::new(Mutex::new(Vec::new()));
    let mut open = |index: usize| -> io::Result<Box<dyn Read + Send>> {
        let step = plan.steps.get(index).ok_or(io::ErrorKind::NotFound)?;
        let from = store.open_aci(&step.image).map_err(io::Error::other)?;
        Ok(Box::new(Hashed { from, hash: Sha512::new(), done: false, into: Arc::clone(&hashes) }))
    };
    let rendered = archive::aci::render(folder, plan, &mut open, &Limits::default());
    let found = hashes.lock().map(|all| all.clone()).unwrap_or_default();
    let rendered = rendered.map_err(|source| RenderError::Aci { image: id.clone(), source })?;
    for (place, step) in plan.steps.iter().enumerate() {
        if found.get(place) != Some(&step.image) {
            return Err(RenderError::Damaged(step.image.clone()));
        }
    }
    Ok(rendered)
}

/// The ids of the images read so far, in order.
type Hashes = Arc<Mutex<Vec<ImageId>>>;

/// Hashes an image, and notes its id when it has been read to its end.
struct Hashed {
    from: Box<dyn Read + Send>,
    hash: Sha512,
    done: bool,
    into: Hashes,
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.from.read(buffer)?;
        self.hash.update(buffer.get(..length).unwrap_or_default());
        if length == 0 && !buffer.is_empty() && !self.done {
            self.done = true;
            let hash: [u8; 64] = std::mem::take(&mut self.hash).finalize().into();
            if let Ok(mut all) = self.into.lock() {
                all.push(ImageId::from_hash(&hash));
            }
        }
        Ok(length)
    }
}
