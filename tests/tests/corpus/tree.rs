//! Two trees side by side: names, kinds, modes, owners, times, devices, sizes, attributes, links, contents.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// What may differ at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum May {
    /// Its time alone.
    HaveAnotherTime,
    /// The number of its names alone, beside those in the tree.
    CountMoreNames,
    /// It, and all below it: one of the trees may even lack it.
    BeAnything,
}

/// A path whose difference has a reason.
pub(crate) type Exception<'a> = (&'a str, May);

/// What is compared of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    /// Kind, mode, owner, device, size, attributes, target of a link, the first of the names that share the file.
    what: String,
    /// How many names the file says that it has.
    names: u64,
    time: (i64, i64),
    is_file: bool,
}

/// The tree below a folder. Folders that may be anything are not read: they may be mounts of the kernel's.
fn read(root: &Path, exceptions: &[Exception<'_>]) -> BTreeMap<PathBuf, Entry> {
    let mut all = BTreeMap::new();
    let mut first: HashMap<(u64, u64), PathBuf> = HashMap::new();
    let mut ahead = vec![PathBuf::new()];
    while let Some(path) = ahead.pop() {
        let real = root.join(&path);
        let stat = real.symlink_metadata().unwrap();
        if stat.is_dir() && !is_free(&path, exceptions) {
            let names = fs::read_dir(&real).unwrap().map(|entry| entry.unwrap().file_name());
            let mut paths: Vec<PathBuf> = names.map(|name| path.join(name)).collect();
            // The last one is taken first: of several names of a file the smallest is met first.
            paths.sort_by(|one, other| other.cmp(one));
            ahead.extend(paths);
        }
        all.insert(path.clone(), entry(&real, &path, &stat, &mut first));
    }
    all
}

fn entry(
    real: &Path,
    path: &Path,
    stat: &fs::Metadata,
    first: &mut HashMap<(u64, u64), PathBuf>,
) -> Entry {
    let mut more = String::new();
    if stat.is_symlink() {
        more = format!(" -> {}", shown(&fs::read_link(real).unwrap()));
    }
    if !stat.is_dir() && stat.nlink() > 1 {
        let name = first.entry((stat.dev(), stat.ino())).or_insert_with(|| path.to_owned());
        more = format!("{more} is {}", shown(name));
    }
    let size = if stat.is_dir() { 0 } else { stat.size() };
    let (mode, owner, device) = (stat.mode(), (stat.uid(), stat.gid()), stat.rdev());
    let what = format!("{mode:o} {owner:?} {device:x} {size} {:?}{more}", attributes(real));
    let names = if stat.is_dir() { 1 } else { stat.nlink() };
    // Nobody ever sees the time of an overlay's mark for what is gone.
    let marks = stat.file_type().is_char_device() && device == 0;
    let time = if marks { (0, 0) } else { (stat.mtime(), stat.mtime_nsec()) };
    Entry { what, names, time, is_file: stat.is_file() }
}

fn shown(path: &Path) -> String {
    path.as_os_str().as_bytes().escape_ascii().to_string()
}

fn attributes(path: &Path) -> BTreeMap<String, String> {
    let (mut names, mut value) = (vec![0_u8; 4096], vec![0_u8; 4096]);
    let size = rustix::fs::llistxattr(path, &mut names).unwrap();
    let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
    let names = names[..size].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let size = rustix::fs::lgetxattr(path, OsStr::from_bytes(name), &mut value).unwrap();
            (text(name), text(&value[..size]))
        })
        .collect()
}

/// The path that makes anything of this one allowed.
fn free<'a>(path: &Path, exceptions: &[Exception<'a>]) -> Option<&'a str> {
    let above =
        |(prefix, may): &&Exception<'a>| *may == May::BeAnything && path.starts_with(prefix);
    exceptions.iter().find(above).map(|(prefix, _)| *prefix)
}

fn is_free(path: &Path, exceptions: &[Exception<'_>]) -> bool {
    free(path, exceptions).is_some()
}

/// Insists that two trees are the same but for these paths, and that each of these does differ.
#[track_caller]
pub(crate) fn same(ours: &Path, theirs: &Path, exceptions: &[Exception<'_>]) {
    let (mine, other) = (read(ours, exceptions), read(theirs, exceptions));
    assert!(!other.is_empty());
    let mut wrong = Vec::new();
    let mut used = BTreeSet::new();
    let paths: BTreeSet<&PathBuf> = mine.keys().chain(other.keys()).collect();
    for path in paths {
        if let Some(prefix) = free(path, exceptions) {
            if mine.get(path) != other.get(path) {
                used.insert(prefix);
            }
            continue;
        }
        let name = shown(path);
        let (Some(one), Some(two)) = (mine.get(path), other.get(path)) else {
            wrong.push(format!("{name}: {:?} beside {:?}", mine.get(path), other.get(path)));
            continue;
        };
        if one.what != two.what {
            wrong.push(format!("{name}: {} beside {}", one.what, two.what));
        }
        let (times, names) = ((one.time, two.time), (one.names, two.names));
        for (differs, may, text) in [
            (times.0 != times.1, May::HaveAnotherTime, format!("time {times:?}")),
            (names.0 > names.1, May::CountMoreNames, format!("names {names:?}")),
            (names.0 < names.1, May::BeAnything, format!("names {names:?}")),
        ] {
            let allowed =
                exceptions.iter().find(|(at, what)| path == Path::new(at) && *what == may);
            match allowed {
                _ if !differs => {}
                Some((at, _)) => drop(used.insert(at)),
                None => wrong.push(format!("{name}: {text}")),
            }
        }
        if one.is_file && two.is_file && !equal(&ours.join(path), &theirs.join(path)) {
            wrong.push(format!("{name}: other content"));
        }
    }
    let list = wrong.iter().take(50).map(String::as_str).collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "{} differences:\n{list}", wrong.len());
    let needless: Vec<_> = exceptions.iter().filter(|(name, _)| !used.contains(name)).collect();
    assert!(needless.is_empty(), "no difference at {needless:?}");
}

fn equal(one: &Path, two: &Path) -> bool {
    let mut readers =
        [one, two].map(|path| BufReader::with_capacity(1 << 17, File::open(path).unwrap()));
    loop {
        let [first, second] = &mut readers;
        let (a, b) = (first.fill_buf().unwrap(), second.fill_buf().unwrap());
        let count = a.len().min(b.len());
        if a[..count] != b[..count] || (count == 0 && a.len() != b.len()) {
            return false;
        }
        if count == 0 {
            return true;
        }
        first.consume(count);
        second.consume(count);
    }
}
