//! `init` as PID 1 of namespaces, with the test as its host. Its images are on loop devices: `/dev/loop` is the disk, and
//! the number of a device is that of the partition. [`Lab::on_a_machine`] is for a test that boots a real one.

use pod_proto::config::{AppConfig, Config, Dialogue, HostsFile, Seed, Time};
use pod_proto::message::{End, Exec};
use pod_proto::text::Word;
use pod_proto::{FromGuest, FromHost, Preamble, Process, Session, Stream, Token, preamble};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};
use stage2::kernel_fs::KernelPaths;
use stage2::{AppSpec, MountPlan};
use std::collections::{HashMap, VecDeque};
use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use testkit::wait::deadline;

const TOOLS: [&str; 28] = [
    "sh", "true", "echo", "cat", "id", "ls", "sleep", "stat", "grep", "hostname", "pwd", "touch",
    "dd", "kill", "stty", "tty", "ps", "mkdir", "readlink", "wc", "date", "sort", "env", "ln",
    "rm", "mkfifo", "chmod", "chown",
];
const TOKEN: Token = Token::new([42; 32]);

/// An image on a loop device.
#[derive(Debug)]
struct Disk {
    number: u32,
    /// The one that is no partition, where it was the first that was free.
    zero: bool,
}

fn losetup(args: &[&str]) -> String {
    let done = Command::new("losetup").args(args).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

impl Disk {
    fn new(image: &Path) -> Self {
        let attach = || -> u32 {
            let device = losetup(&["--read-only", "--find", "--show", image.to_str().unwrap()]);
            device.strip_prefix("/dev/loop").unwrap().parse().unwrap()
        };
        match attach() {
            0 => Self { number: attach(), zero: true },
            number => Self { number, zero: false },
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        losetup(&["--detach", &format!("/dev/loop{}", self.number)]);
        if self.zero {
            losetup(&["--detach", "/dev/loop0"]);
        }
    }
}

/// A folder, a disk, and what is to run.
#[derive(Debug)]
pub(crate) struct Lab {
    folder: PathBuf,
    /// None where the image is no device of this machine.
    disk: Option<Disk>,
    pub(crate) config: Config,
}

impl Lab {
    /// A pod of these apps.
    pub(crate) fn new(apps: &[Value]) -> Self {
        let mut lab = Self::on_a_machine(apps);
        let disk = Disk::new(&lab.image());
        for app in &mut lab.config.apps {
            app.layers = vec![disk.number];
        }
        lab.disk = Some(disk);
        lab
    }

    /// A pod of these apps, whose image will be the first partition.
    pub(crate) fn on_a_machine(apps: &[Value]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = std::thread::current().name().unwrap_or("pod").replace(':', "-");
        let folder = std::env::temp_dir().join(format!("guest-{}-{name}", std::process::id()));
        let tree = folder.join("tree");
        for path in ["bin", "etc", "tmp", "data"] {
            fs::create_dir_all(tree.join(path)).unwrap();
        }
        fs::copy("/bin/busybox", tree.join("bin/busybox")).unwrap();
        for tool in TOOLS {
            symlink("busybox", tree.join("bin").join(tool)).unwrap();
        }
        fs::write(tree.join("etc/passwd"), "root:x:0:0::/:\nweb:x:33:34::/:\n").unwrap();
        fs::write(tree.join("data/seed"), "from the image\n").unwrap();
        let image = folder.join("image");
        let mut make = Command::new("mkfs.erofs");
        let made = make.arg(&image).arg(&tree).output().expect("erofs-utils is installed");
        assert!(made.status.success(), "{made:?}");
        let apps = apps.iter().map(configured).collect();
        let config = Config {
            token: TOKEN,
            // The groups of a pod are named after it, and tests may share a process.
            hostname: format!("guest-{}-{number}", std::process::id()),
            hosts: HostsFile::Default,
            resolv: None,
            interfaces: Vec::new(),
            settings: Vec::new(),
            kernel_paths: KernelPaths::Protected,
            writable: 8 << 20,
            shares: Vec::new(),
            apps,
            time: Time { seconds: 1, nanoseconds: 0 },
            seed: Seed([1; 32]),
        };
        Self { folder, disk: None, config }
    }

    /// Where its files are.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The image of all apps.
    pub(crate) fn image(&self) -> PathBuf {
        self.folder.join("image")
    }

    /// Boots, without any configuration.
    pub(crate) fn boot(&self) -> Guest {
        let path = self.folder.join("host");
        let listener = UnixListener::bind(&path).unwrap();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--uts", "--ipc", "--net"]);
        command.arg(env!("CARGO_BIN_EXE_init"));
        command.arg(format!("rkt.unix={}", path.display())).arg("rkt.disk=/dev/loop");
        let child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        Guest::called(child, listener.into(), deadline())
    }

    /// Boots and configures; what the guest says to that.
    pub(crate) fn configured(&self) -> (Guest, FromGuest) {
        let mut guest = self.boot();
        let answer = guest.configure(&self.config);
        (guest, answer)
    }

    /// Boots, configures and starts.
    pub(crate) fn start(&self) -> Guest {
        let (mut guest, answer) = self.configured();
        assert_eq!(answer, FromGuest::Ready);
        guest.say(&FromHost::Start);
        guest
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.folder).unwrap();
        // The disk goes after it: it is the file's last user.
        drop(self.disk.take());
    }
}

/// An app that runs a shell script.
pub(crate) fn shell(name: &str, script: &str) -> Value {
    app(
        name,
        &json!({ "commands": { "main": ["/bin/sh", "-c", script], "pre_start": [], "post_stop": [] } }),
    )
}

/// An app with these fields instead of the usual ones; `mounts` and `dialogue` are those of the configuration.
pub(crate) fn app(name: &str, fields: &Value) -> Value {
    let mut app = json!({
        "name": name,
        "commands": { "main": ["/bin/true"], "pre_start": [], "post_stop": [] },
        "identity": { "user": "0", "group": "0", "supplementary": [], "rule": "own" },
        "directory": "/",
        "environment": [["PATH", "/bin"]],
        "rights": { "capabilities": 32 + 128 + 64, "no_new_privileges": true },
        "limits": { "memory": null, "cpu_milli": null, "cpu_shares": null, "pids": null },
        "oom_score_adj": null,
        "root": "read-write",
        "stop_signal": 15,
        "seeded": false,
        "dialogue": "silent",
        "mounts": { "steps": [], "implicit": [] },
    });
    for (key, value) in fields.as_object().unwrap() {
        app[key] = value.clone();
    }
    app
}

fn configured(app: &Value) -> AppConfig {
    let mut spec = app.clone();
    let mut take = |key| spec.as_object_mut().unwrap().remove(key).unwrap();
    let (dialogue, mounts): (Dialogue, MountPlan) = (
        serde_json::from_value(take("dialogue")).unwrap(),
        serde_json::from_value(take("mounts")).unwrap(),
    );
    let spec: AppSpec = serde_json::from_value(spec).unwrap();
    AppConfig { spec, mounts, layers: vec![1], dialogue }
}

/// A command in the first app.
pub(crate) fn command(id: u32, words: &[&str], dialogue: Dialogue) -> FromHost {
    let command = words.iter().map(|word| Word(word.as_bytes().to_vec())).collect();
    FromHost::Exec(Exec { id, app: 0, command, term: None, dialogue })
}

/// Reads it; from then on, reading takes so long at most.
fn read_preamble(connection: &mut UnixStream, patience: Duration) -> Preamble {
    connection.set_read_timeout(Some(patience)).unwrap();
    let mut bytes = [0; preamble::LENGTH];
    connection.read_exact(&mut bytes).unwrap();
    Preamble::decode(&bytes).unwrap()
}

fn wait_for(listener: &OwnedFd, patience: Duration) {
    let limit = Timespec::try_from(patience).unwrap();
    let ready = poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&limit)).unwrap();
    assert_eq!(ready, 1, "init does not call");
}

/// A guest that runs.
#[derive(Debug)]
pub(crate) struct Guest {
    child: Child,
    patience: Duration,
    listener: OwnedFd,
    pub(crate) control: UnixStream,
    session: Session,
    heard: VecDeque<FromGuest>,
    streams: HashMap<(Process, Stream), UnixStream>,
}

impl Guest {
    /// A guest that is being started, and will call here.
    pub(crate) fn called(child: Child, listener: OwnedFd, patience: Duration) -> Self {
        wait_for(&listener, patience);
        let mut control = UnixStream::from(rustix::net::accept(&listener).unwrap());
        let session = Session::new(read_preamble(&mut control, patience)).unwrap();
        Self {
            child,
            patience,
            listener,
            control,
            session,
            heard: VecDeque::new(),
            streams: HashMap::new(),
        }
    }

    /// Says what the guest is to be; what it says to that.
    pub(crate) fn configure(&mut self, config: &Config) -> FromGuest {
        self.say(&FromHost::Configure(Box::new(config.clone())));
        self.hear()
    }

    /// Says something, unless the pod has come to where it makes no sense any more.
    pub(crate) fn say_in_time(&mut self, message: &FromHost) {
        if let Ok(bytes) = self.session.send(message) {
            self.control.write_all(&bytes).unwrap();
        }
    }

    /// Says something.
    pub(crate) fn say(&mut self, message: &FromHost) {
        let bytes = self.session.send(message).unwrap();
        self.control.write_all(&bytes).unwrap();
    }

    /// Hears the next message.
    pub(crate) fn hear(&mut self) -> FromGuest {
        loop {
            if let Some(message) = self.heard.pop_front() {
                return message;
            }
            assert!(self.wait(), "the guest is gone");
        }
    }

    /// Hears what the guest says until this process has ended: how.
    pub(crate) fn end_of(&mut self, process: Process) -> End {
        loop {
            if let FromGuest::Exited(found, end) = self.hear()
                && found == process
            {
                return end;
            }
        }
    }

    /// Takes messages and streams; false when the guest has closed.
    fn wait(&mut self) -> bool {
        let limit = Timespec::try_from(self.patience).unwrap();
        let mut fds =
            [PollFd::new(&self.listener, PollFlags::IN), PollFd::new(&self.control, PollFlags::IN)];
        assert_ne!(poll(&mut fds, Some(&limit)).unwrap(), 0, "the guest says nothing");
        let [calls, speaks] = fds.map(|fd| !fd.revents().is_empty());
        if calls {
            let mut stream = UnixStream::from(rustix::net::accept(&self.listener).unwrap());
            let which = self.session.admit(read_preamble(&mut stream, self.patience)).unwrap();
            self.streams.insert(which, stream);
        }
        if speaks {
            let mut bytes = [0; 4096];
            let length = self.control.read(&mut bytes).unwrap();
            let mut rest = &bytes[..length];
            while let Some(message) = self.session.feed(&mut rest).unwrap() {
                self.heard.push_back(message);
            }
            return length > 0;
        }
        true
    }

    /// A stream of a process.
    pub(crate) fn stream(&mut self, process: Process, stream: Stream) -> UnixStream {
        loop {
            if let Some(found) = self.streams.remove(&(process, stream)) {
                return found;
            }
            assert!(self.wait(), "the guest is gone");
        }
    }

    /// All that a process writes, to the end.
    pub(crate) fn text(&mut self, process: Process, stream: Stream) -> String {
        let mut text = String::new();
        self.stream(process, stream).read_to_string(&mut text).unwrap();
        text
    }

    /// The output of the first app, to the end.
    pub(crate) fn output(&mut self) -> String {
        self.text(Process::App(0), Stream::Output)
    }

    /// Hears the pod's code, closes, and waits for the end of init; what was heard before it.
    pub(crate) fn finish(mut self) -> (Vec<FromGuest>, u8) {
        let (before, code) = self.stopped();
        assert_eq!(self.ended(), (i32::from(code), String::new()));
        (before, code)
    }

    /// Hears the pod's code, and closes; what was heard before it.
    pub(crate) fn stopped(&mut self) -> (Vec<FromGuest>, u8) {
        let mut before = Vec::new();
        let code = loop {
            match self.hear() {
                FromGuest::Stopped(code) => break code,
                other => before.push(other),
            }
        };
        self.control.shutdown(Shutdown::Both).unwrap();
        (before, code)
    }

    /// The processes that the one which was started has started.
    pub(crate) fn descendants(&self) -> Vec<i32> {
        let own = self.child.id();
        let list = fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap();
        list.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
    }

    /// Waits for the end of init: its code, and what it complained about.
    pub(crate) fn ended(mut self) -> (i32, String) {
        let end = Instant::now() + self.patience;
        let pid = i32::try_from(self.child.id()).unwrap();
        let process = testkit::wait::pidfd(pid).unwrap();
        assert!(testkit::wait::readable(process.as_fd(), end), "init goes on");
        let mut text = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        (self.child.wait().unwrap().code().unwrap(), text)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Its child, PID 1, dies with it, and with that everything else. It may be gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The names and kinds of the members of a tar.
pub(crate) fn listed(tar: &[u8]) -> Vec<String> {
    let mut command = Command::new("tar");
    command.args(["--list", "--verbose", "--numeric-owner", "--utc"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let tar = tar.to_vec();
    let writer = std::thread::spawn(move || input.write_all(&tar));
    let done = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(done.status.success());
    let text = String::from_utf8(done.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// Reads until what was read ends in this.
pub(crate) fn read_until(stream: &mut UnixStream, wanted: &str) -> String {
    let (mut text, mut byte) = (Vec::new(), [0]);
    while !text.ends_with(wanted.as_bytes()) {
        stream.read_exact(&mut byte).unwrap_or_else(|error| {
            panic!("{error} after {:?}", String::from_utf8_lossy(&text));
        });
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap()
}

/// A moment that is surely over before anything hangs.
pub(crate) const SOON: Duration = Duration::from_millis(100);
