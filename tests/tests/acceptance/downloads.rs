//! Images from servers: files by URL, registries, policies, transfers that break off.

use serde_json::json;
use std::fs;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};
use testkit::server::{Answer, Server};
use testkit::{Image, NSPAWN, Output, Rkt, oci, wait};

const CARELESS: &str = "--insecure-options=image,http";

fn fetch(rkt: &Rkt, words: &[&str]) -> Output {
    rkt.run(&[&[CARELESS, "fetch", "--full"], words].concat())
}

/// A server of one image at `/app.aci`.
fn serving(image: &Image) -> Server {
    let bytes = image.bytes();
    Server::start(move |_| Answer::body(bytes.clone()))
}

#[test]
fn files_are_fetched_from_servers() {
    let rkt = Rkt::new();
    let image = Image::busybox("app");
    let server = serving(&image);
    let url = server.url("/app.aci");
    assert_eq!(fetch(&rkt, &[&url]).ok().text(), image.id());
    assert_eq!(server.asked().last().unwrap().path, "/app.aci");
    let output = rkt.run(&[CARELESS, "run", "--net=none", &url]).ok();
    assert_eq!(output.stdout, "hello\n");
    assert_eq!(server.count("/app.aci"), 1, "what is there is not asked for again");
    fetch(&rkt, &[&server.url("/app.tar")]).refuses("invalid image string");
    let missing = Server::start(|_| Answer::status(404));
    fetch(&rkt, &[&missing.url("/app.aci")]).refuses("404");
}

#[test]
fn what_is_not_signed_leaves_nothing() {
    let rkt = Rkt::new();
    let server = serving(&Image::busybox("app"));
    rkt.run(&["--insecure-options=http", "fetch", &server.url("/app.aci")]).code(254);
    assert_eq!(server.count("/app.aci"), 0, "the image itself is not asked for");
    assert_eq!(rkt.run(&["image", "list", "--no-legend"]).ok().stdout, "");
}

#[test]
fn plain_http_is_an_option() {
    let rkt = Rkt::new();
    let server = serving(&Image::busybox("app"));
    for options in ["--insecure-options=image", "--insecure-options=image,tls"] {
        rkt.run(&[options, "fetch", &server.url("/app.aci")]).code(254);
    }
    assert_eq!(server.asked().len(), 0);
    fetch(&rkt, &[&server.url("/app.aci")]).ok();
    rkt.run(&["--insecure-options=htttp", "fetch", "x"]).refuses("htttp");
}

#[test]
fn policies_decide_about_requests() {
    let rkt = Rkt::new();
    let server = serving(&Image::busybox("app"));
    let url = server.url("/app.aci");
    fetch(&rkt, &["--pull-policy=never", &url]).refuses("unable to fetch image");
    assert_eq!(server.count(".aci"), 0);
    for (flag, requests) in [
        ("--pull-policy=new", 1),
        ("--pull-policy=new", 1),
        ("--pull-policy=never", 1),
        ("--pull-policy=update", 2),
        ("--pull-policy=update", 3),
    ] {
        fetch(&rkt, &[flag, &url]).ok();
        assert_eq!(server.count(".aci"), requests, "{flag}");
    }
    // `fetch` updates, `run` is content with what is there.
    fetch(&rkt, &[&url]).ok();
    assert_eq!(server.count(".aci"), 4);
    rkt.run(&[CARELESS, "run", "--net=none", &url]).ok();
    assert_eq!(server.count(".aci"), 4);
    fetch(&rkt, &["--pull-policy=sometimes", &url]).code(254);
}

#[test]
fn old_spellings_of_policies_work_with_a_notice() {
    let rkt = Rkt::new();
    let server = serving(&Image::busybox("app"));
    let url = server.url("/app.aci");
    let output = fetch(&rkt, &["--no-store", &url]).ok();
    let notice = "Flag --no-store has been deprecated, please use --pull-policy=update\n";
    assert_eq!(output.stderr.lines().next().unwrap(), notice.trim());
    let output = fetch(&rkt, &["--store-only", &url]).ok();
    let notice = "Flag --store-only has been deprecated, please use --pull-policy=never\n";
    assert_eq!(output.stderr, notice);
    assert_eq!(server.count(".aci"), 1);
    fetch(&rkt, &["--store-only", "--no-store", &url])
        .refuses("both --store-only and --no-store specified");
}

#[test]
fn a_broken_transfer_is_taken_up_again() {
    let rkt = Rkt::new();
    let image = Image::busybox("app");
    let bytes = image.bytes();
    let half = bytes.len() / 2;
    let first = std::sync::atomic::AtomicBool::new(true);
    let server = Server::start(move |request| {
        let answer = match request.headers.get("range") {
            Some(range) => {
                let from: usize = range
                    .trim_start_matches("bytes=")
                    .trim_end_matches('-')
                    .parse()
                    .expect("an open range");
                let span = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
                Answer::body(&bytes[from..]).code(206).header("content-range", &span)
            }
            None if request.method == "GET"
                && first.swap(false, std::sync::atomic::Ordering::SeqCst) =>
            {
                Answer::body(bytes.clone()).cut(half)
            }
            None => Answer::body(bytes.clone()),
        };
        answer.header("etag", "\"one\"").header("accept-ranges", "bytes")
    });
    let url = server.url("/app.aci");
    let output = fetch(&rkt, &[&url]);
    let output = if output.code == Some(0) { output } else { fetch(&rkt, &[&url]).ok() };
    assert_eq!(output.text(), image.id());
    let wanted = format!("bytes={half}-");
    let resumed = server.asked().iter().any(|one| one.headers.get("range") == Some(&wanted));
    assert!(resumed, "{:#?}", server.asked());
}

#[test]
fn servers_may_say_that_nothing_has_changed() {
    let rkt = Rkt::new();
    let image = Image::busybox("app");
    let bytes = image.bytes();
    let server = Server::start(move |request| match request.headers.get("if-none-match") {
        Some(tag) if tag == "\"one\"" => {
            Answer::status(304).header("cache-control", "max-age=1000")
        }
        _ => Answer::body(bytes.clone()).header("etag", "\"one\""),
    });
    let url = server.url("/app.aci");
    for requests in [1, 2, 2] {
        assert_eq!(fetch(&rkt, &[&url]).ok().text(), image.id());
        assert_eq!(server.count(".aci"), requests);
    }
}

#[test]
fn two_fetches_of_one_image_transfer_it_once() {
    let rkt = Rkt::new();
    let image = Image::busybox("app");
    let bytes = image.bytes();
    let (going, open) = std::sync::mpsc::channel::<()>();
    let open = std::sync::Mutex::new(open);
    let server = Server::start(move |_| {
        // Until the second has come as far as it can.
        let _ = open.lock().unwrap().recv_timeout(testkit::wait::deadline());
        Answer::body(bytes.clone())
            .header("etag", "\"one\"")
            .header("cache-control", "max-age=1000")
    });
    let url = server.url("/app.aci");
    let words = [CARELESS, "fetch", "--full", &*url];
    let first = rkt.start(&words);
    server.wait_for(1);
    let second = rkt.start(&words);
    let process = wait::pidfd(second.pid()).unwrap();
    let soon = Instant::now() + Duration::from_secs(1);
    assert!(!wait::readable(process.as_fd(), soon), "the second one waits for the first");
    going.send(()).unwrap();
    drop(going);
    assert_eq!(first.wait().ok().text(), image.id());
    assert_eq!(second.wait().ok().text(), image.id());
    assert_eq!(server.count(".aci"), 1);
}

#[test]
fn proxies_are_used() {
    let rkt = Rkt::new();
    let image = Image::busybox("app");
    let proxy = serving(&image);
    let url = "http://images.example.invalid/app.aci";
    let mut command = rkt.command(&[CARELESS, "fetch", "--full", url]);
    let output = rkt.finish(command.env("HTTP_PROXY", proxy.url(""))).ok();
    assert_eq!(output.text(), image.id());
    let asked = proxy.asked().last().unwrap().path.replace(":80/", "/");
    assert_eq!(asked, url);
    // A host that is to be reached directly.
    let direct = serving(&image);
    let url = direct.url("/app.aci");
    let mut command = rkt.command(&[CARELESS, "fetch", "--full", &url]);
    command.env("HTTP_PROXY", proxy.url("")).env("NO_PROXY", "127.0.0.1");
    rkt.finish(&mut command).ok();
    assert_eq!(direct.count("/app.aci"), 1);
}

fn layout(rkt: &Rkt, name: &str, marker: &str) -> std::path::PathBuf {
    let image = Image::busybox("app").file("marker", marker);
    let config = json!({ "Entrypoint": ["/bin/cat", "/marker"], "Env": ["PATH=/bin"] });
    let path = rkt.path(name);
    oci::layout(&path, "latest", &image, &config);
    path
}

#[test]
fn registries_serve_images() {
    let rkt = Rkt::new();
    let path = layout(&rkt, "layout", "from a registry");
    let server = Server::registry("team/app", &path);
    let reference = format!("docker://{}/team/app", server.address);
    rkt.run(&["--insecure-options=http", "fetch", &reference]).refuses("--insecure-options=image");
    let id = fetch(&rkt, &[&reference]).ok().text().to_owned();
    let list = rkt.run(&["image", "list", "--no-legend", "--fields=name"]).ok();
    // A name has no colon; the port comes after another sign.
    let host = server.address.to_string().replace(':', "_");
    assert_eq!(list.text(), format!("{host}/team/app:latest"));
    let output = rkt.run(&[CARELESS, "run", "--net=none", &reference]).ok();
    assert_eq!(output.stdout, "from a registry");
    // By the digest of the manifest, which is also a name in the store.
    let index: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(path.join("index.json")).unwrap()).unwrap();
    let digest = index["manifests"][0]["digest"].as_str().unwrap();
    let by_digest = format!("docker://{}/team/app@{digest}", server.address);
    assert_eq!(fetch(&rkt, &[&by_digest]).ok().text(), id);
    rkt.run(&["image", "cat-manifest", digest]).ok();
    // Where the store does not have it and no tag leads to it, the digest alone does.
    let other = rkt.path("other");
    let image = Image::busybox("other");
    let digest = oci::layout(&other, "v1", &image, &json!({ "Entrypoint": ["/bin/true"] }));
    let untagged = Server::registry("app", &other);
    let by_digest = |digest: &str| format!("docker://{}/app@{digest}", untagged.address);
    fetch(&rkt, &[&by_digest(&digest)]).ok();
    assert_eq!(untagged.count(&format!("/manifests/{digest}")), 1);
    rkt.run(&["image", "cat-manifest", &digest]).ok();
    let missing = format!("docker://{}/team/app:nope", server.address);
    fetch(&rkt, &[&missing]).refuses("");
}

#[test]
fn a_registry_that_serves_something_else_is_not_believed() {
    let rkt = Rkt::new();
    let path = rkt.path("layout");
    let config = json!({ "Entrypoint": ["/bin/true"] });
    let digest = oci::layout(&path, "latest", &Image::busybox("app"), &config);
    // Whatever is asked for, it has this one image.
    let server = Server::start(move |request| {
        let blob = |digest: &str| fs::read(path.join("blobs").join(digest.replace(':', "/")));
        if request.path.contains("/manifests/") {
            let kind = "application/vnd.oci.image.manifest.v1+json";
            return Answer::body(blob(&digest).unwrap()).header("content-type", kind);
        }
        match request.path.split_once("/blobs/") {
            Some((_, digest)) => Answer::body(blob(digest).unwrap()),
            None => Answer::body("{}"),
        }
    });
    let reference = |rest: &str| format!("docker://{}/app{rest}", server.address);
    let other = format!("@sha256:{}", "0".repeat(64));
    fetch(&rkt, &[&reference(&other)]).refuses("was asked for");
    assert_eq!(rkt.run(&["image", "list", "--no-legend"]).ok().stdout, "");
    fetch(&rkt, &[&reference(":any")]).ok();
}

#[test]
fn only_layers_that_are_missing_are_transferred() {
    let rkt = Rkt::new();
    let path = layout(&rkt, "layout", "one");
    let server = Server::registry("app", &path);
    let reference = format!("docker://{}/app:latest", server.address);
    let first = fetch(&rkt, &[&reference]).ok().text().to_owned();
    let blobs =
        |server: &Server| server.asked().iter().filter(|one| one.path.contains("/blobs/")).count();
    assert_eq!(blobs(&server), 2, "a configuration and a layer");
    // The same files with another configuration.
    let image = Image::busybox("app").file("marker", "one");
    let config = json!({ "Entrypoint": ["/bin/echo", "two"], "Env": ["PATH=/bin"] });
    oci::layout(&path, "latest", &image, &config);
    let second = fetch(&rkt, &[&reference]).ok().text().to_owned();
    assert_ne!(first, second);
    assert_eq!(blobs(&server), 3, "the configuration alone");
    assert_eq!(rkt.pod(&NSPAWN, &[&second]).ok().stdout, "two\n");
    assert_eq!(rkt.pod(&NSPAWN, &[&first]).ok().stdout, "one");
}

#[test]
fn digests_of_unknown_algorithms_are_refused_before_anything_is_fetched_by_them() {
    let rkt = Rkt::new();
    let other = |algorithm: &str, digits| json!(format!("{algorithm}:{}", "ab".repeat(digits)));
    let (sha384, md5) = (other("sha384", 48), other("md5", 16));
    let verified = |what: &str, digest: &serde_json::Value| {
        format!(
            "{what}{} cannot be verified: only sha256 and sha512 are known",
            digest.as_str().unwrap()
        )
    };
    let forged = |name: &str, part: &str, digest: &serde_json::Value| {
        let path = layout(&rkt, name, name);
        oci::forge(
            &path,
            "latest",
            |document| {
                if part == "content" {
                    document["rootfs"]["diff_ids"][0] = digest.clone();
                }
            },
            |manifest| match part {
                "config" => manifest["config"]["digest"] = digest.clone(),
                // The known layer comes first, and is not fetched either.
                "layer" => {
                    let mut layer = manifest["layers"][0].clone();
                    layer["digest"] = digest.clone();
                    manifest["layers"].as_array_mut().unwrap().push(layer);
                }
                _ => {}
            },
        );
        path
    };
    for (part, digest, what, blobs) in [
        ("config", &sha384, "image configuration ", 0),
        ("layer", &md5, "layer ", 0),
        // It stands in the configuration.
        ("content", &sha384, "layer content ", 1),
    ] {
        let path = forged(part, part, digest);
        let server = Server::registry("app", &path);
        let reference = format!("docker://{}/app:latest", server.address);
        fetch(&rkt, &[&reference]).refuses(&verified(what, digest));
        let asked = server.asked();
        let count = asked.iter().filter(|one| one.path.contains("/blobs/")).count();
        assert_eq!(count, blobs, "{part}: {asked:#?}");
        let local = format!("oci:{}", path.display());
        fetch(&rkt, &[&local]).refuses(&verified(what, digest));
    }
    // The digest that was typed.
    let path = layout(&rkt, "typed", "typed");
    let server = Server::registry("app", &path);
    let typed = format!("docker://{}/app@{}", server.address, sha384.as_str().unwrap());
    fetch(&rkt, &[&typed]).refuses(&verified("", &sha384));
    assert_eq!(server.asked().iter().filter(|one| one.path.contains("/manifests/")).count(), 0);
    assert_eq!(rkt.run(&["image", "list", "--no-legend"]).ok().stdout, "");
}

#[test]
fn a_fetch_that_waits_for_another_says_so() {
    let rkt = Rkt::new();
    let bytes = Image::busybox("app").bytes();
    let (going, open) = std::sync::mpsc::channel::<()>();
    let open = std::sync::Mutex::new(open);
    let server = Server::start(move |_| {
        let _ = open.lock().unwrap().recv_timeout(wait::deadline());
        Answer::body(bytes.clone())
    });
    let url = server.url("/app.aci");
    let first = rkt.start(&[CARELESS, "fetch", &url]);
    server.wait_for(1);
    let second = rkt.start(&[CARELESS, "fetch", &url]);
    let process = wait::pidfd(second.pid()).unwrap();
    assert!(!wait::readable(process.as_fd(), Instant::now() + Duration::from_secs(1)));
    drop(going);
    first.wait().ok();
    let output = second.wait().ok();
    assert!(output.stderr.contains("another instance"), "{output:#?}");
}
