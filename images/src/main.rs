//! `images PROGRAMS OUT VERSION FLAVOUR[=KERNEL]…`: packs stage1 images of the programs in one folder into another. What
//! stands behind a flavour is the folder of its guest's kernel.

use images::{FLAVOURS, Sources};
use stage1_abi::entry::chain;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let [programs, folder, version, flavours @ ..] = words.as_slice() else {
        let usage = "usage: images PROGRAMS OUT VERSION FLAVOUR[=KERNEL]...";
        return finish(&writeln!(err, "{usage}"), ExitCode::from(2));
    };
    for word in flavours {
        let (name, kernel) =
            word.split_once('=').map_or((&**word, None), |(name, kernel)| (name, Some(kernel)));
        let Some(flavour) = FLAVOURS.iter().find(|flavour| flavour.name == name) else {
            return finish(&writeln!(err, "images: no flavour {name:?}"), ExitCode::from(2));
        };
        let sources = Sources { programs: Path::new(programs), kernel: kernel.map(Path::new) };
        let code = match images::install(flavour, version, &sources, Path::new(folder)) {
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
