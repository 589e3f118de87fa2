//! Programs of Debian packages do in a pod what they do elsewhere, and images that have a base in common share it.

use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use testkit::flavour::{Can, each};
use testkit::program::tool;
use testkit::{Flavour, Image, NSPAWN, Registry, Rkt, Running, corpus, needs, oci, wait};

/// Starts a pod, and waits until it can be entered.
#[track_caller]
fn start(rkt: &Rkt, flavour: &Flavour, words: &[&str]) -> (Running, String) {
    let file = rkt.path(&format!("uuid-{}", rkt.pods().len()));
    let save = format!("--uuid-file-save={}", file.display());
    let mut all = vec!["run", &save];
    all.extend(flavour.select);
    all.extend(words);
    let running = rkt.start(&all);
    wait::file(&file);
    rkt.note();
    let uuid = fs::read_to_string(&file).unwrap();
    rkt.run(&["status", "--wait-ready", &uuid]).ok();
    (running, uuid)
}

/// Stops a pod, whose app has to end in order.
#[track_caller]
fn stop(rkt: &Rkt, running: Running, uuid: &str) {
    rkt.run(&["stop", uuid]).ok();
    running.wait().ok();
    let status = rkt.status(uuid);
    assert_eq!(status["state"], "exited", "{status}");
}

/// A port of the host's that nobody listens on.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Fetches an image whatever the store has of it.
#[track_caller]
fn update(rkt: &Rkt, image: &str) -> String {
    let words = ["--insecure-options=image,http", "fetch", "--full", "--pull-policy=update", image];
    rkt.run(&words).ok().text().to_owned()
}

/// The bytes that the data folder takes on the disk.
fn used(rkt: &Rkt) -> u64 {
    let output = tool(&["du", "-s", "--block-size=1", rkt.data.to_str().unwrap()]);
    output.split('\t').next().unwrap().parse().unwrap()
}

/// The digests of the layers of an image of the corpus.
fn layers(name: &str) -> Vec<String> {
    let layout = corpus::layout(name);
    let read = |path: &str| -> Value {
        serde_json::from_slice(&fs::read(layout.join(path)).unwrap()).unwrap()
    };
    let index = read("index.json");
    let tag = "org.opencontainers.image.ref.name";
    let mut entries = index["manifests"].as_array().unwrap().iter();
    let entry = entries.find(|entry| entry["annotations"][tag] == name).unwrap();
    let digest = entry["digest"].as_str().unwrap().replace(':', "/");
    let manifest = read(&format!("blobs/{digest}"));
    let all = manifest["layers"].as_array().unwrap().iter();
    all.map(|layer| layer["digest"].as_str().unwrap().to_owned()).collect()
}

/// One test, since a store that has the base makes the rest cheap.
#[test]
fn programs_of_one_base_work_and_share_it() {
    needs!(Root);
    let rkt = Rkt::new();
    let mut registry = Registry::start(&rkt.path("registry"));
    let [nginx, redis, python] = ["nginx", "redis", "python3"].map(|name| {
        registry.push(&corpus::layout(name), name, name);
        registry.image(name)
    });
    registry.sent();
    let nginx = update(&rkt, &nginx);
    first_image_is_sent_whole(&mut registry);
    let alone = used(&rkt);
    let redis = update(&rkt, &redis);
    second_image_adds_its_top(&rkt, &mut registry, alone);
    let python = update(&rkt, &python);
    drop(registry);

    python_computes(&rkt, &python);
    nginx_serves_as_it_is(&rkt, &nginx);
    nginx_serves_on_the_network_of_the_host(&rkt, &nginx);
    redis_answers_and_saves(&rkt, &redis);
}

fn first_image_is_sent_whole(registry: &mut Registry) {
    let sent = registry.sent();
    for layer in layers("nginx") {
        assert_eq!(sent.iter().filter(|digest| **digest == layer).count(), 1, "{sent:?}");
    }
}

fn second_image_adds_its_top(rkt: &Rkt, registry: &mut Registry, alone: u64) {
    let (first, second) = (layers("nginx"), layers("redis"));
    assert_eq!((first.len(), second.len()), (2, 2));
    assert_eq!(first[0], second[0]);
    let sent = registry.sent();
    assert_eq!(sent.iter().filter(|digest| **digest == second[1]).count(), 1, "{sent:?}");
    assert!(!sent.contains(&second[0]), "{sent:?}");

    let list = rkt.run(&["image", "list", "--format=json"]).ok().json();
    let sizes = |key: &str| -> Vec<u64> {
        list.as_array().unwrap().iter().map(|image| image[key].as_u64().unwrap()).collect()
    };
    let (whole, own) = (sizes("size"), sizes("unique_size"));
    assert_eq!((whole.len(), own.len()), (2, 2), "{list}");
    // What an image has not for itself is the base, the same for both.
    let base = whole[0] - own[0];
    assert_eq!(base, whole[1] - own[1], "{list}");
    assert!(base > 100 << 20, "{list}");
    let added = used(rkt) - alone;
    assert!(added < base / 2, "the second image takes {added} bytes more: {list}");
    assert!(added > own.iter().min().unwrap() / 2, "the second image takes only {added}: {list}");
}

pub(crate) fn python_computes(rkt: &Rkt, id: &str) {
    each(&[], |flavour| {
        // Modules of C need the libraries of the image.
        let script = "import ctypes, sqlite3, ssl; print(sum(range(1001)))";
        let output = rkt.pod(flavour, &[id, "--", "python3", "-c", script]).ok();
        assert_eq!(output.stdout, "500500\n");
    });
}

pub(crate) fn nginx_serves_as_it_is(rkt: &Rkt, id: &str) {
    each(&[Can::Namespaces], |flavour| {
        let (running, uuid) = start(rkt, flavour, &["--net=none", id]);
        // Nobody outside reaches its network, and the image has no client but its shell.
        let client = "until exec 3<>/dev/tcp/127.0.0.1/80; do sleep 0.1; done 2>/dev/null
            printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3";
        let answer = rkt.run(&["enter", &uuid, "/bin/bash", "-c", client]).ok();
        assert!(answer.stdout.starts_with("HTTP/1.1 200 OK\r\n"), "{answer:#?}");
        assert!(answer.stdout.contains("<h1>Welcome to nginx!</h1>"), "{answer:#?}");
        stop(rkt, running, &uuid);
    });
}

pub(crate) fn nginx_serves_on_the_network_of_the_host(rkt: &Rkt, id: &str) {
    rkt.file("html/index.html", "served from a volume\n");
    let volume = format!("--volume=html,kind=host,readOnly=true,source={}", rkt.word("html"));
    each(&[Can::ShareWithHost], |flavour| {
        let port = free_port();
        let text = format!(
            "daemon off; error_log /dev/stdout notice; pid /run/here.pid; events {{ }}\n\
             http {{ access_log off; server {{ listen 127.0.0.1:{port}; root /srv/html; }} }}\n"
        );
        let source = rkt.file(&format!("nginx-{}.conf", flavour.name), &text);
        let file = format!("--volume=conf,kind=host,readOnly=true,source={source}");
        let mut words = if flavour.net.is_empty() { vec![] } else { vec!["--net=host"] };
        words.extend([&*volume, &file, "--mount=volume=html,target=/srv/html"]);
        words.extend(["--mount=volume=conf,target=/etc/nginx/nginx.conf", id, "--", "nginx"]);
        let (running, uuid) = start(rkt, flavour, &words);
        running.says("start worker process");
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        write!(stream, "GET / HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nserved from a volume\n"), "{answer}");
        stop(rkt, running, &uuid);
    });
}

pub(crate) fn redis_answers_and_saves(rkt: &Rkt, id: &str) {
    // The image declares this volume and has no such folder: without an owner redis cannot save, and does not end.
    let data = rkt.folder("redis");
    let volume = format!("--volume=volume-data,kind=host,source={data}");
    each(&[], |flavour| {
        let own = ["--user=root", "--group=root", "--", "chown", "redis:redis", "/data"];
        rkt.pod(flavour, &[&[&*volume, id], &own[..]].concat()).ok();
        let port = free_port().to_string();
        let mut words = flavour.net.to_vec();
        words.extend([&*volume, id, "--", "redis-server", "--port", &port]);
        let (running, uuid) = start(rkt, flavour, &words);
        running.says("Ready to accept connections");
        let ask = |words: &[&str]| {
            let client = ["enter", &uuid, "/usr/bin/redis-cli", "-p", &port];
            rkt.run(&[&client[..], words].concat()).ok().text().to_owned()
        };
        assert_eq!(ask(&["ping"]), "PONG");
        assert_eq!(ask(&["set", "key", flavour.name]), "OK");
        assert_eq!(ask(&["get", "key"]), flavour.name);
        stop(rkt, running, &uuid);
        let saved = fs::read(Path::new(&data).join("dump.rdb")).unwrap();
        let name = flavour.name.as_bytes();
        assert!(saved.windows(name.len()).any(|part| part == name), "nothing was saved");
    });
}

#[test]
fn ten_fetches_at_once_are_sent_one_image() {
    needs!(Root);
    let rkt = Rkt::new();
    let mut registry = Registry::start(&rkt.path("registry"));
    registry.push(&corpus::layout("layers20"), "layers20", "app");
    let reference = registry.image("app");
    registry.sent();
    let words = ["--insecure-options=image,http", "fetch", "--full", &reference];
    let all: Vec<Running> = (0..10).map(|_| rkt.start(&words)).collect();
    let ids: Vec<String> = all.into_iter().map(|one| one.wait().ok().text().to_owned()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let sent = registry.sent();
    for layer in layers("layers20") {
        assert_eq!(sent.iter().filter(|digest| **digest == layer).count(), 1, "{layer}");
    }
}

#[test]
fn only_the_changed_layer_is_sent() {
    needs!(Root);
    let rkt = Rkt::new();
    let mut registry = Registry::start(&rkt.path("registry"));
    let layout = corpus::layout("edge");
    registry.push(&layout, "edge", "app");
    let reference = registry.image("app");
    let old = update(&rkt, &reference);
    assert_eq!(registry.sent().iter().filter(|digest| layers("edge").contains(digest)).count(), 3);

    let change = Image::empty("change").file("edge/changed", "as it is now\n");
    let other = rkt.path("other");
    let top = oci::with_other_top(&other, "edge", (&layout, "edge"), &change);
    registry.push(&other, "edge", "app");
    registry.sent();
    let new = update(&rkt, &reference);
    assert_ne!(new, old);
    let sent = registry.sent();
    assert_eq!(sent.iter().filter(|digest| **digest == top).count(), 1, "{sent:?}");
    // Beside it only the configuration.
    assert_eq!(sent.len(), 2, "{sent:?}");
    assert!(!layers("edge").iter().any(|layer| sent.contains(layer)), "{sent:?}");

    // What is there already is not asked for at all.
    assert_eq!(update(&rkt, &reference), new);
    assert_eq!(registry.sent(), Vec::<String>::new());
    let output = rkt.pod(&NSPAWN, &[&new, "--", "/bin/cat", "/edge/changed"]);
    assert_eq!(output.ok().stdout, "as it is now\n");
}
