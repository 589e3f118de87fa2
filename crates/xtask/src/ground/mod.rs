//! A folder of its own for each measurement: a data folder, a small root and an image of it, and all of it gone
//! afterwards, however the measurement ended.

pub(crate) mod host;
pub(crate) mod leaks;

use crate::error::{At, TaskError};
use crate::say;
use crate::setup::present;
use crate::workspace::{Workspace, call};
use nix::mount::{MntFlags, umount2};
use nix::unistd::Uid;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

/// Marks the processes that belong to a ground; its value is the ground's folder.
pub(crate) const MARK: &str = "RKT_GROUND";
/// Collects every pod that does not run.
pub(crate) const COLLECT: [&str; 3] = ["gc", "--grace-period=0s", "--expire-prepared=0s"];
/// The two stage1 images, by the name of their flavour.
pub(crate) const FLAVOURS: [&str; 2] = ["nspawn", "fly"];
/// The one that takes a KVM, which is there if it was built.
pub(crate) const MACHINE: &str = "kvm";

const APPLETS: [&str; 4] = ["true", "sh", "sleep", "echo"];

/// What a command printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: ExitStatus,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// A place to measure in. Dropped, it ends its pods, undoes its mounts and removes itself.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) top: PathBuf,
    rkt: PathBuf,
    dist: PathBuf,
    ended: bool,
}

impl Ground {
    /// Makes one below `target`, which is a real file system also where the temporary folder is not.
    pub(crate) fn make(workspace: &Workspace, name: &str) -> Result<Self, TaskError> {
        if !Uid::effective().is_root() {
            return Err(TaskError::Missing("starting pods needs root".to_owned()));
        }
        let dist = workspace.path("target/dist");
        let top = workspace.path("target").join(format!("ground-{name}-{}", std::process::id()));
        clear_orphans(&workspace.path("target"));
        fs::create_dir(&top).at("make", &top)?;
        settle(&top);
        let own = top.join("dist");
        let ground = Self { rkt: own.join("rkt"), top, dist: own, ended: false };
        fs::create_dir(&ground.dist).at("make", &ground.dist)?;
        // What is built meanwhile must not change what is measured.
        let machine = format!("stage1-{MACHINE}.aci");
        let built = dist.join(&machine).exists().then_some(&*machine);
        for name in ["rkt", "stage1-nspawn.aci", "stage1-fly.aci"].into_iter().chain(built) {
            let path = dist.join(name);
            fs::copy(&path, ground.dist.join(name)).at("copy", path)?;
        }
        for folder in ["config", "root/bin", "root/dev", "root/proc", "root/sys", "root/tmp"] {
            let path = ground.top.join(folder);
            fs::create_dir_all(&path).at("make", path)?;
        }
        let busybox = "/bin/busybox";
        if !present(busybox) {
            return Err(TaskError::Missing("this needs busybox-static".to_owned()));
        }
        let inside = ground.root().join("bin/busybox");
        fs::copy(busybox, &inside).at("copy", busybox)?;
        for applet in APPLETS {
            let link = ground.root().join("bin").join(applet);
            symlink("busybox", &link).at("make", link)?;
        }
        Ok(ground)
    }

    /// A root with a static busybox and the folders that every runtime mounts on.
    pub(crate) fn root(&self) -> PathBuf {
        self.top.join("root")
    }

    /// The data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.top.join("data")
    }

    /// A path below the ground as a word.
    pub(crate) fn word(&self, name: &str) -> String {
        self.top.join(name).to_string_lossy().into_owned()
    }

    /// Packs the root as an image whose app runs these words; the path of the file.
    pub(crate) fn image(&self, name: &str, exec: &[&str]) -> Result<String, TaskError> {
        let folder = self.top.join(format!("pack-{name}"));
        fs::create_dir(&folder).at("make", &folder)?;
        let manifest = serde_json::json!({
            "acKind": "ImageManifest", "acVersion": "0.8.11", "name": format!("example.com/{name}"),
            "labels": [
                { "name": "version", "value": "1" },
                { "name": "os", "value": "linux" },
                { "name": "arch", "value": "amd64" },
            ],
            "app": { "exec": exec, "user": "0", "group": "0", "ports": [
                { "name": "http", "protocol": "tcp", "port": 80, "count": 1, "socketActivated": false },
            ] },
        });
        let path = folder.join("manifest");
        fs::write(&path, manifest.to_string()).at("write", &path)?;
        let image = self.word(&format!("{name}.aci"));
        let mut tar = Command::new("tar");
        tar.args(["--create", "--sort=name", "--owner=0", "--group=0", "--numeric-owner"]);
        tar.arg("--transform=s,^root,rootfs,").arg(format!("--file={image}"));
        tar.arg("-C").arg(&folder).arg("manifest").arg("-C").arg(&self.top).arg("root");
        call(&mut tar)?;
        Ok(image)
    }

    /// The same, in the store; its id.
    pub(crate) fn stored(&self, name: &str, exec: &[&str]) -> Result<String, TaskError> {
        let image = self.image(name, exec)?;
        Ok(self.rkt(&["fetch", "--full", &image])?.trim().to_owned())
    }

    /// The words that call the program here: no configuration of the host's, no signatures.
    pub(crate) fn words(&self, words: &[&str]) -> Vec<String> {
        let config = self.word("config");
        let mut all = vec![
            self.rkt.to_string_lossy().into_owned(),
            format!("--dir={}", self.data().display()),
            format!("--system-config={config}"),
            format!("--local-config={config}"),
            format!("--user-config={config}"),
            "--insecure-options=image,http".to_owned(),
        ];
        all.extend(words.iter().map(|word| (*word).to_owned()));
        all
    }

    /// The word that chooses a flavour.
    pub(crate) fn stage1(&self, flavour: &str) -> String {
        format!("--stage1-path={}", self.dist.join(format!("stage1-{flavour}.aci")).display())
    }

    /// A call of the program.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let all = self.words(words);
        let mut command = Command::new(&self.rkt);
        command.args(all.iter().skip(1)).stdin(Stdio::null()).env(MARK, &self.top);
        command
    }

    /// Calls the program, which must succeed; what it printed. What it says beside that is shown only if it fails.
    pub(crate) fn rkt(&self, words: &[&str]) -> Result<String, TaskError> {
        let said = self.ask(words)?;
        if said.status.success() {
            return Ok(said.out);
        }
        say::line(&said.err);
        Err(TaskError::Program { program: format!("rkt {}", words.join(" ")), status: said.status })
    }

    /// Calls the program, which may fail.
    pub(crate) fn ask(&self, words: &[&str]) -> Result<Said, TaskError> {
        let output = self.command(words).output();
        let start =
            |source| TaskError::Start { program: format!("rkt {}", words.join(" ")), source };
        let output = output.map_err(start)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        Ok(Said { status: output.status, out, err })
    }

    /// The pods on disk: the folder of their phase, and their name.
    pub(crate) fn pods(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for phase in names(&self.data().join("pods")) {
            let pods = names(&self.data().join("pods").join(&phase));
            found.extend(pods.into_iter().map(|pod| (phase.clone(), pod)));
        }
        found
    }

    /// Kills what runs, and waits until it is over: `stop` only says that it should be.
    pub(crate) fn stop(&self) -> Result<(), TaskError> {
        for (phase, pod) in self.pods() {
            if phase == "run" {
                // It may have ended by itself: what counts is what is found afterwards.
                drop(self.ask(&["stop", "--force", &pod])?);
                drop(self.ask(&["status", "--wait=10s", &pod])?);
            }
        }
        Ok(())
    }

    /// What belongs to this ground or to one of these pods outside of its folder.
    pub(crate) fn leaks(&self, pods: &BTreeSet<String>) -> Vec<String> {
        leaks::of(&self.top, pods)
    }

    /// Ends everything that was started here, and tells what went wrong with that.
    pub(crate) fn end(mut self) -> Result<(), TaskError> {
        self.ended = true;
        self.clear()
    }

    fn clear(&self) -> Result<(), TaskError> {
        self.force()?;
        let mut remove = Command::new("rm");
        call(remove.args(["-rf", "--one-file-system"]).arg(&self.top))
    }

    /// Kills every process that belongs here.
    pub(crate) fn end_processes(&self) {
        leaks::end(&self.top);
    }

    /// Ends and undoes everything but the folders, with the program where it can and without it where it cannot.
    pub(crate) fn force(&self) -> Result<(), TaskError> {
        let mut pods: BTreeSet<String> = self.pods().into_iter().map(|(_, pod)| pod).collect();
        if self.rkt.exists() && self.data().join("pods").exists() {
            self.stop()?;
            drop(self.ask(&COLLECT)?);
            drop(self.ask(&COLLECT)?);
        }
        pods.retain(|pod| pod.len() == 36);
        leaks::end(&self.top);
        for point in leaks::mounts_below(&self.top).iter().rev() {
            let _ = umount2(point.as_str(), MntFlags::MNT_DETACH);
        }
        leaks::remove_groups(&pods);
        Ok(())
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if !self.ended
            && let Err(error) = self.clear()
        {
            say::problem(&error);
        }
    }
}

/// Puts a new file system where a ground will be. For minutes ext4 does not use the number of a deleted file again and
/// looks past it at every new file, so on a disk on which others just deleted many files (tests, builds, a collection)
/// most of a pod's start is that search. Without loop devices it is measured with it.
fn settle(top: &Path) {
    let script = "truncate -s 24G \"$1.img\"; mkfs.ext4 -q -F -i 8192 -E lazy_itable_init=1 \"$1.img\"; \
                  mount -o loop \"$1.img\" \"$1\"; rm \"$1.img\"";
    let mut shell = Command::new("sh");
    if call(shell.args(["-ec", script, "sh"]).arg(top).stderr(Stdio::null())).is_err() {
        say::line("no file system of its own: what others delete on this disk is measured, too");
        drop(fs::remove_file(top.with_extension("img")));
    }
}

/// Removes grounds whose measurement was killed.
fn clear_orphans(target: &Path) {
    for name in names(target) {
        let maker = name.strip_prefix("ground-").and_then(|name| name.rsplit('-').next());
        if maker.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let top = target.join(name);
            let dist = top.join("dist");
            drop(Ground { rkt: dist.join("rkt"), top, dist, ended: false });
        }
    }
}

/// The names in a folder, sorted; none if it is not there.
pub(crate) fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
