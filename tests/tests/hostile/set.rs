//! The hostile set, made for a test, and the programs that are tried on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use testkit::program::run;
use testkit::sandbox::dist;

/// A script of the corpus.
pub(crate) fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name)
}

/// Images that attack whoever runs them. Where they are tried, this folder is all that is seen of those below `/tmp`: it
/// holds the programs, too.
pub(crate) struct Set(pub(crate) PathBuf);

impl Set {
    #[track_caller]
    pub(crate) fn make() -> Self {
        let folder = format!("hostile-apps-{}", std::process::id());
        let set = Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder));
        run(Command::new("python3").arg(script("make-hostile.py")).arg(&set.0)).ok();
        fs::copy(std::env::current_exe().unwrap(), set.0.join("tool")).unwrap();
        for name in ["rkt", "stage1-nspawn.aci", "stage1-fly.aci"] {
            fs::copy(dist(name), set.0.join(name)).unwrap();
        }
        set
    }
}

impl Drop for Set {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}
