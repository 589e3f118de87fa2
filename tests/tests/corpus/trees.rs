//! What an app sees as `/` is what `umoci unpack` makes of the same image.

use crate::tree::May::{BeAnything, HaveAnotherTime};
use crate::tree::{Exception, same};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use testkit::flavour::each;
use testkit::program::run;
use testkit::{Flavour, Rkt, corpus, needs};

/// What rkt itself puts into a root, in every flavour.
const OURS: [Exception<'_>; 7] = [
    // umoci gives the root the time of unpacking, whatever the image says.
    ("", HaveAnotherTime),
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
    // Without the mask umoci would make folders for all that no layer lists.
    let mut command = Command::new("sh");
    command.args(["-c", "umask 022; exec umoci unpack --image \"$1\" \"$2\"", "sh"]);
    let image = format!("{}:{name}", corpus::layout(name).display());
    run(command.arg(image).arg(&bundle)).ok();
    bundle.join("rootfs")
}

/// The root of a process whose command line is this one, below a process of the pod's.
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

/// Compares what an app of an image sees with what umoci makes of it.
fn compare(name: &str, flavours: impl Fn(&Flavour) -> Vec<Exception<'static>>) {
    let rkt = Rkt::new();
    let theirs = unpacked(&rkt, name);
    let id = rkt.fetch(&corpus::image(name));
    each(&[], |flavour| {
        let words = [&*id, "--user=root", "--exec=/bin/sh", "--", "-c", "echo up; exec sleep 1000"];
        let (running, uuid) = rkt.start_pod(flavour, &words);
        let pid = fs::read_to_string(rkt.pod_folder(&uuid).join("pid")).unwrap();
        same(&root_of(&pid, &["sleep", "1000"]), &theirs, &flavours(flavour));
        rkt.run(&["stop", "--force", &uuid]).ok();
        running.wait();
    });
}

#[test]
fn awkward_entries_are_reproduced() {
    needs!(Root);
    compare("edge", |flavour| {
        let mut all = OURS.to_vec();
        // A volume of the image's, and its working folder, which is made in a folder.
        all.extend([
            ("edge", HaveAnotherTime),
            ("edge/sticky", BeAnything),
            ("edge/nonexistent", BeAnything),
        ]);
        if flavour.name == "fly" {
            all.push(("tmp", BeAnything));
        }
        all
    });
}

#[test]
fn twenty_layers_show_one_tree() {
    needs!(Root);
    compare("layers20", |flavour| {
        let mut all = OURS.to_vec();
        if flavour.name == "fly" {
            all.push(("tmp", BeAnything));
        }
        all
    });
}
