//! Where the library's log records go: stderr, warnings always, the rest with `--debug`.

use log::{Level, LevelFilter, Log, Metadata, Record};

use super::print;

/// Records of these are ours; what dependencies log is not for users.
const OURS: &[&str] = &[
    "appc",
    "archive",
    "image",
    "networking",
    "oci",
    "pubkey",
    "rkt",
    "stage0",
    "stage1",
    "stage1_abi",
    "sys",
];

struct ToStderr;

impl Log for ToStderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let root = metadata.target().split("::").next().unwrap_or_default();
        metadata.level() <= log::max_level() && OURS.contains(&root)
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            // A record is one line, whatever a server or an image put into it.
            let text = record.args().to_string();
            let text = print::safe_line(&text);
            if record.level() == Level::Warn && !text.starts_with("warning") {
                print::note(part(record.target()), &format!("warning: {text}"));
            } else {
                print::note(part(record.target()), &text);
            }
        }
    }

    fn flush(&self) {}
}

/// The part of rkt in whose name a record speaks: its target, or what the module it comes from is about.
fn part(target: &str) -> &str {
    let mut path = target.split("::");
    match (path.next(), path.next()) {
        (Some("stage0"), Some("fetch" | "store" | "render")) | (Some("archive" | "oci"), _) => {
            "image"
        }
        (Some("appc" | "rkt" | "stage1_abi" | "sys") | None, _) => "stage0",
        (Some(own), _) => own,
    }
}

/// Starts passing records on.
pub(super) fn start(debug: bool) {
    // A second start, in tests, changes only the level.
    _ = log::set_logger(&ToStderr);
    log::set_max_level(if debug { LevelFilter::Debug } else { LevelFilter::Warn });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speaks_in_the_name_of_a_part() {
        for (target, name) in [
            ("image", "image"),
            ("networking", "networking"),
            ("stage0::fetch::registry", "image"),
            ("stage0::store", "image"),
            ("stage0::prepare", "stage0"),
            ("stage0", "stage0"),
            ("archive::layer", "image"),
            ("sys::mount", "stage0"),
        ] {
            assert_eq!(part(target), name);
        }
    }

    #[test]
    fn leaves_out_what_is_not_ours() {
        start(true);
        for (target, shown) in
            [("stage0::pod", true), ("image", true), ("rustls::conn", false), ("ureq", false)]
        {
            let metadata = Metadata::builder().level(Level::Debug).target(target).build();
            assert_eq!(ToStderr.enabled(&metadata), shown, "{target}");
        }
    }
}
