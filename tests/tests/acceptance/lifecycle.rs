//! Pods from preparation to running: prepare, run-prepared, the names of pods, entering them.

use std::fs;
use std::process::Command;
use testkit::flavour::{Can, each};
use testkit::{NSPAWN, Rkt, wait};

#[test]
fn a_prepared_pod_runs_once() {
    each(&[], |flavour| {
        let rkt = Rkt::new();
        let image = rkt.shell();
        let mut words = vec!["--insecure-options=image", "prepare"];
        words.extend(flavour.select);
        words.extend([&*image, "--", "echo ran; exit 3"]);
        let prepared = rkt.run(&words).ok();
        let uuid = (*prepared.lines().last().unwrap()).to_owned();
        assert_eq!(rkt.status(&uuid)["state"], "prepared");
        assert_eq!(rkt.status(&uuid)["apps"][0]["state"], "created");
        let output = rkt.run_prepared(flavour, &[&uuid]).code(3);
        assert_eq!(output.stdout, "ran\n");
        rkt.run_prepared(flavour, &[&uuid]).refuses(&format!("pod \"{uuid}\" is not prepared"));
        rkt.run_prepared(flavour, &["zz"])
            .refuses("problem retrieving pod: no matches found for \"zz\"");
    });
}

#[test]
fn quiet_prepare_prints_the_uuid_alone() {
    let rkt = Rkt::new();
    let words = ["--insecure-options=image", "prepare", "--quiet", &rkt.shell()];
    let output = rkt.run(&words).ok();
    assert_eq!(output.stdout, format!("{}\n", rkt.only_pod()));
    assert_eq!(output.stderr, "");
}

#[test]
fn flags_of_run_prepared_take_effect() {
    each(&[Can::Namespaces], |flavour| {
        let rkt = Rkt::new();
        let script = "hostname; cat /etc/resolv.conf; cat /etc/hosts; for n in ipc net; do readlink /proc/self/ns/$n; done";
        let uuid = rkt.prepare(flavour, &[&rkt.shell(), "--", script]);
        let shares = flavour.can(Can::ShareWithHost);
        let [net, ipc] =
            if shares { ["--net=host", "--ipc=parent"] } else { ["--net=none", "--ipc=private"] };
        let words = [
            "run-prepared",
            net,
            "--dns=8.8.4.4",
            "--dns-search=example.com",
            "--dns-opt=ndots:5",
            "--dns-domain=example.org",
            "--hosts-entry=10.1.2.3=friend",
            "--hostname=late",
            ipc,
            &uuid,
        ];
        let output = rkt.run(&words).ok();
        let host = |kind: &str| {
            fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().display().to_string()
        };
        for line in [
            "late",
            "nameserver 8.8.4.4",
            "search example.com",
            "options ndots:5",
            "domain example.org",
        ] {
            assert!(output.lines().contains(&line), "{line}: {output:#?}");
        }
        // The first namespaces of every kernel have the same numbers: a guest's say nothing.
        for kind in ["ipc", "net"].iter().filter(|_| shares) {
            assert!(output.lines().contains(&&*host(kind)), "{kind}: {output:#?}");
        }
        assert!(output.stdout.contains("10.1.2.3"), "{output:#?}");
        assert!(output.stdout.contains("friend"), "{output:#?}");
    });
}

#[test]
fn a_prepared_pod_can_be_interactive() {
    each(&[Can::Namespaces], |flavour| {
        let rkt = Rkt::new();
        let image = rkt.shell();
        let uuid = rkt.prepare(flavour, &[&image, "--", "stty size; read word; echo got-$word"]);
        let words = ["run-prepared", "--net=none", "--interactive", &*uuid];
        let (running, keys) = testkit::pty::start(&rkt.command(&words), 33, 77);
        running.says("33 77");
        keys.types("typed\n");
        running.says("got-typed");
        running.wait().ok();
        let two = rkt.prepare(flavour, &[&image, "--name=one", &image, "--name=two"]);
        rkt.run(&["run-prepared", "--net=none", "--interactive", &two])
            .refuses("interactive option only supports pods with one app");
    });
}

#[test]
fn pods_are_named_by_any_unique_prefix() {
    let rkt = Rkt::new();
    let uuid = rkt.prepare(&NSPAWN, &[&rkt.shell(), "--", "true"]);
    for name in [uuid[..2].to_owned(), uuid.to_uppercase(), uuid[..13].to_uppercase()] {
        let found = rkt.run(&["status", &name]).ok();
        assert!(found.stdout.starts_with("state=prepared\n"), "{found:#?}");
    }
    rkt.run(&["status", "zz"]).refuses("problem retrieving pod: no matches found for \"zz\"");
    rkt.run(&["status", ""]).refuses("problem retrieving pod: UUID cannot be empty");
    // A second pod whose name begins alike.
    let last = if uuid.ends_with('0') { "1" } else { "0" };
    let other = format!("{}{last}", &uuid[..35]);
    let prepared = rkt.data.join("pods/prepared");
    fs::create_dir(prepared.join(&other)).unwrap();
    rkt.run(&["status", &uuid[..8]]).refuses("problem retrieving pod: ambiguous uuid, 2 matches");
    fs::remove_dir(prepared.join(&other)).unwrap();
}

#[test]
fn uuid_files_name_pods() {
    let rkt = Rkt::new();
    let (file, image) = (rkt.word("uuid"), rkt.shell());
    let save = format!("--uuid-file-save={file}");
    let flag = format!("--uuid-file={file}");
    rkt.pod(&NSPAWN, &[&save, &image, "--", "true"]).ok();
    let uuid = fs::read_to_string(&file).unwrap();
    for command in ["status", "cat-manifest", "stop"] {
        rkt.run(&[command, &flag]).ok();
        rkt.run(&[command, &flag, &uuid]).code(254);
    }
    rkt.run(&["rm", &flag, &uuid]).code(254);
    assert_eq!(rkt.run(&["rm", &flag]).ok().text(), format!("\"{uuid}\""));
    rkt.run(&["status", &flag]).code(254);
    let missing = format!("--uuid-file={}", rkt.word("missing"));
    for command in ["status", "cat-manifest", "stop", "rm"] {
        rkt.run(&[command, &missing]).refuses("unable to resolve UUID from file: open ");
    }
}

#[test]
fn enter_runs_the_default_command_or_the_given_one() {
    each(&[], |flavour| {
        let rkt = Rkt::new();
        let image = testkit::Image::shell("entered")
            .program("bin/bash", b"#!/bin/sh\necho this is bash; exit 4\n");
        let image = rkt.image(&image);
        let (_running, uuid) = rkt
            .start_pod(flavour, &[&image, "--set-env=MARK=set", "--", "echo up; exec sleep 1000"]);
        let output = rkt.run(&["enter", &uuid]).code(4);
        assert_eq!(output.stdout, "this is bash\n");
        assert_eq!(output.stderr, "enter: no command specified, assuming \"/bin/bash\"\n");
        let script = "echo $(id -u) $(id -g) $(pwd) $MARK $TERM; exit 5";
        let output = rkt.run(&["enter", &uuid, "/bin/sh", "-c", script]).code(5);
        assert_eq!(output.stdout, "0 0 / set vt100\n");
    });
}

#[test]
fn enter_wants_to_know_the_app() {
    each(&[Can::SeveralApps], |flavour| {
        let rkt = Rkt::new();
        let image = rkt.shell();
        let script = "echo up; exec sleep 1000";
        let words =
            [&*image, "--name=one", "--", script, "---", &image, "--name=two", "--", script];
        let (_running, uuid) = rkt.start_pod(flavour, &words);
        let output = rkt.run(&["enter", &uuid, "/bin/true"]).code(254);
        let wanted = "enter: pod contains multiple apps:\nenter: \tone\nenter: \ttwo\n\
                      enter: unable to determine app name: specify app using \"rkt enter --app= ...\"\n";
        assert_eq!(output.stderr, wanted);
        let script = "echo $AC_APP_NAME";
        let words = ["enter", "--app=two", &uuid, "/bin/sh", "-c", script];
        assert_eq!(rkt.run(&words).ok().stdout, "two\n");
        rkt.run(&["enter", "--app=three", &uuid, "/bin/true"]).code(254);
    });
}

#[test]
fn only_running_pods_can_be_entered() {
    each(&[Can::Namespaces], |flavour| {
        let rkt = Rkt::new();
        let uuid = rkt.prepare(flavour, &[&rkt.shell(), "--", "true"]);
        let saying = format!("pod \"{uuid}\" isn't currently running");
        rkt.run(&["enter", &uuid, "/bin/true"]).refuses(&saying);
        rkt.run_prepared(flavour, &[&uuid]).ok();
        rkt.run(&["enter", &uuid, "/bin/true"]).refuses(&saying);
    });
}

#[test]
fn enter_waits_until_the_pod_is_up() {
    each(&[], |flavour| {
        let rkt = Rkt::new();
        let (file, image) = (rkt.word("ids/uuid"), rkt.shell());
        rkt.folder("ids");
        let save = format!("--uuid-file-save={file}");
        let words = [&*save, &image, "--", "echo up; exec sleep 1000"];
        let running = rkt.start(&Rkt::run_words(flavour, &words));
        // The folder under `run` is there before the app is, often before the pid file.
        let runs = rkt.data.join("pods/run");
        wait::until(&[&rkt.path("ids")], "the UUID", || {
            fs::read_to_string(&file).is_ok_and(|uuid| uuid.len() == 36)
        });
        let uuid = fs::read_to_string(&file).unwrap();
        wait::until(&[&runs], "the pod in run", || runs.join(&uuid).exists());
        let output = rkt.run(&["enter", &uuid, "/bin/echo", "entered"]).ok();
        assert_eq!(output.stdout, "entered\n");
        running.says("up");
    });
}

#[test]
fn a_prepared_pod_needs_the_overlay_that_it_was_prepared_for() {
    let rkt = Rkt::new();
    let uuid = rkt.prepare(&NSPAWN, &[&rkt.shell(), "--", "true"]);
    let systems = fs::read_to_string("/proc/filesystems").unwrap().replace("overlay", "other");
    let table = rkt.file("filesystems", &systems);
    let inner = rkt.command(&["run-prepared", "--net=none", &uuid]);
    let script = format!("mount --bind {table} /proc/filesystems; exec \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script, "sh"]).arg(inner.get_program());
    command.args(inner.get_args()).env("RKT_TEST_SANDBOX", &rkt.top);
    rkt.finish(&mut command)
        .refuses("unable to run prepared overlay-enabled pod: overlay not supported");
    assert_eq!(rkt.status(&uuid)["state"], "prepared");
}

#[test]
fn roots_can_be_copies_instead_of_overlays() {
    each(&[], |flavour| {
        let rkt = Rkt::new();
        let script = "awk '$5 == \"/\"' /proc/self/mountinfo; touch /new; cat /etc/group";
        let output = rkt.pod(flavour, &["--no-overlay", &rkt.shell(), "--", script]).ok();
        // A guest stacks its images itself, whatever its host can stack.
        assert_ne!(
            output.stdout.contains(" - overlay "),
            flavour.can(Can::CopyRoots),
            "{output:#?}"
        );
        assert!(output.stdout.contains("more:x:77:"), "{output:#?}");
        rkt.collect();
        rkt.is_clean();
    });
}

#[test]
fn uuid_files_work_everywhere() {
    let rkt = Rkt::new();
    let (file, image) = (rkt.word("uuid"), rkt.shell());
    let save = format!("--uuid-file-save={file}");
    let flag = format!("--uuid-file={file}");
    let words = ["--insecure-options=image", "prepare", "--quiet", &*save, &image, "--", "true"];
    let uuid = rkt.run(&words).ok().text().to_owned();
    assert_eq!(fs::read_to_string(&file).unwrap(), uuid);
    rkt.run(&["run-prepared", "--net=none", &flag]).ok();
    rkt.run(&["export", &flag, &rkt.word("out.aci")]).ok();
}
