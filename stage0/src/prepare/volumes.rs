//! Whether mounts and volumes of a pod belong together.

use super::error::PrepareError;
use appc::{Mount, PodManifest, Volume};
use std::collections::BTreeSet;

/// Checks what was typed, before any image is looked for.
pub fn check_flags<'a>(
    volumes: &[Volume],
    mounts: impl IntoIterator<Item = &'a Mount>,
) -> Result<(), PrepareError> {
    let mut names = BTreeSet::new();
    if let Some(twice) = volumes.iter().find(|volume| !names.insert(volume.name.as_str())) {
        return Err(PrepareError::SameVolume(twice.name.to_string()));
    }
    for mount in mounts {
        check_mount(mount, volumes)?;
    }
    Ok(())
}

fn check_mount(mount: &Mount, volumes: &[Volume]) -> Result<(), PrepareError> {
    let known = |volume: &Volume| volume.name == mount.volume;
    if mount.app_volume.is_some() || volumes.iter().any(known) {
        return Ok(());
    }
    Err(PrepareError::Dangling { path: mount.path.clone(), volume: mount.volume.clone() })
}

/// Checks a pod's manifest.
pub(super) fn check(manifest: &PodManifest) -> Result<(), PrepareError> {
    check_flags(&manifest.volumes, manifest.apps.iter().flat_map(|app| &app.mounts))
}
