//! Images of the block devices: partitions that appear by themselves, each mounted once, whoever needs it.

use crate::error::InitError;
use pod_proto::Config;
use rustix::io::Errno;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use sys::mount::Restrict;
use sys::path::{At, PathError};

/// Where images are mounted, by number.
pub const FOLDER: &str = "/images";
/// How long a device may take to appear.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked for.
const PAUSE: Duration = Duration::from_millis(2);

/// Where the image of a partition is mounted.
pub fn folder(number: u32) -> PathBuf {
    Path::new(FOLDER).join(number.to_string())
}

/// Mounts every partition that an app's root needs.
///
/// # Errors
/// One does not appear, or is no image.
pub fn mount(disk: &str, config: &Config) -> Result<(), InitError> {
    let mut wanted: Vec<u32> =
        config.apps.iter().flat_map(|app| app.layers.iter().copied()).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let end = Instant::now() + PATIENCE;
    for number in wanted {
        let device = PathBuf::from(format!("{disk}{number}"));
        appear(&device, end)?;
        let at = folder(number);
        std::fs::create_dir(&at).at("mkdir", &at)?;
        let rights = Restrict::READ_ONLY;
        sys::mount::device_at(&device, c"erofs", &at, rights).at("mount", &device)?;
    }
    Ok(())
}

fn appear(device: &Path, end: Instant) -> Result<(), InitError> {
    while !device.exists() {
        if Instant::now() >= end {
            return Err(PathError::new("open", device, Errno::NOENT).into());
        }
        crate::host::poll(&mut [], Some(PAUSE))?;
    }
    Ok(())
}
