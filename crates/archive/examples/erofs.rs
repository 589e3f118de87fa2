//! Writes the image of a tree, `erofs TREE IMAGE`, and says what it took; used to compare with other writers.

#![expect(clippy::print_stdout, reason = "a tool for people")]

use archive::erofs::{VolumeId, write};
use rustix::fs::{Mode, OFlags};
use std::error::Error;
use std::fs::File;
use std::os::fd::AsFd as _;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args_os().skip(1);
    let (Some(tree), Some(image)) = (words.next(), words.next()) else {
        return Err("erofs TREE IMAGE".into());
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let tree = rustix::fs::open(tree, flags, Mode::empty())?;
    let begin = Instant::now();
    let written = write(tree.as_fd(), File::create(image)?, VolumeId([0; 16]))?;
    println!("{} inodes, {} bytes, {:?}", written.inodes, written.bytes, begin.elapsed());
    Ok(())
}
