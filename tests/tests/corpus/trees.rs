//! What an app sees as `/` is what `umoci unpack` makes of the same image.

use crate::tree::May::{BeAnything, CountMoreNames, HaveAnotherTime};
use crate::tree::{Exception, same};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use testkit::flavour::each;
use testkit::program::run;
use testkit::{FLY, Flavour, NSPAWN, Rkt, corpus, needs};

/// What differs in every pod.
const OURS: [Exception<'_>; 6] = [
    ("dev", BeAnything),
    ("proc", BeAnything),
    ("sys", BeAnything),
    // A link and a file are made in it where the image has none.
    ("etc", HaveAnotherTime),
    ("etc/mtab", BeAnything),
    ("etc/hosts", BeAnything),
];

/// The tree that umoci makes.
fn unpacked(rkt: &Rkt, name: &str) -> PathBuf {
    let bundle = rkt.path("bundle");
    // umoci obeys the mask where it makes folders that no layer lists.
    let mut command = Command::new("sh");
    command.args(["-c", "umask 022; exec umoci unpack --image \"$1\" \"$2\"", "sh"]);
    let image = format!("{}:{name}", corpus::layout(name).display());
    run(command.arg(image).arg(&bundle)).ok();
    bundle.join("rootfs")
}

/// The root of a process whose command line is this one: the process itself or what it started.
fn root_of(pid: &str, command: &[&str]) -> PathBuf {
    let wanted = format!("{}\0", command.join("\0"));
    let mut ahead = vec![pid.trim().to_owned()];
    while let Some(pid) = ahead.pop() {
        let process = Path::new("/proc").join(&pid);
        if fs::read(process.join("cmdline")).is_ok_and(|line| line == wanted.as_bytes()) {
            return process.join("root");
        }
        for task in fs::read_dir(process.join("task")).unwrap().flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap();
            ahead.extend(children.split_whitespace().map(str::to_owned));
        }
    }
    panic!("no process {command:?} below {pid}");
}

/// An image of the corpus in a store, beside the tree that umoci makes of it.
struct Pair {
    rkt: Rkt,
    id: String,
    theirs: PathBuf,
}

impl Pair {
    fn new(name: &str) -> Self {
        let rkt = Rkt::new();
        let theirs = unpacked(&rkt, name);
        let id = rkt.fetch(&corpus::image(name));
        Self { rkt, id, theirs }
    }

    /// Compares the root of an app, which is not the user of the image, with umoci's tree.
    fn compare(&self, flavour: &Flavour, flags: &[&str], more: &[Exception<'_>]) {
        let app = ["--user=root", "--", "/bin/sh", "-c", "echo up; exec sleep 1000"];
        let words = [flags, &[&*self.id], &app].concat();
        let (running, uuid) = self.rkt.start_pod(flavour, &words);
        let pid = fs::read_to_string(self.rkt.pod_folder(&uuid).join("pid")).unwrap();
        let exceptions = [&OURS, more].concat();
        same(&root_of(&pid, &["sleep", "1000"]), &self.theirs, &exceptions);
        self.rkt.run(&["stop", "--force", &uuid]).ok();
        running.wait();
    }

    /// Has an app of the image read these files, whose content is umoci's.
    fn hash(&self, flavour: &Flavour, flags: &[&str], paths: &[&str]) {
        let words = [flags, &[&*self.id, "--", "sha256sum"], paths].concat();
        let output = self.rkt.pod(flavour, &words).ok();
        let expected: Vec<String> = paths
            .iter()
            .map(|path| {
                let content = fs::read(self.theirs.join(path.trim_start_matches('/'))).unwrap();
                let hash = Sha256::digest(&content);
                let hex: Vec<String> = hash.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("{}  {path}", hex.concat())
            })
            .collect();
        assert_eq!(output.lines(), expected);
    }
}

#[test]
fn awkward_entries_are_reproduced() {
    needs!(Root);
    let pair = Pair::new("edge");
    let rkt = &pair.rkt;
    // Fly has only volumes that somebody gives.
    let volume = format!("--volume=volume-edge-sticky,kind=host,source={}", rkt.folder("sticky"));
    each(&[], |flavour| {
        let flags = [&*volume];
        let mut exceptions = vec![
            ("edge/sticky", BeAnything),
            // The working folder, which is made where an image lacks it.
            ("edge/nonexistent", BeAnything),
            ("edge", HaveAnotherTime),
            // A later layer deletes hard3: an overlay goes on counting it.
            ("edge/hard1", CountMoreNames),
            ("edge/hard2", CountMoreNames),
            ("edge/hard4", CountMoreNames),
        ];
        if flavour.name == FLY.name {
            exceptions.push(("tmp", BeAnything));
        }
        pair.compare(flavour, &flags, &exceptions);
        let name = "/edge/gr\u{fc}n-\u{6f22}\u{5b57}-\u{1f680}";
        pair.hash(flavour, &flags, &[name, "/edge/hard-across-layers", "/edge/sparse"]);
        // What the configuration says, as the user of the image.
        let script = "id -u; id -g; pwd; stat -c %u .; echo \"$EQ,${EMPTY-unset}\"";
        let words = [&flags[..], &[&*pair.id, "--", "/bin/sh", "-c", script]].concat();
        let output = rkt.pod(flavour, &words).ok();
        assert_eq!(output.stdout, "1000\n1000\n/edge/nonexistent\n1000\na=b=c,\n");
    });
}

#[test]
fn twenty_layers_show_one_tree() {
    needs!(Root);
    let pair = Pair::new("layers20");
    each(&[], |flavour| {
        let own = if flavour.name == NSPAWN.name {
            // The image's own name is not the pod's.
            ("etc/hostname", BeAnything)
        } else {
            ("tmp", BeAnything)
        };
        pair.compare(flavour, &[], &[own]);
        // Deleted, emptied and replaced by later layers: the last word of each.
        let paths = ["/corpus/last", "/corpus/l09", "/corpus/l17/id", "/usr/bin/python3.11"];
        pair.hash(flavour, &[], &paths);
    });
}
