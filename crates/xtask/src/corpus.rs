//! Real images for the tests, built of Debian packages. They are made once: whoever wants newer ones removes the folder.

use crate::error::TaskError;
use crate::say;
use crate::workspace::{Workspace, call};
use std::fs;
use std::process::Command;

/// Where they lie: the tests look there.
const OUT: &str = "target/corpus";
/// Those that the tests run.
const IMAGES: [&str; 8] =
    ["busybox", "debian", "python3", "nginx", "redis", "layers20", "edge", "stalewh"];

/// How much of the corpus is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// What the suite runs.
    Suite,
    /// All images.
    All,
}

impl Extent {
    /// Takes `--all-images` off the front of some arguments.
    pub(crate) fn take(words: &[String]) -> (Self, &[String]) {
        match words {
            [first, rest @ ..] if first == "--all-images" => (Self::All, rest),
            _ => (Self::Suite, words),
        }
    }

    fn images(self) -> Vec<&'static str> {
        let more: &[&str] = if self == Self::All { &["manyfiles"] } else { &[] };
        [&IMAGES, more].concat()
    }
}

/// Builds the images that are missing. The caller is root and has what the script calls.
pub(crate) fn build(workspace: &Workspace, extent: Extent) -> Result<(), TaskError> {
    // Written last: an image that it lists is complete.
    let list = fs::read_to_string(workspace.path(OUT).join("corpus.tsv")).unwrap_or_default();
    if missing(&list, extent).is_empty() {
        return Ok(());
    }
    say::title("building real images");
    let set = format!("-s{}", extent.images().join(","));
    call(
        Command::new(workspace.path("tests/corpus/make-corpus.sh"))
            .arg(set)
            .arg(workspace.path(OUT)),
    )
}

/// The images that a table does not list.
fn missing(list: &str, extent: Extent) -> Vec<&'static str> {
    let listed = |name: &str| list.lines().any(|line| line.split('\t').next() == Some(name));
    extent.images().into_iter().filter(|name| !listed(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_names_count() {
        assert_eq!(missing("", Extent::Suite), IMAGES);
        let all = IMAGES.map(|name| format!("{name}\t1\t2\tsha256:3\n")).concat();
        assert!(missing(&all, Extent::Suite).is_empty());
        assert_eq!(missing(&all, Extent::All), ["manyfiles"]);
        assert_eq!(missing(&all.replace("edge\t", "edge2\t"), Extent::Suite), ["edge"]);
    }
}
