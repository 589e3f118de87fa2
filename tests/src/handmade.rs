//! A handmade pod folder and a root of one static program, run through the entrypoints of a stage1 as stage0 would. It
//! needs root, `/bin/busybox` (static) and `flock`.

use crate::program::Output;
use crate::wait;
use serde_json::{Value, json};
use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

const TOOLS: [&str; 26] = [
    "sh", "true", "echo", "cat", "id", "ls", "sleep", "stat", "grep", "hostname", "env", "pwd",
    "touch", "kill", "stty", "ip", "ps", "mkdir", "readlink", "head", "tr", "cut", "wc", "mount",
    "sort", "setsid",
];

/// The programs of a stage1 as they were just built.
#[derive(Debug, Clone, Copy)]
pub struct Entrypoints {
    /// The `run` entrypoint.
    pub run: &'static str,
    /// The `enter` entrypoint.
    pub enter: &'static str,
    /// The flag of `run` for the network that needs nothing.
    pub net: &'static str,
}

/// A pod folder; gone, with what runs in it, when dropped.
#[derive(Debug)]
pub struct HandmadePod {
    /// The folder.
    pub path: PathBuf,
    /// The tree of its apps.
    pub root: PathBuf,
    /// Its name.
    pub uuid: String,
    programs: Entrypoints,
}

/// An app that runs a shell script.
pub fn shell(name: &str, script: &str) -> Value {
    app(name, json!({ "exec": ["/bin/sh", "-c", script], "user": "0", "group": "0" }))
}

/// An app with this `app` section.
pub fn app(name: &str, section: Value) -> Value {
    let image = json!({ "name": "example.com/tools", "id": format!("sha512-{}", "a".repeat(64)) });
    let mut app = json!({ "name": name, "image": image });
    app["app"] = section;
    app
}

impl Entrypoints {
    /// A pod of these apps.
    pub fn pod(self, apps: &[Value]) -> HandmadePod {
        self.pod_with_volumes(apps, &json!([]))
    }

    /// A pod of these apps and volumes.
    pub fn pod_with_volumes(self, apps: &[Value], volumes: &Value) -> HandmadePod {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("rkt-pod-{}-{count}", std::process::id()));
        let root = path.with_extension("root");
        make_root(&root);
        let uuid = format!("465e8ea3-3206-4d98-8{count:03}-{:012x}", std::process::id());
        let manifest = json!({
            "acVersion": "0.8.11", "acKind": "PodManifest", "apps": apps, "volumes": volumes,
            "isolators": [], "annotations": [], "ports": [],
        });
        fs::create_dir_all(path.join("stage1")).unwrap();
        fs::write(path.join("pod"), manifest.to_string()).unwrap();
        let pod = HandmadePod { path, root, uuid, programs: self };
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
}

impl HandmadePod {
    /// Writes the manifest of an app's image, with these annotations.
    pub fn image(&self, app: &str, annotations: &Value) {
        let folder = self.path.join("appsinfo").join(app);
        fs::create_dir_all(&folder).unwrap();
        let manifest = json!({
            "acKind": "ImageManifest", "acVersion": "0.8.11", "name": "example.com/tools", "annotations": annotations,
        });
        fs::write(folder.join("manifest"), manifest.to_string()).unwrap();
    }

    /// The `run` entrypoint with the lock that stage0 would hold.
    pub fn command(&self, flags: &[&str]) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "exec 9<. && flock -x 9 && exec \"$@\"", "sh", self.programs.run]);
        command.args(flags).arg(&self.uuid).current_dir(&self.path).env("RKT_LOCK_FD", "9");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs the pod to its end.
    pub fn run(&self, flags: &[&str]) -> Output {
        let mut all = vec![self.programs.net];
        all.extend(flags);
        finish(self.command(&all).spawn().unwrap())
    }

    /// Starts the pod and waits until its first app said `up`.
    pub fn start(&self) -> Child {
        let mut child = self.command(&[self.programs.net]).spawn().unwrap();
        let mut word = [0_u8; 3];
        child.stdout.as_mut().unwrap().read_exact(&mut word).unwrap();
        assert_eq!(&word, b"up\n");
        child
    }

    /// Another entrypoint of this pod.
    pub fn call(&self, program: &str, args: &[&str]) -> Output {
        let mut command = Command::new(program);
        command.args(args).current_dir(&self.path).stdin(Stdio::null());
        finish(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// Runs a command in an app, to its end.
    pub fn enter(&self, app: &str, command: &[&str]) -> Output {
        let pid = format!("--pid={}", self.text("pid"));
        let app = format!("--appname={app}");
        let mut args = vec![pid.as_str(), &app, "--"];
        args.extend(command);
        self.call(self.programs.enter, &args)
    }

    /// The content of a file of the pod, without the white space around it.
    pub fn text(&self, file: &str) -> String {
        fs::read_to_string(self.path.join(file)).unwrap().trim().to_owned()
    }

    /// The exit status that was recorded of an app.
    pub fn status(&self, app: &str) -> Option<i32> {
        fs::read_to_string(self.path.join("rkt/status").join(app)).ok()?.trim().parse().ok()
    }

    /// The control groups that the pod recorded and that are still there.
    pub fn groups(&self) -> Vec<PathBuf> {
        self.text("subcgroup")
            .lines()
            .skip(1)
            .map(PathBuf::from)
            .filter(|path| path.exists())
            .collect()
    }

    /// Whether somebody holds the pod's lock.
    pub fn is_locked(&self) -> bool {
        wait::is_locked(&self.path)
    }
}

impl Drop for HandmadePod {
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

/// Waits for the end of a program whose outputs are pipes.
pub fn finish(mut child: Child) -> Output {
    let (mut stdout, mut stderr) = (String::new(), String::new());
    let mut errors = child.stderr.take().unwrap();
    let reader = std::thread::spawn(move || {
        errors.read_to_string(&mut stderr).unwrap();
        stderr
    });
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    let status = child.wait().unwrap();
    let (code, signal) = (status.code(), status.signal());
    Output { code, signal, stdout, stderr: reader.join().unwrap() }
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
pub fn kill(pid: &str, signal: i32) -> std::io::Result<()> {
    let pid = pid.trim().parse().ok().and_then(rustix::process::Pid::from_raw);
    sys::process::kill(pid.ok_or(std::io::ErrorKind::InvalidInput)?, signal)
}
