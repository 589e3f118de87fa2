//! References of images, and how local ones come into the store.

use serde_json::json;
use std::fs;
use testkit::program::tool;
use testkit::{Image, NSPAWN, Rkt};

#[test]
fn files_are_fetched_by_path_and_by_url() {
    let rkt = Rkt::new();
    let image = Image::busybox("local");
    let path = rkt.image(&image);
    assert_eq!(rkt.fetch(&path), image.id());
    assert_eq!(rkt.fetch(&format!("file://{path}")), image.id());
    let mut command = rkt.command(&["--insecure-options=image", "fetch", "--full", "./local.aci"]);
    let output = rkt.finish(command.current_dir(rkt.path(""))).ok();
    assert_eq!(output.text(), image.id());
    let words = ["--insecure-options=image", "fetch", &*path];
    rkt.finish(rkt.command(&words).args(["file:///nope"])).refuses("invalid image string");
}

#[test]
fn a_file_wins_over_a_name() {
    let rkt = Rkt::new();
    let image = Image::busybox("plain");
    image.write(&rkt.path("foo"));
    let fetch = |word: &str| {
        let mut command = rkt.command(&["--insecure-options=image", "fetch", "--full", word]);
        rkt.finish(command.current_dir(rkt.path("")))
    };
    assert_eq!(fetch("foo").ok().text(), image.id());
    assert_eq!(fetch("./foo").ok().text(), image.id());
    // With a dot and a slash it is a path even where no file is.
    fetch("./bar").refuses("no such file or directory");
    let named = fetch("bar").code(254);
    assert!(!named.stderr.contains("no such file"), "{named:#?}");
}

#[test]
fn docker_images_need_the_image_option() {
    let rkt = Rkt::new();
    rkt.run(&["fetch", "docker://localhost:1/busybox"]).refuses("--insecure-options=image");
}

#[test]
fn unsigned_files_are_refused() {
    let rkt = Rkt::new();
    let path = rkt.shell();
    rkt.run(&["fetch", &path]).code(254);
    rkt.run(&["run", "--net=none", &path, "--", "true"]).code(254);
    let list = rkt.run(&["image", "list", "--no-legend"]).ok();
    assert!(!list.stdout.contains("example.com"), "{list:#?}");
}

#[test]
fn ids_may_be_shortened_but_not_fetched() {
    let rkt = Rkt::new();
    let id = rkt.fetch(&rkt.shell());
    let manifest = |id: &str| rkt.run(&["image", "cat-manifest", id]);
    assert_eq!(manifest(&id[..9]).ok(), manifest(&id).ok());
    manifest("sha512-a").refuses("image ID too short");
    let other = if id.starts_with("sha512-00") { "sha512-ff" } else { "sha512-00" };
    manifest(other).refuses("no image IDs found");
    rkt.run(&["fetch", other]).code(254);

    // Two images whose ids begin alike.
    let first = id["sha512-".len()..][..2].to_owned();
    let clash = (0..100_000)
        .map(|count| Image::empty(&format!("clash{count}")))
        .find(|image| image.id()["sha512-".len()..].starts_with(&first));
    rkt.fetch(&rkt.image(&clash.unwrap()));
    manifest(&format!("sha512-{first}")).refuses("ambiguous image ID");
}

#[test]
fn fetch_prints_ids_of_two_lengths() {
    let rkt = Rkt::new();
    let (one, two) = (Image::busybox("one"), Image::busybox("two"));
    let (first, second) = (rkt.image(&one), rkt.image(&two));
    let words = ["--insecure-options=image", "fetch", &*first, &second];
    let short = rkt.run(&words).ok();
    let cut = |image: &Image| image.id()[.."sha512-".len() + 32].to_owned();
    assert_eq!(short.lines(), [cut(&one), cut(&two)]);
    let full = rkt.run(&[&words[..], &["--full"]].concat()).ok();
    assert_eq!(full.lines(), [one.id(), two.id()]);
    // One that fails takes the results of the others with it.
    rkt.run(&[&words[..], &["./nope.aci"]].concat()).refuses("no such file");
}

#[test]
fn all_compressions_give_one_id() {
    let rkt = Rkt::new();
    let image = Image::busybox("packed");
    let plain = rkt.image(&image);
    for (packer, name) in [("gzip", "gz"), ("bzip2", "bz2"), ("xz", "xz")] {
        let packed = rkt.word(&format!("packed-{name}.aci"));
        tool(&["sh", "-c", &format!("{packer} -1 -c {plain} >{packed}")]);
        assert_eq!(rkt.fetch(&packed), image.id(), "{name}");
    }
    assert_eq!(rkt.fetch(&plain), image.id());
}

#[test]
fn images_must_say_for_what_they_are() {
    for label in ["arch", "os"] {
        let rkt = Rkt::new();
        let path = rkt.image(&Image::shell("odd").label(label, None));
        rkt.fetch(&path);
        let saying = format!("missing {label} label in the image manifest");
        rkt.pod(&NSPAWN, &[&path, "--", "true"]).refuses(&saying);
    }
}

#[test]
fn dependencies_of_the_store_are_used() {
    let rkt = Rkt::new();
    let base = Image::busybox("base").file("etc/layer", "base").file("etc/below", "base");
    let top = Image::empty("top")
        .exec(&["/bin/cat", "/etc/layer", "/etc/below"])
        .file("etc/layer", "top ")
        .with("dependencies", json!([{ "imageName": "example.com/base" }]));
    rkt.fetch(&rkt.image(&base));
    let output = rkt.pod(&NSPAWN, &[&rkt.image(&top)]).ok();
    assert_eq!(output.stdout, "top base");
}

#[test]
fn a_failed_fetch_leaves_nothing() {
    let rkt = Rkt::new();
    let whole = Image::busybox("whole").bytes();
    let path = rkt.word("torn.aci");
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    rkt.run(&["--insecure-options=image", "fetch", &path]).code(254);
    assert_eq!(rkt.run(&["image", "list", "--no-legend"]).ok().stdout, "");
}

#[test]
fn images_for_other_systems_are_refused() {
    let rkt = Rkt::new();
    let path = rkt.image(&Image::shell("odd").label("os", Some("freebsd")));
    rkt.pod(&NSPAWN, &[&path, "--", "true"]).refuses("bad os \"freebsd\" (must be one of: ");
}

#[test]
fn images_for_other_machines_are_refused() {
    let rkt = Rkt::new();
    let path = rkt.image(&Image::shell("odd").label("arch", Some("pdp11")));
    rkt.pod(&NSPAWN, &[&path, "--", "true"]).refuses("bad arch \"pdp11\" (must be one of: ");
}
