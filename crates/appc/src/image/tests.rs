use super::*;

fn base(body: &str) -> Result<ImageManifest, ManifestError> {
    let text = format!(
        r#"{{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/a"{body}}}"#
    );
    ImageManifest::from_json(text.as_bytes())
}

fn app(body: &str) -> Result<ImageManifest, ManifestError> {
    base(&format!(r#","app":{{"exec":["/a"],"user":"0","group":"0"{body}}}"#))
}

fn isolator(name: &str, value: &str) -> Result<ImageManifest, ManifestError> {
    app(&format!(r#","isolators":[{{"name":"{name}","value":{value}}}]"#))
}

#[test]
fn names_and_versions() {
    for (name, good) in
        [("a--b", true), ("a..b", true), ("a/-b", true), ("-a", false), ("A", false), ("a/", false)]
    {
        let text = format!(r#"{{"acKind":"ImageManifest","acVersion":"1.0.0","name":"{name}"}}"#);
        assert_eq!(ImageManifest::from_json(text.as_bytes()).is_ok(), good, "{name}");
    }
    for (version, good) in [
        ("1.0.0", true),
        ("0.8.11+git", true),
        ("0.0.1-pre", true),
        ("0.8", false),
        ("0.0.0", false),
        ("v0.8.1", false),
        ("", false),
    ] {
        let text = format!(r#"{{"acKind":"ImageManifest","acVersion":"{version}","name":"a"}}"#);
        assert_eq!(ImageManifest::from_json(text.as_bytes()).is_ok(), good, "{version}");
    }
}

#[test]
fn structure() {
    base(r#","unknown":1,"labels":null"#).unwrap();
    ImageManifest::from_json(br#"{"ACKIND":"ImageManifest","acversion":"0.8.11","NAME":"a"}"#)
        .unwrap();
    ImageManifest::from_json(br#"{"acKind":"Foo","acVersion":"0.8.11","name":"a"}"#).unwrap_err();
    base(r#","app":{"exec":["/a"],"user":"0"}"#).unwrap_err();
    base(r#","app":{"exec":["/a"],"group":"0"}"#).unwrap_err();
    ImageManifest::from_json(&vec![b' '; (4 << 20) + 1]).unwrap_err();
}

#[test]
fn labels_and_annotations() {
    let label = |name: &str, value: &str| format!(r#"{{"name":"{name}","value":"{value}"}}"#);
    let labels = |list: &[String]| base(&format!(r#","labels":[{}]"#, list.join(",")));
    labels(&[label("arch", "bogus")]).unwrap();
    labels(&[label("os", "linux"), label("arch", "riscv64")]).unwrap();
    for (os, arch) in [("windows", "amd64"), ("Linux", "amd64"), ("linux", "x86_64")] {
        labels(&[label("os", os), label("arch", arch)]).unwrap_err();
    }
    labels(&[label("name", "x")]).unwrap_err();
    labels(&[label("a", "x"), label("a", "y")]).unwrap_err();
    let annotation =
        |name: &str, value: &str| base(&format!(r#","annotations":[{}]"#, label(name, value)));
    for good in
        ["2014-10-27T19:32:27.67021798Z", "2014-10-27T19:32:27,5+02:00", "2014-10-27T19:32:27Z"]
    {
        annotation("created", good).unwrap();
    }
    for bad in ["2014", "2014-10-27 19:32:27Z", "2014-10-27T19:32:27+0200", "2014-10-27t19:32:27Z"]
    {
        annotation("created", bad).unwrap_err();
    }
    annotation("homepage", "https://example.com").unwrap();
    annotation("homepage", "ftp://x").unwrap_err();
    annotation("homepage", "").unwrap_err();
}

#[test]
fn what_runs() {
    for good in [
        r#","exec":null"#,
        r#","exec":[]"#,
        r#","exec":["relative"]"#,
        r#","workingDirectory":"""#,
        r#","supplementaryGids":[1,2]"#,
        r#","eventHandlers":[{"name":"pre-start"}]"#,
        r#","environment":[{"name":"a.b-c","value":"x"}]"#,
        r#","mountPoints":[{"name":"a","path":"b"},{"name":"a","path":"/c"}]"#,
        r#","ports":[{"name":"a","protocol":"tcp","port":65535,"count":0}]"#,
        r#","ports":[{"name":"a","port":80},{"name":"a","port":80}]"#,
        r#","ports":[{"protocol":"tcp","port":80}]"#,
    ] {
        app(good).unwrap_or_else(|e| panic!("{good}: {e}"));
    }
    for bad in [
        r#","workingDirectory":"x""#,
        r#","supplementaryGIDs":[-1]"#,
        r#","supplementaryGIDs":[4294967295]"#,
        r#","eventHandlers":[{"name":"post-start","exec":[]}]"#,
        r#","eventHandlers":[{"name":"pre-start"},{"name":"pre-start"}]"#,
        r#","environment":[{"name":"1a","value":""}]"#,
        r#","environment":[{"name":"","value":""}]"#,
        r#","environment":[{"name":"a","value":""},{"name":"a","value":""}]"#,
        r#","environment":[{"name":"a","value":"x\u0000y"}]"#,
        r#","exec":["/bin/\u0000true"]"#,
        r#","mountPoints":[{"name":"a.b","path":"/c"}]"#,
        r#","mountPoints":[{"name":"a","path":""}]"#,
        r#","ports":[{"name":"a","port":0}]"#,
        r#","ports":[{"name":"a","port":65536}]"#,
        r#","ports":[{"name":"a","port":65535,"count":2}]"#,
    ] {
        assert!(app(bad).is_err(), "{bad}");
    }
}

#[test]
fn isolators_alone() {
    for (name, value, good) in [
        ("resource/memory", r#"{"limit":"1k"}"#, true),
        ("resource/memory", r#"{"limit":1024}"#, true),
        ("resource/memory", r#"{"limit":" 1G "}"#, true),
        ("resource/memory", "{}", true),
        ("resource/memory", r#"{"limit":"1K"}"#, false),
        ("resource/memory", r#"{"limit":"1MB"}"#, false),
        ("resource/memory", r#"{"default":true,"limit":"1"}"#, false),
        ("resource/cpu", r#"{"limit":"500"}"#, true),
        ("resource/block-bandwidth", r#"{"default":true,"limit":"1"}"#, true),
        ("resource/block-bandwidth", r#"{"limit":"1"}"#, false),
        ("resource/network-bandwidth", r#"{"default":true,"limit":"1","request":"1"}"#, false),
        ("os/linux/capabilities-retain-set", r#"{"set":["bogus"]}"#, true),
        ("os/linux/capabilities-retain-set", r#"{"set":[]}"#, false),
        ("os/linux/seccomp-remove-set", r#"{"set":["x"],"errno":"EFOO9"}"#, true),
        ("os/linux/seccomp-remove-set", r#"{"set":["x"],"errno":"eperm"}"#, false),
        ("os/linux/no-new-privileges", r#""true""#, false),
        ("os/linux/no-new-privileges", "true", true),
        ("os/linux/oom-score-adj", "1001", false),
        ("os/linux/cpu-shares", "262144", true),
        ("os/linux/cpu-shares", "1", false),
        ("os/linux/pids-limit", "64", true),
        ("os/linux/pids-limit", "0", false),
        ("os/linux/selinux-context", r#"{"user":"u","role":"r","type":"t","level":"s0:c1"}"#, true),
        ("os/linux/selinux-context", r#"{"user":"u:","role":"r","type":"t","level":"s0"}"#, false),
        ("os/linux/apparmor-profile", r#"{"profile":""}"#, false),
        ("os/unix/sysctl", r#"{"a":"1"}"#, true),
        ("os/unix/sysctl", r#"{"a":1}"#, false),
        ("os/linux/cpu-shares", "null", false),
        ("future/thing", "7", true),
    ] {
        assert_eq!(isolator(name, value).is_ok(), good, "{name} {value}");
    }
}

#[test]
fn isolators_together() {
    let two = |a: &str, b: &str| app(&format!(r#","isolators":[{a},{b}]"#));
    let memory = r#"{"name":"resource/memory","value":{}}"#;
    let caps = |which: &str| {
        format!(r#"{{"name":"os/linux/capabilities-{which}-set","value":{{"set":["CAP_KILL"]}}}}"#)
    };
    let seccomp = |which: &str| {
        format!(r#"{{"name":"os/linux/seccomp-{which}-set","value":{{"set":["x"]}}}}"#)
    };
    two(memory, memory).unwrap();
    two(&caps("retain"), &caps("remove")).unwrap_err();
    two(&seccomp("retain"), &seccomp("remove")).unwrap_err();
    two(&seccomp("retain"), &seccomp("retain")).unwrap_err();
}

#[test]
fn dependencies_and_whitelist() {
    for (text, good) in [
        (r#"{"imageName":"a"}"#, true),
        (r#"{"imageName":"a","imageID":"sha512-a"}"#, true),
        (r#"{"imageName":"a","imageID":"sha512-zz"}"#, true),
        (r#"{"imageID":"sha512-aa"}"#, false),
        (r#"{"imageName":"a","imageID":"sha256-aa"}"#, false),
        (r#"{"imageName":"a","imageID":"sha512-a-b"}"#, false),
        (r#"{"imageName":"a","size":-1}"#, false),
    ] {
        assert_eq!(base(&format!(r#","dependencies":[{text}]"#)).is_ok(), good, "{text}");
    }
    assert_eq!(base(r#","pathWhitelist":["rel"]"#).unwrap().path_whitelist, ["rel"]);
}

#[test]
fn written_in_the_order_of_the_specification() {
    let text = concat!(
        r#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"a","labels":[{"name":"os","value":"linux"}],"#,
        r#""app":{"exec":["/a"],"eventHandlers":[{"name":"pre-start","exec":["/b"]}],"user":"0","group":"0","#,
        r#""supplementaryGIDs":[1],"workingDirectory":"/w","environment":[{"name":"A","value":"<\u0026>"}],"#,
        r#""mountPoints":[{"name":"m","path":"/m","readOnly":true}],"#,
        r#""ports":[{"name":"p","protocol":"tcp","port":1,"count":1,"socketActivated":false}],"#,
        r#""isolators":[{"name":"resource/memory","value":{"limit":"1G"}}],"userLabels":{"l":"m"}},"#,
        r#""annotations":[{"name":"authors","value":"x"}],"dependencies":[{"imageName":"b","size":3}],"#,
        r#""pathWhitelist":["/a"]}"#
    );
    let manifest = ImageManifest::from_json(text.as_bytes()).unwrap();
    assert_eq!(
        manifest.to_json(),
        text.replace("\"<", "\"\\u003c").replace(">\"}]", "\\u003e\"}]")
    );
    let again = ImageManifest::from_json(manifest.to_json_pretty("    ").as_bytes()).unwrap();
    assert_eq!(again, manifest);
}
