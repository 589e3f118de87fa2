//! One data folder with nothing of the host's configuration, and the program that works in it.

use crate::flavour::Flavour;
use crate::image::Image;
use crate::leaks;
use crate::net::Host;
use crate::program::{Output, Running, run};
use crate::wait;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// The folders of pods, by phase.
pub const PHASES: [&str; 6] = ["embryo", "prepare", "prepared", "run", "exited-garbage", "garbage"];

/// A sandbox. Dropped, it ends its pods, collects them, removes itself and insists that nothing is left.
#[derive(Debug)]
pub struct Rkt {
    /// The folder that holds everything of this sandbox.
    pub top: PathBuf,
    /// The data folder.
    pub data: PathBuf,
    /// The words after `nsenter` that lead to the host its programs run on, if that is not this one.
    way_in: Vec<String>,
    seen: RefCell<BTreeSet<String>>,
}

/// A file that `cargo xtask dist` made: `rkt` or a stage1. Where the checkout cannot be seen, `RKT_TEST_DIST` names the
/// folder.
pub fn dist(name: &str) -> PathBuf {
    let usual = || Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("target/dist");
    let folder = std::env::var_os("RKT_TEST_DIST").map_or_else(usual, PathBuf::from);
    let path = folder.join(name);
    assert!(path.exists(), "{} is missing: run `cargo xtask dist`", path.display());
    path
}

impl Default for Rkt {
    fn default() -> Self {
        Self::new()
    }
}

impl Rkt {
    /// A new sandbox with an empty data folder.
    pub fn new() -> Self {
        Self::named("data")
    }

    /// The same, with this name for the data folder.
    pub fn named(data: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let top = std::env::temp_dir().join(format!("rkt-test-{}-{count}", std::process::id()));
        fs::create_dir(&top).unwrap();
        for folder in ["system", "local", "user", "files"] {
            fs::create_dir(top.join(folder)).unwrap();
        }
        let data = top.join(data);
        Self { top, data, way_in: Vec::new(), seen: RefCell::default() }
    }

    /// A new sandbox whose programs run on a host of the test's own.
    pub fn on(host: &Host) -> Self {
        let mut rkt = Self::new();
        rkt.way_in = host.way_in().to_vec();
        rkt
    }

    /// A file of the test's own in this sandbox.
    pub fn path(&self, name: &str) -> PathBuf {
        self.top.join("files").join(name)
    }

    /// The same as a word of a command line.
    pub fn word(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Writes a file of the test's own, and gives its path as a word.
    pub fn file(&self, name: &str, content: &str) -> String {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self.word(name)
    }

    /// Makes a folder of the test's own, and gives its path as a word.
    pub fn folder(&self, name: &str) -> String {
        fs::create_dir_all(self.path(name)).unwrap();
        self.word(name)
    }

    /// Writes a configuration file: `layer` is system, local or user.
    pub fn configure(&self, layer: &str, file: &str, content: &serde_json::Value) {
        let path = self.top.join(layer).join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content.to_string()).unwrap();
    }

    /// Writes an image, and gives its path as a word.
    pub fn image(&self, image: &Image) -> String {
        let name = image.name.rsplit('/').next().unwrap();
        let path = self.path(&format!("{name}.aci"));
        image.write(&path);
        path.to_str().unwrap().to_owned()
    }

    /// The image that most tests need: its arguments are a shell script.
    pub fn shell(&self) -> String {
        let path = self.path("shell.aci");
        if path.exists() { self.word("shell.aci") } else { self.image(&Image::shell("shell")) }
    }

    /// The program with the sandbox's configuration folders, without `--dir`.
    pub fn configured(&self) -> Command {
        let mut command = self.program(dist("rkt"));
        for layer in ["system", "local", "user"] {
            command.arg(format!("--{layer}-config={}", self.top.join(layer).display()));
        }
        command
    }

    /// Another program with the environment and the working folder of this sandbox.
    pub fn program(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = if self.way_in.is_empty() {
            Command::new(program)
        } else {
            let mut command = Command::new("nsenter");
            command.args(&self.way_in).arg(format!("--wd={}", self.top.display()));
            command.arg("--").arg(program);
            command
        };
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("RKT_TEST_SANDBOX", &self.top);
        command.stdin(Stdio::null()).current_dir(&self.top);
        command
    }

    /// The program in this sandbox with these words.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = self.configured();
        command.arg(format!("--dir={}", self.data.display())).args(words);
        command
    }

    /// Runs it to its end.
    #[track_caller]
    pub fn run(&self, words: &[&str]) -> Output {
        self.finish(&mut self.command(words))
    }

    /// Runs a command that works in this sandbox to its end.
    #[track_caller]
    pub fn finish(&self, command: &mut Command) -> Output {
        self.note();
        let output = run(command);
        self.note();
        output
    }

    /// Starts it.
    pub fn start(&self, words: &[&str]) -> Running {
        Running::start(&mut self.command(words))
    }

    /// The words of `run` in a flavour, images unsigned, without a network.
    pub fn run_words<'a>(flavour: &Flavour, words: &[&'a str]) -> Vec<&'a str> {
        let mut all = vec!["--insecure-options=image", "run"];
        all.extend(flavour.select);
        all.extend(flavour.net);
        all.extend(words);
        all
    }

    /// `rkt run` in a flavour, to its end.
    #[track_caller]
    pub fn pod(&self, flavour: &Flavour, words: &[&str]) -> Output {
        self.run(&Self::run_words(flavour, words))
    }

    /// Runs one script in a pod of the shell image.
    #[track_caller]
    pub fn script(&self, flavour: &Flavour, script: &str) -> Output {
        self.pod(flavour, &[&self.shell(), "--", script])
    }

    /// Starts a pod, and waits until one of its apps says `up`.
    #[track_caller]
    pub fn start_pod(&self, flavour: &Flavour, words: &[&str]) -> (Running, String) {
        let file = self.word(&format!("uuid-{}", self.pods().len()));
        let save = format!("--uuid-file-save={file}");
        let mut all = vec![save.as_str()];
        all.extend(words);
        let running = self.start(&Self::run_words(flavour, &all));
        running.says("up");
        self.note();
        let uuid = fs::read_to_string(file).unwrap();
        // An app may be up before this is written, and until then there is nothing to enter or to show.
        wait::file(&self.pod_folder(&uuid).join("pid"));
        (running, uuid)
    }

    /// A pod of the shell image that says `up` and stays until it is told to go.
    #[track_caller]
    pub fn sleeper(&self, flavour: &Flavour) -> (Running, String) {
        self.start_pod(flavour, &[&self.shell(), "--", "echo up; exec sleep 1000"])
    }

    /// Prepares a pod of these images and flags, and gives its UUID.
    #[track_caller]
    pub fn prepare(&self, flavour: &Flavour, words: &[&str]) -> String {
        let mut all = vec!["--insecure-options=image", "prepare", "--quiet"];
        all.extend(flavour.select);
        all.extend(words);
        let output = self.run(&all).ok();
        assert_eq!(output.lines().len(), 1, "{output:#?}");
        output.text().to_owned()
    }

    /// `rkt run-prepared`, without a network.
    #[track_caller]
    pub fn run_prepared(&self, flavour: &Flavour, words: &[&str]) -> Output {
        let mut all = vec!["run-prepared"];
        all.extend(flavour.net);
        all.extend(words);
        self.run(&all)
    }

    /// Fetches an unsigned image, and gives its whole id.
    #[track_caller]
    pub fn fetch(&self, image: &str) -> String {
        let words = ["--insecure-options=image", "fetch", "--full", image];
        self.run(&words).ok().text().to_owned()
    }

    /// All pods on disk: phase and UUID.
    pub fn pods(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        for phase in PHASES {
            let entries = fs::read_dir(self.data.join("pods").join(phase)).into_iter().flatten();
            found.extend(
                entries
                    .flatten()
                    .map(|entry| (phase, entry.file_name().to_string_lossy().into_owned())),
            );
        }
        found
    }

    /// The only pod on disk.
    #[track_caller]
    pub fn only_pod(&self) -> String {
        let pods = self.pods();
        assert_eq!(pods.len(), 1, "{pods:?}");
        pods[0].1.clone()
    }

    /// The folder of a pod in whatever phase it is.
    #[track_caller]
    pub fn pod_folder(&self, uuid: &str) -> PathBuf {
        let phase = self.pods().into_iter().find(|(_, other)| other == uuid);
        let (phase, _) = phase.unwrap_or_else(|| panic!("no pod {uuid} on disk"));
        self.data.join("pods").join(phase).join(uuid)
    }

    /// The pod as `status --format=json` shows it.
    #[track_caller]
    pub fn status(&self, uuid: &str) -> serde_json::Value {
        self.run(&["status", "--format=json", uuid]).ok().json()
    }

    /// Asks for a pod's status again and again until `test` likes it.
    #[track_caller]
    pub fn status_until(&self, uuid: &str, test: impl Fn(&serde_json::Value) -> bool) {
        let end = Instant::now() + wait::deadline();
        loop {
            let status = self.status(uuid);
            if test(&status) {
                return;
            }
            assert!(Instant::now() < end, "the pod stays {status}");
        }
    }

    /// Collects everything that does not run, at once.
    #[track_caller]
    pub fn collect(&self) -> Output {
        let collect = ["gc", "--grace-period=0s", "--expire-prepared=0s"];
        self.run(&collect).ok();
        self.run(&collect).ok()
    }

    /// Insists that nothing of pods that ever were here is left outside the data folder, and no pod in it.
    #[track_caller]
    pub fn is_clean(&self) {
        assert_eq!(self.pods(), []);
        assert_eq!(self.leaks(), Vec::<String>::new());
    }

    fn leaks(&self) -> Vec<String> {
        let seen: Vec<String> = self.seen.borrow().iter().cloned().collect();
        leaks::of(&self.top, &seen)
    }

    /// Remembers the pods there are, for the search of what they leave.
    pub fn note(&self) {
        self.seen.borrow_mut().extend(self.pods().into_iter().map(|(_, uuid)| uuid));
    }

    fn end_pods(&self) {
        for (phase, uuid) in self.pods() {
            let folder = self.data.join("pods").join(phase).join(&uuid);
            if phase == "run" && wait::is_locked(&folder) {
                self.attempt(&["stop", "--force", &uuid]);
                if wait::is_locked(&folder) {
                    self.kill_all();
                }
            }
        }
    }

    /// Runs it for half a minute at most, whatever comes of it.
    fn attempt(&self, words: &[&str]) {
        let inner = self.command(words);
        let mut outer = Command::new("timeout");
        outer.args(["-s", "KILL", "30"]).arg(inner.get_program()).args(inner.get_args());
        drop(outer.env("RKT_TEST_SANDBOX", &self.top).output());
    }

    /// Ends every process that belongs here, however it came to.
    fn kill_all(&self) {
        for pid in leaks::processes_of(&self.top) {
            let process = wait::pidfd(pid);
            drop(sys::process::kill(rustix::process::Pid::from_raw(pid).unwrap(), 9));
            if let Some(process) = process {
                wait::readable(process.as_fd(), Instant::now() + wait::deadline());
            }
        }
    }
}

impl Drop for Rkt {
    fn drop(&mut self) {
        self.note();
        if self.data.join("pods").exists() {
            self.end_pods();
            for _ in 0..2 {
                self.attempt(&["gc", "--grace-period=0s", "--expire-prepared=0s"]);
            }
        }
        let pods: Vec<_> = self.pods().into_iter().filter(|(_, name)| name.len() == 36).collect();
        let mut left = self.leaks();
        left.extend(pods.into_iter().map(|(phase, uuid)| format!("pod {uuid} in {phase}")));
        self.kill_all();
        for point in leaks::mounts_below(&self.top).iter().rev() {
            let _ = rustix::mount::unmount(point.as_str(), rustix::mount::UnmountFlags::DETACH);
        }
        let removed = fs::remove_dir_all(&self.top);
        if std::thread::panicking() {
            println!("left behind: {left:#?}");
        } else {
            assert_eq!(left, Vec::<String>::new(), "left behind");
            removed.unwrap();
        }
    }
}
