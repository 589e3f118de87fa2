//! Configuration files: layers, which files count, what each kind changes.

use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use testkit::sandbox::dist;
use testkit::{Image, NSPAWN, Rkt};

fn auth(domain: &str, user: &str) -> Value {
    json!({
        "rktVersion": "v1", "rktKind": "auth", "domains": [domain], "type": "basic",
        "credentials": { "user": user, "password": "secret" },
    })
}

fn docker(registry: &str, user: &str) -> Value {
    json!({
        "rktVersion": "v1", "rktKind": "dockerAuth", "registries": [registry],
        "credentials": { "user": user, "password": "secret" },
    })
}

fn entries(rkt: &Rkt) -> Vec<Value> {
    rkt.run(&["config"]).ok().json()["stage0"].as_array().unwrap().clone()
}

#[test]
fn later_layers_win_entry_by_entry() {
    let rkt = Rkt::new();
    for layer in ["system", "local", "user"] {
        rkt.configure(layer, "auth.d/shared.json", &auth("shared.example", layer));
        let own = format!("{layer}.example");
        rkt.configure(layer, "auth.d/own.json", &auth(&own, layer));
    }
    let entries = entries(&rkt);
    let user_of = |domain: &str| {
        let found: Vec<_> =
            entries.iter().filter(|entry| entry["domains"] == json!([domain])).collect();
        assert_eq!(found.len(), 1, "{entries:?}");
        found[0]["credentials"]["user"].clone()
    };
    assert_eq!(user_of("shared.example"), "user");
    for layer in ["system", "local", "user"] {
        assert_eq!(user_of(&format!("{layer}.example")), layer);
    }
}

#[test]
fn only_plain_json_files_count() {
    let rkt = Rkt::new();
    let before = entries(&rkt);
    let folder = rkt.top.join("local/auth.d");
    fs::create_dir_all(folder.join("sub.json")).unwrap();
    fs::write(folder.join("x.txt"), "no JSON at all").unwrap();
    fs::write(folder.join("sub.json/deep.json"), auth("deep.example", "u").to_string()).unwrap();
    let target = rkt.file("target.json", &auth("linked.example", "u").to_string());
    symlink(target, folder.join("link.json")).unwrap();
    assert_eq!(entries(&rkt), before);
}

#[test]
fn twice_the_same_in_one_layer_is_an_error() {
    for (file, kind, one, two, saying) in [
        ("auth.d", "domain", auth("a.example", "u"), auth("a.example", "v"), "a.example"),
        ("auth.d", "registry", docker("r.example", "u"), docker("r.example", "v"), "r.example"),
        (
            "paths.d",
            "path",
            json!({ "rktVersion": "v1", "rktKind": "paths", "data": "/a" }),
            json!({ "rktVersion": "v1", "rktKind": "paths", "data": "/b" }),
            "data",
        ),
        (
            "stage1.d",
            "field",
            json!({ "rktVersion": "v1", "rktKind": "stage1", "location": "/a.aci" }),
            json!({ "rktVersion": "v1", "rktKind": "stage1", "location": "/b.aci" }),
            "location",
        ),
    ] {
        println!("--- {kind}");
        let rkt = Rkt::new();
        rkt.configure("local", &format!("{file}/1.json"), &one);
        rkt.configure("local", &format!("{file}/2.json"), &two);
        let output = rkt.run(&["config"]).refuses("already specified");
        assert!(output.stderr.contains(saying), "{output:#?}");
    }
}

#[test]
fn foreign_kinds_and_versions_are_errors() {
    for (change, value) in [("rktKind", "foo"), ("rktVersion", "v7")] {
        let rkt = Rkt::new();
        let mut file = auth("a.example", "u");
        file[change] = json!(value);
        rkt.configure("user", "auth.d/odd.json", &file);
        let output = rkt.run(&["config"]).refuses(value);
        assert!(output.stderr.contains("odd.json"), "{output:#?}");
    }
}

#[test]
fn config_shows_everything_that_is_in_force() {
    let rkt = Rkt::new();
    let empty = json!({ "stage0": [
        { "rktVersion": "v1", "rktKind": "paths", "data": "", "stage1-images": "" },
        { "rktVersion": "v1", "rktKind": "stage1", "name": "", "version": "", "location": "" },
    ] });
    assert_eq!(rkt.run(&["config"]).ok().json(), empty);
    rkt.configure("local", "auth.d/a.json", &auth("a.example", "u"));
    rkt.configure("local", "auth.d/r.json", &docker("r.example", "v"));
    let output = rkt.run(&["config", "--pretty-print=false"]).ok();
    assert_eq!(output.lines().len(), 1);
    let kinds: Vec<Value> = output.json()["stage0"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["rktKind"].clone())
        .collect();
    assert_eq!(kinds, ["auth", "dockerAuth", "paths", "stage1"]);
    let pretty = rkt.run(&["config"]).ok();
    assert!(pretty.lines().len() > 5);
    assert_eq!(pretty.json(), output.json());
}

#[test]
fn configured_paths_are_used() {
    let rkt = Rkt::new();
    let stage1s = rkt.folder("stage1s");
    fs::copy(dist("stage1-fly.aci"), rkt.path("stage1s/odd-name.aci")).unwrap();
    let paths = json!({
        "rktVersion": "v1", "rktKind": "paths", "data": rkt.data, "stage1-images": stage1s,
    });
    rkt.configure("local", "paths.d/paths.json", &paths);
    let image = rkt.shell();
    let mut command = rkt.configured();
    command.args(["--insecure-options=image", "run", "--stage1-from-dir=odd-name.aci", &image]);
    let output = rkt.finish(command.args(["--", "echo $AC_APP_NAME"])).ok();
    assert_eq!(output.stdout, "shell\n");
    assert_eq!(rkt.pods().len(), 1, "the configured data folder has the pod");
    for (field, value) in [("data", "relative"), ("stage1-images", "./relative")] {
        let rkt = Rkt::new();
        let paths = json!({ "rktVersion": "v1", "rktKind": "paths", field: value });
        rkt.configure("local", "paths.d/paths.json", &paths);
        rkt.run(&["config"]).refuses("absolute");
    }
}

#[test]
fn a_configured_stage1_is_the_default() {
    let rkt = Rkt::new();
    let image = rkt.shell();
    let stub = testkit::Stub::LEAST.image();
    let stub_path = rkt.image(&stub);
    let run = ["--insecure-options=image", "run", "--net=none", &*image, "--", "true"];
    // A name and a version mean an image of the store, a location is where it is taken from otherwise.
    let named = json!({
        "rktVersion": "v1", "rktKind": "stage1", "name": stub.name, "version": "1.0",
        "location": dist("stage1-nspawn.aci"),
    });
    rkt.configure("local", "stage1.d/stage1.json", &named);
    rkt.fetch(&stub_path);
    let output = rkt.run(&run).ok();
    assert!(output.stdout.contains("program="), "the stub ran: {output:#?}");
    rkt.run(&["image", "rm", &stub.name]).ok();
    let output = rkt.pod(&NSPAWN, &[&image, "--", "echo the location"]).ok();
    assert_eq!(output.stdout, "the location\n");

    let rkt = Rkt::new();
    let location = rkt.image(&stub);
    let located = json!({ "rktVersion": "v1", "rktKind": "stage1", "location": location });
    rkt.configure("local", "stage1.d/stage1.json", &located);
    let image = rkt.image(&Image::busybox("plain"));
    let output = rkt.run(&["--insecure-options=image", "run", "--net=none", &image]).ok();
    assert!(output.stdout.contains("program="), "{output:#?}");
}

#[test]
fn half_a_stage1_name_is_an_error() {
    for field in ["name", "version"] {
        let rkt = Rkt::new();
        let half = json!({ "rktVersion": "v1", "rktKind": "stage1", field: "1.0" });
        rkt.configure("local", "stage1.d/stage1.json", &half);
        rkt.run(&["config"]).code(254);
    }
}
