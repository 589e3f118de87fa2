//! The files of an app, for somebody on the host: read by a copy of init that has nothing but them, the stream that they go
//! to, and the right to read everything.
//!
//! What it reads is a copy of the mount of the app's root: without the volumes and kernel file systems that are mounted in
//! it, out of reach of whatever the app mounts, and without devices that would do something when they are opened.

use crate::call::Caller;
use crate::error::{Doing, InitError};
use crate::exec::{Running, Tried, inside};
use crate::pod::Owner;
use archive::{Limits, live};
use pod_proto::config::Dialogue;
use pod_proto::message::Export;
use pod_proto::{Process, Token};
use stage2::Runner;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use sys::capability::Capabilities;
use sys::cause::chain;
use sys::mount::{self, Depth, Propagation, Restrict};
use sys::path::PathError;

/// What is written at once.
const PIECE: usize = 64 << 10;
/// The first to go where memory is short.
const OOM_SCORE: &str = "1000";

/// Begins to write the files of an app.
///
/// # Errors
/// Its streams cannot be connected, its root cannot be had, or no process can be made.
pub fn run(
    export: Export,
    app: &Runner<'_>,
    token: Token,
    caller: &Caller,
) -> Result<Tried, InitError> {
    let owner = Owner { process: Process::Exec(export.id), token, caller };
    let plumbed = owner.plumb(Dialogue::Silent, None)?;
    let root = app.root().fd.as_fd();
    let tree = inside(app, || mount::copy_tree(root, c".", Depth::Single))?;
    let tree = tree.doing("cannot copy the mount of the app's root")?;
    let rights = [Restrict::READ_ONLY, Restrict::NO_DEVICES, Restrict::NO_EXEC];
    let rights = rights.into_iter().fold(Restrict::NO_SUID, Restrict::and);
    mount::set_propagation(tree.as_fd(), Propagation::Private, Depth::Single)
        .and_then(|()| mount::restrict(tree.as_fd(), rights, Depth::Single))
        .doing("cannot restrict a mount")?;
    let standard = [plumbed.input.as_fd(), plumbed.output.as_fd(), plumbed.error.as_fd()];
    let pid = sys::process::run_apart(standard, tree.as_fd(), child);
    let pid = pid.doing("cannot start a process")?;
    let running = Running { id: export.id, pid, master: None };
    Ok(Tried { result: Ok(running), relays: plumbed.relays })
}

/// The life of the copy.
fn child(tree: &OwnedFd) -> i32 {
    match restrict_self().and_then(|()| write(tree)) {
        Ok(()) => 0,
        Err(error) => {
            let text = chain(error.as_ref());
            // If nobody hears, the code says enough.
            drop(std::io::stderr().write_all(text.as_bytes()));
            1
        }
    }
}

type Failure = Box<dyn std::error::Error>;

fn restrict_self() -> Result<(), Failure> {
    sys::signal::reset_all()?;
    rustix::process::setsid()?;
    let path = "/proc/self/oom_score_adj";
    std::fs::write(path, OOM_SCORE).map_err(|cause| PathError::new("write", path, cause))?;
    rustix::thread::set_no_new_privs(true)?;
    let reads = Capabilities::named("DAC_READ_SEARCH").unwrap_or_default();
    Ok(sys::capability::bound(reads)?)
}

fn write(tree: &OwnedFd) -> Result<(), Failure> {
    let output = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?;
    let output = BufWriter::with_capacity(PIECE, File::from(output));
    Ok(live::tar(output, tree.as_fd(), &Limits::default()).map(drop)?)
}
