//! A registry that cuts off, stalls, floods and lies (`tests/corpus/serve-hostile.py`). A client of it ends in bounded time,
//! memory and disk, says in one sentence what was wrong, and has nothing in its store.

use crate::set::script;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use testkit::{NSPAWN, Output, Rkt, Running, corpus, needs};

/// What a fetch may take: address space, and the size of any file, in bytes.
const LIMITS: [&str; 2] = ["--as=268435456", "--fsize=4194304"];

/// Behaviours that no client can take for an image, and what is said of each.
const BAD: [(&str, &str); 14] = [
    ("truncate", "the server closed the connection"),
    ("chop", "the transfer ended after"),
    ("extend", "bytes instead of"),
    ("endless", "bytes instead of"),
    ("flip", "was asked for"),
    ("range", "was asked for"),
    ("stall", "nothing came for 20 s"),
    ("drip", "the server sends less than 8192 bytes in 20 s"),
    ("wrong-type", "which is not an image manifest"),
    ("big-manifest", "manifest is larger than 4194304 bytes"),
    ("refuse-blob", "bad HTTP status code: 404"),
    ("to-file", "neither an http nor an https URL"),
    ("to-meta", "redirect to a link-local address is not allowed"),
    ("to-loop", "stopped after 10 redirects"),
];
/// Behaviours that a client has to put up with.
const BEARABLE: [&str; 4] = ["busy", "resume", "to-host", "swap"];

struct Server {
    running: Running,
    address: String,
}

impl Server {
    #[track_caller]
    fn start(environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new("python3");
        command.arg(script("serve-hostile.py")).arg(corpus::layout("busybox")).arg("0");
        command.envs(environment.iter().copied()).stdin(Stdio::null());
        let running = Running::start(&mut command);
        let address = running.says("\n").lines().next().unwrap().to_owned();
        Self { running, address }
    }

    /// Begins to fetch an image of it.
    fn fetch(&self, rkt: &Rkt, name: &str) -> Running {
        let reference = format!("docker://{}/{name}", self.address);
        let words = ["--insecure-options=image,http", "fetch", "--full", &reference];
        let inner = rkt.command(&words);
        let mut outer = Command::new("prlimit");
        outer.args(LIMITS).arg(inner.get_program()).args(inner.get_args());
        outer.env("RKT_TEST_SANDBOX", &rkt.top).stdin(Stdio::null());
        Running::start(&mut outer)
    }
}

/// What is said beside the progress.
fn sentences(output: &Output) -> Vec<&str> {
    let progress = |line: &&str| line.is_empty() || line.starts_with("Downloading ");
    output.stderr.lines().filter(|line| !progress(line)).collect()
}

/// All files below a folder that are not empty, as locks are.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stat = path.symlink_metadata().unwrap();
        if stat.is_dir() {
            found.extend(files(&path));
        } else if !stat.is_file() || stat.len() > 0 {
            found.push(path);
        }
    }
    found
}

#[track_caller]
fn is_refused(rkt: &Rkt, output: Output, saying: &str) {
    let output = output.refuses(saying);
    let said = sentences(&output);
    assert!(said.len() == 1 && said[0].starts_with("fetch: "), "{output:#?}");
    // The number of the store's layout, which a store has that never held an image.
    assert_eq!(files(&rkt.data), [rkt.data.join("cas/format")], "{saying}");
}

#[test]
fn registries_that_misbehave_cost_little_and_leave_nothing() {
    needs!(Root);
    let server = Server::start(&[]);
    // Two of them are slow, and all together take no longer.
    let begin = |name| {
        let rkt = Rkt::new();
        let running = server.fetch(&rkt, name);
        (rkt, running)
    };
    let bad = BAD.map(|(name, saying)| (begin(name), saying));
    let bearable = BEARABLE.map(|name| (name, begin(name)));
    let (rkt, control) = begin("control");
    let wanted = control.wait().ok().stdout;
    drop(rkt);
    for (name, (rkt, running)) in bearable {
        let output = running.wait().ok();
        assert_eq!(sentences(&output), Vec::<&str>::new());
        // Of two manifests either will do, but whole.
        assert!(output.stdout == wanted || name == "swap", "{name}");
        let app = [output.text(), "--", "/bin/echo", "whole"];
        assert_eq!(rkt.pod(&NSPAWN, &app).ok().stdout, "whole\n", "{name}");
    }
    for ((rkt, running), saying) in bad {
        is_refused(&rkt, running.wait(), saying);
    }
    let trapped = server.running.says("trap /v2/to-host/blobs/");
    let told = trapped.lines().filter(|line| line.starts_with("trap "));
    assert!(told.clone().count() > 0 && told.clone().all(|line| line.ends_with(": None")));
}

#[test]
fn a_registry_that_wants_a_password_is_told_none() {
    needs!(Root);
    let server = Server::start(&[("AUTH", "1")]);
    for name in ["control", "to-host"] {
        let rkt = Rkt::new();
        let output = server.fetch(&rkt, name).wait();
        is_refused(&rkt, output, "asks for a user name and a password, which cannot be given yet");
    }
}
