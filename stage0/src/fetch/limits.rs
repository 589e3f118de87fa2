//! How much time, memory and disk a server may cost, in one place.

use std::time::Duration;

/// Milliseconds; tests of what happens afterwards cannot wait that long.
const fn unless_tested(real: u64, tested: u64) -> Duration {
    Duration::from_millis(if cfg!(test) { tested } else { real })
}

/// To find the addresses of a host.
pub(super) const RESOLVE: Duration = Duration::from_secs(15);
/// To connect, TLS included.
pub(super) const CONNECT: Duration = Duration::from_secs(15);
/// To find out whether a registry that may be plain speaks TLS.
pub(super) const PROBE: Duration = Duration::from_secs(5);
/// For the head of an answer.
pub(super) const ANSWER: Duration = Duration::from_secs(30);
/// Without a single byte.
pub(super) const IDLE: Duration = unless_tested(20_000, 1_000);
/// For so long of waiting, [`LEAST`] bytes must have come.
pub(super) const WINDOW: Duration = unless_tested(20_000, 1_000);
/// The least that must come in each [`WINDOW`] of waiting.
pub(super) const LEAST: usize = 8 << 10;

/// Redirects that one request may follow.
pub(super) const REDIRECTS: usize = 10;
/// How often one request is sent when the server is busy.
pub(super) const BUSY_TRIES: u32 = 6;
/// How long a busy server may let us wait, all waits of one request together.
pub(super) const BUSY_WAIT: Duration = Duration::from_mins(1);
/// How often one transfer is taken up again after it broke off; each time it must have got further.
pub(super) const RESUMES: u32 = 5;

/// A manifest, an index, a signature.
pub(super) const DOCUMENT: u64 = 4 << 20;
/// A token, the body of an error.
pub(super) const SMALL: u64 = 1 << 20;
/// The list of images in a `docker save` file.
pub(super) const ARCHIVE_LIST: u64 = 1 << 20;
/// The file that marks an OCI layout.
pub(super) const MARKER: u64 = 64 << 10;
/// An App Container Image of unknown length.
pub(super) const ACI: u64 = 32 << 30;
