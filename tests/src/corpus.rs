//! Real images: `tests/corpus/make-corpus.sh` builds them of Debian packages, once for all runs.

use std::fs;
use std::path::PathBuf;

/// The OCI layout that holds this image under its name.
#[track_caller]
pub fn layout(name: &str) -> PathBuf {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let folder = root.join("target/corpus");
    // Written last: an image that it lists is complete.
    let list = fs::read_to_string(folder.join("corpus.tsv")).unwrap_or_default();
    let there = list.lines().any(|line| line.split('\t').next() == Some(name));
    assert!(there, "{} lacks the image {name}: run `cargo xtask setup` as root", folder.display());
    folder.join("oci")
}

/// The image as a word of a command line: `oci:FOLDER:NAME`.
#[track_caller]
pub fn image(name: &str) -> String {
    format!("oci:{}:{name}", layout(name).display())
}
