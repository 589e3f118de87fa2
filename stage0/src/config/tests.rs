use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// A configuration directory of its own, gone with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("rkt-config-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn with(self, name: &str, text: &str) -> Self {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn load(&self) -> Result<Config, ConfigError> {
        Config::load(&Directories { local: Some(self.0.clone()), ..Directories::default() })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn basic(domain: &str, user: &str) -> String {
    format!(
        r#"{{"rktVersion":"v1","rktKind":"auth","domains":["{domain}"],"type":"basic","credentials":{{"user":"{user}","password":"p"}}}}"#
    )
}

fn paths(data: &str) -> String {
    format!(r#"{{"rktKind":"paths","rktVersion":"v1","data":"{data}"}}"#)
}

#[test]
fn shows_nothing_configured() {
    let empty =
        Config::load(&Directories { system: Some("/nowhere".into()), ..Directories::default() })
            .unwrap();
    assert_eq!(
        serde_json::to_string(&empty).unwrap(),
        r#"{"stage0":[{"rktVersion":"v1","rktKind":"paths","data":"","stage1-images":""},{"rktVersion":"v1","rktKind":"stage1","name":"","version":"","location":""}]}"#
    );
}

#[test]
fn later_directories_override_entry_by_entry() {
    let system = Scratch::new()
        .with("auth.d/a.json", &basic("a.com", "system"))
        .with("auth.d/b.json", &basic("b.com", "system"))
        .with(
            "paths.d/p.json",
            r#"{"rktKind":"paths","rktVersion":"v1","data":"/s","stage1-images":"/i"}"#,
        );
    let local = Scratch::new()
        .with("auth.d/x.json", &basic("a.com", "local"))
        .with("paths.d/p.json", &paths("/l"));
    let user = Scratch::new().with("auth.d/y.json", &basic("a.com", "user"));
    let config = Config::load(&Directories {
        system: Some(system.0.clone()),
        local: Some(local.0.clone()),
        user: Some(user.0.clone()),
    })
    .unwrap();
    let login = |user: &str| Credentials::Basic(Login { user: user.into(), password: "p".into() });
    assert_eq!(config.auth.get("a.com"), Some(&login("user")));
    assert_eq!(config.auth.get("b.com"), Some(&login("system")));
    assert_eq!(config.data.as_deref(), Some(Path::new("/l")));
    assert_eq!(config.stage1_images.as_deref(), Some(Path::new("/i")));
}

#[test]
fn reads_only_regular_json_files() {
    let scratch = Scratch::new()
        .with("auth.d/a.json", &basic("a.com", "u"))
        .with("auth.d/x.txt", "no JSON at all")
        .with("auth.d/sub.json/y.json", "no JSON at all")
        .with("elsewhere.json", &basic("linked.com", "u"));
    symlink("../elsewhere.json", scratch.0.join("auth.d/link.json")).unwrap();
    let config = scratch.load().unwrap();
    assert_eq!(config.auth.keys().collect::<Vec<_>>(), ["a.com"]);
}

#[test]
fn shows_every_kind() {
    let scratch = Scratch::new()
        .with("auth.d/1.json", &basic("b.com", "u"))
        .with("auth.d/2.json", r#"{"rktVersion":"v1","rktKind":"auth","domains":["c.com","d.com"],"type":"oauth","credentials":{"token":"t"}}"#)
        .with("auth.d/3.json", r#"{"rktVersion":"v1","rktKind":"auth","domains":["e.com"],"type":"aws","credentials":{"accessKeyID":"i","secretAccessKey":"s"}}"#)
        .with("auth.d/4.json", r#"{"rktVersion":"v1","rktKind":"dockerAuth","registries":["r.io"],"credentials":{"user":"u","password":"p"}}"#)
        .with("stage1.d/s.json", r#"{"rktVersion":"v1","rktKind":"stage1","name":"example.com/s","version":"1","location":"/s.aci"}"#);
    let shown = serde_json::to_string(&scratch.load().unwrap()).unwrap();
    let oauth = |domain| {
        format!(
            r#"{{"rktVersion":"v1","rktKind":"auth","domains":["{domain}"],"type":"oauth","credentials":{{"token":"t"}}}}"#
        )
    };
    let expected = [
        &basic("b.com", "u"),
        &oauth("c.com"),
        &oauth("d.com"),
        r#"{"rktVersion":"v1","rktKind":"auth","domains":["e.com"],"type":"aws","credentials":{"accessKeyID":"i","secretAccessKey":"s","awsRegion":""}}"#,
        r#"{"rktVersion":"v1","rktKind":"dockerAuth","registries":["r.io"],"credentials":{"user":"u","password":"p"}}"#,
        r#"{"rktVersion":"v1","rktKind":"paths","data":"","stage1-images":""}"#,
        r#"{"rktVersion":"v1","rktKind":"stage1","name":"example.com/s","version":"1","location":"/s.aci"}"#,
    ];
    assert_eq!(shown, format!(r#"{{"stage0":[{}]}}"#, expected.join(",")));
}

#[test]
fn refuses_what_it_cannot_mean() {
    let auth = |rest: &str| format!(r#"{{"rktVersion":"v1","rktKind":"auth",{rest}}}"#);
    let stage1 = |rest: &str| format!(r#"{{"rktVersion":"v1","rktKind":"stage1",{rest}}}"#);
    let table = [
        ("auth.d", "[]".to_owned(), "expected an object with"),
        ("auth.d", "{".to_owned(), "EOF"),
        ("auth.d", r#"{"rktVersion":"v1"}"#.to_owned(), "rktKind is missing"),
        ("auth.d", r#"{"rktKind":"auth"}"#.to_owned(), "rktVersion is missing"),
        (
            "auth.d",
            r#"{"rktKind":"foo","rktVersion":"v1"}"#.to_owned(),
            "kind \"foo\" of \"f.json\"",
        ),
        ("auth.d", paths("/x"), "kind \"paths\" of \"f.json\""),
        (
            "auth.d",
            auth(r#""type":"basic""#).replace("v1", "v2"),
            "version \"v2\" of kind \"auth\"",
        ),
        ("auth.d", auth(r#""domains":["a"],"type":"basic""#), "no credentials specified"),
        (
            "auth.d",
            auth(r#""domains":["a"],"type":"basic","credentials":{"user":"","password":"p"}"#),
            "no user",
        ),
        (
            "auth.d",
            auth(r#""domains":[],"type":"oauth","credentials":{"token":"t"}"#),
            "no domains",
        ),
        (
            "auth.d",
            auth(r#""domains":["a"],"type":"magic","credentials":{}"#),
            "auth type \"magic\"",
        ),
        ("auth.d", auth(r#""domains":["a"],"credentials":{}"#), "no auth type"),
        ("paths.d", paths("relative"), "not absolute"),
        ("stage1.d", stage1(r#""name":"n""#), "needs a version"),
        ("stage1.d", stage1(r#""version":"1""#), "needs a name"),
        ("stage1.d", stage1(r#""location":"relative.aci""#), "neither an absolute path"),
        ("stage1.d", stage1(r#""location":"ftp://h/x.aci""#), "neither an absolute path"),
    ];
    for (place, text, reason) in table {
        let scratch = Scratch::new().with(&format!("{place}/f.json"), &text);
        let error = scratch.load().unwrap_err().to_string();
        assert!(error.contains(reason), "{text}: {error}");
    }
}

#[test]
fn refuses_an_entry_twice_in_one_directory() {
    let docker = r#"{"rktVersion":"v1","rktKind":"dockerAuth","registries":["r.io"],"credentials":{"user":"u","password":"p"}}"#;
    let stage1 = r#"{"rktVersion":"v1","rktKind":"stage1","name":"n","version":"1"}"#;
    let location = r#"{"rktVersion":"v1","rktKind":"stage1","location":"/x"}"#;
    let images = r#"{"rktVersion":"v1","rktKind":"paths","stage1-images":"/x"}"#;
    for (place, text, what) in [
        ("auth.d", basic("a.com", "u").as_str(), "auth for domain \"a.com\""),
        ("auth.d", docker, "auth for docker registry \"r.io\""),
        ("paths.d", &paths("/x"), "data directory"),
        ("paths.d", images, "stage1 images directory"),
        ("stage1.d", stage1, "stage1 name and version"),
        ("stage1.d", location, "stage1 location"),
    ] {
        let scratch = Scratch::new()
            .with(&format!("{place}/1.json"), text)
            .with(&format!("{place}/2.json"), text);
        assert_eq!(scratch.load().unwrap_err().to_string(), format!("{what} is already specified"));
    }
}

#[test]
fn keeps_passwords_out_of_debug_output() {
    let login = Login { user: "u".into(), password: "secret".into() };
    assert!(!format!("{login:?} {:?}", Credentials::Basic(login.clone())).contains("secret"));
}
