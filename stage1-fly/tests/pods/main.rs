//! The entrypoints of this stage1 against handmade pod folders. Needs root, `/bin/busybox` (static) and `flock`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail loudly")]

use serde_json::json;
use std::fs;
use std::path::PathBuf;
use sys::signal::number;
use testkit::handmade::{Entrypoints, app, finish, kill, shell};
use testkit::wait::eventually;

const FLY: Entrypoints = Entrypoints {
    run: env!("CARGO_BIN_EXE_fly-run"),
    enter: env!("CARGO_BIN_EXE_fly-enter"),
    net: "--net=host",
};
const STOP: &str = env!("CARGO_BIN_EXE_fly-stop");
const GC: &str = env!("CARGO_BIN_EXE_fly-gc");

/// A shared tmpfs of the host's, gone when dropped.
struct HostMount(PathBuf);

impl HostMount {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("fly-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        let done = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "tmpfs"])
            .arg(&path)
            .status()
            .unwrap();
        assert!(done.success());
        Self(path)
    }
}

impl Drop for HostMount {
    fn drop(&mut self) {
        drop(std::process::Command::new("umount").args(["-R", "-l"]).arg(&self.0).status());
        drop(fs::remove_dir_all(&self.0));
    }
}

fn mounts() -> usize {
    fs::read_to_string("/proc/self/mounts")
        .unwrap()
        .lines()
        .filter(|line| line.starts_with("overlay "))
        .count()
}

#[test]
fn code_output_and_status() {
    let before = mounts();
    let pod = FLY.pod(&[shell("a", "echo out; echo err >&2; exit 7")]);
    let done = pod.run(&[]);
    assert_eq!(
        (done.code, done.stdout.as_str(), done.stderr.as_str()),
        (Some(7), "out\n", "err\n")
    );
    assert_eq!(pod.status("a"), Some(7));
    assert!(pod.groups().is_empty() && !pod.is_locked());
    assert!(mounts() <= before, "nothing is mounted on the host");
    let pod = FLY.pod(&[shell("a", "kill -9 $$")]);
    assert_eq!((pod.run(&[]).code, pod.status("a")), (Some(9), Some(9)));
}

#[test]
fn the_app_lives_in_the_hosts_namespaces_and_its_own_root() {
    let link =
        |kind: &str| fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().display().to_string();
    let script = "for n in net pid ipc uts; do readlink /proc/self/ns/$n; done; ls /bin | wc -l; \
                  grep -c . /proc/mounts; stat -c %a /tmp; cat /etc/hosts; cat /proc/self/status | grep CapEff | cut -f2";
    let done = FLY.pod(&[shell("a", script)]).run(&[]);
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let capabilities = own.lines().find_map(|line| line.strip_prefix("CapEff:\t")).unwrap();
    let lines: Vec<&str> = done.stdout.lines().collect();
    assert_eq!(lines[..4], ["net", "pid", "ipc", "uts"].map(link));
    assert_eq!(
        (lines[6], lines[7], lines[8]),
        ("1777", "127.0.0.1 localhost", capabilities),
        "{done:?}"
    );
}

#[test]
fn refusals_are_plain() {
    let done = FLY.pod(&[shell("a", "true"), shell("b", "true")]).run(&[]);
    assert_eq!(done.code, Some(254));
    assert!(done.stderr.contains("exactly one app"), "{done:?}");

    let mut missing = shell("a", "true");
    missing["app"]["mountPoints"] = json!([{ "name": "data", "path": "/data" }]);
    let done = FLY.pod(&[missing]).run(&[]);
    assert_eq!(
        (done.code, done.stderr.as_str()),
        (Some(254), "stage1: missing volume for mountpoint \"data\"\n")
    );

    let volumes = json!([{ "name": "v", "kind": "host", "source": "/tmp" }]);
    let mut twice = shell("a", "true");
    twice["mounts"] = json!([{ "volume": "v", "path": "/a" }, { "volume": "v", "path": "/b" }]);
    let done = FLY.pod_with_volumes(&[twice], &volumes).run(&[]);
    assert_eq!(
        (done.code, done.stderr.as_str()),
        (Some(254), "stage1: duplicate mount given: \"v\"\n")
    );

    let pod = FLY.pod(&[app("a", json!({ "exec": ["/nope"], "user": "0", "group": "0" }))]);
    let done = pod.run(&[]);
    assert_eq!((done.code, pod.status("a")), (Some(203), Some(203)));
    assert_eq!(done.stdout, "Error: Unable to open \"/nope\": No such file or directory\n");
    let done = pod.run(&["--hostname=h"]);
    assert!(done.stderr.contains("--hostname is ignored"), "{done:?}");
}

#[test]
fn a_mount_below_a_volume_appears_on_the_host() {
    let host = HostMount::new("peer");
    fs::create_dir(host.0.join("below")).unwrap();
    let volumes = json!([{ "name": "v", "kind": "host", "source": host.0 }]);
    let mut app = shell("a", "mount -t tmpfs inner /v/below && echo x > /v/below/file");
    app["mounts"] = json!([{ "volume": "v", "path": "/v" }]);
    let done = FLY.pod_with_volumes(&[app], &volumes).run(&[]);
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""));
    assert_eq!(fs::read_to_string(host.0.join("below/file")).unwrap(), "x\n");
}

#[test]
fn volumes_are_read_only_and_recursive_as_asked() {
    let host = HostMount::new("depth");
    let inner = host.0.join("inner");
    fs::create_dir(&inner).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "tmpfs"])
        .arg(&inner)
        .status()
        .unwrap();
    assert!(mounted.success());
    fs::write(inner.join("seen"), "").unwrap();
    let volume = |name: &str, recursive: bool| json!({ "name": name, "kind": "host", "source": host.0, "readOnly": true, "recursive": recursive });
    let mut app = shell("a", "ls /one/inner; ls /all/inner; touch /one/x; touch /all/inner/x");
    app["mounts"] =
        json!([{ "volume": "one", "path": "/one" }, { "volume": "all", "path": "/all" }]);
    let done =
        FLY.pod_with_volumes(&[app], &json!([volume("one", false), volume("all", true)])).run(&[]);
    assert_eq!(done.stdout, "seen\n", "{done:?}");
    assert_eq!(done.stderr.matches("Read-only file system").count(), 2, "{done:?}");
}

#[test]
fn stop_asks_and_force_ends_all_that_was_started() {
    // What is left behind keeps its hands off the outputs: their end is how the test knows that the app is gone.
    // It speaks when it has left the group, so that the stop does not reach it.
    let script = "trap 'echo bye; exit 3' TERM
        setsid sh -c 'echo up; exec > /dev/null 2>&1; exec sleep 1000' & wait";
    let pod = FLY.pod(&[shell("a", script)]);
    let child = pod.start();
    eventually("the app's number is known", || pod.path.join("pid").exists());
    assert_eq!(pod.call(STOP, &[&pod.uuid]).code, Some(0));
    let done = finish(child);
    assert_eq!((done.code, done.stdout.as_str(), pod.status("a")), (Some(3), "bye\n", Some(3)));
    // What has left its group holds the lock: the pod still runs.
    assert!(pod.is_locked());
    assert_eq!(pod.call(STOP, &["--force", &pod.uuid]).code, Some(0));
    eventually("the lock is free", || !pod.is_locked());
    assert_eq!(pod.call(GC, &[&pod.uuid]).code, Some(0));
    assert_eq!(pod.call(GC, &[&pod.uuid]).code, Some(0));
    assert!(pod.groups().is_empty());
    assert_eq!(pod.call(STOP, &[&pod.uuid]).code, Some(254));
}

#[test]
fn whoever_kills_the_caller_kills_the_app() {
    let pod = FLY.pod(&[app(
        "a",
        json!({ "exec": ["/bin/sh", "-c", "echo up; exec sleep 1000"], "user": "33", "group": "34" }),
    )]);
    let mut child = pod.start();
    child.kill().unwrap();
    child.wait().unwrap();
    eventually("the lock is free", || !pod.is_locked());
}

#[test]
fn enter_sees_what_the_app_sees() {
    let section = json!({
        "exec": ["/bin/sh", "-c", "id > /tmp/own; echo up; sleep 1000"], "user": "web", "group": "web",
        "environment": [{ "name": "X", "value": "y" }],
    });
    let pod = FLY.pod(&[app("a", section)]);
    let child = pod.start();
    eventually("the pid is known", || pod.path.join("pid").exists());
    let entered =
        pod.enter("a", &["/bin/sh", "-c", "cat /tmp/own; id; echo $X; ls / | grep -c bin"]);
    let id = "uid=33(web) gid=34(web)\n";
    assert_eq!(entered.stdout, format!("{id}{id}y\n1\n"), "{entered:?}");
    assert_eq!(pod.enter("a", &["sh", "-c", "exit 9"]).code, Some(9));
    assert_eq!(pod.enter("b", &["/bin/true"]).code, Some(254));
    assert_eq!(pod.call(STOP, &["--force", &pod.uuid]).code, Some(0));
    drop(finish(child));
}

#[test]
fn with_a_notify_socket_the_app_is_the_main_process() {
    let pod = FLY.pod(&[shell("a", "echo up; echo $$; sleep 1000 & wait $!; exit 5")]);
    let mut command = pod.command(&["--net=host"]);
    let mut child = command.env("NOTIFY_SOCKET", "/run/systemd/notify").spawn().unwrap();
    let mut text = [0_u8; 3];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut text).unwrap();
    let main = child.id().to_string();
    assert_eq!(pod.text("pid"), main);
    // The sleep is its only child: the watcher is nobody's.
    let mut sleeper = String::new();
    eventually("the app has started what it waits for", || {
        sleeper = fs::read_to_string(format!("/proc/{main}/task/{main}/children")).unwrap();
        sleeper.split_whitespace().count() == 1
    });
    kill(&sleeper, number::KILL).unwrap();
    let done = finish(child);
    assert_eq!((done.code, done.stdout.trim()), (Some(5), main.as_str()));
    eventually("the lock is free", || !pod.is_locked());
    assert_eq!(pod.status("a"), Some(5));
}
