//! Unpacks layers (lowest first, packed or not) into OUT/0, OUT/1 … and the tree they make together into OUT/flat:
//! `flatten OUT LAYER...`. Prints the digest of each layer; used to compare with other unpackers.

#![expect(clippy::print_stdout, reason = "a tool for people")]

use archive::stream::{Sha256Reader, decoder, sniff};
use archive::{Limits, layer, merge::Merged, needs};
use rustix::fs::{CWD, Mode, OFlags, openat};
use std::error::Error;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

fn folder(path: &Path) -> Result<OwnedFd, Box<dyn Error>> {
    std::fs::create_dir(path)?;
    Ok(openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args_os().skip(1);
    let out = words.next().ok_or("flatten OUT LAYER...")?;
    let out = Path::new(&out);
    std::fs::create_dir(out)?;
    let limits = Limits::default();
    let mut lowers: Vec<OwnedFd> = Vec::new();
    let again =
        |lowers: &[OwnedFd]| lowers.iter().map(OwnedFd::try_clone).collect::<Result<Vec<_>, _>>();
    for (index, name) in words.enumerate() {
        let into = folder(&out.join(index.to_string()))?;
        let (kind, stream) = sniff(Sha256Reader::new(File::open(&name)?))?;
        let mut tar = Sha256Reader::new(decoder(kind, stream, &limits)?);
        let unpacked = layer::unpack(&mut tar, into.as_fd(), &limits)?;
        let mut digest = unpacked.digest;
        if !unpacked.needs.is_empty() {
            let facts = unpacked.needs.facts(again(&lowers)?)?;
            digest = needs::settle(into.as_fd(), &facts, again(&lowers)?, &unpacked.contents)?;
        }
        println!(
            "{index} {digest} {} bytes {} entries {:?}",
            unpacked.bytes, unpacked.entries, unpacked.notes
        );
        lowers.push(into);
    }
    let flat = folder(&out.join("flat"))?;
    Merged::new(lowers).copy_to(flat.as_fd())?;
    println!("{}", archive::tree::digest(flat.as_fd())?);
    Ok(())
}
