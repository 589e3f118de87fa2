//! `kernel`: what a micro-VM boots, in a folder of its own below CACHE, which is `~/.cache/rkt/kernel` or lies in
//! `$XDG_CACHE_HOME`.
//!
//! ```text
//! CACHE/KEY/vmlinux              built of Debian's source with images/kernel/linux-6.12.config; no modules
//! CACHE/KEY/config               all of its options
//! CACHE/stock-KEY/vmlinux        the distribution's own, taken out of its package
//! CACHE/stock-KEY/modules/*.ko   those that a pod needs there, plain and without signatures
//! CACHE/stock-KEY/modules/ORDER  their names in the order in which they can be loaded, one a line
//! ```
//!
//! A key is made of all that the content depends on, so a folder that is there is never made again, and one that is not
//! whole never has such a name: who keeps CACHE from one clone to the next builds once. Packages are downloaded and
//! unpacked, never installed.

mod bzimage;
mod elf;
mod modules;
mod options;
mod own;
mod package;
mod returns;
mod shelf;
mod source;
mod stock;

use crate::error::{At, TaskError};
use crate::say;
use crate::workspace::Workspace;
use std::fs;
use std::path::PathBuf;

/// Whose kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kernel {
    /// Built here.
    Own,
    /// The distribution's, as it is.
    Stock,
}

impl Kernel {
    /// Takes `--kernel=stock` off the front of some arguments.
    pub(crate) fn take(words: &[String]) -> (Self, &[String]) {
        match words {
            [first, rest @ ..] if first == "--kernel=stock" => (Self::Stock, rest),
            _ => (Self::Own, words),
        }
    }
}

/// `cargo xtask kernel [--kernel=stock]`
pub(crate) fn run(workspace: &Workspace, words: &[String]) -> Result<(), TaskError> {
    let (kernel, []) = Kernel::take(words) else {
        return Err(TaskError::Usage("usage: cargo xtask kernel [--kernel=stock]".to_owned()));
    };
    let folder = provide(workspace, kernel)?;
    let file = folder.join("vmlinux");
    let size = fs::metadata(&file).at("read", &file)?.len();
    say::line(&format!("{size:>9} {}", file.display()));
    Ok(())
}

/// Makes the kernel unless it is there; its folder.
pub(crate) fn provide(workspace: &Workspace, kernel: Kernel) -> Result<PathBuf, TaskError> {
    match kernel {
        Kernel::Own => own::provide(workspace),
        Kernel::Stock => stock::provide(),
    }
}
