//! The entrypoints of this stage1 against handmade pod folders. Needs root, `/bin/busybox` (static) and `flock`.

use serde_json::json;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use sys::signal::number;
use testkit::Output;
use testkit::handmade::{Entrypoints, HandmadePod, app, finish, kill, shell};
use testkit::wait::eventually;

const NSPAWN: Entrypoints = Entrypoints {
    run: env!("CARGO_BIN_EXE_nspawn-run"),
    enter: env!("CARGO_BIN_EXE_nspawn-enter"),
    net: "--net=none",
};
const STOP: &str = env!("CARGO_BIN_EXE_nspawn-stop");
const GC: &str = env!("CARGO_BIN_EXE_nspawn-gc");

#[test]
fn code_output_log_and_status_of_one_app() {
    let pod = NSPAWN.pod(&[shell("a", "echo out; echo err >&2; printf rest; exit 7")]);
    let done = pod.run(&[]);
    assert_eq!(
        (done.code, done.stdout.as_str(), done.stderr.as_str()),
        (Some(7), "out\nrest", "err\n")
    );
    assert_eq!(pod.status("a"), Some(7));
    let log = pod.text("logs/a");
    let mut lines: Vec<&str> = log.lines().map(|line| line.split_once(' ').unwrap().1).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["stderr err", "stdout out", "stdout rest"]);
    assert!(pod.path.join("rkt/supervisor-status").is_symlink());
    assert!(pod.groups().is_empty() && !pod.is_locked());
}

#[test]
fn a_signal_is_recorded_bare_and_beside() {
    let pod = NSPAWN.pod(&[shell("a", "kill -9 $$")]);
    assert_eq!(pod.run(&[]).code, Some(9));
    assert_eq!((pod.status("a"), pod.text("rkt/status/a-signal").as_str()), (Some(9), "9"));
}

#[test]
fn the_first_failure_ends_the_pod_and_success_does_not() {
    let pod =
        NSPAWN.pod(&[shell("a", "sleep 1000"), shell("b", "exit 5"), shell("c", "sleep 1000")]);
    assert_eq!(pod.run(&[]).code, Some(5));
    assert_eq!(["a", "b", "c"].map(|name| pod.status(name)), [Some(0), Some(5), Some(0)]);

    let pod = NSPAWN.pod(&[
        shell("a", "true"),
        shell("b", "while [ ! -e /dev/shm/go ]; do :; done"),
        shell("c", "touch /dev/shm/go"),
    ]);
    assert_eq!(pod.run(&[]).code, Some(0));
}

#[test]
fn apps_of_a_pod_share_all_but_their_files() {
    let pod = NSPAWN.pod(&[
        shell(
            "a",
            "touch /mine /dev/shm/a; echo $(hostname) $(readlink /proc/self/ns/ipc) $(readlink /proc/self/ns/pid)",
        ),
        shell(
            "b",
            "while [ ! -e /dev/shm/a ]; do :; done; ls /mine || echo $(hostname) $(readlink /proc/self/ns/ipc) $(readlink /proc/self/ns/pid)",
        ),
    ]);
    let done = pod.run(&["--hostname=web"]);
    let mut lines: Vec<(&str, &str)> =
        done.stdout.lines().map(|line| line.split_once("]: ").unwrap()).collect();
    lines.sort_unstable();
    assert_eq!(lines.len(), 2, "{done:?}");
    assert!(lines[0].0.starts_with("a[") && lines[1].0.starts_with("b["));
    assert_eq!(lines[0].1, lines[1].1);
    assert!(lines[0].1.starts_with("web ipc:["));
}

#[test]
fn what_cannot_be_executed_is_named() {
    for (exec, message) in [
        (json!(["/nope"]), "Error: Unable to open \"/nope\": No such file or directory\n"),
        (json!(["nope"]), "Error: Unable to open \"nope\": No such file or directory\n"),
        (
            json!(["/bin/script"]),
            "Error: Unable to open \"/interpreter\": No such file or directory\n",
        ),
        // Neither our own binary, nor through a script.
        (
            json!(["/proc/self/exe"]),
            "Error: Unable to open \"/proc/self/exe\": Too many levels of symbolic links\n",
        ),
        (
            json!(["/bin/self"]),
            "Error: Unable to open \"/proc/self/exe\": Too many levels of symbolic links\n",
        ),
    ] {
        let pod = NSPAWN.pod(&[app("a", json!({ "exec": exec, "user": "0", "group": "0" }))]);
        for (name, interpreter) in [("script", "/interpreter"), ("self", "/proc/self/exe")] {
            let script = pod.root.join("bin").join(name);
            fs::write(&script, format!("#!{interpreter}\n")).unwrap();
            fs::set_permissions(script, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let done = pod.run(&[]);
        assert_eq!((done.code, done.stdout.as_str()), (Some(203), message));
        assert_eq!(pod.status("a"), Some(203));
    }
}

#[test]
fn capabilities_and_identity_are_as_asked() {
    let caps = "grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status | tr -d '\\t' | tr '\\n' ' '";
    let section = |user: &str, isolators| json!({ "exec": ["/bin/sh", "-c", caps], "user": user, "group": user, "isolators": isolators });
    let set = |name: &str, caps: &[&str]| json!([{ "name": name, "value": { "set": caps } }]);
    for (section, flags, expected) in [
        (
            section("0", json!([])),
            &[][..],
            "CapEff:00000000a80425fb CapBnd:00000000a80425fb NoNewPrivs:0 ",
        ),
        (
            section("web", json!([])),
            &[],
            "CapEff:0000000000000000 CapBnd:00000000a80425fb NoNewPrivs:0 ",
        ),
        (
            section("0", set("os/linux/capabilities-retain-set", &["CAP_CHOWN"])),
            &[],
            "CapEff:0000000000000001 CapBnd:0000000000000001 NoNewPrivs:0 ",
        ),
        (
            section("0", set("os/linux/capabilities-remove-set", &["CAP_CHOWN", "CAP_SYS_ADMIN"])),
            &[],
            "CapEff:00000000a80425fa CapBnd:00000000a80425fa NoNewPrivs:0 ",
        ),
        (
            section("0", json!([{ "name": "os/linux/no-new-privileges", "value": true }])),
            &[],
            "CapEff:00000000a80425fb CapBnd:00000000a80425fb NoNewPrivs:1 ",
        ),
    ] {
        assert_eq!(NSPAWN.pod(&[app("a", section)]).run(flags).stdout, expected);
    }
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).unwrap();
    let done = NSPAWN
        .pod(&[app("a", section("0", json!([])))])
        .run(&["--disable-capabilities-restriction"]);
    assert!(done.stdout.contains(&format!("CapBnd:{own}")), "{done:?} {own}");

    let section =
        json!({ "exec": ["/bin/id"], "user": "web", "group": "web", "supplementaryGIDs": [4, 5] });
    assert_eq!(
        NSPAWN.pod(&[app("a", section)]).run(&[]).stdout,
        "uid=33(web) gid=34(web) groups=4,5\n"
    );
    let pod =
        NSPAWN.pod(&[app("a", json!({ "exec": ["/bin/id"], "user": "nobodyhere", "group": "0" }))]);
    let done = pod.run(&[]);
    let expected =
        "stage1: cannot initialize immutable environment: \"nobodyhere\" user not found\n";
    assert_eq!((done.code, done.stderr.as_str()), (Some(254), expected));
    assert_eq!(pod.status("a"), None);
}

#[test]
fn only_standard_descriptors_and_no_way_out_by_the_working_directory() {
    let pod = NSPAWN.pod(&[shell(
        "a",
        "ls /proc/self/fd | wc -l; for l in exe root cwd fd/3 fd/4; do cat /proc/1/$l; readlink /proc/1/$l; echo $?; done",
    )]);
    // 0, 1, 2 and the folder that ls itself reads; nothing of PID 1 can be opened or followed.
    assert_eq!(pod.run(&[]).stdout, "4\n1\n1\n1\n1\n1\n");
    for number in 3..40 {
        let directory = format!("/proc/self/fd/{number}/..");
        let section = json!({ "exec": ["/bin/ls"], "user": "0", "group": "0", "workingDirectory": directory });
        if number % 9 == 3 {
            assert_eq!(NSPAWN.pod(&[app("a", section)]).run(&[]).code, Some(200));
        }
    }
}

#[test]
fn kernel_paths_are_hidden_unless_asked_otherwise() {
    let script = "stat -c %a /sys/firmware /sys/fs; echo x > /proc/sys/kernel/core_pattern; \
                  cat /proc/kallsyms | wc -c; ls /sys/fs | wc -l";
    let done = NSPAWN.pod(&[shell("a", script)]).run(&[]);
    assert_eq!(done.stdout, "0\n0\n0\n0\n", "{done:?}");
    assert!(done.stderr.contains("Read-only file system"), "{done:?}");
    let done = NSPAWN
        .pod(&[shell("a", "stat -c %a /sys/firmware; ls /sys/fs | grep -c cgroup")])
        .run(&["--disable-paths"]);
    assert_eq!(done.stdout, "755\n1\n");
}

#[test]
fn namespaces_are_as_asked() {
    let link =
        |kind: &str| fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().display().to_string();
    let script = "readlink /proc/self/ns/net; readlink /proc/self/ns/ipc; ip -o addr show lo | grep -c 127.0.0.1; ps > /tmp/ps; wc -l < /tmp/ps";
    let lines = |done: Output| done.stdout.lines().map(str::to_owned).collect::<Vec<_>>();
    let own = lines(NSPAWN.pod(&[shell("a", script)]).run(&[]));
    assert!(own[0] != link("net") && own[1] != link("ipc"), "{own:?}");
    // The heading, PID 1, the shell, ps.
    assert_eq!(&own[2..], ["1", "4"]);
    let shared = lines(finish(
        NSPAWN.pod(&[shell("a", script)]).command(&["--net=host", "--ipc=parent"]).spawn().unwrap(),
    ));
    assert_eq!(shared[..2], [link("net"), link("ipc")]);
    for (flags, message) in [
        (["--net=nope", "--ipc=private"], "networks not found: [nope]"),
        (["--net=none", "--ipc=foo"], "unknown value for --ipc parameter: foo"),
        (["--net=none", "--private-users=65536:65536"], "--private-users is not there yet"),
    ] {
        let done = finish(NSPAWN.pod(&[shell("a", "true")]).command(&flags).spawn().unwrap());
        assert_eq!(done.code, Some(254));
        assert!(done.stderr.contains(message), "{done:?}");
    }
}

#[test]
fn host_volumes_land_inside() {
    let host = std::env::temp_dir().join(format!("nspawn-volume-{}", std::process::id()));
    fs::create_dir_all(host.join("sub")).unwrap();
    fs::write(host.join("file"), "content").unwrap();
    let volume = |name: &str, source: &std::path::Path, ro: bool| json!({ "name": name, "kind": "host", "source": source, "readOnly": ro });
    let volumes = json!([
        volume("rw", &host, false),
        volume("ro", &host, true),
        volume("one", &host.join("file"), true),
    ]);
    let mut app =
        shell("a", "echo x > /link/new; cat /deep/er/one; echo y > /ro/new; ls /etc/passwd /real");
    let mount = |volume: &str, path: &str| json!({ "volume": volume, "path": path });
    app["mounts"] = json!([mount("rw", "/link"), mount("ro", "/ro"), mount("one", "/deep/er/one")]);
    let pod = NSPAWN.pod_with_volumes(&[app], &volumes);
    symlink("/real/../real", pod.root.join("link")).unwrap();
    let done = pod.run(&[]);
    let written = fs::read_to_string(host.join("new"));
    let untouched = !std::path::Path::new("/real").exists();
    fs::remove_dir_all(&host).unwrap();
    assert_eq!(written.unwrap(), "x\n");
    assert!(done.stderr.contains("can't create /ro/new: Read-only file system"), "{done:?}");
    assert!(done.stdout.starts_with("content") && untouched, "{done:?}");
}

#[test]
fn empty_volumes_are_shared_and_seeded() {
    let volumes = json!([{ "name": "v", "kind": "empty", "mode": "1770", "uid": 5, "gid": 6 }]);
    let mount = json!([{ "volume": "v", "path": "/v" }]);
    let mut one = shell("a", "stat -c '%a %u %g' /v > /v/stat; echo done > /v/done");
    let mut two = shell("b", "while [ ! -s /v/done ]; do :; done; cat /v/stat");
    one["mounts"] = mount.clone();
    two["mounts"] = mount;
    let pod = NSPAWN.pod_with_volumes(&[one, two], &volumes);
    assert!(pod.run(&[]).stdout.ends_with(": 1770 5 6\n"));

    let section = json!({
        "exec": ["/bin/sh", "-c", "ls /data; echo more > /data/more"], "user": "0", "group": "0",
        "mountPoints": [{ "name": "data", "path": "/data" }],
    });
    for (annotations, expected) in [
        (json!([{ "name": "appc.io/docker/repository", "value": "tools" }]), "seed\n"),
        (json!([]), ""),
    ] {
        let pod = NSPAWN.pod(&[app("a", section.clone())]);
        pod.image("a", &annotations);
        let done = pod.run(&[]);
        assert_eq!(done.stdout, expected, "{done:?}");
        assert!(done.stderr.contains("no volume specified for mount point \"data\""), "{done:?}");
        assert!(pod.path.join("sharedVolumes/a-data/more").exists());
        assert!(!pod.root.join("data/more").exists());
    }
}

#[test]
fn a_read_only_root_keeps_volumes_writable() {
    let volumes = json!([{ "name": "v", "kind": "empty" }]);
    let mut app = shell("a", "touch /x || touch /v/x && ls /v; touch /dev/shm/x");
    app["mounts"] = json!([{ "volume": "v", "path": "/v" }]);
    app["readOnlyRootFS"] = json!(true);
    let done = NSPAWN.pod_with_volumes(&[app], &volumes).run(&[]);
    assert_eq!((done.code, done.stdout.as_str()), (Some(0), "x\n"), "{done:?}");
}

#[test]
fn limits_are_applied_or_the_pod_does_not_start() {
    let limit = |name: &str, value| json!({ "name": name, "value": value });
    let section = json!({
        "exec": ["/bin/sh", "-c", "echo up; sleep 1000"], "user": "0", "group": "0",
        "isolators": [
            limit("resource/memory", json!({ "limit": "32M" })), limit("resource/cpu", json!({ "limit": "500m" })),
            limit("os/linux/pids-limit", json!(20)), limit("os/linux/cpu-shares", json!(77)),
            limit("os/linux/oom-score-adj", json!(900)),
        ],
    });
    let pod = NSPAWN.pod(&[app("a", section)]);
    let child = pod.start();
    let read = |file: &str| {
        let path = pod
            .groups()
            .into_iter()
            .map(|group| group.join(file))
            .find(|path| path.exists())
            .unwrap();
        fs::read_to_string(path).unwrap().trim().to_owned()
    };
    let [memory, rest @ ..] =
        ["memory.limit_in_bytes", "cpu.cfs_quota_us", "pids.max", "cpu.shares"].map(read);
    assert_eq!(rest, ["50000", "20", "77"]);
    // The kernel counts in pages.
    assert!((31_995_904..=32_000_000).contains(&memory.parse::<u64>().unwrap()), "{memory}");
    let entered = pod.enter("a", &["/bin/cat", "/proc/self/oom_score_adj"]);
    assert_eq!(entered.stdout, "900\n", "{entered:?}");
    assert_eq!(pod.call(STOP, &[&pod.uuid]).code, Some(0));
    assert_eq!(finish(child).code, Some(0));

    let section = json!({
        "exec": ["/bin/echo", "started"], "user": "0", "group": "0",
        "isolators": [limit("resource/memory", json!({ "limit": "32M" }))],
    });
    let pod = NSPAWN.pod(&[app("a", section)]);
    // A host without version 1 groups.
    let mut command = std::process::Command::new("unshare");
    let inner = pod.command(&["--net=none"]);
    command.args(["-m", "sh", "-c", "umount -l /sys/fs/cgroup && exec \"$@\"", "sh"]);
    command
        .arg(inner.get_program())
        .args(inner.get_args())
        .current_dir(&pod.path)
        .env("RKT_LOCK_FD", "9");
    let piped = std::process::Stdio::piped;
    let done = finish(command.stdout(piped()).stderr(piped()).spawn().unwrap());
    assert_eq!((done.code, done.stdout.as_str()), (Some(254), ""), "{done:?}");
    assert!(done.stderr.contains("cannot apply the memory limit"), "{done:?}");
}

#[test]
fn stop_asks_and_force_kills() {
    let pod = NSPAWN.pod(&[shell("a", "trap 'echo bye; exit 3' TERM; echo up; sleep 1000 & wait")]);
    let child = pod.start();
    assert_eq!(pod.call(STOP, &[&pod.uuid]).code, Some(0));
    let done = finish(child);
    assert_eq!((done.code, done.stdout.as_str()), (Some(0), "bye\n"), "{done:?}");

    let pod = NSPAWN.pod(&[shell("a", "trap '' TERM; echo up; sleep 1000")]);
    let child = pod.start();
    assert_eq!(pod.call(STOP, &["--force", &pod.uuid]).code, Some(0));
    let done = finish(child);
    assert_eq!((done.code, done.signal, pod.status("a")), (None, Some(9), None));
    assert!(pod.groups().is_empty());
    assert_eq!(pod.call(STOP, &[&pod.uuid]).code, Some(254));
}

#[test]
fn signals_to_the_caller_reach_the_pod() {
    let pod = NSPAWN.pod(&[shell("a", "trap 'echo usr; exit 4' USR1; echo up; sleep 1000 & wait")]);
    let child = pod.start();
    kill(&child.id().to_string(), number::USER1).unwrap();
    let done = finish(child);
    assert_eq!((done.code, done.stdout.as_str()), (Some(4), "usr\n"));
}

#[test]
fn whoever_is_killed_takes_all_along() {
    for inside in [true, false] {
        let pod = NSPAWN.pod(&[shell("a", "sleep 1000 & echo up; sleep 1000")]);
        let mut child = pod.start();
        let victim = if inside { pod.text("pid") } else { child.id().to_string() };
        let members = |pod: &HandmadePod| {
            pod.groups()
                .iter()
                .filter_map(|g| fs::read_to_string(g.join("tasks")).ok())
                .collect::<String>()
        };
        assert!(!members(&pod).is_empty());
        kill(&victim, number::KILL).unwrap();
        child.wait().unwrap();
        eventually("the pod's processes are gone", || members(&pod).is_empty());
        eventually("the lock is free", || !pod.is_locked());
        assert_eq!(pod.call(GC, &[&pod.uuid]).code, Some(0));
        assert_eq!(pod.call(GC, &[&pod.uuid]).code, Some(0));
        assert!(pod.groups().is_empty());
    }
}

#[test]
fn who_enters_is_as_restricted_as_the_app() {
    let status = "grep -E 'Cap|NoNew|Groups|Uid' /proc/self/status; cat /proc/self/cgroup; umask; pwd; echo $X; \
                  readlink /proc/self/ns/mnt; readlink /proc/self/ns/pid; readlink /proc/self/ns/net";
    let script = format!("({status}) > /tmp/own; echo up; sleep 1000");
    let section = json!({
        "exec": ["/bin/sh", "-c", script], "user": "0", "group": "0",
        "environment": [{ "name": "X", "value": "two\nlines" }],
        "isolators": [{ "name": "os/linux/no-new-privileges", "value": true }],
    });
    for apps in [vec![app("a", section.clone())], vec![app("a", section), shell("b", "sleep 1000")]]
    {
        let several = apps.len() > 1;
        let pod = NSPAWN.pod(&apps);
        let child = if several {
            let child = pod.command(&["--net=none"]).spawn().unwrap();
            eventually("the app is up", || pod.path.join("appsinfo/a/upper/tmp/own").exists());
            eventually("the app has a log", || pod.path.join("logs/a").exists());
            child
        } else {
            pod.start()
        };
        let own = fs::read_to_string(pod.path.join("appsinfo/a/upper/tmp/own")).unwrap();
        let entered = pod.enter("a", &["/bin/sh", "-c", status]);
        assert_eq!(entered.stdout, own, "{entered:?}");
        assert_eq!(pod.enter("a", &["sh", "-c", "exit 9"]).code, Some(9));
        assert_eq!(pod.enter("a", &["/nope"]).code, Some(254));
        assert_eq!(pod.enter("c", &["/bin/true"]).code, Some(254));
        assert_eq!(pod.call(STOP, &["--force", &pod.uuid]).code, Some(0));
        finish(child);
    }
}

#[test]
fn hooks_run_as_root_around_the_app() {
    let section = json!({
        "exec": ["/bin/sh", "-c", "id -u >> /tmp/order; exit 6"], "user": "33", "group": "34",
        "eventHandlers": [
            { "name": "pre-start", "exec": ["/bin/sh", "-c", "echo pre $(id -u) > /tmp/order; : > /tmp/x; chmod 666 /tmp/order"] },
            { "name": "post-stop", "exec": ["/bin/sh", "-c", "echo post $(id -u) >> /tmp/order; cat /tmp/order"] },
        ],
    });
    let pod = NSPAWN.pod(&[app("a", section)]);
    symlink("busybox", pod.root.join("bin/chmod")).unwrap();
    let done = pod.run(&[]);
    assert_eq!((done.code, done.stdout.as_str()), (Some(6), "pre 0\n33\npost 0\n"), "{done:?}");
}

#[test]
fn default_files_are_there() {
    let script = "for l in /etc/mtab /dev/ptmx /dev/log; do readlink $l; done; hostname; cat /etc/hosts | head -1 | cut -f2; \
                  stat -c '%a %F' /dev/pts/ptmx /dev/console /dev/null; grep -c ' /dev/shm ' /proc/mounts";
    let pod = NSPAWN.pod(&[shell("a", script)]);
    let name = format!("rkt-{}", pod.uuid);
    let expected = format!(
        "../proc/self/mounts\npts/ptmx\n/run/systemd/journal/dev-log\n{name}\nlocalhost {name}\n\
         666 character special file\n666 character special file\n666 character special file\n2\n"
    );
    assert_eq!(pod.run(&[]).stdout, expected);
}

#[test]
fn dns_files_come_from_where_they_are_asked_to() {
    let script = "cat /etc/resolv.conf; cat /etc/hosts";
    let pod = NSPAWN.pod(&[shell("a", script)]);
    fs::create_dir_all(pod.path.join("rkt")).unwrap();
    fs::write(pod.path.join("rkt/resolv.conf"), "nameserver 1.2.3.4\n").unwrap();
    let done = pod.run(&["--dns-conf-mode=resolv=stage0,hosts=host"]);
    let hosts = fs::read_to_string("/etc/hosts").unwrap();
    assert_eq!(done.stdout, format!("nameserver 1.2.3.4\n{hosts}"), "{done:?}");
}

#[test]
fn interactive_input_is_the_callers() {
    use std::io::Write;
    let pod = NSPAWN.pod(&[app("a", json!({ "exec": ["/bin/cat"], "user": "0", "group": "0" }))]);
    let mut command = pod.command(&["--net=none", "--interactive"]);
    let mut child = command.stdin(std::process::Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"said\n").unwrap();
    assert_eq!(finish(child).stdout, "said\n");
    assert_eq!(NSPAWN.pod(&[shell("a", "cat; echo none")]).run(&[]).stdout, "none\n");
}

#[test]
fn interactive_terminals_are_real() {
    let pod = NSPAWN
        .pod(&[shell("a", "stty size; [ -t 0 ] && readlink /proc/self/fd/0; head -n 1; exit 3")]);
    let pair = sys::terminal::open(c"/dev/ptmx").unwrap();
    let size = rustix::termios::Winsize { ws_row: 33, ws_col: 77, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&pair.master, size).unwrap();
    let slave = || std::process::Stdio::from(pair.slave.try_clone().unwrap());
    let mut child = pod
        .command(&["--net=none", "--interactive"])
        .stdin(slave())
        .stdout(slave())
        .stderr(slave())
        .spawn()
        .unwrap();
    let mut text = String::new();
    let mut buffer = [0_u8; 256];
    while !text.contains("typed\r\ntyped") {
        let length = rustix::io::read(&pair.master, &mut buffer).unwrap();
        text.push_str(&String::from_utf8_lossy(&buffer[..length]));
        if text.contains("/dev/pts/0\r\n") && !text.contains("typed") {
            rustix::io::write(&pair.master, b"typed\r").unwrap();
        }
    }
    assert!(text.starts_with("33 77\r\n/dev/pts/0\r\n"), "{text:?}");
    assert_eq!(child.wait().unwrap().code(), Some(3));
    let modes = rustix::termios::tcgetattr(&pair.slave).unwrap();
    assert!(modes.local_modes.contains(rustix::termios::LocalModes::ICANON));
}

#[test]
fn a_private_copy_is_the_root_without_overlay() {
    let pod = NSPAWN.pod(&[shell("a", "touch /mine; ls -d /mine")]);
    fs::remove_file(pod.path.join("appsinfo/a/layers")).unwrap();
    let copy = pod.path.join("appsinfo/a/rootfs");
    assert!(
        std::process::Command::new("cp")
            .arg("-a")
            .args([&pod.root, &copy])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(pod.run(&[]).stdout, "/mine\n");
    assert_eq!(fs::metadata(copy.join("mine")).unwrap().uid(), 0);
    assert!(!pod.root.join("mine").exists());
}
