//! Programs of Debian packages do in a pod what they do elsewhere.

use sha2::{Digest, Sha256};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use testkit::flavour::each;
use testkit::{FLY, Flavour, NSPAWN, Registry, Rkt, Running, corpus, needs, wait};

/// Starts a pod with the host's network or, where the flavour can, with none.
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
    let uuid = std::fs::read_to_string(&file).unwrap();
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

/// An image of the corpus, fetched from a registry.
#[track_caller]
fn fetched(rkt: &Rkt, name: &str) -> String {
    let registry = Registry::start(&rkt.path("registry"));
    registry.push(&corpus::layout(name), name, name);
    let words = ["--insecure-options=image,http", "fetch", "--full", &registry.image(name)];
    rkt.run(&words).ok().text().to_owned()
}

#[test]
fn python_computes() {
    needs!(Root);
    let rkt = Rkt::new();
    let id = fetched(&rkt, "python3");
    each(&[], |flavour| {
        // Modules of C need the libraries of the image.
        let script = "import ctypes, sqlite3, ssl; print(sum(range(1001)))";
        let output = rkt.pod(flavour, &[&id, "--", "python3", "-c", script]).ok();
        assert_eq!(output.stdout, "500500\n");
    });
}

#[test]
fn nginx_serves_as_it_is() {
    needs!(Root);
    let rkt = Rkt::new();
    let id = fetched(&rkt, "nginx");
    let (running, uuid) = start(&rkt, &NSPAWN, &["--net=none", &id]);
    // Nobody outside reaches its network, and the image has no client but its shell.
    let client = "until exec 3<>/dev/tcp/127.0.0.1/80; do sleep 0.1; done 2>/dev/null
        printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3";
    let answer = rkt.run(&["enter", &uuid, "/bin/bash", "-c", client]).ok();
    assert!(answer.stdout.starts_with("HTTP/1.1 200 OK\r\n"), "{answer:#?}");
    assert!(answer.stdout.contains("<h1>Welcome to nginx!</h1>"), "{answer:#?}");
    stop(&rkt, running, &uuid);
}

#[test]
fn nginx_serves_on_the_network_of_the_host() {
    needs!(Root);
    let rkt = Rkt::new();
    let id = rkt.fetch(&corpus::image("nginx"));
    rkt.file("html/index.html", "served from a volume\n");
    let volume = format!("--volume=html,kind=host,readOnly=true,source={}", rkt.word("html"));
    for (flavour, net) in [(&NSPAWN, &["--net=host"][..]), (&FLY, &[])] {
        let port = free_port();
        let text = format!(
            "daemon off; error_log /dev/stdout notice; pid /run/here.pid; events {{ }}\n\
             http {{ access_log off; server {{ listen 127.0.0.1:{port}; root /srv/html; }} }}\n"
        );
        let name = format!("nginx-{}.conf", flavour.name);
        let source = rkt.file(&name, &text);
        let file = format!("--volume=conf,kind=host,readOnly=true,source={source}");
        let mut words = net.to_vec();
        words.extend([&*volume, &file, "--mount=volume=html,target=/srv/html"]);
        words.extend(["--mount=volume=conf,target=/etc/nginx/nginx.conf", &*id, "--", "nginx"]);
        let (running, uuid) = start(&rkt, flavour, &words);
        running.says("start worker process");
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        write!(stream, "GET / HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nserved from a volume\n"), "{answer}");
        stop(&rkt, running, &uuid);
    }
}

#[test]
fn redis_answers_and_saves() {
    needs!(Root);
    let rkt = Rkt::new();
    let id = fetched(&rkt, "redis");
    // The image declares this volume; without its owner redis cannot save, and does not end.
    let data = rkt.folder("redis");
    let volume = format!("--volume=volume-data,kind=host,source={data}");
    each(&[], |flavour| {
        let port = free_port().to_string();
        let owner = rkt.pod(
            flavour,
            &[&volume, &id, "--user=root", "--group=root", "--", "chown", "redis:redis", "/data"],
        );
        owner.ok();
        let mut words = flavour.net.to_vec();
        words.extend([&*volume, &id, "--", "redis-server", "--port", &port]);
        let (running, uuid) = start(&rkt, flavour, &words);
        running.says("Ready to accept connections");
        let ask = |words: &[&str]| {
            let client = ["enter", &uuid, "/usr/bin/redis-cli", "-p", &port];
            rkt.run(&[&client[..], words].concat()).ok().text().to_owned()
        };
        assert_eq!(ask(&["ping"]), "PONG");
        assert_eq!(ask(&["set", "key", flavour.name]), "OK");
        assert_eq!(ask(&["get", "key"]), flavour.name);
        stop(&rkt, running, &uuid);
        let saved = std::fs::read(Path::new(&data).join("dump.rdb")).unwrap();
        let name = flavour.name.as_bytes();
        assert!(saved.windows(name.len()).any(|part| part == name), "nothing was saved");
    });
}

/// The SHA-256 of a file, as the app of a pod sees it.
fn hash_inside(rkt: &Rkt, flavour: &Flavour, words: &[&str], path: &str) -> String {
    let hash = ["--", "sha256sum", path];
    let output = rkt.pod(flavour, &[words, &hash].concat()).ok();
    output.text().split(' ').next().unwrap().to_owned()
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn contents_survive_twenty_layers() {
    needs!(Root);
    let rkt = Rkt::new();
    let id = rkt.fetch(&corpus::image("layers20"));
    each(&[], |flavour| {
        for (path, content) in [("last", "19\n"), ("l09", "file\n"), ("l17/id", "layer 17\n")] {
            let hash = hash_inside(&rkt, flavour, &[&id], &format!("/corpus/{path}"));
            assert_eq!(hash, hex(content.as_bytes()), "{path}");
        }
    });
}

#[test]
fn awkward_names_and_settings_work() {
    needs!(Root);
    let rkt = Rkt::new();
    let id = rkt.fetch(&corpus::image("edge"));
    rkt.folder("sticky");
    let source = rkt.word("sticky");
    each(&[], |flavour| {
        // Fly has only volumes that somebody gives.
        let volume = format!("--volume=volume-edge-sticky,kind=host,source={source}");
        let words = [&*volume, &id];
        let mut sparse = vec![0; 64 << 20];
        sparse.extend_from_slice(b"end");
        for (path, content) in [
            ("/edge/gr\u{fc}n-\u{6f22}\u{5b57}-\u{1f680}", &b"utf8\n"[..]),
            ("/edge/hard-across-layers", b"hard\n"),
            ("/edge/sparse", &sparse),
        ] {
            assert_eq!(hash_inside(&rkt, flavour, &words, path), hex(content), "{path}");
        }
        let script = "id -u; id -g; pwd; echo \"$EQ,${EMPTY-unset}\"";
        let output = rkt.pod(flavour, &[&words[..], &["--", "/bin/sh", "-c", script]].concat());
        assert_eq!(output.ok().stdout, "1000\n1000\n/edge/nonexistent\na=b=c,\n");
    });
}
