//! The command line of the built program: what each mistake prints, where, and with which code.

use std::process::{Command, Output, Stdio};

const RKT: &str = env!("CARGO_BIN_EXE_rkt");

/// Runs `rkt` with words separated by blanks; `''` stands for an empty one.
fn rkt(line: &str) -> Output {
    let words = line
        .split(' ')
        .filter(|word| !word.is_empty())
        .map(|word| if word == "''" { "" } else { word });
    Command::new(RKT).args(words).env_clear().stdin(Stdio::null()).output().expect("rkt starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn mistakes_say_one_thing_on_stderr() {
    let usage =
        |message: &str, of: &str| format!("Error: {message}\nRun '{of} --help' for usage.\n");
    let invalid = |value: &str, flag: &str, reason: &str| {
        format!("invalid argument \"{value}\" for --{flag}={value}: {reason}")
    };
    let table = [
        ("nosuch", usage("unknown command \"nosuch\" for \"rkt\"", "rkt")),
        (
            "c",
            usage(
                "unknown command \"c\" for \"rkt\"\n\nDid you mean this?\n\tcat-manifest\n\tcompletion\n\tconfig\n",
                "rkt",
            ),
        ),
        ("image nosuch", usage("unknown command \"nosuch\" for \"rkt image\"", "rkt image")),
        ("help nosuch", usage("unknown command \"nosuch\" for \"rkt\"", "rkt")),
        ("--nosuch", usage("unknown flag: --nosuch", "rkt")),
        ("--nosuch version", usage("unknown flag: --nosuch", "rkt version")),
        ("list --nosuch", usage("unknown flag: --nosuch", "rkt list")),
        ("image list -x", usage("unknown shorthand flag: 'x' in -x", "rkt image list")),
        ("config --dir", usage("flag needs an argument: --dir", "rkt config")),
        (
            "config --dir=",
            usage(&invalid("", "dir", "\"\" is not a valid directory"), "rkt config"),
        ),
        (
            "config --user-config=/dev/null",
            usage(
                &invalid("/dev/null", "user-config", "\"/dev/null\" is not a valid directory"),
                "rkt config",
            ),
        ),
        (
            "config --pretty-print=maybe",
            usage(
                &invalid(
                    "maybe",
                    "pretty-print",
                    "strconv.ParseBool: parsing \"maybe\": invalid syntax",
                ),
                "rkt config",
            ),
        ),
        (
            "version --insecure-options=image,image",
            usage(
                &invalid("image,image", "insecure-options", "duplicated option \"image\""),
                "rkt version",
            ),
        ),
        (
            "trust --root",
            usage("unknown command \"trust\" for \"rkt\": it is not there yet", "rkt"),
        ),
        ("app list", usage("unknown command \"app\" for \"rkt\": it is not there yet", "rkt")),
        (
            "image verify x",
            usage("unknown command \"verify\" for \"rkt image\": it is not there yet", "rkt image"),
        ),
        (
            "version --trust-keys-from-https",
            "version: --trust-keys-from-https is not there yet\n".to_owned(),
        ),
        ("completion", "completion: shell type is not specified\n".to_owned()),
        ("completion tcsh", "completion: 'tcsh' shell is not supported\n".to_owned()),
        (
            "completion a b",
            "completion: too many arguments, only shell type is expected\n".to_owned(),
        ),
    ];
    for (line, message) in table {
        let output = rkt(line);
        assert_eq!((text(&output.stderr), output.status.code()), (message, Some(254)), "{line}");
        assert!(output.stdout.is_empty(), "{line} prints on stdout");
    }
}

#[test]
fn names_every_permitted_insecure_option() {
    let output = rkt("version --insecure-options=foo");
    let message = text(&output.stderr);
    assert!(message.starts_with(
        "Error: invalid argument \"foo\" for --insecure-options=foo: unknown option \"foo\""
    ));
    for word in [
        "none",
        "image",
        "tls",
        "ondisk",
        "http",
        "pubkey",
        "capabilities",
        "paths",
        "seccomp",
        "all-run",
    ] {
        assert!(message.contains(word), "{word}");
    }
}

#[test]
fn no_command_is_the_only_2() {
    let output = rkt("");
    assert_eq!(
        (text(&output.stderr).as_str(), output.status.code()),
        ("rkt: missing command\n", Some(2))
    );
    assert_eq!(output.stdout, rkt("help").stdout);
    assert_eq!(rkt("--debug").status.code(), Some(2));
    assert_eq!(rkt("image").status.code(), Some(0));
}

#[test]
fn flags_stand_anywhere() {
    let plain = rkt("config --pretty-print=false");
    assert_eq!(plain.status.code(), Some(0));
    for line in [
        "--pretty-print=false config",
        "--debug --dir /nonexistent config --pretty-print=0",
        "--insecure-options=image,ondisk,none '' config surplus --pretty-print=F",
        "conf --pretty-print=f --user-config /nonexistent",
    ] {
        let output = rkt(line);
        assert_eq!(text(&output.stdout), text(&plain.stdout), "{line}: {}", text(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{line}");
    }
}

#[test]
fn help_is_the_same_text_everywhere() {
    for (one, other) in [
        ("help config", "config --help"),
        ("help config", "--help config"),
        ("help config", "config -h --nosuch"),
        ("help image rm", "image rm --help"),
        ("help image", "image --help"),
        ("help image", "image"),
        ("help", "--help"),
        ("help", "-h"),
    ] {
        let (one_output, other_output) = (rkt(one), rkt(other));
        assert_eq!(text(&one_output.stdout), text(&other_output.stdout), "{one} / {other}");
        assert_eq!(
            (one_output.status.code(), other_output.status.code()),
            (Some(0), Some(0)),
            "{one} / {other}"
        );
        assert!(other_output.stderr.is_empty());
    }
    let help = text(&rkt("help config").stdout);
    let heads: Vec<&str> = help.lines().filter(|line| line.ends_with(':')).collect();
    assert_eq!(heads, ["NAME:", "USAGE:", "OPTIONS:", "GLOBAL OPTIONS:"]);
    assert!(help.starts_with("NAME:\n\tconfig - Print"));
    assert!(help.contains("\n      --pretty-print[=true]\t"));
    let whole = text(&rkt("help").stdout);
    assert!(whole.contains("\n      --debug[=false]\t") && !whole.contains("cpuprofile"));
    assert!(whole.contains("\nVERSION:\n\t1."));
}

#[test]
fn version_is_what_clients_look_for() {
    let output = text(&rkt("vers").stdout);
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines.len(), 5);
    assert!(lines[0].starts_with("rkt Version: 1."));
    assert_eq!(lines[1], "appc Version: 0.8.11");
    assert!(lines[4].starts_with("Features: "));
    assert_eq!(output, text(&rkt("version surplus").stdout));
}

#[test]
fn a_result_that_cannot_be_written_is_a_failure() {
    let full = std::fs::File::create("/dev/full").expect("/dev/full opens");
    let output = Command::new(RKT).arg("version").stdout(full).output().expect("rkt starts");
    assert_eq!(output.status.code(), Some(254));
    assert!(!output.stderr.is_empty());
}

#[test]
fn a_reader_that_goes_away_ends_it_by_sigpipe() {
    use std::os::unix::process::ExitStatusExt as _;
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let status = Command::new(RKT).arg("help").stdout(writer).status().expect("rkt starts");
    assert_eq!(status.signal(), Some(13), "{status}");
}

#[test]
fn closed_descriptors_stay_harmless() {
    let status = Command::new("/bin/sh")
        .args(["-c", "\"$0\" version <&- >&- 2>&-", RKT])
        .status()
        .expect("sh starts");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn completion_scripts_ask_back() {
    for (shell, ask) in [
        ("bash", "_RKT_COMPLETE=\"bash\""),
        ("zsh", "_RKT_COMPLETE=\"zsh\""),
        ("fish", "_RKT_COMPLETE=fish"),
    ] {
        let script = text(&rkt(&format!("completion {shell}")).stdout);
        assert!(script.contains(ask), "{script}");
    }
    let answer = Command::new(RKT)
        .args(["--", "rkt", "con"])
        .env_clear()
        .envs([("_RKT_COMPLETE", "bash"), ("_CLAP_COMPLETE_INDEX", "1")])
        .output()
        .expect("rkt starts");
    assert_eq!(text(&answer.stdout), "config");
}

#[test]
fn profiles_are_written() {
    let path = std::env::temp_dir().join(format!("rkt-profile-{}", std::process::id()));
    let output = rkt(&format!("version --cpuprofile={}", path.display()));
    let profile = std::fs::read_to_string(&path);
    drop(std::fs::remove_file(&path));
    assert_eq!(output.status.code(), Some(0));
    assert!(profile.expect("a profile").starts_with("user_us="));
}

#[test]
fn configuration_in_layers() {
    let root = std::env::temp_dir().join(format!("rkt-layers-{}", std::process::id()));
    let write = |path: &str, text: &str| {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(path, text).expect("a file");
    };
    let auth = |user: &str| {
        format!(
            r#"{{"rktVersion":"v1","rktKind":"auth","domains":["a.com"],"type":"basic","credentials":{{"user":"{user}","password":"p"}}}}"#
        )
    };
    write("system/auth.d/a.json", &auth("system"));
    write("local/auth.d/a.json", &auth("local"));
    write("user/auth.d/b.json", &auth("user"));
    write("twice/auth.d/a.json", &auth("one"));
    write("twice/auth.d/b.json", &auth("two"));
    write("foreign/auth.d/f.json", r#"{"rktVersion":"v1","rktKind":"foo"}"#);
    let directory = |name: &str| root.join(name).display().to_string();
    let (system, local, user) = (directory("system"), directory("local"), directory("user"));
    let (twice, foreign) = (directory("twice"), directory("foreign"));
    let layers =
        format!("config --pretty-print=false --system-config={system} --local-config={local}");
    let (two, three) = (rkt(&layers), rkt(&format!("{layers} --user-config={user}")));
    let (twice, odd) = (
        rkt(&format!("config --user-config={twice}")),
        rkt(&format!("config --user-config={foreign}")),
    );
    std::fs::remove_dir_all(&root).expect("it can go");
    assert!(
        text(&two.stdout).starts_with(&format!(r#"{{"stage0":[{},{{"#, auth("local"))),
        "{}",
        text(&two.stdout)
    );
    assert!(
        text(&three.stdout).starts_with(&format!(r#"{{"stage0":[{},{{"#, auth("user"))),
        "{}",
        text(&three.stdout)
    );
    assert_eq!(
        (text(&twice.stderr).as_str(), twice.status.code()),
        (
            "config: cannot get configuration: auth for domain \"a.com\" is already specified\n",
            Some(254)
        )
    );
    let message = text(&odd.stderr);
    assert!(
        ["\"foo\"", "\"f.json\"", "/foreign/auth.d"].iter().all(|part| message.contains(part)),
        "{message}"
    );
    assert_eq!(odd.status.code(), Some(254));
}
