//! What pods need of the image store.

use super::folders::{Folder, PodsDir};
use crate::store::References;
use appc::{ImageId, PodManifest};
use stage1_abi::PodDir;
use stage1_abi::pod_dir::{self, PodDirError};
use std::io::ErrorKind;

impl PodsDir {
    /// The trees, layers and images that pods need. To be asked while nobody prepares one.
    pub fn references(&self) -> Result<References, PodDirError> {
        let mut references = References::default();
        for folder in Folder::VISIBLE {
            for uuid in self.uuids(folder)? {
                match PodDir::open(self.pod_path(folder, uuid)) {
                    Ok(pod) => add(&pod, &mut references)?,
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(references)
    }
}

fn add(pod: &PodDir, references: &mut References) -> Result<(), PodDirError> {
    references.trees.extend(pod.read_text(pod_dir::STAGE1_TREE)?);
    references.layers.extend(pod.stage1_layers()?.into_iter().flatten());
    let stage1 = pod.read_text(pod_dir::STAGE1_IMAGE)?;
    references.images.extend(stage1.and_then(|id| ImageId::parse(&id).ok()));
    if let Some(manifest) = pod.read(pod_dir::MANIFEST)?
        // What cannot be read names nothing; its apps' folders are asked all the same.
        && let Ok(manifest) = PodManifest::from_json(&manifest)
    {
        references.images.extend(manifest.apps.into_iter().filter_map(|app| app.image.id));
    }
    for app in pod.apps()? {
        let file = PodDir::app_file(&app, "treeStoreID");
        references.trees.extend(pod.read_text(&file)?);
        references.layers.extend(pod.app_layers(&app)?.into_iter().flatten());
    }
    Ok(())
}
