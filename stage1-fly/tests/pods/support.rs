//! A handmade pod folder and a root of one static program, run through the entrypoints as stage0 would.

use serde_json::{Value, json};
use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
const TOOLS: [&str; 26] = [
    "sh", "true", "echo", "cat", "id", "ls", "sleep", "stat", "grep", "hostname", "env", "pwd",
    "touch", "kill", "stty", "ip", "ps", "mkdir", "readlink", "head", "tr", "cut", "wc", "mount",
    "sort", "setsid",
];

/// A pod folder; gone, with what runs in it, when dropped.
pub(crate) struct Pod {
    pub(crate) path: PathBuf,
    pub(crate) root: PathBuf,
    pub(crate) uuid: String,
}

/// What a finished entrypoint left.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// An app that runs a shell script.
pub(crate) fn shell(name: &str, script: &str) -> Value {
    app(name, json!({ "exec": ["/bin/sh", "-c", script], "user": "0", "group": "0" }))
}

/// An app with this `app` section.
pub(crate) fn app(name: &str, section: Value) -> Value {
    let image = json!({ "name": "example.com/tools", "id": format!("sha512-{}", "a".repeat(64)) });
    let mut app = json!({ "name": name, "image": image });
    app["app"] = section;
    app
}

impl Pod {
    pub(crate) fn new(apps: &[Value]) -> Self {
        Self::with_volumes(apps, &json!([]))
    }

    pub(crate) fn with_volumes(apps: &[Value], volumes: &Value) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("fly-pod-{}-{count}", std::process::id()));
        let root = path.with_extension("root");
        make_root(&root);
        let uuid = format!("465e8ea3-3206-4d98-8{count:03}-{:012x}", std::process::id());
        let manifest = json!({
            "acVersion": "0.8.11", "acKind": "PodManifest", "apps": apps, "volumes": volumes,
            "isolators": [], "annotations": [], "ports": [],
        });
        fs::create_dir_all(path.join("stage1")).unwrap();
        fs::write(path.join("pod"), manifest.to_string()).unwrap();
        let pod = Self { path, root, uuid };
        for app in apps {
            let name = app["name"].as_str().unwrap();
            pod.image(name, &json!([]));
            fs::write(
                pod.path.join(format!("appsinfo/{name}/layers")),
                format!("{}\n", pod.root.display()),
            )
            .unwrap();
        }
        pod
    }

    /// Writes the manifest of an app's image, with these annotations.
    pub(crate) fn image(&self, app: &str, annotations: &Value) {
        let folder = self.path.join("appsinfo").join(app);
        fs::create_dir_all(&folder).unwrap();
        let manifest = json!({
            "acKind": "ImageManifest", "acVersion": "0.8.11", "name": "example.com/tools", "annotations": annotations,
        });
        fs::write(folder.join("manifest"), manifest.to_string()).unwrap();
    }

    /// The `run` entrypoint with the lock that stage0 would hold.
    pub(crate) fn command(&self, flags: &[&str]) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args([
            "-c",
            "exec 9<. && flock -x 9 && exec \"$@\"",
            "sh",
            env!("CARGO_BIN_EXE_fly-run"),
        ]);
        command.args(flags).arg(&self.uuid).current_dir(&self.path).env("RKT_LOCK_FD", "9");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, flags: &[&str]) -> Done {
        let mut all = vec!["--net=host"];
        all.extend(flags);
        finish(self.command(&all).spawn().unwrap())
    }

    /// Starts the pod and waits until its first app said `up`.
    pub(crate) fn start(&self) -> Child {
        let mut child = self.command(&["--net=host"]).spawn().unwrap();
        let mut word = [0_u8; 3];
        child.stdout.as_mut().unwrap().read_exact(&mut word).unwrap();
        assert_eq!(&word, b"up\n");
        child
    }

    /// Another entrypoint of this pod.
    pub(crate) fn call(&self, program: &str, args: &[&str]) -> Done {
        let mut command = Command::new(program);
        command.args(args).current_dir(&self.path).stdin(Stdio::null());
        finish(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    pub(crate) fn enter(&self, app: &str, command: &[&str]) -> Done {
        let pid = format!("--pid={}", self.text("pid"));
        let app = format!("--appname={app}");
        let mut args = vec![pid.as_str(), &app, "--"];
        args.extend(command);
        self.call(env!("CARGO_BIN_EXE_fly-enter"), &args)
    }

    pub(crate) fn text(&self, file: &str) -> String {
        fs::read_to_string(self.path.join(file)).unwrap().trim().to_owned()
    }

    pub(crate) fn status(&self, app: &str) -> Option<i32> {
        fs::read_to_string(self.path.join("rkt/status").join(app)).ok()?.trim().parse().ok()
    }

    /// The control groups that the pod recorded and that are still there.
    pub(crate) fn groups(&self) -> Vec<PathBuf> {
        self.text("subcgroup")
            .lines()
            .skip(1)
            .map(PathBuf::from)
            .filter(|path| path.exists())
            .collect()
    }

    /// Whether somebody holds the pod's lock.
    pub(crate) fn is_locked(&self) -> bool {
        let folder = fs::File::open(&self.path).unwrap();
        sys::lock::held_exclusively(std::os::fd::AsFd::as_fd(&folder)).unwrap()
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        if let Ok(pid) = fs::read_to_string(self.path.join("pid"))
            && self.is_locked()
        {
            drop(kill(&pid, sys::signal::number::KILL));
        }
        let record = fs::read_to_string(self.path.join("subcgroup")).unwrap_or_default();
        for folder in record.lines().skip(1).map(PathBuf::from) {
            drop(sys::cgroup::kill(&folder));
            drop(sys::cgroup::remove(&folder));
        }
        drop(fs::remove_dir_all(&self.path));
        drop(fs::remove_dir_all(&self.root));
    }
}

pub(crate) fn finish(mut child: Child) -> Done {
    let (mut out, mut err) = (String::new(), String::new());
    let mut errors = child.stderr.take().unwrap();
    let reader = std::thread::spawn(move || {
        errors.read_to_string(&mut err).unwrap();
        err
    });
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    let status = child.wait().unwrap();
    Done { code: status.code(), out, err: reader.join().unwrap() }
}

/// Waits for something that becomes true by itself.
pub(crate) fn eventually(what: &str, mut test: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !test() {
        assert!(Instant::now() < end, "{what} did not come true");
        std::thread::yield_now();
    }
}

fn make_root(root: &Path) {
    for folder in ["bin", "etc", "dev", "proc", "sys", "tmp", "data"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    for tool in TOOLS {
        symlink("busybox", root.join("bin").join(tool)).unwrap();
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0::/:/bin/sh\nweb:x:33:34::/:/bin/sh\n").unwrap();
    fs::write(root.join("etc/group"), "root:x:0:\nweb:x:34:\n").unwrap();
    fs::write(root.join("data/seed"), "from the image").unwrap();
}

/// Sends a signal to the process whose number a file or a program told.
pub(crate) fn kill(pid: &str, signal: i32) -> std::io::Result<()> {
    let pid = pid.trim().parse().ok().and_then(rustix::process::Pid::from_raw);
    sys::process::kill(pid.ok_or(std::io::ErrorKind::InvalidInput)?, signal)
}
