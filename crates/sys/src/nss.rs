//! Names of hosts, users and groups, looked up without plugins of the host.
#![expect(unsafe_code, reason = "glibc's switch for its lookups has no safe wrapper")]

use std::ffi::{CStr, c_char, c_int};
use std::sync::Once;

unsafe extern "C" {
    fn __nss_configure_lookup(database: *const c_char, line: *const c_char) -> c_int;
}

/// Makes lookups use only what is built into libc: files, and DNS for hosts.
///
/// A static program that loads the plugins of another libc (the host's `nsswitch.conf` may name any) is killed by
/// them. To be called before the first lookup of a process; later calls do nothing.
pub fn built_in_only() {
    static DONE: Once = Once::new();
    DONE.call_once(|| {
        for (database, line) in
            [(c"hosts", c"files dns"), (c"passwd", c"files"), (c"group", c"files")]
        {
            configure(database, line);
        }
    });
}

fn configure(database: &CStr, line: &CStr) {
    // SAFETY: both strings end with a NUL and live for the whole program; libc copies what it keeps. It may only fail
    // for a database that it does not know or a line that does not parse, and these are constants that it knows.
    _ = unsafe { __nss_configure_lookup(database.as_ptr(), line.as_ptr()) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::ToSocketAddrs as _;

    #[test]
    fn lookups_still_answer() {
        built_in_only();
        built_in_only();
        let found: Vec<_> = ("localhost", 80).to_socket_addrs().unwrap().collect();
        assert!(found.iter().all(|address| address.ip().is_loopback()), "{found:?}");
        assert!(!found.is_empty());
    }
}
