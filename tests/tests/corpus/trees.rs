//! What an app sees as `/`, beside what `umoci unpack` makes of the same image.

use crate::tree::May::{BeAnything, HaveAnotherTime};
use crate::tree::{Exception, same};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use testkit::{Flavour, Rkt, corpus};

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

/// Runs a command that must succeed, for longer than anything else may take: tens of thousands of files are written, and a
/// busy disk takes minutes to do so. Gives its standard output.
#[track_caller]
fn patiently(inner: &Command) -> String {
    let mut outer = Command::new("timeout");
    outer.args(["--signal=KILL", "600"]).arg(inner.get_program()).args(inner.get_args());
    outer.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(Stdio::null());
    let output = outer.output().unwrap();
    assert!(output.status.success(), "{inner:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The tree that umoci makes of an image, in a sandbox of its own.
pub(crate) struct Unpacked {
    sandbox: Rkt,
}

impl Unpacked {
    #[track_caller]
    pub(crate) fn new(name: &str) -> Self {
        let sandbox = Rkt::new();
        // umoci obeys the mask where it makes folders that no layer lists.
        let mut command = Command::new("sh");
        command.args(["-c", "umask 022; exec umoci unpack --image \"$1\" \"$2\"", "sh"]);
        let image = format!("{}:{name}", corpus::layout(name).display());
        patiently(command.arg(image).arg(sandbox.path("bundle")));
        Self { sandbox }
    }

    fn root(&self) -> PathBuf {
        self.sandbox.path("bundle/rootfs")
    }
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
pub(crate) struct Pair<'a> {
    pub(crate) rkt: Rkt,
    pub(crate) id: String,
    theirs: &'a Unpacked,
}

impl<'a> Pair<'a> {
    /// Fetches the image into the empty store of a sandbox.
    #[track_caller]
    pub(crate) fn new(theirs: &'a Unpacked, rkt: Rkt, reference: &str) -> Self {
        let words = ["--insecure-options=image,http", "fetch", "--full", reference];
        let id = patiently(&rkt.command(&words)).trim().to_owned();
        Self { rkt, id, theirs }
    }

    /// Compares the root of an app, which is not the user of the image, with umoci's tree.
    pub(crate) fn compare(&self, flavour: &Flavour, flags: &[&str], more: &[Exception<'_>]) {
        // A shell that stays what it is: one that becomes another program may be met before, after or between.
        let app = ["/bin/sh", "-c", "echo up; sleep 1000; true"];
        let words = [flags, &[&*self.id, "--user=root", "--"], &app].concat();
        let (running, uuid) = self.rkt.start_pod(flavour, &words);
        let pid = fs::read_to_string(self.rkt.pod_folder(&uuid).join("pid")).unwrap();
        let exceptions = [&OURS, more].concat();
        let theirs = self.theirs.root();
        let names = fs::read_dir(&theirs).unwrap().count();
        assert!(names > 3, "{} is almost empty", theirs.display());
        same(&root_of(&pid, &app), &theirs, &exceptions);
        self.rkt.run(&["stop", "--force", &uuid]).ok();
        running.wait();
    }

    /// Has an app of the image read these files, whose content is umoci's.
    pub(crate) fn hash(&self, flavour: &Flavour, flags: &[&str], paths: &[&str]) {
        let words = [flags, &[&*self.id, "--", "sha256sum"], paths].concat();
        let output = self.rkt.pod(flavour, &words).ok();
        let expected: Vec<String> = paths
            .iter()
            .map(|path| {
                let content =
                    fs::read(self.theirs.root().join(path.trim_start_matches('/'))).unwrap();
                let hash = Sha256::digest(&content);
                let hex: Vec<String> = hash.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("{}  {path}", hex.concat())
            })
            .collect();
        assert_eq!(output.lines(), expected);
    }
}
