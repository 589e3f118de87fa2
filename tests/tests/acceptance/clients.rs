//! Command lines of programs that call rkt, as they type them.

use serde_json::json;
use std::fs;
use std::process::Command;
use testkit::flavour::each;
use testkit::program::run;
use testkit::sandbox::dist;
use testkit::{FLY, Image, NSPAWN, Rkt, Running, wait};

#[test]
fn global_flags_stand_before_and_after_the_command() {
    let rkt = Rkt::new();
    let image = rkt.shell();
    let dir = format!("--dir={}", rkt.data.display());
    let tail = ["--net=none", &*image, "--", "echo ran"];
    let before = [&["--insecure-options=image,ondisk", &dir, "run"], &tail[..]].concat();
    let after = [&["run", "--insecure-options=image", &dir], &tail[..]].concat();
    for words in [before, after] {
        assert_eq!(rkt.finish(rkt.configured().args(words)).ok().stdout, "ran\n");
    }
    let between =
        ["image", "--insecure-options=image,ondisk", &dir, "fetch", "--full=true", &image];
    let output = rkt.finish(rkt.configured().args(between)).ok();
    assert_eq!(output.text(), Image::shell("shell").id());
}

#[test]
fn flags_of_the_pod_stand_after_the_image() {
    let rkt = Rkt::new();
    let (image, file) = (rkt.shell(), rkt.word("uuid"));
    let save = format!("--uuid-file-save={file}");
    let words = [
        "--insecure-options=image",
        "run",
        &*image,
        "--net=host",
        "--dns=host",
        "--exec=/bin/echo",
        "--",
        "one",
    ];
    assert_eq!(rkt.run(&words).ok().stdout, "one\n");
    let words = [
        "--insecure-options=image",
        "run",
        "--net=host",
        &*image,
        &save,
        "--debug",
        "--exec=/bin/echo",
        "--",
        "--two",
    ];
    assert_eq!(rkt.run(&words).ok().stdout, "--two\n");
    assert_eq!(fs::read_to_string(file).unwrap().len(), 36);
}

#[test]
fn volumes_and_mounts_stand_after_the_image() {
    each(&[], |flavour| {
        let rkt = Rkt::new();
        let (one, two) = (rkt.folder("one"), rkt.folder("two"));
        fs::write(rkt.path("one/file"), "one ").unwrap();
        fs::write(rkt.path("two/file"), "two ").unwrap();
        let (spaced, attached) = (
            format!("one,kind=host,source={one},readOnly=false"),
            format!("--volume=two,kind=host,source={two},recursive=true"),
        );
        let words = [
            &*rkt.shell(),
            "--volume",
            &spaced,
            "--mount",
            "volume=one,target=/one",
            &attached,
            "--mount=volume=two,target=/two",
            "--",
            "cat /one/file /two/file",
        ];
        assert_eq!(rkt.pod(flavour, &words).ok().stdout, "one two ");
    });
}

#[test]
fn two_volumes_on_one_target_are_no_error() {
    each(&[], |flavour| {
        let rkt = Rkt::new();
        let (wrapper, user) = (rkt.folder("wrapper"), rkt.folder("user"));
        fs::write(rkt.path("wrapper/file"), "wrapper").unwrap();
        fs::write(rkt.path("user/file"), "user").unwrap();
        let words = [
            &*format!("--volume=coreos-var-log,kind=host,source={wrapper}"),
            "--mount=volume=coreos-var-log,target=/var/log",
            &format!("--volume=var-log,kind=host,source={user}"),
            "--mount=volume=var-log,target=/var/log",
            &rkt.shell(),
            "--",
            "cat /var/log/file",
        ];
        // Fly's rule, the later one, is what the wrappers rely on; elsewhere it is the first.
        let wins = if flavour.name == FLY.name { "user" } else { "wrapper" };
        assert_eq!(rkt.pod(flavour, &words).ok().stdout, wins);
    });
}

#[test]
fn shells_expand_empty_arguments_and_blanks() {
    let rkt = Rkt::new();
    let inner = rkt.command(&[]);
    let script = r#"
        RKT_GLOBAL_ARGS="" RKT_RUN_ARGS="  --insecure-options=image   --net=none \
             --hostname=h  "
        exec "$@" ${RKT_GLOBAL_ARGS} run $(echo $RKT_RUN_ARGS | tr -d '\\') "" ${IMAGE} ${NOTHING} -- 'echo  two  blanks'
    "#;
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(inner.get_program()).args(inner.get_args());
    command.env("IMAGE", rkt.shell()).env("RKT_TEST_SANDBOX", &rkt.top);
    assert_eq!(rkt.finish(&mut command).ok().stdout, "two blanks\n");
}

#[test]
fn units_clean_up_by_uuid_file() {
    each(&[], |flavour| {
        let rkt = Rkt::new();
        let (file, image) = (rkt.word("pod.uuid"), rkt.shell());
        let flag = format!("--uuid-file={file}");
        // Before the first start the file is missing; the unit ignores the code, and no harm is done.
        rkt.run(&["rm", &flag]).code(254);
        let save = format!("--uuid-file-save={file}");
        let words = [&*save, &image, "--", "echo up; exec sleep 1000"];
        let running = rkt.start(&Rkt::run_words(flavour, &words));
        running.says("up");
        rkt.note();
        rkt.run(&["stop", &flag]).ok();
        running.wait();
        rkt.run(&["rm", &flag]).ok();
        // Stale now.
        rkt.run(&["rm", &flag]).code(254);
        rkt.run(&["stop", &flag]).code(254);
        rkt.is_clean();
    });
}

#[test]
fn arguments_arrive_untouched() {
    each(&[], |flavour| {
        let rkt = Rkt::new();
        let image = rkt.image(&Image::busybox("printer").exec(&["/bin/printf", "<%s>"]));
        let odd =
            ["--flag=value", "{}", "it's", "a \"b\"", "$HOME", "--net=x", "-", "a,b;c", "é\n", "*"];
        let output = rkt.pod(flavour, &[&[&*image, "--"], &odd[..]].concat()).ok();
        let wanted: Vec<String> = odd.iter().map(|word| format!("<{word}>")).collect();
        assert_eq!(output.stdout, wanted.concat());
    });
}

#[test]
fn stage1s_are_chosen_as_wrappers_do() {
    let rkt = Rkt::new();
    let image = rkt.shell();
    let folder = dist("rkt").parent().unwrap().display().to_string();
    let paths = json!({ "rktVersion": "v1", "rktKind": "paths", "stage1-images": folder });
    rkt.configure("system", "paths.d/paths.json", &paths);
    let id = rkt.fetch(dist("stage1-fly.aci").to_str().unwrap());
    let host = fs::read_link("/proc/self/ns/pid").unwrap().display().to_string();
    for (flag, fly) in [
        ("--stage1-from-dir=stage1-fly.aci".to_owned(), true),
        (format!("--stage1-path={folder}/stage1-fly.aci"), true),
        ("--stage1-name=coreos.com/rkt/stage1-coreos".to_owned(), false),
        (format!("--stage1-hash={id}"), true),
    ] {
        let words = [
            "--insecure-options=image",
            "run",
            "--net=host",
            &*flag,
            &image,
            "--",
            "readlink /proc/self/ns/pid",
        ];
        let output = rkt.run(&words).ok();
        assert_eq!(output.text() == host, fly, "{flag}: {output:#?}");
    }
}

#[test]
fn stage1s_of_the_configured_folder_are_trusted_by_placement() {
    let rkt = Rkt::new();
    let id = rkt.fetch(&rkt.shell());
    let stage1s = rkt.folder("stage1s");
    // A name that no file beside the program has.
    fs::copy(dist("stage1-fly.aci"), rkt.path("stage1s/stage1-own.aci")).unwrap();
    let paths = json!({ "rktVersion": "v1", "rktKind": "paths", "stage1-images": stage1s });
    rkt.configure("system", "paths.d/paths.json", &paths);
    let path = format!("--stage1-path={stage1s}/stage1-own.aci");
    for flag in ["--stage1-from-dir=stage1-own.aci", &path] {
        let words = ["run", flag, &*id, "--", "echo trusted"];
        assert_eq!(rkt.run(&words).ok().stdout, "trusted\n");
    }
}

#[test]
fn images_are_named_by_hash_path_and_bare_file() {
    let rkt = Rkt::new();
    let path = rkt.image(&Image::busybox("matchbox"));
    let id = rkt.fetch(&path);
    for reference in [&*id, &id[..40], &path, "matchbox.aci", "example.com/matchbox:1.0"] {
        let words = Rkt::run_words(&NSPAWN, &[reference]);
        let output = rkt.finish(rkt.command(&words).current_dir(rkt.path(""))).ok();
        assert_eq!(output.stdout, "hello\n", "{reference}");
    }
    let layout = Image::busybox("hyperkube");
    let config = json!({ "Entrypoint": ["/bin/echo", "from a layout"] });
    testkit::oci::layout(&rkt.path("layout"), "v1.5", &layout, &config);
    let reference = format!("oci:{}:v1.5", rkt.word("layout"));
    assert_eq!(rkt.pod(&NSPAWN, &[&reference]).ok().stdout, "from a layout\n");
}

#[test]
fn versions_need_not_be_semantic() {
    let rkt = Rkt::new();
    let version = "v1.9.6_coreos.0";
    let image = Image::busybox("hyperkube").label("version", Some(version));
    rkt.fetch(&rkt.image(&image));
    let reference = format!("example.com/hyperkube:{version}");
    assert_eq!(rkt.pod(&NSPAWN, &[&reference]).ok().stdout, "hello\n");
    let list = rkt.run(&["list", "--no-legend"]).ok();
    assert!(list.stdout.contains(&reference), "{list:#?}");
}

#[test]
fn rkt_is_reached_from_inside_a_fly_pod() {
    let rkt = Rkt::new();
    let folder = dist("rkt").parent().unwrap().display().to_string();
    let volume = format!("--volume=host-rkt,kind=host,source={folder}/rkt,readOnly=true");
    let script = "/usr/bin/rkt version | head -n 1";
    let words =
        [&*volume, &rkt.shell(), "--mount=volume=host-rkt,target=/usr/bin/rkt", "--", script];
    let bound = rkt.pod(&FLY, &words).ok();
    assert!(bound.stdout.starts_with("rkt Version: "), "{bound:#?}");
    // As host-rkt does it; what stands for the host's process 1 is the test itself, whose namespaces fly shares.
    let data = rkt.data.display();
    let script = format!(
        "nsenter -m -u -i -n -t {} -- {folder}/rkt --dir={data} list --no-legend",
        std::process::id()
    );
    let inside = rkt.pod(&FLY, &[&rkt.shell(), "--", &script]).ok();
    assert!(inside.stdout.contains("\trunning\t"), "{inside:#?}");
}

/// The volumes of the kubelet's wrapper: name, source, options, target.
fn wrapper(rkt: &Rkt) -> Vec<String> {
    let folders = [
        ("coreos-etc-kubernetes", "etc-kubernetes", ",readOnly=false", "/etc/kubernetes"),
        ("coreos-etc-ssl-certs", "certs", ",readOnly=true", "/etc/ssl/certs"),
        ("coreos-var-lib-kubelet", "kubelet", ",readOnly=false,recursive=true", "/var/lib/kubelet"),
        ("coreos-var-log", "log", ",readOnly=false", "/var/log"),
        ("coreos-lib-modules", "modules", ",readOnly=true", "/lib/modules"),
    ];
    let files = [
        ("coreos-os-release", "os-release", ",readOnly=true", "/etc/os-release"),
        ("coreos-etc-machine-id", "machine-id", ",readOnly=true", "/etc/machine-id"),
    ];
    let mut words = Vec::new();
    for (name, source, options, target) in folders.iter().chain(&files) {
        let path = if target.starts_with("/etc/os") || target.starts_with("/etc/ma") {
            rkt.file(&format!("host/{source}"), name)
        } else {
            rkt.folder(&format!("host/{source}"))
        };
        words.push("--volume".to_owned());
        words.push(format!("{name},kind=host,source={path}{options}"));
        words.push("--mount".to_owned());
        words.push(format!("volume={name},target={target}"));
    }
    words.extend(["--hosts-entry".to_owned(), "host".to_owned()]);
    words
}

const KUBELET: &str = "#!/bin/sh\n\
    cat /etc/machine-id; echo; head -n 1 /etc/hosts; touch /etc/ssl/certs/x 2>/dev/null || echo certs refused\n\
    mkdir -p /var/lib/kubelet/pods/v; mount -t tmpfs v /var/lib/kubelet/pods/v; touch /var/lib/kubelet/pods/v/deep\n\
    echo \"args $*\"; echo up; read x </var/log/go; umount /var/lib/kubelet/pods/v\n";

#[test]
fn the_kubelet_wrapper_works() {
    for select in [
        vec!["--stage1-from-dir=stage1-fly.aci".to_owned()],
        vec![format!("--stage1-path={}", dist("stage1-fly.aci").display())],
    ] {
        let rkt = Rkt::new();
        let folder = dist("rkt").parent().unwrap().display().to_string();
        let paths = json!({ "rktVersion": "v1", "rktKind": "paths", "stage1-images": folder });
        rkt.configure("system", "paths.d/paths.json", &paths);
        let image = Image::busybox("hyperkube").program("kubelet", KUBELET.as_bytes());
        let image = rkt.image(&image);
        let volumes = wrapper(&rkt);
        let mut words = vec!["run", "--insecure-options=image"];
        words.extend(volumes.iter().map(String::as_str));
        words.extend(select.iter().map(String::as_str));
        words.extend([&*image, "--exec=/kubelet", "--", "--kubeconfig=/x", "--v=2"]);
        let inner = rkt.command(&words);
        let host = rkt.word("host");
        let set_up = format!(
            "mount -t tmpfs kubelet {host}/kubelet; mount --make-shared {host}/kubelet; mkfifo {host}/log/go; \
             \"$@\" & until [ -e {host}/kubelet/pods/v/deep ]; do sleep 0.01; done; echo seen on the host; \
             echo >{host}/log/go; wait $!"
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "timeout", "30", "sh", "-c", &set_up, "sh"]);
        command.arg(inner.get_program()).args(inner.get_args());
        let output = rkt.finish(command.env("RKT_TEST_SANDBOX", &rkt.top)).ok();
        let hosts = fs::read_to_string("/etc/hosts").unwrap();
        for line in [
            "coreos-etc-machine-id",
            "certs refused",
            "args --kubeconfig=/x --v=2",
            "seen on the host",
            hosts.lines().next().unwrap_or_default(),
        ] {
            assert!(output.lines().contains(&line), "{line}: {output:#?}");
        }
    }
}

#[test]
fn users_add_single_binaries_to_the_wrapper() {
    let rkt = Rkt::new();
    let tool = rkt.file("iscsiadm", "#!/bin/sh\necho the tool of the host\n");
    testkit::program::tool(&["chmod", "755", &tool]);
    let file = rkt.word("uuid");
    let words = [
        "--volume",
        &*format!("iscsiadm,kind=host,source={tool}"),
        "--mount",
        "volume=iscsiadm,target=/sbin/iscsiadm",
        "--dns=host",
        &format!("--uuid-file-save={file}"),
        &rkt.shell(),
        "--",
        "/sbin/iscsiadm; cmp /etc/resolv.conf /resolv && echo same",
        "---",
    ];
    let resolv = [
        "--volume=resolv,kind=host,source=/etc/resolv.conf",
        "--mount=volume=resolv,target=/resolv",
    ];
    let output = rkt.pod(&FLY, &[&resolv[..], &words[..]].concat()).ok();
    assert_eq!(output.stdout, "the tool of the host\nsame\n");
    assert_eq!(fs::read_to_string(file).unwrap(), rkt.only_pod());
}

#[test]
fn the_toolbox_extracts_an_image() {
    let rkt = Rkt::new();
    testkit::oci::layout(
        &rkt.path("layout"),
        "latest",
        &Image::busybox("toolbox").file("etc/toolbox", "yes"),
        &json!({ "Cmd": ["/bin/sh"] }),
    );
    let reference = format!("oci:{}:latest", rkt.word("layout"));
    let fetched = rkt.run(&["--insecure-options=image", "fetch", &reference]).ok();
    let hash = fetched.text().split(' ').next_back().unwrap().to_owned();
    let out = rkt.folder("out");
    rkt.run(&["image", "extract", "--overwrite", "--rootfs-only", &hash, &out]).ok();
    assert_eq!(fs::read_to_string(rkt.path("out/etc/toolbox")).unwrap(), "yes");
    rkt.run(&["image", "rm", &hash]).ok();
    assert_eq!(rkt.run(&["image", "list", "--no-legend"]).ok().stdout, "");
}

#[test]
fn etcd_is_run_with_an_environment_file() {
    let rkt = Rkt::new();
    let file = rkt.file("etcd.env", "# comment\n\nETCD_NAME=one\nETCD_DATA_DIR=/data\n");
    let uuid = rkt.word("etcd.uuid");
    let hosts = rkt.file("hosts", "10.0.0.1 peer\n");
    let image = Image::shell("etcd").label("version", Some("v3.2.4"));
    rkt.fetch(&rkt.image(&image));
    let words = [
        "run",
        &*format!("--uuid-file-save={uuid}"),
        "--volume",
        &format!("hosts,kind=host,source={hosts},readOnly=true"),
        "--mount",
        "volume=hosts,target=/etc/hosts",
        &format!("--set-env-file={file}"),
        "--stage1-name=fly",
        "example.com/etcd:v3.2.4",
        "--name=etcd1",
        "--",
        "echo $AC_APP_NAME $ETCD_NAME $ETCD_DATA_DIR; cat /etc/hosts",
    ];
    assert_eq!(rkt.run(&words).ok().stdout, "etcd1 one /data\n10.0.0.1 peer\n");
    assert_eq!(fs::read_to_string(&uuid).unwrap(), rkt.only_pod());
}

#[test]
fn binaries_are_copied_out_of_an_image() {
    each(&[], |flavour| {
        let rkt = Rkt::new();
        let image = rkt.image(&Image::busybox("etcd").file("etcdctl", "a program"));
        let out = rkt.folder("bin");
        let run = |source: &str| {
            let words = [
                &*format!("--volume=bin-dir,kind=host,source={out},readOnly=false"),
                "--mount=volume=bin-dir,target=/host/bin",
                &image,
                "--name=etcdctl-binarycopy",
                "--exec=/bin/cp",
                "--",
                source,
                "/host/bin/etcdctl",
            ];
            rkt.pod(flavour, &words)
        };
        run("/etcdctl").ok();
        assert_eq!(fs::read_to_string(rkt.path("bin/etcdctl")).unwrap(), "a program");
        // The script tries again on any other code.
        run("/nope").code(1);
    });
}

#[test]
fn nomad_finds_versions_on_stdout() {
    let mut command = Command::new(dist("rkt"));
    let output = run(command.arg("version")).ok();
    let lower = output.stdout.to_lowercase();
    for word in ["rkt version", "appc version"] {
        let line = lower.lines().find(|line| line.starts_with(word)).unwrap();
        let version = line.trim_start_matches(word).trim_start_matches(':').trim();
        let numbers: Vec<&str> = version.split('.').collect();
        assert_eq!(numbers.len(), 3, "{version}");
        assert!(numbers.iter().all(|number| number.parse::<u32>().is_ok()), "{version}");
    }
}

/// Prepares a task as Nomad does, and gives its UUID.
fn nomad_task(rkt: &Rkt, image: &str, more: &[&str], args: &[&str]) -> String {
    let alloc = "0a3f6c6e-6f0b-4cb5-9d63-7d1c4f4c8c2b-web-server";
    let mut words = vec!["--insecure-options=all".to_owned(), "--debug=false".to_owned()];
    words.push("prepare".to_owned());
    for (name, target) in [("alloc", "/alloc"), ("local", "/local"), ("secrets", "/secrets")] {
        let folder = rkt.folder(name);
        words.push(format!("--volume={alloc}-{name},kind=host,source={folder}"));
        words.push(format!("--mount=volume={alloc}-{name},target={target}"));
    }
    words
        .push(format!("--volume={alloc}-0,kind=host,source={},readOnly=true", rkt.folder("extra")));
    words.push(format!("--mount=volume={alloc}-0,target=/extra"));
    for pair in ["NOMAD_ALLOC_DIR=/alloc", "NOMAD_TASK_DIR=/local", "ODD=a \"b\" c"] {
        words.push(format!("--set-env={pair}"));
    }
    words.push(image.to_owned());
    words.extend(more.iter().map(|&word| word.to_owned()));
    words.extend(["--memory=67108864".to_owned(), "--cpu=500".to_owned(), "--".to_owned()]);
    words.extend(args.iter().map(|&word| word.to_owned()));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let output = rkt.run(&words).ok();
    let uuid = output.stdout.trim().to_owned();
    assert_eq!(uuid.len(), 36, "{output:#?}");
    uuid
}

#[test]
fn nomad_runs_a_task() {
    let rkt = Rkt::new();
    let ports = json!([{ "name": "http", "protocol": "tcp", "port": 8080 }]);
    let image = rkt.image(&Image::shell("task").app("ports", ports));
    let script = "echo $NOMAD_ALLOC_DIR \"$ODD\"; echo done >/local/out; touch /extra/x || echo ro; \
                  echo up; read code </local/go; exit $code";
    rkt.folder("local");
    testkit::program::tool(&["mkfifo", &rkt.word("local/go")]);
    let uuid = nomad_task(&rkt, &image, &["--user=0", "--group=0"], &[script]);
    let words = [
        "--insecure-options=all",
        "--debug=false",
        "run-prepared",
        "--dns=8.8.8.8",
        "--dns-search=example.com",
        "--net=none",
        &*uuid,
    ];
    let running = Running::start(&mut rkt.command(&words));
    let said = running.says("up\n");
    assert!(said.contains("/alloc a \"b\" c\n"), "{said}");
    assert!(said.contains("ro\n"), "{said}");
    assert_eq!(fs::read_to_string(rkt.path("local/out")).unwrap(), "done\n");

    let status = rkt.status(&uuid);
    assert_eq!(status["name"], json!(uuid));
    assert_eq!(status["state"], "running");
    assert!(status["networks"].is_null() || status["networks"].is_array(), "{status}");
    let manifest = rkt.run(&["cat-manifest", &uuid]).ok().json();
    let apps = manifest["apps"].as_array().unwrap();
    assert_eq!(apps.len(), 1);
    assert_eq!(apps[0]["app"]["ports"][0]["name"], "http");
    assert_eq!(apps[0]["app"]["ports"][0]["port"], 8080);

    let check = rkt.run(&["enter", &uuid, "/bin/sh", "-c", "echo checked; exit 2"]).code(2);
    assert_eq!(check.stdout, "checked\n");
    let inner = rkt.command(&["enter", &uuid, "/bin/sh", "-c", "stty size; exit 3"]);
    let (terminal, _keys) = testkit::pty::start(&inner, 20, 60);
    terminal.says("20 60");
    terminal.wait().code(3);

    // The task's code is that of the process that was started.
    fs::write(rkt.path("local/go"), "17\n").unwrap();
    running.wait().code(17);
    rkt.run(&["rm", &uuid]).ok();
    rkt.is_clean();
}

#[test]
fn nomad_asks_for_absurd_shares() {
    let rkt = Rkt::new();
    let uuid = nomad_task(&rkt, &rkt.shell(), &["--exec=/bin/echo"], &["ran"]);
    rkt.run(&["run-prepared", "--net=host", &uuid]).ok();
    let words = [
        "--insecure-options=all",
        "--debug=false",
        "run",
        "--net=none",
        &*format!("--uuid-file-save={}", rkt.word("uuid")),
        &rkt.shell(),
        "--set-env=K=V",
        "--exec=/bin/sh",
        "--memory=512M",
        "--cpu=500m",
        "--",
        "-c",
        "echo $K",
    ];
    assert_eq!(rkt.run(&words).ok().stdout, "V\n");
}

#[test]
fn a_signal_ends_a_task_in_order() {
    each(&[], |flavour| {
        for signal in [2, 15] {
            let rkt = Rkt::new();
            let script =
                "trap 'echo bye; exit 0' INT TERM; echo up; while :; do usleep 10000; done";
            let (running, _) = rkt.start_pod(flavour, &[&rkt.shell(), "--", script]);
            running.signal(signal);
            assert_eq!(running.wait().ok().stdout, "up\nbye\n");
        }
    });
}

#[test]
fn a_killed_task_ends_its_pod() {
    let rkt = Rkt::new();
    let uuid = nomad_task(&rkt, &rkt.shell(), &[], &["echo up; exec sleep 1000"]);
    let running = Running::start(&mut rkt.command(&["run-prepared", "--net=none", &uuid]));
    running.says("up");
    running.signal(9);
    running.wait();
    wait::unlocked(&rkt.pod_folder(&uuid));
    rkt.run(&["rm", &uuid]).ok();
    rkt.is_clean();
}
