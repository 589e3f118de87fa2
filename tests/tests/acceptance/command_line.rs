//! The grammar of `run`: images, flags that bind to them, arguments.

use serde_json::{Value, json};
use testkit::flavour::{Can, each};
use testkit::{FLY, Image, NSPAWN, Rkt};

/// An image that prints each of its arguments on a line.
fn printer(rkt: &Rkt) -> String {
    rkt.image(&Image::busybox("printer").exec(&["/bin/printf", "<%s>\\n"]))
}

#[test]
fn images_of_one_pod_share_network_and_processes() {
    each(&[Can::SeveralApps], |flavour| {
        let rkt = Rkt::new();
        let image = rkt.shell();
        let folder = rkt.folder("facts");
        let volume = format!("--volume=v,kind=host,source={folder}");
        let words = [
            &*volume,
            "--mount=volume=v,target=/v",
            &image,
            "--name=one",
            "--",
            "ip addr >/v/one; ls -l /proc/self/ns >>/v/one.ns; exec sleep 7654",
            "---",
            &image,
            "--name=two",
            "--",
            "until pidof sleep >/dev/null; do usleep 1000; done; ip addr >/v/two; killall sleep",
        ];
        rkt.pod(flavour, &words).code(15);
        let read =
            |name: &str| std::fs::read_to_string(rkt.path(&format!("facts/{name}"))).unwrap();
        assert!(read("one").contains("lo:"), "{}", read("one"));
        assert_eq!(read("one"), read("two"));
    });
}

#[test]
fn arguments_go_to_the_image_before_them() {
    each(&[Can::SeveralApps], |flavour| {
        let rkt = Rkt::new();
        let image = printer(&rkt);
        let words = [
            &*image,
            "--name=one",
            "--",
            "a",
            "--b",
            "-c",
            "--net=host",
            "---",
            &image,
            "--name=two",
            "--",
            "c",
            "--",
        ];
        let output = rkt.pod(flavour, &words).ok();
        let lines = output.lines_of_apps();
        assert_eq!(lines, ["<-->", "<--b>", "<--net=host>", "<-c>", "<a>", "<c>"]);
    });
}

#[test]
fn arguments_need_an_image() {
    let rkt = Rkt::new();
    for words in [&["run", "--", "x"][..], &["run", "--", "--", "x"]] {
        rkt.run(words).refuses("an image is required before any app arguments");
    }
    rkt.run(&["run", "image", "--", "a", "---", "--", "b"])
        .refuses("only one set of app arguments allowed per image");
}

#[test]
fn flags_of_an_app_bind_to_the_image_before_them() {
    each(&[Can::SeveralApps], |flavour| {
        let rkt = Rkt::new();
        let image = rkt.shell();
        let words = [
            &*image,
            "--name=one",
            "--user=1",
            "--",
            "echo one $(id -u)",
            "---",
            &image,
            "--name=two",
            "--user=2",
            "--",
            "echo two $(id -u)",
        ];
        let output = rkt.pod(flavour, &words).ok();
        let lines = output.lines_of_apps();
        assert_eq!(lines, ["one 1", "two 2"]);
        rkt.run(&["run", "--exec=/x", &image]).refuses("--exec must follow an image");
        rkt.run(&["run", &image, "--exec=/a", "--exec=/b"]).refuses("--exec");
    });
}

#[test]
fn flags_of_the_pod_may_follow_images() {
    let rkt = Rkt::new();
    let image = rkt.shell();
    let words = [
        "run",
        &*image,
        "--net=none",
        "--insecure-options=image",
        "--hostname=late",
        "--",
        "hostname; ip -o link | wc -l",
    ];
    assert_eq!(rkt.run(&words).ok().stdout, "late\n1\n");
}

#[test]
fn exec_replaces_the_program_but_not_the_arguments() {
    each(&[], |flavour| {
        let rkt = Rkt::new();
        let output = rkt.pod(flavour, &[&rkt.shell(), "--exec=/bin/echo", "--", "hi", "there"]);
        assert_eq!(output.ok().stdout, "hi there\n");
    });
}

#[test]
fn names_of_apps_are_unique_and_not_too_long() {
    let rkt = Rkt::new();
    let image = rkt.image(&Image::busybox("twin"));
    rkt.pod(&NSPAWN, &[&image, &image]).refuses("multiple apps with name twin");
    let (most, more) =
        (format!("--name={}", "n".repeat(200)), format!("--name={}", "n".repeat(201)));
    rkt.pod(&NSPAWN, &[&image, &most, "--exec=/bin/true"]).ok();
    rkt.pod(&NSPAWN, &[&image, &more, "--exec=/bin/true"])
        .refuses("the name of an app has 201 bytes, and 200 are the most");
    let output = rkt.pod(&NSPAWN, &[&image, "--name=one", &image]).ok();
    assert_eq!(output.lines_of_apps(), ["hello", "hello"]);
    rkt.pod(&NSPAWN, &[&image, "--name=Bad_Name"]).code(254);
}

#[test]
fn interactive_wants_one_image() {
    let rkt = Rkt::new();
    let image = rkt.shell();
    rkt.pod(&NSPAWN, &["--interactive", &image, "--name=one", &image, "--name=two"])
        .refuses("interactive option only supports one image");
}

#[test]
fn a_terminal_is_handed_on() {
    each(&[], |flavour| {
        let rkt = Rkt::new();
        let image = rkt.image(&Image::shell("term").exec(&["/bin/sh"]));
        let words = Rkt::run_words(flavour, &["--interactive", &image]);
        let (running, keys) = testkit::pty::start(&rkt.command(&words), 31, 97);
        keys.types("stty size; echo is-$((40+2))\n");
        let screen = running.says("is-42");
        assert!(screen.contains("31 97"), "{screen}");
        keys.types("exit 6\n");
        running.wait().code(6);
    });
}

#[test]
fn the_uuid_is_saved_before_the_app_starts() {
    each(&[], |flavour| {
        let rkt = Rkt::new();
        let folder = rkt.folder("ids");
        let save = format!("--uuid-file-save={folder}/uuid");
        let volume = format!("--volume=v,kind=host,source={folder}");
        let mount = "--mount=volume=v,target=/v";
        let words = [&*save, &volume, mount, &rkt.shell(), "--", "cat /v/uuid"];
        let output = rkt.pod(flavour, &words).ok();
        assert_eq!(output.stdout, rkt.only_pod());
        assert_eq!(output.stdout.len(), 36);
    });
}

#[test]
fn a_pod_manifest_is_run_as_given() {
    let rkt = Rkt::new();
    let id = rkt.fetch(&rkt.shell());
    rkt.file("v/word", "and a volume\n");
    let app = |name: &str, script: &str| {
        json!({
            "name": name, "image": { "id": id, "name": "example.com/shell" },
            "mounts": [{ "volume": "v", "path": "/v" }],
            "app": { "exec": ["/bin/sh", "-c", script], "user": "0", "group": "0" },
        })
    };
    let pod = |apps: &Value| {
        json!({
            "acVersion": "0.8.11", "acKind": "PodManifest", "apps": apps,
            "volumes": [{ "name": "v", "kind": "host", "source": rkt.word("v") }],
            "isolators": [], "annotations": [{ "name": "example.com/note", "value": "kept" }], "ports": [],
        })
        .to_string()
    };
    let manifest =
        rkt.file("pod.json", &pod(&json!([app("given", "echo from the manifest; cat /v/word")])));
    let flag = format!("--pod-manifest={manifest}");
    let output = rkt.run(&["run", "--net=none", &flag]).ok();
    assert_eq!(output.stdout, "from the manifest\nand a volume\n");
    let kept = rkt.run(&["cat-manifest", &rkt.only_pod()]).ok().json();
    assert_eq!(kept["apps"][0]["name"], "given");
    assert!(kept["annotations"].to_string().contains("kept"), "{kept}");

    let saying = "conflicting flags set with --pod-manifest (see --help)";
    for conflict in [
        "example.com/shell",
        "--volume=v,kind=empty",
        "--set-env=A=b",
        "--inherit-env",
        "--pull-policy=never",
        "--store-only",
        "--no-store",
        "--port=http:80",
        "--mount=volume=v,target=/v",
        "--set-env-file=/dev/null",
    ] {
        rkt.run(&["run", "--net=none", &flag, conflict]).refuses(saying);
    }
    let empty = format!("--pod-manifest={}", rkt.file("empty.json", &pod(&json!([]))));
    rkt.run(&["run", "--net=none", &empty]).refuses("pod must contain at least one application");
    rkt.run(&["run", "--net=none", "--pod-manifest=/nope"]).refuses("no such file or directory");
}

#[test]
fn annotations_and_labels_are_kept() {
    let rkt = Rkt::new();
    let words = [
        &*rkt.shell(),
        "--annotation=x=y",
        "--user-annotation=a=b",
        "--user-label=c=d",
        "--",
        "true",
    ];
    rkt.pod(&NSPAWN, &words).ok();
    let uuid = rkt.only_pod();
    let app = &rkt.status(&uuid)["apps"][0];
    assert_eq!(app["user_annotations"], json!({ "a": "b" }));
    assert_eq!(app["user_labels"], json!({ "c": "d" }));
    let manifest = rkt.run(&["cat-manifest", &uuid]).ok().json();
    let app = &manifest["apps"][0];
    assert_eq!(app["app"]["userAnnotations"], json!({ "a": "b" }));
    assert_eq!(app["app"]["userLabels"], json!({ "c": "d" }));
    assert_eq!(app["annotations"], json!([{ "name": "x", "value": "y" }]));
}

#[test]
fn ports_are_checked() {
    let rkt = Rkt::new();
    let port = json!([{ "name": "http", "protocol": "tcp", "port": 80 }]);
    let image = rkt.image(&Image::shell("served").app("ports", port));
    let prepare = |words: &[&str]| {
        let all = [&["--insecure-options=image", "prepare"], words].concat();
        rkt.run(&all)
    };
    prepare(&["--port=nope:8080", &image])
        .refuses("port name \"nope\" could not be found in any apps");
    prepare(&["--port=http:8080", &image, "--name=one", &image, "--name=two"])
        .refuses("port name \"http\" defined multiple apps");
    prepare(&["--port=http:8080", "--port=http:8080", &image]).code(254);
    prepare(&["--port=http:99999", &image]).refuses("\"99999\" is not a valid port number");
    for net in ["host", "none"] {
        let words = ["run", &format!("--net={net}"), "--port=http:8080", &image];
        rkt.run(&words).refuses(&format!("--port flag does not work with '{net}' networking"));
    }
}

#[test]
fn an_image_without_an_app_needs_exec() {
    each(&[], |flavour| {
        let rkt = Rkt::new();
        let image = rkt.image(&Image::busybox("bare").without_app());
        rkt.pod(flavour, &[&image])
            .refuses("has no app section and --exec argument is not provided");
        let output = rkt.pod(flavour, &[&image, "--exec=/bin/echo", "--", "now"]).ok();
        assert_eq!(output.stdout, "now\n");
    });
}

#[test]
fn fly_takes_one_app() {
    let rkt = Rkt::new();
    let image = rkt.shell();
    rkt.pod(&FLY, &[&image, "--name=one", "--", "true", "---", &image, "--name=two", "--", "true"])
        .code(254);
}
