//! `init` without a machine: PID 1 of namespaces, driven by its host over the wire. Needs root, loop devices, EROFS in the
//! kernel, `mkfs.erofs` and `/bin/busybox` (static).

#[cfg(test)]
mod guest;
#[cfg(test)]
mod machine;
#[cfg(test)]
mod network;
#[cfg(test)]
mod volumes;

use guest::{Lab, SOON, app, command, listed, read_until, shell};
use pod_proto::config::{Dialogue, HostsFile};
use pod_proto::message::{End, Export, Size, Usage};
use pod_proto::{FromGuest, FromHost, Process, Stream};
use serde_json::json;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Instant, SystemTime};

const APP: Process = Process::App(0);

#[test]
fn code_and_output_of_one_app() {
    let lab = Lab::new(&[shell("a", "echo out; echo err >&2; printf rest; exit 7")]);
    let mut guest = lab.start();
    assert_eq!(guest.output(), "out\nrest");
    assert_eq!(guest.text(APP, Stream::Error), "err\n");
    let (before, code) = guest.finish();
    assert!(matches!(
        before.as_slice(),
        [FromGuest::Started(APP, 2..), FromGuest::Exited(APP, End::Code(7))]
    ));
    assert_eq!(code, 7);
}

#[test]
fn the_first_failure_ends_the_pod_and_names_are_shared() {
    let lab = Lab::new(&[
        shell("a", "touch /dev/shm/a /mine; hostname; sleep 1000"),
        shell(
            "b",
            "while [ ! -e /dev/shm/a ]; do :; done; ls /mine 2>/dev/null; hostname; kill -9 $$",
        ),
    ]);
    let mut guest = lab.start();
    let name = format!("{}\n", lab.config.hostname);
    assert_eq!(guest.text(Process::App(1), Stream::Output), name);
    let (before, code) = guest.finish();
    let ends: Vec<_> = before.iter().filter(|m| matches!(m, FromGuest::Exited(..))).collect();
    assert_eq!(
        ends,
        [
            &FromGuest::Exited(Process::App(1), End::Signal(9)),
            &FromGuest::Exited(APP, End::Code(0)),
        ]
    );
    assert_eq!(code, 9);
}

#[test]
fn streams_end_with_their_app() {
    let mut waits = shell("a", "cat");
    waits["dialogue"] = json!("streams");
    let lab = Lab::new(&[waits, shell("b", "echo b")]);
    let mut guest = lab.start();
    let input = guest.stream(APP, Stream::Input);
    // While the other goes on.
    assert_eq!(guest.text(Process::App(1), Stream::Output), "b\n");
    drop(input);
    assert_eq!(guest.finish().1, 0);
}

#[test]
fn hooks_run_as_root_around_the_app() {
    let hooks = json!({
        "main": ["/bin/sh", "-c", "id -u"],
        "pre_start": ["/bin/sh", "-c", "id -u; id -g"],
        "post_stop": ["/bin/sh", "-c", "echo bye $(id -u)"],
    });
    let who = json!({ "user": "web", "group": "34", "supplementary": [], "rule": "own" });
    let lab = Lab::new(&[app("a", &json!({ "commands": hooks, "identity": who }))]);
    let mut guest = lab.start();
    assert_eq!(guest.output(), "0\n0\n33\nbye 0\n");
    assert_eq!(guest.finish().1, 0);
}

#[test]
fn what_cannot_be_executed_is_named() {
    let missing = json!({ "main": ["/bin/nothing"], "pre_start": [], "post_stop": [] });
    let lab = Lab::new(&[app("a", &json!({ "commands": missing }))]);
    let mut guest = lab.start();
    let text = "Error: Unable to open \"/bin/nothing\": No such file or directory\n";
    assert_eq!(guest.output(), text);
    assert_eq!(guest.finish().1, 203);
}

#[test]
fn a_pod_that_cannot_be_says_why() {
    let who = json!({ "user": "nobody-here", "group": "0", "supplementary": [], "rule": "own" });
    let lab = Lab::new(&[app("a", &json!({ "identity": who }))]);
    let (guest, answer) = lab.configured();
    let FromGuest::Failed(sentence) = answer else { panic!("{answer:?}") };
    let expected = "cannot initialize immutable environment: \"nobody-here\" user not found";
    assert_eq!(sentence.as_str(), expected);
    guest.control.shutdown(Shutdown::Both).unwrap();
    assert_eq!(guest.ended(), (254, format!("rkt: {expected}\n")));
}

#[test]
fn an_input_ends_where_the_host_ends_it() {
    let mut cat = shell("a", "cat; echo over");
    cat["dialogue"] = json!("streams");
    let lab = Lab::new(&[cat]);
    let mut guest = lab.start();
    let mut input = guest.stream(APP, Stream::Input);
    let mut output = guest.stream(APP, Stream::Output);
    let large = "0123456789abcdef".repeat(1 << 15);
    let reader = std::thread::spawn(move || read_until(&mut output, "over\n"));
    input.write_all(large.as_bytes()).unwrap();
    input.shutdown(Shutdown::Write).unwrap();
    assert_eq!(reader.join().unwrap(), format!("{large}over\n"));
    assert_eq!(guest.finish().1, 0);
}

#[test]
fn terminals_are_real() {
    let mut talk = shell("a", "tty; stty size; read line; stty size; echo got $line");
    talk["dialogue"] = json!({ "terminal": { "rows": 20, "columns": 70 } });
    let lab = Lab::new(&[talk]);
    let mut guest = lab.start();
    let mut terminal = guest.stream(APP, Stream::Terminal);
    assert_eq!(read_until(&mut terminal, "20 70\r\n"), "/dev/pts/0\r\n20 70\r\n");
    guest.say(&FromHost::Resize(APP, Size { rows: 30, columns: 90 }));
    // An answer to a later question: the size has been set.
    guest.say(&FromHost::Stats);
    while !matches!(guest.hear(), FromGuest::Usage(_)) {}
    terminal.write_all(b"hello\n").unwrap();
    assert_eq!(read_until(&mut terminal, "got hello\r\n"), "hello\r\n30 90\r\ngot hello\r\n");
    assert_eq!(guest.finish().1, 0);
}

#[test]
fn commands_run_inside_an_app() {
    let lab = Lab::new(&[shell("a", "touch /mine; sleep 1000")]);
    let mut guest = lab.start();
    let first = guest.hear();
    assert!(matches!(first, FromGuest::Started(APP, _)), "{first:?}");
    let one = Process::Exec(1);
    let script =
        "while [ ! -e /mine ]; do :; done; cat; grep -c NoNewPrivs:.1 /proc/self/status; exit 5";
    guest.say(&command(1, &["sh", "-c", script], Dialogue::Streams));
    let mut input = guest.stream(one, Stream::Input);
    input.write_all(b"through\n").unwrap();
    input.shutdown(Shutdown::Write).unwrap();
    assert_eq!(guest.text(one, Stream::Output), "through\n1\n");
    assert_eq!(guest.end_of(one), End::Code(5));

    let two = Process::Exec(2);
    let size = Size { rows: 11, columns: 22 };
    guest.say(&command(2, &["sh", "-c", "tty; stty size; cat"], Dialogue::Terminal(size)));
    let mut terminal = guest.stream(two, Stream::Terminal);
    assert_eq!(read_until(&mut terminal, "11 22\r\n"), "/dev/pts/0\r\n11 22\r\n");
    // ^C
    terminal.write_all(&[3]).unwrap();
    assert_eq!(guest.end_of(two), End::Signal(2));

    guest.say(&command(3, &["nothing"], Dialogue::Silent));
    let answer = guest.hear();
    let FromGuest::Refused(3, why) = &answer else { panic!("{answer:?}") };
    assert_eq!(why.as_str(), "Unable to open \"nothing\": No such file or directory");

    guest.say(&command(4, &["sleep", "1000"], Dialogue::Silent));
    assert!(matches!(guest.hear(), FromGuest::Started(Process::Exec(4), _)));
    guest.say(&FromHost::Signal(Process::Exec(4), 10));
    assert_eq!(guest.end_of(Process::Exec(4)), End::Signal(10));

    // Whatever still runs ends with the pod, and that is told.
    guest.say(&command(5, &["sleep", "1000"], Dialogue::Silent));
    assert!(matches!(guest.hear(), FromGuest::Started(Process::Exec(5), _)));
    guest.say(&FromHost::Stop(10_000));
    let (before, code) = guest.finish();
    let killed = FromGuest::Exited(Process::Exec(5), End::Signal(9));
    assert_eq!((before, code), (vec![FromGuest::Exited(APP, End::Code(0)), killed], 0));
}

#[test]
fn the_files_of_an_app_are_given_without_what_is_mounted() {
    let volume =
        json!({ "empty": { "name": "v", "mode": 0o755, "uid": 0, "gid": 0, "seeded": false } });
    let step =
        json!({ "source": volume, "target": "/vol", "access": "read-write", "depth": "recursive" });
    let script = "echo new > /etc/new; ln /etc/new /etc/again; echo x > /vol/hidden; echo s > /dev/shm/hidden
        rm /etc/passwd; ln -s /proc/1 /tmp/l; mkfifo /tmp/p; dd if=/dev/zero of=/tmp/large bs=1k count=300 2>/dev/null
        chown 7:8 /tmp/large; chmod 4711 /tmp/large; echo ready; sleep 1000";
    let mut a = shell("a", script);
    a["mounts"] = json!({ "steps": [step], "implicit": [] });
    // To change owners, and modes of others' files.
    a["rights"]["capabilities"] = json!(1 + 8 + 16);
    let lab = Lab::new(&[a, shell("b", "touch /of-b; sleep 1000")]);
    let mut guest = lab.start();
    let mut output = guest.stream(APP, Stream::Output);
    read_until(&mut output, "ready\n");
    let one = Process::Exec(1);
    guest.say(&FromHost::Export(Export { id: 1, app: 0 }));
    let mut tar = Vec::new();
    guest.stream(one, Stream::Output).read_to_end(&mut tar).unwrap();
    assert_eq!(guest.text(one, Stream::Error), "");
    assert_eq!(guest.end_of(one), End::Code(0));
    let found = listed(&tar);
    let has = |words: &[&str]| {
        found.iter().any(|line| {
            let line: Vec<&str> = line.split_whitespace().collect();
            words.iter().all(|word| line.contains(word))
        })
    };
    for words in [
        &["drwxr-xr-x", "rootfs"][..],
        &["rootfs/bin/busybox"],
        &["rootfs/data/seed"],
        &["-rws--x--x", "7/8", "307200", "rootfs/tmp/large"],
        &["lrwxrwxrwx", "rootfs/tmp/l", "->", "/proc/1"],
        &["prw-r--r--", "rootfs/tmp/p"],
        &["drwxr-xr-x", "rootfs/vol"],
        &["drwxr-xr-x", "rootfs/proc"],
        &["drwxr-xr-x", "rootfs/sys"],
        &["drwxr-xr-x", "rootfs/dev"],
    ] {
        assert!(has(words), "{words:?}: {found:#?}");
    }
    let links = found.iter().filter(|line| line.starts_with('h') && line.contains("rootfs/etc/"));
    assert_eq!(links.count(), 1, "{found:#?}");
    for inside in ["hidden", "passwd", "of-b", "rootfs/proc/", "rootfs/dev/", "rootfs/sys/"] {
        assert!(!found.iter().any(|line| line.contains(inside)), "{inside}: {found:#?}");
    }

    guest.say(&FromHost::Export(Export { id: 2, app: 1 }));
    let mut tar = Vec::new();
    guest.stream(Process::Exec(2), Stream::Output).read_to_end(&mut tar).unwrap();
    assert!(listed(&tar).iter().any(|line| line.ends_with(" rootfs/of-b")));
    assert_eq!(guest.end_of(Process::Exec(2)), End::Code(0));

    // Who is not read waits, and can be hung up on.
    guest.say(&command(
        3,
        &["dd", "if=/dev/zero", "of=/tmp/more", "bs=1M", "count=6"],
        Dialogue::Silent,
    ));
    assert_eq!(guest.end_of(Process::Exec(3)), End::Code(0));
    guest.say(&FromHost::Export(Export { id: 4, app: 0 }));
    guest.stream(Process::Exec(4), Stream::Output).read_exact(&mut [0; 512]).unwrap();
    guest.say(&FromHost::Signal(Process::Exec(4), 1));
    assert_eq!(guest.end_of(Process::Exec(4)), End::Signal(1));
    guest.say(&FromHost::Stop(10_000));
    assert_eq!(guest.finish().1, 0);
}

#[test]
fn what_cannot_be_given_is_said_in_words() {
    let script = "cd /tmp; i=0; while [ $i -lt 1100 ]; do mkdir d && cd d || exit 9; i=$((i+1)); done; echo ready; sleep 1000";
    let lab = Lab::new(&[shell("a", script)]);
    let mut guest = lab.start();
    let mut output = guest.stream(APP, Stream::Output);
    read_until(&mut output, "ready\n");
    let one = Process::Exec(1);
    guest.say(&FromHost::Export(Export { id: 1, app: 0 }));
    let mut tar = Vec::new();
    guest.stream(one, Stream::Output).read_to_end(&mut tar).unwrap();
    assert!(!tar.ends_with(&[0; 1024]), "it looks whole");
    let text = guest.text(one, Stream::Error);
    let expected = "the path of a file is too deep or too long for an image: tmp/d/d/";
    assert!(text.starts_with(expected), "{text}");
    assert_eq!(guest.end_of(one), End::Code(1));
    guest.say(&FromHost::Stop(10_000));
    assert_eq!(guest.finish().1, 0);
}

#[test]
fn who_does_not_end_in_time_is_killed() {
    let stubborn = shell("a", "trap '' TERM; echo ready; while :; do sleep 1000; done");
    let lab =
        Lab::new(&[stubborn, shell("b", "trap 'exit 3' TERM; echo ready; sleep 1000 & wait")]);
    let mut guest = lab.start();
    for app in [APP, Process::App(1)] {
        let mut output = guest.stream(app, Stream::Output);
        read_until(&mut output, "ready\n");
    }
    let asked = Instant::now();
    guest.say(&FromHost::Stop(u32::try_from(SOON.as_millis()).unwrap()));
    assert_eq!(guest.end_of(Process::App(1)), End::Code(3));
    assert_eq!(guest.end_of(APP), End::Code(0));
    assert!(asked.elapsed() >= SOON);
    assert_eq!(guest.finish().1, 0);
}

#[test]
fn what_nobody_reads_keeps_the_pod_until_nobody_wants_it() {
    let lab = Lab::new(&[shell("a", "cat /dev/zero")]);
    let mut guest = lab.start();
    let mut output = guest.stream(APP, Stream::Output);
    output.read_exact(&mut [0; 1]).unwrap();
    guest.say(&FromHost::Stop(0));
    assert_eq!(guest.end_of(APP), End::Code(0));
    // What is left may by chance be so little that nobody has to wait for it.
    guest.say_in_time(&FromHost::Stop(0));
    assert_eq!(guest.finish().1, 0);
}

#[test]
fn a_pod_can_be_stopped_before_it_starts() {
    let lab = Lab::new(&[shell("a", "echo never")]);
    let (mut guest, answer) = lab.configured();
    assert_eq!(answer, FromGuest::Ready);
    guest.say(&FromHost::Stop(0));
    assert_eq!(guest.output(), "");
    let (before, code) = guest.finish();
    assert_eq!((before, code), (vec![], 0));
}

#[test]
fn apps_are_confined() {
    let script = "grep -E 'CapBnd|NoNewPrivs|Seccomp:' /proc/self/status; cat /proc/kcore 2>&1 | grep -c denied; ls /sys/firmware
        cat /proc/1/fd/0 /proc/1/root/etc/passwd 2>&1 | grep -c denied; ls /; ls /dev; readlink /proc/self/fd/0
        echo x > /etc/here && cat /data/seed; grep -cv ' /proc\\| /sys\\| /dev' /proc/self/mounts; ls /proc/self/fd | wc -l";
    let lab = Lab::new(&[shell("a", script)]);
    let mut guest = lab.start();
    let text = guest.output();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines.first().unwrap().split_whitespace().last(),
        Some("00000000000000e0"),
        "{text}"
    );
    let dev = "console fd full mqueue net null ptmx pts random shm stderr stdin stdout tty urandom zero log";
    for line in
        lines.iter().skip_while(|line| **line != "console").take_while(|l| **l != "/dev/null")
    {
        assert!(dev.split(' ').any(|known| known == *line), "/dev/{line}: {text}");
    }
    for expected in ["NoNewPrivs:\t1", "2", "/dev/null", "from the image", "bin", "data"] {
        assert!(lines.contains(&expected), "{expected}: {text}");
    }
    assert!(!lines.iter().any(|line| ["images", "pod", "shares"].contains(line)), "{text}");
    // Its root is all it has mounted beside kernel file systems; 0, 1, 2 and the folder that is read are all it has open.
    assert_eq!(&lines[lines.len() - 2..], ["1", "4"], "{text}");
    assert_eq!(guest.finish().1, 0);
}

#[test]
fn volumes_and_names_are_as_configured() {
    let step = |name: &str, target: &str, seeded: bool, access: &str| {
        let source = json!({ "empty": { "name": name, "mode": 0o1777, "uid": 33, "gid": 34, "seeded": seeded } });
        json!({ "source": source, "target": target, "access": access, "depth": "recursive" })
    };
    let script = "stat -c '%a %u %g' /shared; echo here > /shared/x; cat /data/seed; cat /etc/resolv.conf; cat /etc/hosts
        touch /no 2>/dev/null || echo read-only";
    let mut a = shell("a", script);
    a["mounts"] = json!({ "steps": [step("v", "/shared", false, "read-write"), step("d", "/data", true, "read-write")], "implicit": [] });
    a["root"] = json!("read-only");
    let mut b = shell(
        "b",
        "while [ ! -s /v/x ]; do :; done; cat /v/x; touch /v/y 2>/dev/null || echo read-only",
    );
    b["mounts"] = json!({ "steps": [step("v", "/v", false, "read-only")], "implicit": [] });
    let mut lab = Lab::new(&[a, b]);
    lab.config.resolv = Some("nameserver 10.1.2.3\n".to_owned());
    lab.config.hosts = HostsFile::Text("10.9.9.9 me\n".to_owned());
    let mut guest = lab.start();
    let expected = "1777 33 34\nfrom the image\nnameserver 10.1.2.3\n10.9.9.9 me\nread-only\n";
    assert_eq!(guest.output(), expected);
    assert_eq!(guest.text(Process::App(1), Stream::Output), "here\nread-only\n");
    assert_eq!(guest.finish().1, 0);
}

#[test]
fn what_apps_write_is_bounded() {
    let script = "cat /dev/zero > /fill 2>/dev/null; stat -c %s /fill; stat -f -c '%b' / | wc -l";
    let lab = Lab::new(&[shell("a", script)]);
    let mut guest = lab.start();
    let text = guest.output();
    let size: u64 = text.lines().next().unwrap().parse().unwrap();
    assert!((6 << 20..=8 << 20).contains(&size), "{text}");
    assert_eq!(guest.finish().1, 0);
}

#[test]
fn a_host_that_is_gone_takes_the_pod_along() {
    let lab = Lab::new(&[shell("a", "setsid sleep 1000 & echo ready; sleep 1000")]);
    let mut guest = lab.start();
    let mut output = guest.stream(APP, Stream::Output);
    read_until(&mut output, "ready\n");
    guest.control.shutdown(Shutdown::Both).unwrap();
    assert_eq!(guest.ended(), (254, "rkt: the host has closed the connection\n".to_owned()));
}

#[test]
fn a_host_that_makes_no_sense_ends_the_pod() {
    for (bytes, complaint) in [
        (&b"\0\0\0\0\x02"[..], "the host says start before the pod is configured"),
        (b"\0\0\0\0\x81", "a message of the unknown kind 129"),
        (
            b"\xff\xff\xff\xff\x08",
            "a message stop of 4294967295 bytes, where at most 256 are allowed",
        ),
        (
            b"\x02\0\0\0\x01{}",
            "a malformed message configure: a field is missing, unknown or of a wrong type",
        ),
    ] {
        let lab = Lab::new(&[shell("a", "true")]);
        let mut guest = lab.boot();
        guest.control.write_all(bytes).unwrap();
        assert_eq!(guest.ended(), (254, format!("rkt: {complaint}\n")));
    }
}

#[test]
fn what_is_used_is_told_and_the_clock_of_others_is_not_set() {
    let lab = Lab::new(&[shell("a", "sleep 1000")]);
    let mut guest = lab.start();
    assert!(matches!(guest.hear(), FromGuest::Started(..)));
    guest.say(&FromHost::SyncTime(lab.config.time));
    guest.say(&FromHost::Stats);
    let FromGuest::Usage(Usage { memory_total, memory_free, apps }) = guest.hear() else {
        panic!("another answer")
    };
    assert!(memory_total > memory_free && memory_free > 0);
    assert!(apps.len() == 1 && apps[0].cpu.is_some(), "{apps:?}");
    assert!(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() > 1_000_000_000);
    guest.say(&FromHost::Stop(1000));
    assert_eq!(guest.finish().1, 0);
}

#[test]
fn nobody_else_may_run_it() {
    let done = std::process::Command::new(env!("CARGO_BIN_EXE_init"))
        .arg("rkt.unix=/x/y")
        .output()
        .unwrap();
    let text = "rkt: this program is the first process of a virtual machine, and of nothing else\n";
    assert_eq!(
        (done.status.code(), String::from_utf8(done.stderr).unwrap().as_str()),
        (Some(254), text)
    );
}
