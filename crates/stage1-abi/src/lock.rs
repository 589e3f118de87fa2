//! The pod's lock, handed from stage0 to stage1 by descriptor number.

use std::io;
use sys::lock::LockFd;

/// The variable that names the descriptor on which the pod's exclusive lock is held.
pub const LOCK_FD: &str = "RKT_LOCK_FD";

/// Adopts the lock that stage0 left open; close-on-exec is set on it, so that helpers do not keep a dead pod alive.
///
/// # Errors
/// The variable is missing or names no open descriptor.
pub fn inherited() -> io::Result<LockFd> {
    let text = std::env::var(LOCK_FD)
        .map_err(|_| io::Error::new(io::ErrorKind::NotFound, format!("{LOCK_FD} is not set")))?;
    let number = text.parse().map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("{LOCK_FD} is {text:?}, not a number"))
    })?;
    LockFd::inherited(number)
}
