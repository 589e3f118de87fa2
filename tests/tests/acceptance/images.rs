//! The commands on images of the store.

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use testkit::flavour::each;
use testkit::program::tool;
use testkit::{Image, NSPAWN, Rkt, needs};

fn names(rkt: &Rkt) -> Vec<String> {
    let words = ["image", "list", "--no-legend", "--fields=name"];
    rkt.run(&words).ok().lines().into_iter().map(str::to_owned).collect()
}

fn listed(rkt: &Rkt) -> Vec<Value> {
    rkt.run(&["image", "list", "--format=json"]).ok().json().as_array().unwrap().clone()
}

/// Two images, `alpha` after `beta`.
fn two(rkt: &Rkt) -> (String, String) {
    let beta = rkt.fetch(&rkt.image(&Image::busybox("beta")));
    let alpha = rkt.fetch(&rkt.image(&Image::busybox("alpha").file("extra", "more")));
    (alpha, beta)
}

#[test]
fn the_table_has_five_columns_split_by_tabs() {
    let rkt = Rkt::new();
    let empty = rkt.run(&["image", "list"]).ok();
    assert_eq!(empty.stdout, "ID\tNAME\tSIZE\tIMPORT TIME\tLAST USED\n");
    let (_, beta) = two(&rkt);
    let list = rkt.run(&["image", "list"]).ok();
    let cells: Vec<Vec<&str>> = list
        .lines()
        .into_iter()
        .map(|line| line.split('\t').filter(|cell| !cell.is_empty()).collect())
        .collect();
    assert_eq!(cells[0], ["ID", "NAME", "SIZE", "IMPORT TIME", "LAST USED"]);
    assert_eq!(cells.len(), 3);
    assert_eq!(cells[1][0], &beta[..19]);
    assert_eq!(cells[1][1], "example.com/beta:1.0");
    assert!(cells[1][2].ends_with("MiB"), "{cells:?}");
    assert!(cells[1][3].ends_with("ago") || cells[1][3] == "now", "{cells:?}");
}

#[test]
fn columns_and_order_can_be_chosen() {
    let rkt = Rkt::new();
    two(&rkt);
    let words = ["image", "list", "--fields=name,id", "--sort=name", "--order=desc", "--no-legend"];
    let output = rkt.run(&words).ok();
    let lines = output.lines();
    assert!(lines[0].starts_with("example.com/beta:1.0\t"), "{lines:?}");
    assert!(lines[1].starts_with("example.com/alpha:1.0\tsha512-"), "{lines:?}");
    assert_eq!(names(&rkt), ["example.com/beta:1.0", "example.com/alpha:1.0"]);
    for flag in ["--fields=nosuch", "--sort=nosuch", "--order=nosuch"] {
        rkt.run(&["image", "list", flag]).code(254);
    }
}

#[test]
fn the_full_table_has_exact_values() {
    let rkt = Rkt::new();
    let id = rkt.fetch(&rkt.shell());
    let output = rkt.run(&["image", "list", "--full", "--no-legend"]).ok();
    let cells: Vec<&str> = output.text().split('\t').filter(|cell| !cell.is_empty()).collect();
    assert_eq!(cells[..2], [&*id, "example.com/shell:1.0"]);
    assert!(cells[2].parse::<u64>().unwrap() > 1_000_000, "{cells:?}");
    // 2026-11-24 20:07:38.384 +0000 UTC
    assert_eq!(cells[3].split(' ').count(), 4, "{cells:?}");
    assert!(cells[3].starts_with("20"), "{cells:?}");
}

#[test]
fn the_json_listing_has_times_in_nanoseconds() {
    let rkt = Rkt::new();
    assert_eq!(rkt.run(&["image", "list", "--format=json"]).ok().text(), "[]");
    let id = rkt.fetch(&rkt.shell());
    let images = listed(&rkt);
    assert_eq!(images[0]["id"], json!(id));
    assert_eq!(images[0]["name"], "example.com/shell:1.0");
    for key in ["import_time", "last_used_time"] {
        assert!(images[0][key].as_u64().unwrap() > 1_500_000_000_000_000_000, "{images:?}");
    }
    assert!(images[0]["size"].as_u64().unwrap() > 0);
    let pretty = rkt.run(&["image", "list", "--format=json-pretty"]).ok();
    assert!(pretty.stdout.contains("\n\t"), "{pretty:#?}");
    rkt.run(&["image", "list", "--format=yaml"]).refuses("Invalid format option: yaml");
}

#[test]
fn the_size_counts_archive_and_tree() {
    let rkt = Rkt::new();
    let image = Image::busybox("sized").file("ballast", &"x".repeat(3_000_000));
    let path = rkt.image(&image);
    rkt.fetch(&path);
    rkt.pod(&NSPAWN, &[&path]).ok();
    let images = listed(&rkt);
    let sized = images.iter().find(|image| image["name"] == "example.com/sized:1.0").unwrap();
    let size = sized["size"].as_u64().unwrap();
    assert!(size > 5_000_000, "more than one copy of its files: {sized}");
    assert!(size < 50_000_000, "{sized}");
    let unique = sized["unique_size"].as_u64().expect("unique_size");
    assert!(unique <= size, "{sized}");
}

#[test]
fn manifests_are_shown() {
    let rkt = Rkt::new();
    let image = Image::shell("shown").app("environment", json!([{ "name": "A", "value": "<&>" }]));
    let id = rkt.fetch(&rkt.image(&image));
    let pretty = rkt.run(&["image", "cat-manifest", &id]).ok();
    let manifest = pretty.json();
    for key in ["acKind", "name", "labels"] {
        assert_eq!(manifest[key], image.manifest[key]);
    }
    assert_eq!(manifest["app"]["environment"], image.manifest["app"]["environment"]);
    assert!(pretty.stdout.contains("\n\t\"name\""), "{pretty:#?}");
    let words = ["image", "cat-manifest", "--pretty-print=false", "example.com/shown"];
    let flat = rkt.run(&words).ok();
    assert_eq!(flat.lines().len(), 1);
    assert_eq!(flat.json(), manifest);
    rkt.run(&["image", "cat-manifest", "example.com/nope"]).refuses(
        "cannot find aci satisfying name: \"example.com/nope\" and labels: [] in the local store",
    );
}

#[test]
fn an_exported_image_is_the_image() {
    let rkt = Rkt::new();
    let image = Image::busybox("whole");
    let id = rkt.fetch(&rkt.image(&image));
    let out = rkt.word("out.aci");
    rkt.run(&["image", "export", &id, &out]).ok();
    assert_eq!(fs::read(&out).unwrap(), image.bytes());
    assert_eq!(rkt.fetch(&out), id);
    rkt.run(&["image", "export", &id, &out]).refuses("output ACI file exists (try --overwrite)");
    fs::write(&out, "junk").unwrap();
    rkt.run(&["image", "export", "--overwrite", &id, &out]).ok();
    assert_eq!(fs::read(&out).unwrap(), image.bytes());
}

fn tree(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut ahead = vec![folder.to_owned()];
    while let Some(next) = ahead.pop() {
        for entry in fs::read_dir(next).unwrap().flatten() {
            found.insert(entry.path().strip_prefix(folder).unwrap().to_owned());
            if entry.file_type().unwrap().is_dir() {
                ahead.push(entry.path());
            }
        }
    }
    found
}

fn small_pair(rkt: &Rkt) {
    let base = Image::empty("base").folder("etc", 0o755).file("etc/base", "base").file("gone", "g");
    let top = Image::empty("top")
        .file("top", "top")
        .with("dependencies", json!([{ "imageName": "example.com/base" }]))
        .with("pathWhitelist", json!(["/top", "/etc", "/etc/base"]));
    rkt.fetch(&rkt.image(&base));
    rkt.fetch(&rkt.image(&top));
}

#[test]
fn extract_gives_one_image_alone() {
    let rkt = Rkt::new();
    small_pair(&rkt);
    let (out, files) = (rkt.word("out"), rkt.word("only-files"));
    rkt.run(&["image", "extract", "example.com/top", &out]).ok();
    let found: Vec<_> = tree(Path::new(&out)).into_iter().collect();
    assert_eq!(found, ["manifest", "rootfs", "rootfs/top"].map(PathBuf::from));
    let words = ["image", "extract", "--rootfs-only", "example.com/top", &*files];
    rkt.run(&words).ok();
    let found: Vec<_> = tree(Path::new(&files)).into_iter().collect();
    assert_eq!(found, [PathBuf::from("top")]);
    rkt.run(&words).refuses("output directory exists (try --overwrite)");
    fs::write(Path::new(&files).join("stale"), "").unwrap();
    rkt.run(&[&words[..], &["--overwrite"]].concat()).ok();
    assert!(!Path::new(&files).join("stale").exists());
    rkt.run(&["image", "extract", "--overwrite", "example.com/top", "/"])
        .refuses("this would delete your root filesystem. Refusing.");
}

#[test]
fn render_applies_dependencies_and_the_whitelist() {
    let rkt = Rkt::new();
    small_pair(&rkt);
    let out = rkt.word("out");
    rkt.run(&["image", "render", "--rootfs-only", "example.com/top", &out]).ok();
    let found: Vec<_> = tree(Path::new(&out)).into_iter().collect();
    assert_eq!(found, ["etc", "etc/base", "top"].map(PathBuf::from));
    let whole = rkt.word("whole");
    rkt.run(&["image", "render", "example.com/top", &whole]).ok();
    assert!(Path::new(&whole).join("manifest").exists());
    rkt.run(&["image", "render", "example.com/top", &whole]).refuses("(try --overwrite)");
}

#[test]
fn images_are_removed_by_id_and_by_name() {
    let rkt = Rkt::new();
    let (alpha, beta) = two(&rkt);
    let trees = || tool(&["find", rkt.data.to_str().unwrap(), "-name", "extra"]).lines().count();
    assert_eq!(trees(), 1);
    let output = rkt.run(&["image", "rm", &alpha, "example.com/beta"]).ok();
    let said: BTreeSet<&str> = output.lines().into_iter().collect();
    let wanted = [&alpha, &beta].map(|id| format!("successfully removed aci for image: \"{id}\""));
    assert_eq!(said, wanted.iter().map(String::as_str).collect());
    assert_eq!(output.stderr, "rm: 2 image(s) successfully removed\n");
    assert_eq!(names(&rkt), [] as [&str; 0]);
    assert_eq!(trees(), 0, "their trees are gone, too");
    // What is not there is told, and is no failure to remove it.
    let unknown = rkt.run(&["image", "rm", "example.com/beta"]).ok();
    assert!(unknown.stderr.contains("cannot find aci satisfying name"), "{unknown:#?}");
    assert!(!unknown.stderr.contains("removed"), "{unknown:#?}");
    assert_eq!(unknown.stdout, "");
}

#[test]
fn pods_outlive_the_removal_of_their_images() {
    each(&[], |flavour| {
        let rkt = Rkt::new();
        let id = rkt.fetch(&rkt.shell());
        let (running, up) = rkt.sleeper(flavour);
        let prepared = rkt.prepare(flavour, &[&rkt.shell(), "--", "cat /etc/passwd"]);
        rkt.run(&["image", "rm", &id]).ok();
        rkt.run(&["image", "gc", "--grace-period=0s"]).ok();
        assert_eq!(rkt.status(&up)["state"], "running");
        let list = rkt.run(&["list", "--full", "--no-legend"]).ok();
        assert_eq!(list.stdout.matches("example.com/shell:1.0").count(), 2, "{list:#?}");
        let output = rkt.run_prepared(flavour, &[&prepared]).ok();
        assert!(output.stdout.contains("web:x:33:34"), "{output:#?}");
        rkt.run(&["stop", &up]).ok();
        running.wait();
    });
}

#[test]
fn image_gc_keeps_what_pods_need() {
    let rkt = Rkt::new();
    let (_, beta) = two(&rkt);
    let (running, _) = rkt.sleeper(&NSPAWN);
    rkt.prepare(&NSPAWN, &["example.com/alpha"]);
    rkt.run(&["image", "gc", "--grace-period=24h"]).ok();
    assert_eq!(names(&rkt).iter().filter(|name| name.starts_with("example.com/")).count(), 3);
    let output = rkt.run(&["image", "gc", "--grace-period=0s"]).ok();
    assert!(output.stdout.contains(&beta), "{output:#?}");
    let left: BTreeSet<_> = names(&rkt).into_iter().collect();
    assert!(left.contains("example.com/shell:1.0"), "its pod runs: {left:?}");
    assert!(left.contains("example.com/alpha:1.0"), "its pod is prepared: {left:?}");
    assert!(left.iter().any(|name| name.contains("stage1-nspawn")), "pods run by it: {left:?}");
    assert!(!left.contains("example.com/beta:1.0"), "{left:?}");
    drop(running);
}

#[test]
fn many_processes_share_the_store() {
    let rkt = Rkt::new();
    let paths: Vec<String> = (0..4)
        .map(|number| {
            rkt.image(&Image::busybox(&format!("i{number}")).file("n", &number.to_string()))
        })
        .collect();
    let fetch = |path: &str| rkt.start(&["--insecure-options=image", "fetch", path]);
    let mut all: Vec<_> = paths.iter().map(|path| fetch(path)).collect();
    all.extend(paths.iter().map(|path| rkt.start(&Rkt::run_words(&NSPAWN, &[path]))));
    all.push(rkt.start(&["list"]));
    all.push(rkt.start(&["image", "list"]));
    for running in all {
        let output = running.wait().ok();
        assert_eq!(output.stderr, "");
    }
    let mut found = names(&rkt);
    found.retain(|name| name.starts_with("example.com/"));
    found.sort();
    assert_eq!(found.len(), 4, "{found:?}");
    for path in &paths {
        let output = rkt.pod(&NSPAWN, &[path]).ok();
        assert_eq!(output.stdout, "hello\n");
    }
}

#[test]
fn fifty_runs_and_lists_at_once_never_fail() {
    let rkt = Rkt::new();
    let image = rkt.shell();
    rkt.fetch(&image);
    let run = Rkt::run_words(&NSPAWN, &[&image, "--", "echo hello"]);
    let all: Vec<_> = (0..50).map(|_| (rkt.start(&run), rkt.start(&["list", "--full"]))).collect();
    for (run, list) in all {
        let (run, list) = (run.wait().ok(), list.wait().ok());
        assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("hello\n", ""));
        assert_eq!(list.stderr, "");
    }
    let pods = rkt.run(&["list", "--no-legend"]).ok();
    assert_eq!(pods.lines().len(), 50);
    assert!(pods.lines().iter().all(|line| line.contains("\texited\t")), "{pods:#?}");
}

#[test]
fn images_can_be_removed_from_a_full_disk() {
    needs!(Root);
    // The disk is mounted in a namespace that ends with the test.
    let rkt = Rkt::new();
    let image = rkt.shell();
    let disk = rkt.folder("disk");
    let rkt_words = |words: &[&str]| {
        let mut command = rkt.configured();
        command.arg(format!("--dir={disk}/data")).args(words);
        let args = command.get_args().map(|word| word.to_str().unwrap().to_owned());
        std::iter::once(command.get_program().to_str().unwrap().to_owned())
            .chain(args)
            .map(|word| format!("'{word}'"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let script = format!(
        "set -e; mount -t tmpfs -o size=64m disk {disk}; {}; {}; \
         dd if=/dev/zero of={disk}/ballast bs=1M 2>{disk}.dd || true; {}; {}",
        rkt_words(&["--insecure-options=image", "fetch", &image]),
        rkt_words(&["image", "list", "--no-legend", "--fields=name"]),
        rkt_words(&["image", "rm", "example.com/shell"]),
        rkt_words(&["image", "list", "--no-legend", "--fields=name"]),
    );
    let output = tool(&["unshare", "--mount", "sh", "-c", &script]);
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines.len(), 3, "{output}");
    assert_eq!(lines[1], "example.com/shell:1.0");
    assert!(lines[2].starts_with("successfully removed"), "{output}");
}
