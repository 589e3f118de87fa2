use super::*;
use appc::App;

const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn source() -> Source {
    Source {
        registry: "quay.io:5000".into(),
        repository: "ns/App".into(),
        tag: Some("v1".into()),
        original: Some("docker://quay.io:5000/ns/app:v1".into()),
        manifest_digest: Digest::of(b"manifest"),
    }
}

fn manifest(layers: usize) -> Manifest {
    let layer = format!(
        r#"{{"mediaType":"{}","digest":"sha256:{HEX}","size":1}}"#,
        crate::media::LAYER_GZIP
    );
    let text = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"{}","digest":"{}","size":6}},"layers":[{}]}}"#,
        crate::media::CONFIG,
        Digest::of(b"config"),
        vec![layer; layers].join(",")
    );
    Manifest::from_json(text.as_bytes()).unwrap()
}

/// The form of an image whose configuration has this beside its layers.
fn form(rest: &str) -> Result<ImageManifest, FormError> {
    let text = format!(r#"{{"rootfs":{{"type":"layers","diff_ids":[]}}{rest}}}"#);
    image_manifest(&source(), &manifest(1), &ImageConfig::from_json(text.as_bytes()).unwrap())
}

fn app(config: &str) -> Result<App, FormError> {
    form(&format!(r#","os":"linux","architecture":"amd64","config":{{{config}}}"#))
        .map(|form| form.app.unwrap())
}

#[test]
fn names_come_from_where_images_come_from() {
    let config = ImageConfig::from_json(br#"{"rootfs":{"type":"layers"}}"#).unwrap();
    let form = |source: &Source| image_manifest(source, &manifest(1), &config);
    assert_eq!(form(&source()).unwrap().name.as_str(), "quay.io_5000/ns/app");
    for (repository, wanted) in [
        ("library/busybox", Some("library/busybox")),
        ("a__b.c-d", Some("a__b.c-d")),
        ("-edge-", Some("edge")),
        ("--", None),
        ("", None),
    ] {
        let file = Source { registry: String::new(), repository: repository.into(), ..source() };
        let found = form(&file).ok().map(|form| form.name.to_string());
        assert_eq!(found.as_deref(), wanted, "{repository}");
    }
}

#[test]
fn platforms_in_the_words_of_appc() {
    for (os, architecture, variant, wanted) in [
        ("linux", "amd64", "", Some("amd64")),
        ("linux", "386", "", Some("i386")),
        ("linux", "arm64", "v8", Some("aarch64")),
        ("linux", "arm", "v7", Some("armv7l")),
        ("linux", "arm", "v6", Some("armv6l")),
        ("linux", "arm", "", Some("armv6l")),
        ("linux", "ppc64le", "", Some("ppc64le")),
        ("linux", "s390x", "", Some("s390x")),
        ("freebsd", "arm", "", Some("arm")),
        ("linux", "pdp11", "", None),
        ("plan9", "amd64", "", None),
    ] {
        let rest = format!(r#","os":"{os}","architecture":"{architecture}","variant":"{variant}""#);
        let found = form(&rest);
        let arch = found.as_ref().ok().and_then(|form| form.label("arch"));
        assert_eq!(arch, wanted, "{os}/{architecture}/{variant}");
        assert_eq!(wanted.is_none(), matches!(found, Err(FormError::Platform { .. })));
    }
    // What is not said is this machine's.
    let found = form("").unwrap();
    assert_eq!(found.label("os"), Some("linux"));
    let names: Vec<&str> = found.labels.iter().map(|label| label.name.as_str()).collect();
    assert_eq!(names, ["arch", "os", "version"]);
    assert_eq!(found.label("version"), Some("v1"));
}

#[test]
fn what_runs_is_entrypoint_and_cmd() {
    for (config, wanted) in [
        (r#""Entrypoint":["/a","b"],"Cmd":["c"]"#, Some(&["/a", "b", "c"][..])),
        (r#""Entrypoint":["/a"],"Cmd":null"#, Some(&["/a"])),
        (r#""Cmd":["sh","-c","x y"]"#, Some(&["sh", "-c", "x y"])),
        (r#""Entrypoint":[],"Cmd":[]"#, None),
        ("", None),
    ] {
        let found = app(config).unwrap().exec;
        let found = found.as_ref().map(|exec| exec.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(found.as_deref(), wanted, "{config}");
    }
    assert!(matches!(app(r#""Cmd":["/bin/\u0000true"]"#), Err(FormError::Text("argument"))));
    let long = format!(r#""Cmd":["{}"]"#, "x".repeat(128 << 10));
    assert!(matches!(app(&long), Err(FormError::Text("argument"))));
    assert_eq!(form(r#","config":null"#).unwrap().app, None);
}

#[test]
fn users_and_groups() {
    for (user, wanted) in [
        ("", Some(("0", "0"))),
        ("a", Some(("a", "a"))),
        ("1000", Some(("1000", "1000"))),
        ("a:b", Some(("a", "b"))),
        ("1000:b", Some(("1000", "b"))),
        (":5", Some(("0", "5"))),
        ("4294967294", Some(("4294967294", "4294967294"))),
        ("a:", None),
        ("a:b:c", None),
        ("4294967295", None),
        ("4294967296:4294967296", None),
        ("99999999999999999999", None),
        ("-1", None),
        ("0\\n0:x", None),
        ("a b", None),
        ("/etc/passwd", None),
    ] {
        let found = app(&format!(r#""User":"{user}""#));
        let pair = found.as_ref().ok().map(|app| (app.user.as_str(), app.group.as_str()));
        assert_eq!(pair, wanted, "{user}");
        assert_eq!(wanted.is_none(), matches!(found, Err(FormError::User(_))), "{user}");
    }
    for (user, wanted) in [("", None), ("a", Some("true")), ("a:b", None), ("0:0", None)] {
        let found = form(&format!(r#","config":{{"User":"{user}"}}"#)).unwrap();
        assert_eq!(found.annotation(GROUP_OF_USER), wanted, "{user}");
    }
}

#[test]
fn variables() {
    let found = app(r#""Env":["A=1","B=x=y","NOTHING","A=2","C="]"#).unwrap().environment;
    let found: Vec<_> = found.iter().map(|v| (v.name.as_str(), v.value.as_str())).collect();
    assert_eq!(found, [("A", "2"), ("B", "x=y"), ("C", "")]);
    for bad in ["=x", "A B=x", "A\\u0000=x", "A\\n=x"] {
        let error = app(&format!(r#""Env":["{bad}"]"#)).unwrap_err();
        assert!(matches!(error, FormError::Variable(_)), "{bad}: {error}");
    }
    let error = app(r#""Env":["A=b\u0000c"]"#).unwrap_err();
    assert!(matches!(error, FormError::Text("variable")), "{error}");
    let error = app(&format!(r#""Env":["A={}"]"#, "x".repeat(200_000))).unwrap_err();
    assert!(matches!(error, FormError::Text("variable")), "{error}");
}

#[test]
fn working_directories() {
    for (text, wanted) in [
        ("", Some("")),
        ("/", Some("/")),
        ("/srv//app/./x/", Some("/srv/app/x")),
        ("/../../tmp", Some("/tmp")),
        ("srv", None),
        (".", None),
        ("/proc/self/fd/7/../../..", None),
        ("/a\\u0000b", None),
    ] {
        let found = app(&format!(r#""WorkingDir":"{text}""#));
        let clean = found.as_ref().ok().map(|app| app.working_directory.as_str());
        assert_eq!(clean, wanted, "{text}");
        assert_eq!(wanted.is_none(), matches!(found, Err(FormError::Directory(_))), "{text}");
    }
}

#[test]
fn exposed_ports() {
    let found = app(r#""ExposedPorts":{"8080/tcp":{},"53/UDP":{},"9000":{}}"#).unwrap().ports;
    let found: Vec<_> =
        found.iter().map(|p| (p.name.as_str(), p.protocol.as_str(), p.port, p.count)).collect();
    assert_eq!(
        found,
        [("53-udp", "udp", 53, 1), ("8080-tcp", "tcp", 8080, 1), ("9000", "tcp", 9000, 1)]
    );
    for bad in ["0/tcp", "65536", "8000-8010/tcp", "80/", "/tcp", "x", "", "+80", "80/t p"] {
        let error = app(&format!(r#""ExposedPorts":{{"{bad}":{{}}}}"#)).unwrap_err();
        assert!(matches!(error, FormError::Port(_)), "{bad}: {error}");
    }
    let form = form(r#","config":{"ExposedPorts":{"80/tcp":{},"53/udp":{}}}"#).unwrap();
    assert_eq!(form.annotation("org.opencontainers.image.exposedports"), Some("53/udp,80/tcp"));
}

#[test]
fn volumes() {
    let found = app(r#""Volumes":{"/var/lib/mysql":{},"/b":{},"/a.b":{},"/a_b":{},"c/../d/":{}}"#);
    let found = found.unwrap().mount_points;
    let found: Vec<_> =
        found.iter().map(|p| (p.name.as_str(), p.path.as_str(), p.read_only)).collect();
    assert_eq!(
        found,
        [
            ("volume-a-b", "/a.b", false),
            ("volume-a-b-1", "/a_b", false),
            ("volume-b", "/b", false),
            ("volume-d", "/d", false),
            ("volume-var-lib-mysql", "/var/lib/mysql", false),
        ]
    );
    // The same folder in two spellings is one volume, and none lies outside.
    let found = app(r#""Volumes":{"/x":{},"/x/":{},"/../../x":{}}"#).unwrap().mount_points;
    assert_eq!(found.len(), 1);
    for bad in ["/", "", "..", "/etc/../..", "/a\\u0000"] {
        let error = app(&format!(r#""Volumes":{{"{bad}":{{}}}}"#)).unwrap_err();
        assert!(matches!(error, FormError::Volume(_)), "{bad}: {error}");
    }
}

#[test]
fn what_is_carried_by_annotations() {
    let found = form(
        r#","os":"linux","architecture":"arm","variant":"v7","author":"me","created":"2020-01-02T03:04:05Z",
        "config":{"Entrypoint":["/e"],"Cmd":["a \"b\""],"StopSignal":"SIGQUIT","Labels":{"x":"y",
        "org.opencontainers.image.title":"T","Org.OpenContainers.Image.Author":"you","log":"/tmp/x"}}"#,
    )
    .unwrap();
    let digest = format!("sha256:{HEX}");
    let manifest_digest = Digest::of(b"manifest").to_string();
    for (name, wanted) in [
        ("author", "me"),
        ("authors", "me"),
        ("created", "2020-01-02T03:04:05Z"),
        ("appc.io/docker/imageid", digest.as_str()),
        ("appc.io/docker/manifesthash", &manifest_digest),
        ("appc.io/docker/registryurl", "quay.io:5000"),
        ("appc.io/docker/repository", "ns/App"),
        ("appc.io/docker/originalname", "docker://quay.io:5000/ns/app:v1"),
        ("appc.io/docker/entrypoint", r#"["/e"]"#),
        ("appc.io/docker/cmd", r#"["a \"b\""]"#),
        ("org.opencontainers.image.os", "linux"),
        ("org.opencontainers.image.architecture", "arm"),
        ("org.opencontainers.image.variant", "v7"),
        ("org.opencontainers.image.created", "2020-01-02T03:04:05Z"),
        ("org.opencontainers.image.stopsignal", "SIGQUIT"),
        ("org.opencontainers.image.title", "T"),
        // Labels win.
        ("org.opencontainers.image.author", "you"),
    ] {
        assert_eq!(found.annotation(name), Some(wanted), "{name}");
    }
    assert_eq!(found.annotation("log"), None);
    let labels = found.app.unwrap().user_labels;
    assert_eq!(labels.get("x").map(String::as_str), Some("y"));
    assert_eq!(labels.len(), 4);
}

#[test]
fn files_have_no_registry() {
    let file = Source { registry: String::new(), tag: None, original: None, ..source() };
    let config = ImageConfig::from_json(br#"{"rootfs":{"type":"layers"}}"#).unwrap();
    let found = image_manifest(&file, &manifest(2), &config).unwrap();
    assert_eq!(found.annotation("appc.io/docker/imageid"), Some(HEX));
    assert_eq!(found.annotation("appc.io/docker/registryurl"), None);
    assert_eq!(found.annotation("appc.io/docker/originalname"), None);
    assert_eq!(found.label("version"), None);
    // No layers at all: the configuration stands for the image.
    let found = image_manifest(&file, &manifest(0), &config).unwrap();
    assert_eq!(found.annotation("appc.io/docker/imageid"), Some(Digest::of(b"config").hex()));
    assert_eq!(found.to_json(), image_manifest(&file, &manifest(0), &config).unwrap().to_json());
}

#[test]
fn dates_that_are_none_are_left_out() {
    let found = form(r#","created":"yesterday""#).unwrap();
    assert_eq!(found.annotation("created"), None);
    assert_eq!(found.annotation("org.opencontainers.image.created"), Some("yesterday"));
}
