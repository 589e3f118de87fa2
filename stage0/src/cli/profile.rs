//! `--cpuprofile` and `--memprofile`: what a command used, written when it returns.

use std::fmt::Write as _;
use std::fs;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use sys::path::At as _;

use super::{Failure, Parsed};

/// Writes the profiles that were asked for. A command that becomes a pod does not get here.
pub(super) fn write(args: &Parsed) -> Result<(), Failure> {
    for flag in ["cpuprofile", "memprofile"] {
        let Some(path) = args.given(flag).filter(|path| !path.is_empty()) else { continue };
        let used = getrusage(UsageWho::RUSAGE_SELF)
            .map_err(|error| Failure::because("cannot measure", error))?;
        let mut text = String::new();
        // Writing to a String cannot fail.
        _ = match flag {
            "cpuprofile" => writeln!(
                text,
                "user_us={}\nsystem_us={}",
                used.user_time().num_microseconds(),
                used.system_time().num_microseconds()
            ),
            _ => writeln!(text, "peak_kib={}", used.max_rss()),
        };
        fs::write(path, text)
            .at("open", path)
            .map_err(|error| Failure::because("cannot write the profile", error))?;
    }
    Ok(())
}
