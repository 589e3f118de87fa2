//! What an app finds when it starts: environment, identity, folders, its program, handlers around it.

use serde_json::json;
use testkit::flavour::{Can, each};
use testkit::{Image, NSPAWN, Rkt};

#[test]
fn four_sources_of_environment_in_their_order() {
    each(&[], |flavour| {
        let rkt = Rkt::new();
        let image =
            Image::shell("env").app("environment", json!([{ "name": "IMAGE", "value": "image" }]));
        let image = rkt.image(&image);
        let file =
            rkt.file("env", "# comment\n; comment\n\nFILE=file\nBOTH=file\nAPP=file\nIMAGE=file\n");
        let from_file = format!("--set-env-file={file}");
        let words = Rkt::run_words(
            flavour,
            &[
                "--inherit-env",
                &from_file,
                "--set-env=SET=set",
                "--set-env=BOTH=set",
                "--set-env=APP=set",
                &image,
                "--environment=APP=app",
                "--environment=OWN=own",
                "--",
                "echo $IMAGE $FILE $BOTH $SET $APP $OWN $CALLER $HOME",
            ],
        );
        let mut command = rkt.command(&words);
        command.env("CALLER", "caller").env("SET", "caller").env("IMAGE", "caller");
        let output = rkt.finish(&mut command).ok();
        assert_eq!(output.stdout, "file file set set app own caller /root\n");
        // What the caller has is not handed on unasked.
        let words = Rkt::run_words(flavour, &[&image, "--", "echo $IMAGE [$CALLER]"]);
        let output = rkt.finish(rkt.command(&words).env("CALLER", "caller")).ok();
        assert_eq!(output.stdout, "image []\n");
    });
}

#[test]
fn mistakes_in_environments_are_refused() {
    let rkt = Rkt::new();
    let image = rkt.shell();
    rkt.pod(&NSPAWN, &["--set-env=A=b", "--set-env=A=c", &image]).refuses("key \"A\" already set");
    rkt.pod(&NSPAWN, &["--set-env=A", &image]).refuses("must be specified as key=value");
    for (content, saying) in
        [("A=b\nA=c\n", "environment variable \"A\" already set"), ("junk\n", "junk")]
    {
        let flag = format!("--set-env-file={}", rkt.file("env", content));
        rkt.pod(&NSPAWN, &[&flag, &image]).refuses(saying);
    }
}

#[test]
fn the_usual_variables_are_always_there() {
    each(&[], |flavour| {
        let rkt = Rkt::new();
        let output =
            rkt.script(flavour, "echo $PATH $SHELL $USER $LOGNAME $HOME $AC_APP_NAME").ok();
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        assert_eq!(output.stdout, format!("{path} /bin/sh root root /root shell\n"));
    });
}

#[test]
fn values_of_variables_survive_byte_for_byte() {
    each(&[], |flavour| {
        let rkt = Rkt::new();
        let value = "two\nlines 'and' \"quotes\" \\ $HOME \t=end";
        let flag = format!("--set-env=ODD={value}");
        let output = rkt.pod(flavour, &[&flag, &rkt.shell(), "--", "printf %s \"$ODD\""]).ok();
        assert_eq!(output.stdout, value);
    });
}

#[test]
fn the_working_folder_can_be_chosen() {
    each(&[], |flavour| {
        let rkt = Rkt::new();
        let image = rkt.shell();
        assert_eq!(rkt.pod(flavour, &[&image, "--", "pwd"]).ok().stdout, "/\n");
        let output = rkt.pod(flavour, &[&image, "--working-dir=/data", "--", "pwd"]).ok();
        assert_eq!(output.stdout, "/data\n");
        rkt.pod(flavour, &[&image, "--working-dir=data", "--", "pwd"]).refuses("absolute");
    });
}

#[test]
fn users_and_groups_have_four_forms() {
    each(&[], |flavour| {
        let rkt = Rkt::new();
        let image = Image::shell("who").file("owned", "").owned_by(1234, 4321);
        let image = rkt.image(&image);
        for (user, group, wanted) in [
            ("5", "6", "5 6"),
            ("web", "more", "33 77"),
            ("/owned", "/owned", "1234 4321"),
            ("root", "root", "0 0"),
            ("web", "0", "33 0"),
        ] {
            let (user, group) = (format!("--user={user}"), format!("--group={group}"));
            let words = [&*image, &user, &group, "--", "echo $(id -u) $(id -g)"];
            assert_eq!(rkt.pod(flavour, &words).ok().stdout, format!("{wanted}\n"));
        }
        let unknown = rkt.pod(flavour, &[&image, "--user=nobodyhere", "--", "true"]);
        unknown.refuses("\"nobodyhere\"");
    });
}

#[test]
fn supplementary_groups_are_set() {
    each(&[], |flavour| {
        let rkt = Rkt::new();
        let words = [
            &*rkt.shell(),
            "--user=5",
            "--group=6",
            "--supplementary-gids=70,71",
            "--",
            "id -G | tr ' ' '\\n' | sort -n | tr '\\n' ' '",
        ];
        assert_eq!(rkt.pod(flavour, &words).ok().stdout, "6 70 71 ");
    });
}

#[test]
fn the_hostname_can_be_chosen() {
    each(&[Can::Namespaces], |flavour| {
        let rkt = Rkt::new();
        let image = rkt.shell();
        let words = ["--hostname=chosen", &image, "--", "hostname; cat /etc/hosts"];
        let output = rkt.pod(flavour, &words).ok();
        assert_eq!(output.lines()[0], "chosen");
        assert!(output.lines()[1..].iter().any(|line| line.contains("chosen")), "{output:#?}");
        rkt.collect();
        let output = rkt.pod(flavour, &[&image, "--", "hostname"]).ok();
        assert_eq!(output.text(), format!("rkt-{}", rkt.only_pod()));
    });
}

#[test]
fn a_read_only_root_has_writable_volumes() {
    each(&[Can::EmptyVolumes], |flavour| {
        let rkt = Rkt::new();
        let words = [
            "--volume=v,kind=empty",
            &*rkt.shell(),
            "--readonly-rootfs=true",
            "--mount=volume=v,target=/data/v",
            "--",
            "touch /x || echo refused; touch /data/v/x && ls /data/v",
        ];
        let output = rkt.pod(flavour, &words).ok();
        assert_eq!(output.stdout, "refused\nx\n", "{output:#?}");
    });
}

#[test]
fn bare_names_are_searched_inside_the_image() {
    each(&[], |flavour| {
        let rkt = Rkt::new();
        let outside = rkt.file("outside", "#!/bin/sh\necho from the host\n");
        testkit::program::tool(&["chmod", "755", &outside]);
        let image = Image::busybox("bare")
            .folder("first", 0o755)
            .folder("tools", 0o755)
            .folder("real", 0o755)
            // Neither a folder that lacks it nor a file that is no program ends the search.
            .file("first/find-me", "no program")
            .program("real/found", b"#!/bin/sh\necho found $1\n")
            .link("tools/find-me", "/real/found")
            // On the host this is a program, in the image it is nothing.
            .link("tools/outside", &format!("../../../../../..{outside}"))
            .exec(&["find-me", "it"])
            .app(
                "environment",
                json!([{ "name": "PATH", "value": "/missing:/first:/tools:/bin" }]),
            );
        let path = rkt.image(&image);
        assert_eq!(rkt.pod(flavour, &[&path]).ok().stdout, "found it\n");
        let output = rkt.pod(flavour, &[&path, "--exec=outside"]);
        assert_ne!(output.code, Some(0), "{output:#?}");
        assert!(!output.stdout.contains("from the host"), "{output:#?}");
    });
}

#[test]
fn a_missing_program_is_named() {
    each(&[], |flavour| {
        let rkt = Rkt::new();
        let image = rkt.image(&Image::shell("missing").program("script", b"#!/no/shell\n"));
        for (program, named) in [("/nope", "/nope"), ("/script", "/no/shell")] {
            let output = rkt.pod(flavour, &[&image, &format!("--exec={program}")]).code(203);
            let said = format!("{}{}", output.stdout, output.stderr);
            let wanted = format!("Unable to open \"{named}\": No such file or directory");
            assert!(said.contains(&wanted), "{output:#?}");
            let uuid = rkt.only_pod();
            let status = rkt.run(&["status", &uuid]).ok();
            assert!(status.lines().contains(&"app-missing=203"), "{status:#?}");
            rkt.collect();
        }
    });
}

#[test]
fn handlers_run_as_root_around_the_app() {
    each(&[Can::Handlers], |flavour| {
        let rkt = Rkt::new();
        let log = |what: &str| json!(["/bin/sh", "-c", format!("echo {what} $(id -u) >>/v/log")]);
        let handlers = json!([
            { "name": "pre-start", "exec": log("pre") }, { "name": "post-stop", "exec": log("post") },
        ]);
        let image = Image::busybox("handled")
            .exec(&["/bin/sh", "-c", "echo app $(id -u) >>/v/log"])
            .app("user", json!("33"))
            .app("eventHandlers", handlers);
        let folder = rkt.folder("log");
        testkit::program::tool(&["chmod", "777", &folder]);
        std::fs::write(rkt.path("log/log"), "").unwrap();
        testkit::program::tool(&["chmod", "666", &rkt.word("log/log")]);
        let volume = format!("--volume=v,kind=host,source={folder}");
        let words = [&*volume, "--mount=volume=v,target=/v", &rkt.image(&image)];
        rkt.pod(flavour, &words).ok();
        let log = std::fs::read_to_string(rkt.path("log/log")).unwrap();
        assert_eq!(log, "pre 0\napp 33\npost 0\n");
    });
}
