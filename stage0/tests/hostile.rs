//! Archives and images that try to hurt whoever unpacks them (`tests/corpus/make-hostile.py`): each is tried in throw-away
//! namespaces (`tests/corpus/try-hostile.sh`), where it has to come out as its table says, within 20 seconds of work, 1 GiB of
//! disk and 160 MiB of memory, without a trace outside the store.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may, in its helping functions too")]

use archive::merge::Merged;
use rustix::fs::{Mode, OFlags};
use stage0::fetch::{Fetcher, PullPolicy, Quiet};
use stage0::image_ref::ImageRef;
use stage0::insecure::Insecure;
use stage0::render::{Content, Extent, extract, ready};
use stage0::store::Store;
use std::error::Error;
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the child below is told to do.
const STEP: &str = "RKT_TEST_HOSTILE";
/// As much memory may the worst case take: a decoder's window of 128 MiB, and the rest.
const MEMORY_KIB: u64 = 160 << 10;

#[test]
fn hostile_images_are_survived() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/corpus");
    let set = Set::make(&corpus);
    // Where each case is tried, the set is all that is seen of the folders below /tmp.
    std::fs::copy(std::env::current_exe().unwrap(), set.0.join("tool")).unwrap();
    let steps = [("layer", 59), ("image", 96), ("aci", 17)];
    for (step, least) in steps {
        // Of the processor's time; the clock's depends on what else runs here.
        let child =
            "ulimit -t 20; exec /mnt/set/tool --exact child --ignored --nocapture --test-threads=1";
        let output = Command::new("bash")
            .arg(corpus.join("try-hostile.sh"))
            .arg(&set.0)
            .args([step, child])
            .env(STEP, step)
            .env("TIME", "200")
            .env("MEM", "1200000")
            .env("RUST_BACKTRACE", "0")
            .output()
            .unwrap();
        let lines = String::from_utf8_lossy(&output.stdout);
        let bad: Vec<&str> = lines.lines().filter(|line| !line.starts_with("ok ")).collect();
        assert!(bad.is_empty() && output.status.success(), "{step}:\n{}", bad.join("\n"));
        assert!(lines.lines().count() >= least, "{step}: {} cases", lines.lines().count());
    }
}

/// The set, made for this test.
struct Set(PathBuf);

impl Set {
    fn make(corpus: &Path) -> Self {
        let folder = format!("hostile-{}", std::process::id());
        let set = Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder));
        let made = Command::new("python3").arg(corpus.join("make-hostile.py")).arg(&set.0).status();
        assert!(made.unwrap().success());
        set
    }
}

impl Drop for Set {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

type Outcome = Result<(), Box<dyn Error>>;

#[test]
#[ignore = "the child of the test above, which starts it"]
#[expect(clippy::exit, reason = "its status is its answer, and a failed test's is another")]
fn child() {
    let outcome = match std::env::var(STEP).as_deref() {
        Ok("layer") => layers(),
        Ok("image") => image(&format!("oci:{}:hostile", variable("IMAGE"))),
        Ok("aci") => image(&variable("ACI")),
        other => panic!("{other:?}"),
    };
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < MEMORY_KIB, "{peak} KiB");
    let Err(error) = outcome else { std::process::exit(0) };
    let mut cause: Option<&dyn Error> = Some(&*error);
    while let Some(error) = cause {
        println!("{error}");
        cause = error.source();
    }
    std::process::exit(1)
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap()
}

fn folder(path: &str) -> OwnedFd {
    std::fs::create_dir(path).unwrap();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).unwrap()
}

/// The unpacker alone, on tars without a digest.
fn layers() -> Outcome {
    let limits = archive::Limits::default();
    let root = variable("ROOT");
    std::fs::create_dir(&root).unwrap();
    let mut lowers: Vec<OwnedFd> = Vec::new();
    let again = |lowers: &[OwnedFd]| {
        lowers.iter().map(|lower| lower.try_clone().unwrap()).collect::<Vec<_>>()
    };
    for (number, tar) in variable("LAYERS").split_whitespace().enumerate() {
        let into = folder(&format!("{root}/{number}"));
        let unpacked = archive::layer::unpack(&mut File::open(tar)?, into.as_fd(), &limits)?;
        let mut digest = unpacked.digest;
        if !unpacked.needs.is_empty() {
            let facts = unpacked.needs.facts(again(&lowers))?;
            let (into, below) = (into.as_fd(), again(&lowers));
            digest = archive::needs::settle(into, &facts, below, &unpacked.contents)?;
        }
        // What was counted while it was made is what is there.
        assert_eq!(archive::tree::digest(into.as_fd()).unwrap(), digest);
        lowers.push(into);
    }
    let flat = format!("{root}/flat");
    Merged::new(lowers).copy_to(folder(&flat).as_fd())?;
    holds(Path::new(&flat));
    // It can be removed again, however deep it is.
    archive::remove::tree(folder("/tmp/other").as_fd(), "nothing")?;
    let tmp = rustix::fs::open("/tmp", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    archive::remove::tree(tmp.as_fd(), root.strip_prefix("/tmp/").unwrap())?;
    assert!(!Path::new(&root).exists());
    Ok(())
}

/// The whole way into the store and out of it.
fn image(reference: &str) -> Outcome {
    let root = variable("ROOT");
    let store = Store::open(Path::new(&root)).unwrap();
    let rules = Insecure::parse("image").unwrap();
    let fetcher = Fetcher::new(&store, rules, PullPolicy::New, &Quiet);
    let fetched = fetcher.fetch(&ImageRef::parse(reference).unwrap(), None);
    let left: Vec<String> = ["image", "blob", "layer", "tree", "ready", "digest", "tmp", "staging"]
        .iter()
        .flat_map(|name| std::fs::read_dir(format!("{root}/cas/{name}")).unwrap())
        .map(|entry| entry.unwrap().path().display().to_string())
        .collect();
    let id = match fetched {
        Ok(id) => id,
        Err(error) => {
            assert!(left.is_empty(), "{left:?} after {error}");
            return Err(error.into());
        }
    };
    for entry in ["", "cas", "cas/layer", "cas/tree", "cas/staging"] {
        let mode = Path::new(&root).join(entry).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o007, 0, "{entry} is open to everybody");
    }
    let lock = store.prepare_lock(sys::lock::Mode::Shared).unwrap();
    for layer in ready(&store, &id)?.layers {
        walk(&layer, true);
    }
    drop(lock);
    let flat = "/tmp/flat";
    extract(&store, &id, Extent::Alone, folder(flat).as_fd(), Content::Rootfs)?;
    holds(Path::new(flat));
    Ok(())
}

/// What has to hold of every tree, and of the one of this case.
fn holds(root: &Path) {
    walk(root, false);
    let is_file = |path: &str, text: &str| {
        let stat = root.join(path).symlink_metadata().unwrap();
        assert!(stat.is_file(), "{path}");
        assert_eq!(std::fs::read_to_string(root.join(path)).unwrap(), text, "{path}");
    };
    let is_folder =
        |path: &str| assert!(root.join(path).symlink_metadata().unwrap().is_dir(), "{path}");
    let target = |path: &str| std::fs::read_link(root.join(path)).unwrap();
    match variable("NAME").as_str() {
        "control-usrmerge" => {
            is_file("usr/lib/x", "x");
            is_file("run/y", "y");
            assert_eq!(target("lib"), Path::new("usr/lib"));
            assert_eq!(target("var/run"), Path::new("/run"));
        }
        "control-whiteout-order" => {
            is_file("a/new", "2");
            is_file("a/b", "2");
            is_file("c", "2");
            assert!(!root.join("a/old").exists());
        }
        "control-gzip-members"
        | "control-zstd-frames"
        | "control-same-layer-twice"
        | "control-pax-global"
        | "dot-root" => is_file("etc/hello", "hello\n"),
        "file-as-parent" => is_folder("a"),
        "dup-entries" => is_folder("d"),
        "symlink-file-overwrite" => is_file("f", "x"),
        "whiteout-device-overlay" => drop(root.join("etc/hello").symlink_metadata().unwrap()),
        "suid-world-writable-parent" => {
            let mode = root.join("s").metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o6777);
        }
        "uid-negative" | "uid-32-wrap" | "uid-huge" => panic!("was taken"),
        _ => {}
    }
}

/// Looks at all there is: no attribute steers the kernel, and in what is shown nothing is a whiteout.
fn walk(root: &Path, overlay: bool) {
    let mut todo = vec![root.to_owned()];
    let mut names = vec![0_u8; 1 << 16];
    while let Some(path) = todo.pop() {
        // Deeper than a path can be long.
        if path.as_os_str().len() > 4000 {
            continue;
        }
        let stat = path.symlink_metadata().unwrap();
        assert!(stat.uid() < u32::MAX && stat.gid() < u32::MAX, "{}", path.display());
        let device = stat.mode() & 0o17_0000 == 0o02_0000;
        assert!(overlay || !device || stat.rdev() != 0, "{} is a whiteout", path.display());
        let size = rustix::fs::llistxattr(&path, &mut names).unwrap();
        for name in names[..size].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            let ours = overlay && name == b"trusted.overlay.opaque";
            let user = name.starts_with(b"user.") && !name.starts_with(b"user.overlay.");
            let kept = ours || user || name == b"security.capability";
            assert!(kept, "{}: {}", path.display(), name.escape_ascii());
        }
        if stat.is_dir() {
            todo.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
}
