//! What list, status and cat-manifest show.

use serde_json::{Value, json};
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};
use testkit::flavour::{Can, each};
use testkit::program::tool;
use testkit::{NSPAWN, Rkt, Running, Stub, wait};

const SLEEP: &str = "echo up; exec sleep 1000";

fn cells(line: &str) -> Vec<&str> {
    line.split('\t').filter(|cell| !cell.is_empty()).collect()
}

#[test]
fn list_is_a_table_split_by_tabs() {
    each(&[Can::SeveralApps], |flavour| {
        let rkt = Rkt::new();
        let empty = rkt.run(&["list"]).ok();
        assert_eq!(empty.stdout, "UUID\tAPP\tIMAGE NAME\tSTATE\tCREATED\tSTARTED\tNETWORKS\n");
        let image = rkt.shell();
        let words = [&*image, "--name=one", "--", SLEEP, "---", &image, "--name=two", "--", "true"];
        let (_running, uuid) = rkt.start_pod(flavour, &words);
        let list = rkt.run(&["list"]).ok();
        let lines = list.lines();
        assert_eq!(lines.len(), 3, "{list:#?}");
        let head = ["UUID", "APP", "IMAGE NAME", "STATE", "CREATED", "STARTED", "NETWORKS"];
        assert_eq!(cells(lines[0]), head);
        let first = cells(lines[1]);
        assert_eq!(first[..4], [&uuid[..8], "one", "example.com/shell:1.0", "running"]);
        assert!(lines[2].starts_with('\t'), "no UUID again: {list:#?}");
        assert_eq!(cells(lines[2]), ["two", "example.com/shell:1.0"]);
        for cell in ["now", "second", "seconds ago"] {
            if first[4].contains(cell) {
                return;
            }
        }
        panic!("created {:?}", first[4]);
    });
}

#[test]
fn list_has_a_full_form_and_json() {
    each(&[Can::Namespaces], |flavour| {
        let rkt = Rkt::new();
        assert_eq!(rkt.run(&["list", "--format=json"]).ok().text(), "[]");
        assert_eq!(rkt.run(&["list", "--no-legend"]).ok().stdout, "");
        let uuid = rkt.prepare(flavour, &[&rkt.shell(), "--", "true"]);
        let id = rkt.fetch(&rkt.shell());
        let full = rkt.run(&["list", "--full"]).ok();
        let (head, row) = (cells(full.lines()[0]), cells(full.lines()[1]));
        assert_eq!(head[..4], ["UUID", "APP", "IMAGE NAME", "IMAGE ID"]);
        assert_eq!(row[..5], [&*uuid, "shell", "example.com/shell:1.0", &id[..19], "prepared"]);
        assert!(row[5].starts_with("20") && row[5].split(' ').count() == 4, "{row:?}");
        let bare = rkt.run(&["list", "--full", "--no-legend"]).ok();
        assert_eq!(bare.lines().len(), 1);
        let pods = rkt.run(&["list", "--format=json"]).ok().json();
        assert_eq!(pods[0]["name"], json!(uuid));
        assert_eq!(pods[0]["state"], "prepared");
        assert_eq!(pods[0]["app_names"], json!(["shell"]));
        assert_eq!(pods[0]["apps"][0]["image_id"], json!(id));
        assert!(rkt.run(&["list", "--format=json-pretty"]).ok().stdout.contains("\n\t"));
        rkt.run(&["list", "--format=yaml"]).refuses("Invalid format option: yaml");
    });
}

#[test]
fn pods_are_listed_in_the_order_of_their_uuids() {
    let rkt = Rkt::new();
    let image = rkt.shell();
    for _ in 0..3 {
        rkt.prepare(&NSPAWN, &[&image, "--", "true"]);
    }
    rkt.script(&NSPAWN, "true").ok();
    let list = rkt.run(&["list", "--full", "--no-legend"]).ok();
    let found: Vec<&str> = list.lines().into_iter().map(|line| cells(line)[0]).collect();
    let mut sorted = found.clone();
    sorted.sort_unstable();
    assert_eq!(found, sorted);
    assert_eq!(found.len(), 4);
}

#[test]
fn names_are_listed_without_the_image() {
    let rkt = Rkt::new();
    let id = rkt.fetch(&rkt.shell());
    rkt.script(&NSPAWN, "true").ok();
    rkt.run(&["image", "rm", &id]).ok();
    let list = rkt.run(&["list", "--no-legend"]).ok();
    assert!(list.stdout.contains("\texample.com/shell:1.0\t"), "{list:#?}");
    assert_eq!(list.stderr, "");
}

#[test]
fn a_broken_pod_does_not_hide_the_others() {
    let rkt = Rkt::new();
    let image = rkt.shell();
    let good = rkt.prepare(&NSPAWN, &[&image, "--", "true"]);
    let bad = rkt.prepare(&NSPAWN, &[&image, "--", "true"]);
    fs::write(rkt.pod_folder(&bad).join("pod"), "{ not JSON").unwrap();
    let list = rkt.run(&["list", "--no-legend"]).ok();
    assert!(list.stdout.contains(&good[..8]), "{list:#?}");
    let first = list.stderr.lines().next().unwrap_or_default();
    assert_eq!(first, "list: 1 error(s) encountered when listing pods:", "{list:#?}");
    assert!(list.stderr.lines().nth(1).unwrap().contains(&"-".repeat(40)), "{list:#?}");
    let which = format!("list: pod \"{bad}\" has a bad manifest: ");
    assert!(list.stderr.lines().nth(2).unwrap().starts_with(&which), "{list:#?}");
    rkt.run(&["run-prepared", &bad]).refuses(&format!("pod \"{bad}\" has a bad manifest: "));
    let pods = rkt.run(&["list", "--format=json"]).ok().json();
    assert!(pods.as_array().unwrap().iter().any(|pod| pod["name"] == json!(good)), "{pods}");
}

fn keys(output: &testkit::Output) -> Vec<&str> {
    output.lines().into_iter().map(|line| line.split('=').next().unwrap()).collect()
}

#[test]
fn status_has_its_lines_in_order() {
    each(&[], |flavour| {
        let rkt = Rkt::new();
        let prepared = rkt.prepare(flavour, &[&rkt.shell(), "--", "true"]);
        let output = rkt.run(&["status", &prepared]).ok();
        assert_eq!(keys(&output), ["state", "created"]);
        let (running, uuid) = rkt.sleeper(flavour);
        let output = rkt.run(&["status", &uuid]).ok();
        let wanted = ["state", "created", "started", "networks", "pid", "exited"];
        assert_eq!(keys(&output), wanted);
        assert!(output.lines().contains(&"exited=false"));
        let pid = output.lines()[4].trim_start_matches("pid=").parse::<i32>().unwrap();
        assert!(wait::pidfd(pid).is_some());
        rkt.run(&["stop", &uuid]).ok();
        running.wait();
        let output = rkt.run(&["status", &uuid]).ok();
        assert_eq!(keys(&output), [&wanted[..], &["app-shell"]].concat());
        assert_eq!(output.lines()[0], "state=exited");
        rkt.run(&["gc", "--mark-only"]).ok();
        let output = rkt.run(&["status", &uuid]).ok();
        assert_eq!(output.lines()[0], "state=exited garbage");
        assert!(!keys(&output).contains(&"networks"), "{output:#?}");
        assert!(output.lines().contains(&"exited=true"));
    });
}

#[test]
fn status_waits_for_the_end() {
    each(&[Can::Namespaces], |flavour| {
        let rkt = Rkt::new();
        let volume = format!("--volume=v,kind=host,source={}", rkt.folder("v"));
        let words = [
            &*volume,
            &rkt.shell(),
            "--mount=volume=v,target=/v",
            "--",
            "echo up; until [ -s /v/go ]; do usleep 10000; done; exit 2",
        ];
        let (running, uuid) = rkt.start_pod(flavour, &words);
        rkt.run(&["status", "--wait=100ms", &uuid])
            .refuses("error waiting for pod to finish: context deadline exceeded");
        let waiting = rkt.start(&["status", "--wait", &uuid]);
        fs::write(rkt.path("v/go"), "go\n").unwrap();
        let output = waiting.wait().ok();
        assert!(output.stdout.starts_with("state=exited\n"), "{output:#?}");
        assert!(output.lines().contains(&"app-shell=2"), "{output:#?}");
        running.wait().code(2);
        rkt.run(&["status", "--wait=10s", &uuid]).ok();
    });
}

#[test]
fn a_pod_whose_maker_died_while_it_wrote_is_no_error_of_the_list() {
    let rkt = Rkt::new();
    let prepared = rkt.prepare(&NSPAWN, &[&rkt.shell(), "--", "true"]);
    let pods = rkt.data.join("pods");
    let aborted = pods.join("prepare").join(&prepared);
    fs::rename(pods.join("prepared").join(&prepared), &aborted).unwrap();
    fs::write(aborted.join("pod"), "").unwrap();
    let list = rkt.run(&["list"]).ok();
    assert_eq!(list.stderr, "");
    assert!(list.stdout.contains("aborted prepare"), "{list:#?}");
    // One that is complete has no excuse.
    fs::rename(&aborted, pods.join("prepared").join(&prepared)).unwrap();
    assert!(rkt.run(&["list"]).ok().stderr.contains("1 error(s)"));
}

#[test]
fn a_pod_that_runs_is_not_ready_before_its_stage1_says_so() {
    let rkt = Rkt::new();
    let go = rkt.word("go");
    tool(&["mkfifo", &go]);
    let stub = format!("--stage1-path={}", rkt.image(&Stub::LEAST.image()));
    let image = rkt.shell();
    let words = ["--insecure-options=image", "run", &*stub, "--net=host", &*image];
    let ready = "mkdir -p rkt; ln -s ready rkt/supervisor-status";
    let mut command = rkt.command(&words);
    let running = Running::start(
        command.env("STUB_COMMAND", format!("echo up; read word <{go}; {ready}; exec sleep 1000")),
    );
    running.says("up");
    let uuid = rkt.only_pod();
    assert_eq!(rkt.status(&uuid)["state"], "running");
    rkt.run(&["status", "--wait-ready=100ms", &uuid])
        .refuses("error waiting for pod readiness: context deadline exceeded");
    fs::write(&go, "go\n").unwrap();
    let output = rkt.run(&["status", "--wait-ready=30s", &uuid]).ok();
    assert!(output.stdout.starts_with("state=running\n"), "{output:#?}");
    running.signal(9);
    running.wait();
}

#[test]
fn status_waits_until_the_pod_is_ready() {
    each(&[], |flavour| {
        let rkt = Rkt::new();
        let (_running, uuid) = rkt.sleeper(flavour);
        let output = rkt.run(&["status", "--wait-ready=30s", &uuid]).ok();
        assert!(output.stdout.starts_with("state=running\n"), "{output:#?}");
    });
    let rkt = Rkt::new();
    // A pod that waits for its start may become ready, one whose preparation was aborted never.
    let prepared = rkt.prepare(&NSPAWN, &[&rkt.shell(), "--", "true"]);
    rkt.run(&["status", "--wait-ready=100ms", &prepared])
        .refuses("error waiting for pod readiness: context deadline exceeded");
    let pods = rkt.data.join("pods");
    fs::rename(pods.join("prepared").join(&prepared), pods.join("prepare").join(&prepared))
        .unwrap();
    rkt.run(&["status", "--wait-ready", &prepared]).code(254);
}

#[test]
fn the_manifest_of_a_pod_is_shown() {
    let rkt = Rkt::new();
    let id = rkt.fetch(&rkt.shell());
    let words = [
        "--volume=data,kind=empty",
        &*rkt.shell(),
        "--exec=/bin/echo",
        "--user-annotation=k=v",
        "--",
        "a",
    ];
    let uuid = rkt.prepare(&NSPAWN, &words);
    let pretty = rkt.run(&["cat-manifest", &uuid]).ok();
    let manifest = pretty.json();
    assert_eq!(manifest["acKind"], "PodManifest");
    assert_eq!(manifest["apps"][0]["name"], "shell");
    assert_eq!(manifest["apps"][0]["image"]["id"], json!(id));
    assert_eq!(manifest["apps"][0]["app"]["exec"], json!(["/bin/echo", "a"]));
    assert_eq!(manifest["volumes"][0]["kind"], "empty");
    let mutable = json!({ "name": "coreos.com/rkt/stage1/mutable", "value": "false" });
    assert!(manifest["annotations"].as_array().unwrap().contains(&mutable), "{manifest}");
    assert!(pretty.stdout.contains("\n\t"));
    let flat = rkt.run(&["cat-manifest", "--pretty-print=false", &uuid]).ok();
    assert_eq!(flat.lines().len(), 1);
    assert!(flat.stdout.starts_with("{\"acVersion\":"), "{flat:#?}");
    assert_eq!(flat.json(), manifest);
}

#[test]
fn json_has_the_real_times_and_codes() {
    each(&[], |flavour| {
        let rkt = Rkt::new();
        let volume = format!("--volume=v,kind=host,source={}", rkt.folder("v"));
        let mount = "--mount=volume=v,target=/v";
        let words = [&*volume, &rkt.shell(), mount, "--", "echo >/v/last; exit 3"];
        rkt.pod(flavour, &words).code(3);
        // What the app did last.
        let last = fs::metadata(rkt.path("v/last")).unwrap().modified().unwrap();
        let last = last.duration_since(UNIX_EPOCH).unwrap().as_nanos();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        let pod = rkt.status(&rkt.only_pod());
        let app = &pod["apps"][0];
        assert_eq!(app["exit_code"], 3);
        assert_eq!(app["state"], "exited");
        let time = |key: &str| -> u128 {
            app[key].as_u64().unwrap_or_else(|| panic!("{key}: {pod}")).into()
        };
        assert!(time("created_at") <= time("started_at"), "{pod}");
        assert!(time("started_at") <= time("finished_at"), "{pod}");
        assert!(last <= time("finished_at"), "{last}: {pod}");
        assert!(time("finished_at") <= now, "{pod}");
        for key in ["created_at", "started_at"] {
            assert_eq!(u128::from(pod[key].as_u64().unwrap()), time(key) / 1_000_000_000, "{pod}");
        }
    });
}

#[test]
fn mounts_are_listed_in_json() {
    each(&[Can::Namespaces], |flavour| {
        let rkt = Rkt::new();
        let folder = rkt.folder("shared");
        let volume = format!("--volume=v,kind=host,source={folder}");
        let words = [&*volume, &rkt.shell(), "--mount=volume=v,target=/v", "--", "true"];
        let uuid = rkt.prepare(flavour, &words);
        let mounts = rkt.status(&uuid)["apps"][0]["mounts"].clone();
        let wanted: Value = json!([
            { "name": "v", "container_path": "/v", "host_path": folder, "read_only": false },
        ]);
        assert_eq!(mounts, wanted);
    });
}
