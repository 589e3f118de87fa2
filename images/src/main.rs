//! `images PROGRAMS OUT VERSION`: packs every stage1 image from the programs in one folder into another.

use stage1_abi::entry::chain;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let [programs, folder, version] = words.as_slice() else {
        return finish(&writeln!(err, "usage: images PROGRAMS OUT VERSION"), ExitCode::from(2));
    };
    for flavour in &images::FLAVOURS {
        let version = version.to_string_lossy();
        let code = match images::install(flavour, &version, Path::new(programs), Path::new(folder))
        {
            Ok(path) => finish(&writeln!(out, "{}", path.display()), ExitCode::SUCCESS),
            Err(error) => finish(&writeln!(err, "images: {}", chain(&error)), ExitCode::FAILURE),
        };
        if code != ExitCode::SUCCESS {
            return code;
        }
    }
    ExitCode::SUCCESS
}

/// Nobody reads what cannot be printed: that is a failure, too.
fn finish(printed: &io::Result<()>, code: ExitCode) -> ExitCode {
    if printed.is_ok() { code } else { ExitCode::FAILURE }
}
