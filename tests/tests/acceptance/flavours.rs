//! Stage1s: how one is chosen, what stage0 promises to any of them, and what fly does differently.

use serde_json::json;
use std::fs;
use std::process::Command;
use testkit::sandbox::dist;
use testkit::{FLY, Image, NSPAWN, Output, Rkt, Running, Stub, flavours, wait};

#[test]
fn a_broken_stage1_that_nobody_named_is_in_nobodys_way() {
    let rkt = Rkt::new();
    let stage1s = rkt.folder("stage1s");
    rkt.file("stage1s/stage1-aaa.aci", "no image");
    let paths = json!({ "rktVersion": "v1", "rktKind": "paths", "stage1-images": stage1s });
    rkt.configure("local", "paths.d/paths.json", &paths);
    let run = |name: &str| {
        let flag = format!("--stage1-name={name}");
        rkt.pod(&NSPAWN, &[&flag, &rkt.shell(), "--", "echo it runs"])
    };
    // The name is that of no file, so that all of them are asked whether it is theirs.
    let output = run("coreos").ok();
    assert_eq!(output.stdout, "it runs\n");
    assert!(output.stderr.contains("stage1-aaa.aci"), "{output:#?}");
    run("aaa").refuses("stage1-aaa.aci");
}

#[test]
fn a_stage1_is_chosen_in_five_ways() {
    let rkt = Rkt::new();
    let image = rkt.shell();
    let fly = dist("stage1-fly.aci").display().to_string();
    let stage1s = rkt.folder("stage1s");
    fs::copy(&fly, rkt.path("stage1s/mine.aci")).unwrap();
    let paths = json!({ "rktVersion": "v1", "rktKind": "paths", "stage1-images": stage1s });
    rkt.configure("local", "paths.d/paths.json", &paths);
    let id = rkt.fetch(&fly);
    for flag in [
        format!("--stage1-path={fly}"),
        format!("--stage1-url=file://{fly}"),
        "--stage1-name=coreos.com/rkt/stage1-fly".to_owned(),
        format!("--stage1-hash={id}"),
        "--stage1-from-dir=mine.aci".to_owned(),
        "--stage1-name=fly".to_owned(),
    ] {
        let words =
            ["--insecure-options=image", "run", &*flag, &image, "--", "readlink /proc/self/ns/pid"];
        let output = rkt.run(&words).ok();
        let host = fs::read_link("/proc/self/ns/pid").unwrap();
        assert_eq!(output.text(), host.to_str().unwrap(), "{flag}");
    }
    let two = ["run", &format!("--stage1-path={fly}"), "--stage1-name=fly", &image];
    rkt.run(&two).refuses("mutually exclusive");
    // With a flag there is no other place to look.
    for flag in ["--stage1-from-dir=nope.aci", "--stage1-path=/nope.aci", "--stage1-hash=sha512-00"]
    {
        rkt.run(&["--insecure-options=image", "run", flag, &image, "--", "true"]).code(254);
    }
}

/// `rkt run` with a stub as stage1.
fn stub_words<'a>(stub: &'a str, image: &'a str, words: &[&'a str]) -> Vec<&'a str> {
    [&["--insecure-options=image", "run", stub], words, &[image]].concat()
}

fn stub_flag(rkt: &Rkt, stub: &Stub) -> String {
    format!("--stage1-path={}", rkt.image(&stub.image()))
}

/// The values of one key of the stub's report.
fn report<'a>(output: &'a Output, key: &str) -> Vec<&'a str> {
    let prefix = format!("{key}=");
    output.lines().into_iter().filter_map(|line| line.strip_prefix(prefix.as_str())).collect()
}

#[test]
fn stage0_keeps_its_promises_to_any_stage1() {
    let rkt = Rkt::new();
    let stub = stub_flag(&rkt, &Stub { others: &[], version: Some(6) });
    let image = rkt.image(&Image::busybox("app"));
    let mut command = rkt.command(&stub_words(&stub, &image, &["--net=host"]));
    command.env("STUB_VARIABLE", "unchanged").env("STUB_COMMAND", "exit 23");
    let output = rkt.finish(&mut command).code(23);
    let uuid = rkt.only_pod();
    let folder = rkt.data.join("pods/run").join(&uuid).display().to_string();
    assert_eq!(report(&output, "cwd"), [&folder]);
    assert_eq!(report(&output, "lock"), [&folder]);
    assert_eq!(report(&output, "program"), [format!("{folder}/stage1/rootfs/run")]);
    assert_eq!(report(&output, "selinux"), [","]);
    assert_eq!(report(&output, "caller"), ["unchanged"]);
    let local = format!("--local-config={}", rkt.top.join("local").display());
    assert_eq!(report(&output, "arg"), ["--net=host", &*local, &uuid]);
}

#[test]
fn a_stage1_that_attaches_disks_is_given_one_a_tree() {
    let rkt = Rkt::new();
    let annotations = json!([
        { "name": "coreos.com/rkt/stage1/run", "value": "/run" },
        { "name": "coreos.com/rkt/stage1/app-roots", "value": "erofs" },
    ]);
    let stub = rkt.image(&Stub::LEAST.image().with("annotations", annotations));
    let stub = format!("--stage1-path={stub}");
    let image = rkt.image(&Image::busybox("app"));
    let prepare = |flags: &[&str]| {
        let words = ["--insecure-options=image", "prepare", "--quiet", &*stub];
        let uuid = rkt.run(&[&words, flags, &[&*image]].concat()).ok().text().to_owned();
        let list = rkt.pod_folder(&uuid).join("appsinfo/app/layers");
        (fs::read_to_string(list).unwrap(), uuid)
    };
    let (disks, first) = prepare(&[]);
    let disk = disks.strip_suffix('\n').unwrap();
    assert!(fs::read(disk).unwrap()[1024..].starts_with(&0xe0f5_e1e2_u32.to_le_bytes()));
    // Another pod has the same, and so has one whose stage1 is not stacked.
    let (again, second) = prepare(&["--no-overlay"]);
    assert_eq!(again, disks);
    let collect = || rkt.run(&["image", "gc", "--grace-period=0s"]).ok();
    collect();
    assert!(fs::exists(disk).unwrap());
    let output = rkt.run(&["run-prepared", "--net=host", &second]).ok();
    assert_eq!(report(&output, "cwd").len(), 1);
    rkt.run(&["rm", &first, &second]).ok();
    collect();
    assert!(!fs::exists(disk).unwrap());
}

#[test]
fn arguments_of_run_have_their_order() {
    let rkt = Rkt::new();
    let stub = stub_flag(&rkt, &Stub { others: &[], version: Some(6) });
    let image = rkt.image(&Image::busybox("app"));
    let flags = [
        "--debug",
        "--insecure-options=image,all-run",
        "--ipc=private",
        "--hostname=chosen",
        "--dns=8.8.8.8",
        "--net=none",
        "--interactive",
    ];
    let output = rkt.run(&[&["run", &*stub], &flags[..], &[&*image]].concat()).ok();
    let local = format!("--local-config={}", rkt.top.join("local").display());
    let uuid = rkt.only_pod();
    let wanted = [
        "--debug",
        "--net=none",
        "--interactive",
        &local,
        "--hostname=chosen",
        "--dns-conf-mode=resolv=stage0,hosts=default",
        "--disable-capabilities-restriction",
        "--disable-paths",
        "--disable-seccomp",
        "--ipc=private",
        &uuid,
    ];
    assert_eq!(report(&output, "arg"), wanted);
}

#[test]
fn an_old_stage1_gets_no_newer_arguments() {
    for (version, more) in [
        (None, &[][..]),
        (Some(1), &[]),
        (Some(2), &["--hostname=chosen"]),
        (
            Some(3),
            &[
                "--hostname=chosen",
                "--disable-capabilities-restriction",
                "--disable-paths",
                "--disable-seccomp",
            ],
        ),
    ] {
        let rkt = Rkt::new();
        let stub = stub_flag(&rkt, &Stub { others: &[], version });
        let image = rkt.image(&Image::busybox("app"));
        let flags = [
            "--insecure-options=image,all-run",
            "--ipc=private",
            "--hostname=chosen",
            "--dns=8.8.8.8",
            "--net=none",
        ];
        let output = rkt.run(&[&["run", &*stub], &flags[..], &[&*image]].concat()).ok();
        let local = format!("--local-config={}", rkt.top.join("local").display());
        let uuid = rkt.only_pod();
        let wanted = [&["--net=none", &*local], more, &[&*uuid]].concat();
        assert_eq!(report(&output, "arg"), wanted, "version {version:?}");
        // What is left out is said, but for the switches, which only took something away.
        let hostname = output.stderr.contains("hostname");
        assert_eq!(hostname, version.unwrap_or(1) < 2, "{output:#?}");
        assert!(output.stderr.contains("dns"), "{output:#?}");
        assert!(output.stderr.contains("ipc"), "{output:#?}");
    }
}

#[test]
fn twenty_lines_of_shell_are_a_stage1() {
    let rkt = Rkt::new();
    let stub = stub_flag(&rkt, &Stub::LEAST);
    let image = rkt.image(&Image::busybox("app"));
    let mut command = rkt.command(&stub_words(&stub, &image, &["--net=host"]));
    command.env("STUB_COMMAND", "echo up; exec sleep 1000");
    let running = Running::start(&mut command);
    running.says("up");
    let uuid = rkt.only_pod();
    assert!(rkt.run(&["list", "--no-legend"]).ok().stdout.contains("\trunning\t"));
    let status = rkt.run(&["status", &uuid]).ok();
    assert!(status.lines().contains(&format!("pid={}", running.pid()).as_str()), "{status:#?}");
    for words in [&["enter", &*uuid, "/bin/true"][..], &["stop", &uuid]] {
        let output = rkt.run(words).code(254);
        assert!(output.stderr.contains("not support"), "{output:#?}");
    }
    rkt.collect();
    assert_eq!(rkt.status(&uuid)["state"], "running");
    running.signal(15);
    running.wait();
    assert_eq!(rkt.status(&uuid)["state"], "exited");
    let output = rkt.collect();
    assert_eq!(output.stderr, "");
    rkt.is_clean();
}

#[test]
fn entrypoints_that_a_stage1_has_are_called() {
    let rkt = Rkt::new();
    let stub = stub_flag(&rkt, &Stub { others: &["stop", "gc"], version: Some(5) });
    let image = rkt.image(&Image::busybox("app"));
    let mut command = rkt.command(&stub_words(&stub, &image, &["--net=host"]));
    command.env("STUB_COMMAND", "trap 'exit 0' TERM; echo up; while :; do sleep 0.01; done");
    let running = Running::start(&mut command);
    running.says("up");
    let uuid = rkt.only_pod();
    rkt.run(&["stop", &uuid]).ok();
    running.wait().ok();
    let folder = rkt.pod_folder(&uuid);
    let stops = fs::read_to_string(folder.join("stub-stops")).unwrap();
    assert_eq!(stops, format!("stop:{uuid}\ncwd={}\n", folder.display()));
    let file = rkt.word("gc-report");
    let gc = ["gc", "--grace-period=0s"];
    for _ in 0..2 {
        rkt.finish(rkt.command(&gc).env("STUB_GC_REPORT", &file)).ok();
    }
    let told = fs::read_to_string(&file).unwrap();
    let (call, place) = told.trim().split_once('\n').unwrap();
    let local = rkt.top.join("local").display().to_string();
    assert_eq!(call, format!("gc:--local-config {local} {uuid}"));
    assert!(place.starts_with("cwd=") && place.ends_with(&uuid), "{place}");
    rkt.is_clean();
}

#[test]
fn the_files_that_a_stage1_gives_are_not_believed() {
    let rkt = Rkt::new();
    let script = br#"#!/bin/sh
printf '%s\n' "$@" >stub-export
cat "$STUB_FILES"
printf "$STUB_WORDS" >&2
exit "$STUB_CODE"
"#;
    let annotations = json!([
        { "name": "coreos.com/rkt/stage1/run", "value": "/run" },
        { "name": "coreos.com/rkt/stage1/export", "value": "/export" },
    ]);
    let stub = Stub::LEAST.image().program("export", script).with("annotations", annotations);
    let stub = format!("--stage1-path={}", rkt.image(&stub));
    let image = Image::busybox("app");
    let mut command = rkt.command(&stub_words(&stub, &rkt.image(&image), &["--net=host"]));
    command.env("STUB_COMMAND", "echo up; exec sleep 1000");
    let running = Running::start(&mut command);
    running.says("up");
    let uuid = rkt.only_pod();
    let (out, files) = (rkt.word("out.aci"), rkt.path("files"));
    let export = |bytes: &[u8], words: &str, code: &str| {
        fs::write(&files, bytes).unwrap();
        let mut command = rkt.command(&["export", &uuid, &out]);
        command.env("STUB_FILES", &files).env("STUB_WORDS", words).env("STUB_CODE", code);
        rkt.finish(&mut command)
    };
    // The manifest of an image comes first, in as many blocks as it needs.
    let whole = image.bytes();
    let manifest = 512 + image.manifest.to_string().len().next_multiple_of(512);
    let good = &whole[manifest..];
    let far = Image::empty("far").file("x", &"x".repeat(1 << 20)).bytes();
    let broken = "export: error building aci: cannot use what the stage1 gives: ";
    for (bytes, words, code, expected) in [
        (good, "stage1: the guest is ill", "254", "export: error building aci: the guest is ill"),
        (
            &good[..5000],
            "stage1: the guest is ill",
            "254",
            "export: error building aci: the guest is ill",
        ),
        (good, "", "3", "export: error building aci: stage1 export failed (exit status: 3)"),
        (&good[..5000], "", "0", &format!("{broken}the archive is cut off")),
        (&[], "", "0", &format!("{broken}the archive is cut off")),
        (&good[..good.len() - 1024], "", "0", &format!("{broken}the archive is cut off")),
        // What is wrong is said, whatever the stage1 says of it that nobody listens to any more.
        (
            &whole,
            "stage1: broken pipe",
            "254",
            &format!("{broken}entry \"manifest\": it does not lie below rootfs"),
        ),
        (
            &far,
            "stage1: broken pipe",
            "254",
            &format!("{broken}entry \"manifest\": it does not lie below rootfs"),
        ),
        (&vec![b'x'; 1 << 20], "", "0", &format!("{broken}a header has a wrong checksum")),
    ] {
        let output = export(bytes, words, code).code(254);
        assert_eq!(output.stderr, format!("{expected}\n"));
        assert!(!fs::exists(&out).unwrap(), "{expected}");
    }
    // What is said beside the files is nobody's business, and holds nobody up.
    let chatter = format!("{}\n", "x".repeat(100_000));
    assert_eq!(export(good, &chatter, "0").ok().stderr, "");
    let given = fs::read_to_string(rkt.pod_folder(&uuid).join("stub-export")).unwrap();
    assert_eq!(given, format!("--pid={}\n--appname=app\n", running.pid()));
    running.signal(15);
    running.wait();
    assert_eq!(rkt.pod(&NSPAWN, &[&out]).ok().stdout, "hello\n");
}

#[test]
fn fly_runs_one_app_on_the_host() {
    let rkt = Rkt::new();
    let image = rkt.shell();
    let script =
        "echo $$; readlink /proc/self/ns/pid; readlink /proc/self/ns/net; echo up; exec sleep 1000";
    let (running, uuid) = rkt.start_pod(&FLY, &[&image, "--", script]);
    let said = running.says("up");
    let lines: Vec<&str> = said.lines().collect();
    let link = |kind: &str| fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
    assert_eq!(lines[1], link("pid").to_str().unwrap());
    assert_eq!(lines[2], link("net").to_str().unwrap());
    let command = fs::read_to_string(format!("/proc/{}/cmdline", lines[0])).unwrap();
    assert!(command.contains("1000") || command.contains("sleep"), "{command}");
    let status = rkt.run(&["status", &uuid]).ok();
    assert!(status.stdout.contains("\npid="), "{status:#?}");
    drop(running);
    let words = [&*image, "--name=one", "--", "true", "---", &image, "--name=two", "--", "true"];
    rkt.pod(&FLY, &words).code(254);
}

#[test]
fn mounts_of_a_fly_app_appear_on_the_host() {
    let rkt = Rkt::new();
    let shared = rkt.folder("shared");
    // A mount of its own, shared, inside a namespace that stands for the host and ends with the test.
    let volume = format!("--volume=v,kind=host,source={shared}");
    let script = "mkdir /v/sub; mount -t tmpfs below /v/sub; touch /v/sub/deep; echo up; read x </v/go; umount /v/sub";
    let words = [&*volume, &rkt.shell(), "--mount=volume=v,target=/v", "--", script];
    let inner = rkt.command(&Rkt::run_words(&FLY, &words));
    let set_up = format!(
        "mount -t tmpfs shared {shared}; mount --make-shared {shared}; mkfifo {shared}/go; echo $$ >{shared}.pid; \
         \"$@\" & until [ -e {shared}/sub/deep ]; do sleep 0.01; done; echo seen; echo >{shared}/go; wait"
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "timeout", "30", "sh", "-c", &set_up, "sh"]).arg(inner.get_program());
    command.args(inner.get_args()).env("RKT_TEST_SANDBOX", &rkt.top);
    let output = rkt.finish(&mut command).ok();
    assert!(output.stdout.contains("seen"), "{output:#?}");
}

#[test]
fn fly_has_its_own_rules_about_mounts() {
    let rkt = Rkt::new();
    let folder = rkt.folder("source");
    let points = json!([{ "name": "need", "path": "/data/need" }]);
    let image = rkt.image(&Image::shell("needy").app("mountPoints", points));
    rkt.pod(&FLY, &[&image, "--", "true"]).refuses("missing volume for mountpoint \"need\"");
    let plain = rkt.shell();
    let volume = format!("--volume=v,kind=host,source={folder}");
    let twice = [
        &*volume,
        &plain,
        "--mount=volume=v,target=/one",
        "--mount=volume=v,target=/two",
        "--",
        "true",
    ];
    rkt.pod(&FLY, &twice).refuses("duplicate mount given: \"v\"");
    let volume = format!("--volume=need,kind=host,source={folder}");
    let elsewhere = [&*volume, &image, "--mount=volume=need,target=/elsewhere", "--", "true"];
    rkt.pod(&FLY, &elsewhere)
        .refuses("conflicting path information from mount and mountpoint \"need\"");
    // The later of two mounts on one path wins, without an error.
    let (one, two) = (rkt.file("one/name", "one"), rkt.file("two/name", "two"));
    let volume = |name: &str, file: &str| {
        format!("--volume={name},kind=host,source={}", file.trim_end_matches("/name"))
    };
    let words = [
        &*volume("one", &one),
        &volume("two", &two),
        "--mount=volume=one,target=/v",
        "--mount=volume=two,target=/v",
        &plain,
        "--",
        "cat /v/name",
    ];
    assert_eq!(rkt.pod(&FLY, &words).ok().stdout, "two");
}

#[test]
fn stop_ends_the_whole_group_of_a_fly_app() {
    let rkt = Rkt::new();
    let script = "sleep 1000 & echo $!; sleep 1000 & echo $!; trap 'exit 8' TERM; echo up; wait";
    let (running, uuid) = rkt.start_pod(&FLY, &[&rkt.shell(), "--", script]);
    let said = running.says("up");
    let children: Vec<i32> = said.lines().take(2).map(|line| line.parse().unwrap()).collect();
    rkt.run(&["stop", &uuid]).ok();
    let ended = running.wait().code(8);
    assert!(ended.stdout.ends_with("up\n"));
    assert!(rkt.run(&["status", &uuid]).ok().lines().contains(&"app-shell=8"));
    for child in children {
        wait::gone(child);
    }
    // What leaves the group keeps the pod alive, and a forced stop finds it.
    let script = "setsid sleep 1000 & echo $!; echo up; exec sleep 1000";
    let (running, uuid) = rkt.start_pod(&FLY, &[&rkt.shell(), "--", script]);
    let child: i32 = running.says("up").lines().next().unwrap().parse().unwrap();
    rkt.run(&["stop", "--force", &uuid]).ok();
    running.wait();
    wait::gone(child);
}

#[test]
fn every_flavour_has_a_file_beside_the_program() {
    for flavour in flavours() {
        let rkt = Rkt::new();
        let id = rkt.fetch(dist(&format!("stage1-{}.aci", flavour.name)).to_str().unwrap());
        let manifest = rkt.run(&["image", "cat-manifest", &id]).ok().json();
        assert_eq!(manifest["name"], format!("coreos.com/rkt/stage1-{}", flavour.name));
    }
    let rkt = Rkt::new();
    // The default goes by its old names too.
    for name in ["coreos", "nspawn", "coreos.com/rkt/stage1-coreos"] {
        let flag = format!("--stage1-name={name}");
        let output = rkt.pod(&NSPAWN, &[&flag, &rkt.shell(), "--", "hostname"]).ok();
        assert!(output.stdout.starts_with("rkt-"), "{output:#?}");
    }
}
