use super::*;
use appc::PodManifest;

const SWITCHES: Switches =
    Switches { capabilities: CapabilityRule::Limited, seccomp: SeccompRule::Wanted };

fn read(app: &str, image: &str, switches: Switches) -> Result<AppSpec, SpecError> {
    let id = "a".repeat(64);
    let pod = format!(
        r#"{{"acVersion":"0.8.11","acKind":"PodManifest","apps":[{{"name":"app",
            "image":{{"name":"example.com/a","id":"sha512-{id}"}}{app}}}],
            "volumes":[],"isolators":[],"annotations":[],"ports":[]}}"#
    );
    let image = format!(
        r#"{{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/image"{image}}}"#
    );
    let pod = PodManifest::from_json(pod.as_bytes()).unwrap();
    AppSpec::new(&pod.apps[0], &ImageManifest::from_json(image.as_bytes()).unwrap(), switches)
}

fn with(isolators: &str) -> Result<AppSpec, SpecError> {
    let app =
        format!(r#","app":{{"exec":["/a"],"user":"0","group":"0","isolators":[{isolators}]}}"#);
    read(&app, "", SWITCHES)
}

fn isolator(name: &str, value: &str) -> String {
    format!(r#"{{"name":"{name}","value":{value}}}"#)
}

fn caps(names: &[&str]) -> Capabilities {
    names
        .iter()
        .map(|n| Capabilities::named(n).unwrap())
        .fold(Capabilities::NONE, Capabilities::union)
}

#[test]
fn the_pods_section_replaces_the_images() {
    let image = r#","app":{"exec":["/image"],"user":"1","group":"2"},"annotations":[
        {"name":"org.opencontainers.image.stopsignal","value":"SIGINT"}]"#;
    let own = read("", image, SWITCHES).unwrap();
    assert_eq!((own.commands.main[0].as_str(), own.identity.user.as_str()), ("/image", "1"));
    assert_eq!((own.stop_signal, own.directory.as_str(), own.seeded), (2, "/", false));
    let app = r#","app":{"exec":["/pod","x"],"user":"web","group":"web","workingDirectory":"/w"},"readOnlyRootFS":true"#;
    let replaced = read(app, image, SWITCHES).unwrap();
    assert_eq!(replaced.commands.main, ["/pod", "x"]);
    assert_eq!((replaced.identity.user.as_str(), replaced.directory.as_str()), ("web", "/w"));
    assert_eq!(replaced.root, crate::mounts::Access::ReadOnly);
}

#[test]
fn variables_have_defaults_and_the_apps_own_win() {
    let app = r#","app":{"exec":["/a"],"user":"0","group":"0","environment":[
        {"name":"PATH","value":"/x"},{"name":"AC_APP_NAME","value":"forged"},{"name":"N","value":"two\nlines"}]}"#;
    let spec = read(app, "", SWITCHES).unwrap();
    for (name, expected) in [
        ("PATH", Some("/x")),
        ("AC_APP_NAME", Some("app")),
        ("N", Some("two\nlines")),
        ("SHELL", Some("/bin/sh")),
        ("USER", Some("root")),
        ("LOGNAME", Some("root")),
        ("HOME", Some("/root")),
        ("container", Some("rkt")),
        ("OTHER", None),
    ] {
        assert_eq!(spec.variable(name), expected, "{name}");
    }
    assert_eq!(spec.environment.len(), 8);
}

#[test]
fn isolators_become_limits_and_rights() {
    let all = [
        isolator("resource/memory", r#"{"limit":"32M"}"#),
        isolator("resource/memory", r#"{"limit":"1Ki"}"#),
        isolator("resource/cpu", r#"{"limit":"500m"}"#),
        isolator("os/linux/cpu-shares", "77"),
        isolator("os/linux/pids-limit", "20"),
        isolator("os/linux/oom-score-adj", "-5"),
        isolator("os/linux/no-new-privileges", "true"),
        isolator("example.com/unknown", "{}"),
        isolator("os/linux/seccomp-retain-set", r#"{"set":["@appc.io/all"]}"#),
    ];
    let spec = with(&all.join(",")).unwrap();
    let expected =
        Limits { memory: Some(1024), cpu_milli: Some(500), cpu_shares: Some(77), pids: Some(20) };
    assert_eq!((spec.limits, spec.oom_score_adj), (expected, Some(-5)));
    assert!(spec.rights.no_new_privileges);
}

#[test]
fn capability_sets_follow_the_isolators() {
    let default = caps(&DEFAULT_CAPABILITIES);
    let retain =
        isolator("os/linux/capabilities-retain-set", r#"{"set":["CAP_CHOWN","CAP_SYS_ADMIN"]}"#);
    let remove =
        isolator("os/linux/capabilities-remove-set", r#"{"set":["CAP_CHOWN","CAP_SYS_ADMIN"]}"#);
    for (isolators, expected) in [
        (String::new(), default),
        (retain.clone(), caps(&["CHOWN", "SYS_ADMIN"])),
        (remove.clone(), default.without(caps(&["CHOWN"]))),
    ] {
        assert_eq!(with(&isolators).unwrap().rights.capabilities, expected, "{isolators}");
    }
    let app = format!(r#","app":{{"exec":["/a"],"user":"0","group":"0","isolators":[{retain}]}}"#);
    let open = Switches { capabilities: CapabilityRule::All, seccomp: SeccompRule::Off };
    assert_eq!(read(&app, "", open).unwrap().rights.capabilities, Capabilities::ALL);
    with(&isolator("os/linux/capabilities-retain-set", r#"{"set":["CAP_NOPE"]}"#)).unwrap_err();
}

#[test]
fn what_cannot_be_had_is_refused() {
    let filter = isolator("os/linux/seccomp-remove-set", r#"{"set":["reboot"]}"#);
    assert!(with(&filter).unwrap_err().to_string().ends_with("which is not there yet"));
    let app = format!(r#","app":{{"exec":["/a"],"user":"0","group":"0","isolators":[{filter}]}}"#);
    read(&app, "", Switches { seccomp: SeccompRule::Off, ..SWITCHES }).unwrap();
    for (app, message) in [
        ("", "image \"example.com/image\" has an empty \"exec\" (try --exec=BINARY)"),
        (
            r#","app":{"user":"0","group":"0"}"#,
            "image \"example.com/image\" has an empty \"exec\" (try --exec=BINARY)",
        ),
    ] {
        assert_eq!(read(app, "", SWITCHES).unwrap_err().to_string(), message);
    }
}

#[test]
fn the_users_group_is_taken_only_where_neither_was_overridden() {
    let image = r#","app":{"exec":["/a"],"user":"web","group":"web"},"annotations":[
        {"name":"coreos.com/rkt/oci/group-of-user","value":"true"}]"#;
    assert_eq!(read("", image, SWITCHES).unwrap().identity.rule, GroupRule::OfUser);
    let app = r#","app":{"exec":["/a"],"user":"web","group":"other"}"#;
    assert_eq!(read(app, image, SWITCHES).unwrap().identity.rule, GroupRule::Own);
}
