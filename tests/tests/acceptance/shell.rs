//! The program as a command among others: help, versions, streams, folders, rights.

use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use testkit::flavour::each;
use testkit::program::{run, tool};
use testkit::sandbox::dist;
use testkit::{Image, NSPAWN, Rkt};

/// Every command that help shows.
const COMMANDS: [&str; 21] = [
    "cat-manifest",
    "completion",
    "config",
    "enter",
    "export",
    "fetch",
    "gc",
    "help",
    "image cat-manifest",
    "image export",
    "image extract",
    "image gc",
    "image list",
    "image render",
    "image rm",
    "list",
    "prepare",
    "rm",
    "run",
    "run-prepared",
    "status",
];

#[test]
fn no_command_is_code_2_with_help() {
    let rkt = Rkt::new();
    let output = rkt.run(&[]).code(2);
    assert!(output.stderr.contains("missing command"), "{output:#?}");
    assert!(output.stdout.contains("COMMANDS:"), "{output:#?}");
}

#[test]
fn unknown_commands_and_flags_are_254() {
    let rkt = Rkt::new();
    rkt.run(&["nosuch"]).refuses("unknown command \"nosuch\" for \"rkt\"");
    rkt.run(&["run", "--nosuch"]).refuses("unknown flag: --nosuch");
}

#[test]
fn commands_may_be_abbreviated() {
    let rkt = Rkt::new();
    assert_eq!(rkt.run(&["vers"]).ok(), rkt.run(&["version"]).ok());
    rkt.run(&["i", "lis"]).ok();
    rkt.run(&["r"]).refuses("unknown command \"r\"");
}

#[test]
fn version_has_the_lines_that_clients_parse() {
    let output = Rkt::new().run(&["version"]).ok();
    let lines = output.lines();
    assert_eq!(lines.len(), 5);
    let version = lines[0].strip_prefix("rkt Version: ").unwrap();
    assert!(version.split('.').all(|number| number.parse::<u32>().is_ok()), "{version:?}");
    assert_eq!(lines[1], "appc Version: 0.8.11");
    assert!(lines[4].starts_with("Features: "));
}

#[test]
fn help_of_a_command_is_one_text() {
    let rkt = Rkt::new();
    for command in COMMANDS.iter().filter(|name| **name != "help") {
        let words: Vec<&str> = command.split(' ').collect();
        let by_help = rkt.run(&[&["help"], &words[..]].concat()).ok();
        let by_flag = rkt.run(&[&words[..], &["--help"]].concat()).ok();
        assert_eq!(by_help, by_flag, "{command}");
        assert!(by_help.stdout.starts_with("NAME:\n\trkt ") || by_help.stdout.contains(command));
    }
}

#[test]
fn help_lists_commands_and_global_flags() {
    let rkt = Rkt::new();
    let help = rkt.run(&["help"]).ok().stdout;
    for command in COMMANDS {
        assert!(help.contains(&format!("\n\t{command}\t")), "{command}: {help}");
    }
    for flag in ["debug", "dir", "insecure-options", "local-config", "system-config", "user-config"]
    {
        assert!(help.contains(&format!("--{flag}")), "{flag}: {help}");
    }
    for hidden in ["\tapp ", "\tattach\t", "image fetch", "cpuprofile"] {
        assert!(!help.contains(hidden), "{hidden:?}: {help}");
    }
}

#[test]
fn completion_offers_running_pods() {
    let rkt = Rkt::new();
    let (running, uuid) = rkt.sleeper(&NSPAWN);
    let script = r#"
        source <("$RKT" completion bash)
        function=$(complete -p rkt | sed 's/.* -F \([^ ]*\).*/\1/')
        COMP_WORDS=(rkt "--dir=$DATA" enter "") COMP_CWORD=3 COMP_TYPE=9 COMP_LINE="rkt --dir=$DATA enter "
        COMP_POINT=${#COMP_LINE}
        $function rkt "" enter
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let folder = dist("rkt").parent().unwrap().display().to_string();
    let mut bash = Command::new("bash");
    bash.args(["-c", script]).env("RKT", dist("rkt")).env("DATA", &rkt.data);
    bash.env("PATH", format!("{folder}:/usr/bin:/bin")).env("RKT_TEST_SANDBOX", &rkt.top);
    let output = run(&mut bash).ok();
    assert!(output.lines().iter().any(|line| line.trim() == uuid), "{output:#?}");
    for shell in ["zsh", "fish"] {
        assert!(!rkt.run(&["completion", shell]).ok().stdout.is_empty());
    }
    rkt.run(&["completion", "tcsh"]).refuses("'tcsh' shell is not supported");
    drop(running);
}

#[test]
fn results_are_alone_on_stdout() {
    let rkt = Rkt::new();
    let image = rkt.shell();
    let fetched = rkt.run(&["--debug", "--insecure-options=image", "fetch", &image]).ok();
    assert_eq!(fetched.lines().len(), 1);
    assert!(fetched.stdout.starts_with("sha512-"));
    rkt.run(&["fetch"]).refuses("must provide at least one image");
}

#[test]
fn messages_begin_with_the_last_word_of_the_command() {
    let rkt = Rkt::new();
    for (words, prefix) in [
        (&["rm", "zz"][..], "rm: "),
        (&["image", "rm"], "rm: "),
        (&["status", "zz"], "status: "),
        (&["image", "cat-manifest", "example.com/zz"], "cat-manifest: "),
    ] {
        let output = rkt.run(words).code(254);
        assert!(output.stderr.starts_with(prefix), "{prefix}: {output:#?}");
    }
}

#[test]
fn debug_shows_one_cause_a_line() {
    let rkt = Rkt::new();
    let missing = rkt.word("missing.aci");
    let words = ["--insecure-options=image", "fetch", &missing];
    let short = rkt.run(&words).code(254);
    assert_eq!(short.stderr.lines().count(), 1, "{short:#?}");
    assert!(short.stderr.starts_with("fetch: "), "{short:#?}");
    let long = rkt.run(&[&["--debug"], &words[..]].concat()).code(254);
    let causes: Vec<usize> = long.stderr.lines().filter_map(|line| line.find("└─")).collect();
    assert!(!causes.is_empty(), "{long:#?}");
    for (place, indent) in causes.iter().enumerate() {
        assert_eq!(*indent, 2 * (place + 1), "{long:#?}");
    }
}

#[test]
fn a_run_says_nothing_of_its_own() {
    each(&[], |flavour| {
        let rkt = Rkt::new();
        let image = rkt.image(&Image::busybox("quiet"));
        rkt.fetch(&image);
        let output = rkt.pod(flavour, &["example.com/quiet"]).ok();
        assert_eq!(output.stderr, "");
        assert_eq!(output.stdout, "hello\n");
    });
}

#[test]
fn pods_are_for_root() {
    let rkt = Rkt::new();
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(&rkt.top, open).unwrap();
    // The program itself may lie in a folder that is closed to others.
    let copy = rkt.path("rkt");
    fs::copy(dist("rkt"), &copy).unwrap();
    for words in [
        &["run", "image"][..],
        &["prepare", "image"],
        &["run-prepared", "00000000"],
        &["enter", "00000000"],
        &["gc"],
        &["rm", "00000000"],
    ] {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&copy).args(words);
        command.arg(format!("--dir={}", rkt.data.display())).current_dir(&rkt.top);
        let output = run(&mut command);
        let message = format!("{}: cannot run as unprivileged user\n", words[0]);
        assert_eq!((output.code, output.stderr.as_str()), (Some(254), message.as_str()));
    }
}

/// Runs rkt as user 65534 with the group rkt, which exists only in a mount namespace of the test's own.
fn as_member(rkt: &Rkt, group: u32, words: &[&str]) -> testkit::Output {
    let groups = fs::read_to_string("/etc/group").unwrap();
    let table = rkt.file("group", &format!("{groups}rkt:x:{group}:\n"));
    let script = format!(
        "mount --bind {table} /etc/group; exec setpriv --reuid=65534 --regid=65534 --groups={group} \"$@\""
    );
    let inner = rkt.command(words);
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script, "sh", &rkt.word("rkt")]).args(inner.get_args());
    command.env("RKT_TEST_SANDBOX", &rkt.top).current_dir(&rkt.top);
    rkt.finish(&mut command)
}

#[test]
fn members_of_the_group_use_the_image_store() {
    const GROUP: u32 = 7723;
    let rkt = Rkt::new();
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(&rkt.top, open).unwrap();
    fs::copy(dist("rkt"), rkt.path("rkt")).unwrap();
    fs::copy(dist("stage1-nspawn.aci"), rkt.path("stage1-nspawn.aci")).unwrap();
    let (first, second) =
        (rkt.image(&Image::busybox("first")), rkt.image(&Image::busybox("second")));
    // Root makes the store, with the group that it finds.
    let groups = fs::read_to_string("/etc/group").unwrap();
    let table = rkt.file("group", &format!("{groups}rkt:x:{GROUP}:\n"));
    let bind = format!("mount --bind {table} /etc/group; exec \"$@\"");
    let inner = rkt.command(&["--insecure-options=image", "fetch", &first]);
    let mut root = Command::new("unshare");
    root.args(["--mount", "sh", "-c", &bind, "sh"]).arg(rkt.path("rkt")).args(inner.get_args());
    rkt.finish(&mut root).ok();

    as_member(&rkt, GROUP, &["--insecure-options=image", "fetch", &second]).ok();
    let list = as_member(&rkt, GROUP, &["image", "list", "--fields=name", "--no-legend"]).ok();
    assert!(list.stdout.contains("example.com/first:1.0"), "{list:#?}");
    assert!(list.stdout.contains("example.com/second:1.0"), "{list:#?}");
    as_member(&rkt, GROUP, &["image", "rm", "example.com/first"]).ok();
    as_member(&rkt, GROUP, &["list"]).ok();
    let refused = as_member(&rkt, GROUP, &["image", "gc"]);
    assert!(refused.stderr.contains("ermission denied"), "{refused:#?}");
    let output = rkt.pod(&NSPAWN, &["example.com/second"]).ok();
    assert_eq!(output.stdout, "hello\n");
}

#[test]
fn the_data_folder_can_be_moved() {
    let rkt = Rkt::new();
    let image = rkt.shell();
    rkt.fetch(&image);
    let list = ["image", "list", "--fields=name", "--no-legend"];
    assert_eq!(rkt.run(&list).ok().stdout, "example.com/shell:1.0\n");
    let other = format!("--dir={}", rkt.path("other").display());
    let elsewhere = rkt.finish(rkt.configured().arg(other).args(list)).ok();
    assert_eq!(elsewhere.stdout, "");
}

#[test]
fn the_flag_beats_the_configured_data_folder() {
    let rkt = Rkt::new();
    let configured = rkt.word("configured");
    let paths = json!({ "rktVersion": "v1", "rktKind": "paths", "data": configured });
    rkt.configure("local", "paths.d/paths.json", &paths);
    let image = rkt.shell();
    let fetch = ["--insecure-options=image", "fetch", &*image];
    rkt.finish(rkt.configured().args(fetch)).ok();
    assert!(rkt.path("configured/cas").exists());
    assert!(!rkt.data.exists());
    rkt.run(&fetch).ok();
    assert!(rkt.data.join("cas").exists());
    fs::remove_dir_all(rkt.path("configured")).unwrap();
    fs::remove_dir_all(rkt.top.join("local")).unwrap();
    // Neither of the two: the default, which stands in the help. The host's own is hidden from the test.
    let help = rkt.run(&["help"]).ok().stdout;
    assert!(help.contains("--dir=/var/lib/rkt"), "{help}");
    let inner = rkt.configured();
    let script = "mount -t tmpfs hidden /var/lib && \"$@\" >&2 && ls -d /var/lib/*/*";
    let mut command = rkt.program("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]);
    command.arg(inner.get_program()).args(inner.get_args()).args(fetch);
    let output = rkt.finish(&mut command).ok();
    assert!(output.lines().contains(&"/var/lib/rkt/cas"), "{output:#?}");
}

#[test]
fn data_folders_must_be_folders() {
    let rkt = Rkt::new();
    let file = rkt.file("plain", "");
    for value in ["", &file] {
        let output = rkt.finish(rkt.configured().arg(format!("--dir={value}")).arg("list"));
        output.refuses(&format!("\"{value}\" is not a valid directory"));
    }
}

#[test]
fn the_tools_of_these_tests_are_there() {
    for words in
        [&["setpriv", "--version"][..], &["unshare", "--version"], &["setsid", "--version"]]
    {
        assert!(tool(words).contains("util-linux"));
    }
}
