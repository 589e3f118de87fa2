//! A file that a command writes for its user: whole, or not there.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use sys::path::{At as _, PathError};

/// A file being written. What is dropped before it is finished is deleted.
#[derive(Debug)]
pub(crate) struct Output<'a> {
    place: &'a Path,
    written: PathBuf,
    finished: bool,
}

impl<'a> Output<'a> {
    /// Creates it: at its place, or beside a file that it shall replace. One that may not be replaced is an error.
    pub(crate) fn create(place: &'a Path, overwrite: bool) -> Result<(Self, File), PathError> {
        let written = if overwrite && place.exists() {
            let mut name = OsString::from(".");
            name.push(place.file_name().unwrap_or_default());
            name.push(format!(".{}", std::process::id()));
            place.with_file_name(name)
        } else {
            place.to_owned()
        };
        let file = File::create_new(&written).at("open", &written)?;
        Ok((Self { place, written, finished: false }, file))
    }

    /// Gives it its place.
    pub(crate) fn finish(mut self) -> Result<(), PathError> {
        if self.written != self.place {
            fs::rename(&self.written, self.place).at("rename", self.place)?;
        }
        self.finished = true;
        Ok(())
    }
}

impl Drop for Output<'_> {
    fn drop(&mut self) {
        if !self.finished {
            // What made it fail is what matters.
            drop(fs::remove_file(&self.written));
        }
    }
}
